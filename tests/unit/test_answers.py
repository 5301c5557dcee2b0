"""Reading replies: a score that is right, or none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.answers import Answer, Reply, Token, read_answer
from rerankd_server.scoring.completion import to_reply
from rerankd_server.scoring.finish import Finish
from rerankd_server.scoring.scorer import Detail


def reply(text: str, *tokens: Token, finish: Finish = Finish.WHOLE, refused: bool = False) -> Reply:
    return Reply(text, finish, refused, tokens)


def whole(answer: Answer | Detail) -> Answer:
    assert isinstance(answer, Answer)
    return answer


def value(answer: Answer | Detail) -> float:
    return whole(answer).value


@pytest.mark.parametrize(
    ("text", "label"),
    [
        *((str(n), n) for n in range(11)),
        (" 7 ", 7),
        ("7\n", 7),
        ("\n\n10", 10),
        ("07", 7),
        ("score: 7", 7),
        ("Score: 7", 7),
        ("**Score: 7**", 7),
        ("SCORE = 10", 10),
        ("The document is about bees.\nScore: 3", 3),
        ("score: 7/10", 7),
        ("score: 7 / 10", 7),
        ("Score: 0.", 0),
        ("Score: 7. It names the hive.", 7),
        ("(score: 7)", 7),
        ("**7**", 7),
        ("`10`\n", 10),
        ("Score: **8**", 8),
        ("Score: **8**/10", 8),
        ("**Score:** 8/10", 8),
        ("**Score: 8/10**", 8),
        ("Score: 7. 🐝", 7),
        ('{"score": 7}', 7),
        ('{"label": 10}\n', 10),
        ('{ "Score" : "0" }', 0),
        ('```json\n{\n  "score": 7\n}\n```', 7),
        ("<think>Bees, so 9 or 10.</think>7", 7),
        ("<think>\n\n</think>\n\n7\n", 7),
        ("\n<think>\nscore: 3\n</think>\nScore: 7", 7),
        ("<think>It says </think> itself: 3.</think>\n7", 7),
        ("The opening tag was in the prompt.\nscore: 3\n</think>\n\n7", 7),
        ('<think>{"score": 3}</think>{"score": 7}', 7),
        # a number that nothing makes another one
        ("7.", 7),
        ("7.0", 7),
        ("10.00", 10),
        ("0.0", 0),
        ("7.0.", 7),
        ("7/10", 7),
        ("10/10", 10),
        ("7 / 10", 7),
        ("7/10.0", 7),
        ("7 out of 10", 7),
        ("7 (out of 10)", 7),
        ("**7**/10", 7),
        ("**7/10**", 7),
        ("**7.**", 7),
        ("'7'", 7),
        (r"\boxed{7}", 7),
        (r"$\boxed{10}$.", 10),
        ("```\n7\n```", 7),
        ("```text\n7/10\n```", 7),
        # under the prompt's own word, and those like it
        ("Label: 7", 7),
        ("label: 7.", 7),
        ("**Label:** 7", 7),
        ("**Label: 7/10**", 7),
        ("- Label: `7`", 7),
        ('Label: "7"', 7),
        ("The label is 7.", 7),
        ("The label, 0 to 10: 7", 7),
        ("The label, 0 to 10:\n7", 7),
        ("**Label:**\n\n7", 7),
        ("Final label: 7", 7),
        ("Relevance: 7", 7),
        ("Relevance score: 7/10", 7),
        ("Relevance label: 7", 7),
        ("Rating (0-10): 7", 7),
        ("Overall rating: 7", 7),
        (r"The final score is $\boxed{7}$.", 7),
        ("It covers 2 of 3 points.\nLabel: 7", 7),
        ("It covers 2 of 3 points. Score: 7", 7),
        ("1. It names the hive.\n2. It names no dates.\n3. Score: 7/10", 7),
        ("3 hives are named.\n2 are not.\nScore: 7", 7),
        ("3/10 of the points are made.\nScore: 7", 7),
        ("_Score: 7_", 7),
        ("That would be score: 3 without the dates.\nScore: 7", 7),
        ("Score: 7\nThat it names no dates matters little.\nScore: 7", 7),
        # the prompt's own line
        ("7: answers the heart of the query, with gaps", 7),
        ("10: Answers the query fully and directly; nothing more is needed.", 10),
        # JSON with one number
        ('{"answer": 7}', 7),
        ('{"score": 7.0}', 7),
        ('{"label": "7/10"}', 7),
        ('{"relevance": 7, "confidence": 9}', 7),
        ('{"label": 7, "confidence": 9}', 7),
        ('{"label": 7, "max": 10}', 7),
        ('{"result": {"label": 7}}', 7),
        ('{"qd": 7}', 7),
        ('{"score": [7]}', 7),
        ("[7]", 7),
        ('[{"label": 7}]', 7),
        ('{"label": {"value": 7, "why": "bees"}}', 7),
        ('{"reasoning": "It says 3, or 8.", "label": 7}', 7),
        ('{"thought": {"label": 3}, "label": 7}', 7),
        ('{"thoughtProcess": 3, "answer": 7}', 7),
        ('{"why": "it holds <div> and <think>", "label": 7}', 7),
        ('Here it is:\n{"label": 7}', 7),
        ('Here it is:\n```json\n{"label": 7}\n```\n', 7),
        ('Label: 7\n{"label": 7}', 7),
        ('{"label": 7}\n\nThe document names the hive.', 7),
        ('```json\n{"label": 7}\n```\nThe document names the hive.', 7),
        # end-of-turn marks behind it
        ("7</s>", 7),
        ("7<|im_end|>", 7),
        ("7<|eot_id|>\n", 7),
        ("7<end_of_turn>\n", 7),
        ("7<|end|>", 7),
        ("7<|return|>", 7),
        ("7<|endoftext|>", 7),
        ("7<｜end▁of▁sentence｜>", 7),
        ("Label: 7<|im_end|>", 7),
        ('{"label": 7}<|im_end|>', 7),
        ("7<|END_RESPONSE|><|END_OF_TURN_TOKEN|>", 7),
        ("7 [/INST]", 7),
        ("<s> 7</s>", 7),
        ("[/INST] 7</s>", 7),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n7<|eot_id|>", 7),
        # marks of an answer
        ("<answer>7</answer>", 7),
        ("<answer>\n7\n</answer>\n", 7),
        ("It covers 3 points. <answer>7</answer>", 7),
        ("Label: 7\n<answer>7</answer>", 7),
        ("<score>7/10</score>", 7),
        ("<reason>Not 3.</reason><label>7</label>", 7),
        ("<|begin_of_box|>7<|end_of_box|>", 7),
        ('<tool_call>\n{"name": "rate", "arguments": {"label": 7}}\n</tool_call>', 7),
        ("<unknown>3</unknown>7", 7),
    ],
)
def test_a_reply_with_one_label_is_that_label(text: str, label: int) -> None:
    assert read_answer(reply(text)) == Answer(label / 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "eleven",
        "score: eleven",
        "11",
        "42",
        "-3",
        "+3",
        "7.5",
        "0.7",
        "7,5",
        "7 8",
        "7-8",
        "70%",
        "٧",
        "７",
        "７/10",
        "²",
        "1e1",
        "seven",
        "I would say 7",
        "7 or 8",
        "**7** or **8**",
        "**7",
        "7**",
        "**-7**",
        "**7.5**",
        "7 🐝",
        "🐝🐝🐝🐝🐝🐝🐝",
        "7️⃣",
        "Die Punktzahl ist sieben",
        "Die Punktzahl ist 7",
        "スコアは7です",
        "スコア：７",
        "١٠",
        "score: ٧",
        "score: ７",
        "This is a 7 or an 8",
        "The document mentions 3 hives and 7 bees.",
        "score: 42",
        "score: **42**",
        "score: **7.5**",
        "score: **7**8",
        "score: **7**/100",
        "score: **-3**",
        "score: -3",
        "score: 7.5",
        "score: 7,5",
        "score: 7-8",
        "score: 7\u20138",
        "score: 7/100",
        "score: 7/5",
        "score: 7%",
        "score: 70%",
        "score: 1e1",
        "score: 7th",
        "score: 0 to 10",
        "score: 7 or 8",
        "score: 8½",
        "score: 1 000",
        "score: 7? No, 3.",
        "score: 7, 8",
        "score: 7.5.",
        "score: 7 / 100",
        "score: 7 /10 or 8",
        "score: 100",
        "score: 007",
        "score:",
        "score: \n",
        "score: 7, score: 8",
        "score: 7. score: 8",
        "score: 7\nscore: 8",
        "score: 7 score: 7",
        "underscore: 7",
        "scores: 7",
        "Bewertung: 7",
        '{"score": 7',
        '{"score": 42}',
        '{"score": -3}',
        '{"score": 7.5}',
        '{"score": 1e1}',
        '{"score": null}',
        '{"score": true}',
        '{"score": "eleven"}',
        '{"score": "7}',
        '{"score": 7, "score": 8}',
        '{"score": 7} {"score": 7}',
        "<think>7",
        "<think>score: 7",
        "<think>7</think>",
        "<think>7</think> or 8",
        "<think>a</think>7<think>8",
        "7 <think>or is it 8?</think>",
        # another number, or two
        "7..",
        "7.0.5",
        "7.05",
        "07.5",
        "007",
        "11.0",
        "-7.0",
        "7/9",
        "7/100",
        "7/10/10",
        "17/10",
        "11/10",
        "7 out of 100",
        "7 of 10",
        "**7**8",
        "**7/10",
        "7, 8",
        "7\n8",
        "3.\n7",
        r"\boxed{7}\boxed{8}",
        r"\boxed{42}",
        "```\n7\n```\n```\n8\n```",
        "```\n7 or 8\n```",
        # the label's name
        "Label: 7 or 8",
        "Label: 11",
        "Label: 7.5",
        "Label:\n42",
        "Label: 7, rating: 8",
        "Label: 7. Score: 8",
        "Score: 7. Or rather 8.",
        "Score: 7. No, 3.",
        "Label: 3\nScore: 7",
        "**Label: 3**\n\nRelevance: 7",
        "7\nScore: 8",
        '{"score": 7}\nscore: 8',
        "Labels: 7",
        "Label 7 of 10 documents",
        "Max score: 10",
        "max_score: 10",
        "The highest possible score: 10",
        "Confidence score: 9",
        "The relevance is 7 for bees and 3 for hives",
        "score: 7\nIt names the hive.",
        "Label: 7\nBut the label of the others: 3",
        "The answer is 7.",
        "7: answers the heart of the query, with gaps\n8: answers most of the query directly",
        # JSON
        '{"label": 7, "score": 8}',
        '{"label": 7, "score": 7}',
        '{"a": 7, "b": 8}',
        '{"a": 7, "b": "8"}',
        '{"label": 7.5}',
        '{"label": 7, "label": 7}',
        '{"label": {"value": 7, "max": 10}}',
        '{"labels": [7, 8]}',
        '[{"label": 7}, {"label": 8}]',
        '{"confidence": 9}',
        '{"rank": 1}',
        '{"reasoning": 7}',
        '{"thought": "7", "label": "high"}',
        '{"thinking": {"label": 7}}',
        '{"label": 1e1}',
        '{"label": "seven", "text": "7 bees"}',
        "{'label': 7}",
        '{"label": 7,}',
        '{"label": 07}',
        '{"label": NaN}',
        '{"label": ' + "9" * 5000 + "}",
        '{"reason": "bees\nscore: 7',
        "The document is about bees [3]",
        "It answers the query [1][2]",
        'The document holds {"bees": 3}',
        'Score: 3\n{"score": 7}',
        '3\n\n{"score": 7}',
        '{"score": 7}\nOr rather 8.',
        '{"score": 7}\n```\n8\n```',
        '```json\n{"score": 7}\n```\n```json\n{"score": 8}\n```',
        '{"answer": 7}\nThe document names the hive.',
        '{"score": 7}\n{"score": "high"}',
        '**3**, {"score": 7}',
        'The label, 0 to 10: 3 Here:\n{"label": 7}',
        "Score: 3 at first sight.\nScore: 7",
        "3, Score: 7",
        "3.0; Score: 7/10",
        "`3` Score: 7",
        '[{"label": 3}], Score: 7',
        '{"label": 3}\n{"label": 7}',
        "{" * 50_000,
        "[" * 50_000 + "7" + "]" * 50_000,
        # what follows the end of a turn is another one's
        "7<|im_end|>\n<|im_start|>user\nscore: 3",
        "7<|im_end|>\nscore: 3",
        "7</s>8",
        "7<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nscore: 3",
        "<answer>3</answer><answer>7</answer>",
        "<answer>7</answer>\nOr score: 3",
        "3\n<answer>7</answer>",
        "Label: 3\n<answer>7</answer>",
        '{"label": 3} <answer>7</answer>',
        "`3` <label>7</label>",
        '{"answer": 3}\n<label>7</label>',
        "<score>7</score><label>8</label>",
        # marks that nobody knows
        "7<unknown>",
        "7</unknown>",
        "<unknown>7",
        "<unknown>7</unknown>",
        "Score: 7 <unknown>",
        "7 [UNKNOWN]",
        "7<|unknown|>",
        "<|im_start|>assistant\n7<|im_end|>",
    ],
)
def test_any_other_reply_holds_no_score(text: str) -> None:
    assert isinstance(read_answer(reply(text)), Detail)


SHAPES = [
    *("{}", "{}.", "{}.0", "{}/10", "**{}**", "`{}`", "Label: {}", "**Label:** {}", "Score: {}/10"),
    *("The label is {}.", "Relevance: {}", '{{"label": {}}}', '```json\n{{"label": {}}}\n```'),
    *('[{{"label": {}}}]', "<answer>{}</answer>", r"\boxed{{{}}}", "**Label:**\n{}"),
]


@pytest.mark.parametrize("first", SHAPES)
@pytest.mark.parametrize("second", SHAPES)
def test_two_labels_are_none_and_twice_the_same_is_none_or_that(first: str, second: str) -> None:
    for between in ("\n", "\n\n", "\n---\n", "\nOr rather:\n", "</s>\n", " or "):
        text = f"{first.format(3)}{between}{second.format(7)}"
        assert isinstance(read_answer(reply(text)), Detail), text
        twice = read_answer(reply(f"{first.format(7)}{between}{second.format(7)}"))
        assert isinstance(twice, Detail) or twice == Answer(0.7)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("label", range(-1, 13))
def test_every_shape_holds_every_label_and_no_other_number(shape: str, label: int) -> None:
    answer = read_answer(reply(f"<think>{shape.format(3)}</think>{shape.format(label)}<|im_end|>"))
    if 0 <= label <= 10:
        assert answer == Answer(label / 10)
    else:
        assert isinstance(answer, Detail)


def test_a_reply_without_content_holds_no_score() -> None:
    completion = {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}
    assert read_answer(to_reply(completion)) is Detail.EMPTY_REPLY


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u2003"])
def test_an_empty_reply_is_one(text: str) -> None:
    assert read_answer(reply(text)) is Detail.EMPTY_REPLY


@pytest.mark.parametrize(
    ("finish", "detail"),
    [
        (Finish.CUT_OFF, Detail.CUT_OFF),
        (Finish.DECLINED, Detail.DECLINED),
        (Finish.TOOL_CALL, Detail.UNREADABLE),
        (Finish.FAILED, Detail.UNREADABLE),
    ],
)
@pytest.mark.parametrize("text", ["1", "Label: 1", '{"label": 1}', "<think>a</think>1"])
def test_a_reply_that_is_not_whole_holds_no_score(
    text: str, finish: Finish, detail: Detail
) -> None:
    # "1" may have been about to become "10".
    assert read_answer(reply(text, finish=finish)) is detail


@pytest.mark.parametrize("text", ["7", "Label: 7", '{"label": 7}', "<think>a</think>7"])
def test_an_unknown_finish_reason_is_no_refusal(text: str) -> None:
    assert read_answer(reply(text, finish=Finish.UNKNOWN)) == Answer(0.7)
    assert read_answer(reply("7 or 8", finish=Finish.UNKNOWN)) is Detail.UNREADABLE


@pytest.mark.parametrize("finish", Finish)
def test_a_refusal_holds_no_score(finish: Finish) -> None:
    assert read_answer(reply("7", refused=True, finish=finish)) is Detail.DECLINED


@pytest.mark.parametrize(
    ("text", "finish", "thinks", "needs_room"),
    [
        ("", Finish.CUT_OFF, False, True),
        ("<think>a", Finish.CUT_OFF, True, True),
        ("The document", Finish.CUT_OFF, False, False),
        ("The document", Finish.CUT_OFF, True, True),
        ("", Finish.WHOLE, True, False),
        ("7", Finish.UNKNOWN, True, False),
    ],
)
def test_a_model_that_was_cut_off_while_it_thought_needs_room(
    text: str, finish: Finish, thinks: bool, needs_room: bool
) -> None:
    assert Reply(text, finish, thinks=thinks).needs_room is needs_room


def test_the_score_is_the_expected_label() -> None:
    token = Token("8", {"8": 0.6, "7": 0.3, "9": 0.1})
    answer = whole(read_answer(reply("8", token)))
    assert answer.value == pytest.approx(0.78)
    assert answer.labels == [0, 0, 0, 0, 0, 0, 0, 0.3, 0.6, 0.1, 0]


def test_what_is_no_label_is_left_out_of_the_mean() -> None:
    token = Token("8", {"8": 0.4, "6": 0.2, "The": 0.3, "**": 0.1})
    assert value(read_answer(reply("8", token))) == pytest.approx((0.4 * 8 + 0.2 * 6) / 0.6 / 10)


def test_tokens_that_differ_in_white_space_are_one_label() -> None:
    token = Token(" 8", {" 8": 0.5, "8": 0.25, "8\n": 0.05, "4": 0.2})
    assert value(read_answer(reply(" 8", token))) == pytest.approx(0.72)


def test_ten_as_one_token() -> None:
    token = Token("10", {"10": 0.75, "9": 0.15, "1": 0.1})
    assert value(read_answer(reply("10", token))) == pytest.approx(0.895)


def test_ten_in_two_tokens_shares_the_one_out_as_the_next_token_says() -> None:
    tokens = Token("1", {"1": 0.8, "9": 0.2}), Token("0", {"0": 0.75, "": 0.25})
    assert value(read_answer(reply("10", *tokens))) == pytest.approx((0.6 * 10 + 0.2 + 1.8) / 10)


def test_one_in_two_tokens_is_not_ten() -> None:
    assert value(read_answer(reply("1", Token("1", {"1": 0.9, "0": 0.1})))) == pytest.approx(0.09)


@pytest.mark.parametrize(("chosen", "one_stands_for"), [("9", 10), ("8", 10), ("0", 1), ("3", 1)])
def test_a_one_that_was_not_written_goes_to_the_nearer_label(
    chosen: str, one_stands_for: int
) -> None:
    token = Token(chosen, {chosen: 0.7, "1": 0.3})
    expected = (0.7 * int(chosen) + 0.3 * one_stands_for) / 10
    assert value(read_answer(reply(chosen, token))) == pytest.approx(expected)


def test_under_half_of_the_probability_the_integer_counts() -> None:
    token = Token("8", {"8": 0.3, "2": 0.19, "The": 0.51})
    answer = whole(read_answer(reply("8", token)))
    assert answer.value == 0.8
    assert answer.labels[8] == 0.3  # kept all the same: a later version may know better


def test_the_probabilities_are_those_of_the_label_not_of_the_words_before_it() -> None:
    tokens = (
        Token("Score", {"Score": 0.9, "3": 0.1}),
        Token(":", {":": 1.0}),
        Token(" 8", {" 8": 0.5, " 9": 0.5}),
    )
    assert value(read_answer(reply("Score: 8", *tokens))) == pytest.approx(0.85)


def test_the_probabilities_are_those_of_the_answer_not_of_the_thought() -> None:
    tokens = (
        Token("<think>", {"<think>": 1.0}),
        Token("8", {"8": 0.6, "2": 0.4}),
        Token("</think>", {"</think>": 1.0}),
        Token("8", {"8": 0.5, "9": 0.5}),
    )
    assert value(read_answer(reply("<think>8</think>8", *tokens))) == pytest.approx(0.85)


def test_the_probabilities_are_those_of_the_number_in_the_object() -> None:
    tokens = Token('{"score":', {}), Token(" 8", {" 8": 0.5, " 9": 0.5}), Token("}", {"}": 1.0})
    assert value(read_answer(reply('{"score": 8}', *tokens))) == pytest.approx(0.85)


@pytest.mark.parametrize(
    "tokens",
    [
        (),
        (Token("", {}),),
        (Token("The", {"The": 1.0}),),
        (Token("8", {"8": 0.0}),),
    ],
)
def test_without_label_probabilities_the_integer_counts(tokens: tuple[Token, ...]) -> None:
    assert read_answer(reply("8", *tokens)) == Answer(0.8)


@pytest.mark.parametrize("before", ["", " ", "\n", " \n"])
@pytest.mark.parametrize("stripped", [True, False])
def test_white_space_that_a_server_strips_moves_nothing(before: str, stripped: bool) -> None:
    space = [Token(before, {before: 0.5, "2": 0.5})] if before else []
    tokens = *space, Token("8", {"8": 0.5, "9": 0.5}), Token("", {"": 1.0})
    text = "8" if stripped else f"{before}8"
    assert value(read_answer(reply(text, *tokens))) == pytest.approx(0.85)


@pytest.mark.parametrize(
    "tokens",
    [
        (Token("2", {"2": 1.0}),),
        (Token("The", {"2": 1.0}), Token(" answer", {"3": 1.0})),
        (Token("8/", {"2": 0.6, "8": 0.4}),),
    ],
)
def test_probabilities_of_something_else_do_not_count(tokens: tuple[Token, ...]) -> None:
    assert read_answer(reply("8", *tokens)) == Answer(0.8)


def test_an_instruction_in_the_probabilities_is_no_label() -> None:
    token = Token("8", {"8": 0.6, "score: 0": 0.4})
    assert value(read_answer(reply("8", token))) == 0.8


probabilities = st.floats(0, 1, allow_nan=False)
tokens = st.builds(
    Token,
    text=st.sampled_from(["0", "1", "10", " 7", "Score", ":", "", "\n"]),
    alternatives=st.dictionaries(
        st.sampled_from([str(n) for n in range(12)] + ["The", " 3", ""]), probabilities
    ),
)


marks = st.sampled_from(
    [
        *("<think>", "</think>", "<thought>", "[THINK]", "[/THINK]", "<mm:think>", "</mm:think>"),
        *("◁think▷", "</a>", "<a>"),
        *("<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|>", "</s>"),
        *("assistantfinal", "analysis", "<answer>", "</answer>", "<|im_end|>", "thought\n"),
    ]
)
shapes = st.sampled_from(
    [
        *("{", "}", "[", "]", '"label": 7', '"score": 3', '"reasoning": 3', '"', ",", "label: 7"),
        *("Label: ", "score", "The label is ", "/10", " out of 10", "```", "```json\n", "**", ".0"),
        *(r"\boxed{7}", "7: answers the heart of the query, with gaps", "\n", "\r\n", "\u2028"),
    ]
)
replies = st.builds(
    Reply,
    text=st.text(max_size=40)
    | st.lists(
        st.sampled_from([*"0178 \n*{}:./-", "10", "score", '"', "<think>", "</think>", "```", "７"])
    ).map("".join)
    | st.lists(marks | shapes | st.sampled_from([*"0178 \n*{}:./-"])).map("".join),
    finish=st.sampled_from(Finish),
    refused=st.booleans(),
    tokens=st.lists(tokens, max_size=4),
)


@given(replies)
def test_any_reply_ends_in_a_score_in_range_or_in_none(reply: Reply) -> None:
    answer = read_answer(reply)
    assert isinstance(answer, Detail) or (
        0 <= answer.value <= 1 and answer.value == round(answer.value, 6)
    )


OPENINGS = {
    "<think>": "</think>",
    "<thought>": "</thought>",
    "<mm:think>": "</mm:think>",
    "[THINK]": "[/THINK]",
    "<seed:think>": "</seed:think>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>thought\n": "<channel|>",
    "<unused94>thought\n": "<unused95>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "◁think▷": "◁/think▷",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
    "analysis": "assistantfinal",
    "Here is my thought process:": "Here is my response:",
}
openings = st.sampled_from(sorted(OPENINGS))
thoughts = st.lists(st.sampled_from(["7", "10", "score", ":", " ", "\n", "*", "{", '"label"'])).map(
    "".join
)
MARKS = ("think", "thought", "analysis", "assistant", "THINK", "channel", "response")


@given(replies, thoughts, openings)
def test_a_thought_changes_nothing(reply: Reply, thought: str, opening: str) -> None:
    if not any(mark in reply.text for mark in MARKS) and not reply.text.lstrip().startswith("{"):
        text = f"{opening}. {thought}{OPENINGS[opening]}{reply.text}"
        thoughtful = replace(reply, text=text, tokens=())
        before = read_answer(replace(reply, tokens=()))
        if before is not Detail.EMPTY_REPLY:
            assert read_answer(thoughtful) == before


@given(openings, thoughts, st.sampled_from(["", "\n", ". ", "The document", "<b>"]))
def test_a_number_in_a_thought_alone_is_no_score(opening: str, thought: str, after: str) -> None:
    assert isinstance(read_answer(reply(f"{opening}{thought}{OPENINGS[opening]}{after}")), Detail)
    assert isinstance(read_answer(reply(f"{opening} {thought}")), Detail)


@given(st.text(max_size=60).filter(lambda text: not any(c in "0123456789" for c in text)))
def test_no_text_without_a_digit_is_a_score(text: str) -> None:
    assert isinstance(read_answer(reply(text)), Detail)
    assert isinstance(read_answer(reply(f"score: {text}")), Detail)


@given(st.lists(marks | shapes | st.text(max_size=3), max_size=12).map("".join))
def test_no_marks_without_a_digit_are_a_score(text: str) -> None:
    without = "".join(c for c in text if c not in "0123456789")
    assert isinstance(read_answer(reply(without)), Detail)

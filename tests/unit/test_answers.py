"""Reading replies: a score that is right, or none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.answers import Answer, Reply, Token, read_answer
from rerankd_server.scoring.completion import to_reply


def reply(text: str, *tokens: Token, finish: str = "stop", refused: bool = False) -> Reply:
    return Reply(text, finish, refused, tokens)


def value(answer: Answer | None) -> float:
    assert answer is not None
    return answer.value


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
        "7.0",
        "0.7",
        "7,5",
        "7 8",
        "7-8",
        "7/10",
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
        '{"answer": 7}',
        '{"score": 42}',
        '{"score": -3}',
        '{"score": 7.5}',
        '{"score": 7.0}',
        '{"score": 1e1}',
        '{"score": null}',
        '{"score": true}',
        '{"score": "eleven"}',
        '{"score": "7}',
        '{"score": [7]}',
        '{"score": 7, "score": 8}',
        '{"score": 7} {"score": 7}',
        '{"qd": 7}',
        "[7]",
        "<think>7",
        "<think>score: 7",
        "<think>7</think>",
        "<think>7</think> or 8",
        "<think>a</think>7<think>8",
        "7 <think>or is it 8?</think>",
    ],
)
def test_any_other_reply_holds_no_score(text: str) -> None:
    assert read_answer(reply(text)) is None


def test_a_reply_without_content_holds_no_score() -> None:
    completion = {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}
    assert read_answer(to_reply(completion)) is None


@pytest.mark.parametrize(
    "finish", ["length", "content_filter", "tool_calls", "function_call", "None", ""]
)
def test_a_reply_that_is_not_whole_holds_no_score(finish: str) -> None:
    # "1" may have been about to become "10".
    assert read_answer(reply("1", finish=finish)) is None


def test_a_refusal_holds_no_score() -> None:
    assert read_answer(reply("7", refused=True)) is None


def test_the_score_is_the_expected_label() -> None:
    token = Token("8", {"8": 0.6, "7": 0.3, "9": 0.1})
    answer = read_answer(reply("8", token))
    assert value(answer) == pytest.approx(0.78)
    assert answer is not None
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
    answer = read_answer(reply("8", token))
    assert value(answer) == 0.8
    assert answer is not None
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


replies = st.builds(
    Reply,
    text=st.text(max_size=40)
    | st.lists(
        st.sampled_from([*"0178 \n*{}:./-", "10", "score", '"', "<think>", "</think>", "```", "７"])
    ).map("".join),
    finish=st.sampled_from(["stop", "eos_token", "length", ""]),
    refused=st.booleans(),
    tokens=st.lists(tokens, max_size=4),
)


@given(replies)
def test_any_reply_ends_in_a_score_in_range_or_in_none(reply: Reply) -> None:
    answer = read_answer(reply)
    assert answer is None or (0 <= answer.value <= 1 and answer.value == round(answer.value, 6))


@given(replies, st.lists(st.sampled_from(["7", "score", ":", " ", "\n", "*"])).map("".join))
def test_a_thought_changes_nothing(reply: Reply, thought: str) -> None:
    if "think>" not in reply.text:
        thoughtful = replace(reply, text=f"<think>{thought}</think>{reply.text}", tokens=())
        assert read_answer(thoughtful) == read_answer(replace(reply, tokens=()))


@given(st.text(max_size=60).filter(lambda text: not any(c in "0123456789" for c in text)))
def test_no_text_without_a_digit_is_a_score(text: str) -> None:
    assert read_answer(reply(text)) is None
    assert read_answer(reply(f"score: {text}")) is None

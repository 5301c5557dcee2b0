"""Finding the answer in a reply: marks of thinking and of turns, as models write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.thinking import find_answer, has_thought, without_thoughts

LT, GT = "◁", "▷"  # Kimi's

THOUGHTS = {
    # what begins a thought, and what ends it
    "DeepSeek, Qwen, GLM": ("<think>", "</think>"),
    "in capitals": ("<THINK>", "</THINK>"),
    "with white space": ("\n<think >\n", "\n</think>\n\n"),
    "with an attribute": ('<think time="5 s">', "</think>"),
    "Claude": ("<thinking>", "</thinking>"),
    "Claude's older ones": ("<antThinking>", "</antThinking>"),
    "EXAONE": ("<thought>", "</thought>"),
    "thoughts": ("<thoughts>", "</thoughts>"),
    "Reka": ("<reasoning>", "</reasoning>"),
    "a reason": ("<reason>", "</reason>"),
    "Reflection": ("<reflection>", "</reflection>"),
    "a scratchpad": ("<scratchpad>", "</scratchpad>"),
    "an analysis": ("<analysis>", "</analysis>"),
    "Open WebUI": ('<details type="reasoning" done="true">\n', "\n</details>\n"),
    "MiniMax": ("<mm:think>", "</mm:think>"),
    "MiniMax, the other one": ("<minimax:think>", "</minimax:think>"),
    "Seed-OSS": ("<seed:think>", "</seed:think>"),
    "LongCat": ("<longcat_think>", "</longcat_think>"),
    "Magistral": ("[THINK]", "[/THINK]"),
    "in small letters": ("[think]", "[/think]"),
    "[THOUGHT]": ("[THOUGHT]", "[/THOUGHT]"),
    "Kimi": (f"{LT}think{GT}", f"{LT}/think{GT}"),
    "Kimi, over lines": (f"\n{LT}think{GT}\n", f"\n{LT}/think{GT}\n"),
    "Command A": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "Sky-T1": ("<|begin_of_thought|>", "<|end_of_thought|>\n\n<|begin_of_solution|>"),
    "Apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "a special token": ("<|thinking|>", "<|/thinking|>"),
    "DeepSeek's bars": ("<｜begin▁of▁thinking｜>", "<｜end▁of▁thinking｜>"),
    "Gemma": ("<|channel>thought\n", "<channel|>"),
    "MedGemma": ("<unused94>thought\n", "<unused95>"),
    "Gemini": ("<ctrl94>thought\n", "<ctrl95>"),
    "Granite": ("Here is my thought process:", "Here is my response:"),
    "Granite, in short": ("Here's my thought process:\n", "\nHere's my response:\n"),
    "GRPO's notebooks": ("<start_working_out>", "<end_working_out>"),
    "gpt-oss": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss, from the turn's start": (
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|end|>\n<|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss with a form": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    "gpt-oss with a call": (
        "<|channel|>analysis<|message|><|channel|>commentary to=a <|constrain|>json<|message|>",
        "<|call|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss without marks": ("analysis", "assistantfinal"),
    "gpt-oss without marks, commented": ("commentary", "assistantfinal"),
    "gpt-oss without marks, twice": ("analysisIt is", "assistantcommentary3assistantfinal"),
    "its first name lost": ("We have to label it.", "assistantfinal"),
    "escaped": ("&lt;think&gt;", "&lt;/think&gt;"),
    "the opening mark lost": ("The user asks ", "</think>"),
    "the opening mark twice": ("<think>\n<think>\n", "</think>"),
    "the closing mark twice": ("<think>", "</think> a </think>"),
    "another closing mark": ("<think>", "</thinking>"),
    "a mark within": (
        "<seed:think><seed:cot_budget_reflect>a",
        "</seed:cot_budget_reflect>3</seed:think>",
    ),
}
LOST = ("We have to label it.", "The user asks ")
PARAMETERS = [pytest.param(*marks, id=name) for name, marks in THOUGHTS.items()]


def answer(text: str) -> str | None:
    span = find_answer(text)
    return None if span is None else text[span.begin : span.end].strip()


@pytest.mark.parametrize(("opening", "closing"), PARAMETERS)
@pytest.mark.parametrize("thought", ["", "3", "score: 3", '{"label": 3}', "a <b>3</b>\n\nLabel: 3"])
def test_a_thought_is_taken_off(opening: str, closing: str, thought: str) -> None:
    text = f"{opening} {thought}{closing}"
    assert answer(f"{text}7") == "7"
    assert answer(f"{text}\n\nLabel: 7\n") == "Label: 7"
    assert answer(f'{text}{{"label": 7}}<|im_end|>') == '{"label": 7}'
    assert answer(text) == ""
    assert has_thought(f"{text}7")


@pytest.mark.parametrize(("opening", "closing"), PARAMETERS)
@pytest.mark.parametrize("thought", ["3", "score: 3\n", "a</unknown>3", "<answer>3</answer>"])
def test_a_thought_that_does_not_end_leaves_no_answer(
    opening: str, closing: str, thought: str
) -> None:
    if opening in LOST:
        return  # without its closing mark nothing says that it is one
    assert answer(f"{opening} {thought}") is None
    assert has_thought(f"{opening} {thought}")
    if not opening[0].isalpha():
        assert answer(f"7 {opening} {thought}") is None
        assert answer(f"<think>a</think>7 {opening} {thought}") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("7", "7"),
        ("", ""),
        # not all that is in brackets is a mark
        ("<b>7</b>", "<b>7</b>"),
        ("a < b and b > c: 7", "a < b and b > c: 7"),
        ("see <https://example.org/a>: 7", "see <https://example.org/a>: 7"),
        ("[7]", "[7]"),
        ("[A] 7", "[A] 7"),
        ("Analysis: short.\nLabel: 7", "Analysis: short.\nLabel: 7"),
        ("analysis: short.\nLabel: 7", "analysis: short.\nLabel: 7"),
        ("The assistant's final label: 7", "The assistant's final label: 7"),
        ("thoughtful: 7", "thoughtful: 7"),
        # a mark that nobody knows is a boundary
        ("3<unknown>", None),
        ("<unknown>3", None),
        ("<unknown>3</unknown>", ""),
        ("<unknown>3</unknown>7", "7"),
        ("<a>3<c>4</c>7", "7"),
        ("<a>3<b>4</b>7", None),
        ("3</unknown>7", "7"),
        ("3<unknown/>7", None),
        ("3[UNKNOWN]7", None),
        ("3[/UNKNOWN]7", "7"),
        ("3<|unknown|>7", None),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n7", "7"),
        (f"3{LT}unknown{GT}7", None),
        ("<unknown><answer>7</answer>", "7"),
        # marks of an answer
        ("<answer>7</answer>", "7"),
        ("3 <answer>7", "7"),
        ("<think>3</think><answer>7</answer>", "7"),
        ("<reasoning>3</reasoning>\n<final_answer>\n7\n</final_answer>", "7"),
        ("<|begin_of_box|>7<|end_of_box|>", "7"),
        ("<answer></answer><answer>7</answer>", "7"),
        ("<answer>3</answer><answer>7</answer>", None),
        ("<answer>7</answer> Or not.", None),
        ("<score>7</score><why>a</why>", None),
        ("<think>3 <answer>7</answer>", None),
        # ends of turns
        ("7<|im_end|>", "7"),
        ("7 <|eot_id|>\n<|end_of_text|>\n", "7"),
        ("7</s></s>", "7"),
        ("<s>7</s>", "7"),
        ("7<eos>", "7"),
        ("7<turn|>", "7"),
        ("7<|user|>", "7"),
        ("7<|im_end|>3", None),
        ("7<|im_end|><|im_start|>user\n3", None),
        ("7</s><answer>3</answer>", None),
        ("[/INST] 7", "7"),
        ("<think>a</think>7<|im_end|>", "7"),
        ("<think>a<|im_end|>", None),
        # the header of a channel, or something like it
        ("<|channel|>final<|message|>7<|return|>", "7"),
        ("<|channel|>analysis<|message|>3", None),
        ("<|channel|>commentary<|message|>3", None),
        ("<|channel|>final 7", None),
        ("<|message|>7", None),
        ("3<|channel|>final<|message|>7", "7"),
        ("<|channel|>final<|message|>3<|channel|>analysis<|message|>7", None),
        # what an answer in JSON quotes
        ('{"why": "a <think> b", "label": 7}', '{"why": "a <think> b", "label": 7}'),
        ('<think>3</think>{"why": "<a>"}', '{"why": "<a>"}'),
        ('```json\n{"why": "<a>"}\n```', '```json\n{"why": "<a>"}\n```'),
        ('{"why": "<a>"}</s>', '{"why": "<a>"}'),
        ('{"why": "<a>"} <a>', None),
        ('{"why": <think>3', None),
    ],
)
def test_where_the_answer_is(text: str, found: str | None) -> None:
    assert answer(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "7", "Label: 7", "<answer>7</answer>", "7<|im_end|>", '{"why": "<think>"}', "3<unknown>7"],
)
def test_not_every_mark_is_one_of_thinking(text: str) -> None:
    assert not has_thought(text)


def test_a_tag_that_belongs_to_the_answer_is_no_mark() -> None:
    text = "<think>a</think><qd>7</qd><mz>3</mz>"
    begin, end = len("<think>a</think>"), len(text)
    assert find_answer(text) == (end, end, "")
    assert find_answer(text, {"qd", "mz"}.__contains__) == (begin, end, "")
    assert find_answer("<QD>7", {"qd"}.__contains__) == (0, 5, "")
    assert find_answer("<think>7", {"qd"}.__contains__) is None


@pytest.mark.parametrize(
    ("name", "is_thought"),
    [
        *((name, True) for name in ("reasoning", "Thought", "thinking", "analysis", "rationale")),
        *((name, True) for name in ("chain_of_thought", "thoughtProcess", "reasoning-steps")),
        *((name, False) for name in ("label", "score", "qd", "answer", "why", "thoughtful", "")),
    ],
)
def test_members_that_hold_thoughts_are_left_out(name: str, is_thought: bool) -> None:
    pairs: list[tuple[str, object]] = [(name, 3), ("label", 7)]
    assert without_thoughts(pairs) == ((("label", 7),) if is_thought else ((name, 3), ("label", 7)))


@pytest.mark.parametrize(
    ("text", "preface"),
    [
        ("<answer>7", ""),
        ("a b <answer>7", "a b"),
        ("<think>a</think>b<answer>7</answer>", "b"),
        ("a<unknown>b</unknown>c <answer>7", "c"),
        ("a<unknown>b<answer>7", ""),
        ("a</unknown>7", ""),
        ("<think>a</think>7", ""),
        ("a<answer>b<score>7", "a\nb"),
    ],
)
def test_what_is_said_before_an_answers_mark_is_told(text: str, preface: str) -> None:
    span = find_answer(text)
    assert span is not None
    assert span.preface.strip() == preface


anything = st.text() | st.lists(
    st.sampled_from(
        [
            *(mark for marks in THOUGHTS.values() for mark in marks),
            *("<answer>", "</answer>", "<s>", "</s>", "<|im_end|>", "<a>", "</a>", "[/INST]"),
            *("7", " ", "\n", "{", "}", '"', "<", ">", "|", "[", "]", "&lt;", LT, GT, "assistant"),
        ]
    )
).map("".join)


@given(anything)
def test_an_answer_is_a_part_of_the_text(text: str) -> None:
    span = find_answer(text)
    if span is not None:
        assert 0 <= span.begin <= span.end <= len(text)
    assert isinstance(has_thought(text), bool)


@given(anything, st.sampled_from(sorted(THOUGHTS)))
def test_what_stands_before_a_thoughts_end_is_no_answer(text: str, name: str) -> None:
    opening, closing = THOUGHTS[name]
    whole = f"{text}{opening}3{closing}"
    span = find_answer(whole)
    assert span is None or "3" not in span.preface + whole[span.begin :]

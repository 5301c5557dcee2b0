"""Reading replies about several documents: the labels that are certain, and no others."""

import json
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.answers import Answer, Reply, Token
from rerankd_server.scoring.batch_answers import read_answers
from rerankd_server.scoring.batch_prompt import codes, user_message
from rerankd_server.scoring.finish import Finish

THREE = codes(3)  # qd, mz, nq
WHOLE = {"qd": 7, "mz": 2, "nq": 10}


def labels(
    text: str, asked: Sequence[str] = THREE, finish: Finish = Finish.WHOLE
) -> dict[str, int]:
    answers = read_answers(Reply(text, finish), asked)
    assert all(answer == Answer(round(answer.value * 10) / 10) for answer in answers.values())
    return {code: round(answer.value * 10) for code, answer in answers.items()}


@pytest.mark.parametrize(
    "text",
    [
        '{"qd": 7, "mz": 2, "nq": 10}',
        '{"qd":7,"mz":2,"nq":10}\n',
        '{"nq": 10, "mz": 2, "qd": 7}',
        '{"QD": 7, "Mz": 2, "nq": 10}',
        '{\n  "qd": 7,\n  "mz": 2,\n  "nq": 10\n}',
        '```json\n{"qd": 7, "mz": 2, "nq": 10}\n```',
        '```\n{"qd": 7, "mz": 2, "nq": 10}\n```',
        'Here are the labels [0 to 10]:\n{"qd": 7, "mz": 2, "nq": 10}\nAsk me for more!',
        '{"qd": "7", "mz": "2", "nq": "10"}',
        '{"qd": "7/10", "mz": "2/10", "nq": "10/10"}',
        '{"labels": {"qd": 7, "mz": 2, "nq": 10}}',
        '{"labels": [{"id": "qd", "label": 7}, {"id": "mz", "label": 2}, {"nq": 10}]}',
        '[{"id": "qd", "label": 7}, {"id": "mz", "score": 2}, {"id": "nq", "label": "10"}]',
        '[{"label": 7, "code": "qd"}, {"name": "mz", "label": 2}, {"id": "nq", "label": 10}]',
        '[{"id": "qd", "label": 7, "why": "bees"}, {"id": "mz", "label": 2}, {"nq": 10}]',
        '[{"qd": 7}, {"mz": 2}, {"nq": 10}]',
        '<think>{"qd": 1}</think>{"qd": 7, "mz": 2, "nq": 10}',
        "qd: 7\nmz: 2\nnq: 10",
        "qd: 7\r\nmz: 2\r\nnq: 10\r\n",
        "The labels, as asked:\n\n- qd = 7\n- MZ = 2\n- nq = 10\n",
        "| code | label |\n|---|---|\n| qd | 7 |\n| mz | 2 |\n| nq | 10 |",
        "1. **qd**: 7/10\n2. **mz**: **2**\n3. `nq`: 10.",
        "• qd: 7,\n> mz: 2;\n+ nq: 10",
        "<think>qd: 1</think>qd: 7\nmz: 2\nnq: 10",
        '{"qd": 7, "mz": 2}\nnq: 10',
        # names from the tags
        '{"document-qd": 7, "document-mz": 2, "document-nq": 10}',
        '{"document-qd-0123456789ab": 7, "document-mz-0123456789ab": 2, "nq-0123456789ab": 10}',
        '{"<document-qd>": 7, "doc mz": 2, "Document NQ": 10}',
        '[{"id": "document-qd-0123456789ab", "label": 7}, {"mz": 2}, {"tag": "nq", "label": 10}]',
        "document-qd: 7\nDocument mz: 2\n<document-nq-0123456789ab>: 10",
        "1. document-qd = 7\n2. document-mz = 2\n3. document-nq = 10",
        "[qd]: 7\n(mz): 2\n[document-nq] = 10",
        # elements
        "<document-qd>7</document-qd>\n<document-mz>2</document-mz>\n<document-nq>10</document-nq>",
        "<document-qd-0123456789ab>\n7\n</document-qd-0123456789ab>\n<mz>2/10</mz><NQ>10.0</NQ>",
        "<think>3</think><qd>7</qd><mz>2</mz><nq>10</nq><|im_end|>",
        # numbers that nothing makes others
        '{"qd": 7.0, "mz": "2.0", "nq": 10.00}',
        '{"qd": "7/10", "mz": "2 out of 10", "nq": "10 / 10"}',
        "qd: 7.\nmz: 2.0\nnq: 10/10",
        # nested objects
        '{"qd": {"label": 7}, "mz": {"score": 2, "why": "salt"}, "nq": {"rating": 10}}',
        '{"qd": {"label": 7, "confidence": 9}, "mz": {"id": "mz", "label": 2}, "nq": 10}',
        '{"answer": {"labels": {"qd": 7, "mz": 2, "nq": 10}}}',
        '{"documents": {"qd": {"label": 7}, "mz": {"label": 2}, "nq": {"label": 10}}}',
        # lists of objects
        '{"results": [{"name": "qd", "score": 7}, {"name": "mz", "score": 2}, {"nq": 10}]}',
        '{"docs": [{"doc_id": "qd", "relevance": 7}, {"doc_id": "mz", "rating": 2}, {"nq": 10}]}',
        '[["qd", 7], ["mz", 2], ["nq", 10]]',
        '{"id": "qd", "label": 7}\n{"id": "mz", "label": 2}\n{"id": "nq", "label": 10}',
        '[\n  {"id": "qd", "label": 7},\n  {"id": "mz", "label": 2},\n  {"nq": {"label": 10}}\n]',
        # tables
        "| code | why | label |\n|--|--|--|\n| qd | 3 hives | 7 |\n| mz | | 2 |\n| nq | 9 | 10 |",
        "| # | Doc | Score (0-10) |\n|--|:-:|--|\n| 1 | qd | 7 |\n| 2 | mz | 2 |\n| 3 | nq | 10 |",
        "| rating | label | code |\n|--|--|--|\n| 3 | 7 | qd |\n| 3 | 2 | mz |\n| 3 | 10 | nq |",
        "| qd | 7 | about bees |\n| mz | 2 | about salt |\n| **nq** | **10** | both |",
        "| 7 | qd |\n| 2 | mz |\n| 10/10 | nq |",
        "code | label\n--- | ---\nqd | 7\nmz | 2\nnq | 10",
        "| document-qd-0123456789ab | 7 |\n| `document-mz` | 2 |\n| NQ | 10 |",
        # what a tool is called with
        '{"name": "rate", "arguments": {"qd": 7, "mz": 2, "nq": 10}}',
        '<tool_call>\n{"name": "rate", "arguments": {"qd": 7, "mz": 2, "nq": 10}}\n</tool_call>',
        '[TOOL_CALLS]rate{"qd": 7, "mz": 2, "nq": 10}',
        # thoughts and marks
        '[THINK]{"qd": 1}[/THINK]{"qd": 7, "mz": 2, "nq": 10}',
        "<mm:think>qd: 1</mm:think>\nqd: 7\nmz: 2\nnq: 10</s>",
        'analysisqd: 1\nmz: 1assistantfinal{"qd": 7, "mz": 2, "nq": 10}',
        '<|channel|>analysis<|message|>{"qd": 1}<|channel|>final<|message|>qd: 7\nmz: 2\nnq: 10',
        '{"reasoning": {"qd": 1, "mz": 1}, "labels": {"qd": 7, "mz": 2, "nq": 10}}',
        '{"qd": {"reasoning": "mz: 3", "label": 7}, "mz": {"analysis": 9, "label": 2}, "nq": 10}',
        '{"thought": "qd: 1", "qd": 7, "mz": 2, "nq": 10}',
        '{"qd": 7, "mz": 2, "nq": 10}<|im_end|>',
        "<answer>qd: 7\nmz: 2\nnq: 10</answer>",
        "Of 3 documents, nq is the best: <answer>qd: 7\nmz: 2\nnq: 10</answer>",
        "qd: 7\nmz: 2\nnq: 10\n\nqd is about bees, mz is about 3 salts.",
    ],
)
def test_a_reply_that_names_every_document_once_is_read_whole(text: str) -> None:
    assert labels(text) == WHOLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # missing
        ('{"qd": 7, "nq": 10}', {"qd": 7, "nq": 10}),
        ("qd: 7", {"qd": 7}),
        # more than once, be it the same label
        ('{"qd": 7, "mz": 2, "qd": 7}', {"mz": 2}),
        ('{"qd": 7, "mz": 2, "QD": 8}', {"mz": 2}),
        ('{"qd": 7, "mz": 2}\nOr rather:\nqd: 8', {"mz": 2}),
        ("qd: 7\nmz: 2\nqd: 7", {"mz": 2}),
        ("qd: 7\nmz: 2\nqd: eleven", {"mz": 2}),
        ("qd: 7 or 8\nmz: 2\nqd: 7", {"mz": 2}),
        (
            '[{"id": "qd", "label": 7}, {"id": "qd", "label": 8}, {"id": "mz", "label": 2}]',
            {"mz": 2},
        ),
        ('[{"id": "qd", "label": 7, "label": 8}, {"id": "mz", "label": 2}]', {"mz": 2}),
        ('[{"id": "qd", "label": 7, "score": 8}, {"id": "mz", "label": 2}]', {"mz": 2}),
        ('[{"id": "qd", "id": "nq", "label": 7}, {"id": "mz", "label": 2}]', {"mz": 2}),
        ('[{"id": "qd"}, {"id": "mz", "label": 2}, {"id": "qd", "label": 7}]', {"mz": 2}),
        # no label
        *(
            (f'{{"qd": {value}, "mz": 2}}', {"mz": 2})
            for value in (
                *("7.5", "11.0", "-3", "11", "42", "1e1", "1e999", "true", "false", "null", "NaN"),
                *("-Infinity", '"eleven"', '""', '"7 or 8"', '"-3"', '"7.5"', '"٧"', '"７"', "[7]"),
                *('{"why": 7}', '{"mz": 3}', "9" * 5000, f'"{"9" * 5000}"', '"70%"', '"7-8"'),
            )
        ),
        *(
            (f"qd: {value}\nmz: 2", {"mz": 2})
            for value in (
                *("7.5", "7,5", "-3", "11", "42", "eleven", "", "7 or 8", "7-8", "7%", "7/100"),
                *("1e1", "٧", "７", "true", "7th", "7 | 8 |", "9" * 5000, "🐝"),
            )
        ),
        # unknown codes, which are fewer than the known ones
        ('{"qd": 7, "mz": 2, "zz": 3}', {"qd": 7, "mz": 2}),
        ('[{"id": "qd", "label": 7}, {"id": "mz", "label": 2}, 4]', {"qd": 7, "mz": 2}),
        ('[{"qd": 7}, {"mz": 2}, {"id": 3, "label": 3}]', {"qd": 7, "mz": 2}),
        ("qd: 7\nmz: 2\nqdx: 3", {"qd": 7, "mz": 2}),
        ("qd: 7\nNote: the others say nothing.", {"qd": 7}),
        # two documents' labels in one place
        ('{"qd": {"label": 7, "mz": 3}, "mz": 2}', {"mz": 2}),
        ('{"qd": {"id": "mz", "label": 3}, "mz": 2}', {"mz": 2}),
        ('{"qd": {"mz": {"label": 3}}, "mz": 2}', {"mz": 2}),
        ('[{"id": "qd", "name": "mz", "label": 3}, {"id": "nq", "label": 10}]', {"nq": 10}),
        ('[{"id": "qd", "label": {"mz": 3}}, {"id": "nq", "label": 10}]', {"nq": 10}),
        ("qd: 7, mz: 2\nnq: 10", {"nq": 10}),
        ("qd: 7, mz: 3\nmz: 2\nnq: 10", {"nq": 10}),
        ("| 0 | qd | a |, <qd>6</qd>\nnq: 10", {"nq": 10}),
        ('{"id": "mz", "label: 1id": "qd", "label": 0}\n{"nq": 10}', {"nq": 10}),
        ("1. qd: 7\n2. mz: 2\n3. qd", {"mz": 2}),
        ("qd: 7\nmz: 2\nnq: 10qd: 3", {"mz": 2}),
        ("| qd | 5 m.z | 4 |\n| mz | 2 | |", {"mz": 2}),
        ("| qd | 7 |\n| nq | 5mz | 3 |", {"qd": 7}),
        ("qd and mz: 7\nnq: 10", {"nq": 10}),
        ("qd: 7 (mz: 2)\nnq: 10", {"nq": 10}),
        ("qd = mz = 7\nnq: 10", {"nq": 10}),
        ("<qd>7</mz><nq>10</nq>", {"nq": 10}),
        ("<qd>7<mz>2</mz></qd>", {"mz": 2}),
        ("| qd | mz | 7 |\n| nq | 10 | |", {"nq": 10}),
        ("| qd | 7 |\n| mz | 2 |\nqd: 8", {"mz": 2}),
        ("<qd>7</qd><mz>2</mz>\nqd: 8", {"mz": 2}),
        ('{"qd": 7, "mz": 2}\n| qd | 8 |', {"mz": 2}),
        ("document-qd: 7\nqd: 8\nmz: 2", {"mz": 2}),
        ('{"document-qd": 7, "qd": 7, "mz": 2}', {"mz": 2}),
        ("| qd | 7 |\n| mz | 10 nq | 4 |", {"qd": 7}),
        ("| qd | 3 mz | 0 |\n| nq | 1 | |", {"nq": 1}),
        ('{"qd": 7, "mz": 2}, qd: 8', {"mz": 2}),
        ('qd: 8 {"qd": 7, "mz": 2}', {"mz": 2}),
        ("mz: 2\nnq: 1 or | qd | 5 |\n", {"mz": 2}),
        ("qd: 7\nmz: 2\nIt may be that qd = 8.", {"mz": 2}),
        ("qd: 7 <answer>qd: 8\nmz: 2</answer>", {"mz": 2}),
        ("qd: 7\n<answer>mz: 2</answer>", {"mz": 2}),
        # two labels of one document
        ('{"qd": {"label": 7, "score": 8}, "mz": 2}', {"mz": 2}),
        ('{"qd": {"label": [7, 8]}, "mz": 2}', {"mz": 2}),
        ('{"qd": "7, 8", "mz": 2}', {"mz": 2}),
        ('{"qd": {"rating": 7, "relevance": 8}, "mz": 2}', {"mz": 2}),
        ("| code | label | score |\n|--|--|--|\n| qd | 7 | 8 |\n\nmz: 2", {"mz": 2}),
        ("| code | label | score |\n|--|--|--|\n| qd | 7 | |\n\nmz: 2", {"mz": 2}),
        ("| qd | 7 | 8 |\n| mz | 2 | |", {"mz": 2}),
        ("| 1 | qd | 7 |\n| mz | 2 | |", {"mz": 2}),
        # tables whose columns are not the label's
        ("| code | confidence | verdict |\n|--|--|--|\n| qd | 7 | good |\n\nmz: 2", {"mz": 2}),
        ("| code | why | label |\n|--|--|--|\n| qd | a | b | 7 |\n\nmz: 2", {"mz": 2}),
        ("| code | why | label |\n|--|--|--|\n| qd || 7 |\n| mz | 7 | x |", {"qd": 7}),
        ("| code | why | label |\n|--|--|--|\n| qd | 7 |\n| mz | 3 | 2 |", {"qd": 7, "mz": 2}),
        # nearly a name
        ("documents-qd: 7\nmz: 2", {"mz": 2}),
        ('{"qd-xyz": 7, "mz": 2, "nq": 10}', {"mz": 2, "nq": 10}),
        ('{"qd-0123": 7, "mz": 2, "nq": 10}', {"mz": 2, "nq": 10}),
        ('{"q d": 7, "mz": 2, "nq": 10}', {"mz": 2, "nq": 10}),
        ('{"document-qd-0123456789ab-mz": 7, "mz": 2, "nq": 10}', {"mz": 2, "nq": 10}),
        # what a thought says of a document
        ('{"thinking": {"qd": 1, "mz": 1}, "labels": {"mz": 2}}', {"mz": 2}),
        ('{"qd": {"thought": {"label": 3}}, "mz": 2}', {"mz": 2}),
        ("<think>qd: 7</think>mz: 2", {"mz": 2}),
        ("qd: 7</think>mz: 2", {"mz": 2}),
    ],
)
def test_what_is_not_certain_is_left_out(text: str, expected: Mapping[str, int]) -> None:
    assert labels(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "7, 2, 10",
        "[7, 2, 10]",
        "{}",
        "[]",
        "[{}]",
        "qd",
        "qd mz nq",
        "I cannot judge these documents.",
        "Die Punktzahl für qd ist sieben",
        "スコアは7です",
        "🐝",
        "qd: 7, mz: 2, nq: 10",
        # shifted or of its own making
        '{"0": 7, "1": 2, "2": 10}',
        '{"1": 7, "2": 2, "3": 10}',
        "0: 7\n1: 2\n2: 10",
        "1. 7\n2. 2\n3. 10",
        '[{"id": 0, "label": 7}, {"id": 1, "label": 2}, {"id": 2, "label": 10}]',
        '{"qd": 7, "1": 2}',
        '{"qd": 7, "1": 2, "2": 10}',
        "qd: 7\n1: 2",
        '{"qd": 7, "note": "the others say nothing"}',
        # cut off
        '{"qd": 7, "mz": 2, "nq": 1',
        '{"qd": 7, "mz": 2',
        '{"qd": 7, "mz',
        '```json\n{"qd": 7, "mz": 2,\n',
        '[{"id": "qd", "label": 7}, {"id": "mz", "label": 2}',
        '[{"id": "qd", "label": 7}, {"id": "mz"',
        '{"labels": {"qd": 7, "mz": 2}',
        "qd: 7\nmz: 2\n{",
        '{"qd": 1}0}',
        # no JSON, or more than one object
        "{qd: 7, mz: 2}",
        "{'qd': 7, 'mz': 2}",
        '{"qd": 07, "mz": 2}',
        '{"qd": 7, "mz": 2,}',
        '{"qd": 7} {"mz": 2}',
        '{"qd": 7}\n{"qd": 7}',
        'A {set}: {"qd": 7}',
        # nested otherwise
        '{"qd": {"mz": 2}}',
        '{"labels": [7, 2, 10], "documents": ["qd", "mz", "nq"]}',
        '["qd: 7", "mz: 2", "nq: 10"]',
        '{"order": ["qd", "mz", "nq"]}',
        '{"best": "qd", "worst": "mz"}',
        "qd:\n  label: 7\nmz:\n  label: 2",
        "## qd\nLabel: 7\n## mz\nLabel: 2",
        "qd,7\nmz,2",
        "| qd | mz | nq |\n|--|--|--|\n| 7 | 2 | 10 |",
        "| qd | mz |\n|--|--|\n| 7 | 2 |",
        '<label id="qd">7</label>\n<label id="mz">2</label>',
        "<document-qd><label>7</label></document-qd><document-mz><label>2</label></document-mz>",
        # thoughts without an answer
        '<think>{"qd": 7, "mz": 2}',
        '<think>{"qd": 7, "mz": 2}</think>',
        '[THINK]{"qd": 7, "mz": 2}',
        "<mm:think>qd: 7\nmz: 2",
        'analysis{"qd": 7, "mz": 2}',
        "analysis - qd: 7\n- mz: 2",
        '<|channel|>analysis<|message|>{"qd": 7, "mz": 2}',
        '◁think▷{"qd": 7, "mz": 2}',
        '{"qd": 7, "mz": 2}<think>',
        '{"reasoning": {"qd": 7, "mz": 2}}',
        # marks that nobody knows, and turns of others
        '{"qd": 7, "mz": 2}<unknown>',
        '<unknown>{"qd": 7, "mz": 2}',
        "qd: 7\nmz: 2</unknown>",
        '{"qd": 7, "mz": 2}<|im_end|>\n{"qd": 1, "mz": 1}',
        "qd: 7\nmz: 2</s>qd: 1\nmz: 1",
        # bottomless
        '{"qd": ' * 100_000,
        '{"qd": ' + "[" * 100_000,
        "[" * 100_000 + "{",
    ],
)
def test_a_reply_that_does_not_follow_says_nothing(text: str) -> None:
    assert labels(text) == {}


@pytest.mark.parametrize(
    "finish", [Finish.CUT_OFF, Finish.DECLINED, Finish.TOOL_CALL, Finish.FAILED]
)
def test_a_reply_that_is_not_whole_says_nothing(finish: Finish) -> None:
    assert labels('{"qd": 7, "mz": 2, "nq": 10}', finish=finish) == {}
    assert labels("qd: 7\nmz: 2\nnq: 1", finish=finish) == {}


def test_an_unknown_finish_reason_is_no_refusal() -> None:
    assert labels('{"qd": 7, "mz": 2, "nq": 10}', finish=Finish.UNKNOWN) == WHOLE
    assert labels('{"qd": 7, "mz": 2, "nq": 1', finish=Finish.UNKNOWN) == {}


def test_a_refusal_says_nothing() -> None:
    assert read_answers(Reply('{"qd": 7}', refused=True), THREE) == {}


def test_the_prompts_own_tags_are_names() -> None:
    prompt = user_message("bees", "", ["a", "b"])
    tags = [line[1:-1] for line in prompt.splitlines() if line.startswith("<document-")]
    assert labels(json.dumps(dict(zip(tags, (7, 2), strict=True))), codes(2)) == {"qd": 7, "mz": 2}
    assert labels(f"<{tags[0]}>7</{tags[0]}>\n{tags[1]}: 2", codes(2)) == {"qd": 7, "mz": 2}


def spelled(text: str, told: Mapping[str, Mapping[str, float]]) -> Sequence[Token]:
    """Cut `text` at the keys of `told` (each once in it), which have those alternatives."""
    tokens = []
    for place, alternatives in told.items():
        before, text = text.split(place, 1)
        tokens += [Token(before, {before: 1.0}), Token(place, alternatives)]
    return [*tokens, Token(text, {text: 1.0})]


@pytest.mark.parametrize(
    "text",
    [
        '{"qd": 8, "mz": 3}',
        '{"mz": 3, "qd": 8}',
        '{"qd": "8", "mz": "3"}',
        '[{"id": "qd", "label": 8}, {"id": "mz", "score": 3}]',
        '{"qd": {"label": 8}, "mz": {"score": 3, "why": "salt"}}',
        '{\n  "document-qd": 8,\n  "document-mz-abcdefabcdef": 3\n}',
        "| label | code |\n|--|--|\n| 8 | qd |\n| **3** | mz |",
        "<qd>8</qd>\n<document-mz> 3</document-mz>",
        '<|channel|>final<|message|>{"qd": 8, "mz": 3}<|return|>',
        '<think>\nThe first.\n</think>\n{"labels": {"qd": 8, "mz": 3}}',
        "qd: 8\nmz: 3",
        "The labels:\n| qd | 8 |\n| mz | 3 |",
        "<think>The first.</think>- **qd**: **8**\n- mz = 3",
    ],
)
def test_each_score_is_the_expected_label_at_its_own_place(text: str) -> None:
    told = {"8": {"8": 0.5, "9": 0.5}, "3": {"3": 0.75, "1": 0.25}}
    order = sorted(told, key=text.index)
    answers = read_answers(
        Reply(text, tokens=spelled(text, {label: told[label] for label in order})), THREE
    )
    assert {code: answer.value for code, answer in answers.items()} == {"qd": 0.85, "mz": 0.25}


def test_equal_labels_have_their_own_probabilities() -> None:
    text = '{"qd": 8, "mz": 8}'
    tokens = [
        Token('{"qd": ', {}),
        Token("8", {"8": 0.5, "9": 0.5}),
        Token(', "mz": ', {}),
        Token("8", {"8": 0.5, "7": 0.5}),
        Token("}", {}),
    ]
    answers = read_answers(Reply(text, tokens=tokens), THREE)
    assert {code: answer.value for code, answer in answers.items()} == {"qd": 0.85, "mz": 0.75}


def test_where_a_place_is_not_known_the_integer_counts() -> None:
    text = '{"\\u0071d": 8}'
    tokens = spelled(text, {" 8": {" 8": 0.5, "9": 0.5}})
    assert read_answers(Reply(text, tokens=tokens), THREE) == {"qd": Answer(0.8)}


def test_the_probabilities_are_not_those_of_a_thought() -> None:
    text = '{"labels": {"qd": 8}, "reasoning": {"qd": 8}}'
    first, second = text.index("8"), text.rindex("8")
    tokens = [
        Token(text[:first], {}),
        Token("8", {"8": 0.5, "9": 0.5}),
        Token(text[first + 1 : second], {}),
        Token("8", {"8": 0.5, "0": 0.5}),
        Token(text[second + 1 :], {}),
    ]
    assert read_answers(Reply(text, tokens=tokens), THREE) == {"qd": Answer(0.8)}


Pairs = Sequence[tuple[str, int]]


def _as_json(pairs: Pairs) -> str:
    return "{" + ", ".join(f"{json.dumps(code)}: {label}" for code, label in pairs) + "}"


FORMATS: Sequence[Callable[[Pairs], str]] = [
    _as_json,
    lambda pairs: f"```json\n{_as_json(pairs)}\n```",
    lambda pairs: f"Here you are: {_as_json(pairs)} Anything else?",
    lambda pairs: f'{{"labels": {_as_json(pairs)}}}',
    lambda pairs: "{" + ",\n".join(f'"{code}": "{label}"' for code, label in pairs) + "}",
    lambda pairs: json.dumps([{"id": code, "label": label} for code, label in pairs]),
    lambda pairs: json.dumps([{"score": label, "id": code} for code, label in pairs]),
    lambda pairs: "\n".join(f"{code}: {label}" for code, label in pairs),
    lambda pairs: "\n".join(f"- {code.upper()} = {label}" for code, label in pairs),
    lambda pairs: "\n".join(f"| {code} | {label} |" for code, label in pairs),
    lambda pairs: "\n".join(f"{i}. **{code}**: {n}/10" for i, (code, n) in enumerate(pairs, 1)),
    lambda pairs: "\n".join(f"document-{code}-0123456789ab: {n}.0" for code, n in pairs),
    lambda pairs: "".join(f"<document-{code}>{n}</document-{code}>" for code, n in pairs),
    lambda pairs: (
        "| label | why | code |\n|--|--|--|\n"
        + "\n".join(f"| {n} | 3 bees | {code} |" for code, n in pairs)
    ),
    lambda pairs: f"<think>qd: 3\n</think>{_as_json(pairs)}<|im_end|>",
    lambda pairs: f'{{"reasoning": {{"qd": 3}}, "labels": {_as_json(pairs)}}}',
    lambda pairs: "[" + ",\n".join(f'["{code}", {label}]' for code, label in pairs) + "]",
    lambda pairs: (
        "{"
        + ", ".join(f'"document-{code}": {{"why": "a", "label": {n}}}' for code, n in pairs)
        + "}"
    ),
    lambda pairs: "\n".join(f'{{"id": "{code}", "label": {label}}}' for code, label in pairs),
]
formats = st.sampled_from(FORMATS)
full = st.lists(st.integers(0, 10), min_size=1, max_size=50).map(
    lambda given: list(zip(codes(len(given)), given, strict=True))
)


@given(full.flatmap(st.permutations), formats)
def test_a_full_answer_is_read_whole_in_any_order_and_format(
    pairs: Pairs, written: Callable[[Pairs], str]
) -> None:
    assert labels(written(pairs), codes(len(pairs))) == dict(pairs)


@given(full, formats, st.data())
def test_a_single_corruption_takes_away_that_document_alone(
    pairs: Pairs, written: Callable[[Pairs], str], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(pairs) - 1))
    code, label = pairs[at]
    rest = [*pairs[:at], *pairs[at + 1 :]]
    asked, expected = codes(len(pairs)), dict(rest)
    assert labels(written(rest), asked) == expected
    twice = [*pairs, (code, data.draw(st.integers(0, 10)))]
    assert labels(written(data.draw(st.permutations(twice))), asked) == expected
    unknown = data.draw(st.from_regex("[a-z]{2,3}|[0-9]{1,2}", fullmatch=True))
    if unknown not in asked:
        renamed = [*pairs[:at], (unknown, label), *pairs[at + 1 :]]
        # Where the unknown code is one of two, nothing says that the other one is meant.
        assert labels(written(renamed), asked) == (expected if len(rest) > 1 else {})
    wrong = [
        *pairs[:at],
        (code, data.draw(st.integers(11) | st.integers(max_value=-1))),
        *rest[at:],
    ]
    assert labels(written(wrong), asked) == expected


@given(full, st.sampled_from(FORMATS[:7]), st.data())
def test_json_that_is_cut_off_says_nothing(
    pairs: Pairs, written: Callable[[Pairs], str], data: st.DataObject
) -> None:
    text = written(pairs)
    end = data.draw(st.integers(0, max(text.rfind("}"), text.rfind("]")) - 1))
    assert labels(text[:end], codes(len(pairs))) == {}


pieces = st.lists(
    st.sampled_from(
        [
            *'{}[]":,|=-*\n \\',
            *("0", "1", "7", "10", "7.5", "-3", "９", "\ud800", "null"),
            *("qd", "MZ", "qd: 7\n", '"qd": 7', '"mz"', '{"qd": 7}', '"id"', '"label"'),
            *("<think>", "</think>", "```", "[THINK]", "assistantfinal", "<qd>", "</qd>", "<a>"),
            *("<|im_end|>", "document-qd", "| qd | 7 |\n", "| label |", '"reasoning"', "/10", ".0"),
            *('{"label": 7}', "<|channel|>final<|message|>", "<answer>", "qd: 7 or 8\n", "\u2028"),
        ]
    )
).map("".join)
tokens = st.lists(
    st.builds(
        Token,
        text=st.sampled_from(["0", "1", "10", " 7", "qd", '": ', "{", "\n", ""]),
        alternatives=st.dictionaries(
            st.sampled_from([str(n) for n in range(12)] + ["qd", " 3", ""]), st.floats(0, 1)
        ),
    ),
    max_size=5,
)
json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["qd", "7", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["qd", "MZ", "document-nq", "id", "label", "0", "labels", "reasoning", "name"]
            ),
            inner,
            max_size=4,
        )
    ),
).map(json.dumps)


@given(
    st.builds(
        Reply,
        text=st.text() | pieces | json_texts,
        finish=st.sampled_from(Finish),
        refused=st.booleans(),
        tokens=tokens,
    )
)
def test_any_reply_ends_in_scores_in_range_of_documents_that_were_asked(reply: Reply) -> None:
    answers = read_answers(reply, THREE)
    assert set(answers) <= set(THREE)
    for answer in answers.values():
        assert 0 <= answer.value <= 1
        assert answer.value == round(answer.value, 6)


@given(pieces | json_texts)
def test_no_text_without_a_digit_holds_a_label(text: str) -> None:
    assert read_answers(Reply("".join(c for c in text if c not in "0123456789")), THREE) == {}


@given(
    pieces | json_texts,
    st.sampled_from(
        [
            *(("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<mm:think>", "</mm:think>")),
            *(("analysis", "assistantfinal"), ("◁think▷", "◁/think▷")),
            ("<|channel|>analysis<|message|>", "<|end|><|channel|>final<|message|>"),
        ]
    ),
)
def test_what_a_thought_says_is_no_label(thought: str, marks: tuple[str, str]) -> None:
    opening, closing = marks
    assert labels(f"{opening}. {thought}{closing}") == {}
    assert labels(f'{opening}. {thought}{closing}{{"qd": 7}}') == {"qd": 7}
    if not any(mark in thought for mark in ("</", "final")):
        assert labels(f"{opening}. {thought}") == {}


@given(full, st.sampled_from(FORMATS), st.data())
def test_labels_are_never_anothers(
    pairs: Pairs, written: Callable[[Pairs], str], data: st.DataObject
) -> None:
    """Whatever is cut out of an answer, what is read of it is what it said of that document."""
    text = written(pairs)
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 3)))
    read = labels(text[:begin] + text[end:], codes(len(pairs)))
    cut = text[begin:end]
    if not any(c.isdigit() for c in cut) and not any(c.isalpha() for c in cut):
        assert read.items() <= dict(pairs).items()

"""Reading replies about several documents: the labels that are certain, and no others."""

import json
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.answers import Answer, Reply, Token
from rerankd_server.scoring.batch_answers import read_answers
from rerankd_server.scoring.batch_prompt import codes

THREE = codes(3)  # qd, mz, nq
WHOLE = {"qd": 7, "mz": 2, "nq": 10}


def labels(text: str, asked: Sequence[str] = THREE, finish: str = "stop") -> dict[str, int]:
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
                *("7.5", "7.0", "-3", "11", "42", "1e1", "1e999", "true", "false", "null", "NaN"),
                *("-Infinity", '"eleven"', '""', '"7 or 8"', '"-3"', '"7.5"', '"٧"', '"７"', "[7]"),
                *('{"label": 7}', '{"mz": 3}', "9" * 5000, f'"{"9" * 5000}"', '"70%"', '"7-8"'),
            )
        ),
        *(
            (f"qd: {value}\nmz: 2", {"mz": 2})
            for value in (
                *("7.5", "7,5", "-3", "11", "42", "eleven", "", "7 or 8", "7-8", "7%", "7/100"),
                *("1e1", "٧", "７", "true", "7th", "7 | 8 |", "7, mz: 3", "9" * 5000, "🐝"),
            )
        ),
        # unknown codes, which are fewer than the known ones
        ('{"qd": 7, "mz": 2, "zz": 3}', {"qd": 7, "mz": 2}),
        ('[{"id": "qd", "label": 7}, {"id": "mz", "label": 2}, 4]', {"qd": 7, "mz": 2}),
        ('[{"qd": 7}, {"mz": 2}, {"id": 3, "label": 3}]', {"qd": 7, "mz": 2}),
        ("qd: 7\nmz: 2\nqdx: 3", {"qd": 7, "mz": 2}),
        ("qd: 7\nNote: the others say nothing.", {"qd": 7}),
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
        # no JSON, or more than one object
        "{qd: 7, mz: 2}",
        "{'qd': 7, 'mz': 2}",
        '{"qd": 07, "mz": 2}',
        '{"qd": 7, "mz": 2,}',
        '{"qd": 7} {"mz": 2}',
        '{"qd": 7}\n{"qd": 7}',
        'A {set}: {"qd": 7}',
        # nested otherwise
        '{"answer": {"labels": {"qd": 7}}}',
        '{"qd": {"mz": 2}}',
        # thoughts without an answer
        '<think>{"qd": 7, "mz": 2}',
        '<think>{"qd": 7, "mz": 2}</think>',
        # bottomless
        '{"qd": ' * 100_000,
        '{"qd": ' + "[" * 100_000,
        "[" * 100_000 + "{",
    ],
)
def test_a_reply_that_does_not_follow_says_nothing(text: str) -> None:
    assert labels(text) == {}


@pytest.mark.parametrize("finish", ["length", "content_filter", "tool_calls", ""])
def test_a_reply_that_is_not_whole_says_nothing(finish: str) -> None:
    assert labels('{"qd": 7, "mz": 2, "nq": 10}', finish=finish) == {}
    assert labels("qd: 7\nmz: 2\nnq: 1", finish=finish) == {}


def test_a_refusal_says_nothing() -> None:
    assert read_answers(Reply('{"qd": 7}', "stop", refused=True), THREE) == {}


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
        Reply(text, "stop", tokens=spelled(text, {label: told[label] for label in order})), THREE
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
    answers = read_answers(Reply(text, "stop", tokens=tokens), THREE)
    assert {code: answer.value for code, answer in answers.items()} == {"qd": 0.85, "mz": 0.75}


def test_where_a_place_is_not_known_the_integer_counts() -> None:
    text = '{"\\u0071d": 8}'
    tokens = spelled(text, {" 8": {" 8": 0.5, "9": 0.5}})
    assert read_answers(Reply(text, "stop", tokens=tokens), THREE) == {"qd": Answer(0.8)}


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
            *("<think>", "</think>", "```"),
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
            st.sampled_from(["qd", "MZ", "nq", "id", "label", "0", "labels"]), inner, max_size=4
        )
    ),
).map(json.dumps)


@given(
    st.builds(
        Reply,
        text=st.text() | pieces | json_texts,
        finish=st.sampled_from(["stop", "eos_token", "length", ""]),
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

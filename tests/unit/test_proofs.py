"""The table of promises names tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_promise_names_tests_that_are_there() -> None:
    rows = [
        line
        for line in (TESTS / "faults" / "README.md").read_text().splitlines()
        if re.match(r"\| \d+ \|", line)
    ]
    assert [int(row.split("|")[1]) for row in rows] == [*range(4, 22)]
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named
        for file, test in named:
            assert f"def {test}(" in (TESTS / file).read_text(), f"{file}::{test}"

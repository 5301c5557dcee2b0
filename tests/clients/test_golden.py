"""Every client says the same: what each language's runner saw, against golden.json."""

import asyncio
from collections.abc import Mapping

import pytest

from clients.golden import CASES, Seen, expected_rankings, models_of, perform, ranking_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    languages = metafunc.config.getoption("--clients").split(",")
    metafunc.parametrize("seen", languages, scope="module", indirect=True)


@pytest.fixture(scope="module")
def seen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Seen]:
    """What the runner of one language saw."""
    return asyncio.run(perform(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.mark.timeout(300)  # the first of a language's waits for all of them
@pytest.mark.parametrize("name", CASES)
def test_case(name: str, seen: Mapping[str, Seen]) -> None:
    case, found = CASES[name], seen[name]
    expect = case["expect"]
    assert [ranking_of(ranking) for ranking in found.rankings] == expected_rankings(case)
    if "models" in expect:
        assert found.models
        assert models_of(found.models) == models_of(expect["models"])
    else:
        assert found.models is None
    end = {"reason": "", "violations": [], "message": "", **(found.end or {})}
    wanted = {"reason": "", "violations": [], "message": "", **expect["end"]}
    if says := wanted.pop("says", None):
        message = end.pop("message")
        wanted.pop("message")
        assert [words for words in says if words not in message] == [], message
    assert end == wanted
    assert found.asked == expect.get("asked", {})
    assert found.attempts == expect.get("attempts", found.attempts)


def test_no_case_is_left_out(seen: Mapping[str, Seen]) -> None:
    assert list(seen) == list(CASES)

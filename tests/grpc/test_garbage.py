"""What calls leave to Python's garbage collector: its looks hold up every call."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.provider import FakeProvider
from support.server import ask, running, stub_of


@pytest.fixture
def saved() -> Iterator[list[object]]:
    """All that the garbage collector finds, and would have freed, instead of what it would free."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_calls_leave_no_cycles_of_ours(
    provider: FakeProvider, tmp_path: Path, saved: list[object]
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url, model="m", attempts=1) as app,
        stub_of(app.address) as stub,
    ):
        for query in ("blue sky", "blue sky", "bread"):
            await stub.RerankOnce(ask(query, ["2 sky", "9 blue sky", "5 bread"]))
        gc.collect()
        ours = {type(each).__qualname__ for each in saved if "rerankd" in type(each).__module__}
        assert ours == set()
    assert provider.calls

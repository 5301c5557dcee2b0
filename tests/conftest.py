"""Fixtures that every test may use."""

from collections.abc import AsyncGenerator

import pytest
from hypothesis import settings

from support.provider import FakeProvider, fake_provider, label_in

settings.register_profile("busy", deadline=None)  # no test may depend on speed
settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--clients",
        default="python,python-asyncio",
        help="languages whose clients perform the golden cases; see tests/clients/README.md",
    )


@pytest.fixture
async def provider() -> AsyncGenerator[FakeProvider]:
    """A provider whose labels are the numbers that documents begin with."""
    async with fake_provider(label_in) as fake:
        yield fake

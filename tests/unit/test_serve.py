"""What `rerankd serve` does beside serving."""

import asyncio
import gc
from typing import cast

import pytest

from rerankd_server.app import App
from rerankd_server.commands.serving import freeze


class Warming:
    def __init__(self) -> None:
        self.done = asyncio.Event()

    async def warmed_up(self) -> None:
        await self.done.wait()


async def test_what_is_loaded_for_good_is_left_out_of_garbage_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frozen: list[bool] = []
    app = Warming()
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(app.done.is_set()))
    freezing = asyncio.create_task(freeze(cast("App", app)))
    await asyncio.sleep(0)
    app.done.set()
    await freezing
    assert frozen == [True]

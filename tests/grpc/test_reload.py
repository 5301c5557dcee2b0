"""Settings that are read again: for the calls that come then, whole or not at all."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.config import Settings
from support.process import ServeProcess, serving
from support.provider import FakeProvider, Gate, label_in
from support.server import ask, running, stub_of


def settings_of(folder: Path, **fields: Any) -> Settings:
    given = {"listen": "127.0.0.1:0", "data_dir": folder, "grace": 0.2}
    return Settings.model_validate(given | fields)


async def test_new_calls_go_by_other_settings_and_those_under_way_by_their_own(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = gate = Gate(label_in)
    base = {"base_url": provider.base_url}
    async with running(tmp_path, **base) as app, stub_of(app.address) as stub:
        before = stub.RerankOnce(ask("q", ["1 a"]))
        await gate.arrived(1)
        app.reload(settings_of(tmp_path, **base, allow_models=["other"], max_documents=1))
        after = stub.RerankOnce(ask("q", ["2 b"], model="other"))
        await gate.arrived(2)
        gate.open()
        assert [(await each).results[0].relevance_score for each in (before, after)] == [0.1, 0.2]
        assert await stub.RerankOnce(ask("q", ["1 a", "2 b"])).code() is (
            grpc.StatusCode.INVALID_ARGUMENT
        )
        models = (await stub.ListModels(pb.ListModelsRequest())).models
        assert "other" in [model.name for model in models]
        assert (await stub.RerankOnce(ask("q", ["1 a"]))).usage.cached_pairs == 1
        calls = {name: spent.calls for (_, name), spent in app.spent.items()}
        assert calls == {"gpt-4o-mini": 1, "other": 1}


async def test_what_was_answered_before_is_answered_anew(
    provider: FakeProvider, tmp_path: Path
) -> None:
    base = {"base_url": provider.base_url}
    prices = [{"gpt-4o-mini": {"prompt": each, "completion": 0}} for each in (1.0, 2.0)]
    async with running(tmp_path, **base, prices=prices[0]) as app, stub_of(app.address) as stub:
        for _ in range(4):
            saved = (await stub.RerankOnce(ask("q", ["1 a"]))).usage.saved_usd
        app.reload(settings_of(tmp_path, **base, prices=prices[1]))
        assert (await stub.RerankOnce(ask("q", ["1 a"]))).usage.saved_usd == 2 * saved > 0


async def test_what_only_a_restart_changes_stays_and_the_log_says_so(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with running(tmp_path, base_url=provider.base_url) as app:
        with capture_logs() as logs:
            app.reload(settings_of(tmp_path / "other", base_url=provider.base_url, workers=2))
        assert app.settings.data_dir == tmp_path
        assert [log["event"] for log in logs] == [
            "settings read again",
            "some settings change with the next start only",
        ]
        assert logs[1]["settings"] == ["data_dir", "workers"]


async def test_former_settings_end_with_their_last_call(
    provider: FakeProvider, tmp_path: Path
) -> None:
    base = {"base_url": provider.base_url, "time_limit": 2}
    async with running(tmp_path, **base) as app, stub_of(app.address) as stub:
        await stub.RerankOnce(ask("q", ["1 a"]))
        app.reload(settings_of(tmp_path, **base))
        await app.former_ended()
        assert {spent.calls for spent in app.spent.values()} == {1}
        assert (await stub.RerankOnce(ask("q", ["1 a", "2 b"]))).usage.scored_pairs == 1


async def said_at_hangup(server: ServeProcess, event: str) -> str:
    server.send(signal.SIGHUP)
    return str(await server.log(event))


async def test_a_signal_has_the_file_read_again_and_a_bad_one_changes_nothing(
    provider: FakeProvider, tmp_path: Path
) -> None:
    file = tmp_path / "rerankd.toml"
    file.write_text('allow_models = ["one"]\nlog_level = "info"\n')
    flags = f"--config={file}", "--drain=0"
    async with (
        serving(tmp_path / "data", *flags, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
    ):
        for wrong, why in (
            ("allow_models = [", "cannot be read"),
            ("time_limit = -1", "time_limit"),
            ('[recipes.r]\nkind = "cascade"', "recipes.r"),
        ):
            file.write_text(wrong)
            assert why in await said_at_hangup(server, "settings stay as they are")
            assert (await stub.RerankOnce(ask("q", ["1 a"], model="one"))).results
        file.write_text('allow_models = ["two"]\nlog_level = "debug"\n')
        assert "two" in await said_at_hangup(server, "settings read again")
        assert (await stub.RerankOnce(ask("q", ["1 a"], model="two"))).results
        await server.log("ranked")  # which is said at that level only
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(ask("q", ["1 a"], model="one"))
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        await asyncio.gather(*(stub.RerankOnce(ask("q", [f"{n} b"])) for n in range(9)))

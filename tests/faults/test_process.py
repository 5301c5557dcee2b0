"""The server as a process: how it starts, how it stops, and what a sudden death leaves."""

import asyncio
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

import grpc
from rerankd import AsyncClient, FailedPreconditionError
from rerankd.v1 import rerank_pb2 as pb
from support.process import ServeProcess, rerankd, serving
from support.provider import Call, FakeProvider, Gate, fails, label_in
from support.server import NOT_SERVING, Stub, ask, stub_of


async def test_one_line_says_all_when_it_is_ready(provider: FakeProvider, tmp_path: Path) -> None:
    for stored in (0, 2):
        async with serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (server, address):
            ready = server.logs[-1]
            assert ready["model"] == "gpt-4o-mini"
            assert ready["pairs_stored"] == stored
            assert ready["listen"].startswith("127.0.0.1:")
            assert len(server.logs) == 1
            async with AsyncClient(address) as client:
                await client.rerank("q", ["1 a", "2 b"])
    assert len(provider.calls) == 2


async def test_without_a_key_it_says_so_loudly(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, address):
        warning = server.logs[0]
        assert warning["level"] == "warning"
        assert "no language model" in warning["event"]
        assert "OPENAI_API_KEY" in warning["fix"]
        assert server.logs[-1]["model"] == "lexical"
        async with AsyncClient(address) as client:
            ranking = await client.rerank("honey bee", ["a knife", "the honey of a bee"])
            assert [result.index for result in ranking] == [1, 0]
            again = await client.rerank("honey bee", ["a knife", "the honey of a bee"])
            assert again.usage.cached_pairs == 2


async def test_it_warns_where_other_machines_can_reach_it(tmp_path: Path) -> None:
    async with serving(tmp_path, "--model=lexical", "--listen=[::]:0") as (server, _):
        assert [log["level"] for log in server.logs] == ["warning", "info"]
        assert "other machines can reach this server" in server.logs[0]["event"]


async def test_asked_for_lexical_it_does_not_warn(tmp_path: Path) -> None:
    async with serving(tmp_path, "--model=lexical") as (server, _):
        assert [log["event"] for log in server.logs] == ["ready"]


async def test_without_key_and_word_list_it_says_what_to_do(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name == 'wordfreq':\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
    )
    status, out, err = await rerankd(
        "serve", f"--data-dir={tmp_path}", "--listen=127.0.0.1:0", PYTHONPATH=str(hidden)
    )
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "OPENAI_API_KEY" in err
    assert "pip install 'rerankd[server,offline]'" in err


async def test_wrong_settings_end_the_start_with_status_2(tmp_path: Path) -> None:
    status, _, err = await rerankd("serve", "--concurrency=0", RERANKD_TIMEOUT="soon")
    assert status == 2
    assert "concurrency (--concurrency): " in err
    assert "timeout (RERANKD_TIMEOUT): " in err
    assert "Traceback" not in err


async def test_a_port_in_use_ends_the_start_with_status_2(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, address):
        status, _, err = await rerankd(
            "serve", f"--listen={address}", f"--data-dir={tmp_path / 'other'}"
        )
    assert status == 2
    assert f"listen: cannot listen on {address}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_running_call_is_finished_before_the_end(
    provider: FakeProvider, tmp_path: Path, number: signal.Signals
) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    async with (
        serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
        grpc.aio.insecure_channel(address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        watch = aiter(health.Watch(health_pb2.HealthCheckRequest()))
        assert (await anext(watch)).status == health_pb2.HealthCheckResponse.SERVING
        running = asyncio.ensure_future(stub.RerankOnce(ask("q", ["1 a", "2 b"])))
        await gate.arrived(2)
        server.send(number)
        assert (await anext(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        gate.open()
        assert [result.index for result in (await running).results] == [1, 0]
        assert [status async for status in watch] == []  # it ends, and holds nobody up
        await server.log("stopped")
        assert await server.ended() == 0
    async with serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (server, _):
        assert server.logs[-1]["pairs_stored"] == 2


async def test_what_was_sent_is_stored_though_its_caller_ran_out_of_grace(
    provider: FakeProvider, tmp_path: Path
) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    async with (
        serving(tmp_path, "--grace=2", OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
    ):
        running = asyncio.ensure_future(stub.RerankOnce(ask("q", ["1 a", "2 b"])))
        await gate.arrived(2)
        server.send(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await running
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "the server is shutting down" in str(raised.value.details())
        gate.open()
        await server.log("stopped")
    async with serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (server, _):
        assert server.logs[-1]["pairs_stored"] == 2


async def end_of(stream: grpc.aio.UnaryStreamCall[Any, Any]) -> grpc.StatusCode:
    """Read to the end; gives the status."""
    with suppress(grpc.aio.AioRpcError):
        async for _ in stream:
            pass
    return await stream.code()


async def test_a_stop_under_load_leaves_no_call_without_a_status_and_loses_nothing(
    provider: FakeProvider, tmp_path: Path
) -> None:
    bought: list[str] = []

    async def slowly(call: Call) -> web.Response:
        await asyncio.sleep(0.02)  # a model's latency
        bought.append(call.document)
        return label_in(call)

    provider.answer = slowly
    flags = "--grace=1", "--concurrency=8"
    async with (
        serving(tmp_path, *flags, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
        grpc.aio.insecure_channel(address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        texts = [f"{n % 11} {n}" for n in range(2000)]
        calls = [stub.RerankOnce(ask("q", texts[n * 20 : n * 20 + 200])) for n in range(90)]
        streams = [stub.Rerank(ask("q", texts, partial_results=True)) for _ in range(5)]
        while len(bought) < 40:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        server.send(signal.SIGTERM)
        ended = await asyncio.gather(
            *(call.code() for call in calls), *(end_of(stream) for stream in streams)
        )
        assert set(ended) == {grpc.StatusCode.UNAVAILABLE}  # more than the grace had time for
        assert [each.status async for each in watch][-1] == NOT_SERVING
        await server.log("stopped")
        assert await server.ended() == 0
        assert not {"defect", "calls given up at shutdown"} & {log["event"] for log in server.logs}
    assert len(bought) == len(set(bought)) == len(provider.calls) < 2000
    async with serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (server, _):
        assert server.logs[-1]["pairs_stored"] == len(bought)


async def test_a_second_signal_ends_the_grace(provider: FakeProvider, tmp_path: Path) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    flags = "--grace=1000", "--timeout=1000"
    async with (
        serving(tmp_path, *flags, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
    ):
        running = asyncio.ensure_future(stub.RerankOnce(ask("q", ["1 a"])))
        await gate.arrived(1)
        server.send(signal.SIGINT)
        server.send(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await running
        await server.log("stopped")
        assert await server.ended() == 0


@pytest.mark.timeout(300)
async def test_every_score_that_a_caller_saw_survives_kill_9(
    provider: FakeProvider, tmp_path: Path
) -> None:
    chance = random.Random(7)
    seen: dict[str, float] = {}

    async def slowly(call: Call) -> web.Response:
        await asyncio.sleep(chance.uniform(0, 0.02))
        return label_in(call)

    provider.answer = slowly
    flags = "--partial-interval=0", "--concurrency=4"

    async def watch(stub: Stub, texts: list[str], server: ServeProcess) -> None:
        """Note every score as it comes, and kill the server at a random one."""
        fatal = len(seen) + chance.randrange(1, 40)
        async for message in stub.Rerank(ask("q", texts, partial_results=True)):
            for result in message.results:
                if result.HasField("relevance_score"):
                    seen[texts[result.index]] = result.relevance_score
            if len(seen) >= fatal:
                server.send(signal.SIGKILL)

    for kill in range(20):
        texts = [f"{n % 11} {n} of {kill}" for n in range(60)]
        before = len(seen)
        async with (
            serving(tmp_path, *flags, OPENAI_BASE_URL=provider.base_url) as (server, address),
            stub_of(address) as stub,
        ):
            assert int(server.logs[-1]["pairs_stored"]) >= before
            with pytest.raises(grpc.aio.AioRpcError) as died:
                await watch(stub, texts, server)
            assert died.value.code() is grpc.StatusCode.UNAVAILABLE
        assert len(seen) > before
    async with (
        serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (_, address),
        stub_of(address) as stub,
    ):
        request = ask("q", list(seen), cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED)
        response = await stub.RerankOnce(request)
        found = {list(seen)[r.index]: r.relevance_score for r in response.results}
        assert found == seen
        assert response.usage.cached_pairs == len(seen)


async def test_nothing_private_leaks(provider: FakeProvider, tmp_path: Path) -> None:
    key, query, text = "sk-sentinel-KEY-0", "sentinel-QUERY-0", "7 sentinel-TEXT-0"
    private = (key, query, text, "sentinel")
    data = tmp_path / "data"
    async with (
        serving(
            data,
            "--log-level=debug",
            "--attempts=2",
            OPENAI_BASE_URL=provider.base_url,
            OPENAI_API_KEY=key,
            OPENAI_LOG="debug",
        ) as (server, address),
        AsyncClient(address) as client,
    ):
        await client.rerank(query, [text], instruction="sentinel-INSTRUCTION")
        for status in (400, 404, 429, 500, 401):
            provider.answer = fails(status, "sentinel_code-1", f"bad key {key} for {query} {text}")
            with pytest.raises(Exception, match="provider") as raised:
                await client.rerank(query, [f"{text} {status}"])
            assert not any(each in repr(raised.value) for each in private)
        with pytest.raises(FailedPreconditionError):
            await client.rerank(query, [text, "other"], require_complete=True)
        server.send(signal.SIGTERM)
        await server.log("stopped")
    assert "sentinel" not in server.text
    files = [file for file in data.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert b"sentinel" not in file.read_bytes(), file.name


async def test_the_largest_request_is_answered_before_its_deadline_too(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """To let go of 10,000 documents that wait takes longer than the ordinary margin."""
    gate = Gate(label_in)
    provider.answer = gate
    async with serving(tmp_path, OPENAI_BASE_URL=provider.base_url) as (server, address):
        async with stub_of(address) as stub:
            texts = [f"5 {n}" for n in range(10_000)]
            response = await stub.RerankOnce(ask("q", texts), timeout=3.0)
            assert len(response.results) == 10_000
            reasons = {result.unscored_reason for result in response.results}
            assert reasons == {pb.UNSCORED_REASON_PENDING}
        gate.open()
        server.send(signal.SIGTERM)
        assert await server.ended() == 0

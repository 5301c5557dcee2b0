"""A server of several processes: one port, one folder, and each pair bought once."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import grpc
from rerankd.v1 import rerank_pb2 as pb
from support.process import rerankd, serving
from support.provider import FakeProvider, Gate, fails, label_in
from support.server import NOT_SERVING, ask, stub_of
from support.workers import callers, lease_holders, pids

TWO = "--workers=2"
TEXTS = [f"{n % 11} {n}" for n in range(100)]


async def test_one_line_says_that_all_serve(provider: FakeProvider, tmp_path: Path) -> None:
    async with serving(tmp_path, "--workers=3", OPENAI_BASE_URL=provider.base_url) as (server, _):
        assert len(pids(server)) == 3
        assert len(server.logs) == 1
        ready = server.logs[0]
        assert ready["workers"] == 3
        assert ready["model"] == "gpt-4o-mini"
        assert "worker" not in ready
    async with serving(tmp_path, TWO) as (server, _):
        assert [log["level"] for log in server.logs] == ["warning", "info"]  # no language model


async def test_a_herd_that_is_spread_over_processes_buys_each_pair_once(
    provider: FakeProvider, tmp_path: Path
) -> None:
    gate = provider.answer = Gate(label_in)
    flags = TWO, "--concurrency=10"
    async with (
        serving(tmp_path, *flags, OPENAI_BASE_URL=provider.base_url) as (server, address),
        callers(address, 100) as stubs,
    ):
        calls = [asyncio.ensure_future(stub.RerankOnce(ask("q", TEXTS))) for stub in stubs]
        await gate.arrived(10)  # the limit is the server's: five of each process
        assert lease_holders(tmp_path) == pids(server)
        assert len(set(provider.documents)) == 10
        gate.open()
        answers = await asyncio.gather(*calls)
        assert sorted(provider.documents) == sorted(TEXTS)
        assert provider.most_in_flight == 10
        for answer in answers:
            scores = {TEXTS[result.index]: result.relevance_score for result in answer.results}
            assert scores == {text: int(text.split()[0]) / 10 for text in TEXTS}
        usages = [answer.usage for answer in answers]
        assert sum(usage.model_calls for usage in usages) == 100
        assert sum(u.cached_pairs + u.scored_pairs + u.shared_pairs for u in usages) == 10_000
        assert not lease_holders(tmp_path)


async def test_two_servers_on_one_folder_buy_each_pair_once(
    provider: FakeProvider, tmp_path: Path
) -> None:
    gate = provider.answer = Gate(label_in)
    flags = "--concurrency=10", f"--data-dir={tmp_path}"
    async with (
        serving(tmp_path, *flags, OPENAI_BASE_URL=provider.base_url) as (_, one),
        serving(tmp_path, *flags, OPENAI_BASE_URL=provider.base_url) as (_, other),
        stub_of(one) as stub_of_one,
        stub_of(other) as stub_of_other,
    ):
        calls = [
            asyncio.ensure_future(stub.RerankOnce(ask("q", TEXTS)))
            for stub in (stub_of_one, stub_of_other)
        ]
        await gate.arrived(20)
        gate.open()
        for call in calls:
            assert all(r.HasField("relevance_score") for r in (await call).results)
        assert sorted(provider.documents) == sorted(TEXTS)


async def test_what_a_killed_process_was_buying_is_bought_by_another(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with (
        serving(tmp_path, TWO, OPENAI_BASE_URL=provider.base_url) as (_, address),
        callers(address, 20) as stubs,
    ):
        await stubs[0].RerankOnce(ask("q", ["1 stored"]))
        gate = provider.answer = Gate(label_in)
        request = ask("q", ["1 stored", "2 wanted"], partial_results=True)
        streams = [aiter(stub.Rerank(request)) for stub in stubs]
        for stream in streams:
            assert not (await anext(stream)).is_final  # it waits for the second document
        await gate.arrived(1)
        (holder,) = lease_holders(tmp_path)
        os.kill(holder, signal.SIGKILL)
        await gate.arrived(2)
        gate.open()
        ended = await asyncio.gather(*map(last, streams))
        answered = [ranking for ranking in ended if ranking is not None]
        assert 0 < len(answered) < 20
        for ranking in answered:
            assert [result.relevance_score for result in ranking.results] == [0.2, 0.1]
        assert provider.documents[1:] == ["2 wanted", "2 wanted"]


async def last(rankings: AsyncIterator[pb.RerankResponse]) -> pb.RerankResponse | None:
    """Give the last ranking, or None where the connection is lost."""
    try:
        return [ranking async for ranking in rankings][-1]
    except grpc.aio.AioRpcError:
        return None


async def test_a_killed_process_is_replaced_while_calls_go_on(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with serving(tmp_path, TWO, OPENAI_BASE_URL=provider.base_url) as (server, address):
        before = pids(server)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        ended = await server.log("worker ended")
        assert (ended["pid"], ended["signal"]) == (victim, "SIGKILL")
        async with stub_of(address) as stub:
            answer = await stub.RerankOnce(ask("q", TEXTS[:3]), wait_for_ready=True)
            assert len(answer.results) == 3
        replaced = await server.log("worker replaced")
        assert replaced["worker"] == ended["worker"]
        assert pids(server) == before - {victim} | {replaced["pid"]}
        os.kill(int(replaced["pid"]), signal.SIGKILL)
        again = await server.log("worker ended")
        assert ended["replaced_in"] == 0
        assert again["replaced_in"] > 0  # one that dies at once is not started at once


async def test_a_process_that_is_told_to_stop_by_itself_ends_in_order(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with serving(tmp_path, TWO, OPENAI_BASE_URL=provider.base_url) as (server, _):
        os.kill(min(pids(server)), signal.SIGTERM)
        assert (await server.log("worker ended"))["status"] == 0
        await server.log("worker replaced")


@pytest.mark.parametrize("everyone", [False, True], ids=["the first process", "all processes"])
async def test_running_calls_are_finished_before_the_end(
    provider: FakeProvider, tmp_path: Path, everyone: bool
) -> None:
    """A terminal signals all processes at once; that is one signal still."""
    gate = provider.answer = Gate(label_in)
    async with (
        serving(tmp_path, TWO, OPENAI_BASE_URL=provider.base_url) as (server, address),
        callers(address, 20) as stubs,
        grpc.aio.insecure_channel(address) as channel,
    ):
        watch = aiter(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()))
        await anext(watch)
        calls = [
            asyncio.ensure_future(stub.RerankOnce(ask("q", [text])))
            for stub, text in zip(stubs, TEXTS, strict=False)
        ]
        await gate.arrived(20)
        serve = pids(server)
        if everyone:
            for pid in serve:
                os.kill(pid, signal.SIGINT)
        server.send(signal.SIGINT)
        assert (await anext(watch)).status == NOT_SERVING
        gate.open()
        for call in calls:
            assert (await call).results[0].HasField("relevance_score")
        await server.log("stopped")
        assert await server.ended() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in serve)
        events = [log["event"] for log in server.logs]
        assert events == ["ready", "stopping", "stopping", "stopped"], "a line of each process's"


async def test_a_second_signal_ends_the_grace_of_all(
    provider: FakeProvider, tmp_path: Path
) -> None:
    gate = provider.answer = Gate(label_in)
    flags = TWO, "--grace=1000", "--timeout=1000"
    async with (
        serving(tmp_path, *flags, OPENAI_BASE_URL=provider.base_url) as (server, address),
        callers(address, 20) as stubs,
    ):
        calls = [
            stub.RerankOnce(ask("q", [text])) for stub, text in zip(stubs, TEXTS, strict=False)
        ]
        await gate.arrived(20)
        server.send(signal.SIGTERM)
        server.send(signal.SIGINT)
        assert {await call.code() for call in calls} == {grpc.StatusCode.UNAVAILABLE}
        await server.log("stopped")
        assert await server.ended() == 0


async def test_processes_whose_supervisor_was_killed_end_by_themselves(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with serving(tmp_path, TWO, OPENAI_BASE_URL=provider.base_url) as (server, _):
        serve = pids(server)
        server.send(signal.SIGKILL)
        assert await server.ended() == -signal.SIGKILL  # at the end of all that have its log
        assert not any(Path(f"/proc/{pid}/exe").exists() for pid in serve)


async def test_lines_of_the_log_say_whose_they_are(provider: FakeProvider, tmp_path: Path) -> None:
    provider.answer = fails(401)
    async with (
        serving(tmp_path, TWO, OPENAI_BASE_URL=provider.base_url) as (server, address),
        stub_of(address) as stub,
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.RerankOnce(ask("q", ["1 a"]))
        assert (await server.log("provider fails"))["worker"] in (0, 1)


@pytest.mark.parametrize("flags", [(), (TWO,)], ids=["one process", "two"])
async def test_a_port_in_use_ends_the_start_with_status_2(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    async with serving(tmp_path, *flags) as (_, address):
        status, _, err = await rerankd(
            "serve", TWO, f"--listen={address}", f"--data-dir={tmp_path / 'other'}"
        )
    assert status == 2
    assert err.startswith(f"rerankd: listen: cannot listen on {address}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("listen", ["203.0.113.7:50999", "[nothing]:50999", "127.0.0.1:99999"])
async def test_an_address_that_is_not_to_be_had_ends_the_start_with_status_2(
    tmp_path: Path, listen: str
) -> None:
    status, _, err = await rerankd("serve", TWO, f"--listen={listen}", f"--data-dir={tmp_path}")
    assert (status, err.count("\n")) == (2, 1)
    assert f"cannot listen on {listen}" in err


async def test_a_unix_socket_is_for_one_process(tmp_path: Path) -> None:
    status, _, err = await rerankd("serve", TWO, f"--listen=unix:{tmp_path}/socket")
    assert (status, err.count("\n")) == (2, 1)
    assert "listen on host:port" in err


async def test_what_no_process_can_start_with_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    status, _, err = await rerankd(
        "serve", "--workers=4", "--listen=127.0.0.1:0", f"--data-dir={file}"
    )
    assert status == 2
    assert err.startswith(f"rerankd: data_dir: {file}/")
    assert err.count("\n") == 1


async def test_processes_that_die_before_they_serve_are_not_started_again(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import os, sys\nif 'spawn_main' in ' '.join(sys.orig_argv):\n    os._exit(3)\n"
    )
    path = os.pathsep.join([str(hidden), *sys.path])
    status, _, err = await rerankd(
        "serve", TWO, "--listen=127.0.0.1:0", f"--data-dir={tmp_path}", PYTHONPATH=path
    )
    assert status == 1
    assert "a worker ended before all had started" in err
    assert "status=3" in err


async def test_no_key_is_on_a_command_line(provider: FakeProvider, tmp_path: Path) -> None:
    variables = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "sk-sentinel"}
    async with serving(tmp_path, TWO, **variables) as (server, address):
        for pid in pids(server):
            assert b"sentinel" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        async with stub_of(address) as stub:
            await stub.RerankOnce(ask("q", ["1 a"]))
        assert provider.calls[0].headers["Authorization"] == "Bearer sk-sentinel"

"""The same request again, byte for byte: the same reply, for as long as nothing has changed."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api import service, validation
from rerankd_server.api.current import SERVICE
from rerankd_server.caching.haste import Haste
from support.provider import FakeProvider, Gate, completion, embeddings_by, label_in
from support.server import Stub, ask, running, stub_of

RECIPES: dict[str, Any] = {
    "alone": {"kind": "pointwise", "model": "judge"},
    "near": {"kind": "embeddings", "model": "embed"},
    "both": {"kind": "mean", "of": ["alone", "words"]},
    "words": {"kind": "lexical"},
    "gate": {"kind": "cascade", "cheap": "words", "careful": "alone", "top_k": 2},
    "mix": {"kind": "blend", "scores": "alone", "prior": "prior", "weight": 0.5},
}
TEXTS = ["2 sky", "9 blue sky", "5 bread"]


@pytest.fixture
async def stub(provider: FakeProvider, tmp_path: Path) -> AsyncGenerator[Stub]:
    provider.embed = embeddings_by(lambda text: [1.0, float(len(text))])
    settings = {"recipes": RECIPES, "model": "alone", "attempts": 1}
    async with (
        running(tmp_path, base_url=provider.base_url, **settings) as app,
        stub_of(app.address) as stub,
    ):
        yield stub


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queries of the requests that were read and ranked, rather than answered as before."""
    queries: list[str] = []
    to_domain = validation.to_domain

    def noted(request: pb.RerankRequest, *arguments: Any) -> Any:
        queries.append(request.query)
        return to_domain(request, *arguments)

    monkeypatch.setattr(service, "to_domain", noted)
    return queries


def request(model: str = "", query: str = "blue sky", **fields: Any) -> pb.RerankRequest:
    asked = ask(query, TEXTS, model=model, **fields)
    for n, document in enumerate(asked.documents):
        document.prior_score = n
    return asked


@pytest.mark.parametrize("model", RECIPES)
async def test_nothing_is_ranked_twice(stub: Stub, ranked: list[str], model: str) -> None:
    await stub.RerankOnce(request(model))
    second = await stub.RerankOnce(request(model))
    assert len(ranked) == 2
    third = await stub.RerankOnce(request(model))
    (streamed,) = [each async for each in stub.Rerank(request(model))]
    assert len(ranked) == 2
    assert second == third == streamed
    assert third.usage.cached_pairs


@pytest.mark.parametrize("model", ["alone", "both", "gate", "mix"])
async def test_what_was_scored_again_is_ranked_again(
    stub: Stub, provider: FakeProvider, model: str
) -> None:
    for _ in range(3):
        before = await stub.RerankOnce(request(model))
    provider.answer = lambda _: completion("10")
    await stub.RerankOnce(request("alone", cache_mode=pb.CACHE_MODE_REFRESH))
    after = await stub.RerankOnce(request(model))
    assert after.results != before.results
    assert after.usage == before.usage


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "near"},
        {"query": "other"},
        {"instruction": "other"},
        {"top_n": 1},
        {"return_documents": True},
    ],
)
async def test_another_request_is_another(
    stub: Stub, ranked: list[str], fields: dict[str, Any]
) -> None:
    for _ in range(3):
        await stub.RerankOnce(request())
    await stub.RerankOnce(request(**fields))
    assert len(ranked) == 3


async def test_what_nobody_stored_is_asked_for_again(
    stub: Stub, provider: FakeProvider, ranked: list[str]
) -> None:
    provider.answer = lambda call: completion("?") if "bread" in call.document else label_in(call)
    for count in range(1, 5):
        await stub.RerankOnce(request())
        assert len(ranked) == count
    assert provider.documents.count("5 bread") == 1  # it was refused not long ago


async def test_neither_mode_that_passes_the_cache_by_is_answered_as_before(
    stub: Stub, provider: FakeProvider
) -> None:
    for mode in (pb.CACHE_MODE_REFRESH, pb.CACHE_MODE_BYPASS):
        for _ in range(2):
            response = await stub.RerankOnce(request(cache_mode=mode))
            assert response.usage.scored_pairs == len(TEXTS)
    assert len(provider.calls) == 4 * len(TEXTS)


async def test_a_reply_to_scores_that_others_bought_is_not_kept(
    stub: Stub, provider: FakeProvider, ranked: list[str]
) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    calls = [stub.RerankOnce(request()) for _ in range(2)]
    await gate.arrived(len(TEXTS))
    gate.open()
    for call in calls:
        await call
    assert not (await stub.RerankOnce(request())).usage.shared_pairs
    assert len(ranked) == 3


@pytest.mark.parametrize("settings", [{"recent_size": 0}])
async def test_what_is_not_in_memory_is_looked_up(
    provider: FakeProvider, tmp_path: Path, ranked: list[str], settings: dict[str, Any]
) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url, **settings) as app,
        stub_of(app.address) as stub,
    ):
        for count in range(1, 4):
            await stub.RerankOnce(ask("q", TEXTS))
            assert len(ranked) == count


@pytest.mark.parametrize(
    "fields", [{}, {"top_n": 2}, {"return_documents": True}, {"partial_results": True}]
)
@pytest.mark.parametrize("with_ids", [True, False])
async def test_familiar_documents_are_ranked_as_all_others(
    stub: Stub, ranked: list[str], fields: dict[str, Any], with_ids: bool
) -> None:
    first = request(**fields)
    for n, document in enumerate(first.documents):
        document.id = f"id {n}" if with_ids else ""
    turned = pb.RerankRequest()
    turned.CopyFrom(first)
    del turned.documents[:]
    turned.documents.extend([first.documents[n] for n in (2, 0, 1, 0)])
    await stub.RerankOnce(first)
    read_to_the_end = await stub.RerankOnce(turned)
    assert len(ranked) == 2
    found_by_bytes = await stub.RerankOnce(turned)
    (streamed,) = [each async for each in stub.Rerank(turned)]
    assert len(ranked) == 2
    assert found_by_bytes == read_to_the_end == streamed
    assert found_by_bytes.usage.cached_pairs == 3


async def test_familiar_documents_are_scored_again_when_that_is_asked_for(
    stub: Stub, provider: FakeProvider
) -> None:
    for _ in range(2):
        before = await stub.RerankOnce(request())
    turned = ask("blue sky", TEXTS[::-1])
    for n, document in enumerate(reversed(turned.documents)):
        document.prior_score = n
    assert (await stub.RerankOnce(turned)).usage == before.usage
    provider.answer = lambda _: completion("10")
    await stub.RerankOnce(request(cache_mode=pb.CACHE_MODE_REFRESH))
    after = await stub.RerankOnce(turned)
    assert [result.relevance_score for result in after.results] == [1, 1, 1]


@pytest.mark.parametrize("memory_size", [0, 64 << 20])
@pytest.mark.parametrize("behind_the_cut", ["", " and more"])
async def test_familiar_documents_that_make_one_pair_are_counted_once(
    provider: FakeProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ranked: list[str],
    memory_size: int,
    behind_the_cut: str,
) -> None:
    monkeypatch.setattr(Haste, "is_wise", True)  # however slow the disk is
    one = pb.Document(text="2 same", id="one")
    other = pb.Document(text="2 same" + behind_the_cut, id="other")
    settings: dict[str, Any] = {"memory_size": memory_size, "max_document_chars": len(one.text)}
    async with (
        running(tmp_path, base_url=provider.base_url, **settings) as app,
        stub_of(app.address) as stub,
    ):
        for document in (one, other):  # each in calls of its own
            for _ in range(3):
                await stub.RerankOnce(pb.RerankRequest(query="q", documents=[document]))
        both = pb.RerankRequest(query="q", documents=[one, other])
        read = len(ranked)
        found_by_bytes = await stub.RerankOnce(both)
        assert len(ranked) == read
        both.top_n = 5  # which was never asked for: nothing is familiar
        read_to_the_end = await stub.RerankOnce(both)
        assert len(ranked) == read + 1
        assert found_by_bytes == read_to_the_end
        assert found_by_bytes.usage.cached_pairs == 1
        assert found_by_bytes.usage.saved_prompt_tokens == 100
    assert provider.documents == [one.text]


async def test_what_cannot_be_read_is_refused(provider: FakeProvider, tmp_path: Path) -> None:
    async with (
        running(tmp_path, base_url=provider.base_url) as app,
        grpc.aio.insecure_channel(app.address) as channel,
    ):
        method: Any = channel.unary_unary(f"/{SERVICE}/RerankOnce")
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError, match="is no message of the API's") as caught:
                await method(b"\xff\xff")
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

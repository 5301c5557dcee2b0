"""Recipes, from the settings to the ranking: a real server, asked as callers ask it."""

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import grpc
from rerankd.v1 import rerank_pb2 as pb
from support.provider import (
    Call,
    FakeProvider,
    Gate,
    completion,
    embeddings_by,
    fails,
    failure,
    fake_provider,
    label_in,
    labels_in,
)
from support.server import NOT_SERVING, Stub, ask, health, running, stub_of

POINTWISE = {"kind": "pointwise", "model": "judge"}
BATCHED = {"kind": "batched", "model": "judge", "documents": 3}
EMBEDDINGS = {"kind": "embeddings", "model": "embed", "documents": 2}


@asynccontextmanager
async def serving(
    folder: Path, provider: FakeProvider, recipes: Mapping[str, Any], **settings: Any
) -> AsyncGenerator[Stub]:
    async with (
        running(
            folder,
            base_url=provider.base_url,
            recipes=recipes,
            model=next(iter(recipes)),
            attempts=1,
            **settings,
        ) as app,
        stub_of(app.address) as stub,
    ):
        yield stub


def scores(response: pb.RerankResponse) -> dict[int, float]:
    """By position; without those that have none."""
    return {
        result.index: result.relevance_score
        for result in response.results
        if result.HasField("relevance_score")
    }


def number(text: str) -> Sequence[float]:
    """A vector whose cosine with "q" is the number that the text begins with."""
    cosine = 1.0 if text == "q" else float(text.split(maxsplit=1)[0])
    return [cosine, math.sqrt(1 - cosine**2)]


async def test_batched_prompts(provider: FakeProvider, tmp_path: Path) -> None:
    provider.answer = labels_in
    texts = [f"{n} x" for n in range(8)]
    async with serving(tmp_path, provider, {"b": BATCHED}) as stub:
        response = await stub.RerankOnce(ask("q", texts))
        assert scores(response) == {n: n / 10 for n in range(8)}
        sizes = sorted(len(call.named_documents) for call in provider.calls)
        assert sizes == [2, 3, 3]
        assert response.usage.model_calls == 3
        assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (800, 40)
        again = await stub.RerankOnce(ask("q", [*texts, "9 x"]))
        assert (again.usage.cached_pairs, again.usage.model_calls) == (8, 1)
        assert (again.usage.saved_prompt_tokens, again.usage.saved_completion_tokens) == (800, 40)


async def test_batched_passes_are_observations_of_their_own(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """Each pass has another order, and each of its scores is stored; the answer is their mean."""

    def by_place(call: Call) -> Any:
        labels = {name: place for place, name in enumerate(call.named_documents)}
        return completion(str(labels).replace("'", '"'))

    provider.answer = by_place
    texts = ["a", "b", "c"]
    recipe = BATCHED | {"repeats": 4}
    async with serving(tmp_path, provider, {"b": recipe}) as stub:
        response = await stub.RerankOnce(ask("q", texts))
        orders = [list(call.named_documents.values()) for call in provider.calls]
        assert len(orders) == 4
        assert len({tuple(order) for order in orders}) > 1
        mean = {i: sum(o.index(text) for o in orders) / 4 / 10 for i, text in enumerate(texts)}
        assert scores(response) == pytest.approx(mean, abs=1e-6)
        assert response.usage.scored_pairs == 12
        again = await stub.RerankOnce(ask("q", texts))
        assert scores(again) == scores(response)
        assert (again.usage.cached_pairs, again.usage.model_calls) == (12, 0)
    # Fewer passes are the first of many: what is stored serves.
    async with serving(tmp_path, provider, {"b": recipe | {"repeats": 2}}) as stub:
        fewer = await stub.RerankOnce(ask("q", texts))
        assert (fewer.usage.cached_pairs, fewer.usage.model_calls) == (6, 0)


async def test_batches_that_overlap_buy_each_pair_once(
    provider: FakeProvider, tmp_path: Path
) -> None:
    gate = Gate(labels_in)
    provider.answer = gate
    async with serving(tmp_path, provider, {"b": BATCHED}) as stub:
        one = asyncio.ensure_future(stub.RerankOnce(ask("q", ["1 a", "2 b", "3 c"])))
        await gate.arrived(1)
        other = asyncio.ensure_future(stub.RerankOnce(ask("q", ["2 b", "3 c", "4 d"])))
        await gate.arrived(2)
        gate.open()
        assert scores(await one) == {0: 0.1, 1: 0.2, 2: 0.3}
        late = await other
    assert scores(late) == {0: 0.2, 1: 0.3, 2: 0.4}
    assert [sorted(call.named_documents.values()) for call in provider.calls] == [
        ["1 a", "2 b", "3 c"],
        ["4 d"],
    ]
    assert (late.usage.shared_pairs, late.usage.scored_pairs) == (2, 1)
    assert late.usage.saved_prompt_tokens == 200


async def test_a_batch_of_which_others_have_sent_a_part_is_asked_about_the_rest(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """A group waits for its turn while another request sends some of its documents."""
    gate = Gate(labels_in)
    provider.answer = gate
    async with serving(tmp_path, provider, {"b": BATCHED}, concurrency=1) as stub:
        first = asyncio.ensure_future(stub.RerankOnce(ask("q", ["0 first"])))
        await gate.arrived(1)
        one = asyncio.ensure_future(stub.RerankOnce(ask("q", ["1 a", "2 b"])))
        await stub.ListModels(pb.ListModelsRequest())
        other = asyncio.ensure_future(stub.RerankOnce(ask("q", ["2 b", "3 c", "4 d"])))
        await stub.ListModels(pb.ListModelsRequest())
        gate.open()
        await first
        assert scores(await one) == {0: 0.1, 1: 0.2}
        late = await other
        assert scores(late) == {0: 0.2, 1: 0.3, 2: 0.4}
    bought = [sorted(call.named_documents.values()) for call in provider.calls]
    assert sorted(text for texts in bought for text in texts) == [
        *("0 first", "1 a", "2 b", "3 c", "4 d"),
    ]
    assert late.usage.unscored_pairs == 0
    assert late.usage.scored_pairs + late.usage.shared_pairs == 3


async def test_who_leaves_a_batch_behind_has_it_stored(
    provider: FakeProvider, tmp_path: Path
) -> None:
    gate = Gate(labels_in)
    provider.answer = gate
    texts = ["1 a", "2 b", "3 c"]
    async with serving(tmp_path, provider, {"b": BATCHED}) as stub:
        call = stub.RerankOnce(ask("q", texts))
        waiting = asyncio.ensure_future(call)
        await gate.arrived(1)
        call.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        gate.open()
        response = await stub.RerankOnce(ask("q", texts))
    assert scores(response) == {0: 0.1, 1: 0.2, 2: 0.3}
    assert len(provider.calls) == 1


@pytest.mark.parametrize(
    "change",
    [{"documents": 4}, {"tokens": 500}, {"seed": 1}, {"parameters": {"top_p": 1}}],
    ids=["documents", "tokens", "seed", "parameters"],
)
async def test_another_way_of_batching_scores_anew(
    provider: FakeProvider, tmp_path: Path, change: Mapping[str, Any]
) -> None:
    provider.answer = labels_in
    recipes = {"one": BATCHED, "other": {**BATCHED, **change}, "same": BATCHED}
    async with serving(tmp_path, provider, recipes) as stub:
        for name, cached in (("one", 0), ("same", 1), ("other", 0)):
            response = await stub.RerankOnce(ask("q", ["5 x"], model=name))
            assert response.usage.cached_pairs == cached


async def test_a_batch_is_asked_again_about_what_its_answer_leaves_open(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """Missing, repeated, out of range: asked again, those alone. Extra: passed over."""
    asked: list[list[str]] = []

    def careless(call: Call) -> Any:
        documents = call.named_documents
        asked.append(sorted(documents.values()))
        if len(asked) > 1:
            return labels_in(call)
        labels = [(name, int(text.split()[0])) for name, text in documents.items()]
        by_text = dict(zip(documents.values(), labels, strict=True))
        told = [by_text["1 fine"], by_text["2 fine"], by_text["4 twice"], by_text["4 twice"]]
        told += [(by_text["5 wild"][0], 42), ("zz", 9)]
        return completion("{" + ", ".join(f'"{name}": {label}' for name, label in told) + "}")

    provider.answer = careless
    texts = ["1 fine", "2 fine", "3 missing", "4 twice", "5 wild"]
    async with serving(tmp_path, provider, {"b": BATCHED | {"documents": 10}}) as stub:
        response = await stub.RerankOnce(ask("q", texts))
    assert scores(response) == {i: (i + 1) / 10 for i in range(5)}
    assert asked == [texts, ["3 missing", "4 twice", "5 wild"]]
    assert response.usage.model_calls == 2


async def test_a_batch_that_is_never_answered_ends_in_refusals(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """Where nothing can be used, the next prompts hold half as many; and there is an end to it."""
    provider.answer = lambda call: (
        completion("As an AI, I cannot rank these.")
        if "6 bad" in call.named_documents.values()
        else labels_in(call)
    )
    texts = ["3 a", "4 b", "5 c", "6 bad"]
    async with serving(tmp_path, provider, {"b": BATCHED | {"documents": 4}}) as stub:
        response = await stub.RerankOnce(ask("q", texts))
        assert scores(response) == {0: 0.3, 1: 0.4, 2: 0.5}
        (bad,) = [result for result in response.results if result.index == 3]
        assert bad.unscored_reason == pb.UNSCORED_REASON_REFUSED
        assert [len(call.named_documents) for call in provider.calls] == [4, 2, 2, 1, 1]
        assert response.usage.model_calls == 5
        # Nothing of it was stored.
        kept = ask("q", texts, cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED)
        assert (await stub.RerankOnce(kept)).usage.cached_pairs == 3


@pytest.mark.parametrize("documents", [3, 10, 50])
async def test_one_document_that_is_never_answered_takes_no_other_with_it(
    provider: FakeProvider, tmp_path: Path, documents: int
) -> None:
    provider.answer = lambda call: (
        completion(None, finish="content_filter") if "6 bad" in call.prompt else labels_in(call)
    )
    texts = [*(f"{n % 6} {n}" for n in range(documents - 1)), "6 bad"]
    recipe = BATCHED | {"documents": documents}
    async with serving(tmp_path, provider, {"b": recipe}) as stub:
        response = await stub.RerankOnce(ask("q", texts))
    assert len(scores(response)) == documents - 1
    assert response.usage.unscored_pairs == 1
    assert len(provider.calls) <= 2 * math.ceil(math.log2(documents)) + 3


async def test_a_batch_with_every_trouble_ends(provider: FakeProvider, tmp_path: Path) -> None:
    """One document too long for the model, and one that is filtered."""

    def troubled(call: Call) -> Any:
        if "6 long" in call.prompt:
            return failure(400, "context_length_exceeded")
        return completion(None, refusal="no") if "6 bad" in call.prompt else labels_in(call)

    provider.answer = troubled
    texts = [*(f"{n} x" for n in range(8)), "6 long", "6 bad"]
    async with serving(tmp_path, provider, {"b": BATCHED | {"documents": 10}}) as stub:
        response = await stub.RerankOnce(ask("q", texts))
    assert scores(response) == {n: n / 10 for n in range(8)}
    assert {result.unscored_reason for result in response.results[8:]} == {
        pb.UNSCORED_REASON_FAILED,
        pb.UNSCORED_REASON_REFUSED,
    }
    assert len(provider.calls) <= 20


async def test_where_every_call_is_refused_not_every_document_is_tried(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = fails(400)
    provider.embed = lambda _: failure(400)
    texts = [f"{n} x" for n in range(200)]
    recipes = {"b": BATCHED | {"documents": 50}, "e": EMBEDDINGS | {"documents": 100}}
    async with serving(tmp_path, provider, recipes) as stub:
        for model in recipes:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.RerankOnce(ask("q", texts, model=model))
            assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert len(provider.calls) <= 100
    assert len(provider.embedded) <= 100


async def test_a_prompt_holds_no_more_tokens_than_it_may(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = labels_in
    recipe = BATCHED | {"documents": 10, "tokens": 100}
    texts = [f"{n} {'x' * 150}" for n in range(5)] + [f"9 {'x' * 1000}"]
    async with serving(tmp_path, provider, {"b": recipe}) as stub:
        response = await stub.RerankOnce(ask("q", texts))
    assert len(scores(response)) == 6
    sizes = [sum(map(len, call.named_documents.values())) for call in provider.calls]
    assert all(size <= 400 or size == 1002 for size in sizes)
    assert len(sizes) < 6


async def test_a_batch_that_is_refused_fails_for_the_refused_document_alone(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = lambda call: (
        failure(400, "invalid_prompt") if "6 bad" in call.prompt else labels_in(call)
    )
    texts = ["3 a", "4 b", "5 c", "6 bad"]
    async with serving(tmp_path, provider, {"b": BATCHED | {"documents": 4}}) as stub:
        response = await stub.RerankOnce(ask("q", texts))
    assert scores(response) == {0: 0.3, 1: 0.4, 2: 0.5}
    (bad,) = [result for result in response.results if result.index == 3]
    assert bad.unscored_reason == pb.UNSCORED_REASON_FAILED


async def test_a_model_without_structured_output_is_read_all_the_same(
    provider: FakeProvider, tmp_path: Path
) -> None:
    def lines(call: Call) -> Any:
        if "response_format" in call.body:
            return failure(400, message="'response_format' of type 'json_schema' is not supported")
        found = call.named_documents.items()
        return completion("\n".join(f"- {name}: {text.split()[0]}" for name, text in found))

    provider.answer = lines
    async with serving(tmp_path, provider, {"b": BATCHED}) as stub:
        response = await stub.RerankOnce(ask("q", ["3 a", "4 b"]))
        assert scores(response) == {0: 0.3, 1: 0.4}
        await stub.RerankOnce(ask("other", ["3 a", "4 b"]))
        assert len(provider.calls) == 3  # what it does not take is sent once only


async def test_embeddings(provider: FakeProvider, tmp_path: Path) -> None:
    provider.embed = embeddings_by(number)
    prices = {"embed": {"prompt": 1.0}}
    async with serving(tmp_path, provider, {"e": EMBEDDINGS}, prices=prices) as stub:
        response = await stub.RerankOnce(ask("q", ["0.6 a", "-1 b", "0.8 c", "0.6 a"]))
        assert [result.index for result in response.results] == [2, 0, 3, 1]
        assert scores(response) == pytest.approx({0: 0.8, 1: 0, 2: 0.9, 3: 0.8}, abs=2e-6)
        assert sorted(map(len, provider.embedded)) == [2, 2]  # the query, and each text once
        assert response.usage.cost_usd == pytest.approx(40e-6)
        # The query's vector and the documents' serve other pairs.
        again = await stub.RerankOnce(ask("q", ["-1 b", "0.5 new"]))
        assert (again.usage.cached_pairs, again.usage.scored_pairs) == (2, 1)
        assert again.usage.saved_usd == pytest.approx(20e-6)
        other = await stub.RerankOnce(ask("0.6 a", ["0.8 c"]))
        assert other.usage.model_calls == 0
        assert scores(other) == pytest.approx({0: (1 + 0.6 * 0.8 + 0.8 * 0.6) / 2}, abs=2e-6)


async def test_embeddings_get_the_prefixes_that_their_model_wants(
    provider: FakeProvider, tmp_path: Path
) -> None:
    recipe = EMBEDDINGS | {"query_prefix": "query: ", "document_prefix": "passage: "}
    async with serving(tmp_path, provider, {"e": recipe}) as stub:
        await stub.RerankOnce(ask("q", ["a"]))
    assert provider.embedded == [["query: q", "passage: a"]]


def reply_of(data: Any) -> Any:
    from aiohttp import web  # noqa: PLC0415

    return lambda _: web.json_response({"data": data})


FIRST = {"index": 0, "embedding": [1.0]}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([{"embedding": [1.0]}], "REQUEST_REJECTED"),
        ([FIRST, {"index": 2, "embedding": [1.0]}], "REQUEST_REJECTED"),
        ([], "REQUEST_REJECTED"),
        ([FIRST, {"index": 1, "embedding": [1, 2]}], "PROVIDER_UNAVAILABLE"),
        ([FIRST, FIRST], "PROVIDER_UNAVAILABLE"),
        ("what", "PROVIDER_UNAVAILABLE"),
        (None, "PROVIDER_UNAVAILABLE"),
    ],
    ids=["count", "number", "nothing", "dimension", "twice", "shape", "null"],
)
async def test_a_wrong_embeddings_reply_is_an_error_and_not_a_ranking(
    provider: FakeProvider, tmp_path: Path, data: Any, reason: str
) -> None:
    provider.embed = reply_of(data)
    async with serving(tmp_path, provider, {"e": EMBEDDINGS}) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(ask("q", ["5 a"], model="e"))
        assert reason in str(raised.value.trailing_metadata())
        kept = ask("q", ["5 a"], model="e", cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED)
        assert (await stub.RerankOnce(kept)).usage.cached_pairs == 0


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"index": 1, "embedding": [math.nan]}, pb.UNSCORED_DETAIL_UNREADABLE),
        ({"index": 1, "embedding": [math.inf]}, pb.UNSCORED_DETAIL_UNREADABLE),
        ({"index": 1, "embedding": [0.0]}, pb.UNSCORED_DETAIL_EMPTY_REPLY),
        ({"index": 1, "embedding": []}, pb.UNSCORED_DETAIL_EMPTY_REPLY),
        ({"index": 1, "embedding": None}, pb.UNSCORED_DETAIL_EMPTY_REPLY),
        ({"index": 1}, pb.UNSCORED_DETAIL_EMPTY_REPLY),
        ({"index": 1, "embedding": ["1"]}, pb.UNSCORED_DETAIL_UNREADABLE),
        ({"index": 1, "embedding": "AACAPw=="}, pb.UNSCORED_DETAIL_UNREADABLE),
        (None, pb.UNSCORED_DETAIL_EMPTY_REPLY),
    ],
    ids=["nan", "inf", "zero", "empty", "null", "none", "text", "base64", "row"],
)
async def test_one_texts_wrong_vector_costs_that_text_alone(
    provider: FakeProvider, tmp_path: Path, row: Any, detail: int
) -> None:
    provider.embed = reply_of([FIRST, row, {"index": 2, "embedding": [1.0]}])
    recipes = {
        "e": EMBEDDINGS | {"documents": 8},
        "blend": {"kind": "blend", "scores": "p", "prior": "e"},
        "p": POINTWISE,
    }
    async with serving(tmp_path, provider, recipes) as stub:
        near = await stub.RerankOnce(ask("q", ["5 a", "6 b"], model="e"))
        assert [result.index for result in near.results] == [1, 0]
        assert near.results[0].relevance_score == 1.0
        assert near.results[1].unscored_reason == pb.UNSCORED_REASON_REFUSED
        assert near.results[1].unscored_detail == detail
        blend = await stub.RerankOnce(ask("q", ["5 a", "6 b"], model="blend"))
        assert scores(blend) == {0: 0.5, 1: 0.6}  # no opinion leaves the score as it is


async def test_a_blend_whose_prior_fails_gives_the_plain_scores_and_says_so(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.embed = lambda _: failure(503)
    recipes = {
        "e": EMBEDDINGS,
        "blend": {"kind": "blend", "scores": "p", "prior": "e"},
        "p": POINTWISE,
    }
    async with serving(tmp_path, provider, recipes) as stub:
        blend = await stub.RerankOnce(ask("q", ["5 a", "6 b"], model="blend"))
        assert scores(blend) == {0: 0.5, 1: 0.6}
        reasons = {result.unscored_reason for result in blend.results}
        assert reasons == {pb.UNSCORED_REASON_FAILED}
        request = ask("q", ["5 a"], model="blend", require_complete=True)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.RerankOnce(request)


@pytest.mark.parametrize("gate", [{"top_k": 2}, {"threshold": 0.5}])
async def test_a_cascade_whose_cheap_part_fails_asks_the_careful_one(
    provider: FakeProvider, tmp_path: Path, gate: dict[str, Any]
) -> None:
    provider.embed = lambda _: failure(503)
    recipes = {
        "e": EMBEDDINGS,
        "c": {"kind": "cascade", "cheap": "e", "careful": "p", **gate},
        "p": POINTWISE,
    }
    async with serving(tmp_path, provider, recipes) as stub:
        with capture_logs() as logs:
            response = await stub.RerankOnce(ask("q", ["5 a", "6 b", "7 c"], model="c"))
        asked = 2 if "top_k" in gate else 3
        assert len(provider.calls) == asked
        best = {1: 0.64, 0: 0.55} if "top_k" in gate else {2: 0.73, 1: 0.64, 0: 0.55}
        assert scores(response) == best
        assert response.usage.unscored_pairs >= 3
        (said,) = [log for log in logs if log["event"].startswith("a cascade goes on")]
        assert said["failed"] == 3


async def test_a_model_that_changes_its_dimensions_is_an_error(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with serving(tmp_path, provider, {"e": EMBEDDINGS}) as stub:
        await stub.RerankOnce(ask("q", ["a"]))
        provider.embed = embeddings_by(lambda _: [1.0, 0.0])
        response = await stub.RerankOnce(ask("q", ["a", "b"]))
        assert scores(response) == {0: 1.0}
        assert response.results[1].unscored_reason == pb.UNSCORED_REASON_FAILED


async def test_an_instruction_changes_no_embedding(provider: FakeProvider, tmp_path: Path) -> None:
    async with serving(tmp_path, provider, {"e": EMBEDDINGS}) as stub:
        await stub.RerankOnce(ask("q", ["a"]))
        response = await stub.RerankOnce(ask("q", ["a"], instruction="only bees"))
        assert response.usage.model_calls == 0


async def test_without_the_querys_embedding_no_document_has_a_score(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """Nor is any left open, whether it is known before or after the query's is lost."""
    provider.embed = lambda texts: (
        failure(400) if "q" in texts else embeddings_by(lambda _: [1.0])(texts)
    )
    texts = [f"{n} x" for n in range(9)]
    async with serving(tmp_path, provider, {"e": EMBEDDINGS}) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(ask("q", texts))
        assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        kept = ask("other", texts, cache_mode=pb.CACHE_MODE_ONLY_IF_CACHED, require_complete=True)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(kept)
        assert "INCOMPLETE" in str(raised.value.trailing_metadata())


async def test_a_cascade_asks_the_careful_one_about_the_promising_alone(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.embed = embeddings_by(number)
    provider.answer = lambda call: completion(call.document.split()[1])
    cascade = {"kind": "cascade", "cheap": "e", "careful": "p"}
    recipes = {
        "top": cascade | {"top_k": 2},
        "over": cascade | {"threshold": 0.8},
        "p": POINTWISE,
        "e": EMBEDDINGS,
    }
    texts = ["0.0 9 a", "0.8 3 b", "0.6 5 c", "0.2 9 d"]
    async with serving(tmp_path, provider, recipes) as stub:
        response = await stub.RerankOnce(ask("q", texts, model="top"))
        assert sorted(provider.documents) == ["0.6 5 c", "0.8 3 b"]
        assert [result.index for result in response.results] == [2, 1, 3, 0]
        assert scores(response) == pytest.approx({2: 0.55, 1: 0.37, 3: 0.06, 0: 0.05}, abs=2e-6)
        # All of it is made of cached leaves: another combination of them asks nobody.
        over = await stub.RerankOnce(ask("q", texts, model="over"))
        assert scores(over) == scores(response)
        assert over.usage.model_calls == 0
        assert {result.source for result in over.results} == {pb.SCORE_SOURCE_CACHE}


async def test_where_the_careful_model_fails_the_cheap_score_stands_in(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.embed = embeddings_by(number)
    provider.answer = lambda call: (
        failure(500) if "bad" in call.document else completion(call.document.split()[1])
    )
    recipes = {
        "c": {"kind": "cascade", "cheap": "e", "careful": "p", "top_k": 2},
        "p": POINTWISE,
        "e": EMBEDDINGS,
    }
    texts = ["0.0 9 a", "0.8 3 bad", "0.6 0 c", "0.2 9 d"]
    async with serving(tmp_path, provider, recipes) as stub:
        response = await stub.RerankOnce(ask("q", texts))
        assert [result.index for result in response.results] == [2, 1, 3, 0]
        assert scores(response)[1] == pytest.approx(0.09, abs=2e-6)
        assert response.usage.unscored_pairs == 1
        # A caller can tell: the reason stands beside the lesser score.
        reasons = {result.index: result.unscored_reason for result in response.results}
        assert reasons[1] == pb.UNSCORED_REASON_FAILED
        assert {reasons[index] for index in (0, 2, 3)} == {pb.UNSCORED_REASON_UNSPECIFIED}
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(ask("q", texts, require_complete=True))
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        # With the model gone altogether, the cheap ranking is better than none.
        provider.answer = fails(500)
        response = await stub.RerankOnce(ask("q", [f"{text} new" for text in texts]))
        assert [result.index for result in response.results] == [1, 2, 3, 0]


async def test_a_blend_with_the_requests_prior(provider: FakeProvider, tmp_path: Path) -> None:
    recipes = {"blend": {"kind": "blend", "scores": "p", "weight": 0.2}, "p": POINTWISE}
    documents = [
        pb.Document(text="5 a", prior_score=-3),
        pb.Document(text="5 b", prior_score=7),
        pb.Document(text="5 c"),
        pb.Document(text="5 d", prior_score=2),
    ]
    async with serving(tmp_path, provider, recipes) as stub:
        response = await stub.RerankOnce(pb.RerankRequest(query="q", documents=documents))
        # One without a prior keeps its score: it is not taken for one with the worst.
        assert scores(response) == pytest.approx({0: 0.4, 1: 0.6, 2: 0.5, 3: 0.5})
        assert [result.index for result in response.results] == [1, 2, 3, 0]
        without = await stub.RerankOnce(ask("q", ["5 a", "5 b"]))
        assert scores(without) == {0: 0.5, 1: 0.5}
        assert without.usage.model_calls == 0
        del documents[2:]
        documents[0].prior_score = documents[1].prior_score = 1
        equal = await stub.RerankOnce(pb.RerankRequest(query="q", documents=documents))
        assert scores(equal) == {0: 0.5, 1: 0.5}


async def test_a_mean_with_weights(tmp_path: Path) -> None:
    """Of two models at two providers, each with its own key and headers."""
    async with (
        fake_provider(label_in) as one,
        fake_provider(lambda call: completion(call.document.split()[1])) as other,
    ):
        settings = {
            "providers": {
                "one": {"base_url": one.base_url, "api_key": "sk-one"},
                "other": {
                    "base_url": other.base_url,
                    "api_key": "sk-other",
                    "headers": {"anthropic-beta": "x"},
                    "prices": {"judge": {"prompt": 1, "completion": 2}},
                },
            },
            "recipes": {
                "mean": {"kind": "mean", "of": ["a", "b"], "weights": [3, 1]},
                "a": POINTWISE | {"provider": "one"},
                "b": POINTWISE | {"provider": "other"},
            },
        }
        async with running(tmp_path, **settings) as app, stub_of(app.address) as stub:
            response = await stub.RerankOnce(ask("q", ["2 10 a", "8 0 b"]))
            assert response.model == "mean"
            assert scores(response) == pytest.approx({0: 0.4, 1: 0.6})
            assert response.usage.model_calls == 4
            assert not response.usage.HasField("cost_usd")  # one part's price is not known
            alone = await stub.RerankOnce(ask("q", ["2 10 a"], model="b"))
            assert alone.usage.saved_usd == pytest.approx(102e-6)
            assert (alone.usage.cost_usd, alone.usage.HasField("cost_usd")) == (0, True)
        assert {call.headers["Authorization"] for call in one.calls} == {"Bearer sk-one"}
        assert {call.headers["Authorization"] for call in other.calls} == {"Bearer sk-other"}
        assert {call.headers["anthropic-beta"] for call in other.calls} == {"x"}


async def test_a_mean_has_no_score_where_a_part_has_none(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = lambda call: completion(
        "eleven" if (call.body["model"], call.document) == ("m2", "6 b") else "4"
    )
    recipes = {
        "mean": {"kind": "mean", "of": ["one", "two"]},
        "one": POINTWISE | {"model": "m1"},
        "two": POINTWISE | {"model": "m2"},
    }
    async with serving(tmp_path, provider, recipes) as stub:
        response = await stub.RerankOnce(ask("q", ["2 a", "6 b"]))
        assert scores(response) == {0: 0.4}
        assert response.results[1].unscored_reason == pb.UNSCORED_REASON_REFUSED


async def test_combinations_of_cached_leaves_call_nobody(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.embed = embeddings_by(number)
    provider.answer = lambda call: (
        labels_in(call) if call.named_documents else completion(call.document.split()[1])
    )
    leaves = {"p": POINTWISE, "e": EMBEDDINGS}
    combined = {
        "c": {"kind": "cascade", "cheap": "lexical", "careful": "p", "threshold": 0},
        "m": {"kind": "mean", "of": ["p", "e", "lexical"]},
        "b": {"kind": "blend", "scores": "p", "prior": "e"},
        "all": {"kind": "cascade", "cheap": "e", "careful": "deep", "top_k": 2},
        "deep": {"kind": "blend", "scores": "m", "prior": "c"},
    }
    texts = ["0.1 7 a", "0.9 2 b", "0.5 5 c"]
    async with serving(tmp_path, provider, {**leaves, **combined}) as stub:
        for name in (*leaves, "lexical"):
            await stub.RerankOnce(ask("q", texts, model=name))
        calls = len(provider.calls) + len(provider.embedded)
        for name in combined:
            kept = pb.CACHE_MODE_ONLY_IF_CACHED
            response = await stub.RerankOnce(
                ask("q", texts, model=name, require_complete=True, cache_mode=kept)
            )
            assert len(scores(response)) == 3
            assert response.usage.model_calls == response.usage.scored_pairs == 0
            assert response.model == name
        assert len(provider.calls) + len(provider.embedded) == calls
    async with serving(tmp_path, provider, {**leaves, **combined}) as stub:
        stored = await stub.RerankOnce(ask("q", texts, model="all"))
        assert stored.usage.model_calls == 0  # and nothing under the combinations' names was needed


async def test_only_allowed_models_may_be_named(provider: FakeProvider, tmp_path: Path) -> None:
    async with serving(tmp_path, provider, {"p": POINTWISE}, allow_models=["gpt-x"]) as stub:
        await stub.RerankOnce(ask("q", ["5 a"], model="gpt-x"))
        assert provider.calls[0].body["model"] == "gpt-x"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(ask("q", ["5 a"], model="gpt-y"))
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND
        assert len(provider.calls) == 1


async def test_a_plain_model_and_a_recipe_of_it_share_what_was_bought(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with serving(tmp_path, provider, {"p": POINTWISE}, allow_models=["judge"]) as stub:
        await stub.RerankOnce(ask("q", ["5 a"], model="p"))
        assert (await stub.RerankOnce(ask("q", ["5 a"], model="judge"))).usage.cached_pairs == 1


async def test_the_models_are_listed_with_parts_provider_and_price(
    provider: FakeProvider, tmp_path: Path
) -> None:
    recipes = {
        "c": {"kind": "cascade", "cheap": "lexical", "careful": "p", "top_k": 5},
        "p": POINTWISE | {"description": "the careful one"},
        "e": EMBEDDINGS,
    }
    prices = {"judge": {"prompt": 0.15, "completion": 0.6}}
    async with serving(tmp_path, provider, recipes, prices=prices) as stub:
        found = (await stub.ListModels(pb.ListModelsRequest())).models
    by_name = {model.name: model for model in found}
    assert list(by_name) == ["c", "p", "e", "lexical", "prior"]
    assert [model.is_default for model in found] == [True, False, False, False, False]
    assert (by_name["c"].kind, list(by_name["c"].parts)) == ("cascade", ["lexical", "p"])
    assert by_name["c"].description == "p, for the 5 best by lexical"
    careful = by_name["p"]
    assert (careful.kind, careful.description) == ("pointwise", "the careful one")
    assert (careful.provider, careful.provider_model) == ("default", "judge")
    assert (careful.prompt_price_usd, careful.completion_price_usd) == (0.15, 0.6)
    assert not by_name["e"].HasField("prompt_price_usd")
    assert all(model.description for model in found)


async def test_a_settings_parameter_is_sent_and_is_in_the_key(
    provider: FakeProvider, tmp_path: Path
) -> None:
    recipes = {
        "low": POINTWISE | {"parameters": {"reasoning_effort": "low"}, "max_tokens": 0},
        "plain": POINTWISE,
    }
    async with serving(tmp_path, provider, recipes) as stub:
        for name in recipes:
            response = await stub.RerankOnce(ask("q", ["5 a"], model=name))
            assert response.usage.scored_pairs == 1
    low, plain = (call.body for call in provider.calls)
    assert low["reasoning_effort"] == "low"
    assert "reasoning_effort" not in plain
    assert "max_tokens" not in low
    assert plain["max_tokens"] == 8


async def test_one_models_limits_are_not_anothers(provider: FakeProvider, tmp_path: Path) -> None:
    """A model that the provider refuses altogether is given up on; its others are asked."""
    provider.answer = lambda call: (
        failure(401) if call.body["model"] == "forbidden" else label_in(call)
    )
    recipes = {"p": POINTWISE, "f": POINTWISE | {"model": "forbidden"}}
    async with serving(tmp_path, provider, recipes) as stub:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.RerankOnce(ask("q", ["5 a"], model="f"))
        assert scores(await stub.RerankOnce(ask("q", ["5 a"]))) == {0: 0.5}


async def test_an_error_says_which_provider_it_is_of(tmp_path: Path) -> None:
    async with fake_provider(fails(401)) as refusing, fake_provider(fails(500)) as broken:
        settings = {
            "providers": {
                "a": {"base_url": refusing.base_url, "api_key": "k", "api_key_env": "A_KEY"},
                "b": {"base_url": broken.base_url, "attempts": 1},
            },
            "recipes": {
                "one": POINTWISE | {"provider": "a"},
                "two": POINTWISE | {"provider": "b"},
            },
        }
        async with running(tmp_path, **settings) as app, stub_of(app.address) as stub:
            for model, said in (
                ("one", "provider 'a' answers 401 error: it refuses the key; check A_KEY on"),
                ("two", "provider 'b' answers 500 error (1 attempt); call again later, or"),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await stub.RerankOnce(ask("q", ["5 a"], model=model))
                assert (raised.value.details() or "").startswith(said)


async def test_a_provider_that_works_does_not_hide_one_that_fails(tmp_path: Path) -> None:
    """Both serve a model of the same name."""
    async with fake_provider(fails(401)) as refusing, fake_provider(label_in) as working:
        settings = {
            "providers": {
                "a": {"base_url": refusing.base_url},
                "b": {"base_url": working.base_url},
            },
            "recipes": {
                "one": POINTWISE | {"provider": "a"},
                "two": POINTWISE | {"provider": "b"},
            },
        }
        async with running(tmp_path, **settings) as app, stub_of(app.address) as stub:
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.RerankOnce(ask("q", ["5 a"]))
            await stub.RerankOnce(ask("q", ["5 a"], model="two"))
            assert await health(app.address, "rerankd.provider") == NOT_SERVING


async def test_partial_rankings_of_a_cascade_begin_with_the_cheap_one(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.embed = embeddings_by(number)
    provider.answer = lambda call: completion(call.document.split()[1])
    recipes = {
        "c": {"kind": "cascade", "cheap": "e", "careful": "p", "top_k": 2},
        "p": POINTWISE,
        "e": EMBEDDINGS,
    }
    texts = ["0.0 9 a", "0.8 3 b", "0.6 5 c"]
    async with serving(tmp_path, provider, recipes, partial_interval=0) as stub:
        rankings = [r async for r in stub.Rerank(ask("q", texts, partial_results=True))]
    orders = [[result.index for result in ranking.results] for ranking in rankings]
    assert orders[-1] == [2, 1, 0]
    assert [1, 2, 0] in orders[:-1]
    early = rankings[orders.index([1, 2, 0])]
    assert early.results[0].unscored_reason == pb.UNSCORED_REASON_PENDING
    assert early.results[0].HasField("relevance_score")


async def test_stand_ins_go_through_other_combinations(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """A blend or a mean of a cascade whose careful model is down ranks as its cheap one does."""
    provider.embed = embeddings_by(number)
    provider.answer = fails(500)
    recipes = {
        "c": {"kind": "cascade", "cheap": "e", "careful": "p", "top_k": 2},
        "blend": {"kind": "blend", "scores": "c", "prior": "e"},
        "mean": {"kind": "mean", "of": ["c", "e"]},
        "p": POINTWISE,
        "e": EMBEDDINGS,
    }
    texts = ["0.0 9 a", "0.8 3 b", "0.6 5 c"]
    async with serving(tmp_path, provider, recipes) as stub:
        for model in ("c", "blend", "mean"):
            response = await stub.RerankOnce(ask("q", texts, model=model))
            assert [result.index for result in response.results] == [1, 2, 0]
            assert response.results[0].unscored_reason == pb.UNSCORED_REASON_FAILED


async def test_two_accounts_at_one_provider_are_asked_with_their_own_keys(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """What either buys is stored for both: it is the same model."""
    settings = {
        "providers": {
            name: {
                "base_url": provider.base_url,
                "api_key": f"sk-{name}",
                "headers": {"x-team": name},
                "prices": {"judge": {"prompt": price}},
            }
            for name, price in (("a", 1), ("b", 5))
        },
        "recipes": {name: POINTWISE | {"provider": name} for name in "ab"},
    }
    async with running(tmp_path, **settings) as app, stub_of(app.address) as stub:
        for name, cost in (("a", 100e-6), ("b", 500e-6)):
            response = await stub.RerankOnce(ask("q", [f"5 {name}"], model=name))
            assert response.usage.cost_usd == pytest.approx(cost)
            headers = provider.calls[-1].headers
            assert (headers["Authorization"], headers["x-team"]) == (f"Bearer sk-{name}", name)
        shared = await stub.RerankOnce(ask("q", ["5 a"], model="b"))
        assert shared.usage.cached_pairs == 1


async def test_recipes_of_one_leaf_share_the_calls_in_flight(
    provider: FakeProvider, tmp_path: Path
) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    recipes = {"p": POINTWISE, "same": POINTWISE | {"description": "the same"}}
    async with serving(tmp_path, provider, recipes) as stub:
        one = asyncio.ensure_future(stub.RerankOnce(ask("q", ["5 a"])))
        await gate.arrived(1)
        other = asyncio.ensure_future(stub.RerankOnce(ask("q", ["5 a", "6 b"], model="same")))
        await gate.arrived(2)
        gate.open()
        await one
        assert (await other).usage.shared_pairs == 1
    assert provider.documents == ["5 a", "6 b"]


async def test_a_providers_queue_is_one_for_all_its_models(
    provider: FakeProvider, tmp_path: Path
) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    recipes = {"p": POINTWISE, "other": POINTWISE | {"model": "other"}}
    async with serving(tmp_path, provider, recipes, concurrency=1, max_queue=2) as stub:
        waiting = asyncio.ensure_future(stub.RerankOnce(ask("q", ["1 a", "2 b", "3 c"])))
        await gate.arrived(1)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.RerankOnce(ask("q", ["4 d"], model="other"))
        assert "OVERLOADED" in str(raised.value.trailing_metadata())
        gate.open()
        assert len(scores(await waiting)) == 3


async def test_the_parts_of_one_request_do_not_crowd_each_other_out(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = labels_in
    recipe = BATCHED | {"repeats": 3}
    texts = [f"{n} x" for n in range(10)]
    async with serving(tmp_path, provider, {"b": recipe}, max_queue=15, concurrency=1) as stub:
        response = await stub.RerankOnce(ask("q", texts))
    assert len(scores(response)) == 10
    assert response.usage.unscored_pairs == 0


async def test_a_cascade_over_one_in_trouble_still_asks_its_own_careful_model(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.embed = embeddings_by(number)
    provider.answer = lambda call: (
        failure(500) if call.body["model"] == "down" else completion(call.document.split()[1])
    )
    recipes = {
        "outer": {"kind": "cascade", "cheap": "inner", "careful": "p", "top_k": 2},
        "inner": {"kind": "cascade", "cheap": "e", "careful": "d", "top_k": 2},
        "p": POINTWISE,
        "d": POINTWISE | {"model": "down"},
        "e": EMBEDDINGS,
    }
    texts = ["0.0 9 a", "0.8 3 b", "0.6 5 c"]
    async with serving(tmp_path, provider, recipes) as stub:
        response = await stub.RerankOnce(ask("q", texts))
    assert [result.index for result in response.results] == [2, 1, 0]
    assert scores(response)[2] == pytest.approx(0.55)


async def test_a_refused_batch_costs_no_document_its_tries(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """Halved after a refusal, a document is asked about as often as any other."""
    left_out: set[str] = set()

    def forgetful(call: Call) -> Any:
        documents = call.named_documents
        if "6 bad" in documents.values():
            return failure(400)
        labels = {n: int(t.split()[0]) for n, t in documents.items()}
        for name, text in documents.items():
            if text not in left_out and len(documents) > 1:
                left_out.add(text)
                del labels[name]
                break
        return completion(str(labels).replace("'", '"'))

    provider.answer = forgetful
    texts = [*(f"{n} x" for n in range(9)), "6 bad"]
    async with serving(tmp_path, provider, {"b": BATCHED | {"documents": 10}}) as stub:
        response = await stub.RerankOnce(ask("q", texts))
    assert len(scores(response)) == 9


async def test_a_stop_ends_what_waits_for_any_model(provider: FakeProvider, tmp_path: Path) -> None:
    gate = Gate(label_in)
    provider.answer = gate
    recipes = {"p": POINTWISE, "other": POINTWISE | {"model": "other"}, "b": BATCHED}
    settings = {"base_url": provider.base_url, "recipes": recipes, "model": "p", "grace": 0.1}
    async with AsyncExitStack() as stack:
        server = running(tmp_path, **settings)
        stub = await stack.enter_async_context(stub_of((await server.__aenter__()).address))
        calls = [
            asyncio.ensure_future(stub.RerankOnce(ask("q", ["5 a"], model=model)))
            for model in recipes
        ]
        await gate.arrived(3)
        await server.__aexit__(None, None, None)
        ends = await asyncio.gather(*calls, return_exceptions=True)
    for end in ends:
        assert isinstance(end, grpc.aio.AioRpcError)
        assert "SHUTTING_DOWN" in str(end.trailing_metadata())


@pytest.mark.parametrize("status", [400, 413, 422, 500])
async def test_how_many_texts_a_model_takes_in_a_call_is_learnt_once(
    provider: FakeProvider, tmp_path: Path, status: int
) -> None:
    near = embeddings_by(lambda text: [1.0, float(len(text))])
    provider.embed = lambda texts: (
        failure(status, message="batch size > maximum allowed") if len(texts) > 3 else near(texts)
    )
    recipes = {"e": EMBEDDINGS | {"documents": 8}, "again": EMBEDDINGS | {"documents": 6}}
    async with serving(tmp_path, provider, recipes) as stub:
        response = await stub.RerankOnce(ask("q", [f"{n} first" for n in range(15)]))
        assert len(scores(response)) == 15
        assert any(len(texts) > 3 for texts in provider.embedded)
        for model in ("e", "again"):
            before = len(provider.embedded)
            texts = [f"{n} {model}" for n in range(15)]
            response = await stub.RerankOnce(ask("q", texts, model=model))
            assert len(scores(response)) == 15
            assert all(len(texts) <= 3 for texts in provider.embedded[before:])


@pytest.mark.parametrize("status", [400, 413, 422, 500])
async def test_one_text_that_a_model_fails_at_costs_that_text_alone(
    provider: FakeProvider, tmp_path: Path, status: int
) -> None:
    near = embeddings_by(lambda text: [1.0, float(len(text))])
    provider.embed = lambda texts: (
        failure(status, message="unsupported value: NaN")
        if any("salt" in text for text in texts)
        else near(texts)
    )
    async with serving(tmp_path, provider, {"e": EMBEDDINGS | {"documents": 16}}) as stub:
        texts = [f"{n} salt" if n == 5 else f"{n} sweet" for n in range(15)]
        response = await stub.RerankOnce(ask("q", texts))
        assert scores(response).keys() == set(range(15)) - {5}
        assert response.results[-1].unscored_reason == pb.UNSCORED_REASON_FAILED
        # The size was not at fault: nothing is learnt of it.
        await stub.RerankOnce(ask("q", [f"{n} later" for n in range(15)]))
        assert len(provider.embedded[-1]) == 15

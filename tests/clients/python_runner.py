"""The runner of the Python client: see README.md here. `--asyncio` before all else: AsyncClient."""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, Self, Unpack

from rerankd import (
    RETRYING,
    AsyncClient,
    CacheMode,
    Client,
    Connection,
    Document,
    Model,
    Options,
    Ranking,
    RerankError,
    Result,
    ScoreSource,
    UnscoredDetail,
    UnscoredReason,
)

Case = Mapping[str, Any]
Event = Mapping[str, Any]


def main(arguments: Sequence[str]) -> None:
    with_asyncio = arguments[:1] == ["--asyncio"]
    kind: Kind = AsyncClient if with_asyncio else _Blocking
    mode, *rest = arguments[with_asyncio:]
    given = dict(each.split("=", 1) for each in rest if "=" in each)
    if mode == "bench":
        figures = _bench(given["rerankd"], given["floor"], int(given["calls"]), given.get("order"))
        print(json.dumps(figures))  # noqa: T201
        return
    for case in json.loads(Path(rest[0]).read_text())["cases"]:
        asyncio.run(_perform(case, given, kind))


def _tell(case: Case, event: Event) -> None:
    print(json.dumps({"case": case["name"], **event}), flush=True)  # noqa: T201


async def _perform(case: Case, given: Mapping[str, str], kind: "Kind") -> None:
    try:
        async with kind(_address(case, given), **_connection(case, given)) as client:
            code = await _call(case, client)
        _tell(case, {"end": {"code": code}})
    except ValueError as error:
        _tell(case, {"end": {"code": "ADDRESS", "message": str(error)}})
    except RerankError as error:
        _tell(case, {"end": _error(error)})


async def _call(case: Case, client: "AsyncClient | _Blocking") -> str:
    """Make the case's call, and tell what comes; gives the code of its end."""
    seconds = _seconds(case)
    if case["method"] == "models":
        models = await client.models(timeout=seconds)
        _tell(case, {"models": {"models": [_model(model) for model in models]}})
        return "OK"
    query, documents, options = _request(case)
    if case["method"] == "rerank":
        ranking = await client.rerank(query, documents, timeout=seconds, **options)
        _tell(case, {"ranking": _ranking(ranking)})
        return "OK"
    rankings = client.rerank_partial(query, documents, timeout=seconds, **options)
    count = 0
    async with aclosing(rankings):
        async for ranking in rankings:
            count += 1
            _tell(case, {"ranking": _ranking(ranking)})
            if count == case.get("leaveAfter"):
                return "LEFT"
    return "OK"


class _Blocking:
    """The blocking client, called as the other is: it has the loop for itself."""

    def __init__(self, address: str, **connection: Unpack[Connection]) -> None:
        self._client = Client(address, **connection)

    async def models(self, **rest: Any) -> Sequence[Model]:
        return self._client.models(**rest)

    async def rerank(self, *request: Any, **rest: Any) -> Ranking:
        return self._client.rerank(*request, **rest)

    async def rerank_partial(self, *request: Any, **rest: Any) -> AsyncGenerator[Ranking]:
        with closing(self._client.rerank_partial(*request, **rest)) as rankings:
            for ranking in rankings:
                yield ranking

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.close()


Kind = type[AsyncClient] | type[_Blocking]


def _address(case: Case, given: Mapping[str, str]) -> str:
    return str(case.get("address") or given[case.get("server", "rerankd")])


def _connection(case: Case, given: Mapping[str, str]) -> Connection:
    connection: Connection = {}
    if case.get("retry"):
        connection["service_config"] = RETRYING
    if case.get("tls"):
        connection["tls"] = Path(given["ca"]).read_bytes()
    if "token" in case:
        connection["token"] = case["token"]
    return connection


def _seconds(case: Case) -> float | None:
    return case["timeoutMs"] / 1000 if "timeoutMs" in case else None


_OPTIONS = {
    "model": "model",
    "topN": "top_n",
    "instruction": "instruction",
    "returnDocuments": "return_documents",
    "requireComplete": "require_complete",
}


def _request(case: Case) -> tuple[str, Sequence[Document], Options]:
    request = case.get("request", {})
    documents = [_document(document) for document in request.get("documents", [])]
    documents.extend(_generated(**case.get("generate", {"count": 0, "characters": 0})))
    options: Any = {name: request[key] for key, name in _OPTIONS.items() if key in request}
    if "cacheMode" in request:
        options["cache_mode"] = CacheMode[request["cacheMode"].removeprefix("CACHE_MODE_")]
    return request.get("query", ""), documents, options


def _document(given: Mapping[str, Any]) -> Document:
    return Document(given.get("text", ""), given.get("id", ""), given.get("priorScore"))


def _generated(count: int, characters: int) -> Iterable[Document]:
    for n in range(count):
        yield Document(f"{n % 11} document".ljust(characters, "."), str(n))


def _ranking(ranking: Ranking) -> Event:
    usage = ranking.usage
    return _present(
        results=[_result(result) for result in ranking],
        isFinal=ranking.is_final,
        model=ranking.model,
        usage=_present(
            cachedPairs=usage.cached_pairs,
            scoredPairs=usage.scored_pairs,
            sharedPairs=usage.shared_pairs,
            unscoredPairs=usage.unscored_pairs,
            modelCalls=usage.model_calls,
            promptTokens=usage.prompt_tokens,
            completionTokens=usage.completion_tokens,
            costUsd=usage.cost_usd,
            savedUsd=usage.saved_usd,
            savedPromptTokens=usage.saved_prompt_tokens,
            savedCompletionTokens=usage.saved_completion_tokens,
            pendingCalls=usage.pending_calls,
        ),
    )


def _result(result: Result) -> Event:
    document = result.document
    return _present(
        index=result.index,
        id=result.id,
        relevanceScore=result.score,
        source=_enum(result.source, "SCORE_SOURCE"),
        unscoredReason=_enum(result.unscored_reason, "UNSCORED_REASON"),
        unscoredDetail=_enum(result.unscored_detail, "UNSCORED_DETAIL"),
        document=document
        and _present(text=document.text, id=document.id, priorScore=document.prior_score),
    )


def _enum(
    value: ScoreSource | UnscoredReason | UnscoredDetail | None, prefix: str
) -> str | int | None:
    if value in (ScoreSource.UNKNOWN, UnscoredReason.UNKNOWN, UnscoredDetail.UNKNOWN):
        return -1
    return f"{prefix}_{value.name}" if value else None


def _model(model: Model) -> Event:
    return _present(
        name=model.name,
        description=model.description,
        isDefault=model.is_default,
        kind=model.kind,
        parts=model.parts,
        provider=model.provider,
        providerModel=model.provider_model,
        promptPriceUsd=model.prompt_price_usd,
        completionPriceUsd=model.completion_price_usd,
    )


def _error(error: RerankError) -> Event:
    return _present(
        code=error.code.name,
        message=str(error),
        reason=error.reason,
        retryAfter=error.retry_after,
        violations=[{"field": v.field, "description": v.description} for v in error.violations],
    )


def _present(**fields: Any) -> Event:
    return {name: value for name, value in fields.items() if value is not None}


def _bench(
    rerankd: str, floor: str, calls: int, order: str | None
) -> Mapping[str, Sequence[float]]:
    """Time calls; with an `order`, the documents are shuffled before each."""
    texts = [f"{n % 11} document".ljust(750, ".") + f" {n}" for n in range(100)]
    times: dict[str, list[float]] = {"rerankd": [], "floor": []}
    with Client(rerankd) as one, Client(floor) as other:
        for n in range(calls + calls // 10):
            if order:
                random.shuffle(texts)
            for name, client in (("rerankd", one), ("floor", other)):
                started = time.perf_counter()
                best = client.rerank("why is the sky blue", texts)[0]
                assert best.index >= 0
                assert best.score is not None
                if n >= calls // 10:
                    times[name].append((time.perf_counter() - started) * 1000)
    return times


if __name__ == "__main__":
    main(sys.argv[1:])

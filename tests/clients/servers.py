"""The servers that the golden cases name: a real one, and those that things go wrong with."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trustme
from aiohttp import web

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.current import SERVICE
from rerankd_server.reranker import Ranking, Reranker, RerankRequest
from support.network import listening, proxy
from support.provider import Call, FakeProvider, completion, failure, fake_provider
from support.server import running

TOKEN = "a-token-of-the-tests"
Judgements = Mapping[str, Mapping[str, float] | str]
"""By document: how likely the model found each label, or what it said instead of one."""


class Judge:
    """Answers for a model: with the recorded judgement of the document, or the number before it.

    A document that begins with "held" waits until it is let go. The models of `_FAILURES` fail as
    it says; those that end in `-once` do so when they are first asked about a document, and never
    about one that begins with "fine".
    """

    def __init__(self, judgements: Judgements) -> None:
        self._judgements = judgements
        self._let_go: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._met: set[tuple[str, str, str]] = set()
        self.asked: Counter[tuple[str, str]] = Counter()
        """How often it was about each (query, document)."""

    def let_go(self, document: str) -> None:
        self._let_go[document].set()

    async def __call__(self, call: Call) -> web.StreamResponse:
        model, document = call.body["model"], call.document
        self.asked[call.query, document] += 1
        if document.startswith("held"):
            await self._let_go[document].wait()
        works = document.startswith("fine") or (model, call.query, document) in self._met
        self._met.add((model, call.query, document))
        if model in _FAILURES and not (model.endswith("-once") and works):
            return _FAILURES[model]()
        judgement = self._judgements.get(document, document.split()[0])
        if isinstance(judgement, str):
            return completion(judgement, model=model)
        return completion(
            max(judgement, key=judgement.__getitem__), probabilities=judgement, model=model
        )


_FAILURES: Mapping[str, Callable[[], web.Response]] = {
    "no-key": lambda: failure(401),
    "no-quota": lambda: failure(429, "insufficient_quota"),
    "limited": lambda: failure(429, headers={"retry-after": "7"}),
    "limited-for-long": lambda: failure(429, headers={"retry-after": "7"}),
    "limited-once": lambda: failure(429, headers={"retry-after-ms": "300"}),
    "down": lambda: failure(503),
    "down-once": lambda: failure(503),
}


@dataclass
class Servers:
    """All of them, running. `addresses` are by the names that the cases use."""

    judge: Judge
    addresses: dict[str, str]
    ca: Path
    """The certificate that signed the `secure` server's."""
    cut: Callable[[], None]
    """Breaks every connection to the `dying` server."""
    calls: "Calls"


class Calls:
    """Counts the calls that the real servers rank for, by query."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    async def over(self, query: str) -> None:
        """Wait until there are none."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._running[query])

    async def count(self, query: str, step: int) -> None:
        async with self._changed:
            self._running[query] += step
            self.begun[query] += step > 0
            self._changed.notify_all()


@asynccontextmanager
async def all_servers(folder: Path, judgements: Judgements) -> AsyncGenerator[Servers]:
    judge = Judge(judgements)
    calls = Calls()
    async with AsyncExitStack() as stack:
        stack.enter_context(_counted(calls))
        provider = await stack.enter_async_context(fake_provider(judge))
        app = await stack.enter_async_context(_rerankd(folder / "rerankd", provider))
        limit = {"max_message_bytes": 256 << 10}
        small = await stack.enter_async_context(_rerankd(folder / "small", provider, **limit))
        dying = await stack.enter_async_context(proxy(app))
        secure, ca = await stack.enter_async_context(_secure(folder))
        addresses = {
            "rerankd": app,
            "small": small,
            "dying": dying.address,
            "busy": await stack.enter_async_context(_scripted(Busy().answer)),
            "guarded": await stack.enter_async_context(_scripted(_behind_a_token)),
            "secure": secure,
            "newer": await stack.enter_async_context(_scripted(_newer)),
            "stranger": await stack.enter_async_context(_scripted(None)),
            "hung": await stack.enter_async_context(listening(_say_nothing)),
            "nowhere": await _nowhere(),
        }
        yield Servers(judge, addresses, ca, dying.cut, calls)


@asynccontextmanager
async def _rerankd(folder: Path, provider: FakeProvider, **settings: Any) -> AsyncGenerator[str]:
    """Run a real server that asks one document at a time, and asks again for none."""
    async with running(
        folder,
        base_url=provider.base_url,
        model="judge",
        allow_models=list(_FAILURES),
        prices={"judge": {"prompt": 0.15, "completion": 0.6}},
        concurrency=1,
        attempts=1,
        partial_interval=0,
        **settings,
    ) as app:
        yield app.address


@contextlib.contextmanager
def _counted(calls: Calls) -> Any:
    rerank = Reranker.rerank

    async def counting(
        self: Reranker, request: RerankRequest, *arguments: Any
    ) -> AsyncGenerator[Ranking]:
        await calls.count(request.query, 1)
        try:
            async with aclosing(rerank(self, request, *arguments)) as rankings:
                async for ranking in rankings:
                    yield ranking
        finally:
            await calls.count(request.query, -1)

    with patch.object(Reranker, "rerank", counting):
        yield


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1 << 16):
        pass


async def _nowhere() -> str:
    """Give an address where nothing listens."""
    async with listening(_say_nothing) as address:
        pass
    return address


Script = Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], Awaitable[bytes]]


@asynccontextmanager
async def _scripted(
    script: Script | None, credentials: grpc.ServerCredentials | None = None
) -> AsyncGenerator[str]:
    """Serve `script` as RerankOnce, or no method at all."""
    server = grpc.aio.server()
    if script is not None:
        methods: Any = {"RerankOnce": grpc.unary_unary_rpc_method_handler(script)}
        handler = grpc.method_handlers_generic_handler(SERVICE, methods)
        server.add_generic_rpc_handlers((handler,))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


class Busy:
    """Asks the first caller to come again in 400 ms, and answers whoever did not come sooner."""

    def __init__(self) -> None:
        self._not_before: float | None = None

    async def answer(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        now = asyncio.get_running_loop().time()
        if self._not_before is None:
            self._not_before = now + 0.4
            again = (("grpc-retry-pushback-ms", "400"),)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy", trailing_metadata=again)
        if now < self._not_before:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "came too soon")
        return pb.RerankResponse(is_final=True, model="judge").SerializeToString()


async def _newer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    """Answer as a later version may: with values and a field that nobody knows yet.

    Beside them are those that are known: each detail, and calls that are pending.
    """
    refused = pb.UNSCORED_REASON_REFUSED
    details = (*pb.UnscoredDetail.values(), 97)
    known = pb.RerankResponse(
        results=[
            pb.RankedDocument(index=1, id="b", relevance_score=0.9, source=98),  # type: ignore[arg-type]
            pb.RankedDocument(index=0, id="a", unscored_reason=99),  # type: ignore[arg-type]
            *(
                pb.RankedDocument(index=n, unscored_reason=refused, unscored_detail=detail)  # type: ignore[arg-type]
                for n, detail in enumerate(details, start=2)
            ),
        ],
        is_final=True,
        model="judge",
        usage=pb.Usage(unscored_pairs=7, model_calls=9, pending_calls=2),
    )
    unknown_field = bytes([0xC2, 0x3E, 0x03]) + b"new"  # number 1000, three bytes
    return known.SerializeToString() + unknown_field


async def _behind_a_token(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    metadata = dict(context.invocation_metadata() or ())
    if metadata.get("authorization") != f"Bearer {TOKEN}":
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token that is known here")
    return pb.RerankResponse(is_final=True, model="judge").SerializeToString()


@asynccontextmanager
async def _secure(folder: Path) -> AsyncGenerator[tuple[str, Path]]:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    async with _scripted(_behind_a_token, credentials) as address:
        yield address, ca

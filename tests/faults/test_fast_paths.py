"""Any bytes as a request: what is answered fast is what a server without fast paths answers.

Requests are written as no client would: numbers longer than they have to be, fields that nobody
knows, fields twice, documents again under other ids, and with faults. RERANKD_FUZZ says how many
for each seed.
"""

import math
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web
from google.protobuf.message import DecodeError

import grpc
from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.api.call import Call as Asked
from rerankd_server.api.current import SERVICE
from rerankd_server.api.familiar import Familiar
from rerankd_server.api.replies import Replies
from rerankd_server.caching.haste import Haste
from support.provider import Call, FakeProvider, completion
from support.server import running

REQUESTS = int(os.environ.get("RERANKD_FUZZ", "200"))

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
"""Protobuf's wire types."""
REQUEST = {name: f.number for name, f in pb.RerankRequest.DESCRIPTOR.fields_by_name.items()}
DOCUMENT = {name: f.number for name, f in pb.Document.DESCRIPTOR.fields_by_name.items()}
UNKNOWN = (10, 15, 16, 99, (1 << 29) - 1)

CUT = 12
"""Characters of a document that are read."""
QUERIES = ["sky", "blue sky"]
INSTRUCTIONS = ["", "strict"]
TEXTS = [
    *("alpha", "beta", "gamma", "delta δ", "eps\0ilon", "🐝 bees", "\u200b", "\ufeff"),
    *("a long text", "a long text, cut", "a long text, and cut"),  # two of these are one pair
]
BLANK = ["", " ", "\u3000"]
IDS = ["", "a", "b", "ü"]
PRIORS = [0.0, -0.0, 1.5, -2.0]
MODELS = ["", "alone", "alone", "mix", "none"]
FLAGS = [0, 1, 2, 1 << 33]
NUMBERS = [0, 1, 2, 3, -1, 1 << 31, 1 << 32, (1 << 32) + 2, -(1 << 31)]
MODES = [0, 1, 2, 3, 4, 5, 1 << 32, (1 << 32) + 2]
MODE_WEIGHTS = [8, 8, 8, 1, 2, 1, 2, 2]

RECIPES = {
    "alone": {"kind": "pointwise", "model": "judge"},
    "mix": {"kind": "blend", "scores": "alone", "prior": "prior", "weight": 0.5},
}
PRICE = 1e6 / (1 << 20)
"""US dollars for a million tokens: what calls cost adds up to the same in any order."""
SETTINGS: dict[str, Any] = {
    "recipes": RECIPES,
    "model": "alone",
    "prices": {"judge": {"prompt": PRICE, "completion": 2 * PRICE}},
    "attempts": 1,
    "max_document_chars": CUT,
}


Field = tuple[float, Callable[[], bytes]]
"""How probable it is, and what writes it."""


class Writer:
    """Writes requests in ways that are drawn by lot."""

    def __init__(self, lot: Random) -> None:
        self._lot = lot
        self._documents = [self._document() for _ in range(16)]

    def request(self) -> bytes:
        """A request, right or wrong."""
        pick, count = self._lot.choice, self._lot.randint(1, 5) if self._happens(0.97) else 0
        documents = [
            pick(self._documents) if self._happens(0.95) else self._document() for _ in range(count)
        ]
        parts = [
            self._text(REQUEST["query"], pick(QUERIES)),
            *(self._bytes(REQUEST["documents"], document) for document in documents),
            *self._some(
                (0.2, lambda: self._text(REQUEST["model"], pick(MODELS))),
                (0.3, lambda: self._number(REQUEST["top_n"], pick(NUMBERS))),
                (0.2, lambda: self._text(REQUEST["instruction"], pick(INSTRUCTIONS))),
                (0.2, lambda: self._number(REQUEST["return_documents"], pick(FLAGS))),
                (0.2, lambda: self._number(REQUEST["partial_results"], pick(FLAGS))),
                (0.2, lambda: self._number(REQUEST["require_complete"], pick(FLAGS))),
                (0.4, lambda: self._number(REQUEST["cache_mode"], self._mode())),
                (0.1, lambda: self._text(REQUEST["query"], pick([*QUERIES, *BLANK]))),
                (0.05, lambda: self._number(REQUEST["documents"], 3)),
                (0.03, lambda: self._group(REQUEST["documents"], self._text(1, "alpha"))),
                *self._strange(),
            ),
        ]
        self._lot.shuffle(parts)
        return self._broken(b"".join(parts)) if self._happens(0.12) else b"".join(parts)

    def _document(self) -> bytes:
        pick = self._lot.choice
        parts = [
            self._text(DOCUMENT["text"], pick(TEXTS)),
            *self._some(
                (0.1, lambda: self._text(DOCUMENT["text"], pick(TEXTS))),
                (0.4, lambda: self._text(DOCUMENT["id"], pick(IDS))),
                (0.3, lambda: self._double(DOCUMENT["prior_score"], pick(PRIORS))),
                (0.02, lambda: self._text(DOCUMENT["text"], pick(BLANK))),
                (0.02, lambda: self._double(DOCUMENT["prior_score"], pick([math.nan, math.inf]))),
                (0.02, lambda: self._number(DOCUMENT["text"], 7)),
                *self._strange(),
            ),
        ]
        self._lot.shuffle(parts)
        return b"".join(parts)

    def _strange(self) -> Sequence[Field]:
        """What is no UTF-8, and fields of every type that nobody knows."""
        number, data = self._lot.choice(UNKNOWN), self._lot.randbytes(8)
        return [
            (0.02, lambda: self._bytes(1, b"\xff\xfe")),
            (0.03, lambda: self._number(number, data[0])),
            (0.03, lambda: self._bytes(number, data[: data[0] % 8])),
            (0.03, lambda: self._tag(number, FIXED32) + data[:4]),
            (0.03, lambda: self._tag(number, FIXED64) + data),
            (0.03, lambda: self._group(number, self._number(1, data[0]))),
        ]

    def _some(self, *fields: Field) -> Sequence[bytes]:
        return [write() for probability, write in fields if self._happens(probability)]

    def _mode(self) -> int:
        return self._lot.choices(MODES, MODE_WEIGHTS)[0]

    def _broken(self, data: bytes) -> bytes:
        """The same with something missing, changed, or between."""
        place = self._lot.randrange(len(data))
        match self._lot.randrange(3):
            case 0:
                return data[:place]
            case 1:
                return data[:place] + self._lot.randbytes(1) + data[place + 1 :]
            case _:
                return data[:place] + self._lot.randbytes(2) + data[place:]

    def _happens(self, probability: float) -> bool:
        return self._lot.random() < probability

    def _text(self, number: int, text: str) -> bytes:
        return self._bytes(number, text.encode())

    def _bytes(self, number: int, data: bytes) -> bytes:
        return self._tag(number, BYTES) + self._varint(len(data), 3) + data

    def _number(self, number: int, value: int) -> bytes:
        return self._tag(number, VARINT) + self._varint(value % (1 << 64), 4)

    def _double(self, number: int, value: float) -> bytes:
        return self._tag(number, FIXED64) + struct.pack("<d", value)

    def _group(self, number: int, fields: bytes) -> bytes:
        return self._tag(number, GROUP) + fields + self._tag(number, END_GROUP)

    def _tag(self, number: int, wire_type: int) -> bytes:
        return self._varint(number << 3 | wire_type, 1 if number < 16 else 0)

    def _varint(self, number: int, most_more: int) -> bytes:
        """`number`, in up to so many bytes more than it takes, where it is small."""
        more = self._lot.randint(0, most_more) if number < 128 and self._happens(0.3) else 0
        written = bytearray()
        while number > 0x7F or more:
            more -= number <= 0x7F
            written.append(number & 0x7F | 0x80)
            number >>= 7
        written.append(number)
        return bytes(written)


@dataclass(frozen=True)
class Answer:
    """All that a caller gets, whatever the bytes that say it."""

    code: grpc.StatusCode
    message: str | None = ""
    details: object = None
    response: pb.RerankResponse | None = None


class Caller:
    """Sends bytes, as they are, to one server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._once: Any = channel.unary_unary(f"/{SERVICE}/RerankOnce")
        self._stream: Any = channel.unary_stream(f"/{SERVICE}/Rerank")

    async def once(self, data: bytes) -> Answer:
        try:
            return answered(await self._once(data))
        except grpc.aio.AioRpcError as error:
            return failed(error)

    async def streamed(self, data: bytes) -> Answer:
        """The stream's last message."""
        try:
            return answered([each async for each in self._stream(data)][-1])
        except grpc.aio.AioRpcError as error:
            return failed(error)


def answered(data: bytes) -> Answer:
    """A document that is given back may be written in other words, unknown fields among them."""
    response = pb.RerankResponse.FromString(data)
    response.DiscardUnknownFields()
    return Answer(grpc.StatusCode.OK, response=response)


def failed(error: grpc.aio.AioRpcError) -> Answer:
    trailers = dict(error.trailing_metadata())
    return Answer(error.code(), error.details(), trailers.get("grpc-status-details-bin"))


@asynccontextmanager
async def calling(address: str) -> AsyncGenerator[Caller]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield Caller(channel)


def label_of(query: str, instruction: str, text: str) -> int:
    """A label of its own for each pair, more or less."""
    return zlib.crc32(f"{query}\0{instruction}\0{text}".encode()) % 11


def judge(call: Call) -> web.Response:
    """Answer by all that the prompt says; what it takes depends on the document."""
    said = re.search(r"<instruction-(\w+)>\n(.*?)\n</instruction-\1>", call.prompt, re.DOTALL)
    label = label_of(call.query, said[2] if said else "", call.document)
    return completion(str(label), usage=(100 + 7 * len(call.document), 1))


def count_finds(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of the fast paths knew the answer."""
    finds: Counter[str] = Counter()

    def counted(name: str, find: Callable[[Any, Asked], Any]) -> Callable[[Any, Asked], Any]:
        def counting(self: object, call: Asked) -> object:
            found: object = find(self, call)
            finds[name] += found is not None
            return found

        return counting

    monkeypatch.setattr(Replies, "find", counted("replies", Replies.find))
    monkeypatch.setattr(Familiar, "find", counted("familiar", Familiar.find))
    return finds


@pytest.mark.timeout(60 + REQUESTS // 10)
@pytest.mark.parametrize(("seed", "memory_size"), [(1, 64 << 20), (2, 0)])
async def test_fast_answers_are_what_reading_all_of_a_request_gives(
    provider: FakeProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    memory_size: int,
) -> None:
    provider.answer = judge
    monkeypatch.setattr(Haste, "is_wise", True)  # however slow the disk is
    settings = SETTINGS | {"base_url": provider.base_url}
    finds = count_finds(monkeypatch)
    lot = Random(seed)
    writer = Writer(lot)
    requests = [writer.request() for _ in range(REQUESTS)]
    requests += lot.sample(requests, REQUESTS // 4)
    async with (
        running(tmp_path, memory_size=memory_size, **settings) as fast_app,
        running(tmp_path, recent_size=0, memory_size=0, **settings) as plain_app,
        calling(fast_app.address) as fast,
        calling(plain_app.address) as plain,
    ):
        for cache in plain_app._menu.caches:  # nor does it give what is stored at once
            monkeypatch.setattr(cache, "recall", lambda ask, candidates: None)
        codes = Counter[grpc.StatusCode]()
        for data in requests:
            await plain.once(data)  # buys what is new
            expected = await plain.once(data)
            what = data.hex()
            assert await fast.once(data) == expected, what
            assert await fast.once(data) == expected, what
            assert await fast.streamed(data) == expected, what
            check(data, expected)
            codes[expected.code] += 1
    assert finds["replies"] > REQUESTS / 4
    assert finds["familiar"] > REQUESTS / 10
    assert codes[grpc.StatusCode.OK] > REQUESTS / 4
    assert codes[grpc.StatusCode.INVALID_ARGUMENT] > REQUESTS / 20


def check(data: bytes, answer: Answer) -> None:
    """Hold `answer` to what protobuf reads of the request."""
    try:
        asked = pb.RerankRequest.FromString(data)
    except DecodeError:
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        return
    if answer.response is None:
        assert answer.code is why_not(asked)
        return
    assert why_not(asked) in (None, grpc.StatusCode.FAILED_PRECONDITION)
    asked.DiscardUnknownFields()
    check_results(asked, answer.response)


def why_not(asked: pb.RerankRequest) -> grpc.StatusCode | None:
    """Why it cannot be answered, if it cannot; where all has to be cached, it may be."""
    if (
        is_blank(asked.query)
        or not asked.documents
        or any(is_blank(each.text) for each in asked.documents)
        or not all(math.isfinite(each.prior_score) for each in asked.documents)
        or asked.cache_mode not in pb.CacheMode.values()
    ):
        return grpc.StatusCode.INVALID_ARGUMENT
    if asked.model not in ("", *RECIPES):
        return grpc.StatusCode.NOT_FOUND
    if asked.require_complete and asked.cache_mode == pb.CACHE_MODE_ONLY_IF_CACHED:
        return grpc.StatusCode.FAILED_PRECONDITION
    return None


def is_blank(text: str) -> bool:
    return not text.strip()


def check_results(asked: pb.RerankRequest, response: pb.RerankResponse) -> None:
    count = len(asked.documents)
    places = [result.index for result in response.results]
    assert len({*places}) == len(places) == (min(asked.top_n, count) if asked.top_n > 0 else count)
    assert response.is_final
    assert response.model == (asked.model or "alone")
    for result in response.results:
        document = asked.documents[result.index]
        assert result.id == document.id
        assert result.HasField("document") is asked.return_documents
        assert not asked.return_documents or result.document == document
    if response.model == "alone":
        texts = [each.text[:CUT] for each in asked.documents]
        used = response.usage
        assert used.cached_pairs + used.scored_pairs + used.unscored_pairs == len({*texts})
        check_scores(asked, texts, response.results)


def check_scores(
    asked: pb.RerankRequest, texts: Sequence[str], results: Sequence[pb.RankedDocument]
) -> None:
    scored = [result for result in results if result.HasField("relevance_score")]
    for result in scored:
        label = label_of(asked.query, asked.instruction, texts[result.index])
        assert result.relevance_score == label / 10
    assert [*scored] == sorted(scored, key=lambda each: (-each.relevance_score, each.index))
    without = [result.index for result in results if not result.HasField("relevance_score")]
    assert without == sorted(without)
    assert not without or asked.cache_mode == pb.CACHE_MODE_ONLY_IF_CACHED

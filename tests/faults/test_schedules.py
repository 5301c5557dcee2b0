"""Any schedule of requests, cancels and faults: afterwards all is at rest, counted and right.

Cache, scorer, dispatcher and store are real, and so is the provider's HTTP; only pauses take no
time.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankd_server.caching.cached import Cached
from rerankd_server.caching.leases import Leases
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.room import Room
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from rerankd_server.scoring.dispatcher import Allowance
from rerankd_server.scoring.http_client import Endpoint
from rerankd_server.scoring.llm import LLMScorer
from rerankd_server.scoring.provider import Provider
from rerankd_server.scoring.remote_model import RemoteModel
from rerankd_server.scoring.scorer import Ask, CacheMode, Candidate, Reason, Score, Unscored
from support.clock import FastClock, settle
from support.provider import Call, FakeProvider, completion, failure, fake_provider

ATTEMPTS = 2
DOCUMENTS = [f"{n} document" for n in range(6)]


def reset(call: Call) -> web.StreamResponse:
    assert call.request.transport
    call.request.transport.abort()
    return web.Response()


FAULTS: Mapping[str, Callable[[Call], web.StreamResponse]] = {
    "429": lambda _: failure(429),
    "429 with Retry-After": lambda _: failure(429, headers={"Retry-After": "3"}),
    "500": lambda _: failure(500),
    "401": lambda _: failure(401),
    "garbage": lambda _: web.Response(body=b"\xff{", content_type="application/json"),
    "prose": lambda _: completion("I would say that it is quite relevant"),
    "reset": reset,
}

documents = st.sampled_from(DOCUMENTS)
faults = st.sampled_from(sorted(FAULTS))
Step = tuple[str, object]
steps = st.one_of(
    st.tuples(st.just("ask"), st.lists(documents, min_size=1, max_size=4)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("reply"), documents),
    st.tuples(st.just("settle"), st.none()),
)
scripts = st.dictionaries(documents, st.lists(faults, max_size=4))


@dataclass
class ScriptedProvider:
    """Answers each document with the faults that are written for it, then well.

    A call is held until somebody says `reply`, or `open`.
    """

    script: Mapping[str, Sequence[str]]
    calls: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    held: defaultdict[str, deque[asyncio.Event]] = field(default_factory=lambda: defaultdict(deque))
    is_open: bool = False

    async def __call__(self, call: Call) -> web.StreamResponse:
        text = call.document
        place = self.calls[text]
        self.calls[text] += 1
        if not self.is_open:
            self.held[text].append(gate := asyncio.Event())
            await gate.wait()
        faults = self.script.get(text, ())
        if place < len(faults):
            return FAULTS[faults[place]](call)
        self.answered[text] += 1
        return completion(text.split()[0])

    def reply(self, text: str) -> None:
        if self.held[text]:
            self.held[text].popleft().set()

    def open(self) -> None:
        self.is_open = True
        for gates in self.held.values():
            for gate in gates:
                gate.set()


class Request:
    """One caller."""

    def __init__(self, cached: Cached, texts: Sequence[str]) -> None:
        self.texts = texts
        self.found: dict[int, Score | Unscored] = {}
        self.task = asyncio.create_task(self._run(cached))

    async def _run(self, cached: Cached) -> None:
        candidates = [Candidate(text) for text in self.texts]
        async with aclosing(cached.score(Ask("q"), candidates)) as progress:
            async for step in progress:
                self.found.update(step.found)
                self.found.update(step.unscored)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=20), scripts, st.integers(1, 3), st.integers(1, 8))
def test_after_any_schedule_all_is_at_rest_counted_and_right(
    tmp_path_factory: pytest.TempPathFactory,
    schedule: list[Step],
    script: Mapping[str, Sequence[str]],
    concurrency: int,
    places: int,
) -> None:
    folder = tmp_path_factory.mktemp("schedule")
    asyncio.run(run(folder, schedule, ScriptedProvider(script), concurrency, places))


async def run(
    folder: Path, schedule: list[Step], script: ScriptedProvider, concurrency: int, places: int
) -> None:
    store, room = Store(folder, SMALLEST_LIMIT), Room(places)
    await store.open()
    async with fake_provider(script) as fake:
        provider = Provider(
            Endpoint(base_url=fake.base_url, attempts=ATTEMPTS),
            Allowance(concurrency=concurrency, at_first=concurrency),
            FastClock(),
        )
        model = RemoteModel(provider, "p", "m", workers=concurrency)
        leases = Leases(store.folder / "leases")
        cached = Cached(LLMScorer(model), Memory(store, 0), room, leases)
        requests: list[Request] = []
        for step in schedule:
            await take(step, cached, script, requests)
        script.open()
        if requests:
            await asyncio.wait([request.task for request in requests])
        await cached.drain()
        check_rest(cached, provider, room, fake)
        assert leases._book is None or not leases._book._holders
        check_calls(script, requests)
        for request in requests:
            check_outcomes(request)
        await check_store(cached, script)
        await provider.close()
    await store.close()


async def take(
    step: Step, cached: Cached, script: ScriptedProvider, requests: list[Request]
) -> None:
    match step:
        case "ask", list(texts):
            requests.append(Request(cached, texts))
        case "leave", int(which) if which < len(requests):
            requests[which].task.cancel()
        case "reply", str(text):
            script.reply(text)
        case _:
            await settle()


def check_rest(cached: Cached, provider: Provider, room: Room, fake: FakeProvider) -> None:
    """Nothing is left in a queue, in flight, or counted as either."""
    assert not cached._flights._in_flight
    assert not cached._flights._purchases
    assert room.taken == 0
    dispatcher = provider.sender("m").dispatcher
    assert not dispatcher._lines
    assert dispatcher._in_flight == 0
    assert fake.in_flight == 0


def check_calls(script: ScriptedProvider, requests: Sequence[Request]) -> None:
    """No answer is bought twice, and attempts are bounded."""
    asked = Counter(text for request in requests for text in set(request.texts))
    for text in DOCUMENTS:
        assert script.answered[text] <= 1
        assert script.calls[text] <= ATTEMPTS * asked[text]
        if not script.script.get(text):
            assert script.calls[text] == script.answered[text]


def check_outcomes(request: Request) -> None:
    """Who stayed was told of every document, and rightly."""
    if request.task.cancelled():
        return
    request.task.result()
    assert request.found.keys() == set(range(len(request.texts)))
    for position, outcome in request.found.items():
        if isinstance(outcome, Score):
            assert outcome.value == right(request.texts[position])
        else:
            assert outcome.reason in (Reason.FAILED, Reason.REFUSED)


async def check_store(cached: Cached, script: ScriptedProvider) -> None:
    """What was answered is stored, nothing else is, and no score is wrong."""
    candidates = [Candidate(text) for text in DOCUMENTS]
    stored: dict[int, Score] = {}
    async for step in cached.score(Ask("q", cache_mode=CacheMode.ONLY_IF_CACHED), candidates):
        stored.update(step.found)
    assert {DOCUMENTS[position] for position in stored} == set(+script.answered)
    for position, score in stored.items():
        assert score.value == right(DOCUMENTS[position])


def right(text: str) -> float:
    return int(text.split(maxsplit=1)[0]) / 10

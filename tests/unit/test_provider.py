"""The provider client against a real HTTP server: replies, retries, refusals, learning."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from rerankd_server.errors import (
    KeyRejectedError,
    ProviderError,
    ProviderUnavailableError,
    QuotaSpentError,
    RateLimitedError,
    RequestRejectedError,
)
from rerankd_server.scoring.answers import Reply
from rerankd_server.scoring.dispatcher import Allowance, Line
from rerankd_server.scoring.finish import Finish
from rerankd_server.scoring.http_client import Endpoint
from rerankd_server.scoring.parameters import Parameters, Takes
from rerankd_server.scoring.provider import Provider
from rerankd_server.scoring.sending import Errand
from support.clock import FastClock
from support.provider import Call, FakeProvider, Gate, completion, fails, failure


@asynccontextmanager
async def client(
    fake: FakeProvider, clock: FastClock | None = None, concurrency: int = 32, **endpoint: object
) -> AsyncGenerator[Provider]:
    settings = {"base_url": fake.base_url, "api_key": "sk-test", "timeout": 5.0} | endpoint
    provider = Provider(
        Endpoint(**settings),  # type: ignore[arg-type]
        Allowance(concurrency=concurrency, longest_wait=30.0),
        clock or FastClock(),
    )
    try:
        yield provider
    finally:
        await provider.close()


MESSAGES = [{"role": "user", "content": "user"}]


def errand(wanted: Callable[[], bool] = lambda: True) -> Errand:
    return Errand(lambda: {"messages": MESSAGES}, wanted, wanted, Line(), tokens=1)


async def ask(provider: Provider, wish: Parameters | None = None) -> Reply | None:
    return await provider.complete("m", errand(), wish or Parameters())


async def refusal(provider: Provider) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await ask(provider)
    return raised.value


class Script:
    """Answers with each of `responses` in turn, then with the last one for ever."""

    def __init__(self, *responses: Callable[[], web.StreamResponse]) -> None:
        self._responses = list(responses)

    def __call__(self, call: Call) -> web.StreamResponse:
        make = self._responses[0] if len(self._responses) == 1 else self._responses.pop(0)
        return make()


def seven() -> web.StreamResponse:
    return completion("7")


def failing(*arguments: object, **named: object) -> Callable[[], web.StreamResponse]:
    return lambda: failure(*arguments, **named)  # type: ignore[arg-type]


async def test_what_is_sent(provider: FakeProvider) -> None:
    provider.answer = Script(seven)
    async with client(provider) as asked:
        await ask(asked)
    (call,) = provider.calls
    assert call.headers["Authorization"] == "Bearer sk-test"
    assert call.body == {
        "model": "m",
        "messages": MESSAGES,
        "temperature": 0,
        "max_tokens": 8,
        "logprobs": True,
        "top_logprobs": 20,
    }


async def test_a_reply_is_read(provider: FakeProvider) -> None:
    provider.answer = lambda _: completion(
        "7", probabilities={"7": 0.75, "8": 0.25}, model="m-2", usage=(12, 3)
    )
    async with client(provider) as asked:
        reply = await ask(asked)
    assert reply is not None
    assert (reply.text, reply.finish, reply.model) == ("7", Finish.WHOLE, "m-2")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.refused) == (12, 3, False)
    assert reply.tokens[0].alternatives == pytest.approx({"7": 0.75, "8": 0.25})


async def test_a_reply_with_the_least_that_servers_send_is_read(provider: FakeProvider) -> None:
    provider.answer = lambda _: web.json_response(
        {"choices": [{"message": {"content": "7"}, "finish_reason": "stop"}]}
    )
    async with client(provider) as asked:
        assert await ask(asked) == Reply("7", Finish.WHOLE)


@pytest.mark.parametrize(
    "odd",
    [
        '"content": [7]',
        '"content": {"type": "image"}',
        '"content": true',
    ],
)
async def test_content_that_is_no_text_is_no_answer(provider: FakeProvider, odd: str) -> None:
    text = f'{{"choices": [{{"message": {{{odd}}}, "finish_reason": "stop"}}]}}'
    provider.answer = lambda _: web.Response(text=text, content_type="application/json")
    async with client(provider) as asked:
        assert await ask(asked) == Reply("", Finish.WHOLE)


@pytest.mark.parametrize("count", ["null", '"many"', "-5", "1.5", "[]", "{}"])
async def test_token_counts_that_are_none_are_zero(provider: FakeProvider, count: str) -> None:
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": {count}}}'
    text = (
        '{"model": 7, "choices": [{"message": {"content": "7"}, "finish_reason": "stop"}], '
        f'"usage": {usage}}}'
    )
    provider.answer = lambda _: web.Response(text=text, content_type="application/json")
    async with client(provider) as asked:
        assert await ask(asked) == Reply("7", Finish.WHOLE)


async def test_a_refusal_is_read(provider: FakeProvider) -> None:
    provider.answer = lambda _: completion(None, refusal="I will not")
    async with client(provider) as asked:
        reply = await ask(asked)
    assert reply is not None
    assert (reply.text, reply.refused) == ("", True)


@pytest.mark.parametrize(
    "logprob", [None, "x", "NaN", "Infinity", "-Infinity", "-9999", "1e400", "5"]
)
async def test_nonsense_for_a_log_probability_is_no_probability_above_1(
    provider: FakeProvider, logprob: object
) -> None:
    text = f"""{{"choices": [{{"message": {{"content": "7"}}, "finish_reason": "stop",
        "logprobs": {{"content": [{{"token": "7", "logprob": {logprob or "null"},
        "top_logprobs": null}}]}}}}]}}"""
    if logprob == "x":
        text = text.replace(": x", ': "x"')
    provider.answer = lambda _: web.Response(text=text, content_type="application/json")
    async with client(provider) as asked:
        reply = await ask(asked)
    assert reply is not None
    assert 0 <= reply.tokens[0].alternatives.get("7", 0) <= 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_passing_failures_are_tried_again(provider: FakeProvider, status: int) -> None:
    provider.answer = Script(failing(status), failing(status), seven)
    clock = FastClock()
    async with client(provider, clock) as asked:
        reply = await ask(asked)
    assert reply is not None
    assert len(provider.calls) == 3
    assert 0.5 <= clock.pauses[0] <= 1.0
    assert 1.0 <= clock.pauses[1] <= 1.5


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, None, RequestRejectedError),
        (400, "context_length_exceeded", RequestRejectedError),
        (401, "invalid_api_key", KeyRejectedError),
        (402, None, QuotaSpentError),
        (403, None, RequestRejectedError),
        (404, "model_not_found", RequestRejectedError),
        (413, None, RequestRejectedError),
        (422, None, RequestRejectedError),
        (429, "insufficient_quota", QuotaSpentError),
    ],
)
async def test_lasting_failures_are_not(
    provider: FakeProvider, status: int, code: str | None, kind: type[ProviderError]
) -> None:
    provider.answer = Script(failing(status, code))
    async with client(provider) as asked:
        error = await refusal(asked)
    assert type(error) is kind
    assert error.retry_after is None
    assert str(status) in str(error)
    assert (code or "") in str(error)
    has_no_reason = status in (400, 422) and code is None
    assert len(provider.calls) == 1 + has_no_reason  # then the least is tried, too


@pytest.mark.parametrize(
    ("status", "kind"), [(429, RateLimitedError), (500, ProviderUnavailableError)]
)
@pytest.mark.parametrize("attempts", [1, 3])
async def test_attempts_are_bounded(
    provider: FakeProvider, status: int, kind: type[ProviderError], attempts: int
) -> None:
    provider.answer = Script(failing(status))
    async with client(provider, attempts=attempts) as asked:
        error = await refusal(asked)
    assert type(error) is kind
    assert error.retry_after == 1.0
    assert f"{attempts} attempt" in str(error)
    assert len(provider.calls) == attempts


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": format_datetime(datetime.now(UTC) - timedelta(days=1))}, 0.0),
    ],
)
async def test_retry_after_is_honoured(
    provider: FakeProvider, headers: dict[str, str], seconds: float
) -> None:
    provider.answer = Script(failing(429, headers=headers), seven)
    clock = FastClock()
    async with client(provider, clock) as asked:
        await ask(asked)
    assert sum(clock.pauses) == seconds


async def test_retry_after_as_a_date(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    date = format_datetime(datetime.fromtimestamp(int(now) + 20, UTC), usegmt=True)
    provider.answer = Script(failing(503, headers={"Retry-After": date}), seven)
    clock = FastClock()
    async with client(provider, clock) as asked:
        await ask(asked)
    assert 0 < clock.pauses[0] <= 20


@pytest.mark.parametrize("nonsense", ["soon", "-5", "nan", "1e999", "Mon, 99 Foo 2026"])
async def test_a_retry_after_that_cannot_be_read_is_passed_over(
    provider: FakeProvider, nonsense: str
) -> None:
    provider.answer = Script(failing(429, headers={"Retry-After": nonsense}), seven)
    clock = FastClock()
    async with client(provider, clock) as asked:
        await ask(asked)
    assert 0.5 <= clock.pauses[0] <= 1.0


async def test_a_long_retry_after_is_handed_to_the_caller(provider: FakeProvider) -> None:
    provider.answer = Script(failing(429, headers={"Retry-After": "31"}))
    clock = FastClock()
    async with client(provider, clock) as asked:
        error = await refusal(asked)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 31.0
    assert clock.pauses == []
    assert len(provider.calls) == 1


async def test_nobody_there_is_unavailable() -> None:
    async with client(FakeProvider(Script(seven), base_url="http://127.0.0.1:9/v1")) as asked:
        error = await refusal(asked)
    assert isinstance(error, ProviderUnavailableError)
    assert "cannot be reached at http://127.0.0.1:9/v1: nothing listens there" in str(error)


async def test_a_hanging_provider_is_unavailable(provider: FakeProvider) -> None:
    provider.answer = Gate(Script(seven))
    async with client(provider, timeout=0.05) as asked:
        error = await refusal(asked)
    assert isinstance(error, ProviderUnavailableError)
    assert "takes more than 0.05 s (3 attempts)" in str(error)
    assert len(provider.calls) == 3


@pytest.mark.parametrize(
    "body",
    [
        ("text/html", "<html>this is a proxy's start page</html>"),
        ("application/json", "{"),
        ("application/json", "[]"),
        ("application/json", "null"),
        ("application/json", '"7"'),
        ("application/json", "{}"),
        ("application/json", '{"choices": []}'),
        ("application/json", '{"choices": null}'),
        ("application/json", '{"choices": [{"finish_reason": "stop"}]}'),
        ("application/json", '{"choices": [null]}'),
    ],
)
async def test_a_reply_that_is_no_completion_is_unavailable(
    provider: FakeProvider, body: tuple[str, str]
) -> None:
    kind, text = body
    provider.answer = lambda _: web.Response(text=text, content_type=kind)
    async with client(provider) as asked:
        error = await refusal(asked)
    assert isinstance(error, ProviderUnavailableError)
    assert "not chat completions" in str(error)


async def test_a_cancellation_from_within_is_a_failure_and_one_from_without_is_obeyed(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(Script(seven))
    provider.answer = gate
    async with client(provider, attempts=1) as asked:

        async def given_up(*_: object, **__: object) -> None:
            raise asyncio.CancelledError

        with monkeypatch.context() as patch:
            patch.setattr(await asked.client.load(), "post", given_up)
            assert "was given up" in str(await refusal(asked))
        call = asyncio.create_task(ask(asked))
        await gate.arrived(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_reply_that_breaks_off_is_tried_again(provider: FakeProvider) -> None:
    broken: list[Call] = []

    async def half(call: Call) -> web.StreamResponse:
        if broken:
            return seven()
        broken.append(call)
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(call.request)
        await response.write(b'{"choices"')
        assert call.request.transport is not None
        call.request.transport.abort()
        return response

    provider.answer = half
    async with client(provider) as asked:
        assert await ask(asked) is not None
    assert len(broken) == 1
    assert len(provider.calls) == 2


async def test_what_a_model_does_not_take_is_learnt_and_never_sent_again(
    provider: FakeProvider,
) -> None:
    def reasoning_model(call: Call) -> web.Response:
        for name in ("temperature", "max_tokens", "logprobs"):
            if name in call.body:
                return failure(400, "unsupported_parameter", f"'{name}' no", param=name)
        return completion("7")

    provider.answer = reasoning_model
    async with client(provider) as asked:
        assert await ask(asked) is not None
        refused = len(provider.calls) - 1
        assert refused == 4  # temperature, max_tokens, 20 logprobs, 5 logprobs
        assert await ask(asked) is not None
    assert len(provider.calls) == refused + 2
    assert set(provider.calls[-1].body) == {"model", "messages"}


async def test_a_server_with_few_logprobs_is_asked_for_few(provider: FakeProvider) -> None:
    def strict(call: Call) -> web.Response:
        if call.body.get("top_logprobs", 0) > 5:
            return failure(400, message="top_logprobs of 20 is greater than max allowed: 5")
        return completion("7", probabilities={"7": 1.0})

    provider.answer = strict
    async with client(provider) as asked:
        reply = await ask(asked)
    assert reply is not None
    assert reply.tokens
    assert provider.calls[-1].body["top_logprobs"] == 5


async def test_an_old_refusal_for_the_same_parameter_ends(provider: FakeProvider) -> None:
    provider.answer = lambda _: failure(400, message="temperature is bad", param="temperature")
    async with client(provider) as asked:
        error = await refusal(asked)
    assert isinstance(error, RequestRejectedError)
    assert len(provider.calls) == 3  # as it is, without the temperature, and the least


@pytest.mark.parametrize(
    "error",
    [
        '{"message": "x", "param": ["messages", 1]}',
        '{"message": "x", "param": 7, "code": 7, "type": ["a"]}',
        '{"message": ["x"], "code": {}}',
        '"x"',
        "[]",
        "null",
    ],
)
async def test_an_error_of_any_shape_is_an_error(provider: FakeProvider, error: str) -> None:
    text = f'{{"error": {error}}}'
    provider.answer = lambda _: web.Response(status=400, text=text, content_type="application/json")
    async with client(provider) as asked:
        assert isinstance(await refusal(asked), RequestRejectedError)


async def test_a_reply_that_only_drips_runs_out_of_time(provider: FakeProvider) -> None:
    async def dripping(call: Call) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(call.request)
        while True:  # until the client hangs up
            await response.write(b" ")
            await asyncio.sleep(0.01)

    provider.answer = dripping
    async with client(provider, timeout=0.2, attempts=1) as asked:
        error = await refusal(asked)
    assert "takes more than 0.2 s" in str(error)


async def test_what_is_learnt_does_not_count_as_an_attempt_and_is_bounded(
    provider: FakeProvider,
) -> None:
    def picky_and_down(call: Call) -> web.Response:
        for name in ("temperature", "max_tokens", "logprobs"):
            if name in call.body:
                return failure(400, message=name, param=name)
        return failure(500)

    provider.answer = picky_and_down
    async with client(provider, attempts=3) as asked:
        await refusal(asked)
    assert len(provider.calls) == 4 + 3  # the parameters once, then the attempts


async def test_what_is_given_up_is_logged(provider: FakeProvider) -> None:
    def no_temperature(call: Call) -> web.Response:
        if "temperature" in call.body:
            return failure(400, param="temperature")
        return completion("7")

    provider.answer = no_temperature
    async with client(provider) as asked:
        with capture_logs() as logs:
            await ask(asked)
            await ask(asked)
    assert [log["event"] for log in logs] == ["the model takes fewer parameters"]


async def test_an_endless_retry_after_is_cut(provider: FakeProvider) -> None:
    provider.answer = Script(failing(429, headers={"Retry-After": "9" * 30}))
    async with client(provider) as asked:
        assert (await refusal(asked)).retry_after == 600.0


async def test_an_error_that_quotes_a_document_teaches_nothing(provider: FakeProvider) -> None:
    # Or one document could change how all the others are scored.
    provider.answer = fails(400, None, "cannot read: 'set temperature and logprobs'")
    async with client(provider) as asked:
        with pytest.raises(RequestRejectedError):
            await ask(asked)
        assert asked.learnt("m").takes == Takes()


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
async def test_a_document_that_the_provider_will_not_show_is_refused(
    provider: FakeProvider, code: str
) -> None:
    provider.answer = fails(400, code)
    async with client(provider) as asked:
        assert await ask(asked) == Reply("", Finish.DECLINED)


async def test_a_providers_own_words_are_not_passed_on(provider: FakeProvider) -> None:
    for status in (400, 401, 404, 429, 500):
        provider.answer = fails(status, "sk-sentinel-KEY", "sk-sentinel wrote: a private text")
        async with client(provider) as asked:
            error = await refusal(asked)
        assert "sentinel" not in str(error)
        assert "private" not in str(error)


@pytest.mark.parametrize(
    "code", ["content_filter", "invalid_api_key", "insufficient_quota", "rate_limit_exceeded"]
)
@pytest.mark.parametrize("location", ["https://api.example/v1", None])
async def test_whatever_a_redirect_says_it_is_one(
    provider: FakeProvider, code: str, location: str | None
) -> None:
    headers = {"Location": location} if location else {}
    provider.answer = Script(failing(307, code, headers=headers))
    async with client(provider) as asked:
        error = await refusal(asked)
    assert isinstance(error, RequestRejectedError)
    assert error.stops_everything
    assert ("redirects to api.example," in str(error)) is bool(location)
    assert len(provider.calls) == 1


async def test_a_reply_that_is_too_large_is_not_paid_for_again(provider: FakeProvider) -> None:
    provider.answer = Script(lambda: completion("7" + " " * (2 << 20)))
    async with client(provider) as asked:
        error = await refusal(asked)
    assert isinstance(error, RequestRejectedError)
    assert not error.stops_everything  # another document's may be small
    assert str(error).startswith("the model's provider sends replies of more than 1,")
    assert len(provider.calls) == 1


async def test_vectors_may_be_as_large_as_their_texts_are_many(provider: FakeProvider) -> None:
    provider.embed = lambda texts: web.Response(body=b" " * (1 << 19) * len(texts))

    async def embedding(texts: int) -> ProviderError:
        sent = Errand(lambda: {"input": ["a"] * texts}, lambda: True, lambda: True, Line(), 1)
        with pytest.raises(ProviderError) as raised:
            await asked.embed("m", sent)
        return raised.value

    async with client(provider, attempts=1) as asked:
        assert "are not embeddings" in str(await embedding(2))
        assert "more than 3,145,728 bytes" in str(await embedding(8))
    assert len(provider.embedded) == 2


async def test_calls_in_flight_are_bounded(provider: FakeProvider) -> None:
    gate = Gate(Script(seven))
    provider.answer = gate
    async with client(provider, concurrency=3) as asked:
        calls = [asyncio.create_task(ask(asked)) for _ in range(10)]
        await gate.arrived(3)
        gate.open()
        await asyncio.gather(*calls)
    assert provider.most_in_flight == 3
    assert len(provider.calls) == 10


async def test_an_errand_that_is_wanted_no_more_is_not_sent(provider: FakeProvider) -> None:
    async with client(provider) as asked:
        dropped = errand(lambda: False)
        assert await asked.complete("m", dropped, Parameters()) is None
    assert provider.calls == []
    assert dropped.calls == 0


async def test_calls_are_counted_also_where_they_fail(provider: FakeProvider) -> None:
    provider.answer = Script(failing(500))
    async with client(provider) as asked:
        counted = errand()
        with pytest.raises(ProviderUnavailableError):
            await asked.complete("m", counted, Parameters())
    assert counted.calls == 3


async def test_a_server_without_a_key_gets_a_placeholder(provider: FakeProvider) -> None:
    provider.answer = Script(seven)
    async with client(provider, api_key=None) as asked:
        await ask(asked)
    assert provider.calls[0].headers["Authorization"] == "Bearer none"


def test_an_endpoint_shows_neither_key_nor_headers() -> None:
    shown = repr(Endpoint(api_key="sk-sentinel", headers={"x-key": "sk-sentinel"}))
    assert "sentinel" not in shown

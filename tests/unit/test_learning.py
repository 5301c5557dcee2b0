"""What a model takes is found out once, by one call, and remembered for the model."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from rerankd_server.errors import (
    KeyRejectedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RequestRejectedError,
)
from rerankd_server.scoring.answers import Reply
from rerankd_server.scoring.dispatcher import Line
from rerankd_server.scoring.http_client import Endpoint
from rerankd_server.scoring.parameters import LEAST, Parameters, Takes
from rerankd_server.scoring.provider import Provider
from rerankd_server.scoring.sending import Errand
from support.clock import FastClock
from support.provider import Call, FakeProvider, completion, failure

SYSTEM = {"role": "system", "content": "judge"}
USER = {"role": "user", "content": "this"}


@asynccontextmanager
async def asking(fake: FakeProvider, attempts: int = 1) -> AsyncGenerator[Provider]:
    provider = Provider(Endpoint(base_url=fake.base_url, attempts=attempts), clock=FastClock())
    try:
        yield provider
    finally:
        await provider.close()


def errand() -> Errand:
    body = {"messages": [SYSTEM, USER], "response_format": {"type": "json_schema"}}
    return Errand(lambda: body, lambda: True, lambda: True, Line(), tokens=1)


async def ask(provider: Provider, wish: Parameters | None = None, model: str = "m") -> Reply | None:
    return await provider.complete(model, errand(), wish or Parameters(form=True))


def refuses(
    is_refused: Callable[[Call], bool], status: int, body: object
) -> Callable[[Call], web.Response]:
    def answer(call: Call) -> web.Response:
        return web.json_response(body, status=status) if is_refused(call) else completion("7")

    return answer


def has(name: str) -> Callable[[Call], bool]:
    return lambda call: name in call.body


def has_system(call: Call) -> bool:
    return bool(call.body["messages"][0]["role"] == "system")


WITHOUT = {
    "logprobs": Takes(logprobs=0),
    "temperature": Takes(temperature=False),
    "form": Takes(form=False),
    "system": Takes(system=False),
    "limit": Takes(limit=False),
}


@pytest.mark.parametrize(
    ("is_refused", "status", "body", "takes"),
    [
        (has("logprobs"), 400, [{"error": {"message": "Logprobs is not enabled"}}], "logprobs"),
        (has("logprobs"), 422, {"detail": [{"loc": ["body", "logprobs"]}]}, "logprobs"),
        (has("logprobs"), 501, {"error": "top_logprobs: not implemented"}, "logprobs"),
        (has("logprobs"), 200, {"error": {"message": "no logprobs here", "code": 400}}, "logprobs"),
        (has("temperature"), 400, {"message": {"detail": "temperature: no"}}, "temperature"),
        (has("response_format"), 400, {"error": "This model has no JSON mode"}, "form"),
        (has("max_tokens"), 400, {"error": {"param": "max_tokens", "message": "no"}}, "limit"),
        (has_system, 400, {"object": "error", "message": "System role not supported"}, "system"),
        (has_system, 500, {"error": "Conversation roles must alternate user/assistant"}, "system"),
    ],
)
async def test_what_is_refused_by_name_is_given_up_for_the_model(
    provider: FakeProvider,
    is_refused: Callable[[Call], bool],
    status: int,
    body: object,
    takes: str,
) -> None:
    provider.answer = refuses(is_refused, status, body)
    async with asking(provider) as asked:
        assert await ask(asked) is not None
        assert asked.learnt("m").takes == WITHOUT[takes]
        before = len(provider.calls)
        # Another recipe of the same model profits.
        assert await ask(asked, Parameters(max_tokens=99)) is not None
        assert len(provider.calls) == before + 1
        assert asked.learnt("other").takes == Takes()


@pytest.mark.parametrize("status", [400, 422, 501])
async def test_a_refusal_without_a_name_is_tried_once_more_with_the_least(
    provider: FakeProvider, status: int
) -> None:
    provider.answer = refuses(lambda call: len(call.body) > 2, status, {"error": "Bad request"})
    async with asking(provider) as asked:
        assert await ask(asked) is not None
        assert len(provider.calls) == 2
        assert provider.calls[-1].body == {
            "model": "m",
            "messages": [{"role": "user", "content": "judge\n\nthis"}],
        }
        assert asked.learnt("m").takes == LEAST
        await ask(asked)
        assert len(provider.calls) == 3


async def test_a_document_that_is_refused_whatever_is_sent_teaches_nothing(
    provider: FakeProvider,
) -> None:
    provider.answer = lambda _: failure(400, message="Bad request")
    async with asking(provider) as asked:
        for _ in range(6):
            with pytest.raises(RequestRejectedError):
                await ask(asked)
        assert asked.learnt("m").takes == Takes()
    assert len(provider.calls) == 6 + 2  # two of them tried the least


async def test_a_form_that_is_known_to_be_taken_is_not_given_up_for_one_document(
    provider: FakeProvider,
) -> None:
    provider.answer = lambda _: completion("7")
    async with asking(provider) as asked:
        await ask(asked)
        provider.answer = refuses(lambda call: len(call.body) > 2, 400, {"error": "Bad request"})
        for _ in range(2):
            with pytest.raises(RequestRejectedError):
                await ask(asked)
        assert await ask(asked) is not None  # but where it goes on, the model has changed
        assert asked.learnt("m").takes == LEAST


async def test_one_call_finds_out_and_the_others_wait(provider: FakeProvider) -> None:
    def picky(call: Call) -> web.Response:
        for name in ("temperature", "max_tokens", "logprobs", "response_format"):
            if name in call.body:
                return failure(400, message=f"{name} is not supported")
        return completion("7")

    provider.answer = picky
    async with asking(provider) as asked:
        replies = await asyncio.gather(*(ask(asked) for _ in range(20)))
    assert all(reply is not None and reply.text == "7" for reply in replies)
    refused = len(provider.calls) - 20
    assert refused <= 20 + 4  # each at most once, and one of them four times more


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "Rate limit exceeded", "code": 429}}, RateLimitedError),
        ({"error": {"message": "x", "code": "rate_limit_exceeded"}}, RateLimitedError),
        ({"error": {"message": "No auth credentials found", "code": 401}}, KeyRejectedError),
        ({"error": {"message": "Provider returned error", "code": 502}}, ProviderUnavailableError),
        ({"error": "overloaded"}, ProviderUnavailableError),
        ({"object": "error", "message": "x", "code": 503}, ProviderUnavailableError),
        ({"choices": [{"error": {"code": 429, "message": "slow down"}}]}, RateLimitedError),
        (
            {
                "choices": [
                    {"error": {"code": 502}, "message": {"content": "7"}, "finish_reason": "stop"}
                ]
            },
            ProviderUnavailableError,
        ),
        (
            {"choices": [{"message": {"content": "7"}, "finish_reason": "error"}]},
            ProviderUnavailableError,
        ),
    ],
)
async def test_an_error_under_status_200_is_an_error(
    provider: FakeProvider, body: object, kind: type[ProviderError]
) -> None:
    provider.answer = lambda _: web.json_response(body)
    async with asking(provider) as asked:
        with pytest.raises(ProviderError) as raised:
            await ask(asked)
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    "body",
    [
        [{"error": {"code": 429, "details": [{"retryDelay": "34s"}]}}],
        {"error": {"message": "Please retry in 34s."}},
        {"error": {"message": "Rate limit reached. Try again in 34 seconds", "code": "x"}},
        {"retry_after": 34},
    ],
)
async def test_a_pause_in_the_body_is_kept_to(provider: FakeProvider, body: object) -> None:
    provider.answer = lambda _: web.json_response(body, status=429)
    async with asking(provider) as asked:
        with pytest.raises(RateLimitedError) as raised:
            await ask(asked)
    assert raised.value.retry_after == 34

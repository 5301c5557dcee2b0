"""The settings in `examples`, each with a server that answers as the real one does."""

import json
import re
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.config import load_settings
from support.http import listening
from support.provider import Answer, Call, completion, embeddings_by, failure
from support.server import Stub, running, stub_of

EXAMPLES = Path(__file__).parents[2] / "examples"
KEYS = (
    *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "LITELLM_KEY", "MISTRAL_API_KEY"),
    *("AZURE_OPENAI_API_KEY", "OPENROUTER_API_KEY"),
)
FEW, MANY = 12, 80
"""Documents: all in one call for embeddings, or in several."""
DECLINED_WORD = "gore"


def label_of(text: str) -> int:
    """The label of a document: the number that it begins with, 10 at most."""
    return min(int(text.split(maxsplit=1)[0]), 10)


def labelled(call: Call) -> dict[str, int]:
    """The label of each document of a batched prompt."""
    return {name: label_of(text) for name, text in call.named_documents.items()}


def label_text(call: Call) -> str:
    """What a model says that follows the prompt."""
    return json.dumps(labelled(call)) if call.named_documents else str(label_of(call.document))


def upright(text: str) -> Sequence[float]:
    """A vector that is the nearer to the query's, the greater the number in the text."""
    number = re.search("[0-9]+", text)
    return [1.0, float(number[0]) if number else 99.0]


def embeddings(call: Call) -> web.Response:
    return embeddings_by(upright)(call.body["input"])


def json_reply(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def body_of(response: web.Response) -> dict[str, Any]:
    """What `response` says, to be added to."""
    body: dict[str, Any] = json.loads(response.text or "")
    return body


def likely(label: int) -> Mapping[str, float]:
    """Probabilities that make an expected label near `label`, in the same order."""
    return {str(label): 0.9, str(label - 1 if label else 1): 0.1}


def scored(call: Call, finish: str = "stop") -> web.Response:
    """A good answer, with log-probabilities where they are asked for."""
    if call.named_documents or "logprobs" not in call.body:
        return completion(label_text(call), finish=finish)
    label = label_of(call.document)
    return completion(str(label), probabilities=likely(label), finish=finish)


def openais(call: Call) -> web.Response:
    """Takes every parameter, and tells log-probabilities."""
    assert call.body["logprobs"] is True
    if call.named_documents:
        assert call.body["response_format"]["json_schema"]["strict"] is True
    return scored(call)


def anthropics(call: Call) -> web.Response:
    """Ignores log-probabilities and the form of the answer, and likes to explain itself."""
    if not call.named_documents:
        return completion(label_text(call))
    return completion(f"Here are the labels:\n\n```json\n{label_text(call)}\n```")


def ollamas(call: Call) -> web.Response:
    """Ignores what it does not know, and counts no tokens."""
    return completion(label_text(call), usage=None)


def vllms(call: Call) -> web.Response:
    """Thinks aloud, unless it is told not to."""
    thinks = call.body.get("chat_template_kwargs") != {"enable_thinking": False}
    assert call.body["max_tokens"] == (2000 if thinks else 8)
    label = label_text(call)
    return completion(f"<think>\nIs it {label}, or 3?\n</think>\n\n{label}" if thinks else label)


def googles(call: Call) -> web.Response:
    """Refuses log-probabilities, and enumerations that are no texts; shows what it thinks."""
    model = call.body["model"]
    if "logprobs" in call.body:
        return googles_error(f"Logprobs is not enabled for models/{model}")
    if "response_format" in call.body:
        place = "generation_config.response_schema.properties[0].value.enum[0]"
        what = f"Invalid value at '{place}' (TYPE_STRING), 0"
        return googles_error(what, {"field": place, "description": what})
    finish = "STOP" if call.named_documents or label_of(call.document) % 2 else "stop"
    if model == "gemini-2.5-flash-lite":
        assert call.body["reasoning_effort"] == "none"
        return completion(label_text(call), finish=finish)
    if call.body["max_tokens"] < 200:  # all spent on thoughts: no content at all
        return completion(None, finish="length")
    thought = "<thought>\nIt may be a 3, or a 7.\n</thought>\n"
    return completion(f"{thought}{label_text(call)}", finish=finish)


def googles_error(message: str, *violations: Mapping[str, str]) -> web.Response:
    """An error in a list."""
    error: dict[str, Any] = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    if violations:
        kind = "type.googleapis.com/google.rpc.BadRequest"
        error["details"] = [{"@type": kind, "fieldViolations": violations}]
    return json_reply([{"error": error}], 400)


def googles_embeddings(call: Call) -> web.Response:
    """Leaves the number out where it is 0, and counts no tokens."""
    body = body_of(embeddings(call))
    del body["data"][0]["index"], body["usage"]
    return json_reply(body)


class Mistral:
    """Refuses what it does not know, in one shape after the other, and thinks in parts."""

    def __init__(self) -> None:
        self._shapes = cycle((self._plain, self._within, self._as_text))

    def chat(self, call: Call) -> web.Response:
        if extra := call.body.keys() & {"logprobs", "top_logprobs"}:
            details = [self._detail(name, call.body[name]) for name in sorted(extra)]
            return json_reply(next(self._shapes)(details), 422)
        if call.named_documents:
            assert call.body["response_format"]["type"] == "json_schema"
        if call.body.get("reasoning_effort") != "high":
            return completion(label_text(call))
        thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": "Is it a 3?"}]}
        said = {"type": "text", "text": label_text(call)}
        is_cut_off = call.body["max_tokens"] < 200
        body = body_of(completion(None, finish="length" if is_cut_off else "stop"))
        body["choices"][0]["message"]["content"] = [thoughts] if is_cut_off else [thoughts, said]
        return json_reply(body)

    def embed(self, call: Call) -> web.Response:
        """Takes no more tokens a call than eight of these texts have."""
        if len(call.body["input"]) <= 8:
            return embeddings(call)
        error = {"message": "Too many tokens overall, split into more batches.", "code": "3210"}
        return json_reply({"object": "error", "type": "invalid_request_prompt", **error}, 400)

    @staticmethod
    def _detail(name: str, value: object) -> Mapping[str, object]:
        said = "Extra inputs are not permitted"
        return {"type": "extra_forbidden", "loc": ["body", name], "msg": said, "input": value}

    @staticmethod
    def _plain(details: Sequence[object]) -> Mapping[str, object]:
        return {"detail": details}

    @staticmethod
    def _within(details: Sequence[object]) -> Mapping[str, object]:
        kind = "invalid_request_error"
        message = {"detail": details}
        return {"object": "error", "message": message, "type": kind, "param": None, "code": None}

    @staticmethod
    def _as_text(details: Sequence[object]) -> Mapping[str, object]:
        message = json.dumps({"detail": details})
        return {"object": "error", "message": message, "type": "internal_error_proxy"}


def tgis(call: Call) -> web.Response:
    """Tells five likely tokens at most, and calls them otherwise."""
    if (asked := call.body.get("top_logprobs", 0)) > 5:
        return tgis_error(f"`top_n_tokens` must be >= 0 and <= 5. Given: {asked}")
    return scored(call)


def old_tgis(call: Call) -> web.Response:
    """Knows no schemas, no system role and only short answers."""
    if "response_format" in call.body:
        what = "response_format: unknown variant `json_schema`, expected `json` or `regex`"
        text = f"Failed to deserialize the JSON body into the target type: {what} at line 1"
        return web.Response(status=422, text=text)
    if any(message["role"] == "system" for message in call.body["messages"]):
        what = "Template error: invalid operation: System role not supported (in <string>:1)"
        return json_reply({"error": what, "error_type": "template_error"}, 422)
    if (limit := call.body.get("max_tokens", 0)) > 100:
        return tgis_error(f"`max_new_tokens` must be <= 100. Given: {limit}")
    return scored(call, "eos_token") if "top_logprobs" not in call.body else tgis(call)


def tgis_error(what: str) -> web.Response:
    error = {"error": f"Input validation error: {what}", "error_type": "validation"}
    return json_reply(error, 422)


def teis(status: int) -> Answer:
    """Takes 32 texts a call, and says so with `status`."""

    def embed(call: Call) -> web.Response:
        size = len(call.body["input"])
        if size <= 32:
            return embeddings(call)
        message = f"batch size {size} > maximum allowed batch size 32"
        return json_reply({"message": message, "code": status, "type": "Validation"}, status)

    return embed


def azures(answer: Answer) -> Answer:
    """Wants its own header and a version, and looks at what is sent before the model does."""

    def guarded(call: Call) -> Any:
        if call.request.query.get("api-version") != "2024-10-21":
            return failure(404, "404", "Resource not found")
        if call.request.headers.get("api-key") != "sk-test":
            return failure(401, "401", "Access denied due to invalid subscription key.")
        return answer(call)

    return guarded


def azures_chat(call: Call) -> web.Response:
    if DECLINED_WORD in call.prompt:
        message = "The response was filtered due to the prompt triggering Azure OpenAI's content "
        results = {"violence": {"filtered": True, "severity": "high"}}
        error = {
            "message": f"{message}management policy. Please modify your prompt and retry.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": results,
            },
        }
        return json_reply({"error": error}, 400)
    body = body_of(scored(call))
    harmless = {"hate": {"filtered": False, "severity": "safe"}}
    body["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": harmless}]
    body["choices"][0]["content_filter_results"] = harmless
    return json_reply(body)


class OpenRouter:
    """Fails now and then under status 200, and hands on what the server behind it says."""

    def __init__(self) -> None:
        self._asked: set[str] = set()

    def chat(self, call: Call) -> web.Response:
        if call.body["model"] == "openai/gpt-5-mini":
            return self._thinking(call)
        assert call.body["provider"] == {"only": ["openai"]}
        is_first = call.prompt not in self._asked
        self._asked.add(call.prompt)
        return (is_first and self._hiccup(call)) or self._good(body_of(scored(call)))

    def _thinking(self, call: Call) -> web.Response:
        for name in ("temperature", "logprobs"):
            if name in call.body:
                return self._refused(name)
        if call.body["max_tokens"] < 200:
            return self._good(body_of(completion("", finish="length")), "Let me think", 8)
        return self._good(body_of(completion(label_text(call))), "Is it a 3?", 40)

    @staticmethod
    def _hiccup(call: Call) -> web.Response | None:
        """What comes instead of some answers, the first time."""
        label = 3 if call.named_documents else label_of(call.document)
        raw = {"raw": "error code: 1015", "provider_name": "OpenAI"}
        limited = {"message": "Provider returned error", "code": 429, "metadata": raw}
        gone = {"message": "Provider disconnected", "code": 503}
        soon = {"Retry-After": "0"}
        match label:
            case 3:
                return json_reply({"error": limited, "user_id": "user_1"}, headers=soon)
            case 6:  # both an error and a choice, which is empty
                return json_reply(body_of(completion(None)) | {"error": limited}, headers=soon)
            case 9:
                body = body_of(completion("", finish="error"))
                body["choices"][0]["error"] = gone
                return json_reply(body, headers=soon)
            case _:
                return None

    @staticmethod
    def _refused(name: str) -> web.Response:
        """What the server behind it says, as a text within."""
        said = f"Unsupported parameter: '{name}' is not supported with this model."
        inner = {"message": said, "type": "invalid_request_error", "param": name, "code": None}
        metadata = {"raw": json.dumps({"error": inner}, indent=2), "provider_name": "OpenAI"}
        error = {"message": "Provider returned error", "code": 400, "metadata": metadata}
        return json_reply({"error": error, "user_id": "user_1"}, 400)

    @staticmethod
    def _good(body: dict[str, Any], thought: str | None = None, spent: int = 0) -> web.Response:
        """An answer, behind the blanks that keep a connection open."""
        choice = body["choices"][0]
        choice["native_finish_reason"] = "completed"
        choice["message"] |= {"reasoning": thought, "reasoning_details": []}
        details = {"reasoning_tokens": spent}
        body |= {
            "provider": "OpenAI",
            "usage": body["usage"] | {"completion_tokens_details": details},
        }
        text = f"\n         \n\n         \n{json.dumps(body)}"
        return web.Response(text=text, content_type="application/json")


CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"


@dataclass(frozen=True)
class Server:
    """How a provider answers, and how it has to be asked."""

    chat: Answer
    embed: Answer = embeddings
    paths: Collection[str] = (CHAT,)
    """Where all calls go, with their query strings."""
    key_header: str = "Authorization"
    documents: int = FEW


def a_gemini() -> Server:
    base = "/v1beta/openai"
    paths = (f"{base}/chat/completions", f"{base}/embeddings")
    return Server(googles, googles_embeddings, paths)


def a_mistral() -> Server:
    mistral = Mistral()
    return Server(mistral.chat, mistral.embed, (CHAT, EMBED))


def an_azure() -> Server:
    base, version = "/openai/deployments", "?api-version=2024-10-21"
    paths = (
        f"{base}/gpt-4o-mini/chat/completions{version}",
        f"{base}/text-embedding-3-small/embeddings{version}",
    )
    return Server(azures(azures_chat), azures(embeddings), paths, "api-key")


def an_openrouter() -> Server:
    return Server(OpenRouter().chat, paths=(f"/api{CHAT}", f"/api{EMBED}"))


SERVERS: Mapping[str, Callable[[], Server]] = {
    "openai": lambda: Server(openais, paths=(CHAT, EMBED)),
    "claude": lambda: Server(anthropics),
    "gemini": a_gemini,
    "mistral": a_mistral,
    "azure": an_azure,
    "openrouter": an_openrouter,
    "ollama": lambda: Server(ollamas, paths=(CHAT, EMBED)),
    "vllm": lambda: Server(vllms),
    "tgi": lambda: Server(tgis, teis(422), (CHAT, EMBED), documents=MANY),
    "tgi, an older one": lambda: Server(old_tgis, teis(413), (CHAT, EMBED), documents=MANY),
    "llamacpp": lambda: Server(ollamas),
    "litellm": lambda: Server(anthropics),
    "several": lambda: Server(anthropics),
}
"""By example; what stands behind a comma tells several servers of one example apart."""


@dataclass
class Loopback:
    """`server` on this machine, at `origin`; `calls` are all that came."""

    server: Server
    origin: str = ""
    calls: list[Call] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        call = Call(await request.json(), dict(request.headers), request)
        self.calls.append(call)
        is_chat = request.path.endswith("/chat/completions")
        response = (self.server.chat if is_chat else self.server.embed)(call)
        return response if isinstance(response, web.StreamResponse) else await response


@asynccontextmanager
async def loopback(server: Server) -> AsyncGenerator[Loopback]:
    here = Loopback(server)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{path:.*}", here.handle)
    async with listening(app) as here.origin:
        yield here


@asynccontextmanager
async def serving(name: str, folder: Path) -> AsyncGenerator[tuple[Loopback, Stub]]:
    """A server with an example's settings as they are, but for the hosts, which are this one."""
    example = name.partition(",")[0]
    text = (EXAMPLES / f"{example}.toml").read_text(encoding="utf-8")
    async with loopback(SERVERS[name]()) as here:
        moved = f'base_url = "{here.origin}'
        text = re.sub(r'^base_url = "https?://[^/"]+', moved, text, flags=re.MULTILINE)
        openais_key = 'api_key_env = "OPENAI_API_KEY"'
        text = text.replace(openais_key, f'{openais_key}\n{moved}/v1"')
        file = folder / "rerankd.toml"
        file.write_text(text, encoding="utf-8")
        environ = dict.fromkeys(KEYS, "sk-test")
        if example == "openai":
            environ["OPENAI_BASE_URL"] = f"{here.origin}/v1"
        settings = load_settings({}, environ, file)
        chosen = settings.model_dump(exclude_unset=True, exclude={"listen", "data_dir"})
        async with running(folder, **chosen) as app, stub_of(app.address) as stub:
            yield here, stub


def documents(count: int) -> list[pb.Document]:
    return [pb.Document(text=f"{n} x", prior_score=n) for n in range(count)]


def is_in_order(results: Sequence[pb.RankedDocument], asked: Sequence[pb.Document]) -> bool:
    labels = [label_of(asked[result.index].text) for result in results]
    return labels == sorted(labels, reverse=True)


def test_every_example_is_tried() -> None:
    tried = {name.partition(",")[0] for name in SERVERS}
    assert {file.stem for file in EXAMPLES.glob("*.toml")} == tried


@pytest.mark.parametrize("name", SERVERS)
async def test_an_example_works_as_it_is(name: str, tmp_path: Path) -> None:
    async with serving(name, tmp_path) as (here, stub):
        asked = documents(here.server.documents)
        models = (await stub.ListModels(pb.ListModelsRequest())).models
        assert len(models) >= 3
        for model in models:
            request = pb.RerankRequest(
                query="q", documents=asked, model=model.name, require_complete=True
            )
            response = await stub.RerankOnce(request)
            assert len(response.results) == len(asked)
            assert model.kind == "lexical" or is_in_order(response.results, asked)
    assert {call.request.path_qs for call in here.calls} == set(here.server.paths)
    key_header = here.server.key_header
    keys = {call.request.headers.get(key_header) for call in here.calls}
    if key_header == "Authorization":
        assert keys <= {"Bearer sk-test", "Bearer none"}
    else:
        assert keys == {"sk-test"}
        assert not any("Authorization" in call.request.headers for call in here.calls)


@pytest.mark.parametrize("name", ["gemini", "mistral", "azure", "openrouter", "tgi"])
async def test_an_example_has_every_kind_that_its_provider_can_do(
    name: str, tmp_path: Path
) -> None:
    async with serving(name, tmp_path) as (_, stub):
        models = (await stub.ListModels(pb.ListModelsRequest())).models
    assert {"pointwise", "batched", "embeddings", "cascade"} <= {model.kind for model in models}


@pytest.mark.parametrize(
    ("name", "model", "kept"),
    [
        ("gemini", "flash", {"temperature", "max_tokens"}),
        ("gemini", "thinking", {"temperature", "max_tokens"}),
        ("mistral", "small", {"temperature", "max_tokens"}),
        ("tgi", "plain", {"temperature", "max_tokens", "top_logprobs"}),
        ("tgi, an older one", "plain", {"temperature", "max_tokens", "top_logprobs"}),
        ("azure", "mini", {"temperature", "max_tokens", "top_logprobs"}),
        ("openrouter", "mini", {"temperature", "max_tokens", "top_logprobs"}),
        ("openrouter", "thinking", {"max_tokens"}),
    ],
)
async def test_a_model_is_still_sent_what_it_did_not_refuse(
    name: str, model: str, kept: set[str], tmp_path: Path
) -> None:
    async with serving(name, tmp_path) as (here, stub):
        await stub.RerankOnce(pb.RerankRequest(query="q", documents=documents(1), model=model))
    *_, last = here.calls
    assert last.body.keys() & {"temperature", "max_tokens", "top_logprobs"} == kept


@pytest.mark.parametrize("model", ["mini", "batch", "careful"])
async def test_what_azures_filter_declines_comes_last_and_is_not_asked_about_again(
    model: str, tmp_path: Path
) -> None:
    asked = [*documents(FEW), pb.Document(text=f"{FEW} {DECLINED_WORD}", prior_score=FEW)]
    request = pb.RerankRequest(query="q", documents=asked, model=model)
    async with serving("azure", tmp_path) as (here, stub):
        response = await stub.RerankOnce(request)
        calls = len(here.calls)
        again = await stub.RerankOnce(request)
    *others, declined = sorted(response.results, key=lambda result: result.index)
    assert declined.unscored_reason == pb.UNSCORED_REASON_REFUSED
    assert declined.unscored_detail == pb.UNSCORED_DETAIL_DECLINED
    assert declined.HasField("relevance_score") == (model == "careful")  # the embeddings' stands in
    assert response.results[-1] == declined or model == "careful"
    assert not any(result.unscored_reason for result in others)
    assert is_in_order([each for each in response.results if each != declined], asked)
    assert len(here.calls) == calls
    assert again.results[-1].index == response.results[-1].index

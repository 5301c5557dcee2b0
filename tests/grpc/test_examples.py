"""The settings in `examples`, each with a server that answers as the real one does."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.config import load_settings
from support.provider import Answer, Call, FakeProvider, completion, embeddings_by, failure
from support.server import running, stub_of

EXAMPLES = Path(__file__).parents[2] / "examples"
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "LITELLM_KEY")
DOCUMENTS = [pb.Document(text=f"{n} x", prior_score=n) for n in range(12)]


def openais(call: Call) -> web.Response:
    """Takes every parameter, and tells log-probabilities."""
    assert call.body["logprobs"] is True
    if call.named_documents:
        assert call.body["response_format"]["json_schema"]["strict"] is True
    return labels(call, json.dumps)


def anthropics(call: Call) -> web.Response:
    """Ignores log-probabilities and the form of the answer, and likes to explain itself."""
    return labels(call, lambda found: f"Here are the labels:\n\n```json\n{json.dumps(found)}\n```")


def googles(call: Call) -> web.Response:
    """Refuses log-probabilities, and enumerations that are no texts."""
    if "logprobs" in call.body:
        return failure(400, message="Unknown name logprobs: Cannot find field.")
    if "response_format" in call.body:
        return failure(400, message="Invalid value at response_schema.properties.enum: 0")
    assert call.body["reasoning_effort"] == "none"
    return labels(call, json.dumps)


def ollamas(call: Call) -> web.Response:
    """Ignores what it does not know, and counts no tokens."""
    return labels(call, json.dumps, usage=None)


def vllms(call: Call) -> web.Response:
    """Thinks aloud, unless it is told not to."""
    thinks = call.body.get("chat_template_kwargs") != {"enable_thinking": False}
    assert call.body["max_tokens"] == (2000 if thinks else 8)
    label = str(min(int(call.document.split()[0]), 10))
    return completion(f"<think>\nIs it {label}, or 3?\n</think>\n\n{label}" if thinks else label)


def labels(
    call: Call, write: Callable[[dict[str, int]], str], usage: tuple[int, int] | None = (100, 1)
) -> web.Response:
    named = {name: min(int(text.split()[0]), 10) for name, text in call.named_documents.items()}
    if named:
        return completion(write(named), usage=usage)
    return completion(str(min(int(call.document.split()[0]), 10)), usage=usage)


def upright(text: str) -> Sequence[float]:
    """A vector that is the nearer to the query's, the greater the number in the text."""
    number = re.search("[0-9]+", text)
    return [1.0, float(number[0]) if number else 99.0]


SERVERS: dict[str, Answer] = {
    "openai": openais,
    "claude": anthropics,
    "gemini": googles,
    "ollama": ollamas,
    "vllm": vllms,
    "llamacpp": ollamas,
    "litellm": anthropics,
    "several": anthropics,
}


def test_every_example_is_tried() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.toml")} == set(SERVERS)


@pytest.mark.parametrize("name", SERVERS)
async def test_an_example_works_as_it_is(name: str, provider: FakeProvider, tmp_path: Path) -> None:
    """But for the address, which is this machine's."""
    provider.answer = SERVERS[name]
    provider.embed = embeddings_by(upright)
    text = (EXAMPLES / f"{name}.toml").read_text(encoding="utf-8")
    here = f'base_url = "{provider.base_url}"'
    text = re.sub(r'^base_url = ".*"', here, text, flags=re.MULTILINE)
    text = text.replace('api_key_env = "OPENAI_API_KEY"', f'api_key_env = "OPENAI_API_KEY"\n{here}')
    file = tmp_path / "rerankd.toml"
    file.write_text(text, encoding="utf-8")
    environ = dict.fromkeys(KEYS, "sk-test")
    if name == "openai":
        environ["OPENAI_BASE_URL"] = provider.base_url
    settings = load_settings({}, environ, file)
    chosen = settings.model_dump(exclude_unset=True, exclude={"listen", "data_dir"})
    async with running(tmp_path, **chosen) as app, stub_of(app.address) as stub:
        models = (await stub.ListModels(pb.ListModelsRequest())).models
        assert len(models) >= 3
        for model in models:
            request = pb.RerankRequest(
                query="q", documents=DOCUMENTS, model=model.name, require_complete=True
            )
            response = await stub.RerankOnce(request)
            assert len(response.results) == len(DOCUMENTS)
            if model.kind != "lexical":
                assert response.results[0].index >= 10
    assert {call.headers["Authorization"] for call in provider.calls} <= {
        "Bearer sk-test",
        "Bearer none",
    }

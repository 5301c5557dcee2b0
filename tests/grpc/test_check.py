"""`rerankd check`, as people run it: what each model takes, and what to change."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from rerankd_server.scoring.parameters import ROOM_TO_THINK
from support.process import rerankd, serving
from support.provider import Call, FakeProvider, completion, embeddings_by, failure

CONFIG = """\
base_url = "{url}"
model = "near"
allow_models = {models}
prices = {{ "good" = {{ prompt = 1, completion = 2 }} }}

[recipes.near]
kind = "embeddings"
model = "embed"

[recipes.again]
kind = "pointwise"
model = "good"
"""


def models(call: Call) -> web.Response:
    """A model by each of these names, which does what its name says."""
    match call.body["model"]:
        case "thinker" if call.body["max_tokens"] < 1000:
            return completion("", finish="length", usage=(100, 8))
        case "picky" if "logprobs" in call.body:
            return failure(400, message="logprobs are not supported")
        case "rambler":
            return completion("Well, it depends.")
        case "poor":
            return completion("1", probabilities={"1": 1.0})
        case "locked":
            return failure(401, "invalid_api_key", "sk-sentinel")
    likely = {"9": 0.9, "8": 0.1} if "logprobs" in call.body else None
    return completion("9", probabilities=likely, usage=(120, 1))


@pytest.fixture
def config(provider: FakeProvider, tmp_path: Path) -> Path:
    provider.answer = models
    provider.embed = embeddings_by(lambda text: [1.0, len(text) / 1000])
    return tmp_path / "rerankd.toml"


def written(config: Path, provider: FakeProvider, *names: str) -> str:
    text = CONFIG.format(url=provider.base_url, models=json.dumps(names))
    config.write_text(text, encoding="utf-8")
    return str(config)


async def test_models_that_work_are_shown_and_the_status_is_0(
    config: Path, provider: FakeProvider
) -> None:
    file = written(config, provider, "good", "thinker", "picky")
    status, out, err = await rerankd("check", "--config", file, "--json")
    assert (status, err) == (0, "")
    found = {each["model"]: each for each in json.loads(out)}
    assert found.keys() == {"embed", "good", "thinker", "picky"}
    assert all(each["works"] and each["score"] > 0.5 for each in found.values())
    good = found["good"]
    assert (good["recipes"], good["kind"], good["address"]) == (
        ["again", "good"],
        "pointwise",
        provider.base_url,
    )
    assert (good["finish"], good["has_logprobs"], good["model_calls"]) == ("stop", True, 1)
    assert (good["prompt_tokens"], good["completion_tokens"]) == (120, 1)
    assert (good["prompt_price_usd"], good["completion_price_usd"]) == (1, 2)
    assert good["advice"] == []
    assert any(f"max_tokens = {ROOM_TO_THINK}" in line for line in found["thinker"]["advice"])
    assert any("takes no logprobs" in line for line in found["picky"]["advice"])
    assert not found["picky"]["has_logprobs"]
    asked = [call.body["model"] for call in provider.calls]
    assert asked.count("good") == 1  # two recipes that ask alike are asked for once


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rambler", "its reply holds no label"),
        ("locked", "answers 401 invalid_api_key: it refuses the key; check"),
    ],
)
async def test_a_model_that_does_not_work_is_named_and_the_status_is_1(
    config: Path, provider: FakeProvider, name: str, said: str
) -> None:
    file = written(config, provider, "good", name)
    status, out, err = await rerankd("check", "--config", file, COLUMNS="200")
    assert (status, err) == (1, "")
    assert said in out
    assert f"{name} at {provider.base_url} ({name})" in out
    assert [line.split()[:2] for line in out.splitlines()[1:4]] == [
        ["ok", "embed"],
        ["ok", "good"],
        ["FAILS", name],
    ]
    assert "sentinel" not in out


async def test_a_model_that_judges_badly_is_told(config: Path, provider: FakeProvider) -> None:
    file = written(config, provider, "poor")
    status, out, _ = await rerankd("check", "--config", file, COLUMNS="200")
    assert status == 0
    assert "it scores a good match as 0.10: is it the right model?" in out


async def test_a_provider_that_is_not_there_is_told_at_once() -> None:
    status, out, _ = await rerankd(
        "check", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", COLUMNS="200"
    )
    assert status == 1
    assert "cannot be reached at http://127.0.0.1:9/v1: nothing listens there (1 attempt)" in out


async def test_nothing_to_ask_and_wrong_settings() -> None:
    status, out, _ = await rerankd("check")
    assert (status, out) == (
        1,
        "no model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL for a local server\n",
    )
    status, _, err = await rerankd("check", "--base-url", "localhost:1/v1")
    assert status == 2
    assert "write http://localhost:1/v1" in err


async def test_serve_says_its_version_and_where_its_providers_are(tmp_path: Path) -> None:
    config = tmp_path / "rerankd.toml"
    config.write_text('[providers.other]\nbase_url = "https://other.example/v1?key=sk-sentinel"\n')
    flags = f"--config={config}", "--base-url=http://127.0.0.1:9/v1"
    async with serving(tmp_path / "data", *flags) as (server, _):
        ready = server.logs[-1]
    assert ready["version"]
    assert ready["providers"] == {
        "default": "http://127.0.0.1:9/v1",
        "other": "https://other.example/v1",
    }

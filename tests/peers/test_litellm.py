"""A second OpenAI-compatible server, which is not ours: the LiteLLM proxy.

Its model replies with recorded judgements; everything between is LiteLLM's own. `make test-peers`
installs it into an environment of its own and runs these tests.
"""

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from rerankd import AsyncClient, FailedPreconditionError
from support.litellm import KEY, litellm
from support.server import running
from support.trec import (
    expected_quality,
    label_of,
    needs_trec,
    rank_all,
    recorded,
    topics,
    whole_label,
)

pytestmark = [needs_trec, pytest.mark.timeout(600)]

CONFIG = """
model_list:
  - model_name: judge
    litellm_params:
      model: recorded/judge
litellm_settings:
  custom_provider_map:
    - provider: recorded
      custom_handler: recorded_judge.judge
"""


@pytest.fixture
async def base_url(tmp_path: Path) -> AsyncGenerator[str]:
    replies: dict[str, dict[str, str]] = {}
    for (query, text), judgement in recorded(topics("dl19")).items():
        replies.setdefault(query, {})[text] = str(whole_label(label_of(judgement)))
    (tmp_path / "replies.json").write_text(json.dumps(replies), encoding="utf-8")
    judge = Path(__file__).with_name("recorded_judge.py").read_text(encoding="utf-8")
    (tmp_path / "recorded_judge.py").write_text(judge, encoding="utf-8")
    replies_file = str(tmp_path / "replies.json")
    async with litellm(tmp_path, CONFIG, RECORDED_REPLIES=replies_file) as proxy:
        yield f"{proxy.address}/v1"


async def test_dl19_through_litellm(base_url: str, tmp_path: Path) -> None:
    found = topics("dl19")
    pairs = len(recorded(found))
    quality = expected_quality(found, whole_label)
    settings = {"base_url": base_url, "api_key": KEY, "model": "judge"}
    async with running(tmp_path, **settings) as app:
        assert await rank_all(app.address, found) == pytest.approx((quality, pairs, 0))
        assert await rank_all(app.address, found) == pytest.approx((quality, 0, pairs))
    async with running(tmp_path, **settings) as app:
        assert await rank_all(app.address, found) == pytest.approx((quality, 0, pairs))


async def test_a_wrong_key_and_a_wrong_model_at_litellm(base_url: str, tmp_path: Path) -> None:
    for settings in (
        {"api_key": "wrong-sentinel", "model": "judge"},  # without its database: a plain 400
        {"api_key": KEY, "model": "no-such-model"},
    ):
        async with (
            running(tmp_path, base_url=base_url, **settings) as app,
            AsyncClient(app.address) as client,
        ):
            with pytest.raises(FailedPreconditionError) as raised:
                await client.rerank("q", ["a"])
        assert raised.value.reason == "REQUEST_REJECTED"
        assert "sentinel" not in str(raised.value)

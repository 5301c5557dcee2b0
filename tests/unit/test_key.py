"""The content key: everything that can change a score is in it, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.v1 import rerank_pb2 as pb
from rerankd_server.caching.key import keys_of, pair_keys, query_key, written
from rerankd_server.caching.memory import Memory
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from rerankd_server.config import Settings
from rerankd_server.menu import Menu
from rerankd_server.scoring.http_client import Endpoint
from rerankd_server.scoring.llm import LLMScorer
from rerankd_server.scoring.provider import Provider
from rerankd_server.scoring.remote_model import RemoteModel
from rerankd_server.scoring.scorer import Documents, Identity

IDENTITY = {"kind": "llm", "model": "m"}
texts = st.text(max_size=20)


def of_query_key(identity: Identity, *asked: str) -> bytes:
    return query_key(written(identity), *asked)


def test_a_stored_score_is_found_by_every_later_version() -> None:
    # What people bought is under these keys: where this fails, they lose it.
    of_query = of_query_key(IDENTITY, "instruction", "query")
    assert of_query.hex() == "bc16f2b49b671282342cb4c2de61f41c"
    assert (
        pair_keys(of_query, ["document"])[0].hex()
        == "bc16f2b49b671282342cb4c2de61f41c30eaa0840f0f903887440858a37f0fa1"
    )


@given(st.tuples(texts, texts, texts, texts), st.tuples(texts, texts, texts, texts))
def test_different_inputs_never_run_together(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    def key(fields: tuple[str, str, str, str]) -> bytes:
        instruction, query, document, partition = fields
        return pair_keys(of_query_key(IDENTITY, instruction, query, partition), [document])[0]

    assert (key(one) == key(other)) == (one == other)


def test_moving_a_character_between_fields_changes_the_key() -> None:
    keys = {
        of_query_key(IDENTITY, "ab", "c"),
        of_query_key(IDENTITY, "a", "bc"),
        of_query_key(IDENTITY, "", "abc"),
        of_query_key(IDENTITY, "", "bc", "a"),
        of_query_key({"kind": "llm", "model": "mab"}, "", "c"),
        of_query_key({"kind": "llm", "modelm": "ab"}, "", "c"),
    }
    assert len(keys) == 6


def test_text_is_hashed_as_it_is() -> None:
    of_query = of_query_key(IDENTITY, "", "q")
    variants = ["é", "e\u0301", "E\u0301", " é", "é ", "é\n", "é\u200b"]
    assert len(set(pair_keys(of_query, variants))) == len(variants)


def test_one_query_lies_together() -> None:
    of_query = of_query_key(IDENTITY, "", "q")
    keys = pair_keys(of_query, map(str, range(3)))
    assert {key[:16] for key in keys} == {of_query}
    assert {len(key) for key in keys} == {32}


def test_every_request_field_is_classified() -> None:
    """A new field fails here until somebody decides whether it can change a score."""
    in_key = {"query", "model", "instruction", "documents"}
    not_in_key = {
        "top_n",
        "return_documents",
        "partial_results",
        "require_complete",
        "cache_mode",
    }
    assert set(pb.RerankRequest.DESCRIPTOR.fields_by_name) == in_key | not_in_key
    document_in_key, document_not_in_key = {"text"}, {"id", "prior_score"}
    assert set(pb.Document.DESCRIPTOR.fields_by_name) == document_in_key | document_not_in_key


def test_every_setting_is_classified() -> None:
    in_key = {"model", "allow_models", "base_url", "provider_name", "providers", "recipes"}
    shows_in_the_text = {"max_document_chars"}
    changes_no_score = {
        "listen",
        "data_dir",
        "workers",
        "log_format",
        "log_level",
        "api_key",
        "api_key_env",
        "api_key_file",
        "key_header",
        "ca_file",
        "headers",
        "prices",
        "timeout",
        "attempts",
        "max_reply_bytes",
        "longest_wait",
        "concurrency",
        "requests_per_minute",
        "tokens_per_minute",
        "max_queue",
        "cache_size",
        "memory_size",
        "recent_size",
        "cache_ttl",
        "durability",
        "refused_ttl",
        "max_query_chars",
        "max_documents",
        "max_message_bytes",
        "max_bytes_in_flight",
        "max_calls",
        "message_timeout",
        "time_limit",
        "deadline_margin",
        "partial_interval",
        "drain",
        "grace",
        "idle_timeout",
    }
    assert set(Settings.model_fields) == in_key | shows_in_the_text | changes_no_score


BASES: dict[str, dict[str, Any]] = {
    "pointwise": {"model": "m", "provider": "a"},
    "batched": {"model": "m", "provider": "a"},
    "embeddings": {"model": "m", "provider": "a"},
}
CHANGES: dict[str, dict[str, Any]] = {
    "pointwise": {
        "provider": "b",
        "model": "n",
        "parameters": {"top_p": 1},
        "max_tokens": 9,
    },
    "batched": {
        "provider": "b",
        "model": "n",
        "parameters": {"top_p": 1},
        "max_tokens": 9,
        "documents": 9,
        "tokens": 9,
        "seed": 9,
        "repeats": 9,  # each pass is a leaf of its own: more passes are more leaves
    },
    "embeddings": {"provider": "b", "model": "n", "parameters": {"dimensions": 9}},
}
"""For each setting of a leaf that can change a score, another value."""
SHOW_IN_THE_TEXT = {"query_prefix", "document_prefix"}
CHANGE_NO_SCORE = {"kind", "description"}
CALLS_ALONE = {"embeddings": {"documents"}}
"""Settings that decide how many texts a call holds, which changes none of them."""


@pytest.mark.parametrize("kind", BASES)
def test_every_setting_of_a_leaf_is_classified(kind: str, tmp_path: Path) -> None:
    """A new one fails here until somebody decides whether it can change a score."""

    def leaves(**change: Any) -> set[bytes]:
        providers = {name: {"base_url": f"http://{name}/v1"} for name in "ab"}
        recipe = {"kind": kind, **BASES[kind], **change}
        settings = Settings.model_validate({"providers": providers, "recipes": {"r": recipe}})
        menu = Menu(settings, Memory(Store(tmp_path, SMALLEST_LIMIT), 0))
        return {cache._identity for cache in menu.caches}

    for name, value in CHANGES[kind].items():
        assert leaves(**{name: value}) != leaves(), name
    for name in CALLS_ALONE.get(kind, ()):
        assert leaves(**{name: 9}) == leaves()
    classified = CHANGES[kind].keys() | CALLS_ALONE.get(kind, set()) | CHANGE_NO_SCORE
    fields = type(
        Settings.model_validate(
            {"base_url": "http://a/v1", "recipes": {"r": {"kind": kind, "model": "m"}}}
        ).recipes["r"]
    ).model_fields
    assert set(fields) - SHOW_IN_THE_TEXT == classified


def scorer_key(provider_name: str = "p", model: str = "m") -> bytes:
    scorer = LLMScorer(RemoteModel(Provider(Endpoint()), provider_name, model, workers=1))
    return of_query_key(scorer.identity, "", "q")


def test_the_llm_scorer_is_in_the_key_with_all_that_it_asks_for() -> None:
    assert scorer_key(provider_name="other") != scorer_key()
    assert scorer_key(model="other") != scorer_key()
    scorer = LLMScorer(RemoteModel(Provider(Endpoint()), "p", "m", workers=1))
    assert set(scorer.identity) == {
        "kind",
        "provider",
        "model",
        "prompt",
        "labels",
        "temperature",
        "max_tokens",
        "top_logprobs",
    }


def test_each_part_of_an_identity_changes_the_key() -> None:
    identity = LLMScorer(RemoteModel(Provider(Endpoint()), "p", "m", workers=1)).identity
    changed = {of_query_key({**identity, name: "other"}, "", "q") for name in identity}
    assert len(changed | {of_query_key(identity, "", "q")}) == len(identity) + 1


def test_documents_are_hashed_once_for_each_query() -> None:
    documents = Documents(["a", "b", "a"])
    one, other = (of_query_key(IDENTITY, "", query) for query in "qp")
    assert keys_of(documents, one) == pair_keys(one, documents.texts)
    assert keys_of(documents, one) is keys_of(documents, one)
    assert keys_of(documents, other) == pair_keys(other, documents.texts)

"""Finish reasons: OpenAI's words, and those that gateways pass on from other vendors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.scoring.finish import Finish, read_finish

REASONS = {
    Finish.WHOLE: (
        "stop",
        "STOP",  # Gemini
        " stop ",
        "FinishReason.STOP",
        "FINISH_REASON_STOP",
        "end_turn",  # Anthropic, Bedrock
        "stop_sequence",
        "eos_token",  # TGI
        "eos",
        "COMPLETE",  # Cohere
        "completed",
        "FINISH",  # Titan
        "eosFound",  # LM Studio
        "end_of_text",
        {"type": "stop", "matched": 151645},  # SGLang
    ),
    Finish.CUT_OFF: (
        "length",
        "LENGTH",
        "max_tokens",
        "MAX_TOKENS",
        "maxTokens",
        "max_output_tokens",
        "maximum_tokens",  # Aleph Alpha
        "FinishReason.MAX_TOKENS",
        "FINISH_REASON_MAX_TOKENS",
        "maxPredictedTokensReached",  # LM Studio
        "token_limit",  # watsonx
        "model_length",  # Mistral
        "ERROR_LIMIT",  # Cohere
        "model_context_window_exceeded",  # Anthropic, Z.ai
        "incomplete",
        "not_finished",
        "limit",  # llama.cpp
        {"type": "length", "length": 8},
    ),
    Finish.DECLINED: (
        "content_filter",
        "content-filter",
        "content_filtered",  # Bedrock
        "SAFETY",
        "content_filter: PROHIBITED_CONTENT",  # Gemini's compatible endpoint
        "FinishReason.PROHIBITED_CONTENT",
        "RECITATION",
        "BLOCKLIST",
        "SPII",
        "IMAGE_SAFETY",
        "LANGUAGE",
        "refusal",  # Anthropic
        "guardrail_intervened",
        "sensitive",  # Z.ai
        "ERROR_TOXIC",  # Cohere
        "blacklist",  # GigaChat
    ),
    Finish.TOOL_CALL: (
        "tool_calls",
        "function_call",
        "tool_use",
        "TOOL_CALL",
        "MALFORMED_FUNCTION_CALL",
        "function_call_filter: MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
    ),
    Finish.FAILED: (
        "error",
        "ERROR",
        "engine_error",
        "network_error",  # Z.ai
        "insufficient_system_resource",  # DeepSeek
        "abort",  # vLLM, SGLang
        "cancelled",
        "USER_CANCEL",
        "timeout",
        "time_limit",
        {"type": "abort", "message": "a"},
    ),
    Finish.UNKNOWN: (
        None,
        "",
        " ",
        "None",
        "null",
        "OTHER",
        "FINISH_REASON_UNSPECIFIED",
        "stopping",
        "7",
        7,
        0,
        True,
        ["stop"],
        {"reason": "stop"},
        {"type": 1},
        {},
    ),
}


@pytest.mark.parametrize(
    ("reason", "finish"), [(word, finish) for finish, words in REASONS.items() for word in words]
)
def test_a_finish_reason_is_read(reason: object, finish: Finish) -> None:
    assert read_finish(reason) is finish


@given(st.text() | st.text(alphabet="maxtokensleghf_ -:.MAX"))
def test_every_word_is_some_reason(word: str) -> None:
    assert isinstance(read_finish(word), Finish)
    assert read_finish(word) is read_finish(f" {word}")


@given(
    st.sampled_from([word for words in REASONS.values() for word in words if isinstance(word, str)])
)
def test_case_does_not_count(word: str) -> None:
    assert read_finish(word.lower()) is read_finish(word.upper())

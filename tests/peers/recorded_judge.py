"""Runs inside the LiteLLM proxy: a model of its own that replies with recorded judgements."""

import json
import os
import re
from pathlib import Path
from typing import Any

from litellm import CustomLLM, ModelResponse

REPLIES = json.loads(Path(os.environ["RECORDED_REPLIES"]).read_text(encoding="utf-8"))


class RecordedJudge(CustomLLM):  # type: ignore[misc]  # typed only where LiteLLM is installed
    """Looks the query and the document of a prompt up, and says what was recorded."""

    async def acompletion(self, *_: Any, messages: Any, **named: Any) -> Any:
        prompt = "\n".join(message["content"] for message in messages)
        query, document = (
            re.search(rf"<{tag}-(\w+)>\n(.*?)\n</{tag}-\1>", prompt, re.DOTALL)[2]  # type: ignore[index]
            for tag in ("query", "document")
        )
        response: ModelResponse = named["model_response"]
        response.choices[0].message.content = REPLIES[query][document]
        response.choices[0].finish_reason = "stop"
        response.model = "recorded-judge"
        return response


judge = RecordedJudge()

"""One model of one provider, as the scorers that ask it know it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rerankd_server.scoring.answers import Reply
from rerankd_server.scoring.breaker import Breaker
from rerankd_server.scoring.embedding import Embeddings
from rerankd_server.scoring.parameters import Parameters
from rerankd_server.scoring.provider import Provider
from rerankd_server.scoring.scorer import LABELS
from rerankd_server.scoring.sending import Errand


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """`provider`'s model called `name`."""

    provider: Provider
    provider_name: str
    """Stands for the provider in cache keys: one that keeps its name keeps its scores."""
    name: str
    workers: int
    """Most calls of one request under way together; the provider bounds all of them."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Members of the body that the settings add, such as `reasoning_effort`."""

    def identity(self, kind: str) -> dict[str, str]:
        """Give what the identity of every scorer that asks this model begins with."""
        identity = {"kind": kind, "provider": self.provider_name, "model": self.name}
        if self.extra:
            identity["extra"] = json.dumps(self.extra, sort_keys=True)
        return identity

    def judge_identity(self, kind: str, wish: Parameters, template: str) -> dict[str, str]:
        """Give what the identity of every scorer that has it choose labels begins with.

        The parameters are those we ask for. What the model refuses of them follows from the
        provider and the model, which are here too; so a restart, which forgets, finds its scores.
        """
        return {
            **self.identity(kind),
            "prompt": template,
            "labels": f"{LABELS[0]}-{LABELS[-1]}",
            "temperature": str(wish.temperature),
            "max_tokens": str(wish.max_tokens),
            "top_logprobs": str(wish.top_logprobs),
        }

    def body(self, system: str, user: str) -> Mapping[str, Any]:
        """Write a call's body, without model and parameters."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        return {"messages": messages, **self.extra}

    def breaker(self, kind: str) -> Breaker:
        """Return a breaker for the calls of one scorer that asks this model."""
        doing = f"{kind} by {self.name} at {self.provider.endpoint.who}"
        return Breaker(self.provider.clock, self.provider.condition, doing)

    async def complete(self, errand: Errand, wish: Parameters) -> Reply | None:
        """Send `errand` to this model; see `Provider.complete`."""
        return await self.provider.complete(self.name, errand, wish)

    async def embed(self, errand: Errand) -> Embeddings | None:
        """Send `errand` to this embeddings model; see `Provider.embed`."""
        return await self.provider.embed(self.name, errand)

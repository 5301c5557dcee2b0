"""`rerankd check`: ask each configured model once, and say what it takes and what to change."""

import argparse
import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from rerankd_server.commands.table import printable
from rerankd_server.config import Settings, load_settings, recipe
from rerankd_server.evaluation.costs import money
from rerankd_server.logs import configure_logs
from rerankd_server.menu import leaf_of
from rerankd_server.providers import MILLION, Providers
from rerankd_server.scoring.embedder import Embedder
from rerankd_server.scoring.learning import Learnt
from rerankd_server.scoring.parameters import ROOM_TO_THINK, Takes
from rerankd_server.scoring.prices import Price
from rerankd_server.scoring.remote_model import RemoteModel
from rerankd_server.scoring.scorer import (
    Ask,
    Candidate,
    Detail,
    Judgement,
    Score,
    Scorer,
    Unscored,
    Usage,
)

_QUERY = "how do bees find their way back to the hive?"
_DOCUMENT = "Bees find their way back to the hive by the sun, and by landmarks that they know."
_LEAST = 0.5
"""A model that is fit for this scores that pair higher."""
_REPLIES = {
    Detail.CUT_OFF: "its reply is cut off: does it think first? set max_tokens",
    Detail.EMPTY_REPLY: "its reply holds no text: does it think first? set max_tokens",
    Detail.UNREADABLE: "its reply holds no label: take a model that follows instructions",
    Detail.DECLINED: "it declines: see the provider's rules",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """What one model did when it was asked."""

    recipes: Sequence[str]
    kind: str
    provider: str
    address: str
    model: str
    score: float | None
    error: str = ""
    """Why there is no score."""
    finish: str = ""
    has_logprobs: bool = False
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_price_usd: float | None = None
    completion_price_usd: float | None = None
    """US dollars for a million tokens."""
    advice: Sequence[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether it gave a score."""
        return self.score is not None


def check(options: argparse.Namespace, flags: Mapping[str, str]) -> int:
    """Run the command; returns the exit status. Raises ConfigError where settings are wrong."""
    settings = load_settings(flags, os.environ, options.config)
    configure_logs("console", "error")
    found = asyncio.run(_check(settings))
    if options.json:
        print(json.dumps([{**asdict(each), "works": each.works} for each in found]))
    elif found:
        _show(found, Console())
    else:
        print("no model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL for a local server")
    return 0 if found and all(each.works for each in found) else 1


async def _check(settings: Settings) -> Sequence[Checked]:
    """Ask all models at the same time, once each."""
    once = {"attempts": 1}
    own = {name: each.model_copy(update=once) for name, each in settings.providers.items()}
    settings = settings.model_copy(update={**once, "providers": own})
    providers = Providers(settings)
    by_leaf: dict[str, list[str]] = {}
    leaves: dict[str, recipe.Pointwise | recipe.Batched | recipe.Embeddings] = {}
    for name, made in settings.catalogue.items():
        if isinstance(made, recipe.ASKING):
            key = f"{made.kind} {made.provider} {made.model} {json.dumps(dict(made.parameters))}"
            leaves.setdefault(key, made)
            by_leaf.setdefault(key, []).append(name)
    try:
        return await asyncio.gather(
            *(_ask(providers, made, by_leaf[key]) for key, made in leaves.items())
        )
    finally:
        await providers.close()


async def _ask(
    providers: Providers,
    made: recipe.Pointwise | recipe.Batched | recipe.Embeddings,
    recipes: Sequence[str],
) -> Checked:
    """Ask for a score of the pair, and note what came."""
    model = providers.model(made)
    score: Score | None = None
    unscored: Unscored | None = None
    usage = Usage()
    pair = [Candidate(_DOCUMENT)]
    async with aclosing(_scorer(model, made).score(Ask(_QUERY), pair)) as steps:
        async for step in steps:
            score, unscored = step.found.get(0, score), step.unscored.get(0, unscored)
            usage += step.usage
    price, learnt = providers.price(made), model.provider.learnt(model.name)
    has_logprobs = isinstance(score, Judgement) and bool(score.labels)
    return Checked(
        recipes=recipes,
        kind=made.kind,
        provider=made.provider,
        address=model.provider.endpoint.address,
        model=made.model,
        score=score.value if score else None,
        error=_why(unscored) if score is None else "",
        finish=learnt.finish,
        has_logprobs=has_logprobs,
        model_calls=usage.model_calls,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        prompt_price_usd=None if price is None else price.prompt * MILLION,
        completion_price_usd=None if price is None else price.completion * MILLION,
        advice=list(_advice(made, score, learnt, price, has_logprobs=has_logprobs)),
    )


def _scorer(
    model: RemoteModel, made: recipe.Pointwise | recipe.Batched | recipe.Embeddings
) -> Scorer:
    if not isinstance(made, recipe.Embeddings):
        return leaf_of(model, made)
    from rerankd_server.scoring.similarity import Similarity  # noqa: PLC0415  # loads numpy

    return Similarity(Embedder(model, made.documents), made.query_prefix, made.document_prefix)


def _why(unscored: Unscored | None) -> str:
    if unscored is None:
        return "it gives no score"
    if unscored.error is not None:
        return str(unscored.error)
    return _REPLIES[unscored.detail] if unscored.detail else "it gives no score"


def _advice(
    made: recipe.Asking,
    score: Score | None,
    learnt: Learnt,
    price: Price | None,
    *,
    has_logprobs: bool,
) -> Iterator[str]:
    """Say what to change, or to know."""
    if score is None:
        return
    takes, is_judge = learnt.takes, not isinstance(made, recipe.Embeddings)
    if takes.least_limit >= ROOM_TO_THINK:
        yield f"it thinks first: set max_tokens = {ROOM_TO_THINK}, or turn its thinking off"
    refused = ", ".join(_refused(takes))
    if refused:
        yield f"it takes no {refused}: rerankd leaves that out by itself"
    if is_judge and not has_logprobs:
        yield (
            "it tells no log-probabilities: scores are one of eleven; a mean of several passes, or "
            "a blend, tells equal ones apart"
        )
    if is_judge and score.value < _LEAST:
        yield f"it scores a good match as {score.value:.2f}: is it the right model?"
    if price is None:
        yield "its price is not known: set it under `prices`, or usage has no dollars"


def _refused(takes: Takes) -> Iterator[str]:
    """Name what the model does not take."""
    for name, is_taken in (
        ("temperature", takes.temperature),
        ("max_tokens", takes.limit),
        ("logprobs", takes.logprobs > 0),
        ("response_format", takes.form),
        ("system role", takes.system),
        ("encoding_format", takes.encoding),
    ):
        if not is_taken:
            yield name


def _show(found: Sequence[Checked], console: Console) -> None:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "model", "kind", "score", "finish", "log-probs", "calls", "tokens", "price"):
        drawn.add_column(name, overflow="fold", justify="right" if name == "score" else "left")
    for each in found:
        drawn.add_row(*_row(each))
    console.print(drawn)
    for each in found:
        console.print(f"\n{each.model} at {each.address} ({', '.join(each.recipes)})", markup=False)
        for line in ([each.error] if each.error else each.advice) or ["works as it is"]:
            console.print(f"  {printable(line)}", markup=False, highlight=False, soft_wrap=True)


def _row(each: Checked) -> Sequence[Any]:
    price = f"{money(each.prompt_price_usd)} / {money(each.completion_price_usd)}"
    return (
        "ok" if each.works else "FAILS",
        each.model,
        each.kind,
        "" if each.score is None else f"{each.score:.3f}",
        printable(each.finish[:24]),
        ("yes" if each.has_logprobs else "no") if each.works else "",
        str(each.model_calls),
        f"{each.prompt_tokens:,} + {each.completion_tokens:,}",
        price if each.prompt_price_usd is not None else "unknown",
    )

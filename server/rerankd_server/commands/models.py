"""`rerankd models`: what a running server can be asked for, what of, and at what price."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerankd import AsyncClient, Model, RerankError
from rerankd_server.commands.failure import tell
from rerankd_server.config import OWN_PROVIDER
from rerankd_server.evaluation.costs import money


def models(options: argparse.Namespace) -> int:
    """Run the command; gives the exit status."""
    try:
        found = asyncio.run(_models(options))
    except RerankError as error:
        return tell(error, options.address)
    if options.json:
        print(json.dumps([asdict(model) for model in found], ensure_ascii=False))
    else:
        Console().print(_table(found))
    return 0


async def _models(options: argparse.Namespace) -> Sequence[Model]:
    async with AsyncClient(options.address, timeout=options.timeout) as client:
        return await client.models()


def _table(found: Sequence[Model]) -> Table:
    """Draw the models, a row each; dollars are for a million tokens, prompt and completion."""
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    drawn.caption = "* is the default. Dollars are for a million tokens, of prompts / of answers."
    for name in ("model", "kind", "of", "price", "what it does"):
        drawn.add_column(name, overflow="fold")
    for model in found:
        name = f"{model.name} *" if model.is_default else model.name
        cells = (name, model.kind, _made_of(model), _price(model), model.description)
        drawn.add_row(*map(Text, cells))
    return drawn


def _made_of(model: Model) -> str:
    """Name the parts, or the provider's model; the server's own provider goes without saying."""
    if model.provider and model.provider != OWN_PROVIDER:
        return f"{model.provider}: {model.provider_model}"
    return ", ".join(model.parts) or model.provider_model


def _price(model: Model) -> str:
    if model.prompt_price_usd is None or model.completion_price_usd is None:
        return "unknown" if model.provider else ""
    return f"{money(model.prompt_price_usd)} / {money(model.completion_price_usd)}"

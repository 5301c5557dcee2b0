"""The same warm request to rerankd and to a LiteLLM proxy that caches: `python -m bench.peers`.

LiteLLM caches whole requests, in its memory; what it asks is a loopback stand-in for Cohere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import Progress

from bench import cohere
from bench.blocks import BLOCKS, SHOWN, Calls, Measuring
from bench.figures import Warm, save
from bench.processes import child, settled
from bench.row import Row
from bench.show import show
from bench.stock import BASE_URL, stock
from bench.systems import LITELLM, SAME, SHUFFLED, System
from support.litellm import litellm
from support.process import serving

_LEAST_TIMES_FASTER, _LEAST_RATE = 6, 10
_CALLS = Calls(alone=40, together=640)
_CONFIG = """
model_list:
  - model_name: {model}
    litellm_params:
      model: cohere/rerank-english-v3.0
      api_base: {address}
      api_key: none
litellm_settings:
  cache: true
  cache_params:
    type: local
"""


async def peers(folder: Path, progress: Progress) -> Sequence[Row]:
    """Measure in turns, block by block."""
    shown = progress.add_task("peers: starting", total=BLOCKS)
    await stock(folder / "rerankd", [(str(SHOWN), SHOWN.texts)], BASE_URL)
    async with (
        cohere.upstream() as upstream,
        litellm(folder, _CONFIG.format(model=cohere.MODEL, address=upstream.address)) as proxy,
        serving(folder / "rerankd", OPENAI_BASE_URL=BASE_URL) as (server, address),
        child("caller") as one,
        child("caller") as many,
    ):
        systems = [
            System(LITELLM, proxy.address, proxy.pid, "json"),
            System(SHUFFLED, address, server.pid),
            System(SAME, address, server.pid, "same"),
        ]
        measuring = Measuring({each.name: each for each in systems}, SHOWN, _CALLS, LITELLM)
        await settled(server.pid)
        await measuring.warm_up(one)
        progress.update(shown, description="peers: calling")
        for block in range(BLOCKS):
            await measuring.block(one, many, block)
            progress.advance(shown)
        figures = measuring.figures()
        bought = upstream.calls
        async with cohere.connected(proxy.address) as call:
            await call(cohere.request(str(SHOWN), SHOWN.texts[::-1]))
        for_another_order = upstream.calls - bought
    progress.remove_task(shown)
    save("peers", figures)
    return [
        *_rows({each.system: each for each in figures}),
        Row("what LiteLLM asked upstream, all the while", "1 call", f"{bought}", bought == 1),
        Row("and for the same documents in another order", "", f"{for_another_order}"),
    ]


def _rows(by_system: Mapping[str, Warm]) -> Sequence[Row]:
    theirs = by_system[LITELLM]
    rows = []
    for name, judged in ((SHUFFLED, True), (SAME, False)):
        ours = by_system[name]
        faster, rate = ours.time_ratio.inverse, ours.rate_ratio
        rows += [
            Row(
                f"{SHOWN} characters, {name}: p50",
                f"at least {_LEAST_TIMES_FASTER} x as fast as LiteLLM" if judged else "",
                f"{faster} x, {ours.p50:.2f} ms to {theirs.p50:.2f} ms",
                faster.middle >= _LEAST_TIMES_FASTER if judged else None,
            ),
            Row(
                f"16 callers, {name}: calls a second",
                f"at least {_LEAST_RATE} x LiteLLM's" if judged else "",
                f"{rate} x, {ours.calls_per_second:,.0f} to {theirs.calls_per_second:,.0f}",
                rate.middle >= _LEAST_RATE if judged else None,
            ),
        ]
    return rows


if __name__ == "__main__":
    show({"peers": peers})

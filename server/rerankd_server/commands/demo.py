"""`rerankd demo`: the main job, with nothing configured.

Starts a stand-in model and a server on free ports with a temporary cache, ranks an example twice,
and stops.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from rerankd import AsyncClient, Document
from rerankd_server.app import App
from rerankd_server.commands.rank import show
from rerankd_server.commands.standin import MODEL, stand_in
from rerankd_server.config import PriceSettings, Settings
from rerankd_server.logs import configure_logs

_QUERY = "how do bees find their way back to the hive"
_DOCUMENTS = [
    Document(text)
    for text in """\
A hive needs a dry stand, morning sun and a flight path.
Bees find their way back to the hive by sun and landmarks.
Honey keeps for years: it holds too little water to spoil.
A bee adds up its turns, then flies straight to the hive.
The waggle dance tells bees how far from the hive food is.
Pigeons find their way home by the earth's magnetic field.
Guard bees know the members of their own hive by scent.
The bill will find its way back to the floor before recess.
Bumblebees nest in old mouse holes and under grass.
Bees whose hive was moved fly back to where it stood.
To sharpen a knife, keep its angle to the stone the same.
Scent fanned out at the entrance helps stragglers back.
""".splitlines()
]


def demo() -> int:
    """Run the demo; gives the exit status."""
    configure_logs("console", "warning")
    return asyncio.run(_demo(Console(file=sys.stdout)))


async def _demo(console: Console) -> int:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    with tempfile.TemporaryDirectory(prefix="rerankd-demo-") as folder:
        async with stand_in() as base_url:
            settings = Settings(
                listen="127.0.0.1:0",
                data_dir=Path(folder),
                model=MODEL,
                base_url=base_url,
                concurrency=4,
                prices={MODEL: PriceSettings(prompt=0.15, completion=0.60)},
            )
            app = App(settings)
            await app.start()
            try:
                async with AsyncClient(app.address) as client:
                    say(
                        f"rerankd listens on {app.address}, with a stand-in for a language "
                        "model: it judges by shared\nwords, and takes as long as a hosted one, "
                        f"0.3 to 0.9 s a call, {settings.concurrency} calls at once.\n"
                        "Its prices are gpt-4o-mini's.\n"
                    )
                    say(f"[bold]{_QUERY}?[/bold]  (asked for the first time)\n")
                    _, first = await show(client, _QUERY, _DOCUMENTS, console, {})
                    say(f"\n[bold]{_QUERY}?[/bold]  (asked again, the documents reversed)\n")
                    again, second = await show(client, _QUERY, _DOCUMENTS[::-1], console, {})
            finally:
                await app.stop()
    say(
        f"\nThe second time, {again.usage.model_calls} calls went to the model, "
        f"and the answer came {first / second:,.0f} times as fast."
    )
    return 0

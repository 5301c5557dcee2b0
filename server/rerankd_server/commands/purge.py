"""`rerankd purge`: delete all stored scores, also from what running servers have in memory."""

import argparse
import asyncio
import os
import sys

from rerankd_server.caching.store import Store
from rerankd_server.config import Settings, load_settings
from rerankd_server.logs import configure_logs


def purge(options: argparse.Namespace) -> int:
    """Run the command; gives the exit status. Raises ConfigError where there is no such folder."""
    flags = {} if options.data_dir is None else {"data_dir": options.data_dir}
    settings = load_settings(flags, os.environ, options.config)
    configure_logs("console", "warning")
    return asyncio.run(_purge(settings, is_sure=options.yes))


async def _purge(settings: Settings, *, is_sure: bool) -> int:
    store = Store(settings.data_dir, settings.cache_size)
    await store.open()
    try:
        count = await store.count()
        what = f"{count:,} stored scores in {settings.data_dir}"
        if not is_sure and not _agrees(f"Delete {what}? They were paid for. [y/N] "):
            print("nothing was deleted; --yes deletes without asking", file=sys.stderr)
            return 1
        deleted = await store.purge()
    finally:
        await store.close()
    if deleted is None:
        print(f"rerankd: cannot delete {what}; the log above says why", file=sys.stderr)
        return 1
    print(f"deleted {deleted:,} scores; servers that use {settings.data_dir} forget them, too")
    return 0


def _agrees(question: str) -> bool:
    """Ask whoever sits there; where nobody does, that is a no."""
    if not sys.stdin.isatty():
        return False
    return input(question).strip().lower() in ("y", "yes")

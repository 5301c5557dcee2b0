"""`rerankd purge`: delete all stored scores, also from what running servers have in memory."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from rerankd_server.caching.database import FILE_NAME
from rerankd_server.caching.store import Store
from rerankd_server.config import Settings, load_settings
from rerankd_server.errors import ConfigError
from rerankd_server.logs import configure_logs


def purge(options: argparse.Namespace) -> int:
    """Run the command; gives the exit status. Raises ConfigError where there is no store."""
    flags = {} if options.data_dir is None else {"data_dir": options.data_dir}
    settings = load_settings(flags, os.environ, options.config)
    configure_logs("console", "warning")
    if not options.yes and not _is_wanted(settings):
        print("nothing was deleted; --yes deletes without asking", file=sys.stderr)
        return 1
    return asyncio.run(_purge(settings))


def _is_wanted(settings: Settings) -> bool:
    """Say what there is, and ask. Outside of an event loop, which would not let Ctrl-C through."""
    try:
        count = asyncio.run(_count(settings))
        what = f"{count:,} stored scores in {settings.data_dir}"
        return _agrees(f"Delete {what}? They were paid for. [y/N] ")
    except KeyboardInterrupt:
        print("\nnothing was deleted", file=sys.stderr)
        raise


async def _count(settings: Settings) -> int:
    async with _opened(settings) as store:
        return await store.count()


async def _purge(settings: Settings) -> int:
    async with _opened(settings) as store:
        deleted = await store.purge()
    if deleted is None:
        what = f"the stored scores in {settings.data_dir}"
        print(f"rerankd: cannot delete {what}; the log above says why", file=sys.stderr)
        return 1
    print(f"deleted {deleted:,} scores; servers that use {settings.data_dir} forget them, too")
    return 0


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncGenerator[Store]:
    """Open the store. Raises ConfigError where there is none, for to open it would make one."""
    store = Store(settings.data_dir, settings.cache_size)
    if not _is_there(store.folder / FILE_NAME):
        raise ConfigError(
            f"data_dir: there is no store in {settings.data_dir}; nothing was deleted"
        )
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # the store will say what is wrong with it


def _agrees(question: str) -> bool:
    """Ask whoever sits there; where nobody does, or the answer does not come, that is a no."""
    if not sys.stdin.isatty():
        return False
    print(question, end="", file=sys.stderr, flush=True)
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:
        print(file=sys.stderr)
        return False

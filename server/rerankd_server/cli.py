"""The command line: `rerankd serve | rank | models | demo`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from rerankd_server import __version__
from rerankd_server.config import TABLES, ProviderSettings, Settings
from rerankd_server.errors import ConfigError

_NOT_FLAGS = {*TABLES, "api_key"}
"""Settings that are not flags. A key is none: other users of the machine can read them."""


_METAVARS: Mapping[object, str] = {
    int: "N",
    int | None: "N",
    float: "SECONDS",
    float | None: "SECONDS",
    ByteSize: "SIZE",
    Path: "FOLDER",
    Path | None: "FILE",
    tuple[str, ...]: "NAMES",
}


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status: 0, 1 where it failed, 2 where it was misused."""
    options = _parser().parse_args(arguments)
    try:
        # Each command imports its own needs: `serve` does not wait for what `rank` draws with.
        match options.command:
            case "serve":
                from rerankd_server.commands.serve import serve  # noqa: PLC0415

                return serve(_flags(options), os.environ, options.config)
            case "rank":
                from rerankd_server.commands.rank import rank  # noqa: PLC0415

                return rank(options)
            case "models":
                from rerankd_server.commands.models import models  # noqa: PLC0415

                return models(options)
            case _:
                from rerankd_server.commands.demo import demo  # noqa: PLC0415

                return demo()
    except ConfigError as error:
        print(f"rerankd: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rerankd", description="A local caching proxy for LLM reranking, with a gRPC API."
    )
    parser.add_argument("--version", action="version", version=f"rerankd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server. Each setting is also an environment variable (RERANKD_LISTEN) "
        "and a TOML key (listen); OPENAI_API_KEY and OPENAI_BASE_URL work as everywhere.",
    )
    serve.add_argument("--config", type=Path, metavar="FILE", help="read settings from a TOML file")
    # Those of the server itself come before those of its provider, from which it inherits.
    own = [name for name in Settings.model_fields if name not in ProviderSettings.model_fields]
    for name in (*own, *ProviderSettings.model_fields):
        setting = Settings.model_fields[name]
        if name not in _NOT_FLAGS:
            serve.add_argument(
                f"--{name.replace('_', '-')}",
                metavar=_METAVARS.get(setting.annotation, "VALUE"),
                help=_help(setting),
            )

    rank = commands.add_parser(
        "rank",
        help="rank documents from files or standard input",
        description="Ask a running server to rank documents: a line each, or JSON lines with "
        '"text" and, if you like, "id" and "prior_score".',
    )
    rank.add_argument("query", metavar="QUERY")
    rank.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: standard input")
    rank.add_argument("-n", "--top-n", type=int, default=0, metavar="N", help="show the first N")
    rank.add_argument("--json", action="store_true", help="print one JSON object")
    rank.add_argument("--model", default="", help="a model of the server's")
    rank.add_argument("--instruction", default="", help='what "relevant" means, in words')
    rank.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS")
    _add_address(rank)

    models = commands.add_parser(
        "models",
        help="list what a running server can be asked for",
        description="List the models and recipes of a running server, with their parts, providers "
        "and prices.",
    )
    models.add_argument("--json", action="store_true", help="print one JSON array")
    models.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    _add_address(models)

    commands.add_parser("demo", help="see it work, with nothing configured")
    return parser


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--address",
        default=os.environ.get("RERANKD_ADDRESS", "127.0.0.1:50051"),
        help="the server's (default: RERANKD_ADDRESS, or %(default)s)",
    )


def _help(setting: FieldInfo) -> str:
    default = setting.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, ByteSize):
        default = default.human_readable()
    shown = "" if default in (None, "") else f" (default: {default})"
    return f"{setting.description}{shown}".replace("%", "%%")


def _flags(options: argparse.Namespace) -> dict[str, str]:
    """Give the settings that were given as flags."""
    return {
        name: value
        for name in Settings.model_fields
        if (value := getattr(options, name, None)) is not None
    }

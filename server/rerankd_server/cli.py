"""The command line: `rerankd serve | rank | check | models | eval | purge | demo`."""

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
    ByteSize | None: "SIZE",
    Path: "FOLDER",
    Path | None: "FILE",
    tuple[str, ...]: "NAMES",
}


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status: 0, 1 where it failed, 2 where it was misused."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except ConfigError as error:
        print(f"rerankd: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130
    return status


# Each command imports its own needs: `serve` does not wait for what `rank` draws with.


def _serve(options: argparse.Namespace) -> int:
    from rerankd_server.commands.serve import serve  # noqa: PLC0415

    return serve(_flags(options), os.environ, options.config)


def _rank(options: argparse.Namespace) -> int:
    from rerankd_server.commands.rank import rank  # noqa: PLC0415

    return rank(options)


def _check(options: argparse.Namespace) -> int:
    from rerankd_server.commands.check import check  # noqa: PLC0415

    return check(options, _flags(options))


def _models(options: argparse.Namespace) -> int:
    from rerankd_server.commands.models import models  # noqa: PLC0415

    return models(options)


def _demo(_: argparse.Namespace) -> int:
    from rerankd_server.commands.demo import demo  # noqa: PLC0415

    return demo()


def _eval(options: argparse.Namespace) -> int:
    try:
        from rerankd_server.commands.evaluate import eval_  # noqa: PLC0415

        return eval_(options)
    except ModuleNotFoundError as error:
        print(  # noqa: T201
            f"rerankd: {error.name} is missing; for this command: "
            "pip install 'rerankd[server,eval]'",
            file=sys.stderr,
        )
        return 1


def _purge(options: argparse.Namespace) -> int:
    from rerankd_server.commands.purge import purge  # noqa: PLC0415

    return purge(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rerankd", description="A local caching proxy for LLM reranking, with a gRPC API."
    )
    parser.add_argument("--version", action="version", version=f"rerankd {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run_it, add_arguments, what in (
        ("serve", _serve, _add_serve, "run the server"),
        ("rank", _rank, _add_rank, "rank documents from files or standard input"),
        ("check", _check, _add_check, "ask each configured model once, and say what to change"),
        ("models", _models, _add_models, "list what a running server can be asked for"),
        ("eval", _eval, _add_eval, "say how good rankings are for their money"),
        ("purge", _purge, _add_purge, "delete all stored scores"),
    ):
        command = commands.add_parser(name, help=what)
        command.set_defaults(command=run_it)
        add_arguments(command)
    demo = commands.add_parser("demo", help="see it work, with nothing configured")
    demo.set_defaults(command=_demo)
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run the server. Each setting is also an environment variable (RERANKD_LISTEN) and a TOML "
        "key (listen); OPENAI_API_KEY and OPENAI_BASE_URL work as everywhere. Providers and "
        "recipes are tables of the file."
    )
    _add_settings(parser)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read the settings as `serve` does, ask each configured model once for a score of a pair "
        "of its own, and print what it takes, what that costs, and what to change. The exit status "
        "is 0 where every model works, else 1."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add all settings of a server."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="read settings from a TOML file"
    )
    # Those of the server itself come before those of its provider, from which it inherits.
    own = [name for name in Settings.model_fields if name not in ProviderSettings.model_fields]
    for name in (*own, *ProviderSettings.model_fields):
        setting = Settings.model_fields[name]
        if name not in _NOT_FLAGS:
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                metavar=_METAVARS.get(setting.annotation, "VALUE"),
                help=_help(setting),
            )


def _add_rank(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        'Ask a running server to rank documents: a line each, or JSON lines with "text" and, if '
        'you like, "id" and "prior_score".'
    )
    parser.add_argument("query", metavar="QUERY")
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="default: standard input"
    )
    parser.add_argument("-n", "--top-n", type=int, default=0, metavar="N", help="show the first N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--model", default="", help="a model of the server's")
    parser.add_argument("--instruction", default="", help='what "relevant" means, in words')
    _add_server(parser)


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List the models and recipes of a running server, with their parts, providers and prices."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    _add_server(parser)


def _add_eval(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Ask a running server to rank judged candidates with each model, and compare the rankings "
        "by quality and cost. Scores are cached by the server: after Ctrl-C, run the same again, "
        "and it goes on where it was."
    )
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="FILE|FOLDER",
        help='JSON lines, a query each with "query" and "documents" of "text" and "label"; '
        "or a folder in BEIR's form; either may be gzipped",
    )
    for name, what in (
        ("queries", "TREC: qid<TAB>query"),
        ("documents", "TREC: docid<TAB>text, or JSON lines"),
        ("qrels", "TREC: qid 0 docid label; BEIR: instead of qrels/test.tsv"),
        ("run", "TREC, BEIR: qid Q0 docid rank score tag; without it, what is judged is ranked"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    parser.add_argument(
        "--depth", type=int, metavar="N", help="rank the first N (default: 100 of a run, else all)"
    )
    parser.add_argument(
        "--prior", default="", metavar="KEY", help="JSON lines: documents[].KEY.score comes before"
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="a model of the server's; may be repeated (default: the server's default)",
    )
    parser.add_argument("--instruction", default="", help='what "relevant" means, in words')
    parser.add_argument(
        "--rel",
        type=int,
        default=1,
        metavar="N",
        help="least label that is relevant, for MRR and recall (default: 1; TREC DL: 2)",
    )
    parser.add_argument(
        "--concurrency", type=int, default=4, metavar="N", help="queries in flight (default: 4)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, per query too")
    parser.add_argument(
        "--run-out",
        type=Path,
        metavar="FILE",
        help="write a TREC run; of several models FILE-MODEL each",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a PNG: quality by cost")
    _add_server(parser)


def _add_purge(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Delete all stored scores. Servers that use the folder may run meanwhile: they forget what "
        "they have in memory, too."
    )
    data_dir = Settings.model_fields["data_dir"]
    parser.add_argument("--data-dir", metavar="FOLDER", help=_help(data_dir))
    parser.add_argument("--config", type=Path, metavar="FILE", help="the server's TOML file")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _add_server(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that asks a server."""
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument(
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

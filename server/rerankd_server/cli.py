"""The command line: `rerankd serve | rank | eval | demo`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from rerankd_server import __version__
from rerankd_server.config import Settings
from rerankd_server.errors import ConfigError

_NOT_FLAGS = {"api_key"}
"""Settings that are not flags: other users of the machine can read a command line."""


_METAVARS: Mapping[object, str] = {
    int: "N",
    int | None: "N",
    float: "SECONDS",
    float | None: "SECONDS",
    ByteSize: "SIZE",
    Path: "FOLDER",
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
            case "eval":
                return _eval(options)
            case _:
                from rerankd_server.commands.demo import demo  # noqa: PLC0415

                return demo()
    except ConfigError as error:
        print(f"rerankd: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130


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
    for name, setting in Settings.model_fields.items():
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
    _add_server(rank)

    _add_eval(commands.add_parser("eval", help="say how good rankings are for their money"))

    commands.add_parser("demo", help="see it work, with nothing configured")
    return parser


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

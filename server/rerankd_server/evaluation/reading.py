"""Reads a collection in whichever form it is given: JSON lines, BEIR's folder, or TREC's files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rerankd_server.evaluation.assembly import assemble
from rerankd_server.evaluation.beir import (
    CORPUS,
    QRELS,
    QUERIES,
    parse_beir_qrels,
    parse_beir_queries,
)
from rerankd_server.evaluation.collection import Collection
from rerankd_server.evaluation.jsonl import parse_judged
from rerankd_server.evaluation.lines import CollectionError, is_folder, read_lines
from rerankd_server.evaluation.trec import (
    Judgement,
    parse_qrels,
    parse_queries,
    parse_run,
    parse_texts,
)


@dataclass(frozen=True, slots=True)
class Files:
    """Where a collection is: `source`, a file or a folder, or TREC's files one by one."""

    source: Path | None = None
    queries: Path | None = None
    documents: Path | None = None
    qrels: Path | None = None
    run: Path | None = None
    depth: int | None = None
    """Most candidates of a query, the first ones; None: 100 of a run, else all."""
    prior: str = ""
    """In JSON lines, the key of an object whose `score` is a candidate's prior score."""


def read_collection(files: Files) -> Collection:
    """Read and check all files. Raises CollectionError."""
    if files.depth is not None and files.depth < 1:
        raise CollectionError(f"--depth: {files.depth} leaves no candidate; give 1 or more")
    source = files.source
    if source is None:
        _refuse({"--prior": files.prior}, "TREC's files; a run gives the prior scores")
        return _read_trec(files)
    if is_folder(source):
        _refuse(
            {"--queries": files.queries, "--documents": files.documents, "--prior": files.prior},
            "a folder in BEIR's form",
        )
        return _read_beir(source, files)
    _refuse(
        {
            "--queries": files.queries,
            "--documents": files.documents,
            "--qrels": files.qrels,
            "--run": files.run,
        },
        "a file of JSON lines",
    )
    return parse_judged(read_lines(source), str(source), files.depth, files.prior)


def _refuse(options: dict[str, object], form: str) -> None:
    for option, value in options.items():
        if value:
            raise CollectionError(f"{option}: does not go with {form}; leave one of them out")


def _read_trec(files: Files) -> Collection:
    queries, documents, qrels = files.queries, files.documents, files.qrels
    if queries is None or documents is None or qrels is None:
        raise CollectionError(
            "what to evaluate: give a file of JSON lines, a folder in BEIR's form, "
            "or --queries, --documents and --qrels"
        )
    return _assembled(
        str(qrels),
        parse_queries(read_lines(queries), str(queries)),
        documents,
        parse_qrels(read_lines(qrels), str(qrels)),
        files,
    )


def _read_beir(folder: Path, files: Files) -> Collection:
    queries = _packed(folder / QUERIES)
    qrels = files.qrels or _packed(folder / QRELS)
    return _assembled(
        str(folder),
        parse_beir_queries(read_lines(queries), str(queries)),
        _packed(folder / CORPUS),
        parse_beir_qrels(read_lines(qrels), str(qrels)),
        files,
    )


def _assembled(
    name: str,
    queries: Mapping[str, str],
    documents: Path,
    judgements: Sequence[Judgement],
    files: Files,
) -> Collection:
    """Read what both forms have alike, documents and run, and put all together."""
    return assemble(
        name,
        queries,
        lambda wanted: parse_texts(read_lines(documents), str(documents), wanted),
        judgements,
        None if files.run is None else parse_run(read_lines(files.run), str(files.run)),
        files.depth,
    )


def _packed(file: Path) -> Path:
    """Give the file, or its gzipped twin where that alone is there."""
    twin = file.with_name(f"{file.name}.gz")
    return twin if twin.exists() and not file.exists() else file

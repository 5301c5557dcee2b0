"""BEIR's folder: corpus.jsonl, queries.jsonl, and judgements in qrels/test.tsv."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rerankd_server.evaluation.lines import label_in, numbered, objects, shown, wrong
from rerankd_server.evaluation.trec import Judgement, add_query, distinct, identifier_in, misshapen

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels/test.tsv"
_HEADER = ["query-id", "corpus-id", "score"]


def parse_beir_queries(lines: Iterable[bytes], name: str) -> Mapping[str, str]:
    """Read queries by id: objects with `_id` and `text`. Raises CollectionError."""
    queries: dict[str, str] = {}
    for line, value in objects(lines, name):
        identifier, text = identifier_in(value, ["_id"]), value.get("text")
        if identifier is None or not isinstance(text, str):
            raise wrong(name, line, 'a query has to have "_id" and "text", both strings')
        add_query(queries, identifier, text, name, line)
    return queries


def parse_beir_qrels(lines: Iterable[bytes], name: str) -> Sequence[Judgement]:
    """Read judgements by tabs, under the header `query-id corpus-id score`.

    Raises CollectionError.
    """
    judgements = distinct(_judgements(lines, name))
    if not judgements:
        raise wrong(name, 1, "no judgement follows the header; is it the right file?")
    return judgements


def _judgements(lines: Iterable[bytes], name: str) -> Iterator[Judgement]:
    is_first = True
    for line, text in numbered(lines, name):
        columns = [column.strip() for column in text.split("\t")]
        if is_first and columns != _HEADER:
            raise wrong(
                name, line, f"is {shown(text)}; the first line has to be {'<TAB>'.join(_HEADER)}"
            )
        if not is_first:
            if len(columns) != len(_HEADER):
                raise misshapen(name, line, len(columns), "<TAB>".join(_HEADER))
            query, document, label = columns
            yield Judgement(name, line, query, document, label_in(label, name, line))
        is_first = False

"""Collections in every form that `rerankd eval` reads, and what is wrong with others."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd_server.evaluation.assembly import assemble
from rerankd_server.evaluation.beir import parse_beir_qrels, parse_beir_queries
from rerankd_server.evaluation.collection import Candidate, Query
from rerankd_server.evaluation.jsonl import parse_judged
from rerankd_server.evaluation.lines import CollectionError, read_lines
from rerankd_server.evaluation.reading import Files, read_collection
from rerankd_server.evaluation.trec import parse_qrels, parse_queries, parse_run, parse_texts

Parse = Callable[[Sequence[bytes], str], object]


def parse_all_texts(lines: Sequence[bytes], name: str) -> Mapping[str, str]:
    return parse_texts(lines, name, {"1", "d", "a"})


PARSERS: Mapping[str, Parse] = {
    "judged": lambda lines, name: parse_judged(lines, name, 2, "bm25"),
    "queries": parse_queries,
    "texts": parse_all_texts,
    "qrels": parse_qrels,
    "run": parse_run,
    "beir queries": parse_beir_queries,
    "beir qrels": parse_beir_qrels,
}


def judged(**fields: object) -> bytes:
    return json.dumps({"query": "q", "documents": [{"text": "a", "label": 1}]} | fields).encode()


class TestJsonLines:
    def test_a_line_is_a_query_with_its_candidates(self) -> None:
        row = {
            "qid": 7,
            "query": "why",
            "documents": [
                {"text": "a", "id": "x", "label": 2, "prior_score": 3},
                {"text": "b"},
            ],
            "else": None,
        }
        found = parse_judged([json.dumps(row).encode()], "f")
        assert found.queries == [
            Query("7", "why", [Candidate("x", "a", 2, 3.0), Candidate("2", "b")])
        ]
        assert found.notes == []

    def test_candidates_are_documents_and_ids_may_be_left_out(self) -> None:
        lines = [b"\n", judged(candidates=[{"docid": "z", "text": "t", "label": 0}])]
        lines[1] = lines[1].replace(b'"documents"', b'"other"')
        assert parse_judged(lines, "f").queries == [Query("2", "q", [Candidate("z", "t", 0)])]

    def test_all_labels_leave_those_that_no_candidate_has(self) -> None:
        documents = [{"text": str(n), "label": label} for n, label in enumerate((3, 1, 0))]
        [query] = parse_judged([judged(documents=documents, all_labels=[3, 3, 2, 1])], "f").queries
        assert sorted(query.elsewhere) == [2, 3]

    def test_depth_cuts_candidates_but_not_the_ideal_ranking(self) -> None:
        documents = [{"text": str(n), "label": label} for n, label in enumerate((0, 3, 1))]
        [query] = parse_judged([judged(documents=documents)], "f", 1).queries
        assert [each.text for each in query.candidates] == ["0"]
        assert sorted(query.elsewhere) == [1, 3]

    def test_prior_names_a_first_stage(self) -> None:
        documents = [{"text": "a", "label": 1, "bm25": {"score": 2}}, {"text": "b"}]
        [query] = parse_judged([judged(documents=documents)], "f", None, "bm25").queries
        assert [each.prior_score for each in query.candidates] == [2.0, None]
        with pytest.raises(CollectionError, match='f: no candidate has "dense"'):
            parse_judged([judged(documents=documents)], "f", None, "dense")

    def test_queries_that_say_nothing_are_left_out_and_noted(self) -> None:
        lines = [
            judged(),
            judged(documents=[]),
            judged(documents=[{"text": "b"}]),
            judged(documents=[{"text": "b"}]),
        ]
        found = parse_judged(lines, "f")
        assert [query.id for query in found.queries] == ["1"]
        assert found.notes == [
            "1 query without candidates: left out",
            "2 queries without judgements: left out",
        ]
        with pytest.raises(CollectionError, match="f: no query has both"):
            parse_judged(lines[1:], "f")

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b"{", "is not JSON"),
            (b"[]", "not an object"),
            (b'{"query": "\\ud83d"}', "is not JSON"),
            (b"[" * 100_000, "is not JSON"),
            (judged(query=" "), 'needs "query"'),
            (judged(query=5), 'needs "query"'),
            (judged(documents={}), 'needs "documents"'),
            (judged(documents=["a"]), "document 1 is not an object"),
            (judged(documents=[{"text": "  "}]), 'document 1 needs "text"'),
            (judged(documents=[{"text": "a", "label": 1.5}]), '"label" of document 1'),
            (judged(documents=[{"text": "a", "label": True}]), '"label" of document 1'),
            (judged(documents=[{"text": "a", "label": 1001}]), '"label" of document 1'),
            (judged(documents=[{"text": "a", "prior_score": float("nan")}]), "finite number"),
            (judged(documents=[{"text": "a", "prior_score": 10**400}]), "finite number"),
            (judged(documents=[{"text": "a", "prior_score": "1"}]), "finite number"),
            (judged(documents=[{"text": "a", "id": "2"}, {"text": "b"}]), "'2' is there twice"),
            (judged(all_labels=[1, "2"]), '"all_labels"'),
            (judged(all_labels=3), '"all_labels"'),
            (judged(qid="1"), "query '1' is on line 1 too"),
        ],
    )
    def test_a_wrong_line_is_named(self, line: bytes, said: str) -> None:
        with pytest.raises(CollectionError, match=r"^f, line 2: ") as raised:
            parse_judged([judged(), line], "f")
        assert said in str(raised.value)


@pytest.mark.parametrize(
    ("parser", "fine", "line", "said"),
    [
        ("queries", b"1\tq", b"2 q", "has 1 columns; a line has to be `qid<TAB>query`"),
        ("queries", b"1\tq", b"2\tq\t3", "has 3 columns"),
        ("queries", b"1\tq", b"1\tr", "query '1' is there twice"),
        ("queries", b"1\tq", b"2\t ", "query '2' is empty"),
        ("texts", b"1\ta", b"1\tb", "document '1' is there twice"),
        ("texts", b"8\ta", b"8\tb", "document '8' is there twice"),
        ("texts", b"1\ta", b"b", "a line has to be `docid<TAB>text`"),
        ("texts", b'{"_id": "1", "text": ""}', b'{"text": "b"}', "has no id"),
        ("texts", b'{"_id": "1", "text": ""}', b'{"_id": "2"}', '"text" has to be a string'),
        ("texts", b'{"_id": "1", "text": ""}', b"2\tb", "is not JSON"),
        ("qrels", b"1 0 a 1", b"1 0 a 0", "are there already, on line 1; keep one"),
        ("qrels", b"1 0 a 1", b"1 a 0", "has 3 columns; a line has to be `qid 0 docid label`"),
        ("qrels", b"1 0 a 1", b"1 0 b x", "the label is 'x'; give a whole number"),
        ("qrels", b"1 0 a 1", b"1 0 b 1.0", "the label is '1.0'"),
        ("qrels", b"1 0 a 1", b"1 0 b 999999", "the label is '999999'"),
        ("run", b"1 Q0 a 1 2.5 t", b"1 Q0 a 2 2 t", "are there already, on line 1"),
        ("run", b"1 Q0 a 1 2.5 t", b"1 Q0 b 2 nan t", "the score is 'nan'; give a finite"),
        ("run", b"1 Q0 a 1 2.5 t", b"1 Q0 b 2 1e999 t", "the score is '1e999'"),
        ("run", b"1 Q0 a 1 2.5 t", b"1 Q0 b 2 1_0 t", "the score is '1_0'"),
        ("run", b"1 Q0 a 1 2.5 t", b"1 Q0 b two 1 t", "the rank is 'two'"),
        ("run", b"1 Q0 a 1 2.5 t", b"1 Q0 b 2 1", "has 5 columns"),
        ("beir queries", b'{"_id": "1", "text": "q"}', b'{"_id": "1", "text": "r"}', "twice"),
        ("beir queries", b'{"_id": "1", "text": "q"}', b'{"text": "r"}', 'to have "_id"'),
        ("beir qrels", b"query-id\tcorpus-id\tscore", b"1\ta", "has 2 columns"),
        ("beir qrels", b"query-id\tcorpus-id\tscore", b"1\ta\thigh", "the label is 'high'"),
        *((parser, b"\n", "é".encode("latin-1"), "is not UTF-8; convert") for parser in PARSERS),
    ],
)
def test_a_wrong_line_is_named(parser: str, fine: bytes, line: bytes, said: str) -> None:
    with pytest.raises(CollectionError, match=r"^f, line 2: ") as raised:
        PARSERS[parser]([fine, line], "f")
    assert said in str(raised.value)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("lines", [[], [b"\n", b" \n"]])
def test_an_empty_file_is_named(parser: str, lines: Sequence[bytes]) -> None:
    with pytest.raises(CollectionError, match=r"^f, line 1: the file is empty"):
        PARSERS[parser](lines, "f")


def test_beir_judgements_follow_their_header() -> None:
    with pytest.raises(
        CollectionError, match=r"^f, line 1: is '1 0 a 1'; the first line has to be"
    ):
        parse_beir_qrels([b"1 0 a 1"], "f")
    with pytest.raises(CollectionError, match=r"^f, line 1: no judgement follows"):
        parse_beir_qrels([b"query-id\tcorpus-id\tscore\n"], "f")


LINES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.text('\t {}[]"1aQ0.-nNe:,é', max_size=30).map(str.encode),
        st.sampled_from(
            [judged(), b"1\tq", b"1 0 a 1", b"1 Q0 a 1 2 t", b'{"_id":"1","text":"t"}']
        ),
    ),
    max_size=5,
)


@pytest.mark.parametrize("parser", PARSERS)
@given(lines=LINES)
def test_any_bytes_are_read_or_refused(parser: str, lines: list[bytes]) -> None:
    with suppress(CollectionError):
        PARSERS[parser](lines, "f")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "label", "id", "docid", "prior_score", "bm25", "score"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["query", "qid", "documents", "all_labels"]), VALUES))
def test_any_json_is_read_or_refused(fields: dict[str, object]) -> None:
    with suppress(CollectionError):
        parse_judged([judged(**fields)], "f", None, "bm25")


class TestTrec:
    def write(self, folder: Path, **files: str) -> Files:
        paths = {name: folder / name for name in files}
        for name, path in paths.items():
            path.write_text(files[name])
        return Files(**paths)  # type: ignore[arg-type]  # only paths are passed

    def test_a_run_gives_candidates_by_score_cut_at_depth(self, tmp_path: Path) -> None:
        files = self.write(
            tmp_path,
            queries="1\tfirst\n2\tsecond\n",
            documents="a\tA\nb\tB\nc\tC\nd\tD\n",
            qrels="1 0 a 2\n1 0 d 1\n2 0 a 1\n",
            run="1 Q0 c 3 1.5 t\n1 Q0 a 1 1.5 t\n1 Q0 b 2 9 t\n",
        )
        found = read_collection(files)
        assert found.queries == [
            Query(
                "1",
                "first",
                [
                    Candidate("b", "B", None, 9),
                    Candidate("a", "A", 2, 1.5),
                    Candidate("c", "C", None, 1.5),
                ],
                (1,),
            )
        ]
        assert found.notes == ["1 query without candidates: left out"]

        cut = read_collection(
            Files(None, files.queries, files.documents, files.qrels, files.run, depth=1)
        )
        assert [each.id for each in cut.queries[0].candidates] == ["b"]
        assert sorted(cut.queries[0].elsewhere) == [1, 2]

    def test_without_a_run_the_order_does_not_tell_what_is_relevant(self, tmp_path: Path) -> None:
        documents = [f"d{number}" for number in range(50)]
        files = self.write(
            tmp_path,
            queries="1\tq\n",
            documents="".join(f"{each}\ttext\n" for each in documents),
            qrels="".join(f"1 0 {each} {int(n < 25)}\n" for n, each in enumerate(documents)),
        )
        first, again = (read_collection(files).queries[0].candidates for _ in range(2))
        assert first == again
        assert sorted(each.id for each in first) == sorted(documents)
        assert 8 <= sum(each.label or 0 for each in first[:25]) <= 17
        cut = read_collection(
            Files(None, files.queries, files.documents, files.qrels, files.run, depth=9)
        ).queries[0]
        assert (cut.candidates, len(cut.elsewhere)) == (first[:9], 41)

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"qrels": "1 0 a 1\n9 0 a 1\n"}, "qrels, line 2: there is no query '9'"),
            ({"qrels": "1 0 a 1\n1 0 z 1\n"}, "qrels, line 2: there is no document 'z'"),
            ({"run": "\n1 Q0 z 1 1 t\n"}, "run, line 2: there is no document 'z'"),
            ({"run": "1 Q0 a 1 1 t\n\n9 Q0 a 1 1 t"}, "run, line 3: there is no query '9'"),
            ({"qrels": "2 0 a 1\n"}, "no query has both candidates and a judged document"),
        ],
    )
    def test_unknown_ids_are_named(
        self, tmp_path: Path, changed: dict[str, str], said: str
    ) -> None:
        plain = {"queries": "1\tq\n2\tr\n", "documents": "a\tA\n", "qrels": "1 0 a 1\n"}
        with pytest.raises(CollectionError) as raised:
            read_collection(self.write(tmp_path, **plain | {"run": "1 Q0 a 1 1 t\n"} | changed))
        assert said in str(raised.value)

    def test_candidates_without_text_are_left_out_but_not_their_labels(self) -> None:
        qrels = parse_qrels([b"1 0 a 1", b"1 0 b 3"], "qrels")
        found = assemble("c", {"1": "q"}, lambda _: {"a": "A", "b": ""}, qrels, None)
        assert found.queries == [Query("1", "q", [Candidate("a", "A", 1)], (3,))]
        assert found.notes == ["1 candidate without text: left out"]

    def test_texts_are_kept_only_where_they_are_wanted(self) -> None:
        assert parse_all_texts([b"1\t one \r\n", b"2\ttwo"], "f") == {"1": "one", "2": ""}
        lines = [b'\xef\xbb\xbf{"id": 1, "title": "T", "text": "one"}']
        assert parse_all_texts(lines, "f") == {"1": "T one"}


class TestBeir:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "corpus.jsonl").write_text(
            '{"_id": "a", "title": "Title", "text": "A"}\n{"_id": "b", "title": "", "text": "B"}\n'
        )
        (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "q", "metadata": {}}\n')
        (tmp_path / "qrels").mkdir()
        (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
        return tmp_path

    def test_what_is_judged_is_ranked(self, folder: Path) -> None:
        assert read_collection(Files(folder)).queries == [
            Query("1", "q", [Candidate("a", "Title A", 1)])
        ]

    def test_a_run_and_other_qrels_may_be_given(self, folder: Path) -> None:
        run, qrels = folder / "run", folder / "dev.tsv"
        run.write_text("1 Q0 b 1 3 t\n")
        qrels.write_text("query-id\tcorpus-id\tscore\n1\tb\t2\n1\ta\t1\n")
        assert read_collection(Files(folder, qrels=qrels, run=run)).queries == [
            Query("1", "q", [Candidate("b", "B", 2, 3.0)], (1,))
        ]

    def test_files_may_be_gzipped(self, folder: Path) -> None:
        corpus = folder / "corpus.jsonl"
        (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus.read_bytes()))
        corpus.unlink()
        assert len(read_collection(Files(folder)).queries) == 1

    def test_a_missing_file_is_named(self, folder: Path) -> None:
        (folder / "queries.jsonl").unlink()
        with pytest.raises(CollectionError, match=r"queries\.jsonl: No such file or directory"):
            read_collection(Files(folder))


class TestFiles:
    def test_gzip_is_known_by_its_content(self, tmp_path: Path) -> None:
        file = tmp_path / "judged"
        file.write_bytes(gzip.compress(judged() + b"\n"))
        assert len(read_collection(Files(file)).queries) == 1

    @pytest.mark.parametrize("keep", [slice(0, -6), slice(0, 5)])
    def test_a_damaged_gzip_file_is_named(self, tmp_path: Path, keep: slice) -> None:
        file = tmp_path / "judged"
        file.write_bytes(gzip.compress(judged())[keep])
        with pytest.raises(CollectionError, match=r"judged, line \d: the gzip file is damaged"):
            read_collection(Files(file))

    @given(tail=st.binary(max_size=60))
    def test_any_gzip_file_is_read_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, tail: bytes
    ) -> None:
        file = tmp_path_factory.mktemp("any") / "judged"
        file.write_bytes(gzip.compress(judged())[:20] + tail)
        with suppress(CollectionError):
            list(read_lines(file))

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            (Files(), "what to evaluate: give a file"),
            (Files(queries=Path("q"), qrels=Path("r")), "what to evaluate"),
            (Files(Path("judged"), run=Path("r")), "--run: does not go with a file of JSON lines"),
            (Files(Path(), prior="bm25"), "--prior: does not go with a folder"),
            (Files(prior="bm25"), "--prior: does not go with TREC's files"),
            (Files(Path("/nowhere")), "/nowhere: No such file or directory"),
            (Files(Path("f"), depth=0), "--depth: 0 leaves no candidate"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, files: Files, said: str) -> None:
        with pytest.raises(CollectionError) as raised:
            read_collection(files)
        assert str(raised.value).startswith(said)

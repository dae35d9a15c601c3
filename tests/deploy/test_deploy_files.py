"""The files in ``deploy/``: they parse, agree with each other and with the server, and keep to the safe side.

No container engine runs here; what these tests cannot see, docs/deploy.md says.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tinyrerank.cli import build_parser
from tinyrerank.serve.settings import ENV_PREFIX, load_settings, setting_fields

yaml = pytest.importorskip("yaml", reason="needs PyYAML")

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VARIABLES = {ENV_PREFIX + each.name.upper() for each in setting_fields()}


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions of every stage of the Dockerfile, by its name."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        if name:
            found[name].append((instruction, rest.strip()))
    return found


def inherited(name: str) -> list[tuple[str, str]]:
    """Instructions of a stage after those of the stages that it stands on."""
    own = stages()[name]
    base = own[0][1].split(" AS ")[0]
    return (inherited(base) if base in stages() else []) + own


def test_every_target_is_there_and_the_last_one_is_the_plain_cpu_server() -> None:
    assert {"cpu", "cuda", "sagemaker"} <= set(stages())
    assert list(stages())[-1] == "cpu"


@pytest.mark.parametrize(("target", "user"), [("cpu", "10001:10001"), ("cuda", "10001:10001")])
def test_images_do_not_run_as_root(target: str, user: str) -> None:
    assert [rest for instruction, rest in inherited(target) if instruction == "USER"][-1] == user


@pytest.mark.parametrize("target", ["cpu", "cuda", "sagemaker"])
def test_images_answer_the_word_serve_and_get_signals_themselves(target: str) -> None:
    lines = dict(inherited(target))
    assert json.loads(lines["ENTRYPOINT"]) == ["tinyrerank"], "exec form: no shell between signal and server"
    arguments = build_parser().parse_args(json.loads(lines["CMD"]))
    assert arguments.command == "serve"
    assert "accept-bind-to-port" in lines["LABEL"]
    assert "multi-models" in lines["LABEL"]


def test_compilers_stay_out_of_the_images() -> None:
    for target in ("cpu", "cuda", "sagemaker"):
        assert not any("g++" in rest for _, rest in inherited(target))


def test_the_dockerfile_copies_what_exists_and_what_the_ignore_file_lets_through() -> None:
    allowed = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for instruction, rest in stages()["build"]:
        if instruction == "COPY":
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists()
                assert source.removeprefix("./") in allowed


def test_nothing_is_pinned_to_one_processor() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert "--platform=" not in text.replace("--platform linux", "")
    assert not re.search(r"^(RUN|COPY|ENV|FROM).*(x86_64|amd64)", text, re.MULTILINE)


def test_variables_in_the_files_are_settings_of_the_server() -> None:
    for path in [*DEPLOY.rglob("*"), ROOT / "src/tinyrerank/serve/sagemaker/deploy.py"]:
        if path.is_file():
            names = set(re.findall(rf"{ENV_PREFIX}[A-Z_]+", path.read_text()))
            assert names <= VARIABLES, path.name


def test_the_compose_file_builds_the_targets_and_drops_privileges() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert service["build"]["target"] in stages()
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve().exists()
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert set(service["secrets"]) <= set(compose["secrets"])


def documents() -> dict[str, Any]:
    """The Kubernetes objects by kind."""
    found = [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text())]
    return {each["kind"]: each for each in found}


def test_kustomize_names_every_manifest() -> None:
    resources = documents()["Kustomization"]["resources"]
    assert sorted(resources) == [path.name for path in MANIFESTS if path.name != "kustomization.yaml"]


def test_kubernetes_objects_fit_together() -> None:
    objects = documents()
    deployment = objects["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert objects["Service"]["spec"]["selector"].items() <= labels.items()
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    ports = {port["name"] for port in _container()["ports"]}
    assert {port["targetPort"] for port in objects["Service"]["spec"]["ports"]} <= ports
    assert {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]} == {
        mount["name"] for mount in _container()["volumeMounts"]
    }
    spaces = {
        each["metadata"].get("namespace", "tinyrerank") for each in objects.values() if "metadata" in each
    }
    assert spaces == {objects["Namespace"]["metadata"]["name"]}


def _container() -> dict[str, Any]:
    (container,) = documents()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_pods_are_restricted_and_bounded() -> None:
    pod = documents()["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    own = _container()["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} == set(_container()["resources"]["limits"])
    drain = next(each["value"] for each in _container()["env"] if each["name"] == "TINYRERANK_DRAIN_S")
    assert pod["terminationGracePeriodSeconds"] > float(drain) + 5, "time to drain before the kill"


def test_probes_and_autoscaler_use_what_the_server_has(tiny_folder: Path) -> None:
    pytest.importorskip("starlette", reason="needs the extra serve")
    from starlette.testclient import TestClient

    from tinyrerank.serve.app import build_app
    from tinyrerank.serve.models import load_models
    from tinyrerank.serve.service import Service
    from tinyrerank.serve.settings import Settings

    options = Settings(models=(f"tiny={tiny_folder}",), threads=1)
    with TestClient(build_app(Service(options, load_models(options, threads=1)))) as client:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert client.get(_container()[probe]["httpGet"]["path"]).status_code == 200, probe
        client.post("/v1/rerank", json={"query": "q", "documents": ["d"]})
        annotations = documents()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
        metrics = client.get(annotations["prometheus.io/path"]).text
    (metric,) = documents()["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert re.search(rf"^{metric['pods']['metric']['name']}\b", metrics, re.MULTILINE)


def unit() -> configparser.ConfigParser:
    """The systemd unit."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    parser.read(DEPLOY / "systemd" / "tinyrerank.service")
    return parser


def test_the_unit_runs_the_server_with_a_config_that_it_accepts() -> None:
    _, *arguments = shlex.split(unit()["Service"]["ExecStart"])
    args = build_parser().parse_args(arguments)
    assert args.command == "serve"
    settings = load_settings({}, environment={}, file=DEPLOY / "systemd" / Path(args.config).name)
    assert settings.drain_s < float(unit()["Service"]["TimeoutStopSec"])


def test_the_unit_keeps_privileges_away() -> None:
    service = unit()["Service"]
    for key in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "ProtectHome"):
        assert service[key] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["KillSignal"] == "SIGTERM"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_has_no_complaint_about_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "tinyrerank.service"
    text = (DEPLOY / "systemd" / "tinyrerank.service").read_text()
    copy.write_text(text.replace("/opt/tinyrerank/bin/tinyrerank", "/bin/true"))
    done = subprocess.run(  # noqa: S603 - a fixed command
        ["systemd-analyze", "verify", "--man=no", str(copy)],  # noqa: S607 - found on the path
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "tinyrerank.service" in line]
    assert complaints == []

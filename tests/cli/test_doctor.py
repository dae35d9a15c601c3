from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tinyrerank.cli import main
from tinyrerank.cli.doctor import check_folder, cpu
from tinyrerank.errors import ModelError


def test_the_report_covers_every_part_and_a_real_pair(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--model", str(tiny_folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["works"] is True
    checks = {(c["topic"], c["name"]): c for c in report["checks"]}
    assert {topic for topic, _ in checks} == {"machine", "packages", "engines", "weights", "ranking"}
    assert {name for topic, name in checks if topic == "engines"} == {"native", "onnx", "torch"}
    assert " ms: " in checks["ranking", "two documents"]["detail"]


def test_a_model_that_does_not_load_is_the_reason_for_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--model", str(tmp_path)]) == ModelError.exit_code
    assert "json here" in capsys.readouterr().out


def test_weights_are_compared_with_their_manifest(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"weights")
    (tmp_path / "bad").write_bytes(b"damaged")
    digest = hashlib.sha256(b"weights").hexdigest()
    files = {"good": digest, "bad": {"sha256": digest}, "absent": digest}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    assert {c.name: c.ok for c in check_folder(tmp_path)} == {"good": True, "bad": False, "absent": False}


@pytest.mark.parametrize("manifest", [None, "{", "{}", '{"files": []}', '{"files": {"a": {}}}'])
def test_a_manifest_that_cannot_be_read_is_a_finding(tmp_path: Path, manifest: str | None) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    (check,) = check_folder(tmp_path)
    assert check.ok is False
    assert "manifest.json" in check.detail


def test_cpu_features_are_read_from_either_architecture(tmp_path: Path) -> None:
    x86, arm = tmp_path / "x86", tmp_path / "arm"
    x86.write_text("processor : 0\nmodel name\t: Fast One\nflags\t\t: fpu avx2 avx512_vnni sse2\n")
    arm.write_text("processor\t: 0\nFeatures\t: fp asimd i8mm\n")
    assert cpu(x86) == ("Fast One", ["avx2", "avx512_vnni"])
    assert cpu(arm) == ("", ["asimd", "i8mm"])
    assert cpu(tmp_path / "absent") == ("", [])

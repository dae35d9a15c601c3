from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from toy import WORDS, write_bert  # noqa: E402

from tinyrerank.train.encoders import TeacherText, load_backbone  # noqa: E402
from tinyrerank.train.late import late_interaction  # noqa: E402

CPU = torch.device("cpu")
QUERIES = ["when the tide rises", "bread", "the sun pulls the moon and the sea"]
PASSAGES = ["the moon pulls the water", "bread rises", " ".join(WORDS * 3), "sun"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bert")
    write_bert(made)
    return made


def one_by_one(folder: Path, query: str, passage: str, max_length: int) -> float:
    """MaxSim as the paper writes it: each token of the query against each of the passage, in loops."""
    text, backbone = TeacherText(folder), load_backbone(folder)
    start, end = text.template.start, text.template.end
    sides = []
    for one in (query, passage):
        ids = [start, *text.encode([one]).ids.tolist()[: max_length - 2], end]
        with torch.no_grad():
            states = backbone(input_ids=torch.tensor([ids])).last_hidden_state[0].double().numpy()
        sides.append([state / np.sqrt((state * state).sum()) for state in states])
    return float(np.mean([max(float(a @ b) for b in sides[1]) for a in sides[0]]))


@pytest.mark.parametrize("max_length", [6, 64])
def test_every_pair_has_the_mean_greatest_cosine_whatever_it_is_asked_with(
    folder: Path, max_length: int
) -> None:
    text, backbone = TeacherText(folder), load_backbone(folder)
    query = np.array([2, 0, 0, 1, 2, 2, 0], dtype=np.int32)
    passage = np.array([1, 1, 2, 3, 2, 1, 0], dtype=np.int32)  # one pair twice

    def ask(queries: list[str], passages: list[str], pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        texts = text.encode(queries), text.encode(passages)
        return late_interaction(
            backbone, text.template, *texts, pairs, CPU, max_length=max_length, micro_tokens=40
        )

    found = ask(QUERIES, PASSAGES, (query, passage))
    wanted = [
        one_by_one(folder, QUERIES[q], PASSAGES[p], max_length) for q, p in zip(query, passage, strict=True)
    ]
    np.testing.assert_allclose(found, wanted, atol=0.02)  # bf16 on CPUs that have it
    assert found[0] == pytest.approx(found[5], abs=1e-6)
    alone = ask(QUERIES[:1], PASSAGES[2:3], (np.array([0]), np.array([0])))
    assert float(alone[0]) == pytest.approx(float(found[2]), abs=0.01)


def test_a_text_is_most_like_itself(folder: Path) -> None:
    text, backbone = TeacherText(folder), load_backbone(folder)
    flat, numbers = text.encode(PASSAGES), np.arange(len(PASSAGES))
    itself = late_interaction(backbone, text.template, flat, flat, (numbers, numbers), CPU)
    others = late_interaction(backbone, text.template, flat, flat, (numbers, numbers[::-1]), CPU)
    np.testing.assert_allclose(itself, 1, atol=0.01)
    assert (others < itself - 0.001).all()

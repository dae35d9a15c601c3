"""Find a score below which results should be dropped, from some judged questions of your own.

    python examples/thresholds.py

A score orders the documents of one query; it is no probability, and 0.8 means little for another query. So
fit two numbers on judged pairs, and look at the outcome on questions that the fit has not seen. Two readings
of the same logits are tried: as they are, and as the distance to the best document of the same query.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyrerank import Reranker

HERE = Path(__file__).parent
Array = NDArray[np.float64]


def judged_logits(n_questions: int) -> tuple[Array, Array]:
    """Logits of questions with the 20 passages of their theme, and whether each is the right one."""
    files = sorted((HERE / "corpus").glob("*.md"))
    themes = [path.read_text(encoding="utf-8").split("\n## ")[1:] for path in files]
    lines = (HERE / "questions.jsonl").read_text(encoding="utf-8").splitlines()[:n_questions]
    logits, right = [], []
    with Reranker() as reranker:
        for question in map(json.loads, lines):
            theme = next(t for t in themes if any(s.startswith(question["heading"]) for s in t))
            logits.append(reranker.score(question["query"], theme))
            right.append([section.startswith(question["heading"]) for section in theme])
    return np.array(logits, dtype=np.float64), np.array(right, dtype=np.float64)


def fit(values: Array, right: Array) -> Array:
    """Slope and offset of ``P(right) = sigmoid(slope * value + offset)`` (Platt scaling, Newton's method)."""
    x, w = np.stack([values.ravel(), np.ones(values.size)], axis=1), np.zeros(2)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 0.1 * np.eye(2)
        w += np.linalg.solve(hessian, x.T @ (right.ravel() - p) - 0.1 * w)
    return w


if __name__ == "__main__":
    logits, right = judged_logits(20)
    for name, values in (("logit", logits), ("distance", logits - logits.max(axis=1, keepdims=True))):
        slope, offset = fit(values[::2], right[::2])  # every second question; judged on the others
        kept = 1 / (1 + np.exp(-(slope * values[1::2] + offset))) >= 0.2
        answered = int((kept * right[1::2]).any(axis=1).sum())
        print(f"P(right) = sigmoid({slope:.2f} * {name} {offset:+.2f}); keep where P >= 0.2:")
        print(f"  {kept.sum(axis=1).mean():.1f} passages a question, right one kept for {answered} of 10")

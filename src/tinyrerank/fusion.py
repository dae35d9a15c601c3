"""Joins the model's logits with what else a list tells: the retriever's order, and which documents are alike.

All three are evidence. A small model misses exact names and numbers that BM25 finds. And it reads every
document by itself, while documents alike tend to answer the same queries: one that resembles the best
deserves a better place.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from tinyrerank.errors import InputError
from tinyrerank.types import Ranking

T = TypeVar("T")

#: Chosen on the development queries of nfcorpus, where 0.2 to 0.5 gain 0.009 to 0.011 NDCG@10.
LIST_WEIGHT = 0.3
#: Weights beyond it are refused: they would leave nothing of the logit, and in the end overflow.
MOST = 1e6
#: Deviations of the value within which a document's share in the picture of the best falls to 1 / e. Chosen,
#: with a likeness of 0.1, on nfcorpus' development queries and held-out questions (docs/experiments.md).
_SHARPNESS = 0.5
_RRF = 60  # the usual constant of reciprocal rank fusion
_WORD = re.compile(r"\w+")


def fuse_with_list(
    ranking: Ranking, weight: float = LIST_WEIGHT, top_n: int | None = None, *, likeness: float = 0.0
) -> Ranking:
    """Rank again by logit, place in the list, and likeness to the best.

    The logits of the hits are the joined ones (:func:`joined_logits`), so that they and the scores fall. See
    :func:`list_fusion` and :func:`with_likeness`.

    Args:
        ranking: of all documents, so made without ``top_n``.
        weight: of the place against the logit, for documents that came in a retriever's order. 0.3 suits
            BM25, 1 retrievers that rank as well as the model or better; 0 leaves the order out.
        top_n: hits to return, from 1; None for all.
        likeness: weight of a document's likeness to the best ones; 0.1 is a good start where queries have
            several answers, 0 leaves it out.

    Raises:
        InputError: the ranking lacks documents, or a number is out of range.

    Example:
        >>> ranking = reranker.rank(query, documents)  # doctest: +SKIP
        >>> fuse_with_list(ranking, likeness=0.1, top_n=10)  # doctest: +SKIP
    """
    if len(ranking) != ranking.n_documents:
        raise InputError(
            f"the ranking has {len(ranking)} of {ranking.n_documents} documents; rank without top_n and give"
            " top_n here"
        )
    if top_n is not None and top_n < 1:
        raise InputError(f"top_n is {top_n}; give a whole number from 1")
    in_order = sorted(ranking, key=lambda hit: hit.index)
    logits = [hit.logit for hit in in_order]
    joined = joined_logits(logits, weight, [hit.text for hit in in_order], likeness)
    best = sorted(ranking, key=lambda hit: (-joined[hit.index], -hit.logit, hit.index))[:top_n]
    return replace(ranking, hits=tuple(replace(hit, logit=joined[hit.index]) for hit in best))


def joined_logits(
    logits: Sequence[float], weight: float, texts: Sequence[str] = (), likeness: float = 0.0
) -> list[float]:
    """What :func:`fuse_with_list` ranks by: the logit plus what the rest says, in deviations of the logits.

    Args:
        logits: in the order of the list, the retriever's best first.
        weight: of the place against the logit, from 0.
        texts: of the same documents, for the likeness.
        likeness: weight of a document's likeness to the best ones, from 0.

    Returns:
        One logit a document; without weights the logits themselves.

    Raises:
        InputError: a weight is out of range.
    """
    values = with_likeness(list_fusion(logits, weight), texts, likeness)
    if not (weight or likeness):
        return list(logits)  # unrounded
    mean, deviation = _moments(logits)
    return [mean + (deviation or 1.0) * value for value in values]


def list_fusion(logits: Sequence[float], weight: float = LIST_WEIGHT) -> list[float]:
    """Values to rank by: the logit minus ``weight`` times the logarithm of the place, both standardized.

    The logarithm of the rank as a predictor of relevance: Le Calvé and Savoy, Database merging strategy based
    on logistic regression, 2000. Standardized for each query, so that the weight fits any model's scale.

    Args:
        logits: in the order of the list, the retriever's best first.
        weight: of the place against the logit, from 0.

    Returns:
        One value a document; they compare within one query only.

    Raises:
        InputError: the weight is out of range.
    """
    check_weight("list", weight)
    places = [-math.log(place) for place in range(1, len(logits) + 1)]
    return _joined(_standardized(logits), places, weight)


def with_likeness(values: Sequence[float], texts: Sequence[str], weight: float) -> list[float]:
    """Values plus ``weight`` times each document's likeness to the best, both standardized.

    The best are pictured as the mean of all documents' words, each document with a share that falls with its
    value; likeness is the cosine to that picture, a document's own share left out. Words weigh
    ``log(1 + count) log((n + 1) / (documents that have it + 1/2))``, counted in this list alone, so that a
    word that all have weighs next to nothing. Relevance feedback (Rocchio 1971) without a user, as one step
    of regularizing scores over alike documents (Diaz, Regularizing ad hoc retrieval scores, CIKM 2005).

    Args:
        values: what ranks so far; more is better.
        texts: of the same documents.
        weight: of the likeness against the value, from 0; 0 returns the values.

    Returns:
        One value a document; they compare within one query only.

    Raises:
        InputError: the weight is out of range.
    """
    check_weight("likeness", weight)
    if not weight:
        return list(values)
    standard = _standardized(values)
    return _joined(standard, _likeness(standard, texts), weight)


def _likeness(values: Sequence[float], texts: Sequence[str]) -> list[float]:
    """Cosine of every document to the picture of the best."""
    counted = [Counter(_WORD.findall(text.lower())) for text in texts]
    frequency = Counter(word for words in counted for word in words)
    rarity = {word: math.log((len(texts) + 1) / (n + 0.5)) for word, n in frequency.items()}
    vectors = [{word: math.log1p(n) * rarity[word] for word, n in words.items()} for words in counted]
    lengths = [math.hypot(*vector.values()) for vector in vectors]
    shares = [math.exp((value - max(values)) / _SHARPNESS) for value in values]
    total = math.fsum(shares)
    picture = dict.fromkeys(frequency, 0.0)
    for vector, length, share in zip(vectors, lengths, shares, strict=True):
        for word, impact in vector.items():
            picture[word] += impact / length * share / total
    found = []
    for vector, length, share in zip(vectors, lengths, shares, strict=True):
        cosine = sum(impact * picture[word] for word, impact in vector.items()) / (length or 1.0)
        # Rounded, or documents that share no word would differ by the error of the difference.
        found.append(round(cosine - share / total, 12) if length else 0.0)
    return found


def reciprocal_rank_fusion(lists: Sequence[Sequence[T]]) -> list[T]:
    """One list of several: by falling sum of 1 / (60 + rank); equal sums keep the order of the lists.

    Cormack, Clarke and Büttcher, Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods, SIGIR 2009.

    Example:
        >>> reciprocal_rank_fusion([["a", "b"], ["b", "c"]])
        ['b', 'a', 'c']
    """
    sums: dict[T, float] = {}
    for one in lists:
        for rank, key in enumerate(one, start=1):
            sums[key] = sums.get(key, 0.0) + 1.0 / (_RRF + rank)
    return sorted(sums, key=lambda key: -sums[key])


def check_weight(what: str, weight: float) -> None:
    """Refuse a weight that is negative, not a number, or so large that nothing else could count."""
    if not 0 <= weight <= MOST:
        raise InputError(f"the weight of the {what} is {weight}; give a number from 0 to {MOST:,.0f}")


def _joined(standard: Sequence[float], evidence: Sequence[float], weight: float) -> list[float]:
    """Standardized values plus ``weight`` times other evidence, standardized here."""
    return [value + weight * other for value, other in zip(standard, _standardized(evidence), strict=True)]


def _standardized(values: Sequence[float]) -> list[float]:
    """Mean 0 and deviation 1; zeros where all values are equal."""
    mean, deviation = _moments(values)
    return [(value - mean) / deviation if deviation else 0.0 for value in values]


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and deviation; the deviation of equal values is zero, whatever rounding says."""
    if not values or min(values) == max(values):
        return (values[0] if values else 0.0), 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))

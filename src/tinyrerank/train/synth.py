"""Queries made from plain text, so that few labels go far.

Nine kinds, each after something that people send to a reranker: a heading (``title``), a heading asked as a
question (``question``), what an abstract says it set out to learn, asked as somebody who wants to know would
(``aim``), a few telling words (``keywords``), a sentence as a claim (``sentence``; the inverse
cloze task of Lee et al. 2019, arXiv 1906.00300), half a passage as an argument (``half``), a run of words
from anywhere (``span``; for text without sentence marks), a whole passage that asks for others like it
(``passage``; never for itself), and a run of its words as long as the parts that long queries are read in
(``part``; likewise). None is a label: teachers judge every pair.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tinyrerank.train.recipe import SynthRecipe

_WORD = re.compile(r"[A-Za-z][A-Za-z'-]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
#: Fewest words of a passage that asks for others, and most characters of it.
_LONG_WORDS, _PASSAGE_CHARS = 45, 2000
#: Words of a part; 80 tokens, the shipped ``query_window``, are about 64.
_PART_WORDS = (32, 64)
#: Sources of queries whose own passage is no candidate.
ASKS_FOR_OTHERS = ("synthetic passage", "synthetic part")
#: "We examined whether ...", "the aim was to compare ...": what follows, to the end of its clause.
_AIM = re.compile(
    r"\b(?:(?:aim|objective|purpose|goal|aimed|sought|designed|conducted|undertaken|performed|attempted|intended)s?"
    r"\b[^.;]{0,60}?\bto|[Ww]e(?: also| further| first| then)?) "
    r"(?:determine|investigate|assess|evaluate|examine|explore|compare|describe|identify|study|studie|analy[sz]e"
    r"|understand|characteri[sz]e|estimate|test|measure|review|clarify|elucidate|address|quantify|establish)"
    r"(?:e?d)? ((?!our\b|this\b|these\b|their\b|its?\b)[^.;:]{25,200})[.;:]"
)
_WANTED = (
    "{}",
    "{}?",
    "what is known about {}",
    "What is known about {}?",
    "What does research say about {}?",
    "studies of {}",
    "papers about {}",
    "I am looking for work on {}.",
)
_QUESTIONS = (
    "what is {}",
    "what is {}?",
    "{} definition",
    "how does {} work",
    "explain {}",
    "why {}",
    "{} meaning",
)


def synthesize(
    passages: Sequence[str], titled: Sequence[tuple[str, int]], recipe: SynthRecipe, rng: random.Random
) -> Iterator[tuple[str, str, int]]:
    """Yield ``(kind, query, passage)``: at most the recipe's count of each kind.

    Args:
        passages: all passages.
        titled: heading and passage number; an empty heading makes no query.
        recipe: how many of each kind.
        rng: source of chance.
    """
    yield from _titles(titled, recipe, rng)
    document_frequency: Counter[str] = Counter()
    for text in passages:
        document_frequency.update({w.lower() for w in _WORD.findall(text)})
    n = len(passages)
    for number in _sample(n, recipe.keywords, rng):
        words = _WORD.findall(passages[number])
        if len(words) < 15:
            continue
        weight = {
            w.lower(): rng.random() * math.log(n / document_frequency[w.lower()])
            for w in words
            if document_frequency[w.lower()] > 1
        }
        chosen = set(sorted(weight, key=lambda w: -weight[w])[: rng.randint(2, 6)])
        ordered = list(dict.fromkeys(w.lower() for w in words if w.lower() in chosen))
        if len(ordered) > 1:
            yield "keywords", " ".join(ordered), number
    yield from _aims(passages, recipe, rng)
    yield from _parts(passages, recipe, rng)


def _aims(passages: Sequence[str], recipe: SynthRecipe, rng: random.Random) -> Iterator[tuple[str, str, int]]:
    searched = enumerate(passages) if recipe.aims else ()
    found = [(aim[1], number) for number, text in searched if (aim := _AIM.search(text))]
    for place in _sample(len(found), recipe.aims, rng):
        wanted, number = found[place]
        asked = wanted.startswith(("whether", "how ", "what ", "which ", "why ", "if ", "to what "))
        yield "aim", rng.choice(_WANTED[:2] if asked else _WANTED).format(wanted), number


def _parts(
    passages: Sequence[str], recipe: SynthRecipe, rng: random.Random
) -> Iterator[tuple[str, str, int]]:
    """Queries that are part of their passage, or all of it: sentences, halves, spans, passages, parts."""
    n = len(passages)
    for number in _sample(n, recipe.sentences, rng):
        sentences = [s for s in _SENTENCE.split(passages[number]) if 6 <= len(s.split()) <= 40]
        if len(sentences) > 1:
            yield "sentence", rng.choice(sentences), number
    for number in _sample(n, recipe.halves, rng):
        sentences = _SENTENCE.split(passages[number])
        if len(sentences) > 3:
            cut = len(sentences) // 2
            yield "half", " ".join(sentences[:cut] if rng.random() < 0.5 else sentences[cut:])[:1500], number
    for number in _sample(n, recipe.spans, rng):
        words = passages[number].split()
        if len(words) > 15:
            length = rng.randint(5, 14)
            start = rng.randrange(len(words) - length)
            yield "span", " ".join(words[start : start + length]).strip(" .,;:"), number
    long = (
        [number for number in range(n) if len(passages[number].split()) >= _LONG_WORDS]
        if recipe.passages or recipe.parts
        else []
    )
    for place in _sample(len(long), recipe.passages, rng):
        yield "passage", passages[long[place]][:_PASSAGE_CHARS], long[place]
    for place in _sample(len(long), recipe.parts, rng):
        words = passages[long[place]].split()
        length = min(len(words), rng.randint(*_PART_WORDS))
        start = rng.randint(0, len(words) - length)
        yield "part", " ".join(words[start : start + length]), long[place]


def _titles(
    titled: Sequence[tuple[str, int]], recipe: SynthRecipe, rng: random.Random
) -> Iterator[tuple[str, str, int]]:
    stripped = ((t.strip(" #:.—-"), p) for t, p in titled if 2 < len(t) < 100)
    usable = [(t, p) for t, p in stripped if t]
    for number in _sample(len(usable), recipe.titles, rng):
        title, passage = usable[number]
        if len(title.split()) <= 4 and rng.random() < 0.5:
            yield "question", rng.choice(_QUESTIONS).format(title.lower()), passage
        else:
            yield "title", title, passage


def _sample(n: int, wanted: int, rng: random.Random) -> list[int]:
    return rng.sample(range(n), min(n, wanted))

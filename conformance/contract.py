"""What every client must be able to do with the server, whatever its dialect.

A client's test file subclasses :class:`Contract` and says how that client is called; the tests are the same
for all. Expected scores come from the library itself (``expected.json``, written by ``run.py``), never from
the server under test.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

TOLERANCE = 2e-6  # scores travel as float32 or with 8 decimals


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server listens, the key it wants, and the model's name.

    Attributes:
        url: scheme, host and port, without a slash at the end.
        key: a key that is accepted.
        model: the name that requests carry.
    """

    url: str
    key: str
    model: str


@dataclass(frozen=True, slots=True)
class Got:
    """One result as the client handed it over: position in the request, and score."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Case:
    """A query, its documents, and the scores that the library gives, in input order.

    Attributes:
        query: the query.
        texts: the documents.
        scores: sigmoid of the logits, in input order.
        logits: the raw logits, in input order.
    """

    query: str
    texts: list[str]
    scores: list[float]
    logits: list[float]

    def order(self) -> list[int]:
        """Indices in falling order of score; equal scores keep the order of the input."""
        return sorted(range(len(self.texts)), key=lambda i: -self.logits[i])


def load_cases() -> dict[str, Case]:
    """Cases by name, from the file named by ``CONFORMANCE_EXPECTED``."""
    raw: dict[str, Any] = json.loads(Path(os.environ["CONFORMANCE_EXPECTED"]).read_text(encoding="utf-8"))
    return {name: Case(**case) for name, case in raw.items()}


def indices_of(texts: list[str], returned: list[str]) -> list[int]:
    """Positions of returned texts in the request; equal texts are taken from the front."""
    free: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        free.setdefault(text, []).append(i)
    return [free[text].pop(0) for text in returned]


class Contract:
    """The tests that every client passes.

    Attributes:
        client: name of the client in the published table.
        package: distribution whose version stands beside it.
        limits: whether the client can ask for fewer results than documents.
        keyed: whether the client sends a key.
        named: whether the client sends the model's name.
        cap: results that the client keeps at most; None for all.
        reads_errors: whether the server's words reach the user of the client when it refuses.
        empty: whether the client lets an empty document through.
        long: the case whose scores a document longer than the model reads should get: some clients ask for
            less of it to be read, or for windows.
        in_order: whether answers come in input order instead of falling score.
    """

    client: ClassVar[str]
    package: ClassVar[str]
    limits: ClassVar[bool] = True
    keyed: ClassVar[bool] = True
    named: ClassVar[bool] = True
    cap: ClassVar[int | None] = None
    reads_errors: ClassVar[bool] = True
    empty: ClassVar[bool] = True
    long: ClassVar[str] = "long"
    in_order: ClassVar[bool] = False

    def rank(self, server: Server, query: str, texts: list[str], top_n: int | None) -> list[Got]:
        """Call the client; ``top_n`` None asks for everything."""
        raise NotImplementedError

    def check(self, server: Server, case: Case, top_n: int | None = None) -> None:
        """Rank a case and compare indices, order and scores with the library's."""
        got = self.rank(server, case.query, case.texts, top_n)
        ends = [n for n in (top_n, self.cap) if n is not None]
        order = list(range(len(case.texts))) if self.in_order else case.order()
        wanted = order[: min(ends)] if ends else order
        assert [hit.score for hit in got] == pytest.approx([case.scores[i] for i in wanted], abs=TOLERANCE)
        ties = {round(case.scores[i], 6) for i in wanted}
        if len(ties) == len(wanted):
            assert [hit.index for hit in got] == wanted
        else:  # scores closer than the tolerance may stand in either order
            assert sorted(hit.index for hit in got) == sorted(wanted) or ends
        for hit in got:
            assert hit.score == pytest.approx(case.scores[hit.index], abs=TOLERANCE)

    def test_order_indices_and_scores_are_the_library_s(self, server: Server, cases: dict[str, Case]) -> None:
        self.check(server, cases["basic"])

    def test_top_n_gives_the_best_and_no_more(self, server: Server, cases: dict[str, Case]) -> None:
        if not self.limits:
            pytest.skip("the client has no such argument")
        self.check(server, cases["basic"], 2)

    def test_top_n_above_the_number_of_documents_means_all(
        self, server: Server, cases: dict[str, Case]
    ) -> None:
        if not self.limits:
            pytest.skip("the client has no such argument")
        self.check(server, cases["basic"], 50)

    def test_one_document(self, server: Server, cases: dict[str, Case]) -> None:
        self.check(server, cases["one"])

    def test_500_documents(self, server: Server, cases: dict[str, Case]) -> None:
        self.check(server, cases["many"])

    def test_unicode(self, server: Server, cases: dict[str, Case]) -> None:
        self.check(server, cases["unicode"])

    def test_an_empty_document_is_scored_like_any_other(self, server: Server, cases: dict[str, Case]) -> None:
        if not self.empty:
            pytest.skip("the client does not send empty documents")
        self.check(server, cases["empty"])

    def test_a_document_longer_than_the_model_reads(self, server: Server, cases: dict[str, Case]) -> None:
        self.check(server, cases[self.long])

    def test_equal_documents_get_equal_scores(self, server: Server, cases: dict[str, Case]) -> None:
        got = self.rank(server, cases["basic"].query, [cases["basic"].texts[0]] * 3, None)
        assert len({hit.score for hit in got}) == 1
        assert sorted(hit.index for hit in got) == [0, 1, 2]

    def test_a_wrong_key_is_refused(self, server: Server, cases: dict[str, Case]) -> None:
        if not self.keyed:
            pytest.skip("the client sends no key")
        bad = Server(server.url, "not-the-key", server.model)
        self.refused(bad, cases["basic"].query, cases["basic"].texts, "key")

    def test_an_unknown_model_is_refused_by_its_name(self, server: Server, cases: dict[str, Case]) -> None:
        if not self.named:
            pytest.skip("the client sends no model name")
        bad = Server(server.url, server.key, "jina-no-such-model")
        self.refused(bad, cases["basic"].query, cases["basic"].texts, "no-such-model")

    def test_a_query_without_end_is_refused_not_cut(self, server: Server, cases: dict[str, Case]) -> None:
        self.refused(server, "tide " * 9000, cases["basic"].texts, "token")

    def test_a_full_server_says_so(self, busy: Server, cases: dict[str, Case]) -> None:
        self.refused(busy, cases["basic"].query, cases["basic"].texts, "busy|full|room|retry|queue|later|429")

    def refused(self, server: Server, query: str, texts: list[str], pattern: str) -> None:
        """The client raises, and the server's words can be read in what it raises."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each client has its own class
            self.rank(server, query, texts, None)
        assert not isinstance(caught.value, AssertionError) or not self.reads_errors
        if self.reads_errors:
            words = "\n".join(_words(caught.value))
            assert re.search(pattern, words, re.IGNORECASE), words


def _words(error: BaseException | None) -> list[str]:
    """What a user sees of an error: its text, its body, and those of its causes."""
    words = []
    while error is not None:
        words += [str(error), str(getattr(error, "body", "")), str(getattr(error, "args", ""))]
        error = error.__cause__
    return words

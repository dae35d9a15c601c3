"""Measures a reranker on retrieval test sets.

The road: :mod:`~tinyrerank.evaluate.first_stage` loads a set and its candidates,
:mod:`~tinyrerank.evaluate.runner` re-ranks them and keeps every score, :mod:`~tinyrerank.evaluate.metrics`
and :mod:`~tinyrerank.evaluate.significance` measure and test, :mod:`~tinyrerank.evaluate.report` shows it.
:func:`tinyrerank.evaluate.pipeline.evaluate` walks it from end to end.
"""

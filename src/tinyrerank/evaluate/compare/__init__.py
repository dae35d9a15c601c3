"""Puts systems beside each other: how well they rank, what they cost, and query by query where they differ.

The road: :mod:`~tinyrerank.evaluate.compare.contenders` reads what the user names,
:mod:`~tinyrerank.evaluate.compare.rank` ranks the sets with each, one after the other,
:mod:`~tinyrerank.evaluate.compare.cost` times them in processes of their own, and
:mod:`~tinyrerank.evaluate.compare.page` writes one HTML file that needs no network.
"""

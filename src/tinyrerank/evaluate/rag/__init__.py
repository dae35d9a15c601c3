"""The RAG benchmark: what a reranker changes in the first five passages that a language model would be shown.

The road: :mod:`~tinyrerank.evaluate.rag.sets` makes question and passage sets with three first stages,
:mod:`~tinyrerank.evaluate.rag.run` scores the candidates with every column and lets LlamaIndex measure
(:mod:`~tinyrerank.evaluate.rag.llama`), and :mod:`~tinyrerank.evaluate.rag.report` writes the tables.
"""

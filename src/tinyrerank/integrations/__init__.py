"""Rerankers in the shape of other libraries: one thin module each, imported on use.

=================  ===================================================  =======================
module             classes                                              extra
=================  ===================================================  =======================
``llama_index``    ``TinyrerankPostprocessor``                          ``llama-index``
``langchain``      ``TinyrerankCompressor``, ``TinyrerankCrossEncoder``  ``langchain``
``haystack``       ``TinyrerankRanker``                                 ``haystack``
``cross_encoder``  ``CrossEncoder`` (as in sentence-transformers)       none
``lancedb``        ``TinyrerankReranker``                               ``lancedb``
``dspy``           ``TinyrerankModule``                                 ``dspy``
``fastembed``      ``TinyrerankTextCrossEncoder``, ``register``         ``fastembed``
``rerankers``      ``TinyrerankRanker``                                 ``rerankers``
``redisvl``        ``TinyrerankReranker``                               ``redisvl``
``mcp``            ``build_server``                                     ``mcp``
=================  ===================================================  =======================

Importing a module whose framework is absent raises
:class:`~tinyrerank.errors.MissingFrameworkError`, which is also an ``ImportError`` and names the extra.
Nothing here reorders but by falling logit, drops but what ``top_n`` (or the framework's word for it) says, or
changes the objects that it was given.
"""

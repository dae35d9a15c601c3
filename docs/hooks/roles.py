"""Lets API pages show roles, double back quotes and examples of docstrings as a reader expects them."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":\w+:`~?([^`]+)`")


class Roles(Extension):
    """A role such as ``:class:`` becomes the last part of the name that it stands for, as code."""

    def on_object(self, *, obj: Object, **_kwargs: Any) -> None:  # noqa: ANN401 - griffe's signature
        """Rewrite one docstring."""
        if obj.docstring is not None:
            text = _ROLE.sub(lambda role: f"`{role[1].rsplit('.', 1)[-1]}`", obj.docstring.value)
            text = re.sub(r"``([^`]+)``", r"`\1`", text)
            text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)  # the parser knows the plural
            obj.docstring.value = re.sub(r" +# doctest: .*", "", text)

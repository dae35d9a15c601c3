"""API keys: many, each with a name; only their SHA-256 is kept, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from tinyrerank.errors import DataError, InputError
from tinyrerank.serve.errors import UnauthorizedError
from tinyrerank.serve.settings import Settings

_ENTRY = re.compile(r"(?P<name>[\w.-]{1,64}):(?P<digest>[0-9a-f]{64})", re.ASCII)
_HOW = "send the header 'Authorization: Bearer KEY'"


class ApiKeys:
    """Tells whose key a request carries.

    Args:
        digests: SHA-256 of each key in hexadecimal, by the name of its owner; empty to let everybody in.
    """

    def __init__(self, digests: dict[str, str]) -> None:
        self._digests = tuple((name, digest.encode()) for name, digest in digests.items())

    @property
    def required(self) -> bool:
        """Whether requests need a key."""
        return bool(self._digests)

    def owner(self, authorization: Sequence[str]) -> str | None:
        """The name of the key in the ``Authorization`` headers; None where no key is needed.

        Raises:
            UnauthorizedError: there is no key, or it is not one of ours.
        """
        if not self._digests:
            return None
        if not authorization:
            raise UnauthorizedError(f"no API key; {_HOW}")
        scheme, _, key = authorization[0].strip().partition(" ")
        if len(authorization) > 1 or scheme.lower() != "bearer" or not key.strip():
            raise UnauthorizedError(f"the Authorization header has no bearer token; {_HOW}")
        presented = digest_of(key.strip()).encode()
        found = None
        for name, digest in self._digests:  # all of them, so that the time says nothing
            if hmac.compare_digest(digest, presented):
                found = name
        if found is None:
            raise UnauthorizedError("this API key is not known here")
        return found


def load_keys(settings: Settings) -> ApiKeys:
    """The keys of the settings and of the file that they name.

    Raises:
        DataError: the file cannot be read, is malformed or empty.
        InputError: two keys have the same name.
    """
    digests: dict[str, str] = {}
    for n, text in enumerate(settings.api_keys, 1):
        entry = _ENTRY.fullmatch(text)
        name, digest = (entry["name"], entry["digest"]) if entry else (f"key-{n}", digest_of(text))
        _add(digests, name, digest)
    if settings.api_keys_file is not None:
        for name, digest in _file_entries(settings.api_keys_file):
            _add(digests, name, digest)
    return ApiKeys(digests)


def new_key(name: str) -> tuple[str, str]:
    """A fresh key, and the line for the file of keys.

    Raises:
        InputError: the name does not fit into a line.
    """
    key = "tr_" + secrets.token_urlsafe(32)
    line = f"{name}:{digest_of(key)}"
    if _ENTRY.fullmatch(line) is None:
        raise InputError(f"the name {name!r} must be 1 to 64 letters, digits, '.', '_' or '-'")
    return key, line


def digest_of(key: str) -> str:
    """SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def _file_entries(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _ENTRY.fullmatch(line.strip())
        if entry is None:  # the line is not shown: it may be a key
            raise DataError(
                f"{path}: line {number} is not NAME:SHA256; `tinyrerank serve --new-key NAME` makes one"
            )
        entries.append((entry["name"], entry["digest"]))
    if not entries:
        raise DataError(f"{path}: holds no key; without the setting api_keys_file the server is open to all")
    return entries


def _add(digests: dict[str, str], name: str, digest: str) -> None:
    if digests.get(name, digest) != digest:
        raise InputError(f"two API keys have the name {name!r}; each needs its own")
    digests[name] = digest

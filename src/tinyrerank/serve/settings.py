"""What the operator of a server decides: one class, fed by flags, environment and a TOML file.

A flag wins over the environment, the environment over the file, the file over the default. The setting
``max_queue_tokens`` is ``--max-queue-tokens`` as a flag, ``TINYRERANK_MAX_QUEUE_TOKENS`` in the environment
and ``max_queue_tokens`` in the file. Where a setting takes several values, the environment separates them by
commas and the file has a list. This module imports little but the standard library, so that ``--help`` is
quick.
"""
# ruff: noqa: RUF009 - _setting is dataclasses.field with a help text

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from tinyrerank.errors import DataError, InputError
from tinyrerank.fusion import MOST
from tinyrerank.types import Policy

ENV_PREFIX = "TINYRERANK_"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def _whole(text: object) -> int:
    if isinstance(text, bool) or not isinstance(text, int | str):
        raise ValueError("a whole number")  # noqa: TRY004 - one kind for the caller
    return int(text)


def _number(text: object) -> float:
    if isinstance(text, bool) or not isinstance(text, int | float | str):
        raise ValueError("a number")  # noqa: TRY004 - same
    return float(text)


def _weight(text: object) -> float:
    if not (number := _number(text)) <= MOST:  # not a number, neither
        raise ValueError(f"a number up to {MOST:,.0f}")
    return number


def _flag(text: object) -> bool:
    word = str(text).lower()
    if word not in (*_TRUE, *_FALSE):
        raise ValueError("true or false")
    return word in _TRUE


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError("a text")  # noqa: TRY004 - same
    return text


def _path(text: object) -> Path:
    return Path(_text(text)).expanduser()


def _texts(texts: object) -> tuple[str, ...]:
    if isinstance(texts, str):
        return tuple(part for part in (part.strip() for part in texts.split(",")) if part)
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("a list of texts")
    return tuple(texts)


def _setting(
    default: Any,  # noqa: ANN401 - of the type that parse gives
    about: str,
    parse: Callable[[object], Any],
    *,
    minimum: float | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:  # noqa: ANN401 - as dataclasses.field
    details = {"about": about, "parse": parse, "minimum": minimum, "choices": choices, "secret": secret}
    return field(default=default, metadata=details, repr=not secret)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; the text of a field is its help, and its row in the documentation."""

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for every interface", _text)
    port: int = _setting(8080, "port to listen on; 0 takes a free one and logs it", _whole, minimum=0)
    models: tuple[str, ...] = _setting(
        (),
        "models to serve, NAME=FOLDER or NAME=OWNER/NAME of the hub; the first one answers requests that"
        " name none (default: tinyrerank-tiny-en, the model in the package)",
        _texts,
    )
    aliases: tuple[str, ...] = _setting((), "further names of models, ALIAS=NAME", _texts)
    default_aliases: bool = _setting(
        True,
        "whether the model in the package also answers to jina-reranker-v1-tiny-en, with and without the"
        " owner jinaai/",
        _flag,
    )
    engine: str = _setting("auto", "auto, native, onnx or torch; auto takes the best one here", _text)
    device: str | None = _setting(
        None,
        "cuda or cuda:N to compute on a GPU, with the engine torch (extra: torch); default: the CPU",
        _text,
    )
    threads: int | None = _setting(
        None, "threads of each model's engine (default: usable CPUs divided by workers)", _whole, minimum=1
    )
    workers: int = _setting(
        1,
        "processes that share the port and one copy of the weights; for machines whose CPUs one process does"
        " not fill",
        _whole,
        minimum=1,
    )
    max_length: int | None = _setting(
        None, "tokens read of query and document together (default: the model's own limit)", _whole, minimum=8
    )
    policy: str = _setting(
        "truncate",
        "what happens to a longer pair when the request does not say: truncate, window or refuse",
        _text,
        choices=get_args(Policy),
    )
    list_weight: float = _setting(
        0.0,
        "how much a document's place in the request counts beside the model's score when the request does not"
        " say, for clients that send a retriever's order: 0.3 suits BM25, 1 retrievers that rank as well as"
        " the model or better; scores are then the joined ones",
        _weight,
        minimum=0,
    )
    overlap_tokens: int = _setting(80, "tokens that neighbouring windows share", _whole, minimum=0)
    query_window: int | None = _setting(
        None,
        "longer queries are read in even parts (default: as the model says; 0: whole)",
        _whole,
        minimum=0,
    )
    batch_tokens: int = _setting(
        8192,
        "tokens computed in one go. More makes small requests wait longer for large ones, and the native"
        " engine no faster: it groups 8192 by itself; fewer wastes its speed",
        _whole,
        minimum=64,
    )
    max_queue_tokens: int = _setting(
        400_000,
        "tokens that may be waiting for each model; beyond it, or max_queue_s, requests are refused with 429."
        " Bounds the memory that waiting requests take",
        _whole,
        minimum=1,
    )
    max_queue_s: float = _setting(
        10.0,
        "seconds of work that may be waiting for each model, at the measured speed: about the longest wait of"
        " an accepted request. More makes that longer, fewer refuses short bursts",
        _number,
        minimum=0.01,
    )
    max_documents: int = _setting(10_000, "documents in one request", _whole, minimum=1)
    max_body_bytes: int = _setting(
        32 * 1024 * 1024,
        "bytes of a request's body; of all requests together, eight times as many",
        _whole,
        minimum=1024,
    )
    max_header_bytes: int = _setting(32 * 1024, "bytes of all headers of a request", _whole, minimum=1024)
    body_timeout_s: float = _setting(
        30.0, "seconds that a client may take to send a body", _number, minimum=0.1
    )
    idle_timeout_s: float = _setting(
        75.0, "seconds after which an idle connection is closed", _number, minimum=1
    )
    drain_s: float = _setting(
        25.0,
        "seconds that running requests get after SIGTERM; then they are answered with 503",
        _number,
        minimum=0,
    )
    deadline_ms: float | None = _setting(
        None,
        "time that a request may take when it does not say itself; what is not scored by then keeps its order"
        " (default: no limit)",
        _number,
        minimum=1,
    )
    cache_entries: int = _setting(
        20_000, "scores kept in memory, about 400 bytes each; 0 turns the cache off", _whole, minimum=0
    )
    jina_document: str = _setting(
        "object",
        'how /v1/rerank gives documents back: object, as {"text": …}, or echo, as they came',
        _text,
        choices=("object", "echo"),
    )
    api_keys: tuple[str, ...] = _setting(
        (),
        "keys that clients must send, NAME:SHA256 or the key itself (default: open to all)",
        _texts,
        secret=True,
    )
    api_keys_file: Path | None = _setting(
        None, "file with one NAME:SHA256 a line; `tinyrerank serve --new-key NAME` makes one", _path
    )
    tls_cert: Path | None = _setting(
        None, "certificate chain (PEM); with tls_key, the server speaks HTTPS", _path
    )
    tls_key: Path | None = _setting(None, "private key (PEM) of tls_cert", _path)
    log_level: str = _setting(
        "info", "least severe messages to log", _text, choices=("debug", "info", "warning", "error")
    )
    log_format: str = _setting("json", "json, an object a line, or text", _text, choices=("json", "text"))
    traces: bool = _setting(
        False, "send OpenTelemetry traces, set up by the OTEL_* variables (extra: otel)", _flag
    )
    sagemaker: bool = _setting(
        False, "answer /ping and /invocations as a SageMaker container, without API keys", _flag
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each, getattr(self, each.name), each.name)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("tls_cert and tls_key go together: give both, or neither")


def setting_fields() -> tuple[Field[Any], ...]:
    """The fields of :class:`Settings`; ``metadata`` has ``about``, ``parse``, ``minimum`` and ``choices``."""
    return fields(Settings)


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Settings from all sources; arguments and errors as in :func:`given_settings`."""
    return Settings(**given_settings(flags, environment=environment, file=file))


def given_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> dict[str, Any]:
    """What the operator set, by field name; defaults are not in it.

    Args:
        flags: by field name; None values are not set.
        environment: None for that of the process.
        file: a TOML file.

    Raises:
        InputError: a value is unusable; says where it stands.
        DataError: the file cannot be read, or has an unknown key.
    """
    environment = os.environ if environment is None else environment
    values = _from_file(file) if file is not None else {}
    for each in setting_fields():
        variable = ENV_PREFIX + each.name.upper()
        if variable in environment:
            values[each.name] = _parsed(each, environment[variable], variable)
        if flags is not None and flags.get(each.name) is not None:
            values[each.name] = _parsed(each, flags[each.name], "--" + each.name.replace("_", "-"))
    return values


def _from_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not TOML ({error})") from None
    known = {each.name: each for each in setting_fields()}
    unknown = [key for key in table if key not in known]
    if unknown:
        raise DataError(f"{path}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    return {name: _parsed(known[name], value, f"{path}: {name}") for name, value in table.items()}


def _parsed(each: Field[Any], value: object, where: str) -> Any:  # noqa: ANN401 - of the field's type
    if isinstance(value, str) and not value and each.default is None:
        return None  # an empty variable unsets an optional setting
    try:
        parsed = each.metadata["parse"](value)
    except ValueError:
        kinds = {
            _whole: "a whole number",
            _number: "a number",
            _weight: f"a number from 0 to {MOST:,.0f}",
            _flag: "true or false",
            _texts: "a list of texts",
        }
        kind = kinds.get(each.metadata["parse"], "a text")
        shown = "" if each.metadata["secret"] else f" is {value!r};"
        raise InputError(f"{where}{shown} give {kind}: {each.metadata['about']}") from None
    _check(each, parsed, where)
    return parsed


def _check(each: Field[Any], value: Any, where: str) -> None:  # noqa: ANN401 - of the field's type
    choices, minimum = each.metadata["choices"], each.metadata["minimum"]
    if choices and value not in choices:
        raise InputError(f"{where} is {value!r}; give one of {', '.join(choices)}")
    if minimum is not None and value is not None and not value >= minimum:
        raise InputError(f"{where} is {value}; give at least {minimum}: {each.metadata['about']}")

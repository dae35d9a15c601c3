"""Settings come from flags, environment and file, in that order; their declaration is their documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyrerank.errors import DataError, InputError
from tinyrerank.serve.settings import Settings, load_settings, setting_fields

DOCS = Path(__file__).parents[2] / "docs" / "server.md"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        'port = 1\nhost = "file"\nmodels = ["a=b", "c=d"]\ndefault_aliases = false\ndrain_s = 3\n'
    )
    environment = {"TINYRERANK_PORT": "2", "TINYRERANK_HOST": "env", "TINYRERANK_DATA": "not ours"}
    settings = load_settings({"port": "3", "host": None}, environment=environment, file=file)
    assert (settings.port, settings.host) == (3, "env")
    assert settings.models == ("a=b", "c=d")
    assert settings.default_aliases is False
    assert settings.drain_s == 3.0
    assert load_settings({}, environment={}) == Settings()


def test_every_kind_of_value_is_read_from_the_environment() -> None:
    environment = {
        "TINYRERANK_MODELS": "a=b, c=d",
        "TINYRERANK_TRACES": "Yes",
        "TINYRERANK_DEFAULT_ALIASES": "0",
        "TINYRERANK_THREADS": "",
        "TINYRERANK_DEADLINE_MS": "12.5",
        "TINYRERANK_API_KEYS_FILE": "/k",
    }
    settings = load_settings(environment=environment)
    assert settings.models == ("a=b", "c=d")
    assert (settings.traces, settings.default_aliases) == (True, False)
    assert (settings.threads, settings.deadline_ms) == (None, 12.5)
    assert settings.api_keys_file == Path("/k")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "x"),
        ("PORT", "-1"),
        ("WORKERS", "0"),
        ("TRACES", "maybe"),
        ("POLICY", "guess"),
        ("DRAIN_S", "nan"),
        ("LOG_LEVEL", "loud"),
        ("BATCH_TOKENS", "1"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_source(variable: str, value: str) -> None:
    with pytest.raises(InputError, match=f"TINYRERANK_{variable}"):
        load_settings(environment={f"TINYRERANK_{variable}": value})


@pytest.mark.parametrize(
    "text", ["ports = 1", "port = ", "port = 1.5", "port = true", "models = [1]", "host = 5"]
)
def test_a_file_that_cannot_be_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises((DataError, InputError), match=r"server\.toml"):
        load_settings(environment={}, file=file)


def test_a_secret_is_not_shown_in_an_error(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('api_keys = [["hidden"]]')
    with pytest.raises(InputError) as caught:
        load_settings(environment={}, file=file)
    assert "hidden" not in str(caught.value)
    assert "hidden" not in repr(Settings(api_keys=("hidden",)))


def settings_table() -> str:
    """The table of docs/server.md; `python tests/serve/test_settings.py` prints it."""
    rows = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for each in setting_fields():
        default = _shown(each.default)
        about = each.metadata["about"].replace("|", "\\|")
        rows.append(f"| `{each.name}` | {default} | {about} |")
    return "\n".join(rows)


def _shown(default: object) -> str:
    if default is None or default == ():
        return ""
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


def test_the_documentation_has_every_setting_as_it_is_declared() -> None:
    assert settings_table() in DOCS.read_text(encoding="utf-8")


if __name__ == "__main__":
    print(settings_table())  # noqa: T201

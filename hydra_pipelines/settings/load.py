"""Reading the settings, with errors that name the setting and where it stands, to the line.

Sources, the first that has a value wins: the environment (`HYDRA_...`, nested with two
underscores), the usual `IBKR_...` names there or in `.env`, `.env`, what `hydra paper-trade` set
for the desk, `hydra.yaml`, the defaults.
"""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from pydantic_settings import SettingsError as UnreadableValue

from hydra_pipelines.settings import standing
from hydra_pipelines.settings.families import OWN_WORDS, Section
from hydra_pipelines.settings.model import PREFIX, PROJECT_ROOT, Settings
from hydra_pipelines.settings.scale import SECRET_URLS

if TYPE_CHECKING:
    from yaml import Node

YAML = "hydra.yaml"
OUTSIDERS: tuple[tuple[str, ...], ...] = (
    ("live_confirmed",),
    ("alerts", "urls"),
    *(("dagster", name) for name in SECRET_URLS),
)
"""What is a secret, or a person's word about this machine: not set in `hydra.yaml`."""
Lines = dict[tuple[str | int, ...], int]
"""Path of a setting in `hydra.yaml` -> the line it stands in."""
Sources = dict[str, dict[str, Any]]
"""Place -> what it says, the place that wins first."""


class SettingsError(ValueError):
    """A setting is missing, unknown or out of range; the message names it and its source."""


def load_settings(root: Path | None = None, **overrides: Any) -> Settings:
    """The settings of the desk at `root` (default: `HYDRA_ROOT`, else this checkout).

    overrides: values that win over every other source, by field name.
    Raises SettingsError that names each bad value and where it is.
    """
    root = Path(root or os.environ.get("HYDRA_ROOT") or PROJECT_ROOT).expanduser().resolve()
    if not root.is_dir():
        raise SettingsError(f"there is no folder {root}: set HYDRA_ROOT to where hydra.yaml is")
    dotenv = _DotEnv(Settings, env_file=root / ".env")
    names = {**dotenv.upper(), **os.environ}
    _reject_strange_names(dotenv.upper(), ".env")
    _reject_strange_names(os.environ, "the environment")
    content, lines = _read_yaml(root / YAML)
    _reject_outsiders(content, lines)
    try:
        outside = _outside(dotenv, names)
        said = _read_standing(root, {"the call": overrides, **outside, YAML: content})
        sources = {
            "the call": {"root": root, **overrides},
            **outside,
            standing.FILE: said,
            YAML: content,
        }
        settings = Settings(**functools.reduce(_over, sources.values()))
    except UnreadableValue as error:
        raise SettingsError(
            f"{error}: there, lists and whole sections are written in JSON, and a single value of "
            f"a section as {PREFIX}SECTION__NAME"
        ) from error
    except ValidationError as error:
        wrong = [_explained(found, sources, lines) for found in error.errors()]
        raise SettingsError(f"settings of {root}:\n" + "\n".join(wrong)) from error
    if settings.mode == "live" and _is_paper(names):
        raise SettingsError("mode is live but IBKR_PAPER_TRADING is true: change one of them")
    return settings


def place_of(root: Path, path: tuple[str | int, ...]) -> str:
    """Where the value of a setting comes from, such as `hydra.yaml, line 12`; empty if unknown.

    For errors that are found only later, by who knows more than the settings do.
    """
    content, lines = _read_yaml(root / YAML)
    dotenv = _DotEnv(Settings, env_file=root / ".env")
    outside = _outside(dotenv, {**dotenv.upper(), **os.environ})
    said = _read_standing(root, {**outside, YAML: content})
    return _place({**outside, standing.FILE: said, YAML: content}, lines, path)


def _outside(dotenv: _DotEnv, names: Mapping[str, str]) -> Sources:
    return {
        "the environment": EnvSettingsSource(Settings)(),
        "the IBKR_ names": _from_ibkr_names(names),
        ".env": dotenv(),
    }


class _DotEnv(DotEnvSettingsSource):
    """`.env` holds other tools' names too: only `HYDRA_...` of it are settings of ours."""

    def __call__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__call__().items() if k in self.settings_cls.model_fields}

    def upper(self) -> dict[str, str]:
        return {name.upper(): value or "" for name, value in self.env_vars.items()}


def _from_ibkr_names(names: Mapping[str, str]) -> dict[str, Any]:
    """Settings by the names that IBKR tools commonly use."""
    broker = {
        field: names[f"IBKR_{field.upper()}"]
        for field in ("host", "port", "client_id", "account")
        if names.get(f"IBKR_{field.upper()}")
    }
    out: dict[str, Any] = {"broker": broker} if broker else {}
    return {**out, "mode": "live"} if _is_paper(names) is False else out


def _is_paper(names: Mapping[str, str]) -> bool | None:
    """What IBKR_PAPER_TRADING says; None where it says nothing."""
    text = names.get("IBKR_PAPER_TRADING", "").strip().lower()
    if text not in ("", "true", "1", "yes", "false", "0", "no"):
        raise SettingsError(
            f"IBKR_PAPER_TRADING is {text!r}; it takes true or false (unset means true)"
        )
    return text in ("true", "1", "yes") if text else None


def _over(high: dict[str, Any], low: Mapping[str, Any]) -> dict[str, Any]:
    """Two sources as one; where both have a value the first one's is kept."""
    out = {**low, **high}
    for name in high.keys() & low.keys():
        if isinstance(high[name], dict) and isinstance(low[name], dict):
            out[name] = _over(high[name], low[name])
    return out


def _reject_strange_names(names: Iterable[str], place: str) -> None:
    """Refuse what looks like one of our settings and is none; other tools' names pass."""
    fields = [name.upper() for name in Settings.model_fields]
    sections = [
        name.upper()
        for name, field in Settings.model_fields.items()
        if isinstance(field.default, Section)
    ]
    for name in sorted(names):
        given = name.upper().removeprefix(PREFIX)
        if given == name.upper() or given.partition("__")[0] in fields:
            continue
        section = next((s for s in sections if given.startswith(f"{s}_")), None)
        if section:
            meant = [f"{section}__{given.removeprefix(section).lstrip('_')}"]
        else:
            meant = difflib.get_close_matches(given, fields, n=1, cutoff=0.75)
        if meant:
            raise SettingsError(
                f"{name} in {place} is not a setting; did you mean {PREFIX}{meant[0]}?"
            )


def _reject_outsiders(content: Mapping[str, Any], lines: Lines) -> None:
    """Refuse in `hydra.yaml` what doesn't belong there."""
    for path in OUTSIDERS:
        if _holds(content, path):
            raise SettingsError(
                f"{'.'.join(path)} ({YAML}, line {lines[path]}) is not set there: it is "
                f"{PREFIX}{'__'.join(path).upper()} in the environment or in .env"
            )


def _read_standing(root: Path, sources: Sources) -> dict[str, Any]:
    """What was set for the desk whose data folder the other sources name."""
    folder = functools.reduce(_over, sources.values()).get("data_dir")
    if folder is None:
        folder = Settings.model_fields["data_dir"].default
    content, _ = _read_yaml(root / Path(str(folder)).expanduser() / standing.FILE)
    if strange := standing.strangers(content):
        raise SettingsError(
            f"{strange[0]} can't be set in {standing.FILE} of the data folder, which is written by "
            f"`hydra paper-trade`: set it in {YAML} or in .env"
        )
    return content


def _read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """The content of `hydra.yaml` and its lines; empty where there is no such file."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        """Refuses a key that is given twice, of which YAML would silently take the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise SettingsError(f"{path}, line {line}: {key.value} is given twice")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        loader = Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        content = loader.construct_document(node) if node else None
    except (FileNotFoundError, NotADirectoryError):
        return {}, {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise SettingsError(f"{path} holds no settings by name, but a {type(content).__name__}")
    lines: Lines = {}
    if node:
        _number(node, (), lines)
    return content or {}, lines


def _number(node: Node, path: tuple[str | int, ...], lines: Lines) -> None:
    """Note the line of everything below a node, names by their own."""
    if node.id == "mapping":
        for key, value in node.value:
            lines[*path, key.value] = key.start_mark.line + 1
            _number(value, (*path, key.value), lines)
    elif node.id == "sequence":
        for i, value in enumerate(node.value):
            lines[*path, i] = value.start_mark.line + 1
            _number(value, (*path, i), lines)


def _explained(found: Mapping[str, Any], sources: Sources, lines: Lines) -> str:
    """One line for one error: the setting, the place it comes from, what is wrong, the value."""
    path = tuple(found["loc"])
    place = _place(sources, lines, path)
    text = f"  {'.'.join(str(part) for part in path) or 'settings'}"
    text += f" ({place})" if place else ""
    if found["type"] == "extra_forbidden":
        return f"{text}: there is no such setting"
    if found["type"] in ("value_error", OWN_WORDS):
        return f"{text}: {found['msg'].removeprefix('Value error, ')}"
    if found["type"] == "missing":
        return f"{text}: {found['msg']}"
    return f"{text}: {found['msg']} (got {found['input']!r})"


def _place(sources: Sources, lines: Lines, path: tuple[str | int, ...]) -> str:
    """The source that a value is from; where it is missing, that of what it should be in."""
    for length in range(len(path), 0, -1):
        for name, values in sources.items():
            if _holds(values, path[:length]):
                line = lines.get(path[:length])
                return f"{YAML}, line {line}" if name == YAML and line else f"in {name}"
    return ""


def _holds(values: Any, path: tuple[str | int, ...]) -> bool:
    """Whether nested settings have a value at a path."""
    try:
        for part in path:
            values = values[part]
    except (KeyError, IndexError, TypeError):
        return False
    return True

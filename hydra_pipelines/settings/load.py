"""Reading the settings, with errors that name the setting and where it stands.

Sources, the first that has a value wins: the environment (`HYDRA_...`, nested with two
underscores), the usual `IBKR_...` names there or in `.env`, `.env`, `hydra.yaml`, the defaults.
"""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from pydantic_settings import SettingsError as UnreadableValue

from hydra_pipelines.settings.model import PREFIX, PROJECT_ROOT, Settings
from hydra_pipelines.settings.sections import Section


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
    try:
        sources = {
            "the call": {"root": root, **overrides},
            "the environment": EnvSettingsSource(Settings)(),
            "the IBKR_ names": _from_ibkr_names(names),
            ".env": dotenv(),
            "hydra.yaml": _read_yaml(root / "hydra.yaml"),
        }
        settings = Settings(**functools.reduce(_over, sources.values()))
    except UnreadableValue as error:
        raise SettingsError(
            f"{error}: there, lists and whole sections are written in JSON, and a single value of "
            f"a section as {PREFIX}SECTION__NAME"
        ) from error
    except ValidationError as error:
        lines = [_explained(found, sources) for found in error.errors()]
        raise SettingsError(f"settings of {root}:\n" + "\n".join(lines)) from error
    if settings.mode == "live" and _is_paper(names):
        raise SettingsError("mode is live but IBKR_PAPER_TRADING is true: change one of them")
    return settings


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


def _read_yaml(path: Path) -> dict[str, Any]:
    """The content of `hydra.yaml`; empty where there is no such file."""
    import yaml

    class Loader(yaml.SafeLoader):
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
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise SettingsError(f"{path} holds no settings by name, but a {type(content).__name__}")
    return content or {}


def _explained(found: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]) -> str:
    """One line for one error: the setting, the place it comes from, what is wrong, the value."""
    path = tuple(found["loc"])
    place = next((name for name, values in sources.items() if _holds(values, path)), None)
    text = f"  {'.'.join(str(part) for part in path) or 'settings'}"
    text += f" (in {place})" if path and place else ""
    if found["type"] == "extra_forbidden":
        return f"{text}: there is no such setting"
    if found["type"] == "value_error":
        return f"{text}: {found['msg'].removeprefix('Value error, ')}"
    return f"{text}: {found['msg']} (got {found['input']!r})"


def _holds(values: Any, path: Sequence[str | int]) -> bool:
    """Whether nested settings have a value at a path."""
    try:
        for part in path:
            values = values[part]
    except (KeyError, IndexError, TypeError):
        return False
    return True

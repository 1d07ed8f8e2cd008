"""docs/settings.md, made from the settings themselves: name, variable, default, what it takes.

`python -m hydra_pipelines.settings.reference` prints it; `make reference` writes it. What a setting
means is the text below its field, so nothing is explained in two places.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hydra_pipelines.settings.families import FAMILIES, Section
from hydra_pipelines.settings.load import OUTSIDERS
from hydra_pipelines.settings.model import PREFIX, Settings
from hydra_pipelines.settings.sections import AcceptedMove, SignalSettings, StrategySettings
from hydra_pipelines.settings.standing import MAY_HOLD

HEAD = """\
# Settings

Every setting with its default, made from the code by `make reference`. What differs from the
defaults stands in `hydra.yaml`:

```yaml
risk:
  daily_loss: 0.01             # the setting risk.daily_loss
```

or in the environment, where it is `HYDRA_RISK__DAILY_LOSS=0.01` (two underscores between section
and name; lists and whole sections in JSON), or in `.env` beside `hydra.yaml` in the same way. The
first of these that has a value wins: the environment, the `IBKR_` names, `.env`, `paper-trade.yaml`
of the data folder (written by `hydra paper-trade start`), `hydra.yaml`, the default. What is
unknown or out of range is refused with its name, file and line. Who changed what is in the audit
trail (`setting_changed`).

- "share": of 1, so 2 % is 0.02. Shares of equity unless another base is named.
- Times of day are New York's. Relative paths start from the folder of `hydra.yaml`, which is the
  checkout, or the folder that the variable `HYDRA_ROOT` names.
- ¹ `IBKR_HOST`, `IBKR_PORT`, `IBKR_CLIENT_ID` and `IBKR_ACCOUNT` set it too. `IBKR_PAPER_TRADING`
  set to false means `mode: live`.
- ² `hydra paper-trade start` sets it for one desk.
- ³ Only in the environment or in `.env`, never in `hydra.yaml`.
"""
UNITS = {
    "_s": "seconds", "_minutes": "minutes", "_hours": "hours", "_days": "days",
    "_sessions": "sessions", "_bps": "basis points", "_usd": "USD", "_mb": "megabytes",
    "cash": "USD", "max_order_notional": "USD",
}  # fmt: skip
_TYPES = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
_FORMATS = {"date": "date", "time": "time of day", "path": "path", "password": "text, a secret"}
_BOUNDS = (
    ("minimum", "at least {}"), ("exclusiveMinimum", "above {}"), ("maximum", "at most {}"),
    ("exclusiveMaximum", "below {}"),
)  # fmt: skip
NOT_SET = ("root",)
"""Fields that no source sets."""


def page() -> str:
    """The whole document."""
    plain = {
        n: f for n, f in Settings.model_fields.items() if not section_of(f) and n not in NOT_SET
    }
    parts = [HEAD, "## The desk", _table(Settings, plain, "")]
    for name, field in Settings.model_fields.items():
        if (section := section_of(field)) is not None:
            parts += [f"## {name}", _first(section), _table(section, section.model_fields, name)]
    parts += [
        "## market.accepted_moves",
        _first(AcceptedMove),
        _table(AcceptedMove, AcceptedMove.model_fields, None),
        "## strategies",
        _first(StrategySettings),
        _table(StrategySettings, StrategySettings.model_fields, None),
        "## A strategy's signal",
        _first(SignalSettings),
        _table(SignalSettings, SignalSettings.model_fields, None),
    ]
    for family, model in FAMILIES.items():
        parts += [f"## A strategy's parameters: {family}", _first(model)]
        if model.model_fields:
            parts.append(_table(model, model.model_fields, None))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def explained(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field of a class or of those it is made from, as one line."""
    out: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and not one.__module__.startswith("pydantic"):
            body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, below in zip(body.body, body.body[1:], strict=False):
                match field, below:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        out[name] = " ".join(text.split())
    return out


def models() -> Iterator[type[BaseModel]]:
    """Every class whose fields a person may set."""
    yield Settings
    sections = map(section_of, Settings.model_fields.values())
    yield from (section for section in sections if section)
    yield from (AcceptedMove, StrategySettings, SignalSettings)
    yield from FAMILIES.values()


def section_of(field: FieldInfo) -> type[Section] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _first(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "")


def _table(model: type[BaseModel], fields: Mapping[str, FieldInfo], section: str | None) -> str:
    """section: "" at the top, None inside of a list, whose items no variable sets."""
    texts, schema = explained(model), model.model_json_schema()
    rows = ["| setting | default | takes | what |", "| --- | --- | --- | --- |"]
    for name, field in fields.items():
        path = (section, name) if section else (name,)
        shown = f"`{'.'.join(path)}`"
        if section is not None:
            shown += f"{_mark(path)}<br>`{PREFIX}{'__'.join(path).upper()}`"
        what = texts.get(name, "")
        cells = (shown, _default(field), _takes(name, schema), what)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def _mark(path: tuple[str, ...]) -> str:
    marks = [
        (path in {("broker", n) for n in ("host", "port", "client_id", "account")}, "¹"),
        (path in MAY_HOLD, "²"),
        (path in OUTSIDERS, "³"),
    ]
    return " ".join(mark for holds, mark in marks if holds)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "has to be given"
    if isinstance(value, Section):
        return "below"
    if isinstance(value, SecretStr) or value is None or value in ("", (), {}):
        return "–"
    return f"`{_written(value)}`"


def _written(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Decimal():
            return f"{value:f}"
        case time():
            return f"{value:%H:%M}"
        case date():
            return value.isoformat()
        case tuple():
            return f"[{', '.join(map(_written, value))}]"
        case Path():
            return value.as_posix()
        case float():
            return f"{value:.10g}"
    return str(value)


def _takes(name: str, schema: Mapping[str, Any]) -> str:
    found = _allowed(schema["properties"][name], schema.get("$defs", {}))
    if found == "number, 0 to 1":
        found = "share, 0 to 1"
    unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    if unit and not found.startswith(("list", "share")):
        found = unit + found.removeprefix("whole ").removeprefix("number")
    return found


def _allowed(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """A JSON schema in words."""
    if "$ref" in schema:
        return "a section"
    if choices := schema.get("anyOf"):
        # A decimal may be written as a text too; what may be left out has None beside it.
        known = [one for one in choices if one.get("type") not in ("null", "string")]
        return _allowed((known or choices)[0], defs)
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        items = schema["items"]
        if "$ref" in items:
            return "list of sections"
        inner = _allowed(items, defs)
        return "list" if inner == "text" else f"list of {inner}"
    if schema.get("type") == "object":
        return "names with values"
    kind = _TYPES.get(schema.get("type", ""), "")
    kind = kind or _FORMATS.get(schema.get("format", ""), "text")
    if "pattern" in schema:
        return f"text like `{schema['examples'][0]}`"
    bounds = {key: text.format(_bound(schema[key])) for key, text in _BOUNDS if key in schema}
    if {"minimum", "maximum"} <= bounds.keys():
        return f"{kind}, {_bound(schema['minimum'])} to {_bound(schema['maximum'])}"
    return ", ".join([kind, *bounds.values()])


def _bound(value: float) -> str:
    return f"{value:,.10g}"


if __name__ == "__main__":
    print(page(), end="")

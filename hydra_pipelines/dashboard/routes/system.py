"""The system: broker, stores, limits, breakers, alerts and versions."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, Request, Response

from hydra_pipelines import api
from hydra_pipelines.dashboard import cells
from hydra_pipelines.dashboard.cells import Cell, Column, Table, Tone
from hydra_pipelines.dashboard.rendering import PlainResponse
from hydra_pipelines.dashboard.routes.common import dash_of

router = APIRouter()
STORE_TONES: dict[str, Tone] = {"present": "good", "missing": "warn"}
BREAKER_TONES: dict[str, Tone] = {"ok": "good", "unknown": "warn", "reset": "warn"}
PACKAGES = ("hydra-pipelines", "dagster", "mlflow", "duckdb", "pandas", "numpy", "scikit-learn")
SHARES = frozenset(
    ("max_position_weight", "gross_cap", "net_cap", "cash_buffer", "max_adv_share",
     "collar_last_close", "collar_quote", "daily_loss", "drawdown", "trade_loss")
)  # fmt: skip
"""Limits and breakers that are a share of something, shown in percent."""


@router.get("/system", include_in_schema=False)
def system(request: Request) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    risk = dash.readings.figure(api.risk, 10)
    controls = read(api.controls)
    stores = read(api.stores)
    gate = dash.readings.figure(api.paper_gate)
    value = risk.value or {}
    return dash.page(
        request,
        "system.html",
        title="System",
        settings=dash.settings,
        risk=risk,
        controls=controls,
        stores=stores,
        stores_table=_stores(stores.value or []),
        limits_table=_limits(value.get("limits", [])),
        breakers_table=_breakers(value.get("breakers", [])),
        denials_table=_denials(value.get("denials", [])),
        alerts_table=_alerts((controls.value or {}).get("alerts", [])),
        versions_table=_versions(),
        gateway=_gateway(dash.readings),
        gate=gate,
        gate_table=_gate((gate.value or {}).get("conditions", [])),
        read_only=dash.rules.read_only,
    )


def _gateway(readings: Any) -> api.Row:
    """Where the broker is, and whether its gateway runs, as far as that is known without asking
    it: the desk's connection is not the dashboard's to use."""
    desk = readings.desk
    s = desk.settings
    at: api.Row = {"venue": s.broker.venue, "account": s.broker.account or "", "where": ""}
    if desk.embedded:
        from hydra_pipelines.day.halting import venue_address

        found = venue_address(s)
        at |= {
            "account": s.embedded.account,
            "where": f"{found[0]}:{found[1]}" if found else "",
            "state": "runs" if found else "does not run; a cycle starts it",
        }
    else:
        at |= {
            "where": f"{s.broker.host}:{s.broker.port}",
            "state": "not asked from here: `hydra check-broker` does",
        }
    return at


def _gate(rows: list[api.Row]) -> Table:
    return Table(
        "gate",
        "Conditions of the paper gate",
        (Column("Condition"), Column("Holds"), Column("Value"), Column("Needed"), Column("Why")),
        [
            (
                cells.text(row["title"]),
                cells.badge("yes" if row["holds"] else "no", "good" if row["holds"] else "warn"),
                cells.text(row["value"]),
                cells.text(row["threshold"]),
                cells.text(row["why"], note=row["next_step"]),
            )
            for row in rows
        ],
        "The conditions are not known.",
    )


def _stores(rows: list[api.Row]) -> Table:
    return Table(
        "stores",
        "Stores",
        (
            Column("Store"),
            Column("State"),
            Column("Version", num=True),
            Column("Size", num=True),
            Column("Changed"),
            Column("Where"),
        ),
        [
            (
                cells.text(row["name"], note=row["what"]),
                Cell(
                    row["state"],
                    "badge",
                    tone=STORE_TONES.get(row["state"], "bad"),
                    note=row["why"],
                ),
                Cell(
                    cells.NOTHING
                    if row["version"] is None
                    else f"{row['version']}"
                    + (f" of {row['known']}" if row["known"] is not None else ""),
                    "num",
                ),
                Cell(cells.size(row["bytes"]), "num"),
                cells.when(row["changed_at"]),
                cells.code(row["path"]),
            )
            for row in rows
        ],
        "None.",
    )


def _limits(rows: list[api.Row]) -> Table:
    return Table(
        "limits",
        "Limits of the risk gate",
        (
            Column("Limit"),
            Column("Set to", num=True),
            Column("Now", num=True),
            Column("Used", "%", True),
            Column("Of what"),
        ),
        [
            (
                cells.text(cells.words(row["name"])),
                Cell(_plain(row["limit"], row["name"]), "num"),
                Cell(_plain(row["value"], row["name"]), "num"),
                _use(row["use"]),
                cells.text(row["about"]),
            )
            for row in rows
        ],
        "The limits are not known.",
    )


def _use(share: float | None) -> Cell:
    if share is None:
        return cells.number(None)
    tone: Tone = "bad" if share > 1 else "warn" if share >= 0.9 else ""
    return Cell(cells.figure(share * 100, 1) + (" over" if share > 1 else ""), "num", tone=tone)


def _plain(value: Any, name: str) -> str:
    if isinstance(value, bool) or value is None:
        return cells.figure(value)
    if isinstance(value, str):
        return value or "none"
    if name in SHARES:
        return f"{100 * float(value):,.2f} %"
    return f"{float(value):,.4f}".rstrip("0").rstrip(".")


def _breakers(rows: list[api.Row]) -> Table:
    return Table(
        "breakers",
        "Circuit breakers",
        (Column("Breaker"), Column("State"), Column("Now", num=True), Column("Trips at", num=True)),
        [
            (
                cells.text(cells.words(row["name"]), note=row["why"]),
                cells.badge(row["state"], BREAKER_TONES.get(row["state"], "bad")),
                Cell(_plain(row["value"], row["name"]), "num"),
                Cell(_plain(row["limit"], row["name"]), "num"),
            )
            for row in rows
        ],
        "The breakers are not known.",
    )


def _denials(rows: list[api.Row]) -> Table:
    return Table(
        "denials",
        "Orders that the risk gate denied, the latest first",
        (Column("Time"), Column("Order ref"), Column("Reasons")),
        [
            (
                cells.when(row["occurred_at"]),
                cells.text(f"{row['side']} {row['quantity']} {row['symbol']}"),
                cells.text(cells.words(row["reasons"])),
            )
            for row in rows
        ],
        "None was denied.",
    )


def _alerts(rows: list[api.Row]) -> Table:
    tones: dict[str, Tone] = {"sent": "good", "recorded": "quiet", "failed": "bad"}
    return Table(
        "alerts",
        "Alerts, the latest first",
        (Column("Time"), Column("Kind"), Column("What"), Column("Outcome")),
        [
            (
                cells.when(row["at"]),
                cells.badge(cells.words(row["kind"])),
                cells.text(row["title"], note=row["text"]),
                Cell(
                    str(row["outcome"]),
                    "badge",
                    tone=tones.get(str(row["outcome"]), "warn"),
                    note=row["detail"],
                ),
            )
            for row in rows
        ],
        "No alert was ever raised. `hydra alert-test` tries the channels.",
    )


def _versions() -> Table:
    rows = [("python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, "not installed"))
    return Table(
        "versions",
        "Versions",
        (Column("Part"), Column("Version")),
        [(cells.text(name), cells.code(number)) for name, number in rows],
        "",
    )


@router.get("/api/system/status", response_class=PlainResponse, tags=["system"])
def system_status(request: Request) -> Response:
    """The desk at a glance and the state of every store.

    `desk` is null where its stores can't be read, and `why` says why.
    """
    read = dash_of(request).readings.read
    desk, stores = read(api.status), read(api.stores)
    return PlainResponse(
        {
            "desk": desk.value,
            "why": desk.why,
            "as_of": desk.as_of,
            "stores": stores.value or [],
        }
    )

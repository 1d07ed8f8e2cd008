"""The desk in a handful of values: cheap enough to be asked for all the time."""

from __future__ import annotations

from hydra_pipelines.api.desk import switch
from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerError


def pulse(desk: Desk) -> Row:
    """What tells a watcher that something happened.

    fill_count, session (of the latest plan), plan (its status), orders (of all time), equity and
    audit (number of the last audit event) are None where the ledger can't be read, and `why` says
    why. agent: `running` or `paused`. halted: the kill switch. tripped: names of breakers.
    Raises ControlError.
    """
    control = desk.control
    out: Row = {
        "fill_count": None,
        "session": None,
        "plan": None,
        "orders": None,
        "equity": None,
        "audit": None,
        "agent": "paused" if control.agent_paused else "running",
        "halted": control.kill_switch,
        "tripped": [breaker.name for breaker in control.tripped()],
        "why": "",
    }
    try:
        with desk.ledger.snapshot() as rows:
            found = rows.one(
                "SELECT (SELECT count(*) FROM executed_trades) AS fill_count, "
                "(SELECT count(*) FROM order_intents) AS orders, "
                "(SELECT max(seq) FROM audit_events) AS audit, "
                "(SELECT arg_max(equity, session) FROM account_snapshots) AS equity, "
                "(SELECT max(session) FROM plans) AS session, "
                "(SELECT arg_max(status, session) FROM plans) AS plan"
            )
        out |= found or {}
    except LedgerError as error:
        out["why"] = str(error)
    return out


def controls(desk: Desk) -> Row:
    """The two switches, each with who turned it on, since when and why; and the alert channels.

    Raises ControlError.
    """
    control = desk.control
    return {
        "kill_switch": switch(control, control.kill_switch, "kill_switch_on"),
        "agent_paused": switch(control, control.agent_paused, "agent_paused"),
        "alert_channels": desk.alerts.channels,
        "alerts": [vars(alert) for alert in desk.alerts.recent()],
    }

"""Whether the broker answers and the data is that of the latest session."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg

from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day.watching import DATA_GRACE, stale_data
from hydra_pipelines.defs.sensors.calm import Answer, calm, now
from hydra_pipelines.desk import Desk
from hydra_pipelines.sessions import NEW_YORK

BROKER_INTERVAL_S = 300
DATA_INTERVAL_S = 900
FAILURES_BEFORE_ALERT = 2
"""One look that fails may be the gateway's own restart."""


def broker_sensor() -> dg.SensorDefinition:
    return dg.sensor(
        name="broker_sensor",
        minimum_interval_seconds=BROKER_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Greets the IB Gateway or TWS every five minutes and listens whether it says that "
            "IB's servers are gone (1100). After two looks in a row without an answer a person is "
            "told, once for each outage, with what to do about the weekly log-out. Not in IB's "
            "restart windows, and not with the embedded venue, which a run starts by itself."
        ),
    )(calm(look_at_broker))


def look_at_broker(context: dg.SensorEvaluationContext, desk: Desk) -> Answer:
    if desk.embedded:
        return dg.SkipReason("the embedded venue is started by whoever needs it")
    from hydra_pipelines.execution.broker.health import probe
    from hydra_pipelines.execution.broker.windows import weekly_login_hint

    at = now()
    endpoint = desk.broker_endpoint
    quiet = endpoint.quiet.reason(at) if endpoint.quiet else None
    if quiet:
        return dg.SkipReason(f"not asked: {quiet}")
    before: dict[str, Any] = {"failures": 0, "since": ""}
    if context.cursor:
        before = json.loads(context.cursor)
    pulse = probe(endpoint.host, endpoint.port, endpoint.client_id)
    if pulse.ok:
        again = ", again" if before["failures"] else ""
        return dg.SensorResult(
            skip_reason=f"{endpoint.host}:{endpoint.port} {pulse.detail}{again}",
            cursor=json.dumps({"failures": 0, "since": ""}),
        )
    failures = before["failures"] + 1
    since = before["since"] or at.isoformat(timespec="seconds")
    if failures == FAILURES_BEFORE_ALERT:
        desk.alerts.send(
            AlertKind.BROKER_DOWN,
            f"broker since {since}",
            "hydra: the broker does not answer",
            f"{pulse.detail} (since {since}). Nothing can be traded. {weekly_login_hint(at)}. "
            "`hydra check-broker` tells what stands in the way.",
        )
    return dg.SensorResult(
        skip_reason=f"{pulse.detail} ({failures} looks in a row, since {since})",
        cursor=json.dumps({"failures": failures, "since": since}),
    )


def data_sensor() -> dg.SensorDefinition:
    hours = int(DATA_GRACE.total_seconds() // 3600)
    return dg.sensor(
        name="stale_data_sensor",
        minimum_interval_seconds=DATA_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Looks whether the bars of the latest session are in the lake {hours} hours after "
            "its close, and tells a person once for each session where they are not. With the "
            "embedded venue the desk lives in the past on purpose, and nothing is stale."
        ),
    )(calm(look_at_data))


def look_at_data(context: dg.SensorEvaluationContext, desk: Desk) -> Answer:
    if desk.embedded:
        return dg.SkipReason("the embedded desk keeps the venue's time: no data is late there")
    stale = stale_data(desk, now())
    if stale is None:
        return dg.SkipReason("the latest session's bars are there")
    due = stale.due.isoformat()
    close = desk.calendar.close(stale.due).astimezone(NEW_YORK)
    text = (
        f"the lake's last session is {stale.last}, {stale.sessions_behind} behind {due}"
        if stale.last
        else f"the lake is empty, and {due} should be in it"
    )
    if context.cursor != due:
        desk.alerts.send(
            AlertKind.STALE_DATA,
            due,
            f"hydra: no bars of {due} yet",
            f"{text} (it closed at {close:%H:%M} New York time). What is decided on data that is "
            "too old is not traded: look at the source, then run the job `predict`.",
        )
    return dg.SensorResult(skip_reason=text, cursor=due)

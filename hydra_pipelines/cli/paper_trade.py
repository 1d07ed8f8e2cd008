"""`hydra paper-trade`: whether the desk trades by itself, when, and through which gateway."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_pipelines.cli.output import (
    REFUSED,
    USAGE,
    Json,
    fail,
    person,
    print_json,
    print_table,
    readable_errors,
    say,
)

if TYPE_CHECKING:
    from hydra_pipelines.day.timetable import Slot
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.settings import Settings

app = typer.Typer(help="Whether the desk trades by itself, when, and through which gateway.")
MeantLive = Annotated[
    bool, typer.Option("--yes-i-mean-live", help="Needed for a live port, and in mode live.")
]


@app.command()
def start(
    port: Annotated[int | None, typer.Option(help="Of the gateway; 4002 is paper.")] = None,
    client_id: Annotated[int | None, typer.Option(help="The desk's at the gateway.")] = None,
    schedule_hour: Annotated[
        int | None, typer.Option(min=0, max=23, help="New York time; 9 by default.")
    ] = None,
    schedule_minute: Annotated[
        int | None, typer.Option(min=0, max=59, help="35 by default.")
    ] = None,
    yes_i_mean_live: MeantLive = False,
    as_json: Json = False,
) -> None:
    """Switch the schedule `trading` on: the plan of each session is worked in the next one.

    What is given is kept for this desk, in paper-trade.yaml of its data folder.
    """
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.settings import standing

    with readable_errors():
        desk = Desk.open()
        if desk.settings.mode == "dry_run":
            fail("mode is dry_run: nothing would be sent; set mode: paper first", REFUSED)
        if desk.embedded and (port is not None or client_id is not None):
            fail(
                "broker.venue is embedded, which has no port or client id to choose: set "
                "HYDRA_BROKER__VENUE=ibkr (in .env) to trade through a gateway",
                USAGE,
            )
        broker = {"port": port, "client_id": client_id}
        wanted: dict[str, dict[str, Any]] = {
            "broker": {name: value for name, value in broker.items() if value is not None},
            "schedule": _time(desk.settings, schedule_hour, schedule_minute),
        }
        _warn_of_live(desk.settings, port, yes_i_mean_live)
        path = desk.settings.data_path / standing.FILE
        changed = _keep(desk.settings, path, {k: v for k, v in wanted.items() if v})
        state = _switched(Desk.open(), on=True, changed=changed)
    if as_json:
        print_json(state)
        return
    say(
        f"Trading is on: at {state['at']} New York time on every session, through {state['venue']}."
    )
    if state["next"]:
        say(f"Next: {state['next']} New York time, the plan of session {state['session']}.")
    say(
        "It runs as long as the daemon runs (`hydra up`). The plan is made at "
        f"{state['plan_at']} the evening before; `hydra plan` shows it, `hydra halt` stops all."
    )
    if "schedule" in changed:
        say(
            "A desk that is up takes the new time of day when its code is loaded again: in the "
            "Dagster UI under Deployment, Reload, or `hydra up` anew."
        )


@app.command()
def stop(as_json: Json = False) -> None:
    """Switch the schedule `trading` off. Orders at work stay: `hydra halt` cancels those."""
    from hydra_pipelines.desk import Desk

    with readable_errors():
        state = _switched(Desk.open(), on=False, changed={})
    if as_json:
        print_json(state)
        return
    say("Trading is off: plans are still made, and worked by nobody until a person says so.")


@app.command()
def status(as_json: Json = False) -> None:
    """Every schedule: whether it is on, what it runs, and when it will run next."""
    from hydra_pipelines.day import timetable
    from hydra_pipelines.defs.instance import desk_instance
    from hydra_pipelines.defs.schedules import session_of_the_venue
    from hydra_pipelines.defs.switching import is_on
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.sessions import NEW_YORK

    rows = []
    with readable_errors():
        desk = Desk.open()
        with desk_instance(desk) as instance:
            for slot in _slots(desk.settings):
                found = timetable.next_run(slot, datetime.now(UTC), desk.calendar)
                rows.append(
                    {
                        "schedule": slot.name,
                        "job": slot.job,
                        "on": is_on(instance, slot),
                        "next": f"{found[0].astimezone(NEW_YORK):%a %Y-%m-%d %H:%M}"
                        if found
                        else None,
                        "session": session_of_the_venue(desk, slot)
                        if desk.embedded
                        else found and found[1],
                    }
                )
    if as_json:
        print_json(rows)
        return
    columns = {
        "schedule": "schedule",
        "job": "runs",
        "on": "on",
        "next": "next, New York time",
        "session": "session",
    }
    print_table(rows, columns)


def _slots(settings: Settings) -> tuple[Slot, ...]:
    from hydra_pipelines.day.timetable import timetable

    return timetable(settings.schedule, settings.execution.start, settings.execution.evening_tick)


def _time(settings: Settings, hour: int | None, minute: int | None) -> dict[str, str]:
    """The time of day as the settings take it; nothing where none is given."""
    if hour is None and minute is None:
        return {}
    now = settings.schedule.trading
    at = time(now.hour if hour is None else hour, now.minute if minute is None else minute)
    if at < settings.execution.start:
        fail(
            f"{at:%H:%M} is before execution.start, {settings.execution.start:%H:%M}: no order is "
            "sent before that",
            USAGE,
        )
    return {"trading": f"{at:%H:%M}"}


def _warn_of_live(settings: Settings, port: int | None, meant: bool) -> None:
    """Refuse a live port, and mode live, unless it is said that it is meant."""
    from hydra_pipelines.execution.broker.guard import LIVE_PORTS

    port = settings.broker.port if port is None else port
    embedded = settings.broker.venue == "embedded"
    if settings.mode != "live" and (embedded or port not in LIVE_PORTS):
        return
    what = f"port {port} is a LIVE port" if settings.mode != "live" else "the mode is LIVE"
    typer.secho(
        f"WARNING: {what}: real orders, real money.", fg=typer.colors.RED, bold=True, err=True
    )
    if not meant:
        fail("nothing was changed; add --yes-i-mean-live if this is meant", REFUSED)
    if settings.mode != "live":
        say("In mode paper the guard refuses a live account at every connect all the same.")


def _keep(
    settings: Settings, path: Path, wanted: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Write what is wanted into the desk's file, and make sure that it holds there.

    Returns what is other than it was. What would not fit the other settings, or is set in a place
    that wins over the file, leaves the file as it was and is refused.
    """
    import yaml

    from hydra_pipelines.settings import SettingsError, load_settings, place_of, standing

    if not wanted:
        return {}
    text = path.read_text() if path.exists() else None
    held: dict[str, dict[str, Any]] = (yaml.safe_load(text) or {}) if text else {}
    changed = {
        section: {
            name: value
            for name, value in values.items()
            if _plain(getattr(getattr(settings, section), name)) != value
        }
        for section, values in wanted.items()
    }
    standing.write(
        path,
        {s: {**held.get(s, {}), **wanted.get(s, {})} for s in held.keys() | wanted.keys()},
    )
    try:
        now = load_settings()
        for section, values in wanted.items():
            for name, value in values.items():
                if (holds := _plain(getattr(getattr(now, section), name))) != value:
                    raise SettingsError(
                        f"{section}.{name} is {holds} ({place_of(now.root, (section, name))}), "
                        "which wins over what is set here: change it there"
                    )
    except SettingsError:
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        raise
    return {section: values for section, values in changed.items() if values}


def _plain(value: Any) -> Any:
    return f"{value:%H:%M}" if isinstance(value, time) else value


def _switched(desk: Desk, on: bool, changed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Switch the schedule, note who did, and say how things stand."""
    from hydra_pipelines.day import timetable
    from hydra_pipelines.defs.instance import desk_instance
    from hydra_pipelines.defs.switching import switch
    from hydra_pipelines.ledger.audit import AuditEvent
    from hydra_pipelines.sessions import NEW_YORK

    slots = {slot.name: slot for slot in _slots(desk.settings)}
    slot: Slot = slots["trading"]
    with desk_instance(desk) as instance:
        switched = switch(instance, slot, on)
        if evening := slots.get(timetable.EVENING_ORDERS):
            switched = switch(instance, evening, on) or switched
    if switched or changed:
        desk.control.note(
            AuditEvent.SETTING_CHANGED.value,
            person(),
            {
                "setting": "the schedule trading",
                "why": f"trading {'on' if on else 'off'}, {slot.at:%H:%M} New York time",
                **changed,
            },
        )
    following = timetable.next_run(slot, datetime.now(UTC), desk.calendar) if on else None
    broker = desk.settings.broker
    return {
        "trading": "on" if on else "off",
        "changed": switched or bool(changed),
        "at": f"{slot.at:%H:%M}",
        "plan_at": f"{slots['order_plan'].at:%H:%M}",
        "venue": "the embedded venue"
        if desk.embedded
        else f"{broker.host}:{broker.port}, client {broker.client_id}",
        "mode": desk.settings.mode,
        "next": f"{following[0].astimezone(NEW_YORK):%Y-%m-%d %H:%M}" if following else None,
        "session": _session(desk, slot, following[1].isoformat()) if following else None,
    }


def _session(desk: Desk, slot: Slot, session: str) -> str:
    """Whose plan is worked next: embedded, the one due in the venue's time."""
    return desk.next_session_due().isoformat() if desk.embedded else session

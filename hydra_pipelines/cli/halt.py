"""`hydra halt` and `hydra resume-trading`: stop everything now, and go on when a person says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_pipelines.cli.output import (
    REFUSED,
    USAGE,
    Json,
    confirm,
    fail,
    person,
    print_json,
    readable_errors,
    say,
)

if TYPE_CHECKING:
    from hydra_pipelines.control import Control
    from hydra_pipelines.day.halting import Halted

Why = Annotated[str, typer.Option("--why", help="Kept with who and when.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


def halt(why: Why = "halted by hand", as_json: Json = False) -> None:
    """Stop trading now: kill switch on, agent paused, every order at the broker cancelled.

    Exit code 3 where it is not certain that no order works any more.
    """
    from hydra_pipelines.control import Control, ControlError
    from hydra_pipelines.settings import SettingsError, load_settings

    settings, trouble = None, ""
    try:
        settings = load_settings()
        control = Control(settings.control_path)
    except SettingsError as error:
        trouble = str(error)
        control = _control_all_the_same(error)
    actor, halted = person(), True
    try:
        # First of all, before anything that may take its time or fail.
        control.halt(why, actor)
        say("Trading is halted: the kill switch is on, the agent is paused.")
    except ControlError as error:
        halted, trouble = False, str(error)
        say(f"hydra: the kill switch could not be set: {error}")
    if settings is None:
        fail(
            "the settings can't be read, so the broker was not asked: orders may still work there; "
            f"cancel them in TWS.\n{trouble}",
            REFUSED,
        )
    from hydra_pipelines.day import halting

    done = halting.cancel_everything(settings)
    recorded = False
    if halted:
        try:
            halting.note_outcome(control, done, actor)
            recorded = halting.record(settings, control)
        except ControlError as error:
            say(f"hydra: what became of the orders is not written down: {error}")
        halting.tell(settings, done, why, actor)
    if as_json:
        print_json(
            {
                "kill_switch": halted,
                "orders": done.sentence,
                "certain": done.certain,
                "open_before": done.open_before,
                "still_open": None
                if done.still_open is None
                else [vars(order) for order in done.still_open],
                "in_audit_trail": recorded,
            }
        )
    if not done.certain:
        fail(done.sentence, REFUSED)
    say(f"{done.sentence}.")
    if not halted:
        fail("only the orders are cancelled: stop the desk's processes by hand", REFUSED)
    say("To trade again: hydra resume-trading")


def resume_trading(
    agent: Annotated[bool, typer.Option("--agent", help="Let the agent go on as well.")] = False,
    why: Why = "resumed by hand",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Turn the kill switch off after a halt, once a person has looked. Breakers stay tripped."""
    from hydra_pipelines.control import Control
    from hydra_pipelines.day import halting
    from hydra_pipelines.settings import load_settings

    with readable_errors():
        settings = load_settings()
        control = Control(settings.control_path)
        before = halting.halted(control)
        for line in _in_words(before):
            say(line)
        if before.on or (agent and before.agent_paused):
            confirm("Trade again?" if before.on else "Let the agent go on?", yes)
            halting.resume(control, why, person(), agent=agent)
            halting.record(settings, control)
        after = halting.halted(control)
    if as_json:
        print_json(_plain(after))
    if before.on:
        say("Trading may go on: the kill switch is off.")
    if after.agent_paused:
        say("The agent stays paused, so only what reduces risk is sent; with --agent it goes on.")
    for breaker in after.breakers:
        say(f"Breaker {breaker.name} stays tripped ({breaker.reason}): hydra reset-breaker")


def _control_all_the_same(error: Exception) -> Control:
    """The control store of a desk whose settings can't be read."""
    from hydra_pipelines.control import Control
    from hydra_pipelines.settings.rescue import data_path_in_spite_of_errors

    folder = data_path_in_spite_of_errors()
    if folder is None:
        fail(f"which desk is to be halted can't be told: {error}", USAGE)
    return Control(folder / "control.sqlite")


def _in_words(state: Halted) -> list[str]:
    if not state.on:
        return ["Trading is not halted."]
    if state.by is None:
        return ["Trading is halted; the journal does not say by whom."]
    by, at = state.by.actor.removeprefix("user:"), state.by.occurred_at
    return [
        f"Trading was halted on {at:%Y-%m-%d at %H:%M:%S} UTC by {by}: {state.by.details['why']}"
    ]


def _plain(state: Halted) -> dict[str, Any]:
    return {
        "kill_switch": state.on,
        "agent_paused": state.agent_paused,
        "breakers": [vars(breaker) for breaker in state.breakers],
    }

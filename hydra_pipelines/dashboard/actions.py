"""The few things that may be done from a page: what each does, and that it is done once.

Every action is written into the control store's journal with who did it, from where and why, and
from there into the audit trail. What could make the desk trade more than before is not here:
trading again after a halt, and anything live, is for the command line.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra_pipelines.control import Control, ControlError
from hydra_pipelines.dashboard.cells import where
from hydra_pipelines.dashboard.graphql import NotLaunched, WebserverDown
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import Settings

if TYPE_CHECKING:
    from hydra_pipelines.dashboard.workflows import Workflows

_log = logging.getLogger(__name__)
_REMEMBERED = 500
"""Posts whose outcome is kept, so that the same one again does nothing more."""


@dataclass(frozen=True)
class Outcome:
    """What came of an action. ok: whether it was done, or had been before. href: where to look."""

    ok: bool
    text: str
    href: str = "/"


@dataclass(frozen=True)
class Request:
    """What a person asked for. subject: the run or component it is about, empty for the desk."""

    subject: str
    why: str
    actor: str


@dataclass(frozen=True)
class Action:
    """effect: what it does, said before it is confirmed. subject: what the subject is, if it has
    one. danger: whether its button warns. launches: whether it needs the Dagster webserver."""

    name: str
    title: str
    effect: str
    button: str
    subject: str = ""
    danger: bool = False
    launches: bool = False


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "halt",
            "Halt trading",
            "The kill switch goes on, the agent is paused, and every order at the broker is "
            "cancelled. Nothing is sent until a person types `hydra resume-trading`.",
            "Halt trading",
            danger=True,
        ),
        Action(
            "pause-agent",
            "Pause the agent",
            "The agent starts nothing new, and only what reduces risk is sent.",
            "Pause the agent",
        ),
        Action(
            "resume-agent",
            "Resume the agent",
            "The agent goes on. A halt is not lifted by this.",
            "Resume the agent",
        ),
        Action(
            "cancel-run",
            "Cancel a run",
            "The run's process is told to end after the step's current work. It shows as canceling "
            "until it has ended. It sends no further order; those that work stay at the broker, "
            "and the next run of the session goes on with them. Halt trading is what cancels them.",
            "Cancel the run",
            subject="run",
            danger=True,
        ),
        Action(
            "reexecute-run",
            "Re-execute a run",
            "A new run of the same job for the same session is launched, all steps of it. What was "
            "executed is never sent twice: the run reconciles first.",
            "Re-execute",
            subject="run",
            launches=True,
        ),
        Action(
            "retry-run",
            "Re-execute a run from its failure",
            "A new run of the failed steps, and of those behind them, is launched.",
            "Re-execute from the failure",
            subject="run",
            launches=True,
        ),
        Action(
            "check-drift",
            "Run a drift check",
            "The job drift_check is launched for the last session that was worked.",
            "Run the check",
            launches=True,
        ),
        Action(
            "sync-positions",
            "Sync positions",
            "The job sync_positions reads positions and account from the broker and compares them "
            "with the journal. Nothing is sent.",
            "Sync positions",
            launches=True,
        ),
        Action(
            "deregister",
            "Deregister a component",
            "The component leaves the list. One that is alive is back with its next heartbeat.",
            "Deregister",
            subject="component",
        ),
    )
}


class Actions:
    """Carries out the actions on one desk."""

    def __init__(self, settings: Settings, workflows: Workflows):
        self._settings = settings
        self._workflows = workflows
        self._control = Control(settings.control_path)
        self._done: OrderedDict[str, Future[Outcome]] = OrderedDict()
        self._guard = threading.Lock()
        self._how: Mapping[str, Callable[[Request], Outcome]] = {
            "halt": self._halt,
            "pause-agent": lambda asked: self._pause(asked, True),
            "resume-agent": lambda asked: self._pause(asked, False),
            "cancel-run": self._cancel,
            "reexecute-run": lambda asked: self._reexecute(asked, from_failure=False),
            "retry-run": lambda asked: self._reexecute(asked, from_failure=True),
            "check-drift": lambda asked: self._launch("drift_check", asked),
            "sync-positions": lambda asked: self._launch("sync_positions", asked),
            "deregister": self._deregister,
        }

    def perform(self, name: str, asked: Request, key: str) -> Outcome:
        """Do it, once for a key: the same post again gets the first one's outcome. Never raises."""
        with self._guard:
            future = self._done.get(key)
            first = future is None
            if future is None:
                future = self._done[key] = Future()
                while len(self._done) > _REMEMBERED:
                    self._done.popitem(last=False)
        if first:
            future.set_result(self._perform(name, asked))
        return future.result()

    def outcome(self, key: str) -> Outcome | None:
        """What came of the post with this key, if it is over and still remembered."""
        future = self._done.get(key)
        return future.result() if future is not None and future.done() else None

    def _perform(self, name: str, asked: Request) -> Outcome:
        try:
            outcome = self._how[name](asked)
        except ControlError as error:
            return Outcome(False, f"Not done: {error}")
        except (WebserverDown, NotLaunched) as error:
            return Outcome(False, f"Not launched: {error}", "/workflows")
        except Exception as error:
            _log.exception("the action %s failed", name)
            return Outcome(
                False, f"It failed ({type(error).__name__}); the dashboard's log says more"
            )
        threading.Thread(target=self._carry_over, daemon=True).start()
        return outcome

    def _carry_over(self) -> None:
        """Into the audit trail now, if the ledger is to be had; else the next run does it."""
        from hydra_pipelines.day import halting

        halting.record(self._settings, self._control)

    def _note(self, event: str, asked: Request, **details: object) -> None:
        self._control.note(event, asked.actor, {**details, "why": asked.why})

    def _halt(self, asked: Request) -> Outcome:
        from hydra_pipelines.day import halting

        # First of all, before anything that may take its time or fail.
        self._control.halt(asked.why, asked.actor)
        done = halting.cancel_everything(self._settings)
        halting.note_outcome(self._control, done, asked.actor)
        halting.tell(self._settings, done, asked.why, asked.actor)
        return Outcome(done.certain, f"Trading is halted. {done.sentence}.", "/system")

    def _pause(self, asked: Request, pause: bool) -> Outcome:
        if not pause and self._control.kill_switch:
            return Outcome(
                False,
                "Trading is halted: a person lifts that on the command line, "
                "with `hydra resume-trading --agent`",
                "/system",
            )
        if self._control.agent_paused == pause:
            return Outcome(True, f"The agent {'was paused' if pause else 'runs'} already", "/agent")
        self._control.set_agent_paused(pause, asked.why, asked.actor)
        return Outcome(True, f"The agent {'is paused' if pause else 'goes on'}", "/agent")

    def _cancel(self, asked: Request) -> Outcome:
        said = self._workflows.history.cancel(asked.subject)
        done = said == "The run was told to end"
        if done:
            self._note("run_cancelled", asked, run_id=asked.subject)
        return Outcome(
            done or said.startswith("It "), f"{said}.", where("/workflows", asked.subject)
        )

    def _reexecute(self, asked: Request, *, from_failure: bool) -> Outcome:
        new = self._workflows.webserver.reexecute(asked.subject, from_failure=from_failure)
        self._note("run_reexecuted", asked, run_id=asked.subject, new_run_id=new)
        return Outcome(True, f"Launched as run {new[:8]}.", where("/workflows", new))

    def _launch(self, job: str, asked: Request) -> Outcome:
        session = self._session()
        new = self._workflows.launch(job, {"dagster/partition": session, "hydra/by": asked.actor})
        self._note("run_launched", asked, job=job, session=session, run_id=new)
        return Outcome(
            True, f"Launched {job} for {session} as run {new[:8]}.", where("/workflows", new)
        )

    def _session(self) -> str:
        desk = Desk(self._settings)
        return (desk.last_session_worked() or desk.next_session_due()).isoformat()

    def _deregister(self, asked: Request) -> Outcome:
        gone = Desk(self._settings).components.deregister(asked.subject, asked.actor)
        text = f"{asked.subject} is deregistered." if gone else f"{asked.subject} was not there."
        return Outcome(True, text, "/components")

"""Which session may be run now, and which is done already."""

from __future__ import annotations

from datetime import date

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions


class SessionRefused(ValueError):
    """The session can't be run now; the message says why and which one is due."""


def check_session(desk: Desk, session: date, *, dry_run: bool = False) -> None:
    """Refuse a day that is no session, is not over, or is too late to trade.

    The last session that was worked may be named again: its steps find everything done. Raises
    NotASession or SessionRefused.
    """
    execution = desk.calendar.next(session)
    now = desk.clock.now()
    if now < desk.calendar.close(session) and not desk.embedded:
        raise SessionRefused(
            f"session {session} is not over (desk time {now:%Y-%m-%d %H:%M} UTC); the latest "
            f"complete one is {desk.calendar.latest_complete(now)}"
        )
    if desk.sends_nothing(dry_run) or now < desk.calendar.close(execution):
        return
    if desk.ledger.path.exists():
        with desk.ledger.transaction() as tx:
            if decisions.latest_worked_session(tx) == session:
                return
    if session == desk.next_session_due():
        raise SessionRefused(
            f"session {session} is the next one by the ledger, but the venue's clock is at "
            f"{now:%Y-%m-%d %H:%M} UTC already: ledger and venue do not belong together. Bring "
            f"back the ledger, or begin anew with an empty {desk.settings.data_path}"
        )
    raise SessionRefused(
        f"session {session} can't be traded any more: its orders belong to {execution}, and desk "
        f"time is {now:%Y-%m-%d %H:%M} UTC. The next session due is {desk.next_session_due()}; "
        "a dry run of a past session is possible"
    )


def is_frozen(desk: Desk, session: date) -> bool:
    """True once orders of the session's plan may have been sent: nothing of it is made anew."""
    # The ledger itself: after a crash the snapshot may be older than the first order.
    with desk.ledger.transaction() as tx:
        return decisions.plan_status(tx, session) not in (None, "draft")

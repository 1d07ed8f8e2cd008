"""The live guard: which mode, port and account belong together, and what live trading needs.

Pure. What can be known beforehand is judged before a socket is opened, the accounts that the
gateway reports before anything is sent. A port that is none of IB's usual ones (a tunnel) is taken
in paper mode, where the account that the gateway reports still has to be a paper one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra_pipelines.execution.broker.messages import NotSubmitted

LIVE_PORTS = (4001, 7496, 4003)
PAPER_PORTS = (4002, 7497, 4004)
_WHERE = "{} (Gateway), {} (TWS) or {} (Gateway in a container)"


class GuardRefused(NotSubmitted):
    """Mode, port and account don't belong together; nothing was sent."""


@dataclass(frozen=True)
class PaperGateVerdict:
    """Whether the weeks of paper trading that live needs have been passed, and why (not)."""

    passed: bool
    why: str


NOT_ASKED = PaperGateVerdict(False, "the paper gate was not asked")


@dataclass(frozen=True)
class Clearance:
    """What a connection is for, and what a person has confirmed. The default is paper trading.

    embedded: the venue is the project's own stand-in. live_confirmed, live_accounts (the
    allow-list), paper_gate, override_reason (in place of a passed gate): for mode live only.
    """

    mode: Literal["paper", "live"] = "paper"
    embedded: bool = False
    live_confirmed: bool = False
    live_accounts: Collection[str] = ()
    paper_gate: PaperGateVerdict = NOT_ASKED
    override_reason: str = ""

    @property
    def overridden(self) -> bool:
        """Whether live trading stands on a written reason instead of a passed paper gate."""
        return self.mode == "live" and not self.paper_gate.passed and bool(self._reason)

    @property
    def _reason(self) -> str:
        return self.override_reason.strip()

    def check(self, host: str, port: int, account: str) -> None:
        """Refuse, before a socket is opened, what can't be right; GuardRefused says all of it.

        account: the one to trade; empty where it is to be the only one that the gateway reports.
        """
        wrong = [*(self._live if self.mode == "live" else self._paper)(host, port, account)]
        if wrong:
            raise GuardRefused(f"mode is {self.mode}: " + "; ".join(wrong))

    def pick(self, account: str, reported: Sequence[str]) -> str:
        """The account to trade, of those that the gateway reports. Raises GuardRefused.

        A log-in has paper accounts or live ones. One that reports any of the other kind is not
        what this mode is for: a global cancel reaches all of its accounts.
        """
        paper = self.mode != "live"
        names = ", ".join(reported) or "no account"
        kind = "paper" if paper else "live"
        for other in reported:
            if _is_paper(other) != paper:
                raise GuardRefused(
                    f"mode is {self.mode}: the gateway is logged in to "
                    f"{'live' if paper else 'paper'} account {other}; log it in to a {kind} account"
                )
        if not account:
            if not paper or len(reported) != 1:
                raise GuardRefused(
                    f"the gateway manages {names}: say which one to trade with IBKR_ACCOUNT"
                )
            account = reported[0]
        if account not in reported:
            raise GuardRefused(
                f"the gateway does not report account {account} (it has {names}): "
                "correct IBKR_ACCOUNT"
            )
        # The connection's own word is judged as the settings' was.
        if paper and not account.startswith("DU"):
            raise GuardRefused(_not_paper(account))
        if not paper and account not in self.live_accounts:
            raise GuardRefused(_not_allowed(account))
        return account

    def _paper(self, host: str, port: int, account: str) -> list[str]:
        wrong = []
        if port in LIVE_PORTS:
            wrong.append(
                f"port {port} is a live port; paper trading uses {_WHERE.format(*PAPER_PORTS)}: "
                "correct IBKR_PORT"
            )
        if account and not account.startswith("DU"):
            wrong.append(_not_paper(account))
        if self.embedded and not _is_loopback(host):
            wrong.append(f"the embedded venue is on this machine, and {host} is not")
        return wrong

    def _live(self, host: str, port: int, account: str) -> list[str]:
        wrong = []
        if self.embedded:
            wrong.append("the embedded venue is paper: set broker.venue: ibkr")
        if not self.live_confirmed:
            wrong.append("live trading is not confirmed: set HYDRA_LIVE_CONFIRMED=true")
        if port not in LIVE_PORTS:
            wrong.append(
                f"port {port} is not a live port; these are {_WHERE.format(*LIVE_PORTS)}: "
                "correct IBKR_PORT"
            )
        if not account:
            wrong.append("no account is named: set IBKR_ACCOUNT")
        elif _is_paper(account):
            wrong.append(f"account {account} is a paper account: correct IBKR_ACCOUNT")
        elif account not in self.live_accounts:
            wrong.append(_not_allowed(account))
        if not self.paper_gate.passed and not self._reason:
            wrong.append(
                f"the paper gate is not passed ({self.paper_gate.why}): pass it, or write in "
                "live.override_reason why to trade all the same"
            )
        return wrong


PAPER = Clearance()


def _is_paper(account: str) -> bool:
    """Whether an account is a paper one, by its name: IB has these begin with D."""
    return account.upper().startswith("D")


def _not_paper(account: str) -> str:
    return (
        f"account {account} is not a paper account (these begin with DU): correct IBKR_ACCOUNT, "
        "or log the gateway in to one"
    )


def _not_allowed(account: str) -> str:
    return f"account {account} is not in live.accounts: add it there if it is to be traded live"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

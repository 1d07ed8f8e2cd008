"""The fault menu: what a gateway can do wrong, when it is told to, and schedules of it.

A script says which faults strike when; a random schedule is a script drawn from a seed, so that it
can be replayed. What a fault does belongs to where it happens: `misconduct` for sockets and
messages, `venue` for trading. Without a script nothing of this is asked.

A script is YAML or JSON: a list of faults, or `random: {seed, faults}` for a schedule.

    faults:
      - {fault: drop_after_place, symbol: ALFA}
      - {fault: late_status, after: 2, times: 3}
      - {fault: outage, minutes: 5, code: 1101}

`symbol` limits a fault to one symbol, `after` lets so many occasions pass, `times` is how often it
strikes (default 1; 0: always). Everything else is an option of the fault, see MENU.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class FaultError(ValueError):
    """A script that can't be followed; the text says what is wrong with it."""


@dataclass(frozen=True)
class Fault:
    """One entry of the menu: the occasion it strikes at, what it does, and its options."""

    occasion: str
    does: str
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Name -> the values it may have; the first is the default."""


_MINUTES = tuple(range(1, 391))
_END_MARKERS = {
    "openOrders": 53, "executions": 55, "positions": 62, "completedOrders": 102,
    "account": 54, "contract": 52, "snapshot": 57,
}  # fmt: skip
END_MARKER_IDS = {number: name for name, number in _END_MARKERS.items()}

MENU: Mapping[str, Fault] = {
    # the connection
    "client_id_in_use": Fault("connect", "error 326, and the socket is closed"),
    "silent_greeting": Fault("connect", "the connection is accepted and never answered"),
    "id_rollback": Fault("connect", "nextValidId starts at 1 again, ids are taken twice"),
    "drop_before_place": Fault("place", "the socket drops before placeOrder is read"),
    "drop_after_place": Fault("place", "placeOrder is acted on; the socket drops unanswered"),
    "silent_connection": Fault("place", "placeOrder is acted on; nothing is sent ever after"),
    "outage": Fault(
        "place", "1100 after placeOrder; what happens until 1101 or 1102 is told late or never",
        {"minutes": (5, *_MINUTES), "code": (1102, 1101), "told": ("never", "late")},
    ),
    # the order
    "read_only": Fault("order request", "error 321, the API is read-only"),
    "silent_order": Fault("place", "the order is accepted, and nothing is told of it"),
    "notice_10349": Fault("place", "error 10349 about an order that goes on to fill"),
    "partial_then_reject": Fault("fill", "a part fills, the rest is rejected with error 201"),
    "overfill": Fault("fill", "more shares fill than were ordered",
                      {"shares": (1, *range(2, 101))}),
    "correction": Fault("fill", "the execution is corrected (.02) by some ticks in our favour",
                        {"ticks": (1, 2, 3, 4, 5)}),
    "fill_after_cancel": Fault("cancel", "the cancellation is confirmed, then shares fill",
                               {"shares": (10, *range(1, 101))}),
    # messages
    "status_after_fill": Fault("report", "orderStatus comes after the execution it announces"),
    "duplicate_status": Fault("report", "orderStatus and openOrder come twice"),
    "missing_status": Fault("report", "orderStatus and openOrder never come"),
    "reordered_status": Fault("report", "what is told of an order comes in reverse order"),
    "late_status": Fault("report", "orderStatus and openOrder come a step of the clock later"),
    "late_commission": Fault("commission", "the commission report comes a step later"),
    "missing_commission": Fault("commission", "the commission report never comes"),
    "missing_end": Fault("end marker", "a reply has no end", {"of": tuple(_END_MARKERS)}),
    "forgotten_executions": Fault("executions", "executions until now are not told again"),
    "no_zone": Fault("executions", "times of executions do not name their zone"),
    # data
    "no_market_data": Fault(
        "market data", "an error instead of live prices; delayed ones where they were asked for",
        {"code": (354, 10089, 10168, 10197), "delayed": (True, False)},
    ),
    "no_history": Fault("history", "error 162 instead of bars"),
}  # fmt: skip

RANDOM = tuple(name for name in MENU if name != "no_history")
"""What a random schedule draws from: all that a day of trading meets."""

_COMMON = {"fault", "symbol", "after", "times"}


@dataclass
class Rule:
    """One line of a script, and how often its occasion came and it struck."""

    fault: str
    symbol: str = ""
    after: int = 0
    times: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    met: int = 0
    struck: int = 0

    def meets(self, symbol: str, wanted: Mapping[str, Any]) -> bool:
        """Counts an occasion; whether the fault strikes at it."""
        if self.symbol and self.symbol != symbol:
            return False
        if any(self.options[key] != value for key, value in wanted.items()):
            return False
        self.met += 1
        if self.met <= self.after or (self.times and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    def written(self) -> dict[str, Any]:
        """As a script has it, defaults included."""
        return {
            "fault": self.fault, "symbol": self.symbol, "after": self.after, "times": self.times,
            **self.options,
        }  # fmt: skip


class Faults:
    """The faults of one gateway. False while there are none."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = list(rules)
        self._by_fault: dict[str, list[Rule]] = {}
        for rule in self.rules:
            self._by_fault.setdefault(rule.fault, []).append(rule)

    def __bool__(self) -> bool:
        return bool(self.rules)

    def strike(self, fault: str, symbol: str = "", **wanted: Any) -> dict[str, Any] | None:
        """The options of a fault that strikes at this occasion; None where none does.

        wanted: options that it must have for this to be its occasion.
        """
        for rule in self._by_fault.get(fault, ()):
            if rule.meets(symbol, wanted):
                return rule.options
        return None

    def struck(self) -> dict[str, int]:
        """How often each fault of the script struck."""
        counts: dict[str, int] = {}
        for rule in self.rules:
            counts[rule.fault] = counts.get(rule.fault, 0) + rule.struck
        return counts


def parse(script: Any) -> Faults:
    """Faults from a script as read from YAML or JSON. Raises FaultError."""
    if isinstance(script, dict) and set(script) == {"random"}:
        return schedule(**_random_options(script["random"]))
    if isinstance(script, dict) and set(script) == {"faults"}:
        script = script["faults"]
    if not isinstance(script, list):
        raise FaultError("a fault script is a list of faults, or has one key: 'faults' or 'random'")
    return Faults([_rule(entry) for entry in script])


def read(path: Path) -> Faults:
    """Faults from a script file. Raises FaultError."""
    import yaml

    try:
        return parse(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, FaultError) as error:
        raise FaultError(f"fault script {path}: {error}") from error


def schedule(seed: int, faults: int = 3) -> Faults:
    """So many faults drawn at random; the same for the same seed, on every machine."""
    rng = random.Random(seed)
    rules = []
    for _ in range(faults):
        name = rng.choice(RANDOM)
        options = {key: rng.choice(values) for key, values in MENU[name].options.items()}
        rules.append(Rule(name, "", rng.choice((0, 0, 1, 2, 3)), rng.choice((1, 1, 2)), options))
    return Faults(rules)


def _rule(entry: Any) -> Rule:
    if not isinstance(entry, dict) or entry.get("fault") not in MENU:
        named = entry.get("fault") if isinstance(entry, dict) else entry
        raise FaultError(f"there is no fault {named!r}; the menu has {', '.join(MENU)}")
    name, symbol = entry["fault"], entry.get("symbol", "")
    known = MENU[name].options
    unknown = set(entry) - _COMMON - set(known)
    if unknown:
        raise FaultError(
            f"{name} has no option {', '.join(sorted(map(str, unknown)))}; it takes "
            f"{', '.join(('symbol', 'after', 'times', *known))}"
        )
    if not isinstance(symbol, str):
        raise FaultError(f"{name}: symbol is {symbol!r}, expected text")
    counts = {key: entry.get(key, default) for key, default in (("after", 0), ("times", 1))}
    for key, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise FaultError(f"{name}: {key} is {value!r}, expected a whole number from 0 on")
    options = {}
    for key, values in known.items():
        options[key] = entry.get(key, values[0])
        if options[key] not in values:
            shown = ", ".join(map(str, values[:8])) + (" ..." if len(values) > 8 else "")
            raise FaultError(f"{name}: {key} is {options[key]!r}, expected one of {shown}")
    return Rule(name, symbol, options=options, **counts)


def _random_options(given: Any) -> dict[str, int]:
    options = given if isinstance(given, dict) else {}
    wrong = set(options) - {"seed", "faults"} or "seed" not in options
    if wrong or not all(type(value) is int and value >= 0 for value in options.values()):
        raise FaultError(f"random is {given!r}; write {{seed: 7}} or {{seed: 7, faults: 3}}")
    return options

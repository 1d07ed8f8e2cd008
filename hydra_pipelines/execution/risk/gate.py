"""The risk gate: the only door to the broker.

The broker gateway is built with one gate and sends nothing but what that gate's `redeem` returns.
An `Approval` is worth something to the gate that gave it only: once, in the same process, and for
exactly the order that was reviewed. It can't be built, changed, copied or pickled.

Here belong approvals and their use. The judgement itself is a pure function in `checks`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import astuple, dataclass, fields, is_dataclass, replace
from decimal import Decimal
from typing import Any, NoReturn, cast, final

from hydra_pipelines.execution.risk.checks import DenialReason, find_denials
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import OrderRequest, RiskState


class ApprovalError(RuntimeError):
    """An attempt to get an order past the gate: nothing may be sent."""


class Halted(RuntimeError):
    """The kill switch is on, or can't be read: an approval given before is worth nothing."""


@final
class Approval:
    """The gate's consent to one order; only `RiskGate.review` makes one that is worth anything."""

    __slots__ = ("_gate",)

    _gate: RiskGate

    def __new__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise ApprovalError("an approval can't be made, only be given by RiskGate.review")

    def redeem(self, order: OrderRequest) -> OrderRequest:
        """`RiskGate.redeem` of the gate that gave it; a gateway that has a gate asks that one."""
        return self._gate.redeem(self, order)

    def __init_subclass__(cls) -> NoReturn:
        raise ApprovalError("an approval can't be subclassed")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise ApprovalError("an approval can't be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise ApprovalError("an approval can't be changed")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise ApprovalError("an approval can't be pickled or copied")

    def __copy__(self) -> NoReturn:
        raise ApprovalError("an approval can't be copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise ApprovalError("an approval can't be copied")


@dataclass(frozen=True)
class Decision:
    """What the gate says to one order.

    approval: None where it is denied. reasons: why it is denied, all of them; empty if it is not.
    inputs: what the decision was based on, ready for JSON.
    """

    order: OrderRequest
    approval: Approval | None
    reasons: tuple[DenialReason, ...]
    inputs: dict[str, Any]

    @property
    def approved(self) -> bool:
        return self.approval is not None

    @property
    def message(self) -> str:
        """The decision in words."""
        if self.approved:
            return "approved"
        return "; ".join(f"{reason}: {reason.explanation}" for reason in self.reasons)


class RiskGate:
    """Reviews orders against limits, and lets each approved one through once.

    Safe to share between threads. Approvals do not outlive a fork.
    """

    def __init__(self, limits: RiskLimits, halted: Callable[[], bool] = lambda: False) -> None:
        """halted: whether the kill switch is on; asked once more before anything passes."""
        self._limits = limits
        self._halted = halted
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._open: dict[Approval, OrderRequest] = {}
        self._changes: dict[Approval, OrderRequest] = {}
        self._passed: set[str] = set()
        self._unaccounted: set[str] = set()

    @property
    def limits(self) -> RiskLimits:
        return self._limits

    def review(self, order: OrderRequest, state: RiskState) -> Decision:
        """Judge an order.

        No two orders are judged as if the other didn't exist. `state.known_refs` must hold the ref
        of every order that this gate has let through, else the order is denied with
        STATE_OUT_OF_DATE. An approval that is not used yet must stand in full among
        `state.working`, else that approval is void from here on.
        """
        if type(order) is not OrderRequest:
            raise ApprovalError(f"only an OrderRequest can be reviewed, not {type(order).__name__}")
        # A copy of its own, so that nobody who holds the order can change what was judged.
        held = _copy(order)
        with self._lock:
            self._void_forgotten(state)
            self._unaccounted -= state.known_refs
            reasons = list(find_denials(held, state, self._limits))
            if self._unaccounted:
                reasons.append(DenialReason.STATE_OUT_OF_DATE)
            taken = self._passed | {other.order_ref for other in self._open.values()}
            if held.order_ref in taken and DenialReason.DUPLICATE_ORDER not in reasons:
                reasons.append(DenialReason.DUPLICATE_ORDER)
            approval = None if reasons else self._approve(held, self._open)
        inputs = _inputs(held, state, self._limits)
        return Decision(_copy(held), approval, tuple(reasons), inputs)

    def review_change(self, order: OrderRequest, state: RiskState) -> Decision:
        """Judge a working order's new price: `order` is what is left of it, at that price.

        It is judged as a new order would be if the working one were gone. The state must show it
        as working with no fewer shares, else it is denied with STATE_OUT_OF_DATE.
        """
        if type(order) is not OrderRequest:
            raise ApprovalError(f"only an OrderRequest can be reviewed, not {type(order).__name__}")
        held = _copy(order)
        with self._lock:
            self._void_forgotten(state)
            self._unaccounted -= state.known_refs
            own = [o for o in state.working or () if o.order_ref == held.order_ref]
            stands = len(own) == 1 and (own[0].symbol, own[0].side) == (held.symbol, held.side)
            without = replace(
                state,
                working=None
                if state.working is None
                else tuple(o for o in state.working if o.order_ref != held.order_ref),
                known_refs=state.known_refs - {held.order_ref},
            )
            reasons = list(find_denials(held, without, self._limits))
            if self._unaccounted or not stands or own[0].remaining < held.quantity:
                reasons.append(DenialReason.STATE_OUT_OF_DATE)
            approval = None if reasons else self._approve(held, self._changes)
        inputs = _inputs(held, state, self._limits)
        return Decision(_copy(held), approval, tuple(reasons), inputs)

    def redeem(self, approval: Approval, order: OrderRequest) -> OrderRequest:
        """Use an approval up. Returns the order to send, exactly as it was reviewed.

        Raises ApprovalError, and voids the approval, if it was not given by this gate in this
        process, was used or has become void, or belongs to another order than this one. Raises
        Halted, and voids it too, where the kill switch has come on since.
        """
        with self._lock:
            held = self._use(approval, order, self._open)
            self._passed.add(held.order_ref)
            self._unaccounted.add(held.order_ref)
            return held

    def redeem_change(self, approval: Approval, order: OrderRequest) -> OrderRequest:
        """The same for an approval of `review_change`; either kind is worthless as the other."""
        with self._lock:
            return self._use(approval, order, self._changes)

    def _approve(self, held: OrderRequest, among: dict[Approval, OrderRequest]) -> Approval:
        approval: Approval = object.__new__(cast(type[Approval], Approval))
        object.__setattr__(approval, "_gate", self)
        among[approval] = held
        return approval

    def _use(
        self, approval: Approval, order: OrderRequest, among: dict[Approval, OrderRequest]
    ) -> OrderRequest:
        held = among.pop(approval, None) if type(approval) is Approval else None
        if held is None or os.getpid() != self._process:
            raise ApprovalError(
                "this approval is not valid here: it was used, was left out of a later state, "
                "or was not given by this gate in this process; have the order reviewed again"
            )
        if type(order) is not OrderRequest or astuple(order) != astuple(held):
            raise ApprovalError(
                "the order is not the one that was approved; have it reviewed again"
            )
        try:
            halted = self._halted()
        except Exception as error:
            raise Halted(f"the kill switch can't be read ({error}): nothing is sent") from error
        if halted:
            raise Halted("the kill switch is on: nothing is sent")
        return held

    def _void_forgotten(self, state: RiskState) -> None:
        working = {
            (order.order_ref, order.symbol, order.side): order.remaining
            for order in state.working or ()
        }
        for among in (self._open, self._changes):
            for approval, order in list(among.items()):
                left = working.get((order.order_ref, order.symbol, order.side), -1)
                # An order that works already may have filled in part since its change was judged.
                if left != order.quantity and (among is self._open or left < 0):
                    del among[approval]


def _copy(order: OrderRequest) -> OrderRequest:
    return OrderRequest(*astuple(order))


def _inputs(order: OrderRequest, state: RiskState, limits: RiskLimits) -> dict[str, Any]:
    """What a decision was based on; of the known refs only how many there are."""
    facts = _plain(state)
    facts["known_refs"] = len(state.known_refs)
    return {"order": _plain(order), "state": facts, "limits": _plain(limits)}


def _plain(value: Any) -> Any:
    """The value as JSON has it: money as text, sets sorted, NaN as null."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(str(item) for item in value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    return None if value != value else value

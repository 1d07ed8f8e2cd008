"""Market data with something wrong in it on purpose: sources around the desk's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from hydra_pipelines.market.bars import BarPanel, BarSource

_MOST = 0.25
"""No return of a drill is beyond this: from 40 % on it would be taken for a split."""
_PRICES = ("open", "high", "low", "close", "adj_close")


class _Around:
    """A source as it is. Read whole and cut, so that any stretch of it is the same."""

    def __init__(self, inner: BarSource):
        self.name, self.adjusted_only = inner.name, inner.adjusted_only
        self._inner = inner
        self._whole: BarPanel | None = None

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        if self._whole is None:
            self._whole = self._changed(self._inner.read())
        panel = self._whole if last is None else self._whole.up_to(last)
        start = 0 if first is None else int(np.searchsorted(panel.sessions, np.datetime64(first)))
        fields = {name: values[start:] for name, values in panel.fields.items()}
        return BarPanel(panel.sessions[start:], panel.symbols, fields)

    def _changed(self, panel: BarPanel) -> BarPanel:
        return panel


class Drifted(_Around):
    """After a session the market is another one: a long fall in which winners lose.

    Each name's return less the mean of all is turned round and multiplied by `factor`, and all of
    them lose `fall` a session. What a model learnt of who wins is wrong from then on, and its
    features lie where they hardly ever were.
    """

    def __init__(self, inner: BarSource, after: date, factor: float = 3.0, fall: float = 0.015):
        super().__init__(inner)
        self._after, self._factor, self._fall = after, factor, fall

    def _changed(self, panel: BarPanel) -> BarPanel:
        close = panel.fields.get("adj_close", panel.fields["close"])
        with np.errstate(invalid="ignore", divide="ignore"):
            returns = close[1:] / close[:-1] - 1.0
        known = np.isfinite(returns)
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        mean = np.where(known, returns, 0.0).sum(axis=1, keepdims=True) / count
        turned = np.clip(self._factor * (mean - returns) - self._fall, -_MOST, _MOST)
        later = panel.sessions[1:] > np.datetime64(self._after)
        with np.errstate(invalid="ignore", divide="ignore"):
            step = np.where(later[:, None] & known, (1 + turned) / (1 + returns), 1.0)
        scale = np.concatenate([np.ones((1, close.shape[1])), np.cumprod(step, axis=0)])
        return BarPanel(
            panel.sessions,
            panel.symbols,
            {n: v * scale if n in _PRICES else v for n, v in panel.fields.items()},
        )


@dataclass(frozen=True)
class Damage:
    """A price that can't be: `factor` times the right one, of a symbol in a session."""

    symbol: str
    session: date
    factor: float


class Damaged(_Around):
    """One price is wrong; `mend` makes it right again, as a vendor's correction does."""

    def __init__(self, inner: BarSource, damage: Damage):
        super().__init__(inner)
        self._damage: Damage | None = damage

    def mend(self) -> None:
        self._damage = self._whole = None

    def _changed(self, panel: BarPanel) -> BarPanel:
        if self._damage is None:
            return panel
        row = panel.sessions == np.datetime64(self._damage.session)
        column = panel.symbols.index(self._damage.symbol)
        fields = {}
        for name, values in panel.fields.items():
            fields[name] = values
            if name in _PRICES:
                fields[name] = values.copy()
                fields[name][row, column] *= self._damage.factor
        return BarPanel(panel.sessions, panel.symbols, fields)

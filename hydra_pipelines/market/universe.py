"""Who can be traded on a session, by what was known on that session.

Here belongs membership. Which members a strategy prefers, and how much of them, does not.
"""

from __future__ import annotations

from datetime import date

import numpy as np

from hydra_pipelines.market.bars import BarPanel, MarketDataError


def members(panel: BarPanel, session: date) -> tuple[str, ...]:
    """Symbols with a finite, positive close on the session, in the panel's order.

    A symbol not yet listed, delisted or without a price on the day is not a member of that day.
    Raises MarketDataError where the panel does not have the session.
    """
    day = np.datetime64(session, "D")
    i = int(np.searchsorted(panel.sessions, day))
    if i == len(panel.sessions) or panel.sessions[i] != day:
        raise MarketDataError(f"no bars of {session}: its universe is unknown; ingest it first")
    close = panel.fields["close"][i]
    priced = np.isfinite(close) & (close > 0)
    return tuple(panel.symbols[n] for n in np.flatnonzero(priced))

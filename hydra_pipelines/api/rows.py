"""The rows that the read side gives: dicts, and the same as a pandas frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


def frame(rows: list[Row]) -> pd.DataFrame:
    """Rows of any function here as a pandas frame, money as float64."""
    from decimal import Decimal

    import pandas as pd

    return pd.DataFrame(
        [{k: float(v) if isinstance(v, Decimal) else v for k, v in row.items()} for row in rows]
    )

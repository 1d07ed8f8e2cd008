"""The same features by pandas, polars and qlib, each run by its own Python; see `features.py`.

    python benchmarks/feature_peers.py <pandas|polars|qlib> FOLDER

FOLDER holds `bars.npz`. Prints one line of JSON: seconds of the full build and of one session (the
last row of the look-back), and leaves the last session's values in `<peer>.npz`. Each peer is
written as its own documentation would have it; reading its input is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

LOOKBACK = 452
"""Sessions that the one-session variants get: as many as our longest look-back."""


def run_pandas(folder: Path) -> None:
    import pandas as pd

    bars = load(folder)
    frame = long_frame(bars, pd.DataFrame)
    recent = long_frame({**bars, **{k: bars[k][-LOOKBACK:] for k in FIELDS}}, pd.DataFrame)

    def build(frame):
        frame = frame.copy()
        by = frame.groupby("symbol", sort=False)
        price, close = frame["adj_close"], frame["close"]
        r = by["adj_close"].pct_change()
        frame["r"], frame["dollars"] = r, close * frame["volume"]
        frame["impact"] = 1e6 * r.abs() / frame["dollars"]
        frame["m"] = frame.groupby("t")["r"].transform("mean")
        move = by["adj_close"].diff()
        frame["up"], frame["down"] = move.clip(lower=0), -move.clip(upper=0)
        before = by["adj_close"].shift(1)
        ratio = price / close
        high, low = frame["high"] * ratio, frame["low"] * ratio
        frame["tr"] = np.fmax(high, before) - np.fmin(low, before)
        frame.loc[before.isna(), "tr"] = np.nan
        frame["rm"], frame["mm"] = frame["r"] * frame["m"], frame["m"] ** 2
        by = frame.groupby("symbol", sort=False)

        def rolling(name, n, how, **kw):
            return getattr(by[name].rolling(n), how)(**kw).droplevel(0).sort_index()

        def ewm(name, **kw):
            return by[name].ewm(adjust=False, **kw).mean().droplevel(0).sort_index()

        out = {f"return_{n}d": by["adj_close"].pct_change(n) for n in RETURNS}
        out["momentum_12_1"] = by["adj_close"].shift(21) / by["adj_close"].shift(252) - 1
        for n in (21, 63):
            out[f"volatility_{n}d"] = rolling("r", n, "std", ddof=0)
        up, down = ewm("up", alpha=1 / 14), ewm("down", alpha=1 / 14)
        out["rsi_14"] = 100 * up / (up + down)
        out["bollinger_z_20"] = (price - rolling("adj_close", 20, "mean")) / rolling(
            "adj_close", 20, "std", ddof=0
        )
        out["macd"] = (ewm("adj_close", span=12) - ewm("adj_close", span=26)) / price
        out["high_52w_distance"] = price / rolling("adj_close", 252, "max") - 1
        for n in (63, 252):
            mr, mm = rolling("r", n, "mean"), rolling("m", n, "mean")
            out[f"beta_{n}d"] = (rolling("rm", n, "mean") - mr * mm) / (
                rolling("mm", n, "mean") - mm * mm
            )
        out["atr_14"] = ewm("tr", alpha=1 / 14) / price
        out["adv_21"] = rolling("dollars", 21, "mean")
        out["amihud_21"] = rolling("impact", 21, "mean")
        made = pd.DataFrame(out)
        by_session = made.groupby(frame["t"])
        rank = (by_session.rank() - 0.5) / by_session.transform("count")
        z = (made - by_session.transform("mean")) / by_session.transform("std", ddof=0)
        return made, rank, z

    full, result = timed(lambda: build(frame))
    one, _ = timed(lambda: build(recent))
    width = len(bars["close"][0])
    tail = [part.to_numpy().reshape(width, -1, part.shape[1])[:, -1] for part in result]
    report(folder, "pandas", full, one, list(result[0].columns), np.stack(tail, axis=1))


def run_polars(folder: Path) -> None:
    import polars as pl

    bars = load(folder)
    frame = long_frame(bars, pl.DataFrame)
    recent = long_frame({**bars, **{k: bars[k][-LOOKBACK:] for k in FIELDS}}, pl.DataFrame)
    price, close, s = pl.col("adj_close"), pl.col("close"), "symbol"

    def build(frame):
        r = (price / price.shift(1) - 1).over(s)
        move = (price - price.shift(1)).over(s)
        before = price.shift(1).over(s)
        lazy = (
            frame.lazy()
            .with_columns(r=r, dollars=close * pl.col("volume"), move=move, before=before)
            .with_columns(
                m=pl.col("r").mean().over("t"),
                impact=1e6 * pl.col("r").abs() / pl.col("dollars"),
                up=pl.col("move").clip(lower_bound=0),
                down=-pl.col("move").clip(upper_bound=0),
                tr=pl.when(pl.col("before").is_not_null()).then(
                    pl.max_horizontal(pl.col("high") * price / close, "before")
                    - pl.min_horizontal(pl.col("low") * price / close, "before")
                ),
            )
            .with_columns(rm=pl.col("r") * pl.col("m"), mm=pl.col("m") ** 2)
        )

        def ema(name, **kw):
            return pl.col(name).ewm_mean(adjust=False, **kw)

        def mean(name, n):
            return pl.col(name).rolling_mean(n)

        up, down = ema("up", alpha=1 / 14), ema("down", alpha=1 / 14)
        out = {f"return_{n}d": price / price.shift(n) - 1 for n in RETURNS}
        out["momentum_12_1"] = price.shift(21) / price.shift(252) - 1
        for n in (21, 63):
            out[f"volatility_{n}d"] = pl.col("r").rolling_std(n, ddof=0)
        out["rsi_14"] = 100 * up / (up + down)
        out["bollinger_z_20"] = (price - price.rolling_mean(20)) / price.rolling_std(20, ddof=0)
        out["macd"] = (ema("adj_close", span=12) - ema("adj_close", span=26)) / price
        out["high_52w_distance"] = price / price.rolling_max(252) - 1
        for n in (63, 252):
            out[f"beta_{n}d"] = (mean("rm", n) - mean("r", n) * mean("m", n)) / (
                mean("mm", n) - mean("m", n) ** 2
            )
        out["atr_14"] = ema("tr", alpha=1 / 14) / price
        out["adv_21"], out["amihud_21"] = mean("dollars", 21), mean("impact", 21)
        lazy = lazy.select("t", s, *(e.over(s).alias(name) for name, e in out.items()))
        n = {name: pl.col(name) for name in out}
        return lazy.with_columns(
            *(
                ((c.rank() - 0.5) / c.count()).over("t").alias(f"{name}_rank")
                for name, c in n.items()
            ),
            *(
                ((c - c.mean()) / c.std(ddof=0)).over("t").alias(f"{name}_z")
                for name, c in n.items()
            ),
        ).collect(), list(out)

    def last_row(frame):
        """Only what the last session needs: one aggregation a symbol, ranks of that one row."""
        lazy = frame.lazy().sort(s, "t", maintain_order=True)
        lazy = lazy.with_columns(r=(price / price.shift(1) - 1).over(s))
        lazy = lazy.with_columns(m=pl.col("r").mean().over("t"), dollars=close * pl.col("volume"))

        def ago(n):
            return price.slice(-1 - n, 1).first()

        r, m, now = pl.col("r"), pl.col("m"), price.last()
        move = price.diff()
        up = move.clip(lower_bound=0).ewm_mean(alpha=1 / 14, adjust=False).last()
        down = (-move.clip(upper_bound=0)).ewm_mean(alpha=1 / 14, adjust=False).last()
        before, ratio = price.shift(1), price / close
        reach = pl.max_horizontal(pl.col("high") * ratio, before) - pl.min_horizontal(
            pl.col("low") * ratio, before
        )
        out = {f"return_{n}d": now / ago(n) - 1 for n in RETURNS}
        out["momentum_12_1"] = ago(21) / ago(252) - 1
        for n in (21, 63):
            out[f"volatility_{n}d"] = r.tail(n).std(ddof=0)
        out["rsi_14"] = 100 * up / (up + down)
        out["bollinger_z_20"] = (now - price.tail(20).mean()) / price.tail(20).std(ddof=0)
        fast, slow = (price.ewm_mean(span=n, adjust=False).last() for n in (12, 26))
        out["macd"] = (fast - slow) / now
        out["high_52w_distance"] = now / price.tail(252).max() - 1
        for n in (63, 252):
            x, y = r.tail(n), m.tail(n)
            out[f"beta_{n}d"] = ((x * y).mean() - x.mean() * y.mean()) / y.var(ddof=0)
        out["atr_14"] = reach.ewm_mean(alpha=1 / 14, adjust=False).last() / now
        out["adv_21"] = pl.col("dollars").tail(21).mean()
        out["amihud_21"] = (1e6 * r.abs() / pl.col("dollars")).tail(21).mean()
        made = lazy.group_by(s, maintain_order=True).agg(**out)
        return made.with_columns(
            *(((pl.col(n).rank() - 0.5) / pl.col(n).count()).alias(f"{n}_rank") for n in out),
            *(
                ((pl.col(n) - pl.col(n).mean()) / pl.col(n).std(ddof=0)).alias(f"{n}_z")
                for n in out
            ),
        ).collect()

    full, (made, names) = timed(lambda: build(frame))
    one, last = timed(lambda: last_row(recent), 5)
    for name in names:
        gap = (last[f"{name}_z"] - made.filter(pl.col("t") == made["t"].max())[f"{name}_z"]).abs()
        assert gap.max() < 1e-6, name
    tail = made.filter(pl.col("t") == made["t"].max()).sort("symbol")
    values = [
        tail.select([f"{name}{end}" for name in names]).to_numpy() for end in ("", "_rank", "_z")
    ]
    report(folder, "polars", full, one, names, np.stack(values, axis=1))


def run_qlib(folder: Path) -> None:
    import qlib
    from qlib.data import D

    bars = load(folder)
    home = folder / "qlib"
    days = [str(day) for day in bars["sessions"]]
    (home / "calendars").mkdir(parents=True, exist_ok=True)
    (home / "instruments").mkdir(exist_ok=True)
    (home / "calendars" / "day.txt").write_text("\n".join(days) + "\n")
    names = [f"s{i:04}" for i in range(bars["close"].shape[1])]
    (home / "instruments" / "all.txt").write_text(
        "".join(f"{name}\t{days[0]}\t{days[-1]}\n" for name in names)
    )
    for i, name in enumerate(names):
        (home / "features" / name).mkdir(parents=True, exist_ok=True)
        for field in ("adj_close", "close", "volume"):
            path = home / "features" / name / f"{field}.day.bin"
            np.append(0.0, bars[field][:, i]).astype("<f4").tofile(path)
    p, r = "$adj_close", "($adj_close/Ref($adj_close,1)-1)"
    dollars = "($close*$volume)"
    made = {f"return_{n}d": f"{p}/Ref({p},{n})-1" for n in RETURNS}
    made["momentum_12_1"] = f"Ref({p},21)/Ref({p},252)-1"
    for n in (21, 63):
        made[f"volatility_{n}d"] = f"Std({r},{n})*{np.sqrt((n - 1) / n)}"
    made["bollinger_z_20"] = f"({p}-Mean({p},20))/(Std({p},20)*{np.sqrt(19 / 20)})"
    made["macd"] = f"(EMA({p},12)-EMA({p},26))/{p}"
    made["high_52w_distance"] = f"{p}/Max({p},252)-1"
    made["adv_21"] = f"Mean({dollars},21)"
    made["amihud_21"] = f"Mean(1000000*Abs({r})/{dollars},21)"
    qlib.init(provider_uri=str(home), kernels=2, logging_level=40, expression_cache=None,
              dataset_cache=None)  # fmt: skip

    def build(first):
        return D.features(D.instruments("all"), list(made.values()), first, days[-1])

    full, result = timed(lambda: build(days[0]))
    one, _ = timed(lambda: build(days[-1]))
    tail = result.xs(result.index.get_level_values("datetime").max(), level="datetime")
    tail.index = tail.index.str.lower()
    values = tail.loc[names].to_numpy()
    report(folder, "qlib", full, one, list(made), values[:, None, :])


FIELDS = ("high", "low", "close", "adj_close", "volume")
RETURNS = (1, 5, 21, 63, 126, 252)
PEERS = {"pandas": run_pandas, "polars": run_polars, "qlib": run_qlib}


def load(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "bars.npz") as archive:
        return {name: archive[name] for name in archive.files}


def long_frame(bars: dict[str, np.ndarray], make):
    """A row per symbol and session, the symbols one after the other."""
    rows, width = bars["close"].shape
    return make(
        {
            "symbol": np.repeat(np.arange(width), rows),
            "t": np.tile(np.arange(rows), width),
            **{field: bars[field].T.ravel() for field in FIELDS},
        }
    )


def timed(work, times: int = 1):
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - started)
    return best, result


def report(folder: Path, peer: str, full: float, one: float, names, values) -> None:
    np.savez(folder / f"{peer}.npz", names=np.array(names), values=values)
    print(json.dumps({"peer": peer, "full": full, "one": one}))


if __name__ == "__main__" and len(sys.argv) == 3:
    PEERS[sys.argv[1]](Path(sys.argv[2]))

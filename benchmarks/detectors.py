"""What each detector finds, how late, and how often it alarms over nothing: a Markdown table.

Run from the repository: python -m benchmarks.detectors

Streams of known nature, by a seeded generator: 20 names a session, half of whose variance is common
to all. Ten years are the reference, ten more are watched every session. Nothing changes in the
first three kinds of stream, and every alarm is false. In the others something changes after the
reference, and the first alarm after that counts. Detectors of single streams see the mean over the
names, standardised. `docs/monitoring.md` keeps the table.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from hydra_pipelines.models.reference import make_reference
from hydra_pipelines.monitoring.checks import MONTH, Window, judge, month_level
from hydra_pipelines.monitoring.distributions import (
    PSI_ALERT,
    counts_by_session,
    ks_critical,
    over_windows,
    past_windows,
    psi,
    psi_floor,
)
from hydra_pipelines.monitoring.drift import MATERIAL_D
from hydra_pipelines.monitoring.outcomes import (
    COIN_BRIER,
    DRAWDOWN,
    HIT_RATE_LOSS,
    MATERIAL_SHIFT,
    SLIPPAGE_BIAS,
    drawdowns,
    sharpes,
)
from hydra_pipelines.monitoring.streams import CUSUM_H, adwin, cusum, lately

YEAR, WINDOW, NAMES, FEATURES = 252, 63, 20, 10
REFERENCE = WATCHED = 10 * YEAR
LIMIT = 2 * YEAR
"""A change not found by then counts as not found."""
REPEATS = 5
QUIET = ("iid", "AR(0.97)", "t3")
CHANGES = ("mean", "variance", "dependence")
PHI = 0.97

Detector = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(reference (T, N), watched (L, N)) -> alarm at each watched session: bool (L,)."""


def stream(rng: np.random.Generator, kind: str, sessions: int) -> np.ndarray:
    """(sessions, NAMES) of mean 0 and variance 1, but for what `kind` changes.

    mean: one standard deviation lower. variance: a standard deviation of 2. dependence: AR(0.9).
    """
    if kind == "t3":
        draw = rng.standard_t(3, (2, sessions, NAMES)) / np.sqrt(3.0)
        draw[1] = draw[1, :, :1]
        return np.sqrt(0.5) * draw.sum(axis=0)
    phi = {"AR(0.97)": PHI, "dependence": 0.9}.get(kind, 0.0)
    x = np.sqrt(0.5) * (_ar(rng, sessions, NAMES, phi) + _ar(rng, sessions, 1, phi))
    return x - 1.0 if kind == "mean" else 2.0 * x if kind == "variance" else x


def _ar(rng: np.random.Generator, sessions: int, names: int, phi: float) -> np.ndarray:
    from scipy.signal import lfilter

    noise = rng.normal(size=(sessions + 300, names)) * np.sqrt(1.0 - phi * phi)
    return lfilter([1.0], [1.0, -phi], noise, axis=0)[300:]


def _windows(then: np.ndarray, now: np.ndarray) -> np.ndarray:
    """The watched sessions with those before that their first windows need."""
    return np.concatenate([then[-WINDOW + 1 :], now])


def psi_paths(then: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """PSI of past windows, of watched ones, and the least that may alarm."""
    bins = make_reference(["x"], [then.ravel()])
    edges, counts = bins.edges[0], bins.counts[0]
    current = over_windows(counts_by_session(_windows(then, now), edges), WINDOW)
    least = max(0.1, psi_floor(WINDOW * NAMES, then.size, len(counts)))
    return past_windows(then, WINDOW, edges)[0], psi(counts, current), least


def ks_paths(then: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    fine = np.quantile(then, np.arange(1, 200) / 200)
    windows = over_windows(counts_by_session(_windows(then, now), fine), WINDOW)
    whole = counts_by_session(then, fine).sum(axis=0).cumsum() / then.size
    d = np.abs(windows.cumsum(axis=1) / (WINDOW * NAMES) - whole).max(axis=1)
    edges = make_reference(["x"], [then.ravel()]).edges[0]
    return past_windows(then, WINDOW, edges)[1], d, MATERIAL_D


def _beyond_own(past: np.ndarray, value: np.ndarray, least: float, low: bool = False) -> np.ndarray:
    level = judge(
        "", "", "", float(value[0]), past, Window(1), warn_at=least, low_is_bad=low
    ).alarm_at
    assert level is not None
    return value < level if low else value > level


def _standard(then: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the names, in the reference's units; lower is worse."""
    center, spread = then.mean(axis=1).mean(), then.mean(axis=1).std()
    return (then.mean(axis=1) - center) / spread, (now.mean(axis=1) - center) / spread


def _cusum_own(then: np.ndarray, now: np.ndarray) -> np.ndarray:
    before, after = _standard(then, now)
    past = lately(cusum(-before)[0][:, 0], MONTH)
    level = max(CUSUM_H, float(np.quantile(past, 0.975)))
    return cusum(-after, h=level)[0][:, 0] > level


def _adwin(then: np.ndarray, now: np.ndarray) -> np.ndarray:
    _, state = adwin(-_standard(then, now)[0])
    return adwin(-_standard(then, now)[1], state)[0] > 0.0


def _adwin_own(then: np.ndarray, now: np.ndarray) -> np.ndarray:
    before, after = _standard(then, now)
    shifts, state = adwin(-before)
    return _beyond_own(
        lately(np.maximum(shifts, 0.0), WINDOW), adwin(-after, state)[0], MATERIAL_SHIFT
    )


def _mean(values: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, WINDOW).mean(axis=1)


def _score(
    statistic: Callable[[np.ndarray], np.ndarray],
    center: float,
    spread: float,
    warn_at: float,
    *,
    low: bool,
    own: bool,
) -> Detector:
    """A detector on a window statistic of scores made of the stream: center + spread z, where a
    lower z is worse."""

    def detect(then: np.ndarray, now: np.ndarray) -> np.ndarray:
        before, after = _standard(then, now)
        sign = 1.0 if low else -1.0
        past = statistic(center + sign * spread * before)
        value = statistic(center + sign * spread * np.concatenate([before[-WINDOW + 1 :], after]))
        if own:
            return _beyond_own(past, value, warn_at, low)
        return value < warn_at if low else value > warn_at

    return detect


def _returns_drawdown(scores: np.ndarray) -> np.ndarray:
    return drawdowns(-scores, WINDOW)


def _slippage(then: np.ndarray, now: np.ndarray) -> np.ndarray:
    """An order a session that should cost 5 bp, and does with a deviation of 20, over 250."""
    before, after = _standard(then, now)
    error = -20.0 * np.concatenate([before[-249:], after])
    windows = np.lib.stride_tricks.sliding_window_view(error, 250)
    bias, deviation = windows.mean(axis=1) / 5.0, windows.std(axis=1, ddof=1) / np.sqrt(250) / 5.0
    return np.abs(bias) > np.maximum(SLIPPAGE_BIAS, 3.0 * deviation)


def _feature_scores(then: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest score of PSI and KS of one feature: of past windows, of watched ones."""
    pasts, values = [], []
    for past, value, least in (psi_paths(then, now), ks_paths(then, now)):
        check = judge("", "", "", float(value[0]), past, Window(1), warn_at=least)
        assert check.past is not None and check.alarm_at is not None
        median = float(np.median(past))
        pasts.append(check.past)
        values.append((value - median) / (check.alarm_at - median))
    return np.fmax(*pasts), np.fmax(*values)


def _ten(level_of: Callable[[np.ndarray], float]) -> Detector:
    """Ten features side by side, (T, N, FEATURES): the largest score of all against a level."""

    def detect(then: np.ndarray, now: np.ndarray) -> np.ndarray:
        scores = [_feature_scores(then[..., k], now[..., k]) for k in range(then.shape[2])]
        level = level_of(np.max([past for past, _ in scores], axis=0))
        return np.max([value for _, value in scores], axis=0) > level

    return detect


def _joint_level(past: np.ndarray) -> float:
    level, _ = month_level(past, 0.05 / 2)
    assert level is not None
    return level


_IC = {"center": 0.03, "spread": 0.25, "warn_at": 0.0, "low": True}
_HITS = {"center": 0.52, "spread": 0.11, "warn_at": (1 - HIT_RATE_LOSS) * 0.52, "low": True}
_BRIER = {"center": 0.25, "spread": 0.01, "warn_at": COIN_BRIER, "low": False}
_RETURN = {"center": 0.0005, "spread": 0.01, "warn_at": 0.0, "low": True}
_LOSS = {"center": -0.0005, "spread": 0.01, "warn_at": DRAWDOWN, "low": False}

DETECTORS: dict[str, Detector] = {
    "PSI above 0.25": lambda then, now: psi_paths(then, now)[1] > PSI_ALERT,
    "PSI, own level": lambda then, now: _beyond_own(*psi_paths(then, now)),
    "KS, p below 0.05": lambda then, now: (
        ks_paths(then, now)[1] > ks_critical(0.05, then.size, WINDOW * NAMES)
    ),
    "KS, own level": lambda then, now: _beyond_own(*ks_paths(then, now)),
    "CUSUM, h = 5": lambda then, now: cusum(-_standard(then, now)[1], h=CUSUM_H)[0][:, 0] > CUSUM_H,
    "CUSUM, own level": _cusum_own,
    "ADWIN, δ = 0.002": _adwin,
    "ADWIN, own level": _adwin_own,
    "rank IC below 0": _score(_mean, **_IC, own=False),
    "rank IC, own level": _score(_mean, **_IC, own=True),
    "hit rate 10 % below its baseline": _score(_mean, **_HITS, own=False),
    "hit rate, own level": _score(_mean, **_HITS, own=True),
    "Brier score above 0.25": _score(_mean, **_BRIER, own=False),
    "Brier score, own level": _score(_mean, **_BRIER, own=True),
    "Sharpe ratio below 0": _score(lambda x: sharpes(x, WINDOW), **_RETURN, own=False),
    "Sharpe ratio, own level": _score(lambda x: sharpes(x, WINDOW), **_RETURN, own=True),
    "drawdown above 10 %": _score(_returns_drawdown, **_LOSS, own=False),
    "drawdown, own level": _score(_returns_drawdown, **_LOSS, own=True),
    "slippage bias, 0.5 and 3 standard errors": _slippage,
    "ten features, any own level": _ten(lambda past: 1.0),
    "ten features, joint level": _ten(_joint_level),
}
HEADER = (
    "| detector | iid | AR(0.97) | t3 | mean −1 σ | σ × 2 | dependence |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def pair(name: str, kind: str, repeat: int, watched: int) -> tuple[np.ndarray, np.ndarray]:
    """The reference and the watched stream of a detector; the same for the same arguments."""
    rng = np.random.default_rng([zlib.crc32(kind.encode()), repeat])
    quiet = kind if kind in QUIET else "iid"
    count = FEATURES if name.startswith("ten") else 1
    columns = []
    for k in range(count):
        both = stream(rng, quiet, REFERENCE + watched)
        if kind in CHANGES and k == 0:
            both[REFERENCE:] = stream(rng, kind, watched)
        columns.append(both)
    both = columns[0] if count == 1 else np.stack(columns, axis=2)
    return both[:REFERENCE], both[REFERENCE:]


def false_alarms(name: str, kind: str, repeats: int = REPEATS) -> tuple[float, float]:
    """Onsets of an alarm a year, and the share of months with any."""
    onsets, months = [], []
    for repeat in range(repeats):
        alarm = DETECTORS[name](*pair(name, kind, repeat, WATCHED))
        onsets.append((alarm & ~np.concatenate([[False], alarm[:-1]])).sum() / (WATCHED / YEAR))
        months.append(alarm.reshape(-1, MONTH).any(axis=1).mean())
    return float(np.mean(onsets)), float(np.mean(months))


def delay(name: str, kind: str, repeats: int = REPEATS) -> float:
    """Median sessions from a change to the first alarm, the first session counting 1; inf where
    half of them are not found within `LIMIT`."""
    found = []
    for repeat in range(repeats):
        alarm = DETECTORS[name](*pair(name, kind, repeat, LIMIT))
        found.append(float(np.argmax(alarm)) + 1.0 if alarm.any() else np.inf)
    return float(np.median(found))


def row(name: str) -> str:
    """The line of one detector."""
    cells = []
    for kind in QUIET:
        onsets, months = false_alarms(name, kind)
        cells.append(f"{onsets:.1f} ({months:.0%})")
    for kind in CHANGES:
        late = delay(name, kind)
        cells.append("–" if np.isinf(late) else f"{late:.0f}")
    return f"| {name} | {' | '.join(cells)} |"


def main(names: Sequence[str] = tuple(DETECTORS)) -> None:
    print(HEADER)
    for name in names:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()

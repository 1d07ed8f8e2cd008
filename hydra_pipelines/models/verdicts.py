"""The gate's verdict on a version, read back from the registry's tags.

How a verdict comes about is `gate`'s, and `day.gating` writes it down; here it is read, as a person
may have left it: tags can be edited in the UI, so what does not read as a verdict is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PASSED = {"passed": True, "not passed": False}
_PREFIX = "gate_"
_TEXTS = ("reasons", "warnings", "against_version")


@dataclass(frozen=True)
class VersionVerdict:
    """What the gate said of a version.

    reasons: why not, warnings: what to know before promoting it; empty for none. against: the
    champion it was compared with, None where that is not said.
    """

    passed: bool
    reasons: str = ""
    warnings: str = ""
    against: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        said = "passed the gate" if self.passed else "did not pass the gate"
        if self.against is not None:
            said += f" against version {self.against}"
        return said + (f": {self.reasons}" if self.reasons else "")


def verdict_of(tags: Mapping[str, str]) -> VersionVerdict | None:
    """The verdict in a version's tags, or None where the gate has not judged it."""
    if tags.get("gate") not in PASSED:
        return None
    against = tags.get(f"{_PREFIX}against_version", "")
    figures = {}
    for name, value in tags.items():
        if name.startswith(_PREFIX) and (figure := name.removeprefix(_PREFIX)) not in _TEXTS:
            try:
                figures[figure] = float(value)
            except ValueError:
                continue
    return VersionVerdict(
        passed=PASSED[tags["gate"]],
        reasons=_text(tags, "reasons"),
        warnings=_text(tags, "warnings"),
        against=int(against) if against.isdigit() else None,
        figures=figures,
    )


def _text(tags: Mapping[str, str], name: str) -> str:
    text = tags.get(f"{_PREFIX}{name}", "")
    return "" if text == "none" else text

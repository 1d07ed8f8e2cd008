"""Reading what the commands print for people."""

from __future__ import annotations

import re


def figures(text: str) -> list[str]:
    """The numbers of a text, thousands not separated."""
    return re.findall(r"-?\d[\d.]*", text.replace(",", ""))


def lines(text: str) -> dict[str, str]:
    """The status in words: what stands behind each name."""
    return {line[:12].strip(): line[13:] for line in text.splitlines() if line.strip()}

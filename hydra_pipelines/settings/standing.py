"""What `hydra paper-trade` has set for one desk: a small file in its data folder.

It is a source of the settings like the others: it wins over `hydra.yaml`, and what a person wrote
into `.env` or the environment wins over it. Nothing but what that command sets may stand in it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "paper-trade.yaml"
MAY_HOLD = (("broker", "port"), ("broker", "client_id"), ("schedule", "trading"))
_HEAD = (
    "# Written by `hydra paper-trade start`. Wins over hydra.yaml; .env and the environment win\n"
    "# over it. Remove a line, or the file, to have the default again.\n"
)


def strangers(content: Mapping[str, Any]) -> list[str]:
    """Names of settings that don't belong into the file."""
    return [
        f"{section}.{name}" if name else section
        for section, values in content.items()
        for name in (values if isinstance(values, dict) else [""])
        if (section, name) not in MAY_HOLD
    ]


def write(path: Path, content: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the file as a whole; without content there is none."""
    import yaml

    if not content:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE}-")
    with os.fdopen(handle, "w") as out:
        out.write(_HEAD + yaml.safe_dump({k: dict(v) for k, v in content.items()}))
    os.replace(temporary, path)

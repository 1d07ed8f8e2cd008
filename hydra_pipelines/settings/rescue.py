"""Where a desk's data is when its settings can't be read as a whole: for stopping it all the same.

Only the data folder is looked for, by the names and in the order of `load`, line by line. All else
needs settings that are right.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from hydra_pipelines.settings.model import PREFIX, PROJECT_ROOT, Settings

_DATA_DIR = f"{PREFIX}DATA_DIR"


def data_path_in_spite_of_errors() -> Path | None:
    """The data folder that the settings name; None where the desk's own folder isn't there."""
    root = Path(os.environ.get(f"{PREFIX}ROOT") or PROJECT_ROOT).expanduser().resolve()
    if not root.is_dir():
        return None
    named = (
        os.environ.get(_DATA_DIR)
        or _written(root / ".env", rf"(?:export\s+)?{_DATA_DIR}\s*=")
        or _written(root / "hydra.yaml", r"data_dir\s*:")
        or str(Settings.model_fields["data_dir"].default)
    )
    return (root / Path(named).expanduser()).resolve()


def _written(file: Path, name: str) -> str:
    """What stands behind a name at the beginning of a line; empty where it isn't there."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{name}[ \t]*([^#\n]*)", text, re.MULTILINE)
    return found.group(1).strip().strip("'\"") if found else ""

"""The kernels' machine code: kept once, never taken from a file that is something else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hydra_pipelines.features import compiled, engine

FEATURES = Path(compiled.__file__).parent
CHILD = """
import sys
import numpy as np
from hydra_pipelines.features import compiled, engine
compiled._SOURCE = compiled.Path(sys.argv[1]) / "kernels.py"
print(engine.window_sum(np.arange(6.0)[:, None], 3)[:, 0].tolist(), "numba" in sys.modules)
"""


def run(folder: Path, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(home)},
    )
    return done.stdout.strip()


@pytest.fixture
def kept(tmp_path) -> Path:
    """A folder with the kernels' source and, beside it, their code as this machine has it."""
    engine.row_mean(np.ones((1, 1)))
    shutil.copy(FEATURES / "kernels.py", tmp_path)
    import llvmlite.binding as llvm

    name = f"kernels-{compiled._key(llvm)}.o"
    found = [folder / name for folder in compiled._folders() if (folder / name).exists()]
    (tmp_path / "__pycache__").mkdir()
    shutil.copy(found[0], tmp_path / "__pycache__")
    return tmp_path


SUMS = "[3.0, 6.0, 9.0, 12.0]"


def test_kept_code_is_loaded_without_the_compiler(kept, tmp_path):
    assert run(kept, tmp_path / "home") == f"{SUMS} False"


def test_damaged_code_is_made_anew(kept, tmp_path):
    code = next((kept / "__pycache__").iterdir())
    content = code.read_bytes()
    code.write_bytes(content[:-100] + bytes(100))
    assert run(kept, tmp_path / "home") == f"{SUMS} True"
    made = compiled._read(code)
    assert made is not None and list(made[0]) == list(compiled.kernels())


def test_other_sources_are_other_code(kept, monkeypatch):
    import llvmlite.binding as llvm

    monkeypatch.setattr(compiled, "_SOURCE", kept / "kernels.py")
    before = compiled._key(llvm)
    with (kept / "kernels.py").open("a") as source:
        source.write("\n")
    assert compiled._key(llvm) != before


def test_where_the_package_can_not_be_written_the_users_cache_is_used(kept, tmp_path):
    shutil.rmtree(kept / "__pycache__")
    (kept / "__pycache__").write_text("in the way")
    assert run(kept, tmp_path / "home") == f"{SUMS} True"
    assert run(kept, tmp_path / "home") == f"{SUMS} False"
    assert [p.suffix for p in (tmp_path / "home" / "hydra_pipelines").iterdir()] == [".o"]


def test_code_that_can_not_be_kept_is_said(tmp_path):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    assert not compiled._write(tmp_path / "blocked" / "kernels.o", {}, [])
    assert compiled._write(tmp_path / "free" / "kernels.o", {"k": ["s", "pi", 2]}, [b"ab"])
    assert compiled._read(tmp_path / "free" / "kernels.o") == ({"k": ["s", "pi", 2]}, [b"ab"])
    assert compiled._read(tmp_path / "none.o") is None

"""Builds `.venv` from `requirements.lock` and installs the project into it; `make` calls it.

Here belongs what is needed before anything is installed, with the standard library alone.
Which packages there are is said in `pyproject.toml`, their exact versions in the lock.

The environment remembers the lock, the project's metadata and the folder that it was made for, so
that a further call returns at once, and a new lock or a moved checkout makes it anew.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def made_from(root: Path) -> tuple[str, str]:
    """Digests of what the environment of this checkout, and the project in it, are made from."""
    lock, project = (
        hashlib.sha256(str(root).encode() + (root / name).read_bytes()).hexdigest()
        for name in ("requirements.lock", "pyproject.toml")
    )
    return lock, project


def recorded(root: Path) -> tuple[str, ...]:
    """What `made_from` gave when `.venv` was completed; empty where it never was."""
    try:
        return tuple((root / ".venv" / "made-from").read_text().split())
    except OSError:
        return ()


def build(root: Path) -> None:
    """Makes `.venv` anew, or only the project in it where the lock is the one it was made from.

    Raises SystemExit, with the failed tool's own message above it.
    """
    # Without bytecode every start of Python would compile what it imports, which doubles it.
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME"):
        os.environ.pop(name, None)
    environment = root / ".venv"
    python = str(environment / "bin" / "python")
    if recorded(root)[:1] != made_from(root)[:1] or not os.access(python, os.X_OK):
        started = time.monotonic()
        version = ".".join(str(part) for part in sys.version_info[:3])
        say(f"Setting up .venv with Python {version}: takes some minutes and 2 GB, this once.")
        run([sys.executable, "-m", "venv", "--clear", str(environment)])
        install_lock(python, root / "requirements.lock")
        say("  compiling")
        # Some packages carry templates that are no valid Python; those are left as they are.
        subprocess.run(
            [python, "-W", "ignore", "-m", "compileall", "-qq", "-j", "0", str(environment / "lib")]
        )
        (environment / "made-from").write_text(made_from(root)[0])
        say(f"  ready after {time.monotonic() - started:.0f} s")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*install, "--no-deps", "--no-build-isolation", "--editable", str(root)])
    (environment / "made-from").write_text("\n".join(made_from(root)))


def install_lock(python: str, lock: Path) -> None:
    """Installs what the lock lists, each file checked against its hash, and counts along."""
    entries = len(re.findall(r"^[\w.-]+==", lock.read_text(), flags=re.MULTILINE))
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    command += ["--progress-bar", "off", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    fetched = 0
    with subprocess.Popen([*command, "-r", str(lock)], stdout=subprocess.PIPE, text=True) as pip:
        for line in pip.stdout or ():
            if line.startswith("Ignoring "):
                entries -= 1
            elif line.startswith("Collecting "):
                fetched += 1
                if fetched % 25 == 0 or fetched == entries:
                    say(f"  fetched {fetched} of {entries} packages")
            elif line.startswith("Installing "):
                say("  installing")
    if pip.returncode:
        raise SystemExit(
            "The packages could not be installed: pip's message is above. The same command tries "
            "again, and does not fetch anew what pip has in its cache."
        )


def run(command: list[str]) -> None:
    if subprocess.run(command).returncode:
        raise SystemExit(f"This failed, with its message above: {' '.join(command)}")


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build .venv from requirements.lock.")
    parser.add_argument("--check", action="store_true", help="only tell whether it is up to date")
    if parser.parse_args().check:
        raise SystemExit(0 if recorded(ROOT) == made_from(ROOT) else 1)
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise SystemExit(f"Python 3.11, 3.12 or 3.13 is needed; {sys.executable} is another one.")
    build(ROOT)


if __name__ == "__main__":
    main()

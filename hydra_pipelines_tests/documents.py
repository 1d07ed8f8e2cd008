"""The documents as data: the commands in them, and what else they name that has to exist.

`sh` blocks are what a reader types, and a test runs them. `console` and `text` blocks hold what
can't run in a test (a server that stays, IB Gateway, docker, a browser), usage lines, and output.
A comment `# exit code 3` behind a command says how it ends where that is not 0.

A block whose first line is `# path/of/a/file` changes the project: `python` is a new file, `diff`
what is added to one (`+`) and taken away from it (`-`), between lines that are there.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer

from hydra_pipelines.cli.app import app
from hydra_pipelines.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", *DOCS]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# [\w./-]+\.(py|yaml)\n")
_PLACES = (ROOT / "hydra_pipelines", ROOT / "hydra_pipelines_tests", ROOT / "deploy")
_MADE = ("data/", "mlruns/", "deploy/secrets/", "gate.md")
"""What a desk or a script makes."""


class Wrong(Exception):
    """A document names what isn't there."""


def blocks(text: str, *languages: str) -> list[str]:
    return [body for language, body in _BLOCK.findall(text) if language in languages]


def lines(block: str) -> list[str]:
    """The lines of a block with continued ones joined, empty ones left out."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def commands(document: Path) -> list[str]:
    """What a reader is to type, in order."""
    return [line for block in blocks(document.read_text(), "sh") for line in lines(block)]


def script(typed: list[str]) -> str:
    """For `bash -e`: each command has to end with 0, or with the exit code its comment names."""
    told = []
    for line in typed:
        if code := re.search(r"# exit code (\d+)", line):
            line = f"code=0; {line[: code.start()].strip()} || code=$?; test $code = {code[1]}"
        told.append(line)
    return "\n".join(told)


def steps(document: Path) -> list[tuple[str, str]]:
    """What a reader does who follows a document to the letter: `run`, a script, or `change`, a
    block that changes the project; in order."""
    return [
        ("run", script(lines(body))) if language == "sh" else ("change", body)
        for language, body in _BLOCK.findall(document.read_text())
        if language == "sh" or (language in ("python", "diff") and _FILE.match(body))
    ]


def change(root: Path, block: str) -> None:
    """Make the change of a block below a folder; Wrong where the lines around it aren't there."""
    first, _, body = block.partition("\n")
    file = root / first.removeprefix("# ")
    if not file.exists():
        file.write_text(body)
        return
    kept = "".join(line[1:] for line in body.splitlines(True) if line[0] in " -\n")
    wanted = "".join(line[1:] for line in body.splitlines(True) if line[0] in " +\n")
    text = file.read_text()
    if text.count(kept) != 1 or kept == wanted:
        raise Wrong(f"{file.name} has these lines {text.count(kept)} times:\n{kept}")
    file.write_text(text.replace(kept, wanted))


def named(text: str) -> Iterator[str]:
    """Everything that stands as code: lines of blocks, and what is in backticks in the prose."""
    for block in blocks(text, "sh", "console", "text"):
        for line in lines(block):
            # What follows two spaces, or a #, explains.
            yield from re.split(r",\s(?=hydra )", re.split(r"\s#|\s\s", line.strip())[0])
    yield from re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))


def check(code: str) -> None:
    """Raise Wrong where a piece of code names a command, option or setting that isn't there."""
    for name in re.findall(r"\bHYDRA_[A-Z][A-Z_]*\b(?!_…)", code):
        if not name.endswith("_"):
            setting(name.removeprefix("HYDRA_").lower().replace("__", "."))
    code = re.sub(r"^\$ |^(\w+=\S* +)+(?=hydra|make|python|pytest)", "", code)
    first, _, rest = code.replace(".venv/bin/", "").partition(" ")
    if first == "hydra" and rest:
        hydra(re.sub(r"[\[\]]|\.\.\.", " ", rest))
    elif first == "make" and rest:
        make(rest)
    elif first == "python" and rest.startswith("-m "):
        if importlib.util.find_spec(rest.split()[1]) is None:
            raise Wrong(f"there is no module {rest}")
    elif first.startswith("--"):
        for option in re.findall(r"(?<!\S)--[\w-]+", code):
            if option not in options():
                raise Wrong(f"no command has the option {option}")
    elif re.fullmatch(r"[\w.-]+(/[\w.-]+)*(\.py|\.md|\.sh|/)", code):
        if not is_there(code):
            raise Wrong(f"there is no {code}")
    elif found := re.fullmatch(r"(([a-z]\w*)\.[a-z]\w*)(: \w+)?", code):
        is_file = code.endswith((".log", ".yaml"))
        if found[2] in Settings.model_fields and not is_file:
            setting(found[1])


def hydra(line: str) -> None:
    """Find the command and read its options as the program would, without running anything."""
    command: Any = typer.main.get_command(app)
    rest = shlex.split(line)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            raise Wrong(f"hydra {line}: there is no command {name}")
        command = command.commands[name]
    try:
        _, left, _ = command.make_parser(command.context_class(command)).parse_args(rest)
    except Exception as error:
        raise Wrong(f"hydra {line}: {error}") from error
    if left:
        raise Wrong(f"hydra {line}: takes no {' '.join(left)}")


@cache
def options() -> frozenset[str]:
    """Of all commands of this program, and of the crash matrix."""

    def of(command: Any) -> Iterator[str]:
        for parameter in command.params:
            yield from parameter.opts
        for inner in getattr(command, "commands", {}).values():
            yield from of(inner)

    matrix = ROOT / "hydra_pipelines_tests" / "scenarios" / "crashes" / "matrix.py"
    return frozenset(of(typer.main.get_command(app))) | frozenset(
        re.findall(r'add_argument\("(--\w+)"', matrix.read_text())
    )


def make(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in shlex.split(line):
        name, given, _ = word.partition("=")
        pattern = rf"\$\({name}\)|\$\(or \$\({name}\)" if given else rf"^{re.escape(name)}:"
        if not re.search(pattern, makefile, re.MULTILINE):
            raise Wrong(f"make {line}: the Makefile has no {name}")


def setting(path: str) -> None:
    """Raise Wrong unless `section.field`, or `field` of the desk, is a setting."""
    model: Any = Settings
    for name in path.split("."):
        fields = getattr(model, "model_fields", {})
        if name not in fields:
            raise Wrong(f"{path} is no setting")
        model = fields[name].annotation


def is_there(name: str) -> bool:
    """A path from the root, or the end of one in the package, the tests or `deploy/`."""
    if name.startswith(_MADE):
        return True
    end = f"/{name.rstrip('/')}"
    return (ROOT / name).exists() or any(path.endswith(end) for path in _paths())


@cache
def _paths() -> frozenset[str]:
    return frozenset(p.as_posix() for place in _PLACES for p in place.rglob("*"))


def broken_links(document: Path) -> list[str]:
    """Links to files of the project, or headings in them, that aren't there."""
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", document.read_text())):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        file = (document.parent / name) if name else document
        if not file.exists() or (heading and heading not in _headings(file)):
            wrong.append(target)
    return wrong


def _headings(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _BLOCK.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

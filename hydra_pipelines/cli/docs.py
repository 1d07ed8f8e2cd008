"""`hydra docs`: the documents, listed or printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_pipelines.cli.output import FAILURE, USAGE, Json, fail, print_json, print_table

FOLDER = Path(__file__).resolve().parents[2] / "docs"


def docs(
    name: Annotated[str | None, typer.Argument(help="Of a document; without it, a list.")] = None,
    as_json: Json = False,
) -> None:
    """List the documents, or print one."""
    found = {path.stem: path for path in sorted(FOLDER.glob("*.md"))}
    if not found:
        fail(
            f"there are no documents at {FOLDER}: they come with the source, not the wheel", FAILURE
        )
    if name is not None and name not in found:
        fail(f"there is no document {name}; these are: {', '.join(found)}", USAGE)
    if name is not None:
        text = found[name].read_text()
        if as_json:
            print_json({"name": name, "path": found[name], "text": text})
        else:
            typer.echo(text)
        return
    rows = [
        {"name": stem, "title": path.open().readline().strip("# \n"), "path": path}
        for stem, path in found.items()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {"name": "document", "title": "title", "path": "file"})

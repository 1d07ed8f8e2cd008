"""Code of others: whole as it came, with its licence, and nothing besides."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from hydra_pipelines.dashboard.rendering import HERE, VENDOR

AXE = Path(__file__).resolve().parents[1] / "browser" / "vendor"


@pytest.mark.parametrize("folder", [VENDOR, AXE], ids=["dashboard", "tests"])
def test_every_file_is_the_one_of_the_manifest(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name.removeprefix("./"): number for number, name in map(str.split, lines)}
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert found == sums
    for part in folder.iterdir():
        if part.is_dir():
            assert re.fullmatch(r"[a-z-]+-\d+\.\d+\.\d+", part.name)
            assert any(file.name.startswith("LICENSE") for file in part.iterdir()), part


def test_pages_name_vendored_files_that_are_there() -> None:
    named = {
        path
        for template in (HERE / "templates").rglob("*.html")
        for path in re.findall(r'"/static/([^"]+)"', template.read_text())
    }
    assert len(named) > 6
    for path in named:
        assert (HERE / "static" / path).is_file(), path


def test_templates_are_escaped_and_have_nothing_inline() -> None:
    for template in (HERE / "templates").rglob("*"):
        if template.is_dir():
            continue
        assert template.suffix == ".html", "only these are escaped"
        text = template.read_text()
        assert "|safe" not in text and "autoescape" not in text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on", text), template
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), template

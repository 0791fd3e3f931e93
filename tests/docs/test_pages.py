"""The documentation: it builds, loads nothing from elsewhere, and names what there is."""

from __future__ import annotations

import html.parser
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from pipeline.cli import app
from pipeline.config import load_config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *PAGES]


def text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def commands() -> set[str]:
    """Every command of `seamline`, e.g. `schema infer`."""
    group = typer.main.get_command(app)

    def names(of) -> Iterator[str]:
        for name, command in of.commands.items():
            if hasattr(command, "commands"):
                yield from (f"{name} {below}" for below in names(command))
            else:
                yield name

    return set(names(group))


class Loaded(html.parser.HTMLParser):
    """Gathers what a page loads when it is opened; links to follow are not among it."""

    def __init__(self):
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        of = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.addresses += [of["src"]] if "src" in of else []
        if tag == "link" and of.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(of["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        # A proxy that is not there: what would be fetched cannot be.
        env={
            **os.environ,
            **{"NO_MKDOCS_2_WARNING": "1", "HTTPS_PROXY": "http://127.0.0.1:9"},
            "HTTP_PROXY": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_built_and_loads_nothing_from_elsewhere(site):
    for page in PAGES:
        loaded = Loaded()
        loaded.feed(text(site / f"{page.stem}.html"))
        assert loaded.addresses
        assert not [one for one in loaded.addresses if "//" in one], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", text(sheet)), sheet


def test_every_page_can_be_reached_from_the_first_and_from_the_readme():
    for document in (DOCS / "index.md", ROOT / "README.md"):
        linked = {Path(target).name for target in re.findall(r"\]\(([^)#]+\.md)", text(document))}
        assert {page.name for page in PAGES} - {"index.md"} <= linked, document.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_to_files_and_headings_that_are_there(document):
    for target in re.findall(r"\]\(((?!https?://)[^)]+)\)", text(document)):
        name, _, heading = target.partition("#")
        there = document.parent / name if name else document
        assert there.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", text(there), re.MULTILINE)
            assert heading in {
                re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles
            }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_commands_and_targets_that_are_named_are_there(document):
    known = commands()
    for words in re.findall(
        r"(?<![/\w])seamline ((?:[a-z][a-z-]*)(?: [a-z]+)?)", code_of(document)
    ):
        assert words in known or words.split()[0] in known, f"seamline {words}"
    targets = set(re.findall(r"^([a-z]+):", text(ROOT / "Makefile"), re.MULTILINE))
    for target in re.findall(r"\bmake ([a-z]+)\b(?!\+)", code_of(document)):
        assert target in targets, f"make {target}"


def code_of(document: Path) -> str:
    """What stands as code in a document, on lines of their own or within one."""
    return "\n".join(re.findall(r"```\w*\n.*?```|`[^`\n]+`", text(document), re.DOTALL))


def test_every_command_is_in_the_table_of_commands():
    first_cells = re.findall(r"^\| (`.*?) \| ", text(DOCS / "command_line.md"), re.MULTILINE)

    for command in commands():
        assert any(f"seamline {command}" in cell for cell in first_cells), command


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_configs_that_are_shown_are_read(document, tmp_path):
    needed = {"folder": "shop", "category": "subCategory", "subcategory": "articleType"}
    for block in re.findall(r"```yaml\n(.*?)```", text(document), re.DOTALL):
        shown = yaml.safe_load(textwrap.dedent(block))
        if "slices" in shown:
            # Lines that go on where the catalog's own end.
            shown = {"catalog": shown}
        shown["catalog"] = {**needed, **shown.get("catalog", {})}
        config = tmp_path / "shop.yaml"
        config.write_text(yaml.safe_dump(shown), encoding="utf-8")
        assert load_config(config).catalog.category


def test_the_readme_is_one_screen_and_the_pictures_are_small():
    assert len(text(ROOT / "README.md").splitlines()) <= 50
    pictures = [*DOCS.glob("*.png"), *DOCS.glob("*.svg")]
    assert sum(picture.stat().st_size for picture in pictures) < 300_000
    shown = set(re.findall(r"!\[[^]]+\]\((?:docs/)?([^)]+)\)", "".join(map(text, DOCUMENTS))))
    assert shown == {picture.name for picture in pictures}

"""The documentation as a site: it builds, its links lead somewhere, and it is complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from doc_blocks import ROOT

import modelserve as ms

HANG = 300
#: What a browser fetches by itself, with the attribute that says from where.
FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
#: Relations of `link` that fetch nothing.
NOT_FETCHED = {"canonical", "prev", "next"}
HERE = "https://modelserve.github.io/modelserve/"
REPOSITORY = "https://github.com/modelserve/modelserve/"


@dataclass
class Document(HTMLParser):
    """The links and anchors of one page."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if identifier := given.get("id"):
            self.anchors.add(identifier)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif (target := given.get(FETCHED.get(tag, ""))) and given.get("rel") not in NOT_FETCHED:
            self.fetched.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    folder = tmp_path_factory.mktemp("site")
    ended = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def documents(site: Path) -> dict[Path, Document]:
    read = {}
    for path in sorted(site.rglob("*.html")):
        document = Document()
        document.feed(path.read_text())
        read[path] = document
    return read


def file_of(target: str, page: Path, site: Path) -> Path:
    path = unquote(urlsplit(target).path)
    file = site / path.removeprefix("/modelserve/") if path.startswith("/") else page.parent / path
    file = page if not path else file.resolve()
    return file / "index.html" if file.is_dir() else file


def test_every_link_within_the_site_leads_somewhere(
    site: Path, documents: dict[Path, Document]
) -> None:
    wrong = []
    count = 0
    for page, document in documents.items():
        for link in document.links + document.fetched:
            target, anchor = urldefrag(link.removeprefix(HERE))
            if urlsplit(target).scheme:
                continue
            count += 1
            file = file_of(target, page, site)
            # The theme's own script makes this one.
            missing = (
                anchor and anchor != "__top" and anchor not in documents.get(file, document).anchors
            )
            if not file.is_file() or missing:
                wrong.append(f"{page.relative_to(site)}: {link}")
    assert not wrong
    assert count > 500


def test_every_link_into_the_repository_leads_somewhere(documents: dict[Path, Document]) -> None:
    links = {link for d in documents.values() for link in d.links if link.startswith(REPOSITORY)}
    paths = {
        found[1] for link in links if (found := re.match(r".*?/(?:blob|tree)/main/([^#]*)", link))
    }
    assert len(paths) > 5
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_a_browser_fetches_nothing_from_elsewhere(documents: dict[Path, Document]) -> None:
    elsewhere = {
        target
        for document in documents.values()
        for target in document.fetched
        if urlsplit(target).netloc and not target.startswith(HERE)
    }
    assert not elsewhere


def test_the_python_reference_has_everything_public(site: Path) -> None:
    document = Document()
    document.feed((site / "reference" / "python" / "index.html").read_text())
    errors = {n for n in ms.__all__ if n.endswith("Error")}
    expected = {n for n in ms.__all__ if n not in errors and n != "policies"}
    for cls in (ms.ModelManager, ms.Model, ms.Snapshot, ms.Http):
        members = (n for n, v in vars(cls).items() if not n.startswith("_") and callable(v))
        expected |= {f"{cls.__name__}.{n}" for n in members}
    assert expected <= document.anchors
    text = (site / "reference" / "errors" / "index.html").read_text()
    assert not [name for name in errors if name not in text]


def test_the_c_reference_has_every_function(site: Path) -> None:
    header = (ROOT / "include" / "modelserve.h").read_text()
    declared = set(re.findall(r"^(?!typedef)\w[\w *]*?\b(modelserve_\w+)\(", header, re.MULTILINE))
    text = (site / "reference" / "c" / "index.html").read_text()
    assert len(declared) > 80
    assert not [name for name in declared if name not in text]

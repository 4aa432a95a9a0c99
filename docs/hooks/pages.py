"""The site's pages from the repository's files: a hook of MkDocs.

The documents are read in two places, in the repository and as a site. Links that lead out of the
documents (`../README.md`, `../examples/…`) are right in the repository; in the site they lead to
the repository. The first page is the README, with its links seen from the documents.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path

import c_reference
import errors_reference
import python_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LOG = logging.getLogger("mkdocs.hooks.pages")
#: A link or image with a relative target, and its anchor.
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?(?=\))")
#: What Rust's documentation is told of a block; Markdown knows the language alone.
ATTRIBUTES = re.compile(r"^( *```rust)(?:,\w+)+$", re.MULTILINE)
#: What is written by a script at this place of a page.
GENERATED = re.compile(r"^<!-- generated: (?P<what>[a-z ]+) -->$", re.MULTILINE)
WRITERS = {
    "python classes": python_reference.classes,
    "python functions": python_reference.functions,
    "python options": python_reference.options,
    "python policies": python_reference.policies,
    "c functions": c_reference.functions,
    "error kinds": errors_reference.kinds,
    "error codes": errors_reference.codes,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the README as the first page."""
    root = Path(config.config_file_path).parent
    text = (root / "README.md").read_text()
    # Seen from docs/: what lies there is beside the page, all else is above it.
    text = LINK.sub(lambda m: _from_docs(m[1]) + (m[2] or ""), text)
    files.append(File.generated(config, "index.md", content=text))
    return files


def _from_docs(target: str) -> str:
    return target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Writes what is generated, and leads links out of the documents to the repository."""
    root = Path(config.config_file_path).parent
    markdown = GENERATED.sub(lambda m: WRITERS[m["what"]](root), markdown)
    markdown = ATTRIBUTES.sub(r"\1", markdown)
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def lead(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[1]))
        anchor = link[2] or ""
        if target == "README.md":
            return posixpath.relpath("docs/index.md", folder) + anchor
        if target.startswith("docs/") and files.get_file_from_path(target.removeprefix("docs/")):
            return link[0]
        if not (root / target).exists():
            LOG.warning("%s links to %s, which does not exist", page.file.src_uri, link[1])
        kind = "tree" if (root / target).is_dir() else "blob"
        return f"{str(config.repo_url).rstrip('/')}/{kind}/main/{target}{anchor}"

    return LINK.sub(lead, markdown)

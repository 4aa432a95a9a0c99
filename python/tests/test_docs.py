"""Every code block of the documents does what its page says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from doc_blocks import ROOT, Block, blocks, pages

import modelserve as ms

HANG = 300
#: Blocks that are not run, with their number: nothing else may be left out.
NOT_RUN = {
    "README.md": {"builds the project": 1, "installs packages": 1},
    "docs/batching.md": {"a measurement of minutes": 1},
    "docs/caching.md": {"a measurement of minutes": 1},
    "docs/deployment.md": {"three servers on one port": 1, "a server of its own": 1},
    "docs/engines.md": {"needs Ray": 2},
    "docs/fastapi.md": {"installs packages": 1},
    "docs/how-to/install-for-c.md": {"builds the project": 3, "needs the library": 3},
    "docs/performance.md": {"a measurement of minutes": 1},
    "docs/reference/c.md": {"needs the library": 1},
    "docs/resilience.md": {"a measurement of minutes": 1},
    "docs/traffic.md": {"a measurement of minutes": 1},
    "docs/tutorials/from-onnxruntime.md": {"a measurement of minutes": 1},
    "docs/tutorials/from-tensorflow-serving.md": {"needs TensorFlow": 1},
}
#: Sections of a configuration file.
SECTIONS = {"manager", "models", "metrics", "http"}


def of(page: str, *languages: str) -> list[Block]:
    """The blocks of these languages that are to be checked."""
    found = (b for b in blocks(ROOT / page) if b.language in languages)
    return [b for b in found if not {"not run", "output"} & b.marks.keys()]


def with_blocks(*languages: str) -> list[str]:
    """The pages that have such blocks."""
    return [page for page in pages() if of(page, *languages)]


@pytest.mark.parametrize("page", with_blocks("python", "sh", "bash"))
def test_the_page_runs(
    page: str, started: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    ended = started[page].result()
    assert ended.returncode == 0, ended.stderr[-4000:]


@pytest.fixture(scope="module")
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The chosen pages, each in a process and a folder of its own, as many at once as CPUs."""
    chosen = [
        str(item.callspec.params["page"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_the_page_runs"
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {page: pool.submit(run, page, tmp_path_factory.mktemp("page")) for page in chosen}
        pool.shutdown(cancel_futures=True)


def run(page: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a page's blocks in `folder`, from where the examples are reached as the page says."""
    for name in ("examples", "tests", "benches"):
        (folder / name).symlink_to(ROOT / name)
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("doc_runner.py")), str(ROOT / page)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )


def test_what_is_not_run_is_known() -> None:
    found = {
        page: dict(reasons)
        for page in pages()
        if (
            reasons := Counter(
                b.marks["not run"] for b in blocks(ROOT / page) if "not run" in b.marks
            )
        )
    }
    assert found == NOT_RUN


def test_every_block_has_a_language() -> None:
    nameless = [f"{p}:{b.line}" for p in pages() for b in blocks(ROOT / p) if not b.language]
    # Rust's documentation would take such a block for Rust.
    assert not nameless


@pytest.mark.parametrize("page", with_blocks("toml"))
def test_toml_is_a_configuration(page: str, tmp_path: Path) -> None:
    for block in of(page, "toml"):
        parsed = tomllib.loads(block.text)
        if not parsed.keys() <= SECTIONS:
            continue
        file = tmp_path / "modelserve.toml"
        file.write_text(block.text)
        try:
            ms.ModelManager.from_config(file)
        except (ms.NotFoundError, ms.PermissionDeniedError, ms.IoError):
            # The file was read and found good; the models that it names are not here.
            pass
        except ms.ModelServeError as error:
            pytest.fail(f"{page}:{block.line}: {error}")


@pytest.mark.parametrize("page", with_blocks("json"))
def test_json_can_be_read(page: str) -> None:
    for block in of(page, "json"):
        text, decoder = block.text.strip(), json.JSONDecoder()
        while text:
            try:
                _, end = decoder.raw_decode(text)
            except json.JSONDecodeError as error:
                pytest.fail(f"{page}:{block.line}: {error}")
            text = text[end:].lstrip()


@pytest.mark.parametrize("page", with_blocks("c", "cpp"))
def test_c_and_cpp_compile(page: str, tmp_path: Path) -> None:
    for block in of(page, "c", "cpp"):
        compiler, standard = ("gcc", "c11") if block.language == "c" else ("g++", "c++17")
        if shutil.which(compiler) is None:
            pytest.skip(f"{compiler} is not installed")
        file = tmp_path / f"block.{block.language}"
        file.write_text(block.text)
        flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
        command = [compiler, *flags, f"-I{ROOT / 'include'}", str(file)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
        assert ended.returncode == 0, f"{page}:{block.line}: {ended.stderr}"


def test_rust_is_compiled_by_the_crate() -> None:
    library = (ROOT / "src" / "lib.rs").read_text()
    missing = [page for page in with_blocks("rust") if f'include_str!("../{page}")' not in library]
    assert not missing, "add them to the module `documents`"

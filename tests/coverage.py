"""Which lines of the parts that read what others wrote are run by the tests.

    python3 tests/coverage.py DIRECTORY BINARY...

DIRECTORY holds the profiles (`*.profraw`) that instrumented programs have written, the BINARYs
are those programs and libraries. A line counts once, however often it was compiled; tests beside
the code do not count. LLVM's tools are found by `LLVM_PROFDATA` and `LLVM_COV`. With `--missing`
the lines that no test runs are listed. `make coverage` runs this.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Each part, and the share of its lines that has to be run.
PARTS = ("src/format", "src/source", "src/tensor/shape.rs", "bindings/c/src")
LEAST = 95.0


def lines_run(folder: Path, binaries: list[str]) -> dict[Path, dict[int, int]]:
    """How often each line of each file was run."""
    merged = folder / "merged.profdata"
    profiles = folder / "profiles.txt"
    profiles.write_text("\n".join(str(path) for path in sorted(folder.glob("*.profraw"))))
    profdata = os.environ.get("LLVM_PROFDATA", "llvm-profdata")
    command = [profdata, "merge", "-sparse", "-f", str(profiles), "-o", str(merged)]
    subprocess.run(command, check=True)
    objects = [word for binary in binaries[1:] for word in ("-object", binary)]
    sources = [str(ROOT / part) for part in PARTS]
    cov = os.environ.get("LLVM_COV", "llvm-cov")
    command = [cov, "export", "-format=lcov", f"-instr-profile={merged}", binaries[0], *objects]
    told = subprocess.run([*command, *sources], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[Path, dict[int, int]] = {}
    for line in told.stdout.splitlines():
        if line.startswith("SF:"):
            counts = found.setdefault(Path(line[3:]).relative_to(ROOT), {})
        elif line.startswith("DA:"):
            number, count = line[3:].split(",")[:2]
            counts[int(number)] = max(counts.get(int(number), 0), int(count))
    return found


def is_test(path: Path) -> bool:
    return any(part in ("tests", "tests.rs", "testing.rs") for part in path.parts)


def own_lines(path: Path, counts: dict[int, int]) -> Iterator[tuple[int, int]]:
    """The counts of a file without those of the tests at its end."""
    text = (ROOT / path).read_text()
    tests = re.search(r"^#\[cfg\((all\()?test.*\)\]\n(#\[.*\]\n)*mod \w+ \{", text, re.MULTILINE)
    end = text[: tests.start()].count("\n") if tests else text.count("\n") + 1
    return ((number, count) for number, count in sorted(counts.items()) if number <= end)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("binaries", nargs="+")
    parser.add_argument("--missing", action="store_true")
    given = parser.parse_args()
    found = lines_run(given.folder, given.binaries)
    short = False
    for part in PARTS:
        run = total = 0
        missing = []
        for path, counts in sorted(found.items()):
            if not str(path).startswith(part) or is_test(path):
                continue
            for number, count in own_lines(path, counts):
                total += 1
                run += count > 0
                if not count:
                    missing.append(f"{path}:{number}")
        share = 100 * run / max(total, 1)
        short |= share < LEAST
        print(f"coverage of {part}: {run} of {total} lines, {share:.1f} %")
        if given.missing:
            print("\n".join(missing))
    return int(short)


if __name__ == "__main__":
    sys.exit(main())

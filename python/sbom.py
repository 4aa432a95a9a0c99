"""Writes what modelserve is made of as a CycloneDX 1.6 document.

    python python/sbom.py --output build/modelserve.cdx.json

The Rust part comes from `cargo metadata` and the checksums of Cargo.lock, for all platforms; the
Python part from pyproject.toml, with the versions that are installed beside this interpreter.
Nothing is asked of the network where cargo has the crates already. The same inputs give the same
document: its serial number is made of them, and it carries no time.

Scopes: `required` is part of what is shipped, `optional` comes with an extra of the Python package,
`excluded` is used to build and to test alone (build scripts, procedural macros, benchmarks).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tomllib
import uuid
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The kind of an edge of cargo's graph that is part of the program.
NORMAL = None


def cargo_metadata() -> dict:
    """The resolved graph, without the network where that is possible."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--all-features"]
    for further in (["--offline"], []):
        run = subprocess.run(
            [*command, *further], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if run.returncode == 0:
            return json.loads(run.stdout)
    raise SystemExit(run.stderr)


def checksums() -> dict[tuple[str, str], str]:
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}


def is_macro(package: dict) -> bool:
    return any("proc-macro" in target["kind"] for target in package["targets"])


def shipped(graph: dict, packages: dict[str, dict]) -> set[str]:
    """The packages that are linked into what is shipped."""
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    seen: set[str] = set()
    waiting = list(graph["workspace_members"])
    while waiting:
        package = waiting.pop()
        if package in seen or is_macro(packages[package]):
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is NORMAL for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return seen


def expression(licence: str | None) -> list[dict]:
    """The licence as SPDX writes it; older crates have a slash for `OR`."""
    return [{"expression": re.sub(r"\s*/\s*", " OR ", licence)}] if licence else []


def crate_url(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def rust_part() -> tuple[list[dict], list[dict]]:
    """Components, and what each depends on."""
    graph = cargo_metadata()
    packages = {package["id"]: package for package in graph["packages"]}
    sums = checksums()
    linked = shipped(graph, packages)
    components = []
    for key, package in packages.items():
        component = {
            "type": "library",
            "bom-ref": crate_url(package),
            "name": package["name"],
            "version": package["version"],
            "scope": "required" if key in linked else "excluded",
            "licenses": expression(package["license"]),
            "purl": crate_url(package),
        }
        if package["description"]:
            component["description"] = " ".join(package["description"].split())
        checksum = sums.get((package["name"], package["version"]))
        if checksum:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["repository"]:
            component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        components.append(component)
    dependencies = [
        {
            "ref": crate_url(packages[node["id"]]),
            "dependsOn": sorted({crate_url(packages[d["pkg"]]) for d in node["deps"]}),
        }
        for node in graph["resolve"]["nodes"]
    ]
    return components, dependencies


def requirement(text: str, scope: str) -> dict:
    """A requirement of the Python package: what was asked for, and what is installed here."""
    name = re.match(r"[A-Za-z0-9._-]+", text)
    if name is None:
        raise SystemExit(f"not a requirement: {text!r}")
    plain = re.sub(r"[-_.]+", "-", name[0]).lower()
    component = {
        "type": "library",
        "name": plain,
        "scope": scope,
        "properties": [{"name": "modelserve:requirement", "value": text}],
    }
    purl = f"pkg:pypi/{plain}"
    try:
        installed = metadata.distribution(plain)
    except metadata.PackageNotFoundError:
        pass
    else:
        component["version"] = installed.version
        component["licenses"] = expression(installed.metadata.get("License-Expression"))
        purl += f"@{installed.version.replace('+', '%2B')}"
    return component | {"bom-ref": purl, "purl": purl}


def python_part() -> tuple[list[dict], dict]:
    """Components, and the package that asks for them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [(text, "required") for text in project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        asked += [(text, "optional") for text in extra]
    components: dict[str, dict] = {}
    for text, scope in asked:
        component = requirement(text, scope)
        components.setdefault(component["purl"], component)
    package = {
        "type": "library",
        "bom-ref": f"pkg:pypi/modelserve@{project['version']}",
        "name": "modelserve",
        "version": project["version"],
        "scope": "required",
        "licenses": expression(project["license"]),
        "purl": f"pkg:pypi/modelserve@{project['version']}",
    }
    return [package, *components.values()], package


def document() -> dict:
    crates, dependencies = rust_part()
    packages, package = python_part()
    native = next(c["bom-ref"] for c in crates if c["name"] == "modelserve-python")
    dependencies.append(
        {
            "ref": package["bom-ref"],
            "dependsOn": sorted([native, *(p["bom-ref"] for p in packages[1:])]),
        }
    )
    main = next(c for c in crates if c["name"] == "modelserve")
    components = sorted([c for c in crates if c is not main] + packages, key=lambda c: c["bom-ref"])
    dependencies.sort(key=lambda d: d["ref"])
    content = json.dumps([main, components, dependencies], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": {k: v for k, v in main.items() if k != "scope"}},
        "components": components,
        "dependencies": dependencies,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    output = parser.parse_args().output
    made = document()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(made, indent=2) + "\n")
    scopes = [c["scope"] for c in made["components"]]
    print(
        f"sbom: {len(scopes)} components ({scopes.count('required')} shipped, "
        f"{scopes.count('optional')} optional, {scopes.count('excluded')} to build and test), "
        f"{output}"
    )


if __name__ == "__main__":
    main()

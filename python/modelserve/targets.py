"""The target of a request, as it was sent, below where an application is mounted.

Servers hand over a path that is decoded already, in which a "/" of a name and one between names
look the same. Most also hand over what was sent: that is taken wherever it is the same path.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, unquote

#: What a target may hold as it is (RFC 3986, pchar and "/"); "%" is escaped.
SAFE_IN_PATH = "/:@!$&'()*+,;=~-._"


def asgi_target(scope: MutableMapping[str, Any]) -> str:
    """Path and query of an ASGI scope, without its `root_path`."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    # Some servers leave the query on it.
    raw = (scope.get("raw_path") or b"").partition(b"?")[0].decode("latin-1")
    local = path
    # A server that took the prefix off the path says so by what was sent.
    if unquote(raw) != root + path and (path == root or path.startswith(root + "/")):
        local = path[len(root) :]
    target = quote(local, safe=SAFE_IN_PATH)
    for sent in (_below(raw, root, "utf-8"), raw):
        if sent and unquote(sent) == local:
            target = quote(sent, safe=SAFE_IN_PATH + "%", encoding="latin-1")
            break
    query: bytes = scope.get("query_string", b"")
    return _with_query(target, query.decode("latin-1"))


def wsgi_target(environ: Mapping[str, Any]) -> str:
    """Path and query of a WSGI environment, without its `SCRIPT_NAME`."""
    # Text of WSGI is bytes, a character each (PEP 3333).
    local: str = environ.get("PATH_INFO", "")
    # Gunicorn and Werkzeug; uWSGI and mod_wsgi.
    raw: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    sent = _below(raw.partition("?")[0], environ.get("SCRIPT_NAME", "").rstrip("/"), "latin-1")
    if sent and unquote(sent, encoding="latin-1") == local:
        target = quote(sent, safe=SAFE_IN_PATH + "%", encoding="latin-1")
    else:
        target = quote(local, safe=SAFE_IN_PATH, encoding="latin-1")
    return _with_query(target, environ.get("QUERY_STRING", ""))


def _below(raw: str, mount: str, encoding: str) -> str | None:
    """What follows in `raw` behind the decoded prefix `mount`; None where it has another one."""
    end = raw.find("/")
    while True:
        front = unquote(raw if end < 0 else raw[:end], encoding=encoding)
        if front == mount:
            return "" if end < 0 else raw[end:]
        # Longer than what is looked for: a path of many parts is not searched to its end.
        if end < 0 or len(front) > len(mount):
            return None
        end = raw.find("/", end + 1)


def _with_query(target: str, query: str) -> str:
    target = target or "/"
    return f"{target}?{query}" if query else target

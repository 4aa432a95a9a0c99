"""Serving models over HTTP with Uvicorn: what `modelserve serve` is made of."""

from .draining import serve
from .settings import Settings
from .source import Source, http_section, open_source
from .workers import supervise

__all__ = ["Settings", "Source", "http_section", "open_source", "serve", "supervise"]

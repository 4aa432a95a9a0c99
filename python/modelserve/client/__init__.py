"""Clients for models behind HTTP, and remote models as fallbacks of local ones (docs/client.md).

Needs httpx: `pip install 'modelserve[client]'`.
"""

from .answer import Answer
from .asynchronous import AsyncClient
from .blocking import Client
from .fallback import FALLBACK_ON, AsyncRemoteFallback, RemoteFallback
from .retry import Retry

__all__ = [
    "FALLBACK_ON",
    "Answer",
    "AsyncClient",
    "AsyncRemoteFallback",
    "Client",
    "RemoteFallback",
    "Retry",
]

"""Another server of this folder, its start taken from the garbage collector.

What a program has when it is ready stays to its end. Python's collector walks all of it, 50 ms at a
time in a FastAPI program, whenever enough new objects have lived for a while: `gc.freeze` tells it
not to.
"""

from __future__ import annotations

import gc
import importlib
import os

app = importlib.import_module(os.environ["FROZEN"]).app
gc.collect()
gc.freeze()

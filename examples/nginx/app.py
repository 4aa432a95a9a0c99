"""One worker: an ASGI application of the models that a configuration file describes.

Run by `run.py`, or by hand: `MODELSERVE_CONFIG=modelserve.toml uvicorn app:app --port 8001`.
"""

import os

import modelserve as ms

# The file is read and the models are loaded before the server opens its port, so that nothing is
# sent to a worker that cannot answer yet.
app = ms.asgi(os.environ["MODELSERVE_CONFIG"])

"""What a worker has to know; it travels to other processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """How models are served."""

    #: A folder, a configuration file or a model file.
    source: str
    #: Whether new versions in a folder are looked for.
    watch: bool
    #: Which versions of a folder serve: latest(n), all, specific(…).
    version_policy: str
    #: Seconds in which requests are still taken after SIGTERM.
    drain: float
    #: Most seconds that requests under way may take after that.
    grace: float
    #: The level of what is logged, as `logging` names it.
    log_level: str
    #: Whether each request is logged.
    access_log: bool
    #: Options of `ModelManager.http`.
    http: dict[str, Any] = field(default_factory=dict)

    @property
    def source_is_configuration(self) -> bool:
        """Whether the source is a configuration file."""
        path = Path(self.source)
        return path.suffix == ".toml" and not path.is_dir()

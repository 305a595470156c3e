"""The file by which a serving process says that it is ready, and where it can be reached."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def write_ready(path: Path, said: Mapping[str, object]) -> None:
    """Whole or not at all: whoever waits for this file reads it the moment it appears."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(said), encoding="utf-8")
    fresh.replace(path)

"""A TOML file's tables, before anybody asks what they mean.

Owns the bounds: a file's bytes, and a key's parts. `tomllib` keeps every beginning of a key, so that one line
of a quarter of a MiB would take more memory than there is. Refuses with InvalidRequest for `file`.
"""

from __future__ import annotations

import tomllib
from typing import Any

from broker.errors import InvalidRequest

MAX_FILE = 256 * 1024
_MAX_DOTS = 64  # between two equals signs of one line: a key's parts, or a sentence's full stops


def read(file: bytes, most: int = MAX_FILE) -> dict[str, Any]:
    """The file's tables by their keys, arrays as tuples. Raises InvalidRequest."""
    if len(file) > most:
        raise InvalidRequest("file", f"over {most // 1024} KiB")
    for n, line in enumerate(file.split(b"\n"), 1):
        if line.count(b".") > _MAX_DOTS and any(part.count(b".") > _MAX_DOTS for part in line.split(b"=")):
            raise InvalidRequest("file", f"line {n}: more than {_MAX_DOTS} dots in a row of words")
    try:
        found: dict[str, Any] = tomllib.loads(file.decode("utf-8"))
        return {key: _tupled(value) for key, value in found.items()}
    except UnicodeDecodeError as e:
        raise InvalidRequest("file", "not UTF-8") from e
    except RecursionError as e:
        raise InvalidRequest("file", "nested too deeply") from e
    except ValueError as e:  # of its own kind, and Python's for a number of too many digits
        raise InvalidRequest("file", f"not TOML: {e}") from e


def _tupled(value: object) -> object:
    """TOML arrays as tuples, which strict validation of a frozen model wants."""
    if isinstance(value, dict):
        return {k: _tupled(v) for k, v in value.items()}
    return tuple(_tupled(v) for v in value) if isinstance(value, list) else value

"""Owns finding the generated class of a record type among the modules of the package `records`.

Only that package is searched, and only for the name the partner asked with; nothing the broker sends decides
what is imported.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from functools import lru_cache

from google.protobuf.message import Message

_NAME = re.compile(r"(records(?:\.[a-z][a-z0-9_]*)+)\.([A-Z][A-Za-z0-9]*)", re.ASCII)


@lru_cache(maxsize=256)
def record_class(record_type: str) -> type[Message] | None:
    """The message class of that full name, or None where `records` has none."""
    match = _NAME.fullmatch(record_type)
    if match is None:
        return None
    try:
        package = importlib.import_module(match[1])
    except ModuleNotFoundError:
        return None
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_pb2"):
            found = getattr(importlib.import_module(f"{match[1]}.{module.name}"), match[2], None)
            if isinstance(found, type) and issubclass(found, Message):
                return found
    return None

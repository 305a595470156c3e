"""Owns what stands beside an export: how many rows it has, of which places, to which checkpoint, and digests.

Nobody signs it: it says what the broker gave, so that a file that was cut or lengthened is noticed. What the
log signed is in the rows.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

from broker.errors import IntegrityError, SetupError

VERSION = 1
SUFFIX = ".manifest.json"
MAX_BYTES = 16 << 20
# More than a block and the largest message that may still be added to it.
MAX_BLOCK = 64 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """So many rows, of so many bytes, that were written and made durable together."""

    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """An export, complete when `looked` is `before`. Digests are hex SHA-256; `checkpoint` a signed note.

    `first_row` and `last_row` are places in the log, -1 where there are no rows; `closed` counts rows whose
    views were gone, `erased` says what has been erased of any other range. `entries` are the ids of the
    export's own entries in the log, one for each time it was resumed. `incidents` are all numbers of the one
    that was asked for. `blocks` follow the heading, where the form has one; of a Parquet file they are those of
    its lines. `others` are the logs that have entries of the time asked about as well: none of these is here.
    """

    form: str
    log: str
    checkpoint: str
    first: int
    before: int
    agency: str
    whole: bool
    facts: tuple[str, ...]
    about_somebody: bool
    since: str
    until: str
    entries: tuple[str, ...]
    looked: int
    rows: int = 0
    first_row: int = -1
    last_row: int = -1
    closed: int = 0
    bytes: int = 0
    sha256: str = ""
    incidents: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = field(default=())
    others: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every place of the range has been looked at."""
        return self.looked == self.before

    def resumed(self, entry: str) -> Manifest:
        """The same, gone on with under a further entry."""
        return replace(self, entries=(*self.entries, entry))

    def summary(self) -> dict[str, Any]:
        """What a person or a script wants of it."""
        kept = {name: each for name, each in asdict(self).items() if name != "blocks"}
        return {"v": VERSION, **kept, "blocks": len(self.blocks)}

    def as_json(self) -> dict[str, Any]:
        """The object that is written."""
        blocks = [[each.rows, each.bytes, each.sha256] for each in self.blocks]
        return {"v": VERSION, **asdict(self), "blocks": blocks}

    @classmethod
    def of(cls, value: Any) -> Manifest:
        """The manifest in an object. Raises IntegrityError."""
        try:
            fields = dict(value)
            if fields.pop("v") != VERSION:
                raise IntegrityError(f"manifest: not of version {VERSION}")
            for name in ("facts", "entries", "incidents", "others", "erased"):
                fields[name] = tuple(fields.get(name, ()))
            fields["blocks"] = tuple(Block(*each) for each in fields["blocks"])
            made = cls(**fields)
        except (TypeError, ValueError, KeyError) as error:
            raise IntegrityError("manifest: not one of an export") from error
        if not all(_is_of_its_kind(getattr(made, each.name), str(each.type)) for each in fields_of(cls)):
            raise IntegrityError("manifest: a value that is not of its kind")
        return made


def _is_of_its_kind(value: Any, kind: str) -> bool:
    if kind == "tuple[Block, ...]":
        return all(
            type(each.rows) is int
            and type(each.bytes) is int
            and each.rows > 0
            and 0 < each.bytes <= MAX_BLOCK
            and isinstance(each.sha256, str)
            for each in value
        )
    if kind == "tuple[str, ...]":
        return all(isinstance(each, str) for each in value)
    return type(value).__name__ == kind and (kind != "int" or -1 <= value < 1 << 63)


def beside(path: Path) -> Path:
    """Where the manifest of a file stands."""
    return path.with_name(path.name + SUFFIX)


def load(path: Path) -> Manifest | None:
    """The manifest of a file; None where there is none. Raises IntegrityError, SetupError."""
    value = read_json(beside(path))
    return None if value is None else Manifest.of(value)


def read_json(path: Path) -> Any:
    """A JSON file's value; None where there is no such file. Raises IntegrityError, SetupError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from error
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: not JSON, or too long") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, mode 0600: durable, and all of it or nothing."""
    partial = path.with_name(f".{path.name}.new")
    data = json.dumps(value, indent=1, ensure_ascii=False).encode()
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder outlast a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

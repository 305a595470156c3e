"""Owns a file while it is being exported: rows in blocks, each durable before it counts, and how it goes on.

FILE does not exist before it is complete. Until then there are FILE.partial with the rows, and
FILE.partial.json, which says how many of its bytes count, so that after kill -9 at any moment the rest is cut
off and it goes on from there. Refuses to overwrite, and to go on with another question than was begun.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from broker.errors import IntegrityError, SetupError
from broker.offline.export import parquet
from broker.offline.export.forms import Form
from broker.offline.export.manifest import Block, Manifest, beside, load, read_json, sync_folder, write_json
from broker.offline.export.row import Said

BLOCK = 4 << 20  # bytes that are written between two times that everything is made durable
_COPY = 1 << 20


class Partial:
    """The files of an export to `path`, begun or to be gone on with. `asked` is what was asked, in bytes."""

    def __init__(self, path: Path, form: Form, asked: bytes) -> None:
        self.path = path
        self.form = form
        self.manifest: Manifest | None = None
        self._asked = asked
        self._lines = path.with_name(path.name + ".partial")
        self._state = path.with_name(path.name + ".partial.json")
        self._salt = os.urandom(32)
        self._file: BinaryIO | None = None
        self._block = bytearray()
        self._rows = 0

    def done(self) -> Manifest | None:
        """The manifest, where the file is complete already: only its remains had to be taken away."""
        made = load(self.path) if self.path.exists() else None
        if made is None or not made.complete or made.form != self.form.name:
            return None
        with self._failing():
            self._state.unlink(missing_ok=True)
            self._lines.unlink(missing_ok=True)
        return made

    def begin(self, manifest: Manifest) -> None:
        """Begin anew. Raises SetupError where something stands there already."""
        if self._state.exists():
            raise SetupError(
                f"an export to {self.path} was begun: go on with --resume, or remove {self._lines} and "
                f"{self._state}"
            )
        for path in (self.path, beside(self.path)):
            if path.exists():
                raise SetupError(f"{path} already exists: it is never overwritten; choose another name")
        with self._failing():
            handle = os.open(self._lines, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            self._file = os.fdopen(handle, "r+b")
            self._file.write(self.form.head)
            self.manifest = replace(manifest, bytes=len(self.form.head))
            self._save()

    def resume(self) -> Manifest:
        """Go on with what was begun: what does not count is cut off, what counts is held against its digests.

        Raises SetupError where nothing was begun or another question, IntegrityError where it was changed.
        """
        told = read_json(self._state)
        if not isinstance(told, dict):
            raise SetupError(f"nothing to go on with: {self._state} is not there; leave out --resume")
        try:
            self._salt, digest = bytes.fromhex(told["salt"]), str(told["asked"])
            manifest = Manifest.of(told["manifest"])
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"{self._state}: not the state of an export") from error
        if manifest.form != self.form.name or not hmac.compare_digest(digest, self._digest()):
            raise SetupError(f"{self._lines} was begun with other options: give the same ones to go on with it")
        with self._failing():
            self._file = self._lines.open("r+b")
            self._held(manifest)
            self._file.truncate(manifest.bytes)
            self._file.seek(manifest.bytes)
        self.manifest = manifest
        return manifest

    def going_on(self, manifest: Manifest) -> None:
        """What was begun is gone on with, as this says."""
        self.manifest = manifest
        self._save()

    def add(self, said: Said) -> None:
        """One more row, verified."""
        self._block += self.form.write(said)
        self._rows += 1
        manifest = self._now
        first = said.row.index if manifest.first_row < 0 else manifest.first_row
        self.manifest = replace(manifest, first_row=first, last_row=said.row.index)

    def looked(self, up_to: int, closed: int) -> None:
        """Every entry below this place has been looked at and is here if it was to be."""
        manifest = self._now
        self.manifest = replace(manifest, looked=up_to, closed=manifest.closed + closed)
        if len(self._block) >= BLOCK or self._now.complete:
            self._save()

    def finish(self) -> Manifest:
        """Give the file its name and its manifest. Raises IntegrityError where it is not complete."""
        if not self._now.complete or self._block:
            raise IntegrityError("the export ended before its end: go on with --resume")
        with self._failing():
            self._close()
            made = self._lines
            if self.form.columnar:
                made = self.path.with_name(self.path.name + ".made")
                parquet.write(self._lines, self.form, made)
            digest, size = _digest(made)
            self.manifest = replace(self._now, sha256=digest, bytes=size)
            write_json(beside(self.path), self.manifest.as_json())
            made.replace(self.path)
            sync_folder(self.path.parent)
            self._state.unlink()
            self._lines.unlink(missing_ok=True)
        return self.manifest

    @property
    def _now(self) -> Manifest:
        if self.manifest is None:
            raise SetupError("the export has not begun")
        return self.manifest

    def _save(self) -> None:
        """Make the rows durable, then say that they count."""
        with self._failing():
            if self._block and self._file is not None:
                self._file.write(self._block)
                self._file.flush()
                os.fsync(self._file.fileno())
                block = Block(self._rows, len(self._block), hashlib.sha256(self._block).hexdigest())
                manifest = self._now
                self.manifest = replace(
                    manifest,
                    rows=manifest.rows + block.rows,
                    bytes=manifest.bytes + block.bytes,
                    blocks=(*manifest.blocks, block),
                )
                self._block, self._rows = bytearray(), 0
            elif self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
            told = {"salt": self._salt.hex(), "asked": self._digest(), "manifest": self._now.as_json()}
            write_json(self._state, told)

    def _held(self, manifest: Manifest) -> None:
        file = self._file
        if file is None or file.read(len(self.form.head)) != self.form.head:
            raise IntegrityError(f"{self._lines}: its heading was changed; begin anew")
        for block in manifest.blocks:
            if hashlib.sha256(file.read(block.bytes)).hexdigest() != block.sha256:
                raise IntegrityError(f"{self._lines}: rows that were written have been changed; begin anew")

    def _digest(self) -> str:
        """Of the question: salted, since it may name a person. It stands beside what names them anyway."""
        return hmac.digest(self._salt, self._asked, "sha256").hex()

    def close(self) -> None:
        """Keep what counts; what was being written is not."""
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _failing(self) -> _Failing:
        return _Failing(self.path)


class _Failing:
    """Says in one sentence what the disk refused."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise SetupError(f"{error.filename or self._path}: {error.strerror}") from error


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(_COPY):
            digest.update(data)
            size += len(data)
    return digest.hexdigest(), size

"""Whether an exported file is what the log says, row by row, with nothing but the log's verifier keys.

Names the first row that is not. Each row's entry is proven in a checkpoint that the log signed, its opening
opens the entry, and its words are made again from both. Whether rows are missing, the manifest says; of a whole
range, the places say so themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from broker.core.checkpoint import Checkpoint, open_checkpoint
from broker.core.keys import Verifier
from broker.errors import IntegrityError, SetupError
from broker.offline.export import parquet
from broker.offline.export.asked import check
from broker.offline.export.forms import FORMS, MAX_LINE, Form
from broker.offline.export.manifest import Manifest, beside, load
from broker.offline.export.row import Row, Said, said

Progress = Callable[[int, int], None]
_COPY = 1 << 20


@dataclass
class Report:
    """`rows` were good, from the first on. `problem` is what came then, in row number `row` (from 1; 0: not of
    one row), of the entry at `index` (-1: not known). `listed`: a manifest says that these are all."""

    form: str
    rows: int = 0
    listed: bool = False
    log: str = ""
    size: int = 0
    whole: bool = False
    row: int = 0
    index: int = -1
    problem: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with any row, and none is missing that is listed."""
        return not self.problem


def verify(
    path: Path,
    verifiers: Sequence[Verifier],
    form: str = "",
    progress: Progress = lambda _done, _of: None,
) -> Report:
    """Check a file and its manifest. `form` is needed where there is no manifest.

    Raises SetupError where the file cannot be read.
    """
    report = Report(form)
    try:
        manifest = load(path)
        name = manifest.form if manifest else form
        report.form = name
        if name not in FORMS:
            needs = f"{beside(path)} is not there: say with --format which form it has"
            raise SetupError(needs if not name else f"{name} is no form of an export")
        _Check(path, FORMS[name], verifiers, manifest, report).run(progress)
    except IntegrityError as error:
        report.problem = report.problem or str(error)
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from error
    return report


def _same_cells(cells: dict[str, Any], one: Said) -> bool:
    return parquet.cells(one) == cells


class _Check:
    def __init__(
        self,
        path: Path,
        form: Form,
        verifiers: Sequence[Verifier],
        manifest: Manifest | None,
        report: Report,
    ) -> None:
        self._path = path
        self._form = form
        self._verifiers = verifiers
        self._manifest = manifest
        self._report = report
        self._opened: tuple[bytes, Checkpoint] | None = None
        self._last = -1

    def run(self, progress: Progress) -> None:
        """Every row, then what is said of all of them."""
        report, manifest = self._report, self._manifest
        for number, (row, says) in enumerate(self._rows(), 1):
            report.row, report.index = number, row.index
            self._row(row, says)
            report.rows = number
            if number % 1000 == 0:
                progress(number, max(number, manifest.rows if manifest else 0))
        report.row, report.index = 0, -1
        if manifest is not None:
            self._all(manifest)
            report.listed, report.whole = True, manifest.whole

    def _rows(self) -> Iterator[tuple[Row, Callable[[Said], bool]]]:
        """Each row, and whether what stands there is what its form makes of it."""
        report = self._report
        if self._form.columnar:
            given = parquet.rows(self._path)
            while True:
                report.row, report.index = report.rows + 1, -1
                try:
                    row, cells = next(given)
                except StopIteration:
                    return
                yield row, partial(_same_cells, cells)
        with self._path.open("rb") as file:
            if file.read(len(self._form.head)) != self._form.head:
                raise IntegrityError("not the heading of an export")
            while line := file.readline(MAX_LINE):
                report.row, report.index = report.rows + 1, -1
                if not line.endswith(b"\n"):
                    raise IntegrityError("the file ends inside it, or it is longer than any row")
                yield self._form.read(line), partial(self._form.says, line)

    def _row(self, row: Row, says: Callable[[Said], bool]) -> None:
        if row.index <= self._last:
            raise IntegrityError("stands after a later entry, or twice")
        if self._opened is None or self._opened[0] != row.checkpoint:
            self._opened = (row.checkpoint, open_checkpoint(row.checkpoint, self._verifiers))
            self._report.log, self._report.size = self._opened[1].origin, self._opened[1].size
        manifest = self._manifest
        if manifest is not None and row.checkpoint.decode("utf-8", "replace") != manifest.checkpoint:
            raise IntegrityError("leads to another checkpoint than the manifest's")
        if manifest is not None and row.agency != manifest.agency:
            raise IntegrityError(f"says that {row.agency} took it, and the manifest says {manifest.agency}")
        one = said(row, self._opened[1])
        if not says(one):
            raise IntegrityError("says something else than its receipt")
        if manifest is not None:
            check(one, manifest)
        if manifest is not None and manifest.whole and row.index != self._next(manifest):
            raise IntegrityError(f"the row of entry {self._next(manifest)} is missing before it")
        self._last = row.index

    def _next(self, manifest: Manifest) -> int:
        return manifest.first if self._last < 0 else self._last + 1

    def _all(self, manifest: Manifest) -> None:
        rows = self._report.rows
        if not manifest.complete:
            raise IntegrityError("the manifest is that of an export that did not come to its end")
        if rows != manifest.rows:
            raise IntegrityError(f"has {rows} rows, and its manifest says {manifest.rows}: rows are missing")
        if rows and self._last != manifest.last_row:
            raise IntegrityError(f"ends with entry {self._last}, and its manifest says {manifest.last_row}")
        if manifest.whole and rows != manifest.before - manifest.first:
            raise IntegrityError(f"has {rows} rows for the entries {manifest.first} to {manifest.before - 1}")
        self._digests(manifest)

    def _digests(self, manifest: Manifest) -> None:
        """What no receipt proves is as it was written, if the manifest is."""
        whole, size = hashlib.sha256(), 0
        with self._path.open("rb") as file:
            if not self._form.columnar:
                whole.update(file.read(len(self._form.head)))
                row = 1
                for block in manifest.blocks:
                    data = file.read(block.bytes)
                    if hashlib.sha256(data).hexdigest() != block.sha256:
                        last = row + block.rows - 1
                        raise IntegrityError(f"one of the rows {row} to {last} is not as it was written")
                    whole.update(data)
                    row += block.rows
            while data := file.read(_COPY):
                whole.update(data)
            size = file.tell()
        if (size, whole.hexdigest()) != (manifest.bytes, manifest.sha256):
            raise IntegrityError("the file is not the one that was written: its digest is another")

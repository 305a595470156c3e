"""`broker audit fsck postgresql://...`: a whole log as it lies in the database, for who may read that.

Owns the words of what was found. Reads in one snapshot and writes nothing; no view that it opens is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from broker.cli import inputs, output
from broker.cli.progress import progress
from broker.core.tiles import PARTITION
from broker.errors import IntegrityError, SetupError

if TYPE_CHECKING:
    from broker.core.keys import Verifier
    from broker.keys import KeyRing
    from broker.store.fsck.notes import Kept
    from broker.store.fsck.report import StoreReport

SCHEMES = ("postgresql://", "postgres://")
_MAX_NOTE = 128 * 1024


def is_database(log: str) -> bool:
    """Whether this names a database."""
    return log.startswith(SCHEMES)


def fsck(
    dsn: str,
    keys: Sequence[Verifier],
    ring: Path | None,
    checkpoints: list[Path],
    guard: Path | None,
    tsa_cert: Path | None,
    archives: Sequence[Path] = (),
) -> StoreReport:
    """What there is to say of this database's log. Raises Unreadable, SetupError."""
    from broker.offline.archive import Archive
    from broker.store.fsck.check import fsck_database

    warn(dsn)
    held = [Archive(each, keys) for each in archives]
    kept = _kept(checkpoints, guard, tsa_cert)
    with progress("entries") as told:
        return asyncio.run(fsck_database(dsn, keys, ring_of(ring), kept, told, held))


def warn(dsn: str) -> None:
    """Others on the machine see a command's arguments."""
    if urlsplit(dsn).password:
        text = (
            "a password in the address can be seen by everybody on this machine: use PGPASSFILE or PGPASSWORD"
        )
        typer.echo(text, err=True)


def ring_of(folder: Path | None) -> KeyRing | None:
    """The key ring of a folder that is one; none is ever made."""
    from broker.keys import FolderKeys

    if folder is None:
        return None
    if not (folder / "views").is_dir() or not (folder / "index.key").is_file():
        raise SetupError(f"--keys: {folder} is no key folder (it holds no `views` and `index.key`)")
    return FolderKeys(folder)


def say(report: StoreReport) -> None:
    """The report for people."""
    for each in report.earlier:
        _say(each, earlier=True)
        output.say("")
    _say(report)


def _say(report: StoreReport, *, earlier: bool = False) -> None:
    for problem in report.problems:
        output.say(f"BAD {problem}")
    if report.more:
        output.say(f"and {report.more} more")
    if not report.problems:
        signed = f", and {report.signed} signed checkpoints agree" if report.signed else ""
        root = "the root of the head" if report.root else "one tree"
        output.say(f"GOOD {report.origin}: {report.entries} entries make {root}{signed}")
    output.fields(
        (
            ("kept tiles", report.tiles),
            ("views opened", report.opened),
            ("erased", f"{report.erased} entries: {_stretches(report)}" if report.erased else 0),
            ("words erased", report.words_erased),
            ("claims", report.claims),
            ("search index", None if report.indexed is None else f"reaches {report.indexed} of {report.size}"),
        )
    )
    for first, place in report.places.items():
        last = first + PARTITION - 1
        output.say(f"Entries of {first} to {last} are kept in an export alone: {place}")
    for each in report.unchecked:
        output.say(f"NOT CHECKED: {each}")
    if not earlier:
        output.say(f"COMPARED: {_compared(report)}")
    if report.first is not None and (report.count > 1 or report.first.kind in ("root", "head")):
        bound = (
            "" if report.first.kind not in ("root", "head") else f" (all before {report.first.index} are good)"
        )
        output.say(f"First: {report.first}{bound}")


def told(report: StoreReport) -> dict[str, object]:
    """The same for scripts, beside what every fsck says."""
    return {
        "signed": report.signed,
        "opened": report.opened,
        "erased": report.erased,
        "erased_stretches": [list(each) for each in report.stretches],
        "words_erased": report.words_erased,
        "claims": report.claims,
        "signed_checkpoints": report.signed,
        "guard_remembers": report.guarded,
        "compared": report.compared,
        "indexed": report.indexed,
        "places": {str(first): place for first, place in report.places.items()},
        "unchecked": report.unchecked,
        "first": None if report.first is None else report.first.index,
        "earlier": [
            {
                "log": each.origin,
                "size": each.size,
                "dropped": each.dropped,
                "problems": [str(one) for one in each.problems],
                **told(each),
            }
            for each in report.earlier
        ],
    }


def _compared(report: StoreReport) -> str:
    """What a verdict speaks of, so that it is not taken for more."""
    held = [
        *([f"{report.signed} signed checkpoints"] if report.signed else []),
        *([f"the head of {report.guarded} that the guard remembers"] if report.guarded is not None else []),
    ]
    tree = f"the tree with {' and '.join(held) or 'itself alone'}"
    if not report.compared:
        return f"{tree}; nothing beside the entries with what they say (that takes --keys)"
    rows = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in report.compared.items())
    also = "; not all, see NOT CHECKED" if report.unchecked else ""
    return f"{tree}; with what the entries say: {report.opened} views of this log, {rows}{also}"


def _stretches(report: StoreReport) -> str:
    named = [str(first) if first == last else f"{first}-{last}" for first, last in report.stretches[:20]]
    more = " and more" if len(report.stretches) > 20 else ""
    return ", ".join(named) + more


def notes_of(checkpoints: Sequence[Path]) -> tuple[tuple[str, bytes], ...]:
    """Signed notes in files, with these files' names. Raises SetupError."""
    return tuple((str(each), inputs.read_bounded(each, _MAX_NOTE, "a checkpoint")) for each in checkpoints)


def _kept(checkpoints: list[Path], guard: Path | None, tsa_cert: Path | None) -> Kept:
    from broker.anchor.token import certificates
    from broker.store.fsck.notes import Kept
    from broker.store.guard import remembered

    notes = notes_of(checkpoints)
    try:
        believed = (
            () if tsa_cert is None else certificates(inputs.read_bounded(tsa_cert, _MAX_NOTE, "certificates"))
        )
    except IntegrityError as e:
        raise SetupError(f"--tsa-cert {tsa_cert}: {e}") from e
    if guard is None:
        return Kept(notes, None, believed)
    head = remembered(guard)
    if head is None:
        raise SetupError(f"--guard: {guard} remembers no signed head")
    return Kept(notes, (head.origin, head.size, head.root), believed)

"""`broker audit verify | reconcile | match`: kept receipts, by themselves, against the log and a record.

Owns these commands' words and exit codes. They write nothing, and pass over no receipt in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import audit_anchor, audit_log, evidence, inputs, output
from broker.errors import IntegrityError, SetupError

if TYPE_CHECKING:
    from broker.offline.receipts import Kept
    from broker.offline.reconcile import Matched

Folder = Annotated[Path, typer.Argument(metavar="RECEIPTS", help="A folder of kept receipts (x.tlog-proof).")]
# Of verify, by exit code.
_VERDICTS = {0: "good", 1: "bad", 3: "not-witnessed"}


def verify(
    proof: Annotated[
        Path, typer.Argument(metavar="x.tlog-proof", help="A C2SP tlog-proof; the ending may be left out.")
    ],
    entry: Annotated[Path, typer.Option(metavar="FILE", help="The entry's exact bytes.")],
    vkey: Annotated[Path, typer.Option(metavar="FILE", help="The log's verifier keys, one a line.")],
    opening: Annotated[
        Path | None, typer.Option(metavar="FILE", help="32 bytes of salt, then the view's bytes.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The record released, a serialised Any; with --opening."),
    ] = None,
    witness_policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Which witnesses, and how many of them, must have cosigned (TOML)."),
    ] = None,
    timestamp: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A time stamp (RFC 3161) over the proof's checkpoint; with --tsa-cert."
        ),
    ] = None,
    tsa_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Root certificates of time-stamp authorities that are believed (PEM)."
        ),
    ] = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Verify a receipt's files offline and print one line: GOOD with what was proven, or BAD with what failed.

    Proven is that the entry stands at its place in the log whose key you hold; with the opening, what the
    entry says; with the record, that it is the one released; with a witness policy, that the quorum has seen
    it too; with a time stamp, that it existed then. Exit 0 good; 1 bad; 2 a missing file or option; 3 good, but
    not yet witnessed by the quorum.
    """
    from broker.cli.audit_verify import verify_files

    if not proof.exists() and (whole := proof.with_name(f"{proof.name}{evidence.PROOF}")).exists():
        proof = whole
    if (timestamp is None) is not (tsa_cert is None):
        raise typer.BadParameter("--timestamp and --tsa-cert go together")
    code, verdict = verify_files(proof, entry, vkey, opening, record, witness_policy)
    if timestamp is not None and tsa_cert is not None and code != 2:
        code, verdict = audit_anchor.with_stamp(code, verdict, proof, timestamp, tsa_cert)
    if as_json:
        output.emit_json({"verdict": _VERDICTS.get(code, "unusable"), "text": verdict})
    else:
        typer.echo(verdict, err=code == 2)
    raise typer.Exit(code)


def reconcile(
    receipts: Folder,
    log: audit_log.Where,
    vkey: inputs.LogKeys,
    ca: audit_log.Ca = None,
    cert: audit_log.Cert = None,
    key: audit_log.Key = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Look for each receipt that an agency kept in the log as it is now.

    One line for each that is not there at its place, as it was, or whose opening or record (x.record) is not
    the one that it speaks of. Exit 0 all of them are; 1 one is not, or there are none; 2 the command line, the
    keys or the folder cannot be used; 6 the log cannot be read.
    """
    from broker.offline.reconcile import reconcile as compare

    with audit_log.ending(as_json):
        source, keys = audit_log.source_of(log, ca, cert, key), audit_log.keys_of(vkey)
        found = list(compare(receipts, source, keys))
    bad = [each for each in found if each.problem]
    if as_json:
        rows = [{"file": str(e.path), "entry": e.entry, "index": e.index, "problem": e.problem} for e in found]
        output.emit_json(
            {
                "verdict": "bad" if bad or not found else "good",
                "receipts": rows,
                "good": len(found) - len(bad),
                "bad": len(bad),
            }
        )
    else:
        for each in bad:
            _line(f"BAD {each.path}: {each.problem}")
        output.say(f"{len(found) - len(bad)} of {len(found)} receipts stand in the log as they say")
        if not found:
            typer.echo(f"{receipts} holds no receipts (*.tlog-proof)", err=True)
    raise typer.Exit(audit_log.BAD if bad or not found else 0)


def match(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="As it was saved: a serialised Any.")],
    receipts: Folder,
    vkey: inputs.LogKeys,
    as_json: inputs.AsJson = False,
) -> None:
    """Say whether this is, byte for byte, what somebody was shown, by the receipts that were kept.

    Exit 0 it is, and by which entries; 1 no receipt here says so, and every one was sound; 2 the command line,
    the record, the keys or the folder cannot be used; 3 not decided: no receipt says so, and some do not
    verify or have no opening, or there are none. Each receipt that does not verify is named, and why.
    """
    from broker.offline.reconcile import matches

    with audit_log.ending(as_json):
        keys = audit_log.keys_of(vkey)
        told = matches(_record(record), receipts, keys)
    verdict = "match" if told.found else "no-match" if told.decided else "undecided"
    if as_json:
        output.emit_json({"verdict": verdict, **_told(told)})
    else:
        _say(told, receipts)
    raise typer.Exit({"match": 0, "no-match": audit_log.BAD, "undecided": audit_log.UNDECIDED}[verdict])


def _record(path: Path) -> bytes:
    """A saved record. Raises SetupError where it is none: that says nothing of any receipt."""
    from broker.core.record import Record
    from broker.offline.receipts import MAX_RECORD_FILE

    data = inputs.read_bounded(path, MAX_RECORD_FILE, "a record")
    try:
        Record.from_any(data)
    except IntegrityError as e:
        raise SetupError(f"{path} is no saved record: {e}") from e
    return data


def _told(told: Matched) -> dict[str, object]:
    return {
        "matches": [{"file": str(e.path), "entry": e.entry, "index": e.index} for e in told.found],
        "receipts": told.looked,
        "without_opening": told.unopened,
        "unsound": [{"file": str(e.path), "problem": e.problem} for e in told.unsound],
        "more_unsound": told.more,
    }


def _say(told: Matched, folder: Path) -> None:
    for each in told.found:
        _line(f"MATCH entry {each.entry}, number {each.index}: this is the record it released ({each.path})")
    for each in told.unsound:
        _line(f"NOT SOUND {each.path}: {_reason(each)}")
    if told.more:
        output.say(f"and {told.more} more that are not sound")
    if told.found:
        return
    if told.decided:
        output.say(f"NO MATCH: none of {told.looked} receipts here says that this was released")
    elif told.looked:
        unsound = len(told.unsound) + told.more
        output.say(
            f"NOT DECIDED: of {told.looked} receipts {unsound} are not sound and {told.unopened} have no "
            "opening, so that these say nothing of any record; no other says that this was released"
        )
    else:
        output.say(f"NOT DECIDED: {folder} holds no receipts (*.tlog-proof)")


def _reason(kept: Kept) -> str:
    return kept.problem.removeprefix("does not verify: ")


def _line(text: str) -> None:
    """One line, whatever a file is called."""
    output.say(text.replace("\n", "\N{REPLACEMENT CHARACTER}"))

"""`broker audit anchor`, and the time stamps that `broker audit verify` is given.

Owns their words. Anybody who holds the log's verifier keys may have its checkpoint dated by an authority of
their own choice: neither needs the broker to be honest.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import audit_log, inputs, output
from broker.errors import IntegrityError, SetupError

if TYPE_CHECKING:
    from broker.anchor.token import Stamp

_MAX = 256 * 1024
_NOT_STAMPED = 6


AuthorityUrl = Annotated[
    str,
    typer.Option("--url", metavar="URL", envvar="BROKER_TIMESTAMP_URL", help="The time-stamp authority."),
]
Believed = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        envvar="BROKER_TIMESTAMP_CERT",
        help="Root certificates of time-stamp authorities that are believed (PEM).",
    ),
]
Out = Annotated[
    Path, typer.Option("--output", "-o", metavar="x", help="Writes x.checkpoint and x.tsr; never replaced.")
]


def anchor(
    log: audit_log.Where,
    vkey: inputs.LogKeys,
    url: AuthorityUrl,
    tsa_cert: Believed,
    out: Out,
    ca: audit_log.Ca = None,
    cert: audit_log.Cert = None,
    key: audit_log.Key = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Have a log's newest checkpoint time-stamped now (RFC 3161), and keep both.

    The checkpoint is verified with your keys first, and the time stamp with the authority's certificate. It
    shows later that so many entries with this root existed then: give x.checkpoint to `broker audit fsck
    --checkpoint`. Exit 0 both are written; 1 the checkpoint is not the log's; 2 the command line or a file that
    it names cannot be used; 6 the log cannot be read, or the authority gives nothing that holds.
    """
    from broker.anchor.authority import NotStamped, authority_of
    from broker.core.checkpoint import open_checkpoint
    from broker.pki.files import write_new

    with audit_log.ending(as_json):
        if not url.startswith(("https://", "http://")):
            raise SetupError("--url is an address, such as https://tsa.example/tsr")
        files = [out.with_name(f"{out.name}.checkpoint"), out.with_name(f"{out.name}.tsr")]
        for each in files:
            if each.exists():
                raise SetupError(f"{each} already exists: it is never overwritten; choose another name")
        source, keys = audit_log.source_of(log, ca, cert, key), audit_log.keys_of(vkey)
        authority = authority_of(url, tsa_cert)
        note = source.checkpoint()
        checkpoint = open_checkpoint(note, keys)

    async def ask() -> tuple[bytes, Stamp]:
        try:
            return await authority.stamp(note)
        finally:
            await authority.close()

    try:
        response, stamp = asyncio.run(ask())
    except NotStamped as e:
        audit_log.end(_NOT_STAMPED, "not-stamped", str(e), as_json, "no time stamp: ")
    with audit_log.ending(as_json):
        for path, data in zip(files, (note, response), strict=True):
            write_new(path, data, 0o600)
    facts: dict[str, object] = {
        "log": checkpoint.origin,
        "size": checkpoint.size,
        "stamped_at": stamp.at.isoformat(),
        "authority": stamp.authority,
    }
    if as_json:
        output.emit_json({**facts, "files": [str(each) for each in files]})
    else:
        output.one(facts, False, [("written", each) for each in files])


def with_stamp(code: int, verdict: str, proof: Path, timestamp: Path, tsa_cert: Path) -> tuple[int, str]:
    """The exit code and verdict on a receipt, with what a time stamp over its checkpoint adds or takes away."""
    from broker.anchor.token import certificates, verify
    from broker.core.proof_file import ProofFile

    if code == 1:
        return code, verdict
    try:
        response, believed = (
            inputs.read_bounded(each, _MAX, "a time stamp or certificate") for each in (timestamp, tsa_cert)
        )
        note = ProofFile.from_bytes(inputs.read_bounded(proof, _MAX * 2, "a proof")).checkpoint
        stamp = verify(response, note, certificates(believed))
    except SetupError as e:
        return 2, output.clean(f"cannot verify: {e}")
    except IntegrityError as e:
        return 1, output.clean(f"BAD {e}").replace("\n", " ")
    said = f"{verdict}; its checkpoint existed at {stamp.at.isoformat()}, says {stamp.authority}"
    return code, output.clean(said).replace("\n", " ")

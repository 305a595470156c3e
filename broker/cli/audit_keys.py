"""`broker audit keys`: from the log keys that somebody holds to those of all later logs.

Owns the words of this command, and the walk. Refuses a link that does not hold, whoever shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import AUDITOR, remote
from broker.errors import IntegrityError, InvalidRequest

if TYPE_CHECKING:
    from broker.core.keys import Verifier

_MOST = 64


@remote(AUDITOR)
def keys(
    link: Link,
    vkey: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="The keys that you hold. By default DIR/log.vkey."
        ),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Write the later keys into that file.")] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """Follow the log over its rotations, and print the verifier keys of all logs, newest first.

    Each log's last entry names the key of the next. So from a key that was given to you over another channel
    you come to all later ones, and need not believe whoever answers here. Exit 1 where a link does not hold.
    """
    file = evidence.require_keys(vkey or link.endpoint.vkey)
    held = held_in(file)
    found = followed(link, held)
    if update and found != held:
        write(file, found)
    if as_json:
        output.emit_json({"keys": [each.vkey for each in found], "new": len(found) - len(held)})
        return
    for each in found:
        output.say(each.vkey)


def held_in(file: Path) -> tuple[Verifier, ...]:
    """The keys of a file. Raises IntegrityError."""
    from broker.cli.audit_verify import parse_vkeys

    return parse_vkeys(inputs.read_bounded(file, 64 * 1024, "a file of verifier keys"))


def followed(link: Link, held: tuple[Verifier, ...]) -> tuple[Verifier, ...]:
    """These keys, and before them those of later logs, each proven by the one before. Raises IntegrityError."""
    from broker.client.channel import read_link
    from broker.core.checkpoint import Checkpoint
    from broker.core.merkle import EMPTY_ROOT
    from broker.core.rotation import follow
    from broker.v1.rotation_pb2 import FollowRequest
    from broker.v1.rotation_pb2_grpc import RotationServiceStub

    stub = RotationServiceStub(link.channel)
    newest = max(each.name for each in held)
    for _ in range(_MOST):
        try:
            said = link.call(stub.Follow, FollowRequest(log=newest))
        except InvalidRequest:  # it is the current one
            return held
        later = follow(read_link(said), Checkpoint(newest, 0, EMPTY_ROOT), held).verifier
        if later not in held:
            held = (later, *held)
        newest = later.name
    raise IntegrityError(f"rotation: more than {_MOST} logs")


def write(file: Path, found: tuple[Verifier, ...]) -> None:
    """Put these keys in the place of a file's, in one step. Raises SetupError."""
    from broker.pki.files import replace

    replace(file, "".join(f"{each.vkey}\n" for each in found).encode(), 0o644)

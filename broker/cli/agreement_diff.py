"""`broker agreement diff`: what one version of an agreement changes against another, in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output, surroundings
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import SetupError

if TYPE_CHECKING:
    from broker.core.agreement import Agreement

_STORED = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:/([1-9][0-9]{0,5}))?", re.ASCII)
_WORDS = {
    "widens": "widens: may flow afterwards, and might not before",
    "narrows": "narrows: may no longer flow, or not so easily",
    "changes": "changes: as it is, and as it was",
}


@remote(OPERATOR, offline=True)
def diff(
    link: Link,
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD", help="A file, or ID/VERSION of one applied; ID: the version applied last."
        ),
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same.")],
    as_json: inputs.AsJson = False,
) -> None:
    """Say in words what NEW widens, narrows and changes against OLD: fields, roles, parties, weights, law.

    A broker is asked only for what is no file. Comments and the order of tables make no difference here, but
    each change of a byte needs every party's signature again.
    """
    from broker.core.difference import differences

    before, after = _terms(link, old), _terms(link, new)
    labels = {name: record_type.labels for name, record_type in surroundings.shipped().items()}
    found = differences(before, after, labels)
    if as_json:
        rows = [{"kind": each.kind, "key": each.key, "words": each.words} for each in found]
        output.emit_json({"old": before.label, "new": after.label, "differences": rows})
        return
    if not found:
        output.say(f"{before.label} and {after.label} say the same")
    for kind, title in _WORDS.items():
        told = [each for each in found if each.kind == kind]
        if told:
            output.say(title)
        for each in told:
            output.say(f"  {each.words}")


def _terms(link: Link, named: str) -> Agreement:
    from broker.core import agreement as agreements

    path = Path(named)
    if path.is_file():
        return agreements.read(inputs.read_bounded(path, agreements.MAX_FILE, "an agreement"))
    stored = _STORED.fullmatch(named)
    if stored is None:
        raise SetupError(
            f"{output.clean(named)} is neither a file nor ID/VERSION, such as cfrs-nwas-premises-risk/2"
        )
    return surroundings.one(link, stored[1], int(stored[2] or 0)).terms

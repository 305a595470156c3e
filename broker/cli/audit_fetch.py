"""An entry's receipt from a broker, for `broker audit prove` and `show`: unverified, and whole.

What is kept in an export alone is taken from a copy of that, where the caller has one.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from broker.cli import audit_log, evidence, inputs
from broker.cli.connection import Link
from broker.errors import IntegrityError

if TYPE_CHECKING:
    from broker.core.receipt import Audience, Receipt
    from broker.offline.archive import Archive

_MOST = 100  # entries of a request that are looked through for one that is no look at it
_INDEX = re.compile(r"(?:([0-9]{4}h[12]):)?([0-9]{1,18})", re.ASCII)


def fetch(
    link: Link,
    event_id: str,
    opened: bool,
    reason: str,
    words: str,
    actor_id: str,
    role: str,
    archive: Archive | None,
    *,
    witnessed: bool = False,
    timestamped: bool = False,
) -> tuple[Receipt, Audience | None, bytes]:
    """The receipt of that entry, unverified, whose view it opens, and the time stamp that was asked for."""
    from broker.core.receipt import Audience
    from broker.v1 import audit_pb2 as pb
    from broker.v1 import exchange_pb2
    from broker.v1.audit_pb2_grpc import AuditServiceStub

    place = _INDEX.fullmatch(event_id)
    index = int(place[2]) if place else None
    request = pb.GetReceiptRequest(
        event_id=event_id if index is None else "",
        index=index,
        open=opened,
        witnessed=witnessed,
        timestamped=timestamped,
        archived=archive is not None,
    )
    if place and place[1]:
        request.log = place[1]
    if opened:
        request.actor.CopyFrom(exchange_pb2.Actor(id=actor_id, role=role))
        request.reason.CopyFrom(exchange_pb2.ReasonCode(code=reason, words=words))
    reply = link.call(AuditServiceStub(link.channel).GetReceipt, request)
    receipt = filled(evidence.read(reply.receipt), archive)
    evidence.require_entry(receipt, event_id if index is None else index)
    if receipt.opening is None:
        return receipt, None, reply.timestamp
    try:
        return receipt, Audience(reply.audience), reply.timestamp
    except ValueError as error:
        raise IntegrityError("opening: of no audience that is known here") from error


def archive_of(folder: Path | None, vkey: Path) -> Archive | None:
    """The export that the caller has. Raises SetupError, IntegrityError."""
    from broker.offline.archive import Archive

    return None if folder is None else Archive(folder, audit_log.keys_of(evidence.require_keys(vkey)))


def filled(receipt: Receipt, archive: Archive | None) -> Receipt:
    """With the entry's bytes from the archive, where they are kept there alone."""
    from broker.offline import archive as archives
    from broker.offline.rotation import origin_of

    if receipt.entry:
        return receipt
    log = origin_of(receipt.checkpoint)
    return replace(receipt, entry=archives.filled(receipt.entry, archive, log, receipt.index))


def of_request(link: Link, request_id: str, actor_id: str, role: str, reason: str) -> str:
    """The last entry of a request of that id that is ours to see; empty for none, and for what is a place. The
    search is an entry."""
    from broker.v1 import audit_pb2 as pb
    from broker.v1.audit_pb2_grpc import AuditServiceStub

    if _INDEX.fullmatch(request_id):
        return ""
    request = pb.SearchRequest(limit=_MOST, **inputs.looking(actor_id, role, reason))
    request.facts.add(kind="request", value=request_id)
    for page in link.stream(AuditServiceStub(link.channel).Search, request):
        for hit in page.hits:
            # Whoever looked at it is found by its request, too.
            if json.loads(hit.view).get("request_id") == request_id:
                return str(hit.event_id)
    return ""

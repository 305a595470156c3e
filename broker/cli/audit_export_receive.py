"""What `broker audit export` asks for, and how it takes what comes: each row verified before it is written.

Refuses rows out of order or beyond the range, and an end that comes too soon.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from broker.cli import inputs
from broker.cli.audit_search import as_given, fact
from broker.cli.connection import Link
from broker.cli.progress import progress
from broker.errors import IntegrityError

if TYPE_CHECKING:
    from broker.core.checkpoint import Checkpoint
    from broker.core.keys import Verifier
    from broker.offline.archive import Archive
    from broker.offline.export.file import Partial
    from broker.offline.export.manifest import Manifest
    from broker.v1 import audit_pb2 as pb


def request_of(
    form: str, facts: Sequence[str] | None, person: str, since: str, until: str, size: int, log: str = ""
) -> pb.ExportRequest:
    """What is asked for, without who asks."""
    from broker.v1 import audit_pb2 as pb

    request = pb.ExportRequest(facts=[fact(each) for each in facts or ()], size=size, format=form, log=log)
    for text, place, time in ((since, "first", "since"), (until, "before", "until")):
        if text.isascii() and text.isdecimal():
            setattr(request, place, min(int(text), (1 << 64) - 1))
        elif text:
            getattr(request, time).FromDatetime(inputs.moment(text))
    if until and not request.before and not request.HasField("until"):
        raise typer.BadParameter("--to 0 holds nothing")
    if person:
        request.person.CopyFrom(inputs.wire_subject(inputs.person_of(person)))
    return request


def sign(request: pb.ExportRequest, actor_id: str, role: str, reason: str, words: str) -> None:
    """Say who asks and why."""
    from broker.v1 import exchange_pb2

    request.actor.CopyFrom(exchange_pb2.Actor(id=actor_id, role=role))
    request.reason.CopyFrom(exchange_pb2.ReasonCode(code=reason, words=words))


def go_on(request: pb.ExportRequest, manifest: Manifest) -> None:
    """The rest of what was begun, to the same checkpoint."""
    from broker.offline.export.row import unverified

    request.first, request.before = manifest.looked, manifest.before
    request.size = unverified(manifest.checkpoint.encode()).size
    request.resumes, request.log = manifest.entries[0], manifest.log


def receive(
    link: Link,
    request: pb.ExportRequest,
    partial: Partial,
    keys: Sequence[Verifier],
    archive: Archive | None = None,
) -> None:
    """Take everything that the broker gives, and from the archive what is kept there alone.

    Raises IntegrityError where it is not what was asked for.
    """
    from broker.core.checkpoint import open_checkpoint
    from broker.offline.archive import filled
    from broker.v1.audit_pb2_grpc import AuditServiceStub

    request.archived = archive is not None
    pages = as_given(link.stream(AuditServiceStub(link.channel).Export, request, forever=True), request.facts)
    head = next(pages, None)
    if head is None or not head.HasField("head"):
        raise IntegrityError("the export has no beginning")
    checkpoint = open_checkpoint(head.head.checkpoint, keys)
    _require_all(request, head.head, checkpoint)
    manifest = _begun(request, head.head, checkpoint, partial)
    first = last = manifest.looked
    with progress("entries") as going:
        for page in pages:
            for row in page.rows:
                if not last <= row.index < min(manifest.before, page.looked):
                    raise IntegrityError(f"entry {row.index} came where it does not belong")
                if row.audience == "full" and not manifest.whole and not _filtered(request):
                    raise IntegrityError("the broker does not say that these are all, and all were asked for")
                if manifest.whole and row.index != last:
                    raise IntegrityError(f"entry {last} did not come, and every one was asked for")
                row.entry = filled(row.entry, archive, checkpoint.origin, row.index)
                _take(row, head.head, checkpoint, partial)
                last = row.index + 1
            if not last <= page.looked <= manifest.before or (manifest.whole and last != page.looked):
                raise IntegrityError(f"rows are missing before entry {page.looked}")
            last = page.looked
            partial.looked(page.looked, page.closed)
            going(page.looked - first, manifest.before - first)


def _require_all(request: pb.ExportRequest, head: pb.ExportHead, checkpoint: Checkpoint) -> None:
    """Check that the range is the one that was asked for, to the checkpoint that was asked for."""
    from broker.core.rotation import split_origin

    if request.log not in ("", checkpoint.origin, split_origin(checkpoint.origin)[1]):
        raise IntegrityError(f"the broker gives {checkpoint.origin}, and {request.log} was asked for")
    # All of another log stands before the export's own entry.
    own = head.entry_log == checkpoint.origin
    before = request.before or request.size or (head.index if own else checkpoint.size)
    if (head.first, head.before) != (request.first, max(before, request.first)):
        raise IntegrityError("the broker gives another range than was asked for")
    if checkpoint.size != request.size if request.size else own and checkpoint.size <= head.index:
        raise IntegrityError("the broker proves it in another checkpoint than was asked for")


def _filtered(request: pb.ExportRequest) -> bool:
    """Whether more than a range was asked for."""
    return bool(request.facts) or any(request.HasField(each) for each in ("person", "since", "until"))


def _begun(
    request: pb.ExportRequest, head: pb.ExportHead, checkpoint: Checkpoint, partial: Partial
) -> Manifest:
    """The manifest to begin with, or to go on with: then to the very same checkpoint."""
    from broker.offline.export.manifest import Manifest

    note, made = head.checkpoint.decode("utf-8"), partial.manifest
    if made is not None:
        same = (note, head.first, head.before, head.agency, head.whole)
        if same != (made.checkpoint, made.looked, made.before, made.agency, made.whole):
            raise IntegrityError(
                "the broker goes on with something else than was begun (another checkpoint, range or agency): "
                "begin anew"
            )
        partial.going_on(made.resumed(head.event_id))
        return made
    facts, somebody, since, until = told(request)
    made = Manifest(
        form=partial.form.name,
        log=checkpoint.origin,
        checkpoint=note,
        first=head.first,
        before=head.before,
        agency=head.agency,
        whole=head.whole,
        facts=facts,
        about_somebody=somebody,
        since=since,
        until=until,
        entries=(head.event_id,),
        looked=head.first,
        others=tuple(head.others),
        incidents=tuple(head.incidents),
        erased=tuple(head.erased),
    )
    partial.begin(made)
    return made


def told(request: pb.ExportRequest) -> tuple[tuple[str, ...], bool, str, str]:
    """What was asked, as a manifest says it: never whom it is about."""
    facts = tuple(f"{each.kind}={each.value}" for each in request.facts)
    return facts, request.HasField("person"), _time(request, "since"), _time(request, "until")


def _time(request: pb.ExportRequest, name: str) -> str:
    if not request.HasField(name):  # type: ignore[arg-type]  # one of two names
        return ""
    at: datetime = getattr(request, name).ToDatetime(UTC)
    return at.isoformat()


def _take(row: pb.ExportRow, head: pb.ExportHead, checkpoint: Checkpoint, partial: Partial) -> None:
    """Verify a row, then write it."""
    from broker.offline.export.row import Row, said

    one = Row(row.index, row.entry, head.agency, row.audience, row.opening, tuple(row.proof), head.checkpoint)
    try:
        partial.add(said(one, checkpoint))
    except IntegrityError as error:
        raise IntegrityError(
            f"entry {row.index} does not verify, and nothing of it is written: {error}"
        ) from error

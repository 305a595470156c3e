"""How much one message may hold: the bytes of a call's message, and the elements of every list in it.

Owns every such bound, and that there is no list without one: a servicer whose requests have one is not served
at all. Looked at before anything is read of a message, so that what is refused costs next to nothing, whoever
sent it. Refuses by the name of the list and its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from broker.accesswanted import MOST_SUBJECTS
from broker.core.directive_form import MAX_NAMES
from broker.core.late import MAX_FIELDS
from broker.errors import InvalidRequest, SetupError
from broker.late import MOST as MOST_LATE
from broker.plans import MOST_FILES

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

_KIB = 1024
# Of a call's one message; a stream's, which hold batches, are as large as the server takes at all.
USUAL = 128 * _KIB
BYTES: Mapping[str, int] = {
    "ApplyAgreementRequest": 1024 * _KIB,  # a file of 256 KiB, and signatures
    "ApplyRoutesRequest": 512 * _KIB,  # a file of 256 KiB
    "ApproveRecordTypeRequest": 512 * _KIB,  # descriptors of 256 KiB
    "DecideReferralRequest": 512 * _KIB,  # a thousand paths, and a signed statement
    "MakeReportRequest": 1536 * _KIB,  # a staff list of 1 MiB, as a file
    "PlanAgreementRequest": 2048 * _KIB,  # files of 256 KiB
    "RecordLateRequest": 1024 * _KIB,  # a hundred records, each with its words and fields
}
_PARTIES = 100
MAX_ITEMS = 256  # in one batch on a stream
MAX_IDS = 4096  # received, or given up, in one message of a stream
LISTS: Mapping[str, int] = {
    "Acting.crews": _PARTIES,
    "Acting.purposes": _PARTIES,
    "Acting.record_types": _PARTIES,
    "Agency.succeeded_by": _PARTIES,
    "Agency.successors": _PARTIES,
    "ApplyAgreementRequest.signatures": 100,
    "AttachRequest.answers": MAX_ITEMS,
    "ClearAccessRequest.entries": 500,
    "DecideReferralRequest.permitted_paths": 1000,
    "Directive.actors": MAX_NAMES,
    "Directive.providers": MAX_NAMES,
    "Directive.purposes": MAX_NAMES,
    "Directive.record_types": MAX_NAMES,
    "Directive.requesters": MAX_NAMES,
    "EnrolSystemRequest.roles": 32,
    "ErasePersonRequest.event_ids": 100,
    "ExchangeRequest.cancel": MAX_IDS,
    "ExchangeRequest.received": MAX_IDS,
    "ExchangeRequest.requests": MAX_ITEMS,
    "ExportRequest.facts": 16,
    "Hello.provides": 256,
    "LateRecord.fields": MAX_FIELDS,
    "PlanAgreementRequest.files": MOST_FILES,
    "PlanErasureRequest.event_ids": 100,
    "Provided.subject_schemes": 64,
    "RecordLateRequest.records": MOST_LATE,
    "SearchRequest.facts": 16,
    "SnoopingSigns.expects_incident": 100,
    "SnoopingSigns.shifts": 64,
    "SnoopingSigns.staff": 5000,
    "StartAccessRequest.subjects": MOST_SUBJECTS,
    "SucceedRequest.into": _PARTIES,
    "Successor.districts": 500,  # the United Kingdom has fewer
}
# One of a batch on a stream: what holds too much harms its own answer and not the link, so the look at it is
# `answers`'.
PART_OF_A_BATCH = frozenset({"Found", "NotFound", "ManyMatch"})

_Look = Callable[[Any, str], None]


def most_bytes(kind: Descriptor) -> int:
    """So many bytes a call's message of this kind may have."""
    return BYTES.get(kind.name, USUAL)


def check(message: Message) -> None:
    """No list in it is too long. Raises InvalidRequest naming the first that is."""
    for look in looks(message.DESCRIPTOR):
        look(message, "")


@lru_cache(maxsize=512)  # as many as there are kinds of message
def looks(kind: Descriptor) -> tuple[_Look, ...]:
    """What is to be looked at in a message of this kind: nothing where it has no list, however deep.

    Raises SetupError where one has no bound.
    """
    return tuple(_looks(kind))


def _looks(kind: Descriptor) -> Iterator[_Look]:
    for field in kind.fields:
        if field.is_repeated:
            yield _list(f"{kind.name}.{field.name}", field)
        elif field.message_type is not None and (inner := _inner(field)):
            yield _part(field.name, inner)


def _inner(field: FieldDescriptor) -> tuple[_Look, ...]:
    kind = field.message_type
    ours = kind is not None and kind.file.package == "broker.v1" and kind.name not in PART_OF_A_BATCH
    return looks(kind) if ours else ()


def _list(whole: str, field: FieldDescriptor) -> _Look:
    name, most = field.name, LISTS.get(whole)
    if most is None:
        raise SetupError(f"{whole}: a request's list needs a bound in broker/rpc/bounds.py")
    inner = _inner(field)

    def look(message: Any, within: str) -> None:
        items = getattr(message, name)
        if len(items) > most:
            raise InvalidRequest(f"{within}{name}", f"at most {most}")
        if inner:
            for n, each in enumerate(items):
                for deeper in inner:
                    deeper(each, f"{within}{name}.{n}.")

    return look


def _part(name: str, inner: tuple[_Look, ...]) -> _Look:
    def look(message: Any, within: str) -> None:
        if message.HasField(name):
            for each in inner:
                each(getattr(message, name), f"{within}{name}.")

    return look

"""Changes of what decisions read, each with its own entry: who made it, what it was, and when.

The one way a change is made. It is decided on what is stored now; where that has moved by the time of the
append, it is decided again.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec.structs import replace

from broker.core.canonical import Json
from broker.core.model import Actor, Assurance, Caller, Reason, SubjectRef
from broker.core.receipt import Receipt
from broker.core.views import ProviderView, RequesterView
from broker.errors import InvalidRequest, NotAllowed, Unsettled
from broker.ports import Appended, Change, Clock, Draft, Log, Reads

TRIES = 3


@dataclass(frozen=True, slots=True)
class Parties:
    """Whose entry a human's decision on a request is, beside the auditor's: both agencies read what came of it.

    `requester` is None where they must not learn that there was anything to decide.
    """

    requester_agency: str
    requester: RequesterView | None
    provider_agency: str
    provider: ProviderView


@dataclass(frozen=True, slots=True)
class Plan:
    """A change and what its entry says: `event` and `detail` for the full view, `words` erasable. Without a
    change, nothing that decisions read moves. `id` is the entry's, where the change is named after it."""

    event: str
    detail: dict[str, Json]
    change: Change | None
    reads: Reads | None = None
    words: str = ""
    parties: Parties | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """The entry of a change."""

    event_id: str
    receipt: Receipt

    @property
    def log(self) -> str:
        """The log in which it stands, at `receipt.index`."""
        return self.receipt.checkpoint.partition(b"\n")[0].decode()


# Counts one look of an agency, or one entry that it makes at will, at a moment of the loop's clock. Raises
# QuotaExceeded.
Spend = Callable[[str, float], None]


class Administration:
    """Makes changes, and notes looks, for whoever may. `spend` counts looks and what is made at will."""

    def __init__(self, log: Log, clock: Clock, spend: Spend | None = None) -> None:
        self._log = log
        self._clock = clock
        self._spend = spend

    async def make(
        self, caller: Caller, plan: Callable[[], Awaitable[Plan]], actor: Actor | None = None
    ) -> Made:
        """Make the change that `plan` gives; it is asked again when its inputs have moved. Raises Unsettled."""
        for _ in range(TRIES):
            planned = await plan()
            draft = self._draft(caller, planned.event, planned.detail, actor, planned.reads, planned.words)
            draft = _shared(draft, planned)
            if planned.change is None:
                committed = await self._log.append(draft)
            else:
                committed = await self._log.change(draft, planned.change)
            if isinstance(committed, Appended):
                return Made(draft.id, committed.receipt)
        raise Unsettled("what this change was decided on keeps changing; try again")

    async def note_look(
        self,
        caller: Caller,
        event: str,
        detail: dict[str, Json],
        actor: Actor,
        reason: Reason,
        *,
        counted: bool = True,
    ) -> Made:
        """The entry of somebody's look, to be committed before anything is shown: who it is, and why.

        What was asked once and goes on by itself is not `counted` again. Raises InvalidRequest where no reason
        is given, NotAllowed, QuotaExceeded.
        """
        detail = {**detail, "reason": why(reason)}
        if counted:
            self.count(caller)
        return await self.note(caller, event, detail, actor, reason.words)

    def count(self, caller: Caller) -> None:
        """Count an entry that an agency makes at will, as its looks are. Raises QuotaExceeded."""
        if self._spend is not None:
            self._spend(caller.agency, self._clock.loop_time())

    async def note(
        self,
        caller: Caller,
        event: str,
        detail: dict[str, Json],
        actor: Actor | None = None,
        words: str = "",
        request_id: str | None = None,
    ) -> Made:
        """An entry that changes nothing and is no look: an acknowledgement, a step on the way."""
        draft = self._draft(caller, event, detail, actor, None, words, request_id)
        committed = await self._log.append(draft)
        if not isinstance(committed, Appended):
            raise Unsettled("an entry without conditions was given back")
        return Made(draft.id, committed.receipt)

    def _draft(
        self,
        caller: Caller,
        event: str,
        detail: dict[str, Json],
        actor: Actor | None,
        reads: Reads | None,
        words: str = "",
        request_id: str | None = None,
    ) -> Draft:
        _check_role(caller, actor)
        now = self._clock.now()
        view = RequesterView(event, request_id=request_id)
        full: dict[str, Json] = {
            **view.as_json(),
            "policy": reads.policy if reads else None,
            "now": now.isoformat(),
            "requester": caller.agency,
            "system": caller.system,
            "key": caller.key_digest,
            "actor": {"id": actor.id, "role": actor.role} if actor else None,
            "detail": detail,
        }
        return Draft(
            id=str(uuid.uuid4()),
            at=now,
            requester=view,
            provider=None,
            full=full,
            requester_agency=caller.agency,
            words=words,
            reads=reads,
        )


def _shared(draft: Draft, plan: Plan) -> Draft:
    """The entry under its own id, and as the parties read it."""
    if plan.id:
        draft = replace(draft, id=plan.id)
    parties = plan.parties
    if parties is None:
        return draft
    return replace(
        draft,
        requester=parties.requester,
        provider=parties.provider,
        full={**draft.full, **parties.provider.as_json()},
        requester_agency=parties.requester_agency if parties.requester else "",
        provider_agency=parties.provider_agency,
    )


def named(actor: Actor) -> Actor:
    """The actor, who decides for their agency and so must be known in person. Raises InvalidRequest."""
    if actor.assurance < Assurance.PERSONAL_LOGIN:
        raise InvalidRequest(
            "actor.assurance", "this is for a named human: sign in by a personal login or a signed token"
        )
    return actor


def why(reason: Reason) -> str:
    """The code of a reason that has one. Raises InvalidRequest."""
    if not reason.code:
        raise InvalidRequest("reason.code", "say why, by a code such as complaint or to-decide")
    return reason.code


def _check_role(caller: Caller, actor: Actor | None) -> None:
    """An auditor's system sees everything, so it acts in the roles that its enrolment names and no others."""
    if actor is not None and caller.roles and actor.role not in caller.roles:
        roles = ", ".join(sorted(caller.roles))
        raise NotAllowed(
            f"{caller.name} is an auditor's and acts in the roles of its enrolment: {roles}; an operator "
            "enrols it with others by `broker system enrol --may-act-as`"
        )


def subject_detail(subject: SubjectRef) -> dict[str, Json]:
    """A subject as it stands in a full view."""
    return {"scheme": subject.scheme, "value": subject.value}

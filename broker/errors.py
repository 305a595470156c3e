"""Every failure the product can name, and nothing else.

The classes carry what a caller may read. `rpc/errors.py` maps them to gRPC statuses in one table; the
command line prints `str(error)` and exits 1. Text passed to a public error must never hold personal data:
it names fields, agencies, record types and agreements, not values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.core.model import Refused
    from broker.core.receipt import Receipt


class BrokerError(Exception):
    """Base of all named failures.

    `receipt` (a core Receipt) is there when an entry was committed before it; `replayed` says that the entry
    is an earlier one of the same request id.
    """

    receipt: Receipt | None = None
    replayed: bool = False


class InvalidRequest(BrokerError):  # noqa: N818 - the contract's own word
    """Bad input, naming the field (dotted proto path) that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class KeptElsewhere(InvalidRequest):
    """An entry of a closed log whose bytes were dropped here after an export: says where that is, and what can
    be had with it. `entry` is the half-year and the index, `place` the operator's words."""

    def __init__(self, entry: str, log: str, place: str, field: str = "event_id", first: str = "") -> None:
        super().__init__(
            field,
            f"{first}entry {entry} is kept in an export alone ({place}): `broker audit partition prove` proves "
            "it from a copy of that folder, and show, prove and export take one with --archive DIR",
        )
        self.entry, self.log, self.place = entry, log, place

    def asked_as(self, field: str, first: str) -> KeptElsewhere:
        """The same, of what was asked for in that field, with what that means said first."""
        return KeptElsewhere(self.entry, self.log, self.place, field, first)


class UnknownSystem(BrokerError):  # noqa: N818
    """The certificate presented is not an enrolled system's."""


class RevokedCertificate(UnknownSystem):
    """The key was enrolled once and is suspended, revoked or out of its dates now."""


class NotAllowed(BrokerError):  # noqa: N818
    """The system is known but its function or agency may not do this."""


class Denied(BrokerError):  # noqa: N818
    """A decision refused the request; `refusal` says with which code, rule and remedy."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal

    @property
    def code(self) -> str:
        """The closed code of the refusal."""
        return self.refusal.code

    @property
    def remedy(self) -> str:
        """What the person at the keyboard can do, in words."""
        return self.refusal.remedy


class Referred(Denied):
    """A named human of the provider must judge."""


class Ambiguous(Denied):
    """The traits given fit more than one person; the remedy names what to ask next."""


class SubjectNotFound(BrokerError):  # noqa: N818
    """The provider holds no such record. Said only after a permit, and never under ncnd."""


class Saturated(BrokerError):  # noqa: N818
    """A bounded queue is full. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QuotaExceeded(Saturated):
    """An agency asked for more than it was granted; `quota` is its name, as the metric has it."""

    def __init__(self, message: str, retry_after: float = 1.0, quota: str = "") -> None:
        super().__init__(message, retry_after)
        self.quota = quota


class TookTooLong(Saturated):
    """A call worked for longer than one may, and was ended so that others have their turn."""


class Draining(BrokerError):  # noqa: N818
    """This worker is going and another takes over: what had no answer may be sent again, unchanged, at once."""

    retry_after = 0.05


class ProviderUnavailable(BrokerError):  # noqa: N818
    """The provider's adapter or the system behind it cannot answer."""


class ProviderTimeout(BrokerError):  # noqa: N818
    """The provider did not answer inside the caller's time."""


class MappingError(ProviderUnavailable):
    """The provider's system holds what our mapping has no word for; names the element, never the value."""


class UnsoundAnswer(ProviderUnavailable):
    """What an adapter's answer function returned must not leave it; names fields, never values."""


class NotAgreed(ProviderUnavailable):
    """No agreement that the provider's own agency has signed names this question; nothing was looked up."""


class LinkLost(ProviderUnavailable):
    """The stream between an adapter and the broker ended, fell silent or broke its own rules."""


class AuditUnavailable(BrokerError):  # noqa: N818
    """Evidence could not be committed, so nothing was released."""


class Unsettled(AuditUnavailable):
    """What the decision read kept changing; three tries were not enough."""


class IndexBehind(AuditUnavailable):
    """The search index has not seen every entry yet, so what must be found whole cannot be."""


class NotWitnessed(AuditUnavailable):
    """The evidence is committed, and no quorum of witnesses has cosigned it in time; nothing was released."""


class NotTimestamped(AuditUnavailable):
    """The evidence is committed, and no checkpoint with it has been time-stamped yet."""


class KeyMissing(AuditUnavailable):
    """The key folder has not the key of a month and retention class that nobody has destroyed: what was sealed
    under it opens once the key is brought back, and counts as erased for nobody."""


class IntegrityError(BrokerError):
    """Evidence does not hold: a proof, signature, digest or guard does not match. Nothing was released."""


class KeyDestroyed(IntegrityError):  # noqa: N818
    """The key of a month and retention class was destroyed, as the log says, and with it every view that was
    sealed under it."""


class KeyUnknown(IntegrityError):  # noqa: N818
    """A view names a key that there never was: somebody changed it."""


class Cancelled(BrokerError):  # noqa: N818
    """The requester gave the request up before it was committed."""


class NotYetOffered(BrokerError):  # noqa: N818
    """The contract names it; this release answers UNIMPLEMENTED."""


class SetupError(BrokerError):
    """The operator can fix this: one sentence that says what is wrong and what to do."""


class CannotConnect(BrokerError):  # noqa: N818
    """The broker cannot be reached or will not have us; one sentence that says why. Nothing was released."""


def frames_of(error: BaseException) -> list[str]:
    """Where an error came from, `module.function:line`, the raising frame last; empty if it was never raised.

    For logs: never the error's text or a frame's values, which may quote a message.
    """
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}.{code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return frames

"""From what a provider found to what may leave: checked against its approved type, then made anew.

Implements `ports.Releases` over the catalogue. A redactor is compiled once for each version of an agreement
and of a record type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from broker.catalogue import Catalogue
from broker.core.model import Decision
from broker.core.record import Record
from broker.core.recordtype import Pin, RecordType
from broker.core.redaction import Redactor
from broker.errors import IntegrityError, InvalidRequest
from broker.ports import Found, Release

# What an agreement (`id/version`) bound of a record type (full name), by path.
Pins = Callable[[str, str], Mapping[str, Pin]]
Bound = tuple[tuple[str, tuple[int, ...]], ...]


class CatalogueReleases:
    """Redaction by the approved copy of each record type, never by the adapter's own."""

    def __init__(self, catalogue: Callable[[], Catalogue], pins: Pins) -> None:
        self._catalogue = catalogue
        self._pins = pins
        self._redactor = lru_cache(maxsize=4096)(self._compile)

    def known(self, full_name: str) -> RecordType:
        """The version approved last. Raises InvalidRequest where there is none."""
        return self._catalogue().newest(full_name)

    def release(self, found: Found, decision: Decision) -> Release:
        """The permitted part of what the provider found.

        Raises IntegrityError where the bytes are not of the type they claim: unreadable, or with fields that
        the approved version does not have, so made with another.
        """
        label = f"{decision.agreement}/{decision.agreement_version}"
        bound = decision.one_off.pins if decision.one_off else ()
        redactor = self._redactor(found.digest, decision.permitted, label, bound)
        redacted = redactor.redact_known(found.record.value)
        if redacted is None:
            raise IntegrityError("the provider's record has fields that its approved type does not have")
        # What is kept back for the person's sake must not show in what is said to be withheld.
        shown = self._redactor(found.digest, decision.named or decision.permitted, label, bound)
        return Release(Record(found.record.type_url, redacted.value), shown.withheld)

    def _compile(self, digest: str, permitted: tuple[str, ...], agreement: str, bound: Bound) -> Redactor:
        record_type = self._catalogue().by_digest(digest)
        # A one-off brings its own: no agreement has bound anything for it.
        one_off = {path: Pin(path, numbers) for path, numbers in bound}
        pins = one_off or self._pins(agreement, record_type.full_name)
        if not pins.keys() >= set(permitted):
            raise IntegrityError(f"agreement {agreement} did not bind the fields it is to release")
        try:
            # Names and numbers as they were signed: either alone can come to mean another field.
            record_type.check_pins(pins[path] for path in permitted)
            return Redactor(record_type, permitted)
        except InvalidRequest as e:
            raise IntegrityError(f"an agreement in force does not fit its record type: {e}") from e

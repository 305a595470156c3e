"""Law as data: codes with their source and date, and what each allows, passed to whoever decides.

The files beside this one are what a governance lead reads and a lawyer corrects; no code holds a code. A row
says what the walk of a decision and the checks of an agreement ask of it, and nothing more.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import TypeVar

import msgspec
from msgspec import Struct


class Row(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A code with its meaning in a line, where it comes from, and the day that was read."""

    code: str
    meaning: str
    source: str
    read_on: date


class Purpose(Row, frozen=True, kw_only=True):
    """Why a record may be asked for."""

    # HL7 v3 PurposeOfUse; empty where none fits.
    hl7: tuple[str, ...] = ()
    # W3C Data Privacy Vocabulary.
    dpv: str
    # DPA 2018 s.31: processing for it may fall under Part 3.
    law_enforcement: bool = False
    # And falls under nothing else: a competent authority has no other regime for it (DPA 2018 s.29(1)).
    only_law_enforcement: bool = False
    # Care of the very person: the national data opt-out never stands in its way, and consent may be implied.
    individual_care: bool = False
    # Life may depend on the answer: what restricts a person or a site after an override never blocks it.
    vital: bool = False


class Regime(Row, frozen=True, kw_only=True):
    """Which data-protection regime binds a party in a flow."""

    # Only competent authorities, and only for a law-enforcement purpose.
    law_enforcement: bool = False


class Basis(Row, frozen=True, kw_only=True):
    """A lawful basis."""

    regime: str
    # Barred to public authorities performing their tasks.
    private_only: bool = False
    # Stands only on the person's own consent.
    consent: bool = False


class Condition(Row, frozen=True, kw_only=True):
    """What lets special-category or offence data be processed."""

    regime: str
    # `special-category` or `offence`: labels of the fields it covers.
    covers: str
    # UK GDPR Art. 9(3): the recipient is a health or social-work professional or owes the same secrecy.
    secrecy: bool = False
    # DPA 2018 Sch. 1 Part 4, s.42: needs a policy document.
    policy_document: bool = False
    consent: bool = False


class Gateway(Row, frozen=True, kw_only=True):
    """A legal power or duty to share."""

    # Empty: any of them.
    purposes: frozenset[str] = frozenset()
    requesters: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    jurisdictions: frozenset[str] = frozenset()
    # First day in force; absent: it is in force.
    commences: date | None = None
    # Enacted and not commenced: no agreement may stand on it yet.
    uncommenced: bool = False
    # Labels of fields that it does not let through.
    closed_to: frozenset[str] = frozenset()
    # Kinds of agency whose information about people it does not let through.
    closed_to_providers: frozenset[str] = frozenset()
    # A duty to work together that opens nothing: named so that nobody takes it for a power to share.
    opens: bool = True
    # Authorises the use of law-enforcement data for another purpose (DPA 2018 s.36(4)).
    further_use: bool = False


class Confidence(Row, frozen=True, kw_only=True):
    """What sets aside the duty of confidence for health and care information."""

    # Only care of the very person.
    individual_care_only: bool = False
    # Needs the person's own recorded consent.
    consent: bool = False
    # Needs a Caldicott justification in the agreement.
    justification: bool = False
    # The information is not held in confidence: never so for special-category fields.
    not_confidential: bool = False
    # The national data opt-out gives way to it.
    outweighs_opt_out: bool = False


class Kind(Row, frozen=True, kw_only=True):
    """What sort of organisation an agency is, as the law treats it."""

    public_authority: bool = False
    # DPA 2018 s.30: may process under Part 3.
    competent_authority: bool = False
    # Its staff are health or social-work professionals or owe an equal secrecy (DPA 2018 s.11).
    secrecy: bool = False
    # What it holds about people is held in confidence.
    holds_confidential: bool = False


class BankHolidays(Row, frozen=True, kw_only=True):
    """The bank holidays of one nation in one year."""

    nation: str
    year: int
    days: frozenset[date]


class Law(Struct, frozen=True):
    """The closed lists that agreements and requests are checked against, by code."""

    purposes: Mapping[str, Purpose]
    bases: Mapping[str, Basis]
    conditions: Mapping[str, Condition]
    gateways: Mapping[str, Gateway]
    confidentiality: Mapping[str, Confidence]
    regimes: Mapping[str, Regime]
    kinds: Mapping[str, Kind]
    bank_holidays: Mapping[str, BankHolidays]
    # Hex SHA-256 over the files these lists were read from.
    digest: str = ""

    def holidays(self, nation: str) -> frozenset[date]:
        """Every bank holiday of a nation that is known."""
        return frozenset(day for row in self.bank_holidays.values() if row.nation == nation for day in row.days)


Of = TypeVar("Of", bound=Row)


def read(name: str, text: str, of: type[Of]) -> dict[str, Of]:
    """The rows of one law file by code. Raises ValueError naming the row where one is not of its shape."""
    rows: dict[str, Of] = {}
    for n, table in enumerate(tomllib.loads(text)["row"], 1):
        try:
            row = msgspec.convert(table, of)
        except msgspec.ValidationError as e:
            raise ValueError(f"{name}.toml, row {n}: {e}") from e
        if row.code in rows:
            raise ValueError(f"{name}.toml, row {n}: {row.code} stands twice")
        rows[row.code] = row
    return rows


def text(name: str) -> str:
    """A law file as it is shipped."""
    return resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")


def digest(texts: Iterable[str]) -> str:
    """Hex SHA-256 over the files in the order of `Law`, each by its own digest."""
    return hashlib.sha256(b"".join(hashlib.sha256(t.encode()).digest() for t in texts)).hexdigest()


@cache
def roles() -> frozenset[str]:
    """Roles that people usually act in. Not law, and no decision reads them: for the check of an agreement."""
    return frozenset(role for group in tomllib.loads(text("roles")).values() for role in group)


@cache
def load() -> Law:
    """The law files of this release."""
    return Law(
        purposes=read("purposes", text("purposes"), Purpose),
        bases=read("bases", text("bases"), Basis),
        conditions=read("conditions", text("conditions"), Condition),
        gateways=read("gateways", text("gateways"), Gateway),
        confidentiality=read("confidentiality", text("confidentiality"), Confidence),
        regimes=read("regimes", text("regimes"), Regime),
        kinds=read("kinds", text("kinds"), Kind),
        digest=digest(text(name) for name in Law.__struct_fields__ if name != "digest"),
        bank_holidays=read("bank_holidays", text("bank_holidays"), BankHolidays),
    )

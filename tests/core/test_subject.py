"""Identifiers: one spelling each, or what a person said could be walked around."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.subject import SCHEMES, SubjectRef, parse_subject
from broker.errors import InvalidRequest

GOOD = {
    "nhs-number": ["9000000009", "9434765919", "4000000004"],
    "chi-number": ["0101410001", "3112999999"],
    "uprn": ["1", "10000000001", "999999999999"],
    "police-nominal": ["N1", "AB-12345"],
    "social-care-id": ["P-100", "00"],
    "local-patient-id": ["RX7:0001", "RNL00:A-1"],
    "incident": ["nwas/2026-11-21/0042", "cumbria-police/2024-02-29/LC-1"],
}
BAD = {
    "nhs-number": [
        "9000000008",  # check digit
        "900 000 0009",
        "900-000-0009",
        "0000000000",
        "0101410001",  # a CHI number
        "90000000091",
        "900000000",
        "９０００００００09",  # full-width digits
        "9000000009\n",
        " 9000000009",
        "",
    ],
    "chi-number": ["9000000009", "0000410001", "0113410001", "3201410001", "010141000", "0101410001 "],
    "uprn": ["0", "01", "010000000001", "1000000000000", "1 ", "+1", "1.0", "１", "1\n", ""],
    "police-nominal": ["n1", "N", "-1", "N 1", "N1\n", "N_1", "N" * 33, "Ñ1"],
    "social-care-id": ["p1", "P", "P/1", "P" * 33],
    "local-patient-id": ["RX7", "RX7:", "rx7:1", "RX:1", "RX7:a", ":1", "RX7:1:2", "RX7:1\n"],
    "incident": [
        "nwas/2026-11-21",
        "nwas/2026-02-29/1",  # no such day
        "nwas/20261121/1",
        "NWAS/2026-11-21/1",
        "nwas/2026-11-21/a1",
        "nwas/2026-11-21/1/2",
        "/2026-11-21/1",
        "nwas/2026-11-21/1\n",
    ],
}


@pytest.mark.parametrize(("scheme", "value"), [(s, v) for s, vs in GOOD.items() for v in vs])
def test_a_canonical_identifier_is_taken_as_it_is(scheme: str, value: str) -> None:
    """What is canonical stands unchanged."""
    assert parse_subject(scheme, value) == SubjectRef(scheme, value)


@pytest.mark.parametrize(("scheme", "value"), [(s, v) for s, vs in BAD.items() for v in vs])
def test_any_other_spelling_is_refused_and_not_repeated(scheme: str, value: str) -> None:
    """The refusal names the field and the form, never the value."""
    with pytest.raises(InvalidRequest) as caught:
        parse_subject(scheme, value, "directive.subject")
    assert caught.value.field == "directive.subject.value"
    if len(value) > 3:
        assert value not in str(caught.value)


@pytest.mark.parametrize("scheme", ["", "NHS-NUMBER", "nhs", "nhs-number ", "passport"])
def test_an_unknown_scheme_is_refused_with_those_there_are(scheme: str) -> None:
    """A caller can act on the refusal."""
    with pytest.raises(InvalidRequest, match="nhs-number") as caught:
        parse_subject(scheme, "1")
    assert caught.value.field == "subject.scheme"


def test_every_scheme_is_covered_by_these_tests() -> None:
    """A scheme added tomorrow needs its canonical form stated here."""
    assert GOOD.keys() == BAD.keys() == SCHEMES.keys()


def _accepted(scheme: str, value: str) -> bool:
    try:
        parse_subject(scheme, value)
    except InvalidRequest:
        return False
    return True


def _essence(value: str) -> str:
    """What a human, or a database that is generous, would take two spellings for."""
    digits = "".join(str(int(c)) if c.isdigit() and c.isdecimal() else c for c in value)
    return digits.upper().replace(" ", "").replace("\N{NO-BREAK SPACE}", "").lstrip("+")


CHANGES = st.sampled_from(
    [
        lambda v: f" {v}",
        lambda v: f"{v} ",
        lambda v: f"{v}\n",
        lambda v: f"0{v}",
        lambda v: f"+{v}",
        lambda v: v.lower() if v.lower() != v else f"{v}\t",
        lambda v: v[:3] + " " + v[3:],
        lambda v: v[:3] + "\N{NO-BREAK SPACE}" + v[3:],
        lambda v: "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in v) + "\n",
        lambda v: v + "\0",
    ]
)


@given(st.sampled_from([(s, v) for s, vs in GOOD.items() for v in vs]), CHANGES)
def test_no_respelling_of_an_identifier_is_accepted(good: tuple[str, str], change: object) -> None:
    """Spaces, leading zeros, case, signs, other digits, line ends: none makes a second name of one person."""
    scheme, value = good
    other = change(value)  # type: ignore[operator]
    if scheme in ("police-nominal", "social-care-id", "local-patient-id", "incident") and other == f"0{value}":
        return  # letters and digits of an agency's own: a zero in front is another identifier there
    assert not _accepted(scheme, other)


@given(st.text("0123456789", min_size=10, max_size=10))
def test_no_number_is_both_an_nhs_and_a_chi_number(value: str) -> None:
    """Otherwise what was said under one scheme would be walked around with the other."""
    assert not (_accepted("nhs-number", value) and _accepted("chi-number", value))


@given(st.sampled_from(sorted(SCHEMES)), st.text(max_size=14))
def test_what_is_accepted_is_plain_ascii(scheme: str, value: str) -> None:
    """No look-alikes."""
    if _accepted(scheme, value):
        assert value.isascii()
        assert value.isprintable()
        assert _essence(value) in (value, value.upper())  # an incident's agency id has one case too: lower

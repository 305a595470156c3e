"""The NHS adapter against a real FHIR R4 server, and against one that lies, both over mutual TLS."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from adapters.nhs import demo
from adapters.nhs.demo import ADA, EDITH, EDITH_BEFORE, LOCAL_NUMBER, ROWAN, UNKNOWN, WILF
from adapters.nhs.demographics import NHS_NUMBER
from adapters.nhs.fhir import fhir_server
from adapters.nhs.source import PatientRecord
from adapters.sdk import (
    Found,
    InvalidRequest,
    NotFound,
    ProviderTimeout,
    ProviderUnavailable,
    Provides,
    SubjectRef,
)
from adapters.sdk.conformance import Case, check, leaves
from records.nhs.v1 import patient_summary_pb2 as nhs
from records.shared.v1 import fact_pb2 as shared
from tests.adapters.conftest import Asking
from tests.support.certificates import Authority
from tests.support.fhir import LyingServer, RealServer, lying_server, real_server, replies, searchset

SUMMARY = "records.nhs.v1.PatientSummary"
ALL = leaves(nhs.PatientSummary)
LOCAL = {LOCAL_NUMBER: "RZZ"}
PARTS = ("allergies", "medications", "conditions", "alerts")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the server and the adapter."""
    return Authority(tmp_path_factory.mktemp("trust-ca"))


@pytest.fixture(scope="module")
async def trust(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealServer]:
    """The trust's FHIR server with the synthetic patients."""
    client = authority.client("example-trust", "ehr")
    with real_server(tmp_path_factory.mktemp("fhir"), authority.server("fhir"), client) as server:
        await demo.load_demo(server.url, ca=client.ca, cert=client.cert, key=client.key)
        yield server


@pytest.fixture
async def record(authority: Authority, trust: RealServer) -> AsyncIterator[PatientRecord]:
    """The adapter's source on the real server."""
    async with source(authority, trust.url) as one:
        yield one


@pytest.fixture(scope="module")
def lying(authority: Authority) -> Iterator[LyingServer]:
    """A server whose answers a test makes up."""
    with lying_server(authority.server("liar")) as one:
        yield one


@pytest.fixture
def liar(lying: LyingServer) -> LyingServer:
    """The same, with one patient and nothing else to begin with."""
    lying.requests.clear()
    lying.answers.clear()
    lying.answers["Patient"] = replies(searchset(patient()))
    return lying


class source:  # noqa: N801 - used as the block it opens
    """The adapter's source on the server at `url`."""

    def __init__(self, authority: Authority, url: str) -> None:
        files = authority.client("example-trust", "adapter")
        self._server = fhir_server(url, ca=files.ca, cert=files.cert, key=files.key)

    async def __aenter__(self) -> PatientRecord:
        return PatientRecord(await self._server.__aenter__(), LOCAL)

    async def __aexit__(self, *error: Any) -> None:
        await self._server.__aexit__(*error)


def patient(**more: Any) -> dict[str, Any]:
    """A minimal patient under Edith's number."""
    number = {"system": NHS_NUMBER, "value": EDITH}
    return {"resourceType": "Patient", "id": "p1", "identifier": [number], **more}


async def found(record: PatientRecord, ask: Asking, number: str = EDITH, within: float = 5) -> Found:
    """The answer for one number, all leaves permitted."""
    answer = await record.answer(ask("nhs-number", number, ALL, within))
    assert isinstance(answer, Found)
    return answer


def summary(answer: Found) -> nhs.PatientSummary:
    """Its record."""
    assert isinstance(answer.record, nhs.PatientSummary)
    return answer.record


async def test_a_summary_holds_what_the_server_holds(record: PatientRecord, ask: Asking) -> None:
    """Demographics, practice, allergies, medicines, conditions and flags of one patient."""
    made = summary(await found(record, ask))
    assert (made.name.family, list(made.name.given), made.birth_date) == (
        "Exampleton",
        ["Edith"],
        "1941-03-09",
    )
    assert made.gender == nhs.GENDER_FEMALE
    assert (made.contact.address.postcode, made.contact.phone) == ("LA12 7ZZ", "01632 960014")
    assert made.practice.ods_code == "Y12345"
    [allergy] = made.allergies.items
    assert (allergy.substance.code, allergy.reaction.code, allergy.criticality) == (
        "91936005",
        "39579001",
        "high",
    )
    assert len(made.medications.items) == 2
    assert [c.condition.code for c in made.conditions.items] == ["13645005"]
    assert made.alerts.items[0].provenance.review_by == "2027-10-01"


async def test_every_identifier_is_learnt_and_the_old_number_finds_the_same_patient(
    record: PatientRecord, ask: Asking
) -> None:
    """Asked by either number: both are learnt, the trust's own too, and the record bears the current one."""
    for number in (EDITH, EDITH_BEFORE):
        answer = await found(record, ask, number)
        assert [(i.scheme, i.value) for i in answer.identifiers] == [
            ("local-patient-id", "RZZ:EX004711"),
            ("nhs-number", EDITH),
            ("nhs-number", EDITH_BEFORE),
        ]
        assert summary(answer).nhs_number == EDITH


async def test_a_changed_allergy_shows_in_the_next_answer(
    record: PatientRecord, ask: Asking, trust: RealServer
) -> None:
    """Recorded, refuted, deleted through the server's API: each next answer says so."""
    assert summary(await found(record, ask, ADA)).allergies.state == shared.FACT_STATE_NONE_RECORDED
    peanut = demo.allergy("ada-peanut", "ada", "91935009", "Allergy to peanut", criticality="high")
    await trust.put(peanut)
    [item] = summary(await found(record, ask, ADA)).allergies.items
    assert (item.substance.code, item.criticality) == ("91935009", "high")
    refuted = {
        "system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification",
        "code": "refuted",
    }
    await trust.put(peanut | {"verificationStatus": {"coding": [refuted]}})
    assert summary(await found(record, ask, ADA)).allergies.state == shared.FACT_STATE_NONE_RECORDED
    await trust.put(peanut)
    assert summary(await found(record, ask, ADA)).allergies.state == shared.FACT_STATE_VALUE
    await trust.delete("AllergyIntolerance", "ada-peanut")
    assert summary(await found(record, ask, ADA)).allergies.state == shared.FACT_STATE_NONE_RECORDED


async def test_no_known_allergy_is_none_recorded(record: PatientRecord, ask: Asking) -> None:
    """It is no allergy to something called "No known allergy"."""
    allergies = summary(await found(record, ask, WILF)).allergies
    assert (allergies.state, len(allergies.items)) == (shared.FACT_STATE_NONE_RECORDED, 0)


async def test_a_restricted_patient_cannot_be_located(record: PatientRecord, ask: Asking) -> None:
    """The contact says that it is withheld; the clinical parts are there."""
    made = summary(await found(record, ask, ROWAN))
    assert made.contact.state == shared.FACT_STATE_WITHHELD
    assert not made.contact.HasField("address")
    assert not made.contact.phone
    assert not made.HasField("practice")
    assert made.allergies.state == shared.FACT_STATE_VALUE


async def test_an_unknown_number_is_not_found(record: PatientRecord, ask: Asking) -> None:
    """The search succeeded and nobody has it."""
    answer = await record.answer(ask("nhs-number", UNKNOWN, ALL))
    assert answer == NotFound((SubjectRef("nhs-number", UNKNOWN),))


@pytest.mark.parametrize("bad", ["900 000 1005", "9000001006", "900000100", "90000010055", "9000000019", ""])
async def test_a_number_that_is_not_canonical_is_refused_without_quoting_it(
    record: PatientRecord, ask: Asking, bad: str
) -> None:
    """Spaces, a wrong check digit, a wrong length."""
    with pytest.raises(InvalidRequest) as e:
        await record.answer(ask("nhs-number", bad, ALL))
    assert not bad or bad not in str(e.value)


async def test_more_than_a_page_of_resources_is_read_whole(
    record: PatientRecord, ask: Asking, trust: RealServer
) -> None:
    """Paging is followed on the real server."""
    number = "9000001315"
    await trust.put(patient(id="many", identifier=[{"system": NHS_NUMBER, "value": number}]))
    for n in range(105):
        await trust.put(demo.allergy(f"many-{n}", "many", "300916003", "Allergy to latex"))
    assert len(summary(await found(record, ask, number)).allergies.items) == 105


async def test_only_what_will_be_released_is_searched(
    liar: LyingServer, authority: Authority, ask: Asking
) -> None:
    """Parts that the agreement does not name are not even read."""
    async with source(authority, liar.url) as record:
        answer = await record.answer(ask("nhs-number", EDITH, ["allergies.items.substance.code"]))
    assert isinstance(answer, Found)
    assert [url.rsplit("/", 2)[-2] for _, url, _ in liar.requests] == ["Patient", "AllergyIntolerance"]
    assert {f.name for f, _ in answer.record.ListFields()} == {"nhs_number", "allergies"}


async def test_numbers_stay_out_of_addresses_and_each_request_has_its_id(
    liar: LyingServer, authority: Authority, ask: Asking
) -> None:
    """Searches are POSTed; X-Request-ID is fresh each time and X-Correlation-ID the same for one question."""
    async with source(authority, liar.url) as record:
        await record.answer(ask("nhs-number", EDITH, ALL))
    assert len(liar.requests) == 5
    assert all(method == "POST" and EDITH not in url for method, url, _ in liar.requests)
    assert len({h["x-request-id"] for _, _, h in liar.requests}) == 5
    assert len({h["x-correlation-id"] for _, _, h in liar.requests}) == 1


async def hangs(_: Request) -> Response:
    """Answers long after anybody waits."""
    await asyncio.sleep(10)
    return JSONResponse({})


OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "fatal", "code": "exception"}]}
STRANGER = demo.allergy("x", "other", "300916003", "Allergy to latex")
NONSENSE = [
    replies(OUTCOME, 500),
    replies({"error": "no"}, 403),
    replies(Response(b"<html>", 200)),
    replies([1, 2]),
    replies({"resourceType": "Patient"}),
    replies(searchset(OUTCOME)),
    replies(searchset(STRANGER)),
    replies(searchset(following="https://localhost:1/fhir/AllergyIntolerance/1")),
    replies(searchset(following="https://[")),
    replies({"resourceType": "Bundle", "type": "searchset", "entry": [{}]}),
    replies(searchset() | {"id": "x" * (5 << 20)}),
    replies(RedirectResponse("https://localhost:1/")),
    hangs,
]


@pytest.mark.parametrize("make", NONSENSE)
async def test_a_part_that_cannot_be_read_is_unavailable_and_never_none(
    liar: LyingServer, authority: Authority, ask: Asking, make: Any
) -> None:
    """Errors, nonsense, somebody else's allergies, pages elsewhere, silence: unavailable; the rest stands."""
    liar.answers["AllergyIntolerance"] = make
    async with source(authority, liar.url) as record:
        started = time.monotonic()
        made = summary(await found(record, ask, within=2.0))
    assert time.monotonic() - started < 2.0
    assert made.allergies.state == shared.FACT_STATE_UNAVAILABLE
    assert made.allergies.as_at
    assert made.conditions.state == shared.FACT_STATE_NONE_RECORDED


async def test_a_list_without_end_is_unavailable(liar: LyingServer, authority: Authority, ask: Asking) -> None:
    """Pages are followed ten times; a list cut off there must not look whole."""

    async def endless(request: Request) -> Response:
        one = demo.allergy("x", "p1", "300916003", "Allergy to latex")
        return JSONResponse(searchset(one, following=f"{liar.url}/AllergyIntolerance/more"))

    liar.answers["AllergyIntolerance"] = endless
    async with source(authority, liar.url) as record:
        made = summary(await found(record, ask))
    assert made.allergies.state == shared.FACT_STATE_UNAVAILABLE
    assert sum("AllergyIntolerance" in url for _, url, _ in liar.requests) == 11


@pytest.mark.parametrize("make", [m for m in NONSENSE if m is not hangs])
async def test_a_patient_that_cannot_be_read_fails_the_answer(
    liar: LyingServer, authority: Authority, ask: Asking, make: Any
) -> None:
    """Never NotFound: "I could not look" is not "there is none"."""
    liar.answers["Patient"] = make
    async with source(authority, liar.url) as record:
        with pytest.raises(ProviderUnavailable):
            await found(record, ask)


async def test_a_server_that_hangs_costs_the_askers_time_and_no_more(
    liar: LyingServer, authority: Authority, ask: Asking
) -> None:
    """ProviderTimeout comes inside the time given."""
    liar.answers["Patient"] = hangs
    async with source(authority, liar.url) as record:
        started = time.monotonic()
        with pytest.raises(ProviderTimeout):
            await found(record, ask, within=0.4)
    assert time.monotonic() - started < 4


async def test_a_patient_who_was_not_asked_for_is_refused(
    liar: LyingServer, authority: Authority, ask: Asking
) -> None:
    """A server that ignores the search parameter must not give somebody else's record."""
    other = {"system": NHS_NUMBER, "value": ROWAN}
    liar.answers["Patient"] = replies(searchset(patient(identifier=[other])))
    async with source(authority, liar.url) as record:
        with pytest.raises(ProviderUnavailable, match="not asked for"):
            await found(record, ask)


async def test_two_patients_under_one_number_are_not_chosen_between(
    liar: LyingServer, authority: Authority, ask: Asking
) -> None:
    """Two active records: failed. One of them inactive: the other."""
    liar.answers["Patient"] = replies(searchset(patient(), patient(id="p2")))
    async with source(authority, liar.url) as record:
        with pytest.raises(ProviderUnavailable, match="more than one"):
            await found(record, ask)
        liar.answers["Patient"] = replies(searchset(patient(active=False), patient(id="p2")))
        await found(record, ask)


async def test_a_merged_patient_is_followed_once_and_both_numbers_are_learnt(
    liar: LyingServer, authority: Authority, ask: Asking
) -> None:
    """replaced-by leads to the surviving record, whose number is another."""
    merged = patient(active=False, link=[{"type": "replaced-by", "other": {"reference": "Patient/p2"}}])
    survivor = patient(id="p2", identifier=[{"system": NHS_NUMBER, "value": WILF}])

    async def either(request: Request) -> Response:
        return JSONResponse(survivor if request.method == "GET" else searchset(merged))

    liar.answers["Patient"] = either
    async with source(authority, liar.url) as record:
        answer = await found(record, ask)
    assert {i.value for i in answer.identifiers} == {EDITH, WILF}
    assert summary(answer).nhs_number == WILF


async def test_a_server_of_another_authority_is_refused(
    authority: Authority, ask: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate is not our CA's, and the environment cannot make it so."""
    other = Authority(tmp_path / "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.ca))
    with lying_server(other.server()) as stranger:
        async with source(authority, stranger.url) as record:
            with pytest.raises(ProviderUnavailable, match="cannot be reached"):
                await found(record, ask)
        assert stranger.requests == []


async def test_a_proxy_in_the_environment_is_not_used(
    authority: Authority, trust: RealServer, ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may stand between the adapter and its server."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with source(authority, trust.url) as record:
        await found(record, ask)


async def test_a_next_page_on_another_server_is_never_fetched(
    liar: LyingServer, authority: Authority, ask: Asking
) -> None:
    """Our certificate and the patient's id are for the trust's server alone, whoever vouches for it."""
    with lying_server(authority.server("elsewhere")) as elsewhere:
        liar.answers["Flag"] = replies(searchset(following=f"{elsewhere.url}/Flag/2"))
        async with source(authority, liar.url) as record:
            made = summary(await found(record, ask))
        assert made.alerts.state == shared.FACT_STATE_UNAVAILABLE
        assert elsewhere.requests == []


async def test_what_the_server_says_of_an_error_stays_inside(
    liar: LyingServer, authority: Authority, ask: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    """Diagnostics may quote a patient: neither the error nor the log repeats them."""
    caplog.set_level(logging.INFO, logger="adapters")
    quoting = {"severity": "error", "code": "processing", "diagnostics": f"{EDITH} Exampleton is odd"}
    outcome = {"resourceType": "OperationOutcome", "issue": [quoting]}
    liar.answers["Flag"] = replies(outcome, 400)
    async with source(authority, liar.url) as record:
        await found(record, ask)
        liar.answers["Patient"] = replies(outcome, 422)
        with pytest.raises(ProviderUnavailable) as e:
            await found(record, ask)
    assert str(e.value) == "the FHIR server answers Patient with 422 (processing)"
    assert "alerts unavailable" in caplog.text
    assert EDITH not in caplog.text
    assert "Exampleton" not in caplog.text


async def test_the_nhs_adapter_keeps_every_promise_of_the_kit(authority: Authority, tmp_path: Path) -> None:
    """The kit that every adapter author runs, the server stopped in the end."""
    client = authority.client("example-trust", "ehr")
    with real_server(tmp_path, authority.server("fhir2"), client) as server:
        await demo.load_demo(server.url, ca=client.ca, cert=client.cert, key=client.key)

        async def take_away() -> None:
            server.process.kill()
            await asyncio.to_thread(server.process.wait)

        case = Case(
            Provides(SUMMARY, ("nhs-number",)),
            SubjectRef("nhs-number", EDITH),
            SubjectRef("nhs-number", UNKNOWN),
        )
        async with source(authority, server.url) as record:
            verdicts = await check(record.answer, case, take_away=take_away)
    assert [v for v in verdicts if not v.kept] == []
    assert len(verdicts) == 9

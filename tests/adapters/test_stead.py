"""In whose place, or for whom, an adapter answers: where its settings say so, and no more than was signed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.sdk import AdapterSettings, SetupError
from adapters.sdk.question import Asker, Question, SubjectRef
from adapters.sdk.settings import copies, from_environment
from adapters.sdk.stead import Agreements
from broker.errors import NotAgreed
from tests.support.certificates import Authority
from tests.support.signing import Signatory, agreement
from tests.support.values import replace
from tests.support.worker import BROKER, RISK

NOW = datetime(2026, 11, 21, tzinfo=UTC)
QUESTION = Question(
    record_type=RISK,
    digest="d" * 64,
    subject=SubjectRef("uprn", "100"),
    traits=None,
    purpose="emergency-response",
    requester="nwas",
    requester_system="cad",
    actor=Asker("a1", "dispatcher", assurance=1),
    agreement="county",
    agreement_version=1,
    permitted_paths=("uprn",),
    deadline=time.monotonic() + 3600,
    provider="west-fire",
)


class Office:
    """An adapter of west-fire, its settings, and those who sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = Authority(folder / "ca").client("west-fire", "risk")
        self.values: dict[str, Any] = {
            "ca": files.ca,
            "cert": files.cert,
            "key": files.key,
            "expected_broker": BROKER,
            **self.signed("west-fire", agreement(id="own", provider="west-fire")),
        }

    def signed(self, agency: str, *files: bytes) -> dict[str, Path]:
        """A folder of an agency's signed agreements, and its pinned key."""
        folder, signatory = self.folder / agency, Signatory(agency)
        folder.mkdir()
        for n, file in enumerate(files):
            signatory.put(folder, f"{n}.toml", file)
        return {"agreements": folder, "agreement_keys": signatory.pin(self.folder / f"{agency}.pem")}

    def other(self, agency: str, *files: bytes) -> dict[str, str]:
        """The same as a setting about another agency."""
        made = self.signed(agency, *files)
        return {"agreements": str(made["agreements"]), "keys": str(made["agreement_keys"])}

    async def current(self, **settings: Any) -> Agreements:
        """What counts under these settings."""
        shelf = copies(AdapterSettings(**(self.values | settings)))
        assert shelf is not None
        return await shelf.current(5)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """A successor's adapter."""
    (tmp_path / "ca").mkdir()
    return Office(tmp_path)


COUNTY = agreement(id="county", provider="county-fire")


async def test_a_predecessors_agreement_counts_where_the_settings_say_so(office: Office) -> None:
    """With its pinned key; without the setting it is no copy of ours."""
    with pytest.raises(NotAgreed, match="not among its copies"):
        (await office.current()).check(QUESTION, NOW)
    told = await office.current(predecessors={"county-fire": office.other("county-fire", COUNTY)})
    told.check(QUESTION, NOW)
    told.check(replace(QUESTION, provider=""), NOW)
    told.check(replace(QUESTION, agreement="own"), NOW)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"permitted_paths": ("uprn", "crew_notes")}, "fields"),
        ({"requester": "cumbria-police"}, "requester"),
        ({"purpose": "law-enforcement"}, "purpose"),
        ({"agreement_version": 2}, "not among its copies"),
        ({"provider": "county-fire"}, "not set to act for 'county-fire'"),
        ({"provider": "east-fire"}, "not set to act for 'east-fire'"),
    ],
)
async def test_no_more_than_the_predecessor_signed(office: Office, change: dict[str, Any], why: str) -> None:
    """A successor gives what was agreed, and answers for nobody else."""
    told = await office.current(predecessors={"county-fire": office.other("county-fire", COUNTY)})
    with pytest.raises(NotAgreed, match=why):
        told.check(replace(QUESTION, **change), NOW)


async def test_a_key_that_is_not_the_predecessors_signs_nothing(office: Office) -> None:
    """Signed by somebody else in its name, it does not count."""
    setting = office.other("county-fire", COUNTY)
    setting["keys"] = str(Signatory("county-fire").pin(office.folder / "other.pem"))
    told = await office.current(predecessors={"county-fire": setting})
    with pytest.raises(NotAgreed, match="not among its copies"):
        told.check(QUESTION, NOW)


async def test_a_processor_answers_for_its_controllers_under_what_they_signed(office: Office) -> None:
    """Each question by the copies of whose record it is: the controller's for its own, never for another's."""
    theirs = agreement(id="theirs", provider="lancs-fire", permitted=("uprn", "crew_notes"))
    told = await office.current(acts_for={"lancs-fire": office.other("lancs-fire", theirs)})
    asked = replace(QUESTION, provider="lancs-fire", agreement="theirs")
    told.check(asked, NOW)
    for wrong in (
        replace(asked, provider="west-fire"),
        replace(asked, provider="mersey-fire"),
        replace(asked, agreement="own"),
        replace(QUESTION, agreement="own", provider="lancs-fire"),
    ):
        with pytest.raises(NotAgreed):
            told.check(wrong, NOW)


async def test_a_partners_successor_stands_under_its_old_name_where_the_settings_say_so(office: Office) -> None:
    """The requester took somebody's place: told so, the adapter finds the flow that names the old one."""
    asked = replace(QUESTION, agreement="own", requester="north-ambulance")
    with pytest.raises(NotAgreed, match="requester"):
        (await office.current()).check(asked, NOW)
    told = await office.current(successors={"nwas": ["north-ambulance"]})
    told.check(asked, NOW)
    with pytest.raises(NotAgreed, match="requester"):
        told.check(replace(asked, requester="south-ambulance"), NOW)


async def test_the_settings_go_with_the_check(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are JSON in the environment, and useless without copies of one's own."""
    for name in ("ca", "cert", "key"):
        monkeypatch.setenv(f"BROKER_ADAPTER_{name.upper()}", str(office.values[name]))
    monkeypatch.setenv("BROKER_ADAPTER_SUCCESSORS", '{"nwas": ["north-ambulance"]}')
    with pytest.raises(SetupError, match="need AGREEMENTS"):
        from_environment()
    monkeypatch.setenv("BROKER_ADAPTER_AGREEMENTS", str(office.values["agreements"]))
    monkeypatch.setenv("BROKER_ADAPTER_AGREEMENT_KEYS", str(office.values["agreement_keys"]))
    monkeypatch.setenv("BROKER_ADAPTER_EXPECTED_BROKER", BROKER)
    assert from_environment().successors == {"nwas": frozenset({"north-ambulance"})}

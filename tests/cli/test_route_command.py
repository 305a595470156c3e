"""`broker route`, `broker agency act`, `succeed` and `leave` against a real broker."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Parties, Run
from tests.support.running import RunningBroker

PATIENT = "records.nhs.v1.PatientSummary"
FILE = f"""\
id = "clitrusts"
version = 1
title = "Who holds summaries"

[timetables.office]
days = ["monday", "tuesday", "wednesday", "thursday", "friday"]
opens = 09:00:00
closes = 17:00:00
bank_holidays = "england-and-wales"

[[routes]]
id = "day"
record_type = "{PATIENT}"
districts = ["E07000029"]
hours = "office"
timetable = "office"
holder = "clinhs"

[[routes]]
id = "night"
record_type = "{PATIENT}"
districts = ["E07000029"]
hours = "out-of-hours"
timetable = "office"
holder = "clitrust"
"""


@pytest.fixture
def file(broker: Run, parties: Parties, running_broker: RunningBroker, tmp_path: Path) -> Path:
    """A file of routes between two trusts."""
    running_broker.join("clitrust", "ed", "nhs")
    path = tmp_path / "routes.toml"
    path.write_text(FILE)
    return path


def test_a_file_of_routes_is_checked_applied_and_shown(broker: Run, file: Path) -> None:
    """Checked without effect, applied, listed, shown with its exact bytes; and asked for a moment."""
    checked = broker("route", "check", file, "--json").json
    assert (checked["applied"], checked["added"]) == (False, ["day", "night"])
    assert broker("route", "apply", file, "--json").json["applied"]
    listed = broker("route", "list", "--json").rows
    assert [(r["file"], r["route"], r["holder"]) for r in listed if r["file"].startswith("clitrusts")] == [
        ("clitrusts/1", "day", "clinhs"),
        ("clitrusts/1", "night", "clitrust"),
    ]
    assert "Mon, Tue, Wed, Thu, Fri 09:00-17:00, but not bank holidays" in broker("route", "list").out
    assert broker("route", "show", "clitrusts", "--file").out == FILE
    assert "Who holds summaries" in broker("route", "show", "clitrusts").out
    asked = ("route", "ask", "--type", PATIENT, "--place-district", "E07000029", "--json", "--at")
    day = broker(*asked, "2026-11-20T16:59:59Z").json
    assert (day["provider"], day["until"]) == ("clinhs", "2026-11-20T17:00:00Z")
    assert broker(*asked, "2026-11-20T17:00:00Z").json["provider"] == "clitrust"
    nobody = broker("route", "ask", "--type", PATIENT, "--place-district", "E07000026")
    assert (nobody.code, "No agency is known to hold" in nobody.out) == (1, True)
    again = broker("route", "apply", file)
    assert (again.code, "version: version 1 is applied" in again.err) == (1, True)


def test_a_request_without_a_provider_says_what_it_needs(broker: Run, parties: Parties) -> None:
    """`broker request` takes a district instead; without either it says so."""
    asks = ("request", "--record-type", PATIENT, "--subject", "nhs-number:9434765919", "--purpose")
    who = ("emergency-response", "--actor-id", "j", "--role", "fire-crew", "--as", parties.requester)
    without = broker(*asks, *who)
    assert without.code == 1
    assert "place.district: is needed where no provider is named" in without.err
    unknown = broker(*asks, *who, "--place-district", "E08000003")
    assert (unknown.code, "No agency is known to hold" in unknown.out + unknown.err) == (1, True)


def test_acting_is_entered_listed_and_ended(
    broker: Run, running_broker: RunningBroker, parties: Parties
) -> None:
    """One agency acts for another until it is ended; whoever acts for nobody is refused."""
    control = running_broker.join("clicontrol", "cad", "other")
    ask = ("request", "--record-type", PATIENT, "--subject", "nhs-number:9434765919", "--purpose")
    ask += ("emergency-response", "--actor-id", "j", "--role", "fire-crew", "--provider", "clinhs")
    ask += ("--as", control, "--on-behalf-of", "clifire")
    before = broker(*ask)
    assert "clicontrol does not act for clifire" in before.out + before.err
    made = broker("agency", "act", "clicontrol", "--for", "clifire", "--contract", "C-1", "--json").json
    assert made["status"] == "in force"
    listed = broker("agency", "act-list", "--json").rows
    assert [each["id"] for each in listed if each["controller"] == "clifire"] == [made["id"]]
    # Decided for the controller: its agreement permits, and nobody is attached who could answer.
    after = broker(*ask)
    assert "does not act for" not in after.out + after.err
    assert "no adapter of the provider is attached" in after.out + after.err
    assert broker("agency", "act-end", made["id"], "--reason", "over").code == 0
    assert "does not act for" in broker(*ask).out + broker(*ask).err
    assert broker("agency", "act", "clicontrol", "--for", "nobody", "--contract", "C-1").code == 1


def test_a_succession_is_shown_before_it_is_carried_out(broker: Run, running_broker: RunningBroker) -> None:
    """The plan alone changes nothing; with --yes it is done, and cannot be done twice."""
    for agency in ("cliold", "cliwest", "clieast"):
        running_broker.join(agency, "mash", "council")
    on = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    parts = ("--into", "cliwest=E07000026,E07000028", "--into", "clieast=E07000030", "--by", "district")
    shown = broker("agency", "succeed", "cliold", *parts, "--on", on)
    assert "in its place\n  cliwest: E07000026, E07000028" in shown.out
    assert shown.code == 0, shown.err
    assert "cliold/mash" in shown.out
    assert "Give --yes to carry it out" in shown.out
    assert broker("agency", "succeed", "cliold", *parts, "--on", on, "--yes", "--json").json["carried_out"]
    agencies = {each["id"]: each for each in broker("agency", "list", "--json").rows}
    assert agencies["cliold"]["successors"] == ["cliwest", "clieast"]
    assert agencies["cliold"]["valid_until"]
    again = broker("agency", "succeed", "cliold", *parts, "--on", on, "--yes")
    assert (again.code, "was replaced by cliwest, clieast already" in again.err) == (1, True)
    half = broker("agency", "succeed", "cliwest", "--into", "clieast=E07000026", "--on", on)
    assert (half.code, "go together" in half.err) == (2, True)


@pytest.mark.long
def test_a_succession_is_put_right_or_taken_back_until_its_day(
    broker: Run, running_broker: RunningBroker
) -> None:
    """Each is planned first and has an entry; the list says who takes whose place, and where."""
    for agency in ("pendold", "pendwest", "pendeast"):
        running_broker.join(agency, "mash", "council")
    on = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
    parts = ("--into", "pendwest=E07000026", "--into", "pendeast=E07000030", "--by", "district", "--on", on)
    planned = broker("agency", "succeed", "pendold", *parts)
    assert "look at this again\n  E07000026 of pendwest: no route to pendold mentions it" in planned.out
    assert broker("agency", "succeed", "pendold", *parts, "--yes").code == 0
    assert "pendwest in E07000026" in broker("agency", "list").out
    others = tuple(each.replace("E07000030", "E07000031") for each in parts)
    again = broker("agency", "succeed", "pendold", *others)
    assert (again.code, "was replaced" in again.err) == (1, True)
    assert broker("agency", "succeed", "pendold", *others, "--correct", "--yes", "--json").json["entry"]
    (old,) = [each for each in broker("agency", "list", "--json").rows if each["id"] == "pendold"]
    assert old["succeeded_by"] == [
        {"agency": "pendwest", "districts": ["E07000026"]},
        {"agency": "pendeast", "districts": ["E07000031"]},
    ]
    assert broker("agency", "succeed", "pendold", "--take-back", "--on", on).code == 2
    assert broker("agency", "succeed", "pendold", "--on", on).code == 2
    back = broker("agency", "succeed", "pendold", "--take-back")
    assert (back.code, "Nothing was changed. Give --yes" in back.out) == (0, True)
    assert "pendold/mash" in back.out
    assert broker("agency", "succeed", "pendold", "--take-back", "--yes", "--json").json["carried_out"]
    (old,) = [each for each in broker("agency", "list", "--json").rows if each["id"] == "pendold"]
    assert (old["successors"], old["valid_until"]) == ([], None)
    mistyped = broker("agency", "succeed", "pendold", *(each.replace("E07", "E10") for each in parts))
    assert (mistyped.code, "'E10000026' is not the ONS code of a district" in mistyped.err) == (1, True)


def test_the_recipe_of_the_routing_page_works_as_it_is_printed(broker: Run, tmp_path: Path) -> None:
    """Cumbria on 1 April 2023: the very commands of docs/routing.md, dates as days, in their order."""
    page = (Path(__file__).parents[2] / "docs" / "routing.md").read_text()
    section = page.partition("## When one agency becomes another")[2]
    blocks = re.findall(r"```\n(broker agency .*?)```", section, re.DOTALL)
    lines = [line for block in blocks[:2] for line in block.replace("\\\n", " ").splitlines()]
    assert sum(line.startswith("broker agency succeed") for line in lines) == 2
    for old, kind in (("cumbria", "council"), ("cumbria-fire", "fire")):
        made = broker("agency", "add", old, "--name", old, "--kind", kind, "--from", "1974-04-01")
        assert made.code == 0, made.err
    for line in lines:
        _, *words = shlex.split(line)
        done = broker(*words, *(("--yes",) if "succeed" in words else ()))
        assert done.code == 0, (line, done.err)
    known = {each["id"]: each for each in broker("agency", "list", "--json").rows}
    assert known["cumbria"]["successors"] == ["cumberland", "westmorland-furness"]
    assert known["cumbria"]["valid_until"] == known["cumberland"]["valid_from"] == "2023-03-31T23:00:00Z"
    assert known["cumbria-fire"]["successors"] == ["cfrs"]


def test_leaving_says_what_becomes_of_the_entries(broker: Run, running_broker: RunningBroker) -> None:
    """Shown first, then done."""
    running_broker.join("cligone", "mash", "council")
    on = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    shown = broker("agency", "leave", "cligone", "--on", on)
    assert "broker audit export" in shown.out
    done = broker("agency", "leave", "cligone", "--on", on, "--reason", "merged", "--yes", "--json")
    assert done.json["systems"] == ["cligone/mash"]

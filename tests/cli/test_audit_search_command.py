"""`broker audit search` against a running broker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from broker.cli.audit_search import FACTS, read
from broker.core.searchterms import KINDS
from broker.v1 import audit_pb2
from tests.cli.conftest import Parties, Run
from tests.support.running import RunningBroker

WHO = ("--reason", "complaint", "--actor-id", "ann", "--role", "auditor")


def test_what_a_party_did_is_found_and_the_search_is_an_entry(
    broker: Run, parties: Parties, running_broker: RunningBroker, auditor: str
) -> None:
    """One line each with index, time, agency and event; the auditor finds the searches of others too."""
    deadline = time.monotonic() + 20
    while True:
        found = broker("audit", "search", *WHO, "--where", "event=agreement-applied", "--as", auditor)
        assert found.code == 0, found.err
        if " agreement-applied" in found.out or time.monotonic() > deadline:
            break
        time.sleep(0.3)
    assert " agreement-applied" in found.out
    assert "The index reaches entry" in found.out
    mine = broker("audit", "search", *WHO, "--person", "uprn:100062990001", "--as", parties.requester)
    assert (mine.code, mine.out.startswith("0 found")) == (0, True)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        told = broker("audit", "search", *WHO, "--where", "event=log-searched", "--json", "--as", auditor)
        lines = [json.loads(line) for line in told.out.splitlines()]
        end = lines.pop()["end"]
        if any(line["view"]["requester"] == "clifire" for line in lines):
            break
        time.sleep(0.3)
    assert {line["audience"] for line in lines} == {"full"}
    assert (end["found"], end["beyond"], end["incidents"]) == (len(lines), None, [])
    assert any(
        line["view"]["detail"]["subject"] == {"scheme": "uprn", "value": "100062990001"} for line in lines
    )


def test_the_least_that_the_index_reached_is_told() -> None:
    """Of each log, whichever page it was said with: the index may be made anew while a search goes on."""
    reached = dict[str, audit_pb2.SearchPage]()
    for log, indexed, size in (("b", 9, 9), ("b", 4, 9), ("b", 10, 10), ("a", 3, 3)):
        read(reached, audit_pb2.SearchPage(log=log, indexed=indexed, size=size))
    told = {log: (page.indexed, page.size) for log, page in reached.items()}
    assert told == {"b": (4, 10), "a": (3, 3)}


def test_a_word_that_no_entry_has_is_named_as_it_was_given(broker: Run, auditor: str, tmp_path: Path) -> None:
    """Of several facts the one that is wrong, and what it could be; in a search and in an export."""
    wrong = ("--where", "outcome=permit", "--where", "event=refusl", *WHO, "--as", auditor)
    told = "error: --where event=refusl: is no event that an entry can have; did you mean refusal"
    for command in (("search",), ("export", "-o", tmp_path / "out.jsonl")):
        found = broker("audit", *command, *wrong)
        assert found.code == 1
        assert told in found.err
    none = broker("audit", "search", "--where", "agreement=there-is-none", *WHO, "--as", auditor)
    assert "--where agreement=there-is-none: is no agreement that an entry can have; `broker" in none.err
    far = broker("audit", "search", "--where", "event=zzzz", *WHO, "--as", auditor)
    assert "docs/audit.md says which there are" in far.err


def test_what_cannot_be_asked_is_said(broker: Run, parties: Parties) -> None:
    """A kind that is not known, a person who is not named, an operator."""
    assert broker("audit", "search", *WHO, "--where", "colour=blue").code == 2
    assert broker("audit", "search", *WHO, "--person", "nobody").code == 2
    shown = broker("audit", "search", *WHO, "--person", "nhs-number:9000001005")
    assert (shown.code, "standard input" in shown.err, "9000001005" in shown.err) == (2, True, False)
    refused = broker("audit", "search", *WHO, "--as", "operator-cli")
    assert (refused.code, "operators run the broker" in refused.err) == (1, True)


def test_following_shows_what_comes(running_broker: RunningBroker, broker: Run, auditor: str) -> None:
    """An entry that is made while somebody stays is shown to them within seconds."""
    words = ("audit", "search", *WHO, "--follow", "--where", "event=entry-viewed", "--as", auditor)
    state = ("--state", str(running_broker.state), "--json")
    argv = [sys.executable, "-u", "-m", "broker", *words, *state]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as staying:
        try:
            time.sleep(2.0)
            shown = broker("audit", "show", "0", *WHO, "--as", auditor)
            assert shown.code == 0, shown.err
            assert staying.stdout is not None
            assert json.loads(staying.stdout.readline())["view"]["event"] == "entry-viewed"
        finally:
            staying.terminate()


def test_whoever_took_anothers_place_reads_what_it_was_party_to(
    broker: Run, running_broker: RunningBroker, tmp_path: Path
) -> None:
    """Over the wire, with its own certificate, by naming the old one, whose certificate opens nothing."""
    old = running_broker.join("cliended", "mash", "council")
    new = running_broker.join("clifollows", "mash", "council")
    for agency in ("cliended", "clifollows"):
        since = ("--name", agency, "--kind", "council", "--from", "2020-01-01")
        assert broker("agency", "add", agency, *since, "--replace").code == 0
    how = ("--standing", "self", "--manner", "verbal", "--actor-id", "p.moss", "--role", "clerk")
    person = "nhs-number:9000000009"
    said = broker("directive", "add", "objection", "--subject", "-", *how, "--as", old, stdin=person)
    assert said.code == 0, said.err
    mine = (
        "audit",
        "search",
        *WHO,
        "--where",
        "event=directive-recorded",
        "--person",
        "-",
        "--as",
        new,
        "--json",
    )
    asked = (*mine, "--in-place-of", "cliended")
    refused = broker(*asked, stdin=person)
    assert (refused.code, "clifollows has not taken the place of cliended, or not yet" in refused.err) == (
        1,
        True,
    )
    today = datetime.now(UTC).date().isoformat()
    done = broker("agency", "succeed", "cliended", "--into", "clifollows", "--on", today, "--yes")
    assert done.code == 0, done.err
    found = broker(*asked, stdin=person)
    assert found.code == 0, found.err
    (hit, _) = [json.loads(line) for line in found.out.splitlines()]
    assert hit["view"]["event"] == "directive-recorded"
    assert "directive-recorded" not in broker(*mine, stdin=person).out
    out = tmp_path / "old.jsonl"
    taken = broker("audit", "export", "-o", out, *WHO, "--as", new, "--in-place-of", "cliended", "--json")
    assert taken.code == 0, taken.err
    assert "directive-recorded" in out.read_text()
    gone = broker("audit", "search", *WHO, "--as", old)
    assert (gone.code, "cliended-mash" in gone.err) == (1, True)


def test_the_help_names_every_kind_that_may_be_asked_for() -> None:
    """The command cannot import the list without what makes `--help` slow, so it has its own."""
    assert FACTS == KINDS


def test_an_incident_has_more_than_one_number(broker: Run, parties: Parties, auditor: str) -> None:
    """The agency that gave one says so; a search by the other says that it looked for both."""
    agency = parties.requester.partition("-")[0]
    ours, theirs = f"{agency}/2026-11-21/7", "other/2026-11-21/8"
    person = ("--actor-id", "ann", "--role", "duty-manager", "--as", parties.requester)
    assert broker("audit", "incident", theirs, "--also", ours, *person).code == 1
    said = broker("audit", "incident", ours, "--also", theirs, "--json", *person)
    assert (said.code, json.loads(said.out)["same"]) == (0, True), said.err
    found = broker("audit", "search", *WHO, "--where", f"incident={theirs}", "--as", auditor)
    assert f"Looked for {theirs} also as {ours}." in found.out
    assert "1 found" in found.out

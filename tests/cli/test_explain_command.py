"""`broker explain`, `broker audit replay` and `broker agreement plan` on a real broker with PostgreSQL."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.cli.conftest import ACTOR, SUBJECT, Parties, Run, run
from tests.support.postgres import Server, ask
from tests.support.running import RunningBroker, serving

TYPE = "records.nhs.v1.PatientSummary"
WHO = ("--actor-id", "a.auditor", "--role", "auditor")
WHY = ("--reason", "complaint", *WHO)
ASK = ("--provider", "clinhs", "--record-type", TYPE, "--purpose", "emergency-response", "--subject", "-")


@pytest.fixture
def refused(broker: Run, parties: Parties, auditor: str) -> tuple[str, str]:
    """A request that the role refused: its id, and its entry."""
    us = ("--as", parties.requester, "--actor-id", "j.wilson", "--role", "clerk")
    request_id = str(uuid.uuid4())
    told = broker("request", *ASK, *us, "--request-id", request_id, "--json", stdin=SUBJECT)
    assert told.code == 1, told.out
    return request_id, str(told.json["entry"])


def test_an_entry_explained_to_an_auditor(broker: Run, refused: tuple[str, str]) -> None:
    """Every step with its question and law, the inputs, who can mend it, and the decision made again."""
    shown = broker("explain", refused[1], *WHY)
    assert shown.code == 0, shown.err
    for words in (
        "the same, made again",
        "Is the asking role one that it names?",
        "DPA 2018 s.62",
        "summaries-for-crews version 1",
        "The requester, through somebody in a role that it names",
        "clifire/mdt",
    ):
        assert words in shown.out
    told = broker("explain", refused[1], *WHY, "--json").json
    assert (told["audience"], told["replay"]["verdict"], told["hypothetical"]) == ("full", "same", False)
    by_request = broker("explain", refused[0], *WHY, "--json")
    assert by_request.code == 0, by_request.err
    assert by_request.json["event_id"] == refused[1]
    nobody = broker("explain", str(uuid.uuid4()), *WHY)
    assert (nobody.code, "no such entry" in nobody.err) == (1, True)
    assert {each["kind"] for each in told["inputs"]} >= {"agreement", "agency", "system", "law", "record-type"}


def test_ones_own_request_explained(broker: Run, refused: tuple[str, str], parties: Parties) -> None:
    """By its request id, in stages; to another system there is no such request."""
    line = ("explain", "--request-id", refused[0], "--reason", "complaint", *ACTOR)
    told = broker(*line, "--as", parties.requester, "--json").json
    assert [rule["rule"] for rule in told["rules"]] == ["party", "purpose", "agreement", "role"]
    assert (told["event_id"], told["inputs"]) == (refused[1], [])
    shown = broker(*line, "--as", parties.requester)
    assert "Ask through somebody in one of these roles: fire-crew." in shown.out
    other = broker(*line, "--as", parties.provider)
    assert (other.code, "names no request of this system" in other.err) == (1, True)


def test_a_request_that_has_not_been_made(broker: Run, parties: Parties) -> None:
    """What it would come to, for whom nothing is known; the person is not looked at, and that is said."""
    us = ("--as", parties.requester, *ACTOR)
    shown = broker("explain", *ASK, *us, stdin=SUBJECT)
    assert shown.code == 0, shown.err
    assert "a request that has not been made" in shown.out
    assert "not looked at" in shown.out
    assert "allergies.state" in shown.out
    told = broker("explain", *ASK, *us, "--json", stdin=SUBJECT).json
    assert (told["hypothetical"], told["decision"]["outcome"]) == (True, "permit")


@pytest.mark.parametrize("line", [(), ("41", "--request-id", "x"), ("--record-type", TYPE)])
def test_one_question_at_a_time(broker: Run, auditor: str, line: tuple[str, ...]) -> None:
    """None, two, or half of one cannot be read."""
    assert broker("explain", *line, *WHO).code == 2


def test_a_replay_and_where_to_go_on(broker: Run, refused: tuple[str, str]) -> None:
    """The log of all these tests, made again: nothing differs; and from where a first look ended."""
    whole = broker("audit", "replay", *WHY, "--json")
    assert whole.code == 0, whole.out
    told = whole.json
    assert (told["complete"], told["mismatches"], told["found"]) == (True, 0, [])
    assert told["same"] == told["decisions"] > 0
    middle = told["until"] // 2
    parts = [
        broker("audit", "replay", *WHY, "--since", since, "--until", until, "--json").json
        for since, until in ((0, middle), (middle, told["until"]))
    ]
    assert parts[0]["until"] == parts[1]["since"]
    assert sum(part["decisions"] for part in parts) == told["decisions"]
    assert "mismatches" in broker("audit", "replay", *WHY, "--since", middle).out
    assert broker("audit", "replay", *WHY, "--as", "operator-cli").code == 1


def test_a_plan(broker: Run, refused: tuple[str, str], parties: Parties, tmp_path: Path) -> None:
    """Before anybody signs: the flows that change, and which requests would have come out otherwise."""
    text = parties.file.read_text().replace("version = 1", "version = 2", 1)
    file = tmp_path / "next.toml"
    file.write_text(text.replace('["fire-crew"]', '["fire-crew", "clerk"]'))
    shown = broker("agreement", "plan", file, *WHY)
    assert shown.code == 0, shown.err
    assert "refuse to permit" in shown.out
    told = broker("agreement", "plan", file, *WHY, "--list", "--json").json
    (change,) = told["changes"]
    assert (change["change"], change["terms"]) == ("changed", ["roles: fire-crew -> fire-crew, clerk"])
    assert told["counts"]["refuse-to-permit"] == told["would_flip"] >= 1
    assert refused[1] in {flip["entry"] for flip in told["flips"]}
    file.write_text(text.replace('"allergies.state"', '"allergies.stat"'))
    bad = broker("agreement", "plan", file, *WHY)
    assert bad.code == 1
    assert f"{file}: flows.0.permitted" in bad.err
    assert broker("agreement", "plan", file, *WHY, "--as", parties.requester).code == 1


FLIPPED = "update view set views = set_byte(views, 40, get_byte(views, 40) # 1) where idx = 0"
REWRITTEN = """
update entry set leaf = convert_to(
    regexp_replace(convert_from(leaf, 'UTF8'), '"requester":"[0-9a-f]{8}', '"requester":"00000000'), 'UTF8')
where idx = 1
"""


async def test_what_was_tampered_with_is_a_mismatch(postgres: Server, tmp_path: Path) -> None:
    """A view or an entry that was changed in the database: exit 1; a view that is gone is counted."""
    async with postgres.fresh() as dsn:
        with serving(dsn, tmp_path) as broker:
            line = _told(broker)
            assert run(*line).code == 0
            await ask(dsn, FLIPPED, "select 1")
            told = run(*line)
            assert (told.code, told.json["mismatches"]) == (1, 1)
            (found,) = told.json["found"]
            assert (found["index"], found["verdict"], found["mismatch"]) == (0, "tampered", True)
            await ask(dsn, "delete from view where idx = 0", "select 1")
            told = run(*line)
            assert (told.code, told.json["erased"]) == (0, 1)
            await ask(dsn, REWRITTEN, "select 1")
            told = run(*line)
            assert (told.code, told.json["mismatches"]) == (1, 1)
            assert "do not make the log's root" in told.json["found"][-1]["what"]


def _told(broker: RunningBroker) -> tuple[object, ...]:
    """The replay of this broker's log, typed by an auditor of its own."""
    auditor = broker.join("auditor", "console", "auditor", "auditor")
    return ("audit", "replay", *WHY, "--as", auditor, "--state", broker.state, "--json")

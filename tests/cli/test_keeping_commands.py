"""`broker audit hold`, `erase`, `retention` and `scrub` against a running broker."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from broker.v1 import exchange_pb2, keeping_pb2, keeping_pb2_grpc
from tests.cli.conftest import Parties, Run, run
from tests.support.postgres import Server
from tests.support.running import RunningBroker, serving

NUMBER = "9000000009"
PERSON = f"nhs-number:{NUMBER}"
OTHER = ("--reason", "complaint", "--actor-id", "a.okafor", "--role", "dpo")
# Makes entries about the person, and so has no say in their end.
CLERK = ("--actor-id", "c.reid", "--role", "clerk")
WHO = ("--reason", "complaint", "--actor-id", "p.moss", "--role", "records")
POLICY = """\
version = 1
title = "Joint schedule"

[[class]]
name = "standard"
months = 84
schedule = "JS 4.2: disclosure logs, seven years"
"""


@pytest.fixture(scope="session")
def second_seat(running_broker: RunningBroker, parties: Parties) -> str:
    """A system of the requester's agency beside the first: its records office."""
    return running_broker.join("clifire", "records", "fire")


def _said(broker: Run, who: str) -> None:
    """Something is said about PERSON, so that there is something to hold and to erase."""
    how = ("--standing", "self", "--manner", "verbal", *CLERK)
    done = broker("directive", "add", "objection", "--subject", "-", *how, "--as", who, stdin=f"{PERSON}\n")
    assert done.code == 0, done.err


def test_a_person_is_held_released_and_erased(broker: Run, parties: Parties) -> None:
    """By the agency's own system, from standard input; nothing printed names the person."""
    _said(broker, parties.requester)
    mine = ("--as", parties.requester)
    case = ("--reference", "CASE-7", "--reason", "complaint", *CLERK)
    placed = broker("audit", "hold", "add", "--person", "-", *case, *mine, "--json", stdin=PERSON)
    assert placed.code == 0, placed.err
    hold = placed.json["hold"]
    assert placed.json["verified"]
    assert placed.json["covers"] >= 1
    look = ("--actor-id", "p.moss", "--role", "records")
    listed = broker("audit", "hold", "list", "--reason", "to-check", *look, *mine, "--json")
    assert [each["reference"] for each in listed.rows if each["id"] == hold] == ["CASE-7"]
    other = broker("audit", "hold", "release", hold, *WHO, "--as", parties.provider)
    assert (other.code, "no such hold that your agency may release" in other.err) == (1, True)
    looked = broker("audit", "erasure", "look", *WHO, *mine, stdin=PERSON)
    assert looked.code == 0, looked.err
    assert "Nothing has been erased" in looked.out
    held = broker("audit", "erasure", "plan", "--ground", "objection", *WHO, *mine, "--json", stdin=PERSON)
    assert held.code == 0, held.err
    assert (held.json["erased"], held.json["entries"]) == (False, 0)
    assert held.json["kept_under_hold"] >= 2
    assert held.json["directives_to_withdraw_first"] == 1
    assert broker("audit", "hold", "release", hold, *WHO, *mine).code == 0
    assert NUMBER not in "".join((placed.out, listed.out, looked.out, held.out))


def test_two_people_on_two_systems_erase(broker: Run, parties: Parties, second_seat: str) -> None:
    """One plans, the other confirms over a connection of its own; the same person or seat twice is refused."""
    _said(broker, parties.requester)
    mine, theirs = ("--as", parties.requester), ("--as", second_seat)
    refused = broker("audit", "erasure", "plan", "--ground", "because", *WHO, *mine, stdin=PERSON)
    assert (refused.code, "ground: one of not-needed," in refused.err) == (1, True)
    plan = broker("audit", "erasure", "plan", "--ground", "objection", *WHO, *mine, "--json", stdin=PERSON)
    assert plan.code == 0, plan.err
    assert plan.json["entries"] >= 1
    confirm = ("audit", "erasure", "confirm", plan.json["plan"])
    assert broker(*confirm, *OTHER, *theirs, stdin=PERSON).code == 2
    for who in ((*OTHER, *mine), (*WHO, *theirs)):
        alone = broker(*confirm, "--yes", *who, stdin=PERSON)
        assert (alone.code, "an erasure takes two people" in alone.err) == (1, True), alone.err
    look = ("--actor-id", "p.moss", "--role", "records")
    listed = broker("audit", "erasure", "list", "--reason", "to-check", *look, *theirs, "--json")
    (waiting,) = [each for each in listed.json["plans"] if each["plan"] == plan.json["plan"]]
    assert (waiting["planned_by"], waiting["ground"], waiting["about"]) == ("p.moss", "objection", "a person")
    complaint = broker(
        "audit",
        "complaint",
        "add",
        "--reference",
        "C-5",
        "--person",
        "-",
        *CLERK,
        *mine,
        "--json",
        stdin=PERSON,
    )
    assert complaint.code == 0, complaint.err
    disputed = broker(*confirm, "--yes", *OTHER, *theirs, stdin=PERSON)
    assert (disputed.code, "complaints to your agency are open" in disputed.err) == (1, True)
    number = complaint.json["complaint"]
    assert broker("audit", "complaint", "acknowledge", number, *look, *mine).code == 0
    closing = ("--outcome", "not-upheld", "--words", "explained")
    assert broker("audit", "complaint", "close", number, *closing, *look, *mine).code == 0
    done = broker(*confirm, "--yes", *OTHER, *theirs, stdin=PERSON)
    assert done.code == 0, done.err
    assert "30 days at most" in done.out
    assert NUMBER not in "".join((plan.out, listed.out, done.out))


def test_no_call_erases_alone(running_broker: RunningBroker, parties: Parties) -> None:
    """What was one call is a look, and says which two it takes."""
    request = keeping_pb2.ErasePersonRequest(
        person=exchange_pb2.SubjectRef(scheme="nhs-number", value=NUMBER),
        actor=exchange_pb2.Actor(id="p.moss", role="records", assurance=exchange_pb2.ASSURANCE_PERSONAL_LOGIN),
        reason=exchange_pb2.ReasonCode(code="art-17"),
        confirmed=True,
    )
    with running_broker.channel(parties.requester) as channel, pytest.raises(grpc.RpcError) as caught:
        keeping_pb2_grpc.KeepingServiceStub(channel).ErasePerson(request, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "an erasure takes two people" in caught.value.details()


def test_a_plan_is_refused_to_the_person_or_withdrawn(broker: Run, parties: Parties) -> None:
    """Under an exemption of the law, which is said; then nobody confirms it."""
    mine = ("--as", parties.requester)
    for how in (("refuse", "--exemption", "legal-claims"), ("withdraw",)):
        plan = broker("audit", "erasure", "plan", "--ground", "objection", *WHO, *mine, "--json", stdin=PERSON)
        assert plan.code == 0, plan.err
        ended = broker("audit", "erasure", how[0], plan.json["plan"], *how[1:], *WHO, *mine, "--json")
        assert ended.code == 0, ended.err
        assert ended.json["verified"]
        gone = broker("audit", "erasure", "withdraw", plan.json["plan"], *WHO, *mine)
        assert (gone.code, "no such plan" in gone.err) == (1, True)


def test_what_cannot_be_asked_is_said(broker: Run, parties: Parties) -> None:
    """Neither nobody nor two things are held; an operator erases nothing; what destroys wants --yes."""
    mine = ("--reference", "CASE-8", *WHO, "--as", parties.requester)
    assert broker("audit", "hold", "add", *mine).code == 2
    assert broker("audit", "hold", "add", "--incident", "x", "--agreement", "y", *mine).code == 2
    refused = broker("audit", "erasure", "look", *WHO, "--as", "operator-cli", stdin=PERSON)
    assert (refused.code, "only a system enrolled as partner or auditor" in refused.err) == (1, True)
    planned = broker("audit", "retention", "apply", *WHO)
    assert (planned.code, "Nothing was done" in planned.err) == (0, True), planned.err
    assert broker("audit", "scrub", *WHO).code == 2
    planned = broker("audit", "retention", "plan", "--as", parties.requester)
    assert (planned.code, "only a system enrolled as operator" in planned.err) == (1, True)


def test_without_a_policy_nothing_ends(broker: Run, parties: Parties) -> None:
    """And that is said."""
    plan = broker("audit", "retention", "plan")
    assert plan.code == 0, plan.err
    assert plan.out.startswith("Policy: none (BROKER_RETENTION), so nothing ends")
    assert " changes " in plan.out
    applied = broker("audit", "retention", "apply", "--yes", *WHO)
    assert (applied.code, applied.out) == (0, "nothing was due\n"), applied.err


def test_a_policy_can_be_tried_before_any_node_has_it(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """What it would end and when; the deployment's own stays; what is no policy is refused."""
    file = tmp_path / "next.toml"
    file.write_text(POLICY)
    tried = broker("audit", "retention", "plan", "--policy", file, "--json").json
    assert (tried["policy"], len(tried["digest"])) == ("Joint schedule", 64)
    assert broker("audit", "retention", "plan", "--json").json["policy"] is None
    file.write_text(POLICY.replace("84", "0"))
    refused = broker("audit", "retention", "plan", "--policy", file)
    assert (refused.code, "class.0.months" in refused.err) == (1, True), refused.err


def test_a_scrub_says_what_it_did(broker: Run, parties: Parties) -> None:
    """Every table and the write-ahead log; nothing is left to an administrator on our own server."""
    done = broker("audit", "scrub", "--yes", *WHO, "--json")
    assert done.code == 0, done.err
    assert [step["what"] for step in done.rows][-2:] == ["view", "write-ahead log"]


async def test_the_deployments_policy_is_the_one_that_counts(postgres: Server, tmp_path: Path) -> None:
    """A broker that was given one plans by it; one that is given another file does not start."""
    file = tmp_path / "retention.toml"
    file.write_text(POLICY)
    assert run("audit", "retention", "check", file).code == 0
    async with postgres.fresh() as dsn:
        with serving(dsn, tmp_path / "state", RETENTION=file) as running:
            plan = run("audit", "retention", "plan", "--json", "--state", running.state)
            assert plan.code == 0, plan.err
            assert plan.json["policy"] == "Joint schedule"
            assert {item["state"] for item in plan.json["items"]} == {"kept"}
        file.write_text(POLICY.replace("84", "0"))
        checked = run("audit", "retention", "check", file)
        assert (checked.code, "class.0.months" in checked.err) == (1, True)
        with (
            pytest.raises(Exception, match="broker"),
            serving(dsn, tmp_path / "state", RETENTION=file),
        ):
            pass
        assert "class.0.months" in (tmp_path / "state" / "broker.log").read_text()

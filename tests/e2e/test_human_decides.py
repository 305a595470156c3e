"""From the shell, in a whole deployment: a one-off request, a human decides, the provider checks it."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.cli.up import signing
from broker.cli.up.cast import EDITHS_HOME
from tests.e2e import words
from tests.support.running import command
from tests.support.stack import Deployment

ABOUT = (
    *("--provider", "cfrs", "--record-type", "records.fire.v1.PremisesRisk"),
    *("--subject", ":".join(EDITHS_HOME), "--purpose", "safeguarding-adult"),
    *("--actor-id", "a.hill", "--role", "safeguarding-lead", "--assurance", "personal-login"),
    *("--words", "An oxygen user was found on the floor; she may be neglected."),
)
OWNER = ("--as", "cfrs-mdt", "--actor-id", "p.moss", "--role", "caldicott-guardian")
LAW = ("--basis", "art6-1-e", "--condition", "art9-2-g-sch1-para18")


@pytest.fixture
def broker(stack: Deployment) -> Any:
    """`broker ARGUMENTS --json` on the deployment: its exit code and what it printed."""

    def run(*arguments: object) -> tuple[int, Any, str]:
        known = {"BROKER_ACTOR_ASSURANCE": "personal-login"}
        done = command(*arguments, "--state", stack.state.folder, "--json", **known)
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr

    return run


def ask_human(broker: Any) -> tuple[str, str]:
    """Put the request before a human: the referral's id, and the request's."""
    code, asked, err = broker("referral", "ask", *ABOUT, "--as", "nwas-cad")
    assert code == 0, err
    assert asked["verified"] is True
    return asked["referral"], asked["request_id"]


def fetch(broker: Any, request_id: str) -> tuple[int, Any, str]:
    """Ask the same again, as the requester is told to."""
    result: tuple[int, Any, str] = broker("request", *ABOUT, "--as", "nwas-cad", "--retry-of", request_id)
    return result


def until() -> str:
    """An hour from now."""
    return (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.long
def test_a_one_off_is_let_through_by_a_named_human_with_the_agencys_own_word(
    broker: Any, stack: Deployment
) -> None:
    """Refused without agreement; asked; unsigned the adapter will not have it; signed, the record comes."""
    code, _, err = broker("request", *ABOUT, "--as", "nwas-cad")
    assert (code, "No agreement in force" in err) == (1, True)

    assert "put it before them as a referral" in err

    referral, request_id = ask_human(broker)
    code, _, err = fetch(broker, request_id)
    assert (code, "A named human of cfrs is to judge this request" in err) == (1, True), err
    _, listed, _ = broker("referral", "list", "--reason", "to-check", *OWNER)
    (mine,) = [each for each in listed["referrals"] if each["id"] == referral]
    assert (mine["status"], mine["overdue"], mine["requester"]) == ("open", False, "nwas")
    assert EDITHS_HOME[1] not in json.dumps(listed)
    _, shown, _ = broker("referral", "show", "--reason", "to-check", referral, *OWNER)
    assert (shown["subject"], shown["actor"]) == (":".join(EDITHS_HOME), "a.hill")
    assert "neglected" in shown["reason"]

    given = (
        "--field",
        "uprn",
        "--field",
        "oxygen.state",
        "--until",
        until(),
    )
    decide = ("referral", "decide", referral, "--grant", *OWNER, *LAW, *given)
    code, done, err = broker(*decide, "--reasoning", "She is an adult at risk, and cannot ask herself.")
    assert (code, "note: without --sign-with" in err) == (0, True), err
    code, _, err = fetch(broker, request_id)
    assert (code, "own copy of its agreements does not name this request" in err) == (1, True), err

    code, _, err = broker("referral", "decide", referral, "--refuse", *OWNER, "--reasoning", "to be signed")
    assert code == 0, err
    code, _, err = fetch(broker, request_id)
    assert (code, "has decided against this request" in err) == (1, True), err

    referral, request_id = ask_human(broker)
    key = signing.key_file(stack.state, "cfrs")
    decide = ("referral", "decide", referral, "--grant", *OWNER, *LAW, *given, "--sign-with", key)
    code, done, err = broker(*decide, "--reasoning", "She is an adult at risk, and cannot ask herself.")
    assert code == 0, err
    assert len(done["signed_with"]) == 64
    code, released, err = fetch(broker, request_id)
    assert code == 0, err
    assert (released["outcome"], released["agreement"]) == ("released", f"referral-{referral} version 1")
    assert released["record"]["uprn"] == EDITHS_HOME[1]
    assert "address" not in released["record"]


@pytest.mark.long
def test_wrong_uses_say_what_to_do(broker: Any) -> None:
    """Another agency, an actor who is not known in person, a grant without law or end, an unknown id."""
    referral, _ = ask_human(broker)
    stranger = ("--as", "nwas-cad", *OWNER[2:])
    words = ("--reasoning", "words")
    for arguments, says in (
        ((referral, "--refuse", *stranger, *words), "no such referral that your agency may decide"),
        ((str(uuid.uuid4()), "--refuse", *OWNER, *words), "no such referral that your agency may decide"),
        ((referral, "--refuse", *OWNER, *words, "--assurance", "roster"), "sign in by a personal login"),
        ((referral, "--grant", *OWNER, *words, "--field", "uprn", *LAW), "until: a moment from now on"),
        ((referral, "--grant", *OWNER, *words, "--field", "uprn", "--until", until()), "one_off: no agreement"),
        (
            (referral, "--grant", *OWNER, *words, "--field", "oxygen.state", "--until", until(), *LAW[:2]),
            "--condition (and --provider-condition where your own side stands on another): would still be",
        ),
        ((referral, "--grant", *OWNER, *words, "--until", until(), *LAW), "permitted: name the fields"),
    ):
        code, _, err = broker("referral", "decide", *arguments)
        assert (code, says in err) == (1, True), err


OVERRIDDEN = b"""
id = "planning-overridden"
version = 1
title = "Premises for planners"
purpose = "emergency-planning"
valid_from = 2026-01-01
valid_until = 2099-12-31
review_on = 2099-01-01

[legal]
basis = "art6-1-e"
condition = "art9-2-g-sch1-para18"

[directives]
weight = "respected"

[actors]
minimum_assurance = "roster"

[governance]
policy_document = "APD-12"

[override]
codes = ["life-at-risk"]

[[parties]]
agency = "nwas"
regime = "uk-gdpr"

[[parties]]
agency = "cfrs"
regime = "uk-gdpr"
siro = "Sam Siro"

[[flows]]
provider = "cfrs"
requester = "nwas"
record_type = "records.fire.v1.PremisesRisk"
permitted = ["uprn", "oxygen.kind", "oxygen.state"]
roles = ["planner"]
subject_schemes = ["uprn"]
override = ["uprn"]
"""
PLANNING = (*ABOUT[:6], "--purpose", "emergency-planning", *ABOUT[8:], "--as", "nwas-cad")
BREAK_GLASS = ("--override", "life-at-risk", "--override-words", "the roof is coming down")


async def test_an_override_from_the_shell_to_its_review(broker: Any, stack: Deployment) -> None:
    """Refused by role; overridden, with fewer fields; seen, reviewed, restricted and lifted by the owner."""
    await words.apply(stack, OVERRIDDEN)

    async def run(*arguments: object) -> tuple[int, Any, str]:
        return await asyncio.to_thread(broker, *arguments)

    code, _, err = await run("request", *PLANNING)
    assert (code, "does not let this role ask" in err) == (1, True), err
    code, released, err = await run("request", *PLANNING, *BREAK_GLASS)
    assert code == 0, err
    assert released["record"] == {"uprn": EDITHS_HOME[1]}
    assert any(each.startswith("override-review") for each in released["obligations"])

    code, listed, err = await run("override", "list", "--reason", "to-check", *OWNER)
    assert code == 0, err
    (row,) = listed["overrides"]
    assert (row["code"], row["words"], row["given"]) == ("life-at-risk", "the roof is coming down", ["uprn"])
    assert (row["actor"], row["status"], row["waived"]) == ("a.hill", "open", ["role.named"])
    why = ("--reasoning", "no roof was coming down", *OWNER)
    assert (await run("override", "restrict", row["id"], "--what", "actor", *why))[0] == 1
    assert (await run("override", "review", row["id"], "--verdict", "not-justified", *why))[0] == 0
    code, made, err = await run("override", "restrict", row["id"], "--what", "actor", *why)
    assert code == 0, err
    code, _, err = await run("request", *PLANNING, *BREAK_GLASS)
    assert (code, "does not let this role ask" in err) == (1, True), err
    assert (await run("override", "list", "--reason", "to-check", *OWNER))[1]["restrictions"][0][
        "who"
    ] == "a.hill"
    assert (await run("override", "lift", made["restriction"], *why))[0] == 0
    assert (await run("request", *PLANNING, *BREAK_GLASS))[0] == 0
    metrics = await stack.https("operator-cli").get("/metrics")
    assert 'broker_overrides_total{agency="nwas",provider="cfrs"} 2.0' in metrics.text
    code, _, err = await run("request", *PLANNING, "--override", "life-at-risk")
    assert (code, "override.words" in err) == (1, True), err


def test_what_was_never_overridden_is_not_reviewed(broker: Any) -> None:
    """What there is none of is neither reviewed nor restricted nor lifted."""
    for verb in (("review", "--verdict", "justified"), ("restrict", "--what", "actor")):
        code, _, err = broker("override", verb[0], str(uuid.uuid4()), *verb[1:], *OWNER, "--reasoning", "x")
        assert (code, "no such override that your agency may review" in err) == (1, True), err
    code, _, err = broker("override", "lift", str(uuid.uuid4()), *OWNER, "--reasoning", "x")
    assert (code, "no such restriction" in err) == (1, True), err

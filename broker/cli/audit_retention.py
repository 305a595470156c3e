"""`broker audit retention` and `broker audit scrub`: what is kept for how long, and how it ends.

Owns the words of these commands. For operators: they see counts, and nothing about anybody.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote

app = typer.Typer(
    help=(
        "Retention: months and classes of evidence, by the deployment's policy (BROKER_RETENTION). For "
        "operators.\n\n" + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
Reason = Annotated[str, typer.Option("--reason", metavar="CODE", help="Why it is done now.")]
_COLUMNS = ("month", "class", "state", "due", "entries", "held", "in_use", "schedule")


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A retention policy (TOML).")]) -> None:
    """Check a retention policy, without a broker: is it whole, and what does it say?"""
    from broker.core.retention import MAX_FILE, parse

    policy = parse(inputs.read_bounded(file, MAX_FILE, "a retention policy"))
    rows = [
        {"class": each.name, "months": each.months, "schedule": each.schedule}
        for each in policy.classes.values()
    ]
    output.many(rows, ("class", "months", "schedule"), "")


@app.command()
@remote(OPERATOR, timeout=300.0)
def plan(
    link: Link,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="By this policy (TOML) instead: what it would do, before a node has it.",
        ),
    ] = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Show every month and class that is kept, when it ends, and what holds keep beyond that."""
    from broker.core.retention import MAX_FILE

    data = inputs.read_bounded(policy, MAX_FILE, "a retention policy") if policy is not None else b""
    _plan(link, data, as_json)


def _plan(link: Link, policy: bytes, as_json: bool) -> None:
    from broker.v1 import keeping_pb2 as pb
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    request = pb.PlanRetentionRequest(policy=policy)
    reply = link.call(KeepingServiceStub(link.channel).PlanRetention, request)
    found: list[dict[str, object]] = [
        {
            "month": each.month,
            "class": each.retention_class,
            "state": each.state,
            "due": output.when(each, "due"),
            "entries": each.entries,
            "held": each.held,
            "in_use": each.in_use,
            "schedule": each.schedule or None,
        }
        for each in reply.items
    ]
    if as_json:
        output.emit_json(
            {"policy": reply.policy_title or None, "digest": reply.policy_digest or None, "items": found}
        )
        return
    output.say(f"Policy: {reply.policy_title or 'none (BROKER_RETENTION), so nothing ends'}")
    output.many(found, _COLUMNS, "nothing has been written down yet")


@app.command()
@remote(OPERATOR, timeout=300.0)
def apply(
    link: Link,
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: inputs.Words = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Carry it out, for good; without, the plan alone is shown.")
    ] = False,
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Destroy what is due, key and all: entry first, then rows, last the key's file. Killed, it goes on.

    What holds and humans still need is sealed under another key before. Copies of the key folder are yours to
    delete; backups of the database alone open nothing of it any more.
    """
    from broker.v1 import exchange_pb2
    from broker.v1 import keeping_pb2 as pb
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    if not yes:
        _plan(link, b"", as_json)
        sys.stderr.write("Nothing was done: carry it out with --yes.\n")
        return
    request = pb.ApplyRetentionRequest(
        actor=inputs.acting(actor_id, role, assurance), reason=exchange_pb2.ReasonCode(code=reason, words=words)
    )
    done: list[dict[str, object]] = []
    for each in link.stream(KeepingServiceStub(link.channel).ApplyRetention, request, forever=True):
        done.append(
            {
                "month": each.month,
                "class": each.retention_class,
                "entry": each.event_id,
                "entries": each.entries,
                "set_aside": each.set_aside,
            }
        )
        if not as_json:
            sys.stderr.write(f"{each.month} {each.retention_class}: destroyed\n")
    output.listed(
        "destroyed", done, ("month", "class", "entries", "set_aside", "entry"), as_json, "nothing was due"
    )


@remote(OPERATOR, timeout=None)
def scrub(
    link: Link,
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: inputs.Words = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Needed: no request is answered while a table is written anew.")
    ] = False,
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Remove erased bytes from the database's own files: tables written anew, the write-ahead log left behind.

    After an erasure or a retention run, in a quiet hour. What it has no right to do is said at the end.
    Exit codes: 0 done; 1 something is left to the server's administrator, or it failed.
    """
    from broker.v1 import exchange_pb2
    from broker.v1 import keeping_pb2 as pb
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    if not yes:
        raise typer.BadParameter("nothing can be appended while it runs: choose a quiet hour, then give --yes")
    request = pb.ScrubRequest(
        actor=inputs.acting(actor_id, role, assurance), reason=exchange_pb2.ReasonCode(code=reason, words=words)
    )
    steps: list[dict[str, object]] = []
    for each in link.stream(KeepingServiceStub(link.channel).Scrub, request, forever=True):
        steps.append(
            {
                "what": each.what,
                "seconds": round(each.seconds, 3),
                "size": each.size or None,
                "problem": each.problem or None,
            }
        )
        if not as_json:
            sys.stderr.write(f"{each.what}: {each.seconds:.1f} s\n")
    output.listed("steps", steps, ("what", "seconds", "size", "problem"), as_json, "")
    if any(step["problem"] for step in steps):
        raise typer.Exit(1)

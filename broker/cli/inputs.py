"""What several commands take in the same words: times, subjects, people, files.

Owns their options and their parsing. Refuses without ever repeating an identifier: an error's text goes to
terminals, logs and tickets.
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.errors import SetupError

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from broker.core.subject import SubjectRef
    from broker.v1 import exchange_pb2

_MAX_LINE = 256
_MAX_WORDS = 8192
# For the help of commands that talk to a broker; `broker.cli` owns what it says.
EXIT_CODES = (
    "Exit codes: 0 done; 1 refused or failed, with what to do, and so also for a value that is not accepted; 2 "
    "a command line that cannot be read: an option unknown, missing, or not of its form."
)


class Assurance(StrEnum):
    """How sure we are of who is at the keyboard, weakest first."""

    asserted = "asserted"
    shared_device = "shared-device"
    roster = "roster"
    personal_login = "personal-login"
    signed_token = "signed-token"  # noqa: S105 - a code, no secret


def moment(text: str | datetime) -> datetime:
    """A time in UTC from `2027-03-31` (its first moment by the clock in the United Kingdom, as everywhere that
    a day is meant) or RFC 3339 with its offset."""
    from broker.core import london

    if isinstance(text, datetime):
        return text
    try:
        if len(text) == len("2027-03-31"):
            return london.moment(date.fromisoformat(text), time.min)
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter(
            "a time is 2027-03-31, the beginning of that day in the United Kingdom, or 2027-03-31T09:00:00Z "
            "with its offset"
        )
    return at.astimezone(UTC)


def day(text: str | date) -> date:
    """A day, `2011-05-09`."""
    if isinstance(text, date):
        return text
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        raise typer.BadParameter("a day is 2011-05-09")
    return found


LogKeys = Annotated[Path, typer.Option("--vkey", metavar="FILE", help="The log's verifier keys, one a line.")]
OwnLogKeys = Annotated[
    Path | None,
    typer.Option(
        "--vkey",
        metavar="FILE",
        show_default=False,
        help="The log's verifier keys, one a line. By default DIR/log.vkey.",
    ),
]
From = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        parser=moment,
        metavar="TIME",
        help="Valid from then, a day from its beginning in the UK; by default now.",
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(
        "--until",
        parser=moment,
        metavar="TIME",
        help="No longer valid from then, a day from its beginning in the UK; by default no end.",
    ),
]
Archives = Annotated[
    Path | None,
    typer.Option(
        "--archive",
        metavar="DIR",
        help="The folder that the log was exported to (broker audit partition export): entries that are kept "
        "there alone are taken from it.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for scripts.")]
ActorId = Annotated[
    str,
    typer.Option(
        "--actor-id", envvar="BROKER_ACTOR_ID", metavar="ID", help="Who is at the keyboard, such as a login."
    ),
]
ActorRole = Annotated[
    str,
    typer.Option(
        "--role",
        envvar="BROKER_ACTOR_ROLE",
        metavar="CODE",
        help="In which role they act; to ask, one that `broker agreement show` lists.",
    ),
]
OperatorId = Annotated[
    str,
    typer.Option(
        "--actor-id",
        envvar="BROKER_ACTOR_ID",
        metavar="ID",
        show_default=False,
        help="Who is at the keyboard. By default your login on this machine.",
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="CODE", help="Why you look, such as complaint.")]
Named = Annotated[
    Assurance,
    typer.Option(
        "--assurance",
        envvar="BROKER_ACTOR_ASSURANCE",
        help="How surely your system knows you; a decision needs personal-login or signed-token, so say it.",
    ),
]
InPlaceOf = Annotated[
    str,
    typer.Option(
        "--in-place-of",
        metavar="AGENCY",
        help="What this agency was party to, whose place yours has taken; by default your own.",
    ),
]
District = Annotated[
    str,
    typer.Option("--place-district", metavar="CODE", help="Where: the district's ONS code, as E06000063."),
]
Authority = Annotated[
    str,
    typer.Option(
        "--responsible-authority", metavar="AGENCY", help="The council that answers for a looked-after child."
    ),
]
Subject = Annotated[
    str,
    typer.Option(
        metavar="SCHEME:VALUE",
        show_default=False,
        help=(
            "Whom it is about, such as nhs-number:9000001005 or uprn:100062990001. Other users of this machine "
            "can read a command line: give `-` to type or pipe SCHEME:VALUE on standard input instead."
        ),
    ),
]


def note_proposed() -> None:
    """Say that nothing has happened yet, beside the answer."""
    sys.stderr.write(
        "note: proposed, and nothing done yet: a second operator, on an operator system of their own, must "
        "give the same command within seven days\n"
    )


def subject_of(text: str, option: str = "--subject") -> SubjectRef:
    """The subject that `SCHEME:VALUE` names, from one line of standard input where `text` is `-`.

    Raises InvalidRequest, never repeating the value.
    """
    from broker.core.subject import parse_subject

    if text == "-":
        if sys.stdin.isatty():
            sys.stderr.write("subject (SCHEME:VALUE): ")
        text = sys.stdin.readline(_MAX_LINE).strip()
    scheme, colon, value = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"{option} is SCHEME:VALUE, such as uprn:100062990001")
    return parse_subject(scheme, value)


def person_of(text: str) -> SubjectRef:
    """Whom the log is asked about, as `subject_of`: a person's identifier only from standard input.

    Raises InvalidRequest, never repeating the value.
    """
    found = subject_of(text, "--person")
    if text != "-" and found.scheme not in ("uprn", "incident"):
        raise typer.BadParameter(
            "other users of this machine can read a command line: give `--person -`, and the identifier on "
            "standard input"
        )
    return found


def acting(actor_id: str, role: str, assurance: Assurance) -> exchange_pb2.Actor:
    """Who is at the keyboard, for the wire."""
    from broker.v1 import exchange_pb2

    level = exchange_pb2.Assurance.Value(f"ASSURANCE_{assurance.name.upper()}")
    return exchange_pb2.Actor(id=actor_id, role=role, assurance=level)


def operating(actor_id: str, role: str) -> exchange_pb2.Actor:
    """The operator at the keyboard, for the wire: who is logged in on this machine, where nobody is named."""
    from getpass import getuser

    try:
        return acting(actor_id or getuser(), role, Assurance.asserted)
    except (OSError, KeyError) as error:  # a user without a name, as in some containers
        raise typer.BadParameter("give --actor-id: this machine has no login name for you") from error


def looking(actor_id: str, role: str, reason: str, words: str = "") -> dict[str, Any]:
    """Who looks and why, as every request of a look has it."""
    from broker.v1 import exchange_pb2

    why = exchange_pb2.ReasonCode(code=reason, words=words)
    return {"actor": exchange_pb2.Actor(id=actor_id, role=role), "reason": why}


def words(text: str) -> str:
    """Free words, from one line of standard input where they are `-`: they may be about somebody, and others on
    this machine can read a command line. Lines are taken as the options stand, and the subject's last."""
    if text != "-":
        return text
    if sys.stdin.isatty():
        sys.stderr.write("in words: ")
    return sys.stdin.readline(_MAX_WORDS).strip()


def told_day(text: str | date) -> date:
    """A day of somebody's life; `-` as in `words`."""
    return day(words(text)) if isinstance(text, str) else text


# Needs `words`, so it stands here.
Words = Annotated[
    str,
    typer.Option(
        parser=words,
        metavar="TEXT",
        help="The reason in words, up to 500 characters; erasable. `-`: from standard input.",
    ),
]


def wire_subject(subject: SubjectRef) -> exchange_pb2.SubjectRef:
    """A subject for the wire."""
    from broker.v1 import exchange_pb2

    return exchange_pb2.SubjectRef(scheme=subject.scheme, value=subject.value)


def stamp(at: datetime | None) -> Timestamp | None:
    """A time for the wire, or none."""
    from google.protobuf.timestamp_pb2 import Timestamp

    if at is None:
        return None
    written = Timestamp()
    written.FromDatetime(at)
    return written


def read_bounded(path: Path, most: int, what: str) -> bytes:
    """A file of at most `most` bytes. Raises SetupError."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > most:
        raise SetupError(f"{path} is too large to be {what}: more than {most // 1024} KiB")
    return data

"""`broker request`: ask for one record; `disclosed` shows what came, what was withheld, and the evidence.

Owns the words of this command. Refuses to show an answer whose evidence does not hold: the client does.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import disclosed, evidence, inputs
from broker.cli.connection import Link
from broker.cli.remote import remote
from broker.errors import BrokerError, Denied, SetupError
from broker.ids import request_id as make_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.client import Broker, Disclosure

# The same whatever refused, so that it says nothing of the person.
_NOT_PAST = (
    "the override did not go past this. It counts only with a code that the agreement has and the assurance it "
    "asks for (`broker agreement show`), and never past a protected identity, a conflict of interest or the law"
)
RecordType = Annotated[
    str, typer.Option(metavar="NAME", help="Such as records.nhs.v1.PatientSummary (broker records list).")
]
Purpose = Annotated[
    str, typer.Option(metavar="CODE", help="Why, such as home-fire-safety (broker agreement purposes).")
]
Provider = Annotated[
    str,
    typer.Option(
        metavar="AGENCY", help="The agency that holds the record; without, whoever holds it for the place."
    ),
]
OnBehalfOf = Annotated[
    str, typer.Option(metavar="WHOM", help="For whom: a crew, or an agency that this system's acts for.")
]
HowSure = Annotated[
    inputs.Assurance,
    typer.Option(
        help="How sure this system is of who is at the keyboard; agreements name the least that will do."
    ),
]
ReasonCode = Annotated[
    str, typer.Option("--reason", metavar="CODE", help="Why you ask, as a code; words go with --words.")
]
OverrideCode = Annotated[
    str,
    typer.Option(
        metavar="CODE",
        help="In an emergency: go past a refusal, for a reason that the agreement names. The owner is "
        "told, and reviews it.",
    ),
]
OverrideWords = Annotated[
    str,
    typer.Option(
        parser=inputs.words,
        metavar="TEXT",
        help="With --override: why, in words. `-`: from standard input.",
    ),
]
OverrideUntil = Annotated[
    datetime | None,
    typer.Option(parser=inputs.moment, metavar="TIME", help="With --override: not after this moment."),
]
Incident = Annotated[str, typer.Option(metavar="AGENCY/DATE/NUMBER", help="The incident it is for.")]
RetryOf = Annotated[
    str,
    typer.Option(
        metavar="UUID",
        help="The id of the same request, asked before: what a human of the provider has decided on it "
        "counts. Everything else must be as it was then.",
    ),
]
Seconds = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", help="How long you can wait, at most 30.")
]
OwnId = Annotated[
    str,
    typer.Option(
        metavar="UUID",
        help="Your own id. One that was answered with a record already is asked again, as another "
        "disclosure under a new id; both are printed.",
    ),
]
SaveTo = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Save record, entry, opening and proof in this folder, mode 0600."),
]
Vkey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="The log's verifier keys; DIR/log.vkey if not given.", show_default=False
    ),
]


@remote(None, timeout=None)
def request(
    link: Link,
    record_type: RecordType,
    subject: inputs.Subject,
    purpose: Purpose,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    provider: Provider = "",
    district: inputs.District = "",
    authority: inputs.Authority = "",
    on_behalf_of: OnBehalfOf = "",
    callsign: Annotated[str, typer.Option(metavar="SIGN", help="The crew's call sign.")] = "",
    assurance: HowSure = inputs.Assurance.asserted,
    reason: ReasonCode = "",
    words: inputs.Words = "",
    override: OverrideCode = "",
    override_words: OverrideWords = "",
    override_until: OverrideUntil = None,
    incident: Incident = "",
    retry_of: RetryOf = "",
    seconds: Seconds = 5.0,
    request_id: OwnId = "",
    save: SaveTo = None,
    vkey: Vkey = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Ask for one record of another agency, as a partner's system would.

    Prints the record with every field it has: a value, "none recorded", "unavailable", "not stated", or
    "withheld" where no agreement names it; then the agreement and law it came under, and its receipt, which
    has been verified. A refusal is evidence too: it is printed with what can be done, and saved by --save.

    Exit codes: 0 the record was released; 1 it was not, and why, so also where a value is not accepted; 2 a
    command line that cannot be read: an option unknown, missing, or not of its form.

    For example, with `broker up` running:

    `broker request --as nwas-cad --provider cfrs --record-type records.fire.v1.PremisesRisk --subject
    uprn:100062990001 --purpose emergency-response --actor-id a.hill --role ambulance-crew --assurance roster`
    """
    from broker.client import Actor, Assurance, Override, Place, Reason

    if (override_words or override_until) and not override:
        raise typer.BadParameter("--override-words and --override-until go with --override CODE")
    request_id = request_id or make_id()
    keys = evidence.require_keys(vkey or link.endpoint.vkey)
    about, level = inputs.subject_of(subject), Assurance[assurance.name.upper()]
    actor = Actor(actor_id, role, on_behalf_of=on_behalf_of, callsign=callsign, assurance=level)
    place = Place(district=district, responsible_authority=authority)
    if save is not None:
        _make(save)  # before anything is released that could not be kept

    def ask(broker: Broker) -> Awaitable[Disclosure]:
        return broker.request(
            record_type=record_type,
            provider=provider,
            subject=about,
            purpose=purpose,
            actor=actor,
            place=place if district or authority else None,
            reason=Reason(reason, words) if reason or words else None,
            override=Override(override, override_words, override_until) if override else None,
            incident=incident,
            timeout=seconds,
            request_id=request_id,
            retry_of=retry_of,
        )

    try:
        disclosure = asyncio.run(_answered(link, keys, ask))
    except BrokerError as error:
        disclosed.tell_failure(error, request_id, save, as_json)
        if override and isinstance(error, Denied):
            sys.stderr.write(f"note: {_NOT_PAST}\n")
        raise
    disclosed.tell(disclosure, save, as_json)


async def _answered(link: Link, keys: Path, ask: Callable[[Broker], Awaitable[Disclosure]]) -> Disclosure:
    from broker.client import Broker

    target, files = link.endpoint.target, link.endpoint.files
    async with Broker(target, ca=files.ca, cert=files.cert, key=files.key, log_vkey=keys, unary=True) as broker:
        return await ask(broker)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot make {folder}: {error.strerror}") from error

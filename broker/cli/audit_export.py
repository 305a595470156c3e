"""`broker audit export`: entries of the log as a file, each row with everything that proves it; and `verify`.

Owns the words of these commands and their exit codes. Refuses to write a row that does not verify, and gives a
file its name only when it is complete.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from broker.cli import audit_export_check, inputs, output
from broker.cli.audit_export_receive import go_on, receive, request_of, sign, told
from broker.cli.audit_search import Person, Reason, Where
from broker.cli.connection import Link
from broker.cli.remote import AUDITOR, remote
from broker.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.keys import Verifier
    from broker.offline.archive import Archive
    from broker.offline.export import forms
    from broker.offline.export.file import Partial
    from broker.offline.export.manifest import Manifest
    from broker.v1 import audit_pb2 as pb

_WRITE = "write"


class _OrWrite(TyperGroup):
    """`broker audit export OPTIONS` exports; `broker audit export verify FILE` verifies."""

    # typer takes the type of `ctx` from a module that it keeps to itself.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the parent's."""
        return super().parse_args(ctx, args if args and args[0] in self.commands else [_WRITE, *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As the parent's; exporting has no name of its own in what is shown."""
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == _WRITE else name, command, rest


app = typer.Typer(cls=_OrWrite)


class Format(StrEnum):
    """What is made of the entries."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"
    fhir = "fhir"
    otlp = "otlp"


Form = Annotated[
    Format,
    typer.Option(
        "--format",
        help="JSON lines; CSV; Parquet (needs bluelight-broker[parquet]); FHIR R4 AuditEvents, one a line; "
        "OpenTelemetry logs, one OTLP/JSON message a line.",
    ),
]


Out = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="Where it goes; FILE.manifest.json stands beside it."),
]
Since = Annotated[
    str,
    typer.Option("--from", metavar="TIME|INDEX", help="Made then or later; or from this place in the log on."),
]
Until = Annotated[
    str,
    typer.Option("--to", metavar="TIME|INDEX", help="Made before then; or before this place in the log."),
]
At = Annotated[
    int,
    typer.Option(
        "--at",
        min=0,
        metavar="SIZE",
        help="Prove it in the checkpoint of so many entries; by default of all. The same options with the "
        "same --at give the same bytes.",
    ),
]
Details = Annotated[
    bool,
    typer.Option(
        "--with-details",
        help="With otlp: the whole view as the record's body, and what opens it. Without, nobody's name, "
        "number or words are in it. The other formats always have the view.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an export to FILE that was interrupted.")]
Log = Annotated[
    str, typer.Option(metavar="LOG", help="Which half-year's log: 2026h2. By default the current one.")
]


@app.command(_WRITE, hidden=True)
@remote(AUDITOR, timeout=None)
def write(
    link: Link,
    out: Out,
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    form: Form = Format.jsonl,
    since: Since = "",
    until: Until = "",
    facts: Where = None,
    person: Person = "",
    words: inputs.Words = "",
    size: At = 0,
    details: Details = False,
    in_place_of: inputs.InPlaceOf = "",
    resume: Resume = False,
    log: Log = "",
    archive: inputs.Archives = None,
    vkey: inputs.OwnLogKeys = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Write entries to a file, in the log's order, each with its bytes, opening, proof and checkpoint.

    An export is of one log, since it leads to one checkpoint. Where other logs have entries of the time asked
    about, they are named at the end (`others`): export each by itself, with --log.

    An agency gets the entries that it is party to, in its own view; an auditor all, in full: what `broker audit
    search` would find, whatever its index has come to. The export is itself an entry, before anything is read.
    Nothing is written that does not verify.

    \b
    Commands that go with it (each has --help):
      broker audit export verify FILE   checks every row again, offline, for
                                        whoever has the log's keys
      broker audit export send FILE     takes log records to a collector

    FILE has its name only when it is complete. Interrupted, it goes on with --resume and the same options, even
    after kill -9. Exit codes: 0 complete; 1 refused, failed or interrupted, with what to do; 2 a command line
    that cannot be read.
    """
    from broker.offline.archive import Archive
    from broker.offline.export.file import Partial

    made = _form(form, details)
    request = request_of(made.name, facts, person, since, until, size, log)
    request.in_place_of = in_place_of
    partial = Partial(out, made, request.SerializeToString(deterministic=True))
    if resume and (done := partial.done()) is not None:
        same = (done.facts, done.about_somebody, done.since, done.until)
        if same != told(request):
            raise SetupError(f"{out} is complete, and of another question: choose another name")
        _tell(done, out, as_json)
        return
    if resume:
        go_on(request, partial.resume())
    sign(request, actor_id, role, reason, words)
    keys = audit_export_check.keys_of(vkey or link.endpoint.vkey)
    held = None if archive is None else Archive(archive, keys)
    _tell(_finished(link, request, partial, keys, held), out, as_json)


def _form(form: Format, details: bool) -> forms.Form:
    """What is written of a row. Raises SetupError where that needs what is not installed."""
    from broker.offline.export import forms, parquet

    if details and form is not Format.otlp:
        raise typer.BadParameter("--with-details is for --format otlp; the others always have the view")
    if form is Format.parquet:
        parquet.arrow()
    return forms.form("otlp-details" if details else form.value)


def _finished(
    link: Link, request: pb.ExportRequest, partial: Partial, keys: Sequence[Verifier], held: Archive | None
) -> Manifest:
    """Take what is not there yet; of the complete file, the manifest. Interrupted, it is said how to go on."""
    manifest = partial.manifest
    try:
        if manifest is None or not manifest.complete:
            receive(link, request, partial, keys, held)
        return partial.finish()
    except BaseException:
        partial.close()
        if partial.manifest is not None:
            typer.echo(f"stopped: the same with --resume goes on with {partial.path}", err=True)
        raise


for other in (audit_export_check.verify, audit_export_check.send):
    app.command()(other)


def _tell(manifest: Manifest, out: Path, as_json: bool) -> None:
    from broker.core.rotation import split_origin
    from broker.offline.export.row import unverified

    told = {"file": str(out), **manifest.summary()}
    if as_json:
        output.emit_json(told)
        return
    size = unverified(manifest.checkpoint.encode()).size
    closed = f"; the views of {manifest.closed} are gone" if manifest.closed else ""
    output.say(
        f"{manifest.rows} rows of the entries {manifest.first} to before {manifest.before}{closed}, proven in "
        f"the {size} of {manifest.log}, in {out}"
    )
    if len(manifest.incidents) > 1:
        output.say(f"Of one incident, looked for by every number of it: {', '.join(manifest.incidents)}")
    for each in manifest.erased:
        output.say(each)
    for each in manifest.others:
        half = split_origin(each)[1]
        output.say(f"Not in it: what {each} has of that time. Export it too, with --log {half}.")

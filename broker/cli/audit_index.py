"""`broker audit index`: whether the search index holds what it should, and making it anew.

For operators, at the database and with the key folder. Owns these commands' words and exits. A rebuild is done
in steps, each durable by itself: it may be killed, and is gone on with by the next one or by the workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import audit_database, inputs, output
from broker.cli.progress import progress
from broker.errors import AuditUnavailable, IntegrityError, SetupError

if TYPE_CHECKING:
    from broker.keys import KeyRing
    from broker.store.fsck.index import IndexReport
    from broker.store.indexing import Indexing, Reach

app = typer.Typer(
    help="The log's search index: what it covers, and making it anew. At the database, with the key folder.",
    no_args_is_help=True,
)
_STEP, _SMALLEST, _TRIES = 512, 32, 20
_PAUSE = 0.2  # seconds, where another worker is at it or the database is busy
_UNREADABLE = 6

Database = Annotated[
    str,
    typer.Argument(
        metavar="DATABASE",
        envvar="BROKER_DATABASE_URL",
        help="postgresql://...; the password from PGPASSFILE or PGPASSWORD.",
    ),
]
Keys = Annotated[Path, typer.Option("--keys", metavar="DIR", envvar="BROKER_KEYS", help="The key folder.")]


@app.command()
def check(database: Database, keys: Keys, as_json: inputs.AsJson = False) -> None:
    """Derive each entry's terms again from its full view and compare the index with them, in every log.

    Names entries that it missed, has wrong, or still has although their views were erased. Reads one moment,
    and shows no view. Exit 0 it covers what it says; 1 it does not; 6 the database cannot be read.
    """
    from broker.offline.source import Unreadable
    from broker.store.fsck.index import check_index

    ring = _ring(database, keys)
    try:
        with progress("entries") as told:
            report = asyncio.run(check_index(database, ring, told))
    except Unreadable as e:
        typer.echo(f"cannot be read: {output.clean(str(e))}", err=True)
        raise typer.Exit(_UNREADABLE) from e
    if as_json:
        output.emit_json(_told(report))
    else:
        _say(report)
    raise typer.Exit(0 if report.good else 1)


@app.command()
def rebuild(
    database: Database,
    keys: Keys,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a rebuild that was interrupted, and begin none.")
    ] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """Make the search index of every log anew, entry by entry, while searches go on.

    Meanwhile searches find what stands there, and say that the index reaches as far as it has been made anew.
    Where this command is ended, the workers go on by themselves, more slowly; `--resume` joins them. Several
    may run. Exit 0 done; 1 done but for damaged entries, of which one is named; 6 the database cannot be
    reached, and what was done stays done.
    """
    ring = _ring(database, keys)
    try:
        with progress("entries made anew") as told:
            reached = asyncio.run(_rebuild(database, ring, told, resume))
    except AuditUnavailable as e:
        typer.echo(f"{e}; `broker audit index rebuild --resume` goes on where it stopped", err=True)
        raise typer.Exit(_UNREADABLE) from e
    newest = list(reached)[-1]
    earlier = {log: reach.done for log, reach in reached.items() if log != newest}
    if as_json:
        output.emit_json({"log": newest, "indexed": reached[newest].done, "earlier": earlier})
    else:
        output.fields([*earlier.items(), (newest, reached[newest].done)])


async def _rebuild(dsn: str, ring: KeyRing, told: Callable[[int, int], None], resume: bool) -> dict[str, Reach]:
    """Of every log; how far the index of each is then."""
    from broker.store.blind import Blind
    from broker.store.indexing import Indexing
    from broker.store.pool import Database as Pool
    from broker.store.seal import Seals
    from broker.store.terms import BlindTerms

    pool = Pool(dsn, size=3)
    await pool.open()
    try:
        async with pool.connection() as connection:
            if await connection.fetchval("select to_regclass('search_progress')") is None:
                raise SetupError("this is not a broker's database, or one of an older release")
            rows = await connection.fetch("select id, origin from log order by id")
            if not rows:
                raise SetupError("this database holds no log yet")
            await Blind(ring.index_key()).check(connection)
        fillings = [
            (row["origin"], Indexing(pool, Seals(pool, ring), BlindTerms(ring.index_key()), row["id"]))
            for row in rows
        ]
        if not resume:
            for _, filling in fillings:
                await filling.begin_again()
        done = {origin: await _until_done(filling, told) for origin, filling in fillings}
        for _, damaged in done.values():
            if damaged is not None:
                raise damaged
        return {origin: reach for origin, (reach, _) in done.items()}
    finally:
        await pool.close()


async def _until_done(
    filling: Indexing, told: Callable[[int, int], None]
) -> tuple[Reach, IntegrityError | None]:
    """Steps until nothing is left to make anew; smaller ones where the database is too busy for them. With what
    was found damaged on the way, and left as it was."""
    step, failed, damaged = _STEP, 0, None
    while True:
        try:
            try:
                made = await filling.step(step)
            except IntegrityError as e:
                made, damaged = 1, damaged or e
            reach = await filling.reach()
        except AuditUnavailable:
            failed += 1
            if failed == _TRIES:
                raise
            step = max(_SMALLEST, step // 2)
            await asyncio.sleep(_PAUSE)
            continue
        failed = 0
        told(reach.sure, reach.done)
        if reach.again is None:
            return reach, damaged
        if not made:  # another worker has the lock just now
            await asyncio.sleep(_PAUSE)


def _ring(database: str, keys: Path) -> KeyRing:
    if not audit_database.is_database(database):
        raise typer.BadParameter("DATABASE is postgresql://...")
    audit_database.warn(database)
    ring = audit_database.ring_of(keys)
    if ring is None:
        raise SetupError("--keys: the key folder is needed")
    return ring


def _told(report: IndexReport) -> dict[str, object]:
    return {
        "log": report.origin,
        "size": report.size,
        "indexed": report.reach.done,
        "again": report.reach.again,
        "compared": report.looked,
        "erased": report.erased,
        "good": report.good,
        "problems": [{"index": each.index, "text": each.text} for each in report.problems],
        "more": report.more,
        "earlier": [_told(each) for each in report.before],
    }


def _say(report: IndexReport) -> None:
    for each in report.before:
        _say(each)
    for problem in report.problems:
        output.say(f"BAD {problem}")
    if report.more:
        output.say(f"and {report.more} more")
    if not report.problems:
        output.say(f"GOOD {report.origin}: {report.looked} entries are in the index as they should be")
    else:
        output.say("`broker audit index rebuild` makes it anew")
    if report.erased:
        output.say(f"{report.erased} of these have no views any more, and are found by nothing")
    if report.links:
        output.say(f"{report.links} of these link two half-years: they have no views, and are found by nothing")
    if report.reach.again is not None:
        output.say(f"{report.origin} is being made anew, and has come to {report.reach.again}")
    if report.reach.done < report.size:
        reaches = f"reaches {report.reach.done} of {report.size} entries of {report.origin}"
        output.say(f"it {reaches}; the workers go on")

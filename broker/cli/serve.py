"""`broker serve`: the broker alone, from `BROKER_*` settings, as one process or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from broker.config import Settings


def serve(
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            max=64,
            show_default=False,
            help="Processes that share the ports: one for each core. By default BROKER_WORKERS, or 1.",
        ),
    ] = None,
) -> None:
    """Run the broker until it is told to stop.

    Settings come from the environment: BROKER_DATABASE_URL (PostgreSQL, 15 or newer), BROKER_CA, BROKER_CERT
    and BROKER_KEY (PEM files), BROKER_KEYS (folder of log, index and view keys, mode 0700), BROKER_GUARD (file
    that remembers the last signed head of the log). Optional: BROKER_TRUST_DOMAIN (blue-light.test),
    BROKER_HOST (127.0.0.1), BROKER_GRPC_PORT (7443), BROKER_HTTP_PORT (7444), BROKER_POOL_SIZE (8, for each
    worker), BROKER_READY_FILE, BROKER_WITNESS_POLICY (file that names the log's witnesses),
    BROKER_WITNESS_CA (BROKER_CA), BROKER_BOOTSTRAP_OPERATOR (certificate of the first operator, used only while
    nobody is enrolled), BROKER_SECOND_OPERATOR (of a second, used only while two people do not operate this
    broker), BROKER_WORKERS (1), BROKER_DIRECT_PORT (0: free ones), BROKER_ADVERTISE (BROKER_HOST),
    BROKER_DRAIN_SECONDS (25), BROKER_AGENCY_PER_SECOND (50000, of the deployment), BROKER_SYSTEM_STREAMS (256).

    Stops safely on SIGTERM and SIGINT: what is in flight is finished or refused, and nothing is lost. With
    several workers SIGHUP replaces them one by one, without interrupting anybody.
    """
    from pydantic import ValidationError

    from broker.config import Settings
    from broker.diagnostics import configure
    from broker.errors import SetupError

    try:
        settings = Settings.model_validate({})
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        name = "BROKER_" + "_".join(str(part) for part in first["loc"]).upper()
        problem = first["msg"].removeprefix("Value error, ").lower()
        raise SetupError(f"{name}: {problem}; `broker serve --help` lists the settings") from None
    configure(settings.worker)
    several = workers or settings.workers
    if settings.worker is None and several > 1:
        _supervise(settings, several)
    else:
        _serve(settings)


def _supervise(settings: Settings, workers: int) -> None:
    from broker.cli.workers.supervisor import Supervisor
    from broker.errors import SetupError

    if not settings.reachable:
        raise SetupError(
            f"BROKER_ADVERTISE: is needed with several workers, because adapters dial each of them and "
            f"{settings.host} is no address to dial; give the name of this machine that is on BROKER_CERT"
        )
    Supervisor(settings, workers).run()


def _serve(settings: Settings) -> None:
    import asyncio

    import uvloop

    from broker.process import serve as run

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))

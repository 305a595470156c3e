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

    Settings come from the environment, these and no others; docs/operations.md says more of each.

    \b
    Needed:
      BROKER_DATABASE_URL          PostgreSQL, 15 or newer
      BROKER_CA                    root certificate of partners (PEM)
      BROKER_CERT                  the broker's, with its issuing one (PEM)
      BROKER_KEY                   its private key (PEM, mode 0600)
      BROKER_KEYS                  folder of log, index and view keys (0700)
      BROKER_GUARD                 file that remembers the last signed head

    \b
    With what they are by default:
      BROKER_TRUST_DOMAIN          blue-light.test
      BROKER_HOST                  127.0.0.1
      BROKER_GRPC_PORT             7443; 0: a free one
      BROKER_HTTP_PORT             7444; 0: a free one
      BROKER_WORKERS               1
      BROKER_DIRECT_PORT           0: free ones; the first of single workers
      BROKER_ADVERTISE             BROKER_HOST; under which adapters dial it
      BROKER_DRAIN_SECONDS         25; to finish in when told to stop
      BROKER_CONNECTION_SECONDS    15; then a connection takes no new calls
      BROKER_POOL_SIZE             8 database connections of each worker
      BROKER_AGENCY_PER_SECOND     50000 requests, of the whole deployment
      BROKER_SYSTEM_STREAMS        256 of one system, at each worker
      BROKER_WITNESS_CA            BROKER_CA; of the witnesses' servers
      BROKER_TIMESTAMP_SECONDS     3600 between two time stamps

    \b
    None by default:
      BROKER_WITNESS_POLICY        file that names the log's witnesses
      BROKER_TIMESTAMP_URL         time-stamp authority (RFC 3161)
      BROKER_TIMESTAMP_CERT        its root certificates; needed with it
      BROKER_RETENTION             file: how long evidence is kept
      BROKER_OVERRIDE_WEBHOOK      address that is told of overrides
      BROKER_READY_FILE            written once it is ready
      BROKER_BOOTSTRAP_OPERATOR    certificate of the first operator, used
                                   only while nobody is enrolled
      BROKER_SECOND_OPERATOR       of a second, used only while two people
                                   do not operate this broker

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

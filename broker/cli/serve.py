"""`broker serve`: the broker alone, from `BROKER_*` settings."""

from __future__ import annotations


def serve() -> None:
    """Run the broker until it is told to stop.

    Settings come from the environment: BROKER_DATABASE_URL (PostgreSQL, 15 or newer), BROKER_CA, BROKER_CERT
    and BROKER_KEY (PEM files), BROKER_KEYS (folder of log, index and view keys, mode 0700), BROKER_GUARD (file
    that remembers the last signed head of the log). Optional: BROKER_TRUST_DOMAIN (blue-light.test),
    BROKER_HOST (127.0.0.1), BROKER_GRPC_PORT (7443), BROKER_HTTP_PORT (7444), BROKER_POOL_SIZE (8),
    BROKER_READY_FILE, BROKER_BOOTSTRAP_OPERATOR (certificate of the first operator, used only while nobody is
    enrolled).

    Stops safely on SIGTERM and SIGINT: what is in flight is finished or refused, and nothing is lost.
    """
    import asyncio

    import uvloop
    from pydantic import ValidationError

    from broker.compose import serve as run
    from broker.config import Settings
    from broker.diagnostics import configure
    from broker.errors import SetupError

    try:
        settings = Settings.model_validate({})
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        name = "BROKER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SetupError(f"{name}: {first['msg'].lower()}; `broker serve --help` lists the settings") from None
    configure()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))

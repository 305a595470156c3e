"""How an adapter reaches its broker: `BROKER_ADAPTER_*` in the environment, read once.

Owns the names and their limits. Refuses what it cannot use with one sentence that names the variable.
"""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker.errors import SetupError


class AdapterSettings(BaseSettings):
    """Each field is the variable `BROKER_ADAPTER_<FIELD>`. Times are seconds."""

    model_config = SettingsConfigDict(env_prefix="BROKER_ADAPTER_", frozen=True, extra="ignore")

    # host:port of the broker, or of what balances its workers.
    target: str = "localhost:8443"
    ca: Path
    cert: Path
    key: Path
    # Name on the broker's certificate where it is not the host dialled.
    server_name: str = ""
    # SPIFFE id that the broker must give in its welcome; empty: whoever the CA vouches for.
    expected_broker: str = ""
    at_once: int = Field(default=64, ge=1, le=4096)
    instance: str = Field(default_factory=socket.gethostname, max_length=100)
    # JSON object, record type -> hex SHA-256, as `broker records show` gives it. Empty: asked of the broker.
    digests: dict[str, str] = Field(default_factory=dict)
    # Made when first attached, removed at the end.
    ready_file: Path | None = None
    drain_within: float = Field(default=10.0, gt=0, le=300)
    welcome_within: float = Field(default=10.0, gt=0, le=60)
    backoff_first: float = Field(default=0.1, gt=0)
    backoff_cap: float = Field(default=15.0, gt=0)


def from_environment() -> AdapterSettings:
    """Settings as the environment gives them. Raises SetupError naming each variable that is wrong."""
    try:
        return AdapterSettings()  # type: ignore[call-arg]  # required ones come from the environment
    except ValidationError as e:
        wrong = "; ".join(
            f"BROKER_ADAPTER_{'_'.join(map(str, x['loc'])).upper()}: {x['msg']}"
            for x in e.errors(include_input=False, include_url=False)
        )
        raise SetupError(f"the adapter's settings cannot be used: {wrong}") from e


def channel(settings: AdapterSettings, address: str) -> grpc.aio.Channel:
    """A mutual-TLS channel to `address`. Files are read at each dial, so renewed certificates are taken up.

    Raises SetupError when a file cannot be read.
    """
    try:
        ca, key, cert = (p.read_bytes() for p in (settings.ca, settings.key, settings.cert))
    except OSError as e:
        raise SetupError(f"{e.filename} cannot be read: {e.strerror}") from e
    options: list[tuple[str, str | int]] = [
        ("grpc.enable_http_proxy", 0),
        # Each dial starts afresh instead of sharing another channel's waiting time.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if settings.server_name:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    return grpc.aio.secure_channel(address, credentials, options=options)

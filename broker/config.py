"""Settings of `broker serve`, from `BROKER_*` in the environment; `broker serve --help` lists them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

AGENCY_PER_SECOND = 50_000.0  # more than one worker can answer
SYSTEM_STREAMS = 256
CONNECTION_SECONDS = 15.0


class Settings(BaseSettings):
    """What one broker process needs to know."""

    model_config = SettingsConfigDict(env_prefix="BROKER_", frozen=True)

    database_url: str = Field(description="PostgreSQL, for example postgresql://broker@db/broker")
    trust_domain: str = Field("blue-light.test", description="SPIFFE trust domain, and the log's name")
    host: str = Field("127.0.0.1", description="address to listen on")
    grpc_port: int = Field(7443, description="gRPC, mutual TLS 1.3; 0 takes a free one")
    http_port: int = Field(7444, description="HTTPS: console, /log/, /metrics; 0 takes a free one")
    ca: Path = Field(description="root certificate that partners' certificates chain to (PEM)")
    cert: Path = Field(description="the broker's certificate with its issuing certificate (PEM)")
    key: Path = Field(description="the broker's private key (PEM, mode 0600)")
    keys: Path = Field(description="folder of log, index and view keys (mode 0700), outside the database")
    guard: Path = Field(description="file that remembers the last signed log head, outside the database")
    witness_policy: Path | None = Field(
        None, description="file that names the log's witnesses and how many must cosign (TOML)"
    )
    witness_ca: Path | None = Field(
        None, description="root certificates of the witnesses' servers (PEM); by default `ca`"
    )
    timestamp_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="time-stamp authority (RFC 3161) that dates checkpoints; empty: none",
    )
    timestamp_cert: Path | None = Field(None, description="root certificates of the time-stamp authority (PEM)")
    timestamp_seconds: float = Field(3600, ge=1, description="seconds between two time stamps")
    retention: Path | None = Field(
        None, description="file that says how long each class of evidence is kept (TOML); none: without end"
    )
    bootstrap_operator: Path | None = Field(
        None, description="certificate enrolled as the first operator when the directory is empty"
    )
    second_operator: Path | None = Field(
        None,
        description="certificate enrolled as the second operator while two people do not operate this",
    )
    workers: int = Field(1, ge=1, le=64, description="processes that share the ports")
    worker: int | None = Field(
        None, ge=0, le=63, description="set by `broker serve --workers` for each: which one this is"
    )
    direct_port: int = Field(
        0, ge=0, le=65000, description="first of the ports of single workers, four for each; 0 takes free ones"
    )
    advertise: str = Field("", description="name under which adapters reach this machine; empty: the host")
    drain_seconds: float = Field(25.0, gt=0, le=300, description="time to finish in when told to stop")
    connection_seconds: float = Field(
        CONNECTION_SECONDS,
        ge=1,
        le=3600,
        description="age at which a gRPC connection takes no new calls and its client opens another",
    )
    ready_file: Path | None = Field(None, description="written with the ports once the broker is ready")
    pulse_file: Path | None = Field(
        None, description="set by `broker serve --workers` for each: touched every second while all is well"
    )
    agency_per_second: float = Field(
        AGENCY_PER_SECOND,
        ge=1,
        le=1e9,
        description="requests a second that one agency may make of the whole deployment",
    )
    system_streams: int = Field(
        SYSTEM_STREAMS,
        ge=1,
        le=65536,
        description="exchange streams that one system may have open at each worker",
    )
    override_webhook: str = Field(
        "",
        pattern=r"^(https://\S+|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/\S*)?)?$",
        description="HTTPS address that is told of each override and of what is overdue; empty: none",
    )
    pool_size: int = Field(8, ge=2, le=64, description="database connections")

    @property
    def reachable(self) -> str:
        """The name by which others reach this machine; empty where only a wildcard address is known."""
        return self.advertise or ("" if self.host in ("0.0.0.0", "::", "[::]") else self.host)  # noqa: S104

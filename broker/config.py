"""Settings of `broker serve`, from `BROKER_*` in the environment; `broker serve --help` lists them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    bootstrap_operator: Path | None = Field(
        None, description="certificate enrolled as the first operator when the directory is empty"
    )
    ready_file: Path | None = Field(None, description="written with the ports once the broker is ready")
    pool_size: int = Field(8, ge=2, le=64, description="database connections")

"""How an adapter reaches its broker: `BROKER_ADAPTER_*` in the environment, read once.

Owns the names and their limits. Refuses what it cannot use with one sentence that names the variable.
"""

from __future__ import annotations

import logging
import re
import socket
from pathlib import Path
from typing import Any, Self

import grpc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.sdk.copies import Copies
from adapters.sdk.stead import Shelf
from broker.errors import InvalidRequest, SetupError
from broker.pki.files import read_certificates
from broker.pki.identity import spiffe_id_of
from broker.pki.tls import TlsFiles, channel_credentials

log = logging.getLogger("adapters.sdk")


class OtherCopies(BaseModel):
    """Another agency's signed agreements, and the public keys (PEM) by which it signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agreements: Path
    keys: Path


class AdapterSettings(BaseSettings):
    """Each field is the variable `BROKER_ADAPTER_<FIELD>`. Times are seconds."""

    model_config = SettingsConfigDict(env_prefix="BROKER_ADAPTER_", frozen=True, extra="ignore")

    # host:port of the broker, or of what balances its workers.
    target: str = "localhost:7443"
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
    backoff_cap: float = Field(default=5.0, gt=0)
    # The provider's own check: a folder with this agency's signed agreements, and a file with the public keys
    # (PEM) by which the agency itself signs. Both or neither; with them `expected_broker` is required.
    agreements: Path | None = None
    agreement_keys: Path | None = None
    # JSON objects by agency id. Whose place this agency has taken, and for whom it answers as a processor:
    # their copies count too. And partners that others have taken the place of: the new ids, by the old one.
    predecessors: dict[str, OtherCopies] = Field(default_factory=dict)
    acts_for: dict[str, OtherCopies] = Field(default_factory=dict)
    successors: dict[str, frozenset[str]] = Field(default_factory=dict)

    @field_validator("target")
    @classmethod
    def _names_a_port(cls, target: str) -> str:
        if not re.search(r"[^:]:[0-9]{1,5}$", target):
            raise ValueError(f"{target!r} is not of the form host:port")
        return target

    @field_validator("expected_broker")
    @classmethod
    def _names_a_broker(cls, broker: str) -> str:
        if broker and not broker.startswith("spiffe://"):
            raise ValueError(
                f"{broker!r} is no SPIFFE id (spiffe://DOMAIN/broker, as the broker's certificate has it)"
            )
        return broker

    @property
    def files(self) -> TlsFiles:
        """What it shows, and whom it trusts."""
        return TlsFiles(self.ca, self.cert, self.key)

    @model_validator(mode="after")
    def _check_is_whole(self) -> Self:
        if (self.agreements is None) != (self.agreement_keys is None):
            raise ValueError("AGREEMENTS and BROKER_ADAPTER_AGREEMENT_KEYS go together: set both, or neither")
        if self.agreements is not None and not self.expected_broker:
            raise ValueError("EXPECTED_BROKER must name the broker whose questions are answered")
        if self.agreements is None and (self.predecessors or self.acts_for or self.successors):
            raise ValueError("PREDECESSORS, ACTS_FOR and SUCCESSORS need AGREEMENTS: they add to that check")
        return self


def from_environment() -> AdapterSettings:
    """Settings as the environment gives them, with files that hold together. Raises SetupError naming each
    variable, or the file, that is wrong."""
    try:
        settings = AdapterSettings()  # type: ignore[call-arg]  # required ones come from the environment
    except ValidationError as e:
        wrong = "; ".join(_named(x["loc"], x["msg"]) for x in e.errors(include_input=False, include_url=False))
        raise SetupError(f"the adapter's settings cannot be used: {wrong}") from e
    settings.files.read()
    return settings


def _named(where: tuple[Any, ...], problem: str) -> str:
    """What is wrong, by the variable's name; the validator of several names them itself."""
    if where:
        return f"BROKER_ADAPTER_{'_'.join(map(str, where)).upper()}: {problem.removeprefix('Value error, ')}"
    return f"BROKER_ADAPTER_{problem.removeprefix('Value error, ')}"


def copies(settings: AdapterSettings) -> Shelf | None:
    """The agency's own copies of its agreements, None (and a warning) where the check is off.

    The agency is the one that the adapter's certificate names. Raises SetupError.
    """
    if settings.agreements is None or settings.agreement_keys is None:
        log.warning(
            "the provider's own check is OFF: whatever the broker asks for is answered. Set "
            "BROKER_ADAPTER_AGREEMENTS and BROKER_ADAPTER_AGREEMENT_KEYS to hold it to what your agency signed"
        )
        return None
    try:
        agency = spiffe_id_of(read_certificates(settings.cert)[0]).agency
    except InvalidRequest as e:
        raise SetupError(f"{settings.cert} names no agency's system: {e}") from e
    predecessors, controllers = (
        {name: Copies(other.agreements, other.keys, name) for name, other in others.items()}
        for others in (settings.predecessors, settings.acts_for)
    )
    own = Copies(settings.agreements, settings.agreement_keys, agency)
    return Shelf(own, predecessors, controllers, settings.successors)


def channel(settings: AdapterSettings, address: str) -> grpc.aio.Channel:
    """A mutual-TLS channel to `address`. Files are read at each dial, so renewed certificates are taken up.

    Raises SetupError when a file cannot be read, or the key is not the certificate's.
    """
    options: list[tuple[str, str | int]] = [
        ("grpc.enable_http_proxy", 0),
        # Each dial starts afresh instead of sharing another channel's waiting time.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if settings.server_name:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return grpc.aio.secure_channel(address, channel_credentials(settings.files), options=options)

"""Owns what a client is set up with: where the broker is, who we are, and which log keys are believed.

Refuses keys that are not verifier keys, and a state folder that lacks what a development identity needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from broker.core.keys import Verifier
from broker.errors import IntegrityError, SetupError
from broker.pki.files import read_file
from broker.pki.tls import TlsFiles

DEFAULT_PORT = 7443
_MAX_KEYS = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """An address of the form host:port, our three TLS files, and the log's keys, newest first."""

    target: str
    files: TlsFiles
    verifiers: tuple[Verifier, ...]


def read_keys(log_vkey: str | Path) -> tuple[Verifier, ...]:
    """The log's verifier keys: a Path or a str naming a file, or the text of the keys itself, one a line.

    Raises SetupError where there is no such file, IntegrityError where a line is not a verifier key.
    """
    # A verifier key is `<name>+<8 hex digits>+<base64>`; no sensible file name has two plus signs.
    if isinstance(log_vkey, str) and log_vkey.count("+") >= 2:
        text = log_vkey
    else:
        try:
            text = read_file(Path(log_vkey)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise IntegrityError(f"{log_vkey}: not UTF-8") from error
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > _MAX_KEYS:
        raise IntegrityError(f"verifier keys: more than {_MAX_KEYS}")
    return tuple(Verifier.from_vkey(line) for line in lines)


def from_state(folder: Path, name: str) -> Settings:
    """A development identity, as `broker up` leaves it. Raises SetupError, IntegrityError."""
    files = TlsFiles.within(folder / "certs", name)
    if not files.cert.exists():
        raise SetupError(f"{folder} has no system {name}: is it the state folder of a `broker up`?")
    return Settings(f"localhost:{_port(folder / 'ports.json')}", files, read_keys(folder / "log.vkey"))


def _port(path: Path) -> int:
    if not path.exists():
        return DEFAULT_PORT
    try:
        ports = json.loads(read_file(path))
        port = ports["grpc"]
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{path} does not name the gRPC port") from error
    if type(port) is not int or not 0 < port < 65536:
        raise SetupError(f"{path} does not name the gRPC port")
    return port

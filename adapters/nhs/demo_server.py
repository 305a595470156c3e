"""How to start the demonstration's FHIR R4 server: sekmet-fhir under uvicorn, mutual TLS, 127.0.0.1 only.

For the demonstration and for tests; a trust has its own server. Owns the server's settings and command line;
starting, watching and stopping it is the caller's.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start, and where it will answer. `env` is complete, not an addition."""

    argv: tuple[str, ...]
    env: dict[str, str]
    base_url: str


def prepare(folder: Path, port: int, *, ca: Path, cert: Path, key: Path) -> Launch:
    """Write the server's settings into `folder` (made if missing, 0700) and say how to start it.

    It answers only callers with a certificate that `ca` signed; `cert` and `key` are its own, good for
    127.0.0.1. Its base address needs the port beforehand, so `port` must be chosen.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    base_url = f"https://127.0.0.1:{port}/fhir"
    settings = {
        "base_url": base_url,
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder),
        "db_path": str(folder / "fhir.db"),
        "own_private_key_path": str(folder / "signing.pem"),
        "facility_name": "Example Trust (synthetic patients)",
        # It would otherwise keep every request and answer, patients and all.
        "log_inbound": False,
        "simulator": {"enabled": False},
    }
    # JSON is YAML, which is what it reads.
    config = folder / "settings.yaml"
    config.write_text(json.dumps(settings, indent=2), "utf-8")
    argv = [
        *(sys.executable, "-m", "uvicorn", "sekmet.main:app_factory", "--factory"),
        *("--host", "127.0.0.1", "--port", str(port), "--no-access-log"),
        *("--ssl-certfile", str(cert), "--ssl-keyfile", str(key)),
        # 2 is ssl.CERT_REQUIRED.
        *("--ssl-ca-certs", str(ca), "--ssl-cert-reqs", "2"),
    ]
    env = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "TMPDIR") if k in os.environ}
    return Launch(tuple(argv), env | {"SEKMET_CONFIG": str(config)}, base_url)

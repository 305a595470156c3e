"""Log records on their way to a collector: OTLP over HTTP, in its JSON encoding, a batch at a time.

Owns the waits: each request is bounded, and what may be tried again is tried so many times. Refuses an address
that is not https, unless it is this machine's own; redirects; and proxies of the environment.
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from broker.errors import BrokerError, SetupError

BATCH: Final = 200  # records of one request
TRIES: Final = 5
PATIENCE: Final = 10.0  # seconds for one request
_LONGEST: Final = 30.0  # seconds between two tries
# OTLP/HTTP: the only answers after which the same request is sent again.
_AGAIN = frozenset({429, 502, 503, 504})
_OWN = frozenset({"localhost", "127.0.0.1", "::1"})


class NotTaken(BrokerError):  # noqa: N818 - says what became of them
    """The collector did not take what was sent."""


class Collector:
    """One collector. Raises SetupError where its address or our files cannot be used."""

    def __init__(self, endpoint: str, ca: Path | None) -> None:
        parts = urlsplit(endpoint)
        own = parts.scheme == "http" and parts.hostname in _OWN
        if not parts.hostname or not (parts.scheme == "https" or own):
            raise SetupError(f"{endpoint} is no https address: what others must not read goes over it")
        self._endpoint = endpoint
        try:
            context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        except OSError as error:  # ssl.SSLError is one
            raise SetupError(f"--ca: {error.strerror or error}") from error
        self._client = httpx.Client(
            verify=context, trust_env=False, timeout=PATIENCE, headers={**_headers(), **_JSON}
        )

    def send(self, file: Path, skip: int) -> Iterator[int]:
        """Send the lines of a file after the first `skip`; after each batch, how many have been taken.

        Raises NotTaken.
        """
        taken = skip
        with self._client, file.open("rb") as lines:
            rest = islice(lines, skip, None)
            while batch := list(islice(rest, BATCH)):
                self._post(
                    json.dumps({"resourceLogs": [json.loads(line)["resourceLogs"][0] for line in batch]})
                )
                taken += len(batch)
                yield taken

    def _post(self, message: str) -> None:
        why = ""
        for n in range(TRIES):
            if n:
                time.sleep(min(2.0 ** (n - 1), _LONGEST))
            try:
                answer = self._client.post(self._endpoint, content=message.encode())
            except httpx.HTTPError as error:
                why = f"cannot be reached ({type(error).__name__})"
                continue
            if answer.status_code == 200:
                return _all_taken(answer)
            why = f"answers {answer.status_code}"
            if answer.status_code not in _AGAIN:
                break
        raise NotTaken(f"the collector {why}")


_JSON = {"content-type": "application/json"}


def _all_taken(answer: httpx.Response) -> None:
    """OTLP: a success may say that some were refused, and these are not to be sent again."""
    try:
        partial = answer.json().get("partialSuccess") or {} if answer.content else {}
        refused = int(partial.get("rejectedLogRecords") or 0)
    except (ValueError, AttributeError, TypeError) as error:
        raise NotTaken("the collector's answer is not one of OTLP in JSON") from error
    if refused:
        raise NotTaken(f"the collector refused {refused} records of a batch")


def _headers() -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS: `name=value,name=value`, percent-encoded. Raises SetupError."""
    found: dict[str, str] = {}
    for pair in filter(None, os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",")):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise SetupError("OTEL_EXPORTER_OTLP_HEADERS is not name=value,name=value")
        found[unquote(name.strip())] = unquote(value.strip())
    return found

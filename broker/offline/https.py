"""One answer over HTTPS, from whoever serves it: bounded in bytes and in time, as a whole.

Owns the connection for that answer. Refuses redirects, proxies of the environment, encodings that were not
asked for, and answers that break off. Whatever a server sends, what comes out is the body or `Unreadable`.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from urllib.parse import urlsplit

from broker.errors import BrokerError

SILENCE = 10.0  # seconds that nothing comes
ANSWER = 30.0  # seconds for one answer, from the name's address to its last byte
_HEADERS = 256 * 1024  # bytes that come besides the body
_ADDRESSES = 8  # of a name, that are tried


class Unreadable(BrokerError):  # noqa: N818
    """The log could not be read: nothing is said of whether it is good. `path` is what was asked for."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class Missing(Unreadable):
    """The log answers, and does not have it."""


class Site:
    """Where answers come from: an https address, and whose certificates are believed.

    Raises ValueError for an address that is none. `until` is a moment of the monotonic clock past which nothing
    is waited for any more.
    """

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext | None,
        *,
        silence: float = SILENCE,
        answer: float = ANSWER,
        until: float = float("inf"),
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("an address is https://HOST:PORT/PATH")
        self.url = url.rstrip("/")
        self._host, self._port, self._path = parts.hostname, parts.port or 443, parts.path.rstrip("/")
        self._context = context or ssl.create_default_context()
        self._silence, self._answer, self._until = silence, answer, until

    def get(self, path: str, most: int) -> bytes | None:
        """The body at this path; None where it is longer than `most`. Raises Unreadable, Missing."""
        url = f"{self.url}/{path}"
        until = min(time.monotonic() + self._answer, self._until)
        try:
            return self._get(url, f"{self._path}/{path}", most, _Clock(until, self._silence))
        except _LateError as e:
            raise Unreadable(url, f"no whole answer within {self._answer:g} s") from e
        except TimeoutError as e:
            why = f"nothing came for {self._silence:g} s"
            raise Unreadable(url, f"no whole answer in time ({why})") from e
        except http.client.HTTPException as e:
            raise Unreadable(url, f"answers with what is no sound HTTP ({type(e).__name__})") from e
        except (OSError, ValueError) as e:
            raise Unreadable(url, getattr(e, "strerror", None) or str(e) or type(e).__name__) from e

    def _get(self, url: str, path: str, most: int, clock: _Clock) -> bytes | None:
        with self._connected(clock) as wire:
            connection = http.client.HTTPConnection(self._host, self._port)
            connection.default_port = 443
            bounded = _Wire(wire, clock, 2 * most + _HEADERS)
            connection.sock = bounded
            connection.request("GET", path, headers={"Connection": "close", "Accept": "*/*"})
            answer = connection.getresponse()
            if answer.status in (404, 410):
                raise Missing(url, f"is not there ({answer.status})")
            if answer.status != http.client.OK:
                raise Unreadable(url, f"answered {answer.status}")
            if (encoding := answer.headers.get("Content-Encoding", "identity").lower()) != "identity":
                raise Unreadable(url, f"comes encoded ({encoding[:20]!r}), which was not asked for")
            data = answer.read(most + 1)
            if len(data) > most:
                return None
            # Read with a bound, the library tells nobody of an end before the end.
            if answer.length:
                raise Unreadable(url, f"breaks off {answer.length} bytes before its end")
            return data

    def _connected(self, clock: _Clock) -> ssl.SSLSocket:
        raw = self._dialled(clock)
        try:
            raw.settimeout(clock.left())
            # An end that the other side did not announce is an error: what was cut is not what was served.
            return self._context.wrap_socket(raw, server_hostname=self._host, suppress_ragged_eofs=False)
        except BaseException:
            raw.close()
            raise

    def _dialled(self, clock: _Clock) -> socket.socket:
        failed: OSError = OSError("this name has no address")
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found[:_ADDRESSES]:
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(clock.left())
                made.connect(address)
            except OSError as e:
                made.close()
                failed = e
                continue
            return made
        raise failed


class _LateError(TimeoutError):
    """The time for the whole answer is over."""


class _Clock:
    """How long may still be waited: for the next bytes, and for all of them."""

    def __init__(self, until: float, silence: float) -> None:
        self._until = until
        self._silence = silence

    def left(self) -> float:
        """Seconds. Raises _LateError."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise _LateError
        return min(left, self._silence)


class _Wire:
    """A connection as `http.client` uses one, within its time and so many bytes."""

    def __init__(self, wire: ssl.SSLSocket, clock: _Clock, most: int) -> None:
        self._wire, self._clock, self._most = wire, clock, most

    def sendall(self, data: bytes) -> None:
        """The question."""
        self._wire.settimeout(self._clock.left())
        self._wire.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """The answer."""
        return io.BufferedReader(_Incoming(self._wire, self._clock, self._most), 32 * 1024)

    def close(self) -> None:
        """Nothing: who opened it closes it, when the answer has been read."""


class _Incoming(io.RawIOBase):
    def __init__(self, wire: ssl.SSLSocket, clock: _Clock, room: int) -> None:
        self._wire, self._clock, self._room = wire, clock, room

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        left = self._clock.left()
        self._wire.settimeout(left)
        try:
            count = self._wire.recv_into(buffer)
        except TimeoutError:
            self._clock.left()  # was it the whole answer's time that ended
            raise
        self._room -= count
        if self._room < 0:
            raise OSError("sends far more than it was asked for")
        return count

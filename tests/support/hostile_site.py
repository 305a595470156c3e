"""An HTTPS server that answers as no server should: with whatever bytes a test gives it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Answer = Callable[[ssl.SSLSocket, str], None]


class HostileSite:
    """Serves on a free port of this machine until `close`. `answer` is given the connection and the path
    asked."""

    def __init__(self, cert: Path, key: Path, answer: Answer) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.answer = answer
        self.asked: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """The log's address."""
        return f"https://localhost:{self.port}/log"

    def close(self) -> None:
        """Answer nobody any more."""
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(raw,), daemon=True).start()

    def _one(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), self._context.wrap_socket(raw, server_side=True) as wire:
            wire.settimeout(30)
            question = wire.recv(8192).decode("latin-1")
            path = question.split(" ")[1]
            self.asked.append(path)
            self.answer(wire, path)
            wire.unwrap()


@contextlib.contextmanager
def hostile(cert: Path, key: Path, answer: Answer) -> Iterator[HostileSite]:
    """One, for as long as the block."""
    site = HostileSite(cert, key, answer)
    try:
        yield site
    finally:
        site.close()


def ok(body: bytes, *headers: str) -> bytes:
    """A sound answer."""
    lines = ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

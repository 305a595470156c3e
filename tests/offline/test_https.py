"""A log over HTTPS from whoever serves it: whatever is answered, the body or one named failure, in bounded
time."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.errors import IntegrityError
from broker.offline.fsck import fsck
from broker.offline.memory import Memory
from broker.offline.monitor import Verdict, look
from broker.offline.source import Address, Missing, Unreadable
from tests.support.certificates import Authority, Files
from tests.support.hostile_site import HostileSite, hostile, ok
from tests.support.static_log import ENTRIES, SIGNER, StaticLog

KEYS = (SIGNER.verifier,)
SILENCE, ANSWER = 0.6, 1.2
NOTE = b"x" * 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A certificate for this machine."""
    return Authority(tmp_path_factory.mktemp("https")).server()


def address(site: HostileSite, server: Files, answer: float = ANSWER) -> Address:
    """The log there."""
    return Address(site.url, ssl.create_default_context(cafile=str(server.ca)), SILENCE, answer=answer)


def _again(part: bytes, pause: float = 0.0, before: bytes = b"") -> Callable[[ssl.SSLSocket, str], None]:
    def answer(wire: ssl.SSLSocket, _path: str) -> None:
        wire.sendall(before)
        while True:
            wire.sendall(part)
            time.sleep(pause)

    return answer


def _once(data: bytes) -> Callable[[ssl.SSLSocket, str], None]:
    return lambda wire, _path: wire.sendall(data)


def _cut(wire: ssl.SSLSocket, _path: str) -> None:
    """Without a length, and without saying that it is the end."""
    wire.sendall(b"HTTP/1.1 200 OK\r\n\r\nabc")
    wire.detach()


def _reset(wire: ssl.SSLSocket, _path: str) -> None:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")
    wire.close()


NOISE = random.Random(1).randbytes(4000)
UNREADABLE = {
    "bad-status-line": _once(b"garbage\r\n\r\n"),
    "no-status": _once(b"HTTP/1.1 \r\n\r\n"),
    "status-not-a-number": _once(b"HTTP/1.1 abc OK\r\n\r\n"),
    "status-out-of-range": _once(b"HTTP/1.1 99999 OK\r\n\r\n"),
    "noise": _once(NOISE),
    "nothing": _once(b""),
    "zeros": _once(bytes(5000)),
    "chunk-cut": _once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"),
    "chunk-no-size": _once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc"),
    "chunk-negative": _once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc"),
    "chunk-long-line": _once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000),
    "300-headers": _once(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(300)) + b"\r\n"),
    "long-header": _once(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"),
    "endless-header": _again(b"a" * 65_536, before=b"HTTP/1.1 200 OK\r\nX: "),
    "length-cut": _once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
    "cut-unannounced": _cut,
    "reset": _reset,
    "redirect": _once(b"HTTP/1.1 302 Found\r\nLocation: https://localhost/x\r\nContent-Length: 0\r\n\r\n"),
    "error": _once(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
    "no-content": _once(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "compressed": _once(ok(b"abc", "Content-Encoding: gzip")),
    "continue-for-ever": _again(b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "continue-flood": _again(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trickle": _again(b"a", 0.1, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    "trickled-header": _again(b"a", 0.1, b"HTTP/1.1 200 OK\r\nX: "),
    "silence": _again(b"", 0.5),
    "silence-in-the-middle": _again(b"", 0.5, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"),
}


@pytest.mark.parametrize("how", UNREADABLE)
def test_what_is_no_answer_is_unreadable_and_soon(server: Files, how: str) -> None:
    """Neither good nor bad is said of the log, and nobody waits longer than for a whole answer."""
    with hostile(server.cert, server.key, UNREADABLE[how]) as site:
        began = time.monotonic()
        with pytest.raises(Unreadable) as told:
            address(site, server).checkpoint()
    assert time.monotonic() - began < ANSWER + 2
    assert not isinstance(told.value, Missing)
    assert len(str(told.value)) < 300
    assert str(told.value).isprintable()


def test_what_is_longer_than_it_may_be_is_not_the_logs(server: Files) -> None:
    """Declared or endless: it is not read to its end."""
    endless = _again(b"a" * 65_536, before=b"HTTP/1.1 200 OK\r\n\r\n")
    for answer in (endless, _once(ok(b"a" * 200_000))):
        with (
            hostile(server.cert, server.key, answer) as site,
            pytest.raises(IntegrityError, match="longer than"),
        ):
            address(site, server).checkpoint()


def test_a_sound_answer_is_read_as_it_is(server: Files) -> None:
    """With a length, in chunks, or to an end that was announced; what is not there is missing."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + NOTE + b"\r\n0\r\n\r\n"
    announced = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + NOTE
    after = b"HTTP/1.1 100 Continue\r\n\r\n" + ok(NOTE)
    for data in (ok(NOTE), chunked, announced, after):
        with hostile(server.cert, server.key, _once(data)) as site:
            assert address(site, server).checkpoint() == NOTE
            assert site.asked == ["/log/checkpoint"]
    for status in (b"404 Not Found", b"410 Gone"):
        gone = _once(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        with hostile(server.cert, server.key, gone) as site, pytest.raises(Missing):
            address(site, server).checkpoint()


def test_who_is_not_there_or_not_who_they_say_is_unreadable(server: Files, tmp_path: Path) -> None:
    """No server, no name, another's certificate, and a handshake that does not end."""
    with hostile(server.cert, server.key, _once(ok(NOTE))) as site:
        with pytest.raises(Unreadable, match="certificate"):
            Address(site.url, None, SILENCE, answer=ANSWER).checkpoint()
        other = Authority(tmp_path / "other").server()
        with pytest.raises(Unreadable, match="certificate"):
            address(site, other).checkpoint()
    with pytest.raises(Unreadable):
        Address("https://127.0.0.1:9/log", None, SILENCE).checkpoint()
    with pytest.raises(Unreadable):
        Address("https://no-such-name.invalid/log", None, SILENCE).checkpoint()
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        began = time.monotonic()
        with pytest.raises(Unreadable):
            Address(f"https://127.0.0.1:{silent.getsockname()[1]}", None, SILENCE).checkpoint()
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "url",
    [
        "http://x/log",
        "https://",
        "https:///x",
        "https://x:y/",
        "https://x:99999/",
        "https://u:p@x/",
        "https://x/?a",
    ],
)
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    """As an argument that makes no sense."""
    with pytest.raises(ValueError):
        Address(url, None)


@pytest.mark.parametrize("how", ["bad-status-line", "trickle", "300-headers", "continue-for-ever"])
def test_a_monitor_of_such_a_log_says_that_it_cannot_be_read(server: Files, tmp_path: Path, how: str) -> None:
    """It is a verdict like the others, and what was believed stays believed."""
    with hostile(server.cert, server.key, UNREADABLE[how]) as site:
        found = look(address(site, server), KEYS, Memory(tmp_path / "state.json"))
        assert found.verdict is Verdict.UNREADABLE
        assert not found.alarm


def test_a_look_ends_when_its_time_is_over(server: Files, tmp_path: Path) -> None:
    """All its answers together: each comes in time, and there are too many of them."""
    log = StaticLog(tmp_path / "log").write(ENTRIES[:700])

    def slowly(wire: ssl.SSLSocket, path: str) -> None:
        time.sleep(0.3)
        file = log.root / path.removeprefix("/log/")
        gone = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        wire.sendall(ok(file.read_bytes()) if file.exists() else gone)

    with hostile(server.cert, server.key, slowly) as site:
        context = ssl.create_default_context(cafile=str(server.ca))
        assert fsck(Address(site.url, context), KEYS).good
        with pytest.raises(Unreadable, match="no whole answer"):
            fsck(Address(site.url, context, until=time.monotonic() + 1), KEYS)


def _bundles(body: Iterator[bytes]) -> Callable[[ssl.SSLSocket, str], None]:
    def answer(wire: ssl.SSLSocket, path: str) -> None:
        entries = path.startswith("/log/tile/entries/")
        none = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        wire.sendall(ok(next(body)) if entries else none)

    return answer


@pytest.mark.timeout(60)
@pytest.mark.long
def test_an_address_that_gives_rubbish_for_ever_keeps_nobody_busy(server: Files, tmp_path: Path) -> None:
    """Under a signed size that nobody could read: after so much of it on end, it stops and says so."""
    note = sign_checkpoint(Checkpoint(SIGNER.name, 1 << 60, bytes(32)), SIGNER)
    for rubbish in (b"\0", b"\0\0" * 256, NOISE):
        answer = _bundles(itertools.repeat(rubbish))

        def served(wire: ssl.SSLSocket, path: str) -> None:
            if path == "/log/checkpoint":
                wire.sendall(ok(note))
            else:
                answer(wire, path)  # noqa: B023 - called before the next one

        with hostile(server.cert, server.key, served) as site:
            report = fsck(address(site, server, answer=10), KEYS)
            assert not report.good
            assert len(report.problems) <= 100
            assert "were not looked for: 64 bundles on end" in str(report.unchecked)
            assert len(site.asked) < 80

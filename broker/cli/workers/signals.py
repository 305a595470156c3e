"""What the supervisor is told: to stop (SIGTERM, SIGINT), or to replace its workers (SIGHUP)."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType, TracebackType
from typing import Any, Self

_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Notes signals for as long as the block lasts; `wait` ends early when one comes."""

    def __init__(self) -> None:
        self.stop = False
        self.replace = False
        self._before: dict[int, Any] = {}
        self._here, self._there = socket.socketpair()

    def wait(self, seconds: float) -> None:
        """Sleep for so long, or until a signal."""
        if select.select([self._here], [], [], seconds)[0]:
            self._here.recv(64)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.replace = True
        else:
            self.stop = True

    def __enter__(self) -> Self:
        for end in (self._here, self._there):
            end.setblocking(False)
        signal.set_wakeup_fd(self._there.fileno(), warn_on_full_buffer=False)
        for number in _HEARD:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(-1)
        self._here.close()
        self._there.close()

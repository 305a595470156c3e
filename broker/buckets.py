"""So much in a time: token buckets, with time as an argument and a bound on how many there are."""

from __future__ import annotations

_MAX_KEYS = 65_536


class Buckets:
    """Token buckets by key, in one number each: the moment at which the bucket will be full again.

    That is the generic cell rate algorithm (ITU-T I.371). A bucket that is full is as good as none and is
    dropped; a new key beyond `most` that are not full waits until one is.
    """

    def __init__(self, most: int = _MAX_KEYS) -> None:
        self._full_at: dict[str, float] = {}
        self._most = most
        self._sweep_at = min(most, 64)

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, rate: float, burst: float, now: float) -> float:
        """Take a token of `rate` a second and `burst` at most; 0.0, or the seconds until there will be one.

        `now` never goes back. No window of t seconds gives more than `rate` * t + `burst`.
        """
        full_at = max(self._full_at.get(key, now), now) + 1.0 / rate
        wait = full_at - now - max(burst, 1.0) / rate
        if wait > 1e-9 or (wait := self._no_room(key, now)):
            return wait
        self._full_at[key] = full_at
        return 0.0

    def owe(self, key: str, rate: float, burst: float, now: float, count: int, longest: float) -> float:
        """Take `count` tokens, there or not; the seconds until that debt is paid, at most `longest`."""
        if self._no_room(key, now):
            return longest
        full_at = max(self._full_at.get(key, now), now) + count / rate
        self._full_at[key] = min(full_at, now + burst / rate + longest)
        return max(0.0, self._full_at[key] - now - burst / rate)

    def _no_room(self, key: str, now: float) -> float:
        """Seconds until this key may have a bucket; 0.0 where it may now."""
        if key in self._full_at or len(self._full_at) < self._sweep_at:
            return 0.0
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        if len(self._full_at) < self._most:
            self._sweep_at = min(self._most, max(64, 2 * len(self._full_at)))
            return 0.0
        return max(min(self._full_at.values()) - now, 1e-3)

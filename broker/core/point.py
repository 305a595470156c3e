"""A point on the map, as requests and records give it: WGS 84 decimal degrees, in the United Kingdom.

Examples with the two the wrong way round are published and copied (NHS BaRS, application 6), so a point that is
not in the United Kingdom is refused with that question.
"""

from __future__ import annotations

# The United Kingdom with its waters.
LATITUDES = (49.0, 61.5)
LONGITUDES = (-9.5, 2.5)
HALF = "give both latitude and longitude, or neither"
ABROAD = "outside the United Kingdom; are the two the wrong way round?"


def problem(latitude: float | None, longitude: float | None) -> tuple[str, str] | None:
    """Which of the two is wrong and how (`HALF`, `ABROAD`); None where nothing is, or neither is there."""
    if (latitude is None) != (longitude is None):
        return "latitude", HALF
    for name, value, (low, high) in (
        ("latitude", latitude, LATITUDES),
        ("longitude", longitude, LONGITUDES),
    ):
        if value is not None and not low <= value <= high:
            return name, ABROAD
    return None

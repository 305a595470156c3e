"""Whether what is permitted says enough to be acted upon: how old it is, whether it holds, where exactly.

Few fields are good; a fact cut off from what qualifies it misleads (DPA 2018 s.38(1)-(3): accurate, complete,
up to date). A date left out may be meant, so it is a warning; half a point is never meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from broker.core.checks.setting import Problems, Setting
from broker.core.leaves import Leaf
from broker.core.terms import FlowTerms

_ENDS = ("currency", "ended_on")
_BESIDE = (*_ENDS, "state", "as_at")
_POINT = ("latitude", "longitude")
_EXERCISE = "exercise"
_CONCERN = ("safeguarding.state", "safeguarding.concern")
_PLOTTED = ("status", "accuracy_metres")


class _Permitted(NamedTuple):
    """A permitted leaf: the group it stands in with a last dot, its own name, and the group of its nearest
    state with a last dot (None: no state governs it, or it is one)."""

    group: str
    name: str
    stated: str | None


def path_dated(setting: Setting) -> Problems:
    """A fact goes with the time at which it was true."""
    return _without(setting, _dated, "what was true once would read as true today")


def path_holds(setting: Setting) -> Problems:
    """A warning goes with its currency, a plan with its end."""
    return _without(setting, _holds, "what has ended or was found wrong would read as in force")


def path_point(setting: Setting) -> Problems:
    """A point has both coordinates."""
    return _without(setting, _point, "half a point is none")


def path_plotted(setting: Setting) -> Problems:
    """A point goes with how near and how sure it is."""
    return _without(setting, _plotted, "a first report would read as the place itself")


def path_exercise(setting: Setting) -> Problems:
    """What may be of an exercise says so: a crew is sent, or is not, by that one word."""
    for n, _, leaves, told in _flows(setting):
        if _EXERCISE in leaves and _EXERCISE not in told:
            problem = "an exercise would read as an emergency, and an emergency as an exercise"
            yield f"flows.{n}.permitted", f"without {_EXERCISE!r}: {problem}", f"permit {_EXERCISE} too"


def path_concern(setting: Setting) -> Problems:
    """A safeguarding concern goes with the record that somebody wrote it in (NHS BaRS: always sent)."""
    for n, _, leaves, told in _flows(setting):
        missing = [path for path in _CONCERN if path in leaves and path not in told]
        if missing:
            problem = f"without {missing[0]!r}: a concern for somebody's safety would stay behind"
            yield f"flows.{n}.permitted", problem, f"permit {', '.join(missing)} too"


def _dated(leaf: _Permitted) -> Iterable[str]:
    return () if leaf.stated is None or leaf.name == "as_at" else (f"{leaf.stated}as_at",)


def _holds(leaf: _Permitted) -> Iterable[str]:
    return (f"{leaf.group}{name}" for name in _ENDS if leaf.name not in _BESIDE)


def _point(leaf: _Permitted) -> Iterable[str]:
    return (f"{leaf.group}{name}" for name in _POINT if leaf.name in _POINT)


def _plotted(leaf: _Permitted) -> Iterable[str]:
    return (f"{leaf.group}{name}" for name in _PLOTTED if leaf.name in _POINT)


def _without(setting: Setting, wants: Callable[[_Permitted], Iterable[str]], why: str) -> Problems:
    """Leaves that go with another which the type has and the flow does not permit; the other once a flow."""
    for n, flow, leaves, told in _flows(setting):
        for m, path in enumerate(flow.permitted):
            for other in wants(_permitted(leaves[path])) if path in leaves else ():
                if other in leaves and other not in told:
                    told.add(other)
                    problem = f"{path!r} without {other!r}: {why}"
                    yield f"flows.{n}.permitted.{m}", problem, f"permit {other} too"


def _flows(setting: Setting) -> Iterator[tuple[int, FlowTerms, dict[str, Leaf], set[str]]]:
    """Each flow of a known type with its number, the type's leaves, and the paths that it permits."""
    for n, flow in enumerate(setting.agreement.flows):
        if flow.record_type in setting.types:
            leaves = {leaf.path: leaf for leaf in setting.types[flow.record_type].leaves}
            yield n, flow, leaves, set(flow.permitted)


def _permitted(leaf: Leaf) -> _Permitted:
    group, dot, name = leaf.path.rpartition(".")
    stated = None
    if leaf.states and not leaf.is_state:
        above, point, _ = leaf.states[-1].rpartition(".")
        stated = above + point
    return _Permitted(group + dot, name, stated)

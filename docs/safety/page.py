"""Writes docs/safety/hazard-log.md: `python docs/safety/page.py` prints it.

Owns the page's words; the rows are those of hazard-log.toml, read by the rules of `hazards.py`. A row that does
not hold is refused: exit 1, and its name.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hazards import MOST_ACCEPTABLE, Control, Hazard, HazardLog, HazardLogError, Risk, Status, read

HERE = Path(__file__).resolve().parent
_INTRODUCTION = """\
# Hazard log

What could go wrong for patients, for other people and for crews, what stands in the way, and what is left.
`docs/safety/page.py` makes this page from [hazard-log.toml](hazard-log.toml); `make generate` writes it, and
`make lint` fails where a named file, setting or test is not there. What the words and numbers mean, how they
were found and who answers for them: [README.md](README.md).

**No Clinical Safety Officer has approved this log.** Severities and likelihoods are the engineers' proposals.

*Initial* is the risk without the broker's own controls, *residual* with those that are in this release. What is
asked of the deploying organisation, and what is not in this release, lowers no figure here.
"""


def main() -> int:
    """Print the page. 1 where a row does not hold."""
    try:
        log = read((HERE / "hazard-log.toml").read_bytes(), HERE.parents[1])
    except HazardLogError as e:
        sys.stderr.write(f"{e}\n")
        return 1
    sys.stdout.write("\n".join((_INTRODUCTION, *_summary(log), *_groups(log))))
    return 0


def _summary(log: HazardLog) -> Iterator[str]:
    statuses: tuple[Status, ...] = ("mitigated", "transferred", "open")
    counted = Counter((row.residual.risk, row.status) for row in log.hazard)
    yield f"## The {len(log.hazard)} hazards\n"
    yield f"| Residual risk | {' | '.join(statuses)} | all |\n|---|{'---|' * 4}"
    for level in sorted((each.level for each in log.level), reverse=True):
        found = [counted[level, status] for status in statuses]
        yield _row(str(level), *map(str, found), str(sum(found)))
    by_status = Counter(row.status for row in log.hazard)
    yield _row("all", *(str(by_status[status]) for status in statuses), str(len(log.hazard)))
    yield "\n| | Hazard | Initial | Residual | Status | Owner of what is left |\n|---|---|---|---|---|---|"
    for row in log.hazard:
        risks = (str(row.initial.risk), str(row.residual.risk))
        yield _row(f"[{row.id}](#{_anchor(_heading(row))})", row.hazard, *risks, row.status, row.owner)
    undesirable = ", ".join(row.id for row in log.hazard if row.residual.risk == MOST_ACCEPTABLE) or "none"
    yield f"\nAt {MOST_ACCEPTABLE}, acceptable only where no more can be done: {undesirable}.\n"


def _groups(log: HazardLog) -> Iterator[str]:
    for code, title in log.groups.items():
        yield f"## {title}\n"
        for row in log.hazard:
            if row.group == code:
                yield from _hazard(row)


def _hazard(row: Hazard) -> Iterator[str]:
    yield f"### {_heading(row)}\n"
    risks = f"Initial risk {_risk(row.initial)}; residual {_risk(row.residual)}."
    yield f"**{row.status.capitalize()}.** {risks} Owner of what is left: {row.owner}.\n"
    yield from _list("Causes", row.causes)
    told = (("Patient", row.effects.patient), ("Person", row.effects.person), ("Crew", row.effects.crew))
    yield from _list("Effects", [f"*{who}:* {what}" for who, what in told if what])
    yield from _list("Controls in this release", map(_control, row.controls))
    yield from _list("Not in this release", row.not_in_this_release)
    yield from _list("Asked of the deploying organisation", row.deploying)
    yield f"What is left: {row.reason}\n"
    yield from _list("To close it", row.to_close)


def _control(control: Control) -> str:
    where = ", ".join(f"`{path}`" for path in control.where)
    settings = "".join(f"; setting `{name}`" for name in control.settings)
    tests = ", ".join(f"`{test}`" for test in control.tests)
    shown = f"Shown by {tests}." if tests else "By instruction, which no test can show to be followed."
    return f"{control.what} ({where}{settings}) {shown}"


def _list(title: str, texts: Iterable[str]) -> Iterator[str]:
    lines: Sequence[str] = [f"- {text}" for text in texts]
    if lines:
        yield f"{title}:\n"
        yield from lines
        yield ""


def _risk(risk: Risk) -> str:
    return f"**{risk.risk}** ({risk.severity}, {risk.likelihood})"


def _heading(row: Hazard) -> str:
    return f"{row.id} {row.hazard}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())

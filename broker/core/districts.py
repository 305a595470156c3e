"""ONS codes of local authority districts: what can be said of one by its form alone.

Owns which nation a code is of. A code of this form may still be none that was ever given out: that is for
whoever knows the register of a day.
"""

from __future__ import annotations

import re

FORM = "E06, E07, E08 or E09 (England), W06 (Wales), S12 (Scotland) or N09 (Northern Ireland) and six digits"
_DISTRICT = re.compile(r"(E0[6-9]|W06|S12|N09)[0-9]{6}", re.ASCII)
_NATIONS = {"E": "england", "W": "wales", "S": "scotland", "N": "northern-ireland"}


def nation(code: str) -> str:
    """The jurisdiction that a district is in; empty where the code is not one of a district."""
    return _NATIONS[code[0]] if _DISTRICT.fullmatch(code) else ""

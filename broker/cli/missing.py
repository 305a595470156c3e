"""Commands that name every required option that is missing at once, and whose help cuts no option's name.

Owns nothing else of parsing or help: whatever is not about that is typer's to say.
"""

from __future__ import annotations

import shutil
from typing import Any

import typer
from typer.core import TyperCommand

# Below, tables of options cut names; plain text puts a long name on a line of its own.
ROOM_FOR_TABLES = 120
_AS_IT_STANDS = "\b"  # before a paragraph of a help; only plain text keeps its lines


class AllMissing(TyperCommand):
    """A command whose complaint about a missing option lists them all, and whose help fits the terminal."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As the parent's; as plain text where the terminal is narrow, or lines have to stay as they are."""
        if shutil.get_terminal_size().columns < ROOM_FOR_TABLES or _AS_IT_STANDS in (self.help or ""):
            self.rich_markup_mode = None
        super().format_help(ctx, formatter)

    # typer takes the type of `ctx` from a module that it keeps to itself.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the parent's: what is left of `args`, those after the command's name."""
        given = list(args)  # parsing takes from the list
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if type(error) is typer.BadParameter:  # a value of the wrong form; what is missing is a subclass
                raise
            options, _, _ = self.make_parser(ctx).parse_args(given)
            missing = [
                each.opts[0] if each.opts[0].startswith("-") else str(each.name).upper()
                for each in self.get_params(ctx)
                if each.required and each.consume_value(ctx, options)[0] is None
            ]
            if len(missing) > 1:
                ctx.fail(f"Missing: {', '.join(missing)}.")
            raise

"""Commands that name every required option that is missing at once, not one after the other.

Owns nothing else of parsing: whatever is not about a missing option is typer's to say.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class AllMissing(TyperCommand):
    """A command whose complaint about a missing option lists them all."""

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

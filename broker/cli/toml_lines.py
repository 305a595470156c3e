"""On which line of a TOML file each key stands, for messages about it.

Owns nothing of what a file means: `tomllib` reads it, and tells the line itself where it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node


def lines(file: bytes) -> dict[str, int]:
    """By dotted key, items of arrays by their number (`flows.0.permitted.2`), the line from 1."""
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    for node in Parser(Language(tree_sitter_toml.language())).parse(file).root_node.named_children:
        if node.type == "pair":
            _pair(node, "", found)
        elif node.type in ("table", "table_array_element"):
            where = _header(node, counts)
            _put(found, where, node)
            for pair in _of_type(node, "pair"):
                _pair(pair, where, found)
    return found


def line_of(key: str, found: dict[str, int]) -> int:
    """The line of a key, or of the nearest table around it that is there; the first where none is."""
    while key:
        if key in found:
            return found[key]
        key = key.rpartition(".")[0]
    return 1


def _header(node: Node, counts: dict[str, int]) -> str:
    """Where a table belongs: the arrays of tables on its way are numbered by what has come so far."""
    names = _names(node.named_children[0])
    way: list[str] = []
    for n, name in enumerate(names, 1):
        way.append(name)
        plain = ".".join(way)
        if n == len(names) and node.type == "table_array_element":
            counts[plain] = counts.get(plain, -1) + 1
            for below in [each for each in counts if each.startswith(f"{plain}.{counts[plain]}.")]:
                del counts[below]
        if plain in counts:
            way.append(str(counts[plain]))
    return ".".join(way)


def _pair(node: Node, where: str, found: dict[str, int]) -> None:
    key, value = node.named_children[0], node.named_children[1]
    for name in _names(key):
        where = f"{where}.{name}".removeprefix(".")
        _put(found, where, node)
    _value(value, where, found)


def _value(node: Node, where: str, found: dict[str, int]) -> None:
    if node.type == "array":
        for n, item in enumerate(each for each in node.named_children if each.type != "comment"):
            _put(found, f"{where}.{n}", item)
            _value(item, f"{where}.{n}", found)
    elif node.type == "inline_table":
        for pair in _of_type(node, "pair"):
            _pair(pair, where, found)


def _put(found: dict[str, int], key: str, node: Node) -> None:
    found.setdefault(key, node.start_point.row + 1)


def _of_type(node: Node, kind: str) -> Iterator[Node]:
    return (each for each in node.named_children if each.type == kind)


def _names(key: Node) -> list[str]:
    if key.type == "dotted_key":
        return [name for each in key.named_children for name in _names(each)]
    text = (key.text or b"").decode("utf-8", "replace")
    return [text[1:-1] if key.type == "quoted_key" else text]

# SPDX-License-Identifier: GPL-2.0
"""What can be turned off in ring/, one at a time.

    if (C)                  never taken
    A < B, A <= B, ...      off by one to either side; == and !=: only one side
    A && B, A || B          without A, without B
    C ? A : B               only A, only B;  C ?: B: only C, only B
    return C                always, never, where C is a condition
    case X:                 without it
    a row of op_table       without a flag, a limit that is one more, no feature
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import csource
from csource import COMPARISONS, LOGICAL, Node

# In place of each comparison: other operators, or an operand and one more.
OTHERS = {
    "<": ("{a} <= {b}", "{a} + 1 < {b}"),
    "<=": ("{a} < {b}", "{a} <= {b} + 1"),
    ">": ("{a} >= {b}", "{a} > {b} + 1"),
    ">=": ("{a} > {b}", "{a} + 1 >= {b}"),
    "==": ("{a} <= {b}", "{a} >= {b}"),
    "!=": ("{a} < {b}", "{a} > {b}"),
}


@dataclass(frozen=True)
class Mutant:
    """A change of one place.

    key: what it does, in words that outlive a change elsewhere in the file.
    """

    file: Path
    key: str
    line: int
    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        """The file with it."""
        return source[:self.start] + self.text + source[self.end:]


def one_line(text: str) -> str:
    """Without the layout of the source."""
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", text, flags=re.S)).strip()


class Maker:
    """Makes the mutants of a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.source = file.read_text("utf-8")
        self.seen: dict[str, int] = {}

    def text(self, node: Node) -> str:
        """As it stands in the source."""
        return self.source[node.start:node.end]

    def mutant(self, function: str, what: str, start: int, end: int,
               text: str) -> Mutant:
        """One, with a name of its own."""
        key = f"{self.file.name} {function}: {one_line(what)}"
        self.seen[key] = self.seen.get(key, 0) + 1
        if self.seen[key] > 1:
            key += f" (no. {self.seen[key]})"
        return Mutant(self.file, key, self.source.count("\n", 0, start) + 1,
                      start, end, text)

    def swap(self, function: str, node: Node, text: str,
             what: str = "") -> Mutant:
        """An expression for another."""
        what = what or f"{self.text(node)} -> {text}"
        return self.mutant(function, what, node.start, node.end, text)

    def without(self, function: str, node: Node) -> Iterator[Mutant]:
        """A chain of && or || without one operand each."""
        for i, part in enumerate(node.parts):
            rest = node.parts[:i] + node.parts[i + 1:]
            yield self.swap(function, node,
                            f" {node.op} ".join(map(self.text, rest)),
                            f"without {self.text(part)}")

    def inside(self, function: str, node: Node) -> Iterator[Mutant]:
        """Of an expression and all in it."""
        for part in node.walk():
            if part.op in COMPARISONS:
                a, b = map(self.text, part.parts)
                for other in OTHERS[part.op]:
                    yield self.swap(function, part, other.format(a=a, b=b))
            elif part.op in LOGICAL:
                yield from self.without(function, part)
            elif part.op == "?:":
                for kept in (part.parts[-2], part.parts[-1]):
                    yield self.swap(function, part, f"({self.text(kept)})",
                                    f"only {self.text(kept)} of "
                                    f"{self.text(part)}")

    def function(self, function: csource.Function) -> Iterator[Mutant]:
        """Of a function."""
        name = function.name
        for place in function.places:
            node = place.node
            text = self.text(node)
            if place.kind == "if":
                yield self.swap(name, node, f"0 && ({text})",
                                f"never if ({text})")
            elif place.kind == "case":
                yield self.swap(name, node, "", f"without {text}")
            elif (place.kind == "return"
                  and node.op in {*COMPARISONS, *LOGICAL, "!"}):
                yield self.swap(name, node, f"1 || ({text})", f"always {text}")
                yield self.swap(name, node, f"0 && ({text})", f"never {text}")
            yield from self.inside(name, node)

    def table(self) -> Iterator[Mutant]:
        """Of the rows of op_table."""
        found = re.search(r"\bop_table\[.*?\n};", self.source, re.S)
        if not found:
            return
        row = ""
        for match in re.finditer(r"\[(\w+)\] = \{|\.(\w+) = ([^,]*),", found[0]):
            if match[1]:
                row = match[1]
                continue
            start = found.start() + match.start(3)
            end = found.start() + match.end(3)
            values = {"feature": ["0"]}.get(match[2], [f"({match[3]}) + 1"])
            if match[2] == "uses":
                flags = match[3].split(" | ")
                values = [" | ".join(flags[:i] + flags[i + 1:]) or "0"
                          for i in range(len(flags))]
            for value in values:
                yield self.mutant("op_table", f"{row}.{match[2]} = {match[3]} "
                                  f"-> {value}", start, end, value)

    def all(self) -> list[Mutant]:
        """All of the file, in the order of the text."""
        made = list(self.table())
        for function in csource.functions(self.source):
            made += self.function(function)
        return sorted(made, key=lambda m: m.start)


def of(file: Path) -> list[Mutant]:
    """The mutants of a file."""
    return Maker(file).all()

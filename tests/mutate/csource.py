# SPDX-License-Identifier: GPL-2.0
"""Just enough of C to find the conditions in ring/: functions, statements,
expressions with the place of each part in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Iterator, Optional

TOKEN = re.compile(r"""
      [A-Za-z_]\w*
    | 0[xX][0-9a-fA-F]+\w* | \d+\w*
    | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
    | <<= | >>= | \.\.\. | -> | \+\+ | -- | << | >> | <= | >= | == | != | && | \|\|
    | [-+*/%&|^]= | [^\s\w]
    """, re.X)
BLANK = re.compile(r"/\*.*?\*/|^[ \t]*\#(?:\\\n|[^\n])*", re.S | re.M)

TYPES = {"u8", "u16", "u32", "u64", "s32", "int", "void", "const", "struct",
         "unsigned", "long", "char", "size_t", "bool", "enum", "__le16",
         "__le32", "__le64"}
BINARY = [{"||"}, {"&&"}, {"|"}, {"^"}, {"&"}, {"==", "!="},
          {"<", ">", "<=", ">="}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "%"}]
LOGICAL = ("&&", "||")
COMPARISONS = {"<", ">", "<=", ">=", "==", "!="}
ASSIGNMENTS = {"=", "+=", "-=", "|=", "&=", "<<=", ">>="}
OPEN = {"(": ")", "[": "]", "{": "}"}


class Unknown(Exception):
    """Something that is not C as it is written here."""


@dataclass
class Token:
    """A word and where it stands."""

    text: str
    start: int
    end: int


@dataclass
class Node:
    """An expression: its operator, or "" for a leaf, and its operands."""

    op: str
    start: int
    end: int
    parts: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """It and all in it, in the order of the text."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass
class Place:
    """An expression and what it is for: if, while, for, return, case, value."""

    kind: str
    node: Node


@dataclass
class Function:
    """A function and all expressions in it."""

    name: str
    places: list[Place]


def tokens_of(text: str) -> list[Token]:
    """The words; comments and directives of the preprocessor are none."""
    blanked = BLANK.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
    return [Token(m[0], m.start(), m.end()) for m in TOKEN.finditer(blanked)]


class Expressions:
    """Parses expressions of a list of words."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, ahead: int = 0) -> str:
        """The next word, "" at the end."""
        at = self.at + ahead
        return self.tokens[at].text if at < len(self.tokens) else ""

    def take(self, text: str = "") -> Token:
        """The next word, which must be that one."""
        if self.at >= len(self.tokens) or text not in ("", self.peek()):
            near = self.tokens[min(self.at, len(self.tokens) - 1)]
            raise Unknown(f"{text!r} expected near {near.text!r} at {near.start}")
        self.at += 1
        return self.tokens[self.at - 1]

    def comma(self) -> Node:
        """All of it, with commas."""
        node = self.assignment()
        while self.peek() == ",":
            self.take()
            right = self.assignment()
            node = Node(",", node.start, right.end, [node, right])
        return node

    def assignment(self) -> Node:
        """With assignments, which are leaves to the left."""
        left = self.ternary()
        if self.peek() in ASSIGNMENTS:
            op = self.take().text
            right = self.assignment()
            return Node(op, left.start, right.end, [left, right])
        return left

    def ternary(self) -> Node:
        """With c ? a : b and c ?: b."""
        node = self.binary(0)
        if self.peek() != "?":
            return node
        self.take()
        parts = [node]
        if self.peek() != ":":
            parts.append(self.comma())
        self.take(":")
        parts.append(self.ternary())
        return Node("?:", node.start, parts[-1].end, parts)

    def binary(self, level: int) -> Node:
        """Operators of a level and of those that bind tighter."""
        if level == len(BINARY):
            return self.unary()
        node = self.binary(level + 1)
        while self.peek() in BINARY[level]:
            op = self.take().text
            right = self.binary(level + 1)
            if op in LOGICAL and node.op == op:
                node = Node(op, node.start, right.end, [*node.parts, right])
            else:
                node = Node(op, node.start, right.end, [node, right])
        return node

    def unary(self) -> Node:
        """Signs, casts, sizeof."""
        text = self.peek()
        if text == "(" and self.peek(1) in TYPES:
            start = self.take().start
            while self.peek() != ")":
                self.take()
            self.take()
            part = self.unary()
            return Node("cast", start, part.end, [part])
        if text in ("sizeof", "offsetof"):
            start = self.take().start
            self.skip("(")
            return Node("", start, self.tokens[self.at - 1].end)
        if text in ("!", "~", "-", "*", "&", "++", "--"):
            start = self.take().start
            part = self.unary()
            return Node(text, start, part.end, [part])
        return self.postfix()

    def skip(self, opening: str) -> None:
        """A bracket and all that is in it."""
        self.take(opening)
        depth = 1
        while depth:
            text = self.take().text
            depth += (text == opening) - (text == OPEN[opening])

    def postfix(self) -> Node:
        """Names, numbers, brackets and what follows them."""
        if self.peek() == "(":
            start = self.take().start
            inner = self.comma()
            node = Node("()", start, self.take(")").end, [inner])
        else:
            word = self.take()
            if not re.match(r"[\w\"']", word.text):
                raise Unknown(f"{word.text!r} at {word.start}")
            node = Node("", word.start, word.end)
        while self.peek() in ("(", "[", ".", "->", "++", "--"):
            op = self.take().text
            if op in (".", "->"):
                node = Node("", node.start, self.take().end, [node])
            elif op in OPEN:
                inside = [] if self.peek() == OPEN[op] else [self.comma()]
                node = Node(op, node.start, self.take(OPEN[op]).end,
                            [node, *inside])
            else:
                node = Node(op, node.start, self.tokens[self.at - 1].end, [node])
        return node


def closing(tokens: list[Token], at: int) -> int:
    """Where the bracket that opens at a word is closed."""
    opening, depth = tokens[at].text, 0
    for index in range(at, len(tokens)):
        depth += ((tokens[index].text == opening)
                  - (tokens[index].text == OPEN[opening]))
        if not depth:
            return index
    raise Unknown(f"{opening!r} is not closed")


def expression(tokens: list[Token]) -> Optional[Node]:
    """The expression that all these words are, None if there are none."""
    if not tokens:
        return None
    parser = Expressions(tokens)
    node = parser.comma()
    if parser.at != len(tokens):
        raise Unknown(f"{parser.peek()!r} at {tokens[parser.at].start}")
    return node


def split(tokens: list[Token], separator: str) -> list[list[Token]]:
    """Parts between separators that stand in no bracket."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text in OPEN) - (token.text in OPEN.values())
        if token.text == separator and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def declared(tokens: list[Token]) -> Iterator[Node]:
    """The first values in a declaration."""
    for part in split(tokens, ","):
        for index, token in enumerate(part):
            if token.text == "=":
                if part[index + 1].text != "{":
                    node = expression(part[index + 1:])
                    assert node
                    yield node
                break


def is_declaration(tokens: list[Token]) -> bool:
    """Does a statement begin with a type?"""
    return tokens[0].text in TYPES | {"static"}


def statements(tokens: list[Token]) -> Iterator[Place]:
    """All expressions in the body of a function."""
    at = 0
    while at < len(tokens):
        text = tokens[at].text
        if text in ("{", "}", ";", "else", "do"):
            at += 1
        elif text in ("if", "while", "switch", "for"):
            end = closing(tokens, at + 1)
            inside = tokens[at + 2:end]
            if text == "for":
                clauses = split(inside, ";")
                for kind, clause in zip(("value", "for", "value"), clauses):
                    if node := expression(clause):
                        yield Place(kind, node)
            elif node := expression(inside):
                yield Place("value" if text == "switch" else text, node)
            at = end + 1
        elif text in ("case", "default"):
            end = at
            while tokens[end].text != ":":
                end += 1
            yield Place(text, Node("", tokens[at].start, tokens[end].end))
            at = end + 1
        else:
            end, depth = at, 0
            while tokens[end].text != ";" or depth:
                depth += ((tokens[end].text in OPEN)
                          - (tokens[end].text in OPEN.values()))
                end += 1
            part = tokens[at:end]
            if is_declaration(part):
                yield from (Place("value", node) for node in declared(part))
            elif text == "return":
                if node := expression(part[1:]):
                    yield Place("return", node)
            elif text not in ("break", "continue"):
                node = expression(part)
                assert node
                yield Place("value", node)
            at = end + 1


def functions(text: str) -> Iterator[Function]:
    """The functions of a file, in their order."""
    tokens = tokens_of(text)
    at = bracket = 0
    while at < len(tokens):
        if tokens[at].text == "(":
            bracket = at
            at = closing(tokens, at)
        elif tokens[at].text == "{":
            end = closing(tokens, at)
            if tokens[at - 1].text == ")":
                yield Function(tokens[bracket - 1].text,
                               list(statements(tokens[at + 1:end])))
            at = end
        at += 1

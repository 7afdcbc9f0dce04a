"""Text to tokens, and the cursor that the grammars of formulas and of conditions read them with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cohortium.errors import FormulaError

MAX_LENGTH = 2000
NAME = r"(?P<name>[A-Za-z][A-Za-z0-9_.]*)"
NUMBER = r"(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)"


@dataclass(frozen=True)
class Token:
    """A word of the text: its kind (`name`, `number`, `symbol` …, `end`), how it is spelled, and where it starts."""

    kind: str
    text: str
    position: int


class Cursor:
    """The tokens of a text, and how far they have been read. Raises FormulaError, pointing at the character."""

    pattern: ClassVar[re.Pattern[str]]
    what: ClassVar[str]

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > MAX_LENGTH:
            raise FormulaError(f"A {self.what} has at most {MAX_LENGTH} characters.", text[:60], 0)
        self.tokens = list(self._tokenise())
        self.at = 0

    def _tokenise(self) -> Iterator[Token]:
        position = 0
        while self.text[position:].strip():
            match = self.pattern.match(self.text, position)
            if match is None:
                start = position + len(self.text[position:]) - len(self.text[position:].lstrip())
                raise self.error(f"`{self.text[start]}` has no meaning in a {self.what}.", start)
            kind = match.lastgroup or ""
            yield Token(kind, match[kind], match.start(kind))
            position = match.end()
        yield Token("end", "the end", len(self.text))

    @property
    def token(self) -> Token:
        """The next token that has not been read."""
        return self.tokens[self.at]

    def peek(self, symbol: str) -> bool:
        """Whether the next token is this symbol."""
        return self.token.kind == "symbol" and self.token.text == symbol

    def take(self, *symbols: str) -> Token | None:
        """The next token, read, if it is one of these symbols."""
        if self.token.kind == "symbol" and self.token.text in symbols:
            return self.advance()
        return None

    def advance(self) -> Token:
        """The next token, read."""
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, symbol: str) -> Token:
        """The symbol, read. Raises FormulaError if another token comes next."""
        token = self.take(symbol)
        if token is None:
            raise self.unexpected(f"`{symbol}`")
        return token

    def expect_end(self, wanted: str) -> None:
        """Raises FormulaError, saying what was `wanted`, unless all tokens have been read."""
        if self.token.kind != "end":
            raise self.unexpected(wanted)

    def unexpected(self, wanted: str) -> FormulaError:
        """The error for a token that is not what was `wanted`."""
        found = "the end" if self.token.kind == "end" else f"`{self.token.text}`"
        return self.error(f"Expected {wanted} but found {found}.", self.token.position)

    def error(self, message: str, position: int) -> FormulaError:
        """A FormulaError that points at a character of this text."""
        return FormulaError(message, self.text, position)

    def number(self) -> float:
        """A number, read, with its sign."""
        negative = self.take("-") is not None
        if self.token.kind != "number":
            raise self.unexpected("a number")
        return (-1 if negative else 1) * float(self.advance().text)

"""The closed grammar of formulas: text in, typed terms out. Nothing is ever evaluated as code.

    formula   = [response] "~" terms
    response  = "Surv(" name "," name ["," name] ")" | numeric
    terms     = ["+" | "-"] item {("+" | "-") item}         "-" only before 1
    item      = "0" | "1" | product | special
    product   = factor {("*" | ":") factor}                 a*b = a + b + a:b; ":" binds tighter
    factor    = numeric | "cut(" numeric "," list ")" | "rcs(" numeric "," (integer | list) ")"
    numeric   = (name | ("log" | "sqrt" | "exp") "(" numeric ")") ["^" number]
    special   = "offset(" numeric ")" | "strata(" name ")" | "cluster(" name ")" | "(" random "|" name ")"
    random    = ("0" | "1" | numeric) {"+" …}

The grammar follows Wilkinson and Rogers (1973) as R writes it. Each name keeps its position, so that an error found
later, against the dictionary, still points at the character.
"""

from __future__ import annotations

import itertools
import re

from cohortium.terms import Call, Cut, Factor, Name, Numeric, Power, Random, Spline, Surv, Term, Terms
from cohortium.tokens import NAME, NUMBER, Cursor, Token

MAX_TERMS = 500
FUNCTIONS = ("log", "sqrt", "exp")
_TOKEN = re.compile(rf"\s*(?:{NAME}|{NUMBER}|(?P<symbol>[-+*:^~(),|\[\]]))")


class Parser(Cursor):
    """Recursive descent over the tokens, one method per rule of the grammar."""

    pattern = _TOKEN
    what = "formula"

    def formula(self) -> tuple[Surv | Numeric | None, Terms]:
        """The response and the right-hand side."""
        response = None if self.peek("~") else self._response()
        self.expect("~")
        terms = self._terms()
        self.expect_end("`+` or the end of the formula")
        return response, terms

    def _response(self) -> Surv | Numeric:
        if self.token.text == "Surv":
            self.at += 1
            self.expect("(")
            names = [self._name()]
            while self.take(","):
                names.append(self._name())
            if len(names) not in (2, 3):
                raise self.unexpected("Surv(time, event) or Surv(start, stop, event)")
            self.expect(")")
            return Surv(time=names[-2], event=names[-1], start=names[0] if len(names) == 3 else None)
        return self._numeric()

    def _terms(self) -> Terms:
        terms = Terms()
        sign = self.take("+", "-")
        while True:
            self._item(terms, minus=sign is not None and sign.text == "-")
            if len(terms.main) > MAX_TERMS:
                raise self.error(f"A formula has at most {MAX_TERMS} terms.", 0)
            sign = self.take("+", "-")
            if sign is None:
                return terms

    def _item(self, terms: Terms, *, minus: bool) -> None:
        if self.token.kind == "number" and self.token.text in ("0", "1"):
            terms.intercept = (self.token.text == "1") != minus
            self.at += 1
        elif minus:
            raise self.unexpected("`1` after `-`: only the intercept can be taken out")
        elif self.peek("("):
            terms.random.append(self._random())
        elif self.token.text in ("offset", "strata", "cluster") and self._calls():
            self._special(terms)
        else:
            self._product(terms)

    def _calls(self) -> bool:
        following = self.tokens[self.at + 1]
        return self.token.kind == "name" and following.text == "(" and following.kind == "symbol"

    def _special(self, terms: Terms) -> None:
        function = self.token.text
        self.at += 1
        self.expect("(")
        if function == "offset":
            terms.offsets.append(self._numeric())
        else:
            (terms.strata if function == "strata" else terms.clusters).append(self._name())
        self.expect(")")

    def _product(self, terms: Terms) -> None:
        # `*` separates groups joined by `:`; every non-empty choice of groups becomes a term.
        groups = [self._group()]
        while self.take("*"):
            groups.append(self._group())
        if len(groups) > 8:
            raise self.error("At most 8 variables can be crossed with `*`.", groups[-1][0].position)
        for size in range(1, len(groups) + 1):
            for chosen in itertools.combinations(groups, size):
                factors = tuple(dict.fromkeys(itertools.chain.from_iterable(chosen)))
                terms.main.setdefault(frozenset(factors), Term(factors))

    def _group(self) -> tuple[Factor, ...]:
        factors = [self._factor()]
        while self.take(":"):
            factors.append(self._factor())
        return tuple(factors)

    def _factor(self) -> Factor:
        if not (self.token.text in ("cut", "rcs") and self._calls()):
            return self._numeric()
        start = self.token
        self.at += 1
        self.expect("(")
        argument = self._numeric()
        self.expect(",")
        factor = self._cut(argument, start) if start.text == "cut" else self._spline(argument, start)
        self.expect(")")
        return factor

    def _cut(self, argument: Numeric, start: Token) -> Cut:
        return Cut(argument, self._increasing(1, 50), start.position)

    def _spline(self, argument: Numeric, start: Token) -> Spline:
        if self.peek("["):
            knots = self._increasing(3, 7)
            return Spline(argument, len(knots), knots, start.position)
        count = self.number()
        if count not in (3, 4, 5, 6, 7):
            raise self.error("rcs() takes 3 to 7 knots.", self.tokens[self.at - 1].position)
        return Spline(argument, int(count), (), start.position)

    def _increasing(self, least: int, most: int) -> tuple[float, ...]:
        start = self.expect("[")
        values = [self.number()]
        while self.take(","):
            values.append(self.number())
        self.expect("]")
        if not least <= len(values) <= most or any(b <= a for a, b in itertools.pairwise(values)):
            raise self.error(f"Give {least} to {most} numbers in increasing order.", start.position)
        return tuple(values)

    def _numeric(self) -> Numeric:
        start = self.token
        base: Name | Call
        if start.text in FUNCTIONS and self._calls():
            self.at += 1
            self.expect("(")
            base = Call(start.text, self._numeric(), start.position)
            self.expect(")")
        elif start.kind == "name" and self._calls():
            raise self.error(f"There is no function `{start.text}` in a formula.", start.position)
        else:
            base = self._name()
        if self.take("^"):
            return Power(base, self.number(), start.position)
        return base

    def _random(self) -> Random:
        self.expect("(")
        intercept, terms = True, []
        while True:
            if self.token.kind == "number" and self.token.text in ("0", "1"):
                intercept = self.token.text == "1"
                self.at += 1
            else:
                terms.append(self._numeric())
            if not self.take("+"):
                break
        self.expect("|")
        group = self._name()
        self.expect(")")
        return Random(tuple(terms), intercept, group)

    def _name(self) -> Name:
        if self.token.kind != "name":
            raise self.unexpected("a variable")
        token = self.advance()
        return Name(token.text, token.position)

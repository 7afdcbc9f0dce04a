"""An attack on participants' privacy, what it recovered, and the table of many."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cohortium import report
from cohortium.client import Network
from cohortium.errors import UnknownName
from simulation.attacks.attempt import Attempt, Blocked, OutOfReach, Target

Power = Literal["researcher", "curious coordinator", "malicious coordinator"]
Recover = Callable[[Attempt], Mapping[str, float]]


@dataclass(frozen=True)
class Outcome:
    """What became of an attack: `found` is what it claims by fact, `errors` how far each claim is from the truth.

    `recovered`: every claim is right. `refused` are the rules that nodes refused by, `why` what ended it.
    """

    attack: str
    power: Power
    tries: int
    refused: tuple[str, ...] = ()
    found: Mapping[str, float] | None = None
    errors: Mapping[str, float] | None = None
    recovered: bool = False
    tried: bool = True
    why: str = ""

    @property
    def row(self) -> tuple[str | int, ...]:
        """As the table shows it."""
        verdict = ("YES" if self.recovered else "no") if self.tried else "not tried"
        error = f"{max(self.errors.values()):.2g}" if self.errors else "-"
        rules = ", ".join(dict.fromkeys(self.refused)) or "-"
        return (self.attack, self.power, self.tries, rules, verdict, error)


@dataclass(frozen=True)
class Attack:
    """A way to learn what a network must not tell. `guard` is what should stop it."""

    name: str
    power: Power
    guard: str
    source: str
    tries: str
    explanation: str
    recover: Recover

    def run(self, network: Network, target: Target, by: type[Attempt] = Attempt) -> Outcome:
        """Try it once; `by` knows what the attacker can do."""
        attempt = by(network, target)
        try:
            found = dict(self.recover(attempt))
        except Blocked as ended:
            return Outcome(self.name, self.power, attempt.tries, tuple(attempt.refused), why=str(ended))
        except OutOfReach:
            return Outcome(self.name, self.power, attempt.tries, tried=False, why=f"needs a {self.power}")
        errors = {fact: abs(value - target.truth[fact]) for fact, value in found.items()}
        right = [errors[fact] <= target.tolerance(fact, attempt.dictionary) for fact in found]
        recovered = bool(right) and all(right)
        refused = tuple(attempt.refused)
        return Outcome(self.name, self.power, attempt.tries, refused, found, errors, recovered)


_known: dict[str, Attack] = {}


def attack(power: Power, *, guard: str, source: str = "") -> Callable[[Recover], Attack]:
    """Register a function as the attack of its name; its docstring says what it tries and, below, why that works."""

    def registered(recover: Recover) -> Attack:
        lines = (inspect.getdoc(recover) or "").split("\n\n", 1)
        explanation = " ".join(lines[1].split()) if len(lines) > 1 else ""
        name = recover.__name__
        _known[name] = Attack(name, power, guard, source, lines[0], explanation, recover)
        return _known[name]

    return registered


def attacks() -> tuple[Attack, ...]:
    """Every attack there is."""
    return tuple(_known.values())


def find(names: Iterable[str] | None = None) -> tuple[Attack, ...]:
    """The attacks of these names, by default all. Raises UnknownName."""
    for name in names or ():
        if name not in _known:
            raise UnknownName.of("attack", name, _known)
    return tuple(_known[name] for name in names) if names is not None else attacks()


def explanations(chosen: Iterable[Attack]) -> str:
    """What each attack tries, why that works, what stops it, and where it was described."""
    return "\n\n".join(
        f"{each.name} (as a {each.power})\n  {each.tries}"
        + (f"\n  {each.explanation}" if each.explanation else "")
        + f"\n  Stopped by: {each.guard}. Source: {each.source}."
        for each in chosen
    )


@dataclass(frozen=True)
class Report:
    """What became of several attacks."""

    outcomes: tuple[Outcome, ...]

    @property
    def recovered(self) -> tuple[str, ...]:
        """The attacks that succeeded."""
        return tuple(o.attack for o in self.outcomes if o.recovered)

    def as_text(self) -> str:
        """A table with a row per attack, and a sentence."""
        columns = ("attack", "as a", "questions", "refused by", "recovered", "error")
        table = report.Table("Attacks", columns, tuple(outcome.row for outcome in self.outcomes))
        tried = [o for o in self.outcomes if o.tried]
        words = f"{len(self.recovered)} of {len(tried)} attacks recovered what they were after."
        return f"{report.table_as_text(table)}\n\n{words}"


def run(network: Callable[[], Network], target: Target, chosen: Iterable[Attack] | None = None) -> Report:
    """Try attacks, by default all of them, each on the network that `network` returns.

    What was told in one attack may keep a node from answering in the next, so a fresh network for each says more.
    """
    return Report(tuple(each.run(network(), target) for each in (attacks() if chosen is None else chosen)))

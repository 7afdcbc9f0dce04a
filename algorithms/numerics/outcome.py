"""Which outcomes a family can explain."""

from __future__ import annotations

import numpy as np

from algorithms.numerics.design import Design
from algorithms.numerics.families import FamilyName
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import FormulaError, InvalidQuestion
from cohortium.formula import Formula, Name, Surv


def check_outcome(formula: Formula, dictionary: Dictionary, family: FamilyName) -> None:
    """Raises FormulaError when the left-hand side is not of the type that the family needs."""
    response = formula.response
    if response is None:
        raise FormulaError("There is no outcome before the `~`.", formula.text, 0)
    if isinstance(response, Surv):
        raise formula.error("Surv() is for survival analyses; give a number or a binary variable.", response.time)
    if family == "binomial" and not (isinstance(response, Name) and dictionary[response.name].is_binary):
        raise formula.error(
            "A binomial model needs a binary outcome: a boolean, two categories (the second is the event), or an "
            "integer that the dictionary limits to 0 and 1.",
            response,
        )
    if family != "binomial" and isinstance(response, Name) and not dictionary[response.name].is_numeric:
        raise formula.error(
            f"`{response}` is a {dictionary[response.name].type}; a {family} model needs a number.", response
        )


def check_values(data: Data, design: Design, family: FamilyName) -> None:
    """Raises InvalidQuestion when a cohort's outcomes are not of the kind that the family counts."""
    if family == "gaussian":
        return
    for block in data.blocks(design.variables):
        y = design.response(block)
        whole = np.all((y >= 0) & (y == np.rint(y)))
        if not whole or (family == "binomial" and np.any(y > 1)):
            wanted = "0 or 1" if family == "binomial" else "whole and not negative"
            raise InvalidQuestion(
                f"The outcome `{design.formula.response}` of a {family} model must be {wanted} for everybody."
            )

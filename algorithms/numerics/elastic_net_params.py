"""What is asked of an elastic net."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field

from algorithms.numerics.families import FAMILIES, Family
from algorithms.numerics.regression import RegressionParams
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array

MOST_COLUMNS = 500


class ElasticNetParams(RegressionParams):
    """What to fit, and how."""

    family: Literal["gaussian", "binomial"] = Field(
        "gaussian", description="gaussian (least squares) or binomial (logit link): the distribution of the outcome."
    )
    mix: float = Field(1.0, ge=0, le=1, description="1: lasso; 0: ridge; between: elastic net (glmnet's alpha).")
    penalties: tuple[float, ...] = Field(
        (), max_length=200, description="Penalties (glmnet's lambda) to fit; none means a path of them."
    )
    many: int = Field(30, ge=2, le=200, description="Penalties on the path, from the one at which all effects are 0.")
    smallest: float = Field(1e-3, gt=0, lt=1, description="Last penalty of the path, as a share of the first.")
    folds: int = Field(10, ge=0, le=20, description="Folds of the cross-validation that chooses; 0: none.")
    fold_by: str | None = Field(
        None, description="Variable whose values stay together in a fold, as a person with several rows."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Another seed divides people into folds in another way.")
    choose: Literal["min", "1se"] = Field(
        "min", description="min: the least cross-validated error; 1se: the largest penalty within one standard error."
    )

    @property
    def distribution(self) -> Family:
        """The family by name."""
        return FAMILIES[self.family]

    @cached_property
    def path(self) -> Array:
        """The penalties that were given, the largest first."""
        return np.array(sorted(set(self.penalties), reverse=True), dtype=np.float64)

    def made(self, largest: float) -> Array:
        """The path of penalties from the one at which all effects are 0."""
        return np.geomspace(largest, largest * self.smallest, self.many)

    def check(self) -> None:
        """Raises FormulaError, UnknownName or InvalidQuestion."""
        super().check()
        if not self.formula.intercept:
            raise InvalidQuestion("An elastic net keeps its intercept. Remove `0` or `-1` from the formula.")
        if any(p <= 0 for p in self.penalties):
            raise InvalidQuestion("Penalties must be above 0; for none at all ask for glm.")
        if self.folds == 1:
            raise InvalidQuestion("One fold leaves nobody to learn from: ask for 2 to 20, or for 0.")
        if self.fold_by is not None:
            _ = self.dictionary[self.fold_by]
        if not self.formula.terms:
            raise InvalidQuestion("There are no covariates to choose from.")
        if self.design.width > MOST_COLUMNS:
            raise InvalidQuestion(f"An elastic net takes at most {MOST_COLUMNS} columns.")

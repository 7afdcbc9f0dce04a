"""What an elastic net found: the path of penalties, and the fit at the one that was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.elastic_net_params import ElasticNetParams
from algorithms.numerics.penalised_path import PathFit, chosen
from algorithms.numerics.phrases import intercepts
from algorithms.numerics.preparation import Plan, Preparation
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class PathPoint(BaseModel):
    """The fit at one penalty."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    penalty: float = Field(description="glmnet's lambda.")
    nonzero: int = Field(description="Effects that are not 0.")
    explained: float = Field(description="Share of the null deviance that is explained.")
    error: float | None = Field(description="Cross-validated deviance (gaussian: squared error) per person.")
    error_se: float | None = Field(description="Its standard error over the folds.")
    standardised: tuple[float, ...] = Field(description="Effects per standard deviation, in the order of the columns.")


class ElasticNetResult(Result):
    """A path of penalised fits."""

    formula: str = Field(description="The formula as it was asked.")
    family: str = Field(description="Distribution of the outcome.")
    mix: float = Field(description="1: lasso; 0: ridge; between: elastic net.")
    folds: int = Field(description="Folds of the cross-validation.")
    penalty: float = Field(description="The penalty of the coefficients: chosen by cross-validation, or the smallest.")
    coefficients: dict[str, float] = Field(description="At that penalty, on the scale of the data.")
    standardised: dict[str, float] = Field(description="At that penalty, per standard deviation of the column.")
    path: tuple[PathPoint, ...] = Field(description="Every penalty, the largest first.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")

    def in_words(self) -> str:
        """Model, penalty and how it was chosen."""
        name = {1.0: "a lasso", 0.0: "ridge regression"}.get(self.mix, f"an elastic net (mix {self.mix:g})")
        chosen = f"chosen by {self.folds}-fold cross-validation" if self.folds else "the smallest of the path"
        return (
            f"{self.formula} was fitted as {name} ({self.family}) along a path of {len(self.path)} penalties"
            f"{intercepts(self.cohort_effect)}; the reported penalty is {self.penalty:.4g}, {chosen}. Covariates were "
            "standardised; estimates are shrunken and have no standard errors."
        )

    def statement(self) -> Exactness:
        """Equal to the pooled path; folds are drawn at the cohorts."""
        same = f"equals the same path on the pooled records{' with the same folds' if self.folds else ''}"
        return exactly(same, tolerance=1e-7, excluded=lacking(self.missing))

    def tables(self) -> list[report.Table]:
        """The coefficients at the chosen penalty, then the path."""
        rows = tuple((name, value, self.standardised.get(name, "")) for name, value in self.coefficients.items())
        head: tuple[str, ...] = ("penalty", "not 0", "explained")
        path: tuple[tuple[report.Cell, ...], ...] = tuple((p.penalty, p.nonzero, p.explained) for p in self.path)
        if self.folds:
            head = (*head, "CV error", "its SE")
            path = tuple((*row, p.error, p.error_se) for row, p in zip(path, self.path, strict=True))
        return [report.Table("Coefficients", ("term", "coefficient", "per SD"), rows), report.Table("Path", head, path)]

    def chart(self) -> altair.TopLevelMixin | None:
        """Every effect along the path."""
        from algorithms.numerics import path_chart  # noqa: PLC0415 - drawing is the one thing that needs altair

        points = [(p.penalty, dict(zip(self.standardised, p.standardised, strict=True))) for p in self.path]
        return path_chart.paths(points, self.penalty) if len(points) > 1 else None


def penalised_columns(params: ElasticNetParams, planned: Plan) -> list[int]:
    """The columns of the design that are penalised: all that take part but the intercept."""
    return [int(k) for k in planned.kept if params.design.columns[k] != INTERCEPT]


def elastic_net_result(params: ElasticNetParams, planned: Plan, total: Preparation, found: PathFit) -> ElasticNetResult:
    """Back to the scale of the data."""
    columns = penalised_columns(params, planned)
    mean, error = found.error if params.folds else (None, None)
    at = len(found.penalties) - 1 if mean is None or error is None else chosen(mean, error, params.choose)
    names, scaling = [params.design.columns[k] for k in columns], planned.scaling
    # Slopes are in units of the outcome for least squares; a logit has none.
    slopes = found.slopes[at] / found.scale * scaling.per_unit[columns]
    coefficients = dict(zip(names, map(float, slopes), strict=True))
    if INTERCEPT in params.design.columns:
        intercept = scaling.outcome_centre + found.intercepts[at] - float(scaling.centre[columns] @ slopes)
        coefficients = {INTERCEPT: float(intercept), **coefficients}
    points = tuple(
        PathPoint(
            penalty=float(penalty),
            nonzero=int(np.count_nonzero(b)),
            explained=1.0 - float(found.deviances[k]) / found.null_deviance,
            error=None if mean is None else float(mean[k]),
            error_se=None if error is None else float(error[k]),
            standardised=tuple(map(float, b)),
        )
        for k, (penalty, b) in enumerate(zip(found.penalties, found.slopes, strict=True))
    )
    warnings = ["Penalised estimates are shrunken on purpose: they have no standard errors or p-values."]
    if planned.dropped:
        warnings.append(f"Nobody has the level of {', '.join(planned.dropped)}: left out.")
    if mean is not None and at in {0, len(points) - 1}:
        warnings.append("The chosen penalty is at an end of the path: the best may lie beyond it.")
    return ElasticNetResult(
        n=round(total.n),
        n_excluded=_whole(float(total.excluded)),
        cohort_effect=params.cohort_effect,
        formula=str(params.formula),
        family=params.family,
        mix=params.mix,
        folds=params.folds,
        penalty=points[at].penalty,
        coefficients=coefficients,
        standardised=dict(zip(names, points[at].standardised, strict=True)),
        path=points,
        missing={name: _whole(m) for name, m in zip(params.design.variables, total.missing, strict=True)},
        dropped=planned.dropped,
        warnings=tuple(warnings),
    )


def _whole(count: float) -> int | None:
    return None if np.isnan(count) else round(count)

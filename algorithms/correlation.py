"""How strongly numbers go together: Pearson, Spearman, partial, within cohorts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from algorithms.numerics.columns import columns_of
from algorithms.numerics.correlations import CorrelationResult, Method, bin_errors, infer, matrix_of, partialled
from algorithms.numerics.design import Design, compile_design
from algorithms.numerics.grouped_moments import whole, withheld_warning
from algorithms.numerics.newton import Steps
from algorithms.numerics.preparation import Spread
from algorithms.numerics.rank_lattice import (
    MAX_CELLS,
    Breaks,
    Precision,
    RankLattice,
    check_names,
    lattice_of,
    mid_ranks,
    must_be_known,
    tied,
)
from algorithms.numerics.standing_out import PLAIN
from cohortium.analysis import Confidence, Params, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, Collinear, InvalidQuestion, Refused
from cohortium.evidence import Concentration, Evidence, Shares
from cohortium.formula import Formula
from cohortium.quantities import Array, Count, Counts, Flag, SumOver, Sums, Table


class CorrelationParams(Params):
    """Which variables to correlate, and how."""

    variables: tuple[str, ...] = Field(min_length=2, description="Two or more numbers (or variables of two values).")
    given: tuple[str, ...] = Field((), description="Variables to hold constant: partial correlations.")
    method: Method = Field("pearson", description="pearson: of the values; spearman: of their ranks.")
    within_cohorts: bool = Field(
        False, description="Take each cohort's own means off first, so that differences between cohorts play no part."
    )
    precision: dict[str, float] = Precision
    breaks: dict[str, tuple[float, ...]] = Breaks
    confidence: float = Confidence

    @property
    def names(self) -> tuple[str, ...]:
        """All variables, the given ones last."""
        return (*self.variables, *self.given)

    @cached_property
    def columns(self) -> Design:
        """The variables as columns of a design."""
        return compile_design(Formula(f"~ {' + '.join(self.names)}"), self.dictionary)

    @cached_property
    def binary(self) -> tuple[str, ...]:
        """Those with two values: their sums are counts of people."""
        return tuple(name for name in self.names if self.dictionary[name].is_binary)

    @cached_property
    def lattices(self) -> tuple[RankLattice, ...]:
        """The values that each variable can have."""
        return tuple(lattice_of(name, self.dictionary, self.precision, self.breaks) for name in self.names)

    @cached_property
    def points(self) -> int:
        """The most values that a variable can have."""
        return max(lattice.points for lattice in self.lattices)

    def check(self) -> None:
        """Raises UnknownName or InvalidQuestion for what has no correlation."""
        if len(set(self.names)) < len(self.names):
            raise InvalidQuestion("A variable is named twice.")
        ranked = self.method == "spearman"
        for name in self.names:
            variable = self.dictionary[name]
            ordered = ranked and variable.type == "category"
            if not (variable.is_numeric or variable.is_binary or ordered):
                raise InvalidQuestion(f"`{name}` is a {variable.type}: its values are not numbers.")
        check_names(set(self.names) if ranked else set(), self.precision, self.breaks)
        if ranked and self.within_cohorts:
            raise InvalidQuestion("within_cohorts=True goes with method='pearson': ranks are taken over all cohorts.")
        if ranked and self.points * len(self.names) > MAX_CELLS:
            raise InvalidQuestion("The variables have too many possible values to count. Give `precision`.")


class Scales(Sums):
    """First round of Pearson: what centres and scales the variables. `pairs` counts people per two binary values."""

    n: Count
    excluded: Table
    missing: Table
    totals: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    pairs: Counts
    contributing: Flag


class Products(Sums):
    """Second round of Pearson: standardised deviations and their cross-products."""

    n: Count
    deviations: Annotated[Array, SumOver("n")]
    products: Annotated[Array, SumOver("n", people_per_parameter=True)]


class Histograms(Sums):
    """First round of Spearman: people per possible value, shape (variables, most points)."""

    excluded: Table
    missing: Table
    cells: Table


class RankProducts(Sums):
    """Second round of Spearman. `carrying` is the number of people who carry each sum, most of them rounded down.

    It is Kish's effective number of the products, about this cohort's means: ranks that were broadcast to single
    somebody out give that person's product all the weight, and the count falls below any policy's least.
    """

    carrying: Counts
    products: Annotated[Array, SumOver("carrying")]


def scales(data: Data, params: CorrelationParams) -> Scales:
    """Sums and spreads of one cohort."""
    spread = Spread(len(params.names))
    pairs = np.zeros((len(params.binary), len(params.binary), 4))
    for block in data.blocks(params.names):
        spread.add(_matrix(block, params.names))
        yes = _matrix(block, params.binary).T
        both, either = yes @ yes.T, yes.sum(axis=1)
        cells = (both, either[:, None] - both, either - both, len(block) - either[:, None] - either + both)
        pairs += np.stack(cells, axis=-1)
    return Scales(
        n=spread.n,
        excluded=np.array(float(len(data) - spread.n)),
        missing=_missing(data, params),
        totals=spread.sum,
        spreads=spread.spread,
        pairs=pairs,
        contributing=float(spread.n > 0),
        evidence=_evidence(data, params),
    )


def products(data: Data, params: CorrelationParams, *, centre: Array, unit: Array) -> Products:
    """Cross-products of one cohort, about the means of all or, within cohorts, its own."""
    p = len(params.names)
    if params.within_cohorts:
        own = Spread(p)
        for block in data.blocks(params.names):
            own.add(_matrix(block, params.names))
        centre = own.sum / max(own.n, 1)
    n, deviations, found = 0, np.zeros(p), np.zeros((p, p))
    for block in data.blocks(params.names):
        z = (_matrix(block, params.names) - centre) / unit
        n += len(block)
        deviations += z.sum(axis=0)
        found += z.T @ z
    if params.within_cohorts:
        found -= np.outer(deviations, deviations) / max(n, 1)
        deviations = np.zeros(p)
    return Products(n=n, deviations=deviations, products=found, evidence=_evidence(data, params))


def histograms(data: Data, params: CorrelationParams) -> Histograms:
    """The values of one cohort."""
    cells = np.zeros((len(params.names), params.points))
    used = 0
    for block in data.blocks(params.names):
        used += len(block)
        for i, lattice in enumerate(params.lattices):
            cells[i] += np.bincount(lattice.codes(block), minlength=params.points)
    return Histograms(excluded=np.array(float(len(data) - used)), missing=_missing(data, params), cells=cells)


def rank_products(data: Data, params: CorrelationParams, *, ranks: Array) -> RankProducts:
    """Cross-products of the ranks (about 0) that the possible values have among all cohorts."""
    if ranks.shape != (len(params.names), params.points) or np.any(np.diff(ranks, axis=1) < 0):
        raise Refused("The ranks that were broadcast do not follow the order of the values.", rule="broadcast")
    p = len(params.names)
    n, total, found, squares, fourths = 0, np.zeros(p), *np.zeros((3, p, p))
    spread = Concentration((p,))
    for block in data.blocks(params.names):
        n += len(block)
        total += _ranked(block, params, ranks).sum(axis=1)
    for block in data.blocks(params.names):
        r = _ranked(block, params, ranks)
        found += r @ r.T
        square = (r - total[:, None] / n) ** 2
        spread.add(square.T)
        squares += square @ square.T
        fourths += square**2 @ (square**2).T
    # Where a variable is constant here nobody stands out, and everybody carries the sum.
    varies = fourths > 0
    carrying = np.where(varies, np.floor(squares**2 / np.where(varies, fourths, 1.0) + 1e-9), n)
    # `carrying` says how many people the ranks that were broadcast leave to a product, `spread` to a variable.
    evidence = Evidence(weights=Shares(), magnitudes=spread.shares, names=params.names)
    return RankProducts(carrying=carrying, products=found, evidence=evidence)


@analysis
def correlation(params: CorrelationParams) -> Rounds[CorrelationResult]:
    """Correlations: Pearson, Spearman, partial, within cohorts.

    How strongly do numbers go together? Of the people with a value for every variable: Pearson's r, or Spearman's rho
    from the ranks among all cohorts (exact on the steps in which the dictionary says a variable was recorded). With
    `given` the part that those variables explain is taken out; with `within_cohorts` what differs between cohorts is.
    Tests by t, intervals by Fisher's z. Two rounds; equal to the analysis of the pooled records.
    Source: Fisher (1921), Metron 1:3; Spearman (1904), Am J Psychol 15:72; Bonett & Wright (2000), Psychometrika 65:23.
    """
    found = yield from (_spearman(params) if params.method == "spearman" else _pearson(params))
    n, kept = found.n, len(params.variables)
    try:
        matrix = matrix_of(partialled(found.products, kept))
    except np.linalg.LinAlgError:
        raise Collinear(
            f"Among {', '.join(params.names)} some are combinations of others, so nothing is left once `given` is held "
            "constant. Leave one out."
        ) from None
    df = n - 2 - len(params.given) - (found.cohorts - 1 if params.within_cohorts else 0)
    if df < 1:
        raise CannotEstimate(f"{n:g} people have a value for every variable; that is too few for a correlation.")
    pairs = infer(list(params.variables), matrix, df, params.method, params.confidence)
    if found.bin_error is not None and not params.given:
        errors = found.bin_error[np.triu_indices(kept, 1)]
        pairs = [c.model_copy(update={"bin_error": float(e)}) for c, e in zip(pairs, errors, strict=True)]
    return CorrelationResult(
        n=round(n),
        n_excluded=whole(found.excluded),
        method=params.method,
        variables=params.variables,
        given=params.given,
        within_cohorts=params.within_cohorts,
        df=df,
        correlations=tuple(pairs),
        matrix=tuple(tuple(map(float, row)) for row in matrix),
        confidence=params.confidence,
        missing={name: whole(float(m)) for name, m in zip(params.names, found.missing, strict=True)},
        warnings=tuple(_warnings(params, found.missing)),
    )


@dataclass(frozen=True)
class _Found:
    """Cross-products of all variables, with who is behind them."""

    products: Array
    n: float
    excluded: float
    missing: Array
    cohorts: float = 0.0
    bin_error: Array | None = None


def _pearson(params: CorrelationParams) -> Steps[_Found]:
    first = yield from ask(scales)
    n = max(first.n, 1.0)
    mean, spread = first.totals / n, first.spreads / n
    unit = np.where(spread > 0, spread, np.where(mean != 0, np.abs(mean), 1.0))
    second = yield from ask(products, centre=mean, unit=unit)
    # The means that were broadcast may lie beside the true ones by a rounding; the deviations put that right.
    found = second.products - np.outer(second.deviations, second.deviations) / n
    constant = np.diag(found) <= 1e-26 * n * np.maximum(1.0, (mean / unit) ** 2)
    _must_vary(params, constant)
    return _Found(found, first.n, float(first.excluded), first.missing, first.contributing)


def _spearman(params: CorrelationParams) -> Steps[_Found]:
    first = yield from ask(histograms)
    must_be_known(first.cells, list(params.names))
    n = float(first.cells[0].sum())
    _must_vary(params, np.count_nonzero(first.cells, axis=1) < 2)
    # About 0, and between -1/2 and 1/2 whatever the number of people.
    second = yield from ask(rank_products, ranks=(mid_ranks(first.cells) - (n + 1) / 2) / n)
    merged = any(lattice.merged for lattice in params.lattices)
    spare = np.array([tied(row) * lattice.merged for row, lattice in zip(first.cells, params.lattices, strict=True)])
    errors = bin_errors(second.products, spare * (n - 1 / n) / 12) if merged else None
    return _Found(second.products, n, float(first.excluded), first.missing, bin_error=errors)


def _must_vary(params: CorrelationParams, constant: NDArray[np.bool_]) -> None:
    names = [f"`{name}`" for name, out in zip(params.names, constant, strict=True) if out]
    if names:
        where = "has the same value for everybody of a cohort" if params.within_cohorts else "has one value only"
        raise CannotEstimate(f"{', '.join(names)} {where}, so it correlates with nothing. Leave it out.")


def _evidence(data: Data, params: CorrelationParams) -> Evidence:
    return Evidence(weights=PLAIN, columns=columns_of(data, params.columns))


def _matrix(block: Data, names: tuple[str, ...]) -> Array:
    return np.array([block[name] for name in names]).reshape(len(names), len(block)).T


def _ranked(block: Data, params: CorrelationParams, ranks: Array) -> Array:
    """Ranks of the rows, shape (variables, rows)."""
    return np.array([row[lattice.codes(block)] for row, lattice in zip(ranks, params.lattices, strict=True)])


def _missing(data: Data, params: CorrelationParams) -> Array:
    return np.array([float(np.count_nonzero(data.missing(name))) for name in params.names])


def _warnings(params: CorrelationParams, missing: Array) -> list[str]:
    binned = [lattice.name for lattice in params.lattices if lattice.merged] if params.method == "spearman" else []
    found = [f"Ranked in bins, whose people are tied: {', '.join(binned)}."] if binned else []
    return [*found, *withheld_warning(params.names, missing)]

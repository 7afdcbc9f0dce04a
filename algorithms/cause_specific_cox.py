"""Cox regression of one cause among several: the others censor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import Field

from algorithms import cox as of_one_event
from algorithms.numerics.causes import CauseParams
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.cox_result import CoxResult
from cohortium.analysis import Params, Rounds, analysis
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.formula import Formula
from cohortium.quantities import Sums


class CauseSpecificCoxParams(CauseParams, CoxParams):
    """Whose hazard of which cause, by what, and how."""

    formula: Formula = Field(
        description="Follow-up and covariates: `Surv(time, end) ~ age + sex`, where `end` is a category that says how "
        "follow-up ended: censored, or by which cause."
    )

    @cached_property
    def of_cause(self) -> CoxParams:
        """The same question about a yes/no event: whether follow-up ended by this cause."""
        asked = {name: getattr(self, name) for name in CoxParams.model_fields if name not in Params.model_fields}
        return CoxParams.bind(asked, self.yes_or_no)

    @cached_property
    def yes_or_no(self) -> Dictionary:
        """The dictionary with the end of follow-up as a yes/no variable."""
        known, name = self.dictionary, self.surv.event.name
        variables = {**known.variables, name: Variable(type="boolean", label=known[name].label)}
        return Dictionary(name=known.name, version=known.version, title=known.title, variables=variables)

    def recoded(self, data: Data) -> Data:
        """One cohort's data with that variable; kept, because a fit asks for them in every round."""
        key = ("cause", self.surv.event.name, self.censored, self.chosen, self.competing)
        return data.recall(key, lambda: self._recoded(data))

    def _recoded(self, data: Data) -> Data:
        name = self.surv.event.name
        names = (name, *self.competing)
        known, event = data.complete(names), np.full(len(data), np.nan)
        rows = Data(data.dictionary, {n: data.columns[n][known] for n in names}, int(np.count_nonzero(known)))
        event[known] = self.status(rows) == self.number
        return Data(self.yes_or_no, {**data.columns, name: event}, len(data), data.least_group)


def _of_cause(statistic: Callable[..., Sums]) -> Callable[..., Sums]:
    """A statistic of `cox` on the recoded data."""

    @functools.wraps(statistic)
    def recoded(data: Data, params: CauseSpecificCoxParams, **broadcast: Any) -> Sums:
        return statistic(params.recoded(data), params.of_cause, **broadcast)

    return recoded


# What may be asked of a node is what a module holds: here all that a Cox model asks, of the recoded data.
globals().update({name: _of_cause(statistic) for name, statistic in of_one_event.cox.statistics.items()})


class CauseSpecificCoxResult(CoxResult):
    """A fitted Cox model of one cause."""

    cause: str = Field(description="The cause that is modelled.")
    other_causes: tuple[str, ...] = Field(description="The causes that censor.")

    def in_words(self) -> str:
        """As for a Cox model, and what censors."""
        others = f"; {', '.join(self.other_causes)} censored" if self.other_causes else ""
        return f"The cause-specific hazard of {self.cause} was modelled{others}. {super().in_words()}"


@analysis
def cause_specific_cox(params: CauseSpecificCoxParams) -> Rounds[CauseSpecificCoxResult]:
    """Cause-specific Cox regression.

    By what factor does a covariate multiply the hazard of one cause, among those who have had none yet? Follow-up that
    ends by another cause is censored then; everything else is as for `cox`. The hazard says who gets the event while
    at risk of it; how many will have had it depends on the other causes too (see competing_risks and fine_gray).
    Source: Prentice et al. (1978), Biometrics 34:541; Cox (1972), JRSSB 34:187.
    """
    found = yield from of_one_event.cox.run(params.of_cause)
    others = tuple(cause for cause in params.causes if cause != params.chosen)
    return CauseSpecificCoxResult(**{**dict(found), "cause": params.chosen, "other_causes": others})

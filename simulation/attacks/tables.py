"""Withheld cells of a table worked out from what is told beside them."""

from __future__ import annotations

from simulation.attacks.attack import attack
from simulation.attacks.attempt import Attempt, shown

SUPPRESSION = "METHODS R2; Cox (1980), JASA 75:377, on complementary suppression"


@attack("researcher", guard="min_cell", source=SUPPRESSION)
def missing_cell(at: Attempt) -> dict[str, float]:
    """How many people lack a measurement, which two do: the cell itself."""
    return {"people without `lung`": shown(at.ask("describe", variables=["lung"])["lung"].missing)}


@attack("researcher", guard="complementary suppression", source=SUPPRESSION)
def missing_leftover(at: Attempt) -> dict[str, float]:
    """The same as everybody less those who have it."""
    result = at.ask("describe", variables=["lung"])
    return {"people without `lung`": shown(result.n) - shown(result["lung"].n)}


@attack("researcher", guard="complementary suppression", source=SUPPRESSION)
def missing_in_table1(at: Attempt) -> dict[str, float]:
    """The same in a table of characteristics."""
    result = at.ask("table1", variables=["lung"])
    return {"people without `lung`": shown(result.people["all"]) - shown(result["lung"].groups["all"].n)}


@attack("researcher", guard="ledger", source=SUPPRESSION)
def missing_over_time(at: Attempt) -> dict[str, float]:
    """The same from two questions, of which one needs the measurement."""
    n = [at.ask("linear_regression", formula=f"income ~ {x}", cohort_effect="common").n for x in ("age", "age + lung")]
    return {"people without `lung`": float(n[0] - n[1])}


@attack("researcher", guard="complementary suppression", source=SUPPRESSION)
def level_leftover(at: Attempt) -> dict[str, float]:
    """How many live on the island: everybody less those elsewhere."""
    result = at.ask("describe", variables=["region"])
    counts = result["region"].counts
    elsewhere = sum(shown(counts[level]) for level in ("coast", "hills"))
    return {"people on the island": shown(result.n) - elsewhere - shown(result["region"].missing)}


@attack("researcher", guard="complementary suppression", source=SUPPRESSION)
def table1_leftover(at: Attempt) -> dict[str, float]:
    """The same in a table of characteristics."""
    result = at.ask("table1", variables=["region"])
    found = result["region"].groups["all"]
    return {"people on the island": shown(found.n) - sum(shown(found.counts[x]) for x in ("coast", "hills"))}


@attack("researcher", guard="complementary suppression", source=SUPPRESSION)
def margins(at: Attempt) -> dict[str, float]:
    """Whether the only islander is depressed: a margin less the cells of the other regions."""
    total = at.ask("describe", variables=["depressed"])["depressed"].counts["yes"]
    table = at.ask("crosstab", rows="region", columns="depressed").counts
    return {"depressed": shown(total) - shown(table[0][1]) - shown(table[1][1])}


@attack("researcher", guard="complementary suppression", source=SUPPRESSION)
def groups_of_table1(at: Attempt) -> dict[str, float]:
    """The same in a table of characteristics by region, from its groups and its overall column."""
    row = at.ask("table1", variables=["depressed"], by="region")["depressed"]
    whole = row.overall or at.ask("table1", variables=["depressed"])["depressed"].groups["all"]
    elsewhere = sum(shown(row.groups[region].counts["yes"]) for region in ("coast", "hills"))
    return {"depressed": shown(whole.counts["yes"]) - elsewhere}


@attack("researcher", guard="complementary suppression", source=SUPPRESSION)
def strata_leftover(at: Attempt) -> dict[str, float]:
    """The same from a cross-tabulation of which one stratum is withheld."""
    whole = at.ask("crosstab", rows="sex", columns="depressed").counts
    strata = at.ask("crosstab", rows="sex", columns="depressed", strata=["region"], cohort_effect="common").strata
    elsewhere = sum(shown(strata[region][sex][1]) for region in ("coast", "hills") for sex in range(2))
    return {"depressed": shown(whole[0][1]) + shown(whole[1][1]) - elsewhere}


@attack("researcher", guard="no zero beside a withheld cell", source="METHODS R2, on group disclosure")
def zero_beside(at: Attempt) -> dict[str, float]:
    """The same from the islanders' row alone: one cell is 0, and the other is withheld, so that it is not."""
    no, yes = at.ask("crosstab", rows="region", columns="depressed").counts[2]
    if (no == 0) == (yes == 0):
        return {}
    return {"depressed": 1.0 if no == 0 else 0.0}


@attack("researcher", guard="ledger", source="METHODS R10, section 2.3")
def cohort_leftover(at: Attempt) -> dict[str, float]:
    """One cohort's own mean: all cohorts less all but that one."""
    names = [cohort.name for cohort in at.network.cohorts()]
    every, others = (
        at.ask("describe", cohorts=asked, variables=["income"])["income"]
        for asked in (names, [name for name in names if name != at.target.cohort])
    )
    n = shown(every.n) - shown(others.n)
    return {f"mean income of {at.target.cohort}": (every.mean * every.n - others.mean * others.n) / n}

"""The published figures that the synthetic people are calibrated to: what, which year, whose, and how close.

CBS is Statistics Netherlands (StatLine), RIVM the National Institute for Public Health and the Environment (VZinfo,
formerly volksgezondheidenzorg.info). Those marked SPECIFIED were given by the project's specification, from these
sources: check them against the source before citing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SPECIFIED = "as given in the project's specification; check against the source before citing"


@dataclass(frozen=True)
class Figure:
    """One published figure: values by group, and the largest accepted deviation of a large generated sample."""

    what: str
    year: int
    source: str
    values: Mapping[str, float]
    tolerance: float
    relative: bool = False
    provenance: str = SPECIFIED


POPULATION = Figure(
    "Inhabitants on 1 January, by age",
    2019,
    "CBS, population by age",
    {"0-19": 3_791_838, "20-39": 4_309_987, "40-64": 5_866_334, "65-79": 2_515_184, "80+": 798_820},
    0.02,
    relative=True,
)
LIFE_EXPECTANCY = Figure(
    "Period life expectancy at birth, years", 2023, "CBS, life expectancy", {"female": 83.33, "male": 80.31}, 0.15
)
SMOKERS = Figure("Smokers, 18 and over", 2024, "CBS/RIVM, Lifestyle Monitor", {"current": 0.182}, 0.004)
WEIGHT = Figure(
    "Overweight (BMI 25 and over) and obesity (30 and over), 18 and over",
    2024,
    "CBS/RIVM, Lifestyle Monitor",
    {"overweight": 0.504, "obesity": 0.160},
    0.005,
)
DIABETES = Figure(
    "Diabetes known to the general practitioner, per 1,000, by age and sex",
    2017,
    "RIVM (volksgezondheidenzorg.info, diabetes mellitus, current situation), after Nivel Primary Care Database",
    {
        **{"male 0-4": 1.0, "male 5-9": 2.5, "male 10-14": 3.7, "male 15-19": 5.3, "male 20-24": 6.4},
        **{"male 25-29": 7.3, "male 30-34": 10.2, "male 35-39": 16.0, "male 40-44": 29.5, "male 45-49": 46.6},
        **{"male 50-54": 70.0, "male 55-59": 104.8, "male 60-64": 144.1, "male 65-69": 189.8, "male 70-74": 228.8},
        **{"male 75-79": 257.4, "male 80-84": 267.5, "male 85-99": 262.3},
        **{"female 0-4": 1.1, "female 5-9": 1.7, "female 10-14": 3.7, "female 15-19": 5.9, "female 20-24": 7.1},
        **{"female 25-29": 8.2, "female 30-34": 9.6, "female 35-39": 15.2, "female 40-44": 23.1, "female 45-49": 35.8},
        **{"female 50-54": 54.1, "female 55-59": 78.5, "female 60-64": 109.6, "female 65-69": 140.7},
        **{"female 70-74": 182.6, "female 75-79": 218.8, "female 80-84": 254.8, "female 85-99": 251.1},
    },
    0.08,
    relative=True,
    provenance="40-44, 50-54, 60-64, 70-74 and 80-84 " + SPECIFIED + "; the other ages from an archived copy of that "
    "page, which agrees with those (it prints `5-19` for 5-9, and `85+` for the last group)",
)
NEW_DIABETES = Figure(
    "New diabetes, per 1,000 inhabitants per year",
    2017,
    DIABETES.source,
    {"all": 3.5},
    0.25,
    provenance="from an archived copy of that page: 60,200 new patients, 3.9 per 1,000 men and 3.2 per 1,000 women",
)
EDUCATION = Figure(
    "Highest education attained, 15 to 74 years",
    2022,
    "CBS StatLine 85525NED (provisional figures)",
    {"low": 0.262, "middle": 0.417, "high": 0.320},
    0.01,
    provenance="from an archived copy of that table; five levels in the source, joined to three",
)
FIGURES = (POPULATION, LIFE_EXPECTANCY, SMOKERS, WEIGHT, DIABETES, NEW_DIABETES, EDUCATION)


def band(group: str) -> tuple[float, float]:
    """The ages of a group in years, first included and last excluded: `male 40-44` is 40 to 45, `80+` is 80 to 120."""
    low, _, high = group.rpartition(" ")[2].partition("-")
    return (float(low), float(high) + 1) if high else (float(low.rstrip("+")), 120.0)

"""The eleven holders of the synthetic network, half a million people together, and the Netherlands to compare with.

They are invented: kinds of cohort that exist, with sizes and habits that are plausible. None stands for a real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from cohortium.dictionary import Labels
from cohortium.errors import UnknownName
from simulation.cohorts.columns import Columns, Flags
from simulation.cohorts.families import Relatives
from simulation.cohorts.holder import Coding, Holder, Missing, Recruitment

# People in the network under each scenario: the holders grow in proportion.
SCENARIOS = {"half-million": 500_000, "one-million": 1_000_000, "seventeen-million": 17_000_000}

# Habits of writing data down, as packages and languages suggest them.
_NUMBERED = Coding(
    "numbered",
    categories={"sex": ("2", "1"), "education": ("1", "2", "3"), "smoking": ("0", "1", "2"), "origin": ("1", "2", "3")},
    number=-99,
    text="-99",
)
_DUTCH = Coding(
    "Dutch",
    columns={
        **{
            "person_id": "deelnemer",
            "age": "leeftijd",
            "sex": "geslacht",
            "education": "opleiding",
            "smoking": "roken",
        },
        **{"height": "lengte", "weight": "gewicht", "waist": "middelomtrek", "sbp": "bovendruk", "dbp": "onderdruk"},
    },
    categories={
        **{"sex": ("vrouw", "man"), "education": ("laag", "midden", "hoog"), "smoking": ("nooit", "vroeger", "ja")},
        **{"origin": ("Nederland", "Europa", "buiten Europa")},
    },
    number=-1,
    text="onbekend",
)
_CAPITALS = Coding("capitals", upper=True, categories={"sex": ("F", "M"), "smoking": ("N", "X", "Y")}, number=-9)


def _has_diabetes(people: Columns) -> Flags:
    ill: Flags = people["diabetes"]
    return ill


def _heart(people: Columns) -> Flags:
    patients: Flags = people["cvd_history"] | (people["hypertension"] & (people["ldl"] >= 4.0))
    return patients


def _works(people: Columns) -> Flags:
    fit: Flags = ~people["cvd_history"] & (people["self_rated_health"] < 2)
    return fit


HOLDERS: Mapping[str, Holder] = {
    holder.name: holder
    for holder in (
        Holder(
            "north",
            Labels(
                en="General population of the north, three generations", nl="Noordelijke bevolking, drie generaties"
            ),
            150_000,
            Recruitment(youngest=8, oldest=90, peak=42, width=18, women=1.35, origin=(1.0, 0.6, 0.25)),
            enrolled=(date(2006, 12, 1), date(2013, 12, 31)),
            followed_until=date(2023, 12, 31),
            relatives=Relatives(partner=0.30, parent=0.25, child=0.12, youngest=8, oldest=95),
            missing=Missing(0.04, 0.02, 0.06),
            samples=(0.93, 0.97, 0.95),
            coding=_CAPITALS,
        ),
        Holder(
            "seniors",
            Labels(en="Elderly of one suburb", nl="Ouderen in een buitenwijk"),
            15_000,
            Recruitment(youngest=55, women=1.3, education=(0.9, 1.0, 1.2), origin=(1.0, 0.7, 0.3)),
            enrolled=(date(1990, 1, 1), date(2008, 12, 31)),
            followed_until=date(2020, 12, 31),
            relatives=Relatives(partner=0.35, youngest=55),
            missing=Missing(0.05, 0.10, 0.12),
            absent=("urine_sample",),
            samples=(0.85, 0.9, 0.0),
            visit_every=4.0,
            coding=_NUMBERED,
        ),
        Holder(
            "mothers-and-children",
            Labels(en="Birth cohort: mothers, fathers and children", nl="Geboortecohort: moeders, vaders en kinderen"),
            60_000,
            Recruitment(youngest=19, oldest=50, peak=34, width=6, women=50.0, education=(0.7, 1.0, 1.5)),
            enrolled=(date(2002, 4, 1), date(2008, 12, 31)),
            followed_until=date(2022, 12, 31),
            relatives=Relatives(partner=0.45, child=0.95, oldest=65),
            lost=0.015,
            missing=Missing(0.08, 0.15, 0.35),
            absent=("hba1c", "waist", "lipid_medication"),
            samples=(0.6, 0.45, 0.5),
            visit_every=6.0,
            attendance=0.6,
            coding=_DUTCH,
        ),
        Holder(
            "twins",
            Labels(en="Twin register", nl="Tweelingregister"),
            40_000,
            Recruitment(youngest=12, oldest=85, peak=32, width=16, women=1.7, education=(0.8, 1.0, 1.3)),
            enrolled=(date(1997, 1, 1), date(2015, 12, 31)),
            followed_until=date(2022, 12, 31),
            relatives=Relatives(twin=0.85, parent=0.2, youngest=12, oldest=95),
            missing=Missing(0.06, 0.20, 0.45),
            absent=("origin", "creatinine", "urine_sample"),
            samples=(0.7, 0.4, 0.0),
            coding=_NUMBERED,
        ),
        Holder(
            "type-2-diabetes",
            Labels(en="People with type 2 diabetes in primary care", nl="Mensen met diabetes type 2 bij de huisarts"),
            30_000,
            Recruitment(youngest=40, oldest=90, only=_has_diabetes),
            enrolled=(date(2008, 1, 1), date(2016, 12, 31)),
            followed_until=date(2023, 6, 30),
            missing=Missing(0.08, 0.03, 0.02),
            absent=("activity", "t2d_time", "t2d_event", "urine_sample"),
            samples=(0.55, 0.6, 0.0),
            visit_every=2.0,
            attendance=0.85,
            coding=_DUTCH,
        ),
        Holder(
            "heart-and-vessels",
            Labels(en="Patients with or at risk of heart disease", nl="Patiënten met (risico op) hart- en vaatziekten"),
            35_000,
            Recruitment(youngest=30, oldest=80, women=0.7, only=_heart),
            enrolled=(date(1996, 9, 1), date(2018, 12, 31)),
            followed_until=date(2022, 3, 1),
            missing=Missing(0.05, 0.02, 0.03),
            absent=("self_rated_health",),
            samples=(0.9, 0.95, 0.8),
            coding=_CAPITALS,
        ),
        Holder(
            "workers",
            Labels(en="Employees of large companies", nl="Werknemers van grote bedrijven"),
            50_000,
            Recruitment(18, 67, peak=44, width=11, women=0.5, education=(1.2, 1.2, 0.7), only=_works),
            enrolled=(date(2004, 1, 1), date(2019, 12, 31)),
            followed_until=date(2023, 12, 31),
            lost=0.03,
            missing=Missing(0.02, 0.08, 0.55),
            absent=("family_id", "relation", "zygosity", "hba1c", "creatinine", "dna_sample", "urine_sample"),
            samples=(0.0, 0.3, 0.0),
            visit_every=3.0,
            attendance=0.55,
            coding=_NUMBERED,
        ),
        Holder(
            "multi-ethnic-city",
            Labels(en="Inhabitants of a large city, by origin", nl="Inwoners van een grote stad, naar herkomst"),
            25_000,
            Recruitment(18, 70, peak=42, width=14, women=1.25, education=(1.2, 1.0, 1.0), origin=(0.3, 1.0, 4.5)),
            enrolled=(date(2011, 1, 1), date(2015, 11, 30)),
            followed_until=date(2023, 12, 31),
            lost=0.02,
            missing=Missing(0.07, 0.02, 0.04),
            samples=(0.9, 0.95, 0.95),
            attendance=0.6,
        ),
        Holder(
            "hospital-biobank",
            Labels(en="Biobank of a teaching hospital", nl="Biobank van een universitair ziekenhuis"),
            55_000,
            Recruitment(youngest=18, oldest=95, peak=62, width=16, women=1.05),
            enrolled=(date(2009, 1, 1), date(2022, 12, 31)),
            followed_until=date(2024, 6, 30),
            missing=Missing(0.25, 0.12, 0.08),
            absent=("family_id", "relation", "zygosity", "activity", "self_rated_health", "waist"),
            samples=(0.98, 0.9, 0.3),
            visit_every=1.5,
            attendance=0.4,
            coding=_CAPITALS,
        ),
        Holder(
            "nutrition",
            Labels(en="Diet and health of volunteers", nl="Voeding en gezondheid van vrijwilligers"),
            30_000,
            Recruitment(20, 75, peak=50, width=13, women=1.9, education=(0.5, 1.0, 1.6), origin=(1.0, 0.5, 0.2)),
            enrolled=(date(1993, 1, 1), date(1999, 12, 31)),
            followed_until=date(2017, 12, 31),
            missing=Missing(0.03, 0.01, 0.30),
            absent=("origin", "family_id", "relation", "zygosity", "hba1c", "t2d_time", "t2d_event"),
            samples=(0.5, 0.6, 0.0),
            coding=_DUTCH,
        ),
        Holder(
            "adolescents",
            Labels(en="Adolescents growing up", nl="Opgroeiende jongeren"),
            10_000,
            Recruitment(youngest=10, oldest=25, peak=14, width=4, women=1.1),
            enrolled=(date(2001, 3, 1), date(2010, 12, 31)),
            followed_until=date(2021, 12, 31),
            relatives=Relatives(parent=0.3, oldest=65),
            lost=0.02,
            missing=Missing(0.06, 0.05, 0.40),
            absent=("pack_years", "bp_medication", "lipid_medication", "hba1c", "creatinine", "cvd_time", "cvd_event"),
            samples=(0.55, 0.4, 0.0),
            visit_every=2.5,
            attendance=0.8,
        ),
    )
}

# Everyone equally likely, in 2024, nothing missing: what the calibration and the tests are about. No holder has this.
NETHERLANDS = Holder(
    "netherlands",
    Labels(en="A random sample of the population", nl="Een aselecte steekproef uit de bevolking"),
    1_000_000,
    Recruitment(),
    enrolled=(date(2024, 1, 1), date(2024, 12, 31)),
    followed_until=date(2034, 12, 31),
    lost=0.0,
    samples=(1.0, 1.0, 1.0),
    attendance=0.8,
)


def find(name: str) -> Holder:
    """The holder of that name. Raises UnknownName."""
    known = {**HOLDERS, NETHERLANDS.name: NETHERLANDS}
    if name not in known:
        raise UnknownName.of("cohort", name, known)
    return known[name]


def sizes(people: int) -> dict[str, int]:
    """How many of `people` each of the eleven has, in proportion to their sizes; they add up to exactly `people`."""
    total = sum(holder.size for holder in HOLDERS.values())
    ends = np.cumsum([0, *(holder.size for holder in HOLDERS.values())]) * people // total
    return dict(zip(HOLDERS, np.diff(ends).tolist(), strict=True))

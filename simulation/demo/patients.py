"""Real, public patient data for the demonstration, as the cohort holders would have them: one file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

DICTIONARIES = Path(__file__).parent


@dataclass(frozen=True)
class Patients:
    """A public data set, the dictionary that describes it, and the cohorts it is split over."""

    name: str
    title: str
    dictionary: Path
    cohorts: Mapping[str, pd.DataFrame]

    @property
    def pooled(self) -> pd.DataFrame:
        """Everyone in one frame: what only a demonstration can have."""
        return pd.concat(self.cohorts.values(), ignore_index=True)

    def write(self, folder: Path) -> dict[str, Path]:
        """Write each cohort's file and return the paths by cohort."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.parquet" for name in self.cohorts}
        for name, frame in self.cohorts.items():
            frame.to_parquet(paths[name], index=False)
        return paths


def diabetes() -> Patients:
    """442 patients with diabetes (Efron et al. 2004, in scikit-learn), split by body mass index: cohorts differ."""
    from sklearn.datasets import load_diabetes  # noqa: PLC0415 - a demo dependency

    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame = frame[["age", "sex", "bmi", "bp", "s5"]].assign(progression=frame["target"])
    frame = frame.assign(sex=frame["sex"].astype(int), progressed=frame["progression"] > 140)
    split = _split(frame.sort_values("bmi", kind="stable"))
    return Patients("diabetes", "442 patients with diabetes", DICTIONARIES / "diabetes.toml", split)


def breast_cancer() -> Patients:
    """686 women of the German Breast Cancer Study Group's trial 2 (Schumacher et al. 1994, in lifelines), by age."""
    from lifelines.datasets import load_gbsg2  # noqa: PLC0415 - a demo dependency

    names = {"cens": "event", "horTh": "hormone_therapy", "tsize": "tumour_size", "tgrade": "tumour_grade"}
    frame = load_gbsg2().rename(columns=names | {"pnodes": "positive_nodes"})
    wanted = ["time", "event", "hormone_therapy", "age", "tumour_size", "tumour_grade", "positive_nodes"]
    split = _split(frame[wanted].sort_values("age", kind="stable"))
    return Patients("breast-cancer", "686 women with breast cancer", DICTIONARIES / "gbsg2.toml", split)


def _split(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Half, three tenths and one fifth: three holders of different size."""
    cuts = [0, int(0.5 * len(frame)), int(0.8 * len(frame)), len(frame)]
    return {name: frame.iloc[cuts[i] : cuts[i + 1]] for i, name in enumerate(("north", "south", "west"))}

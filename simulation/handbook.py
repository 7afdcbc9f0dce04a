"""A page per analysis, made from the code itself: what it answers, its parameters, what leaves a node, an example.

python -m simulation.handbook docs/analyses
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cohortium.analysis import Analysis, registry
from cohortium.client import Network
from cohortium.quantities import CountKind, FlagKind, Kind, NoisyKind, SumOver, TableKind, TimeGridKind
from node.disclosure import Policy
from simulation import cohorts
from simulation.in_process import network

HOLDERS = ("north", "seniors", "twins")
PEOPLE = 2000
COSTS = (
    "What a question costs of a study's information budget (`budget_refuse` of a cohort's policy) is the figures that "
    "its rounds tell: here, to one digit, those of each page's example. `study.budget()` and `cohortium budget STUDY` "
    "say what the cohorts may still tell."
)
OUTPUT = "```text"

# For each kind of quantity: what it is called on a page, and the settings of the policy that guard it.
KINDS: dict[type[Kind], tuple[str, tuple[str, ...]]] = {
    CountKind: ("number of people", ("min_people",)),
    TableKind: ("cells of a table", ("min_cell",)),
    TimeGridKind: ("people per interval of time", ("min_interval",)),
    FlagKind: ("vote of a cohort, 0 or 1", ()),
    NoisyKind: ("whole numbers with noise that the node adds", ("privacy_budget",)),
}


def page(analysis: Analysis[Any, Any], example: dict[str, Any]) -> str:
    """The page of one analysis (Markdown), its example run on synthetic people."""
    title, _, rest = analysis.doc.partition("\n")
    lines = [f"# `{analysis.name}`: {title.rstrip('.')}", "", rest.strip(), "", "## Parameters", ""]
    lines += ["| parameter | default | what it is |", "|---|---|---|", *_parameters(analysis), ""]
    lines += [
        "## What leaves a node",
        "",
        *_released(analysis),
        "",
        "## Example",
        "",
        *_example(analysis.name, example),
    ]
    made = "Made by `make docs` from the code; change the docstring or the fields, not this page."
    return "\n".join([f"<!-- {made} -->", *lines, ""])


def _parameters(analysis: Analysis[Any, Any]) -> Iterator[str]:
    for name, field in analysis.params.told().items():
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        yield f"| `{name}` | {default} | {_cell(field.description or '')} |"


def _released(analysis: Analysis[Any, Any]) -> Iterator[str]:
    yield "Only these, and only after the cohort's own policy agreed to each:"
    yield ""
    yield "| asked | quantity | kind | rules that apply |"
    yield "|---|---|---|---|"
    guarding: set[str] = set()
    for statistic in analysis.statistics:
        kinds = analysis.sums(statistic).kinds
        for name, kind in kinds.items():
            what, rules = _told(kind, kinds)
            guarding |= set(rules)
            told = ", ".join(f"`{rule}`" for rule in rules) or "none: it counts no one"
            yield f"| `{statistic}` | `{name}` | {what} | {told} |"
    yield ""
    for rule in (r for r in Policy.model_fields if r in guarding):
        field = Policy.model_fields[rule]
        yield f"- `{rule}` (default {field.get_default()}): {field.description}"


def _told(kind: Kind, kinds: Mapping[str, Kind]) -> tuple[str, tuple[str, ...]]:
    if not isinstance(kind, SumOver):
        return KINDS[type(kind)]
    _, rules = KINDS[type(kinds[kind.count])]
    return f"sum over the people in `{kind.count}`", (
        (*rules, "max_parameters_per_person") if kind.people_per_parameter else rules
    )


def _example(name: str, params: dict[str, Any]) -> Iterator[str]:
    arguments = ", ".join(f"{key}={value!r}" for key, value in params.items())
    yield "```python"
    yield "from simulation import cohorts, network"
    yield ""
    yield f"holders = {HOLDERS!r}"
    yield f"frames = {{name: cohorts.people(name, {PEOPLE}, seed=1) for name in holders}}"
    yield "study = network(frames, cohorts.PEOPLE).study()"
    yield f"print(study.{name}({arguments}).result().summary())"
    yield "```"
    yield ""
    yield OUTPUT
    yield _people().study(name).run(name, **params).result().summary()
    yield "```"


@cache
def _people() -> Network:
    frames = {name: cohorts.people(name, PEOPLE, seed=1) for name in HOLDERS}
    # Nothing is withheld; that there is a limit to the figures, however far, makes the nodes count them.
    return network(frames, cohorts.PEOPLE, Policy.none().model_copy(update={"budget_refuse": 1e8}))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def examples(folder: Path) -> dict[str, dict[str, Any]]:
    """The example of each analysis that has one."""
    return tomllib.loads((folder / "examples.toml").read_text(encoding="utf-8"))


def pages(folder: Path) -> dict[str, str]:
    """Every page by the name of its file, and the list of them."""
    known = examples(folder)
    made = {f"{name}.md": page(analysis, known[name]) for name, analysis in registry().items()}
    titles = [f"- [`{name}`]({name}.md): {analysis.title}" for name, analysis in registry().items()]
    costs = ["| analysis | figures |", "|---|---|", *(f"| [`{n}`]({n}.md) | {_figures(n)} |" for n in registry())]
    return made | {
        "README.md": "\n".join(["# Analyses", "", *titles, ""]),
        "COSTS.md": "\n".join(["# What questions cost", "", COSTS, "", *costs, ""]),
    }


def _figures(name: str) -> str:
    """How many figures a node told in an example, to one digit: iterations may end one sooner elsewhere."""
    node = next(iter(_people().service.nodes.values()))  # type: ignore[attr-defined]  # a simulated network
    return f"{float(f'{node.ledger.budget.spent(name).figures:.1g}'):.0f}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for file, text in pages(target).items():
        (target / file).write_text(text, encoding="utf-8")

"""Playing a scenario: in this process, over faulty virtual lines, or over real processes. The analysis is the same."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Literal

from cohortium.analysis import find
from cohortium.client import Network, Study, read_result
from cohortium.errors import CohortiumError, InvalidQuestion
from cohortium.mentioned import variables_of
from simulation import cohorts
from simulation.cohorts.writing import write_dictionaries
from simulation.faults import Schedule, trial
from simulation.faults.judging import Ending
from simulation.faults.subject import Question, Subject
from simulation.in_process import InProcess, network
from simulation.processes import LocalNetwork
from simulation.scenarios.description import Asked, Scenario
from simulation.scenarios.outcome import Outcome, Played
from simulation.scenarios.preparing import Prepared, prepare

Where = Literal["here", "engine", "processes"]


def play(scenario: Scenario, *, where: Where = "here", folder: Path | None = None) -> Played:
    """Make the cohorts, ask the questions, and tell what came of them.

    `processes`: a coordinator and a node per holder are started as processes; with faults, these are killed and
    stopped. `engine`: on Flower's simulation engine, without faults. `here`: all is in this process; with faults, in
    virtual time over lines that lose and delay messages. `folder` keeps the files.
    Raises CohortiumError if no holder's data can be read.
    """
    if where == "engine" and scenario.faults:
        raise InvalidQuestion("Faults are played in this process or on real processes, not on Flower's engine.")
    with tempfile.TemporaryDirectory(prefix="cohortium-scenario-") as temporary:
        place = folder or Path(temporary)
        prepared = prepare(scenario, place / "data")
        if where == "processes":
            return _over_processes(scenario, prepared, place)
        if where == "engine":
            return _on_engine(scenario, prepared)
        if scenario.faults:
            return _over_faulty_lines(scenario, prepared)
        return Played(scenario, _ask(scenario, _in_process(scenario, prepared), prepared), prepared.left_out)


def _in_process(scenario: Scenario, prepared: Prepared) -> Network:
    return network(prepared.data, policy=scenario.policy)


def _on_engine(scenario: Scenario, prepared: Prepared) -> Played:
    try:
        from simulation.flower_engine import flower_network  # noqa: PLC0415 - an extra, and seconds to load
    except ImportError:
        raise InvalidQuestion("Flower's engine needs Ray: pip install 'cohortium[simulation]'.") from None
    with flower_network(prepared.data, policy=scenario.policy) as net:
        return Played(scenario, _ask(scenario, net, prepared), prepared.left_out)


def _over_processes(scenario: Scenario, prepared: Prepared, folder: Path) -> Played:
    from simulation.faults.real import Disturbances  # noqa: PLC0415 - only who starts processes stops them

    write_dictionaries(folder)
    policy = folder / "policy.toml"
    policy.write_text(scenario.policy.to_toml(), encoding="utf-8")
    studies = [scenario.study]
    with LocalNetwork(folder / "run", folder / "dictionary.toml", prepared.sources, policy, studies) as local:
        with Disturbances(local, scenario.faults) as disturbances:
            outcomes = _ask(scenario, local.connect(), prepared)
        return Played(scenario, outcomes, prepared.left_out, tuple(disturbances.told))


def _over_faulty_lines(scenario: Scenario, prepared: Prepared) -> Played:
    service = _in_process(scenario, prepared).service
    if not isinstance(service, InProcess):
        raise TypeError("a simulated network is in this process")
    questions = tuple(Question(a.analysis, a.params, _asked_of(a, prepared)) for a in scenario.ask)
    subject = Subject(service.nodes, cohorts.PEOPLE, questions)
    schedule = Schedule(seed=scenario.people.seed, faults=tuple(scenario.faults))
    verdict = trial(schedule=schedule, subject=subject, questions=range(len(questions)))
    outcomes = (_outcome(scenario.ask[ending.question], ending) for ending in verdict.endings)
    return Played(scenario, tuple(outcomes), prepared.left_out, (verdict.sentence,))


def _outcome(asked: Asked, ending: Ending) -> Outcome:
    if ending.result is not None:
        return Outcome(asked, read_result(asked.analysis, ending.result.encode()))
    problem = ending.view.problem
    return Outcome(asked, problem=CohortiumError.from_problem(problem) if problem else CohortiumError("no reason told"))


def _ask(scenario: Scenario, net: Network, prepared: Prepared) -> tuple[Outcome, ...]:
    study = net.study(scenario.study)
    return tuple(_ask_one(study, asked, prepared) for asked in scenario.ask)


def _ask_one(study: Study, asked: Asked, prepared: Prepared) -> Outcome:
    started = time.monotonic()
    try:
        job = study.run(asked.analysis, cohorts=_asked_of(asked, prepared), **asked.params)
        return Outcome(asked, job.result(progress=False), seconds=time.monotonic() - started)
    except CohortiumError as error:
        return Outcome(asked, problem=error, seconds=time.monotonic() - started)


def _asked_of(asked: Asked, prepared: Prepared) -> tuple[str, ...]:
    """Whom to ask, by name: those named, or those that collected every variable that the question is about."""
    if asked.cohorts is not None:
        return tuple(sorted(asked.cohorts))
    wanted = variables_of(find(asked.analysis).params.bind(asked.params, cohorts.PEOPLE))
    return tuple(sorted(name for name, data in prepared.data.items() if all(v in data.columns for v in wanted)))

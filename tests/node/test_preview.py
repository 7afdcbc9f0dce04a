"""What an operator sees before approving: the very record that would leave, and what the rules say of it."""

import numpy as np
import pytest

from cohortium.analysis import Question, find
from cohortium.asking import compose_signed
from cohortium.data import Data
from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import InvalidQuestion
from cohortium.messages import AnswerMessage
from cohortium.secure_sum import Vector, add_masked
from node.answer import CohortNode
from node.approvals import Approvals
from node.disclosure import Policy
from node.ledger import Ledger
from node.memory import Memory
from node.preview import copied, preview
from node.preview_console import described
from node.trusted import Trust, TrustedNode
from simulation.ceremony import Ceremony

LEVELS = [Category(value=v) for v in ("a", "b", "c")]
DICTIONARY = Dictionary(
    name="d",
    version="1",
    variables={
        "x": Variable(type="number"),
        "y": Variable(type="number"),
        "g": Variable(type="category", categories=LEVELS),
        "h": Variable(type="boolean"),
    },
)
ROWS = 200


def data(seed):
    rng = np.random.default_rng(seed)
    x, g = rng.normal(size=ROWS), rng.integers(0, 2, ROWS).astype(np.int32)
    g[:4] = 2  # a small group
    h = np.where(g == 2, 1, rng.integers(0, 2, ROWS)).astype(np.int8)
    return Data(DICTIONARY, {"x": x, "y": 2 * x + rng.normal(size=ROWS), "g": g, "h": h}, ROWS)


class Desk:
    """An operator's desk: three nodes, of which all approve by hand."""

    def __init__(self, folder, cohorts=("north", "south", "west"), **thresholds):
        self.ceremony, self.policy = Ceremony("net", cohorts), Policy(approval="manual", **thresholds)
        self.permit = self.ceremony.permit("s")
        self.memories = {c: Memory(folder / f"{c}.db", c, self.ceremony.nodes[c].identity) for c in cohorts}
        self.cohorts = {c: CohortNode(c, data(seed), self.policy) for seed, c in enumerate(cohorts)}

    def put(self, analysis, _asked=None, **params):
        """The request that a job leaves at north, and every node's reply once approved."""
        job = self.ceremony.job(self.permit, analysis, params, DICTIONARY.digest)
        first = next(find(analysis).run(find(analysis).params.bind(params, DICTIONARY)))
        first = _asked or first
        message = compose_signed(first, job.document, 1, self.ceremony.papers(self.permit, job))
        payload = message.to_bytes(first.broadcast)
        for cohort in self.cohorts:
            self.ask(cohort, payload)
        self.statistic = find(analysis).sums(first.statistic)
        approvals = Approvals(self.memories["north"])
        return approvals.find(job.document.digest()), payload

    def ask(self, cohort, payload):
        trust = Trust("net", self.ceremony.authority_key, self.ceremony.nodes[cohort])
        return TrustedNode(self.cohorts[cohort], trust, self.memories[cohort]).answer("question", payload)

    def approved(self, request, payload):
        for cohort in self.cohorts:
            Approvals(self.memories[cohort]).approve(request.job.digest(), "ada")
        replies = {cohort: AnswerMessage.from_bytes(self.ask(cohort, payload)) for cohort in self.cohorts}
        vectors = {c: Vector.from_bytes(m.layout, a["vector"].tobytes()) for c, (m, a) in replies.items()}
        return add_masked(self.statistic, vectors)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def refusals(shown):
    return {outcome.rule for outcome in shown.outcomes if outcome.refusal}


def test_the_first_round_is_what_leaves(desk):
    request, payload = desk.put("glm", formula="y ~ x", family="gaussian", cohort_effect="common")
    shown = {c: preview(node, request).values for c, node in desk.cohorts.items()}
    total = desk.approved(request, payload)
    for name, value in total.arrays().items():
        np.testing.assert_allclose(sum(values[name] for values in shown.values()), value, rtol=1e-12)


def test_a_preview_keeps_nothing_and_changes_nothing(desk):
    request, payload = desk.put("glm", formula="y ~ x", family="gaussian")
    before = desk.memories["north"].journal()
    first, second = (preview(desk.cohorts["north"], request) for _ in range(2))
    assert desk.memories["north"].journal() == before
    assert desk.memories["north"].answered(request.job.digest(), 1) is None
    assert desk.cohorts["north"].policy == desk.policy
    for name, value in first.values.items():
        np.testing.assert_array_equal(value, second.values[name])
    assert desk.approved(request, payload)


def test_every_field_is_named_with_its_kind_and_shape(desk):
    request, _ = desk.put("glm", formula="y ~ x", family="gaussian")
    shown = preview(desk.cohorts["north"], request)
    marks = {f"{name}.withheld" for name in ("excluded", "missing")}
    assert {quantity.name for quantity in shown.first.quantities} == set(shown.values) | marks
    for quantity in shown.first.quantities:
        assert quantity.shape == np.shape(shown.values[quantity.name.removesuffix(".withheld")])
        assert quantity.kind
    vector = shown.first.entries
    assert vector == sum(np.size(shown.values[q.name.removesuffix(".withheld")]) for q in shown.first.quantities)
    assert shown.expected


def test_the_job_is_rehearsed(desk):
    request, _ = desk.put("glm", formula="y ~ x", family="gaussian")
    shown = preview(desk.cohorts["north"], request)
    assert shown.ended == ""
    assert shown.later[0].statistic == shown.first.statistic
    assert len(shown.later) > 1


def test_each_rule_is_judged_by_itself(tmp_path):
    desk = Desk(tmp_path, min_people=10_000, max_parameters_per_person=0.001)
    request, _ = desk.put("glm", formula="y ~ x", family="gaussian")
    shown = preview(desk.cohorts["north"], request)
    assert "min_people" in refusals(shown)
    assert "min_cell" not in refusals(shown)
    assert "approval" not in {outcome.rule for outcome in shown.outcomes}
    assert shown.values, "an operator sees what would be refused as well"


def test_cells_that_are_withheld_are_shown_as_such(desk):
    request, _ = desk.put("crosstab", rows="g", columns="h")
    shown = preview(desk.cohorts["north"], request)
    (cells,) = [outcome for outcome in shown.outcomes if outcome.rule == "min_cell"]
    assert cells.withheld > 0
    text = "\n".join(described(shown, values=True, everything=False))
    assert "withheld" in text
    assert f"{cells.withheld} cell(s) withheld" in text


def test_a_question_that_the_analysis_would_not_ask_is_pointed_out(desk):
    bent = Question("moments", {"centre": np.zeros(1), "unit": np.ones(1), "thresholds": np.zeros((0, 1, 2))})
    request, _ = desk.put("describe", bent, variables=["x"])
    shown = preview(desk.cohorts["north"], request)
    assert not shown.expected
    assert "NOT the question" in "\n".join(described(shown, values=False, everything=False))


def test_what_no_policy_can_switch_off_is_shown_too(desk):
    broken = Question("moments", {"centre": np.full(1, np.nan), "unit": np.ones(1), "thresholds": np.zeros((0, 1, 2))})
    request, _ = desk.put("describe", broken, variables=["x"])
    shown = preview(desk.cohorts["north"], request)
    assert refusals(shown) == {"broadcast"}
    assert shown.values == {}
    assert "REFUSED" in "\n".join(described(shown, values=True, everything=False))


def test_a_question_that_cannot_be_computed_says_so_without_a_value(desk):
    odd = Question("moments", {"centre": np.zeros(0), "unit": np.zeros(0), "thresholds": np.zeros((0, 1, 2))})
    request, _ = desk.put("describe", odd, variables=["x"])
    with pytest.raises(InvalidQuestion, match="cannot be computed here"):
        preview(desk.cohorts["north"], request)


def test_numbers_are_shown_only_when_asked_for(desk):
    request, _ = desk.put("glm", formula="y ~ x", family="gaussian")
    shown = preview(desk.cohorts["north"], request)
    without = "\n".join(described(shown, values=False, everything=False))
    told = "\n".join(described(shown, values=True, everything=True))
    (name, value) = next((n, v) for n, v in shown.values.items() if np.size(v) and np.ravel(v)[0] % 1)
    number = f"{np.ravel(value)[0]:.10g}"
    assert number in told
    assert number not in without
    assert name in without


def test_the_ledger_is_asked_and_not_written_to(tmp_path):
    desk = Desk(tmp_path)
    path = tmp_path / "ledger.db"
    rows = data(0)
    told = Ledger(path)
    desk.cohorts["north"] = CohortNode("north", rows, desk.policy, told)
    first, payload = desk.put("describe", variables=["x"])
    desk.approved(first, payload)
    fewer = {name: column[:-3] for name, column in rows.columns.items()}
    near, _ = desk.put("describe", variables=["x"])

    def judged(columns):
        with copied(path) as ledger:
            node = CohortNode("north", Data(DICTIONARY, columns, len(columns["x"])), desk.policy, ledger)
            return refusals(preview(node, near))

    before = path.read_bytes()
    assert judged(fewer) == {"min_difference"}
    assert judged(fewer) == {"min_difference"}, "what was previewed is not in the ledger"
    assert judged(rows.columns) == set()
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".preview-*"))


def test_the_budget_is_asked_as_well(tmp_path):
    desk = Desk(tmp_path, budget_refuse=1e-4)
    request, _ = desk.put("describe", variables=["x"])
    with copied(tmp_path / "ledger.db") as ledger:
        shown = preview(CohortNode("north", data(0), desk.policy, ledger), request)
    assert refusals(shown) == {"budget_refuse"}
    assert "min_difference" in {outcome.rule for outcome in shown.outcomes}


def test_another_dictionary_cannot_be_previewed(desk):
    request, _ = desk.put("glm", formula="y ~ x", family="gaussian")
    other = DICTIONARY.model_validate(DICTIONARY.model_dump() | {"version": "2"})
    node = CohortNode("north", Data(other, data(0).columns, ROWS), desk.policy)
    with pytest.raises(InvalidQuestion, match="dictionary"):
        preview(node, request)

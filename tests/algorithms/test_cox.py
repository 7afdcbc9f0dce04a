"""Cox regression against R's survival package, on public tables of real people."""

import numpy as np
import pytest
from datasets import gbsg2, heart, mgus2, named, rossi, split
from hazards import GBSG2, ROSSI, close, errors, estimates, people

EXAMPLES = [
    {"formula": "Surv(time, dead) ~ age + sex", "by_cohort": True},
    {"formula": "Surv(time, dead) ~ age * arm"},
    {"formula": "Surv(time, dead) ~ sex + age + strata(arm)", "cohort_effect": "common", "interval": 10},
    {"formula": "Surv(time, dead) ~ sex + offset(log(years)) + cluster(visits)", "weights": "years"},
    {"formula": "Surv(time, dead) ~ bmi", "cohort_effect": "common", "interval": 20, "robust": True},
    {"formula": "Surv(time, dead) ~ sex", "time_transform": "km", "ties": "breslow"},
    {"formula": "Surv(time, dead) ~ bmi", "cohort_effect": "common", "baseline": "adaptive"},
    {"formula": "Surv(time, dead) ~ sex", "cohort_effect": "common", "baseline": "piecewise", "intervals": 4},
]


class TestReferenceValues:
    """R 4.2.2, survival 3.5-3."""

    @pytest.mark.parametrize(
        ("ties", "coefficients", "std_errors", "robust", "likelihoods", "tests", "baseline"),
        [
            (
                "efron",
                [-0.37942216687121, -0.0574377430137612, 0.313899785949295, -0.149795697222788, -0.433703876690251,
                 -0.0848710829908368, 0.0914970793511207],
                [0.191379480712809, 0.0219994706279538, 0.307992776392939, 0.212224296158164, 0.381868057464922,
                 0.195756671920923, 0.0286485500734706],
                [0.195541778880588, 0.0253361463208247, 0.292328555108875, 0.218060315186137, 0.380244465386073,
                 0.199200829565688, 0.0289745948116107],
                [-675.380632346871, -658.747659446086],
                [33.2659458015701, 33.5286888997077, 32.1126101919369],
                [0.104038413783003, 0.403914297759959, 0.956499233885024],
            ),
            (
                "breslow",
                [-0.379021887795027, -0.0572459253635571, 0.314129765068245, -0.151114599627457, -0.432782572549051,
                 -0.0849828357516055, 0.0911115405004656],
                [0.191364425859019, 0.0219831857514714, 0.308017279578757, 0.21212316079632, 0.38179493506431,
                 0.195748207323212, 0.0286312530668248],
                [0.194687740093362, 0.0252287002050108, 0.291077723347439, 0.216960903499162, 0.378891216798179,
                 0.198342010867714, 0.0287483870929288],
                [-675.683389417497, -659.120605677328],
                [33.1255674803372, 33.3828204240907, 31.9810169858554],
                [0.103576024188295, 0.401708836067688, 0.950727394894514],
            ),
        ],
    )  # fmt: skip
    def test_rossi(self, ask, ties, coefficients, std_errors, robust, likelihoods, tests, baseline):  # noqa: PLR0917
        frames = split(rossi(), "blk3@prio")
        result = ask("cox", frames, formula=ROSSI, cohort_effect="common", ties=ties)
        close(estimates(result), coefficients)
        close(errors(result), std_errors)
        close([result.null_log_likelihood, result.log_likelihood], likelihoods)
        close([result.tests[name].statistic for name in ("likelihood ratio", "score", "Wald")], tests)
        curve = result.baseline["all"]
        close([curve.cumulative_hazard[curve.time.index(t)] for t in (10, 26, 52)], baseline)
        assert (result.n, result.n_events, result.n_excluded, result.cohort_effect) == (432, 114, 0, "common")
        assert result.rounds <= result.iterations + 4
        sandwich = ask("cox", frames, formula=ROSSI, cohort_effect="common", ties=ties, robust=True)
        close(errors(sandwich), robust)
        close(list(sandwich.model_std_errors.values()), std_errors)
        alone = ask("cox", {"a": rossi()}, formula=ROSSI, ties=ties, robust=True)
        close(estimates(alone), coefficients)
        close(errors(alone), robust)
        assert alone.baseline is None

    @pytest.mark.parametrize(
        ("ties", "transform", "expected"),
        [
            ("efron", "identity", [0.00895055826554622, 6.61594379790832, 2.14442625260625, 3.8767551298427,
                                   1.0313483188442, 0.0281765986864225, 0.424798411107574, 18.1826870813889]),
            ("efron", "log", [0.137599435179095, 8.23149835044422, 1.6170849367858, 2.08585484515458,
                              1.12597331496406, 0.219202810351746, 0.013479071364258, 17.6615705937228]),
            ("efron", "km", [0.0624297500893762, 5.9739816611519, 2.06826538335464, 4.22459563869861,
                             1.01102156455446, 0.0183832991358405, 0.520584267006146, 17.6944152960279]),
            ("breslow", "identity", [0.00859180637696404, 6.57910385729408, 2.13080562073469, 3.84577212649549,
                                     1.02512791112834, 0.0289138103562625, 0.41545274167328, 18.0597432986957]),
            ("breslow", "log", [0.13932367592614, 8.19071687688643, 1.60661982461256, 2.07098512594517,
                                1.12093816666794, 0.220839819658564, 0.0144245926960834, 17.5725259953421]),
            ("breslow", "km", [0.0613846353541132, 5.94084673551874, 2.05537152700593, 4.19071463518264,
                               1.00500678290822, 0.0189931777784128, 0.510018855219349, 17.5732788148552]),
        ],
    )  # fmt: skip
    def test_rossi_proportional_hazards(self, ask, ties, transform, expected):
        options = {"formula": ROSSI, "ties": ties, "time_transform": transform}
        for frames, effect in ((split(rossi(), "blk3@prio"), "common"), ({"a": rossi()}, "stratified")):
            found = ask("cox", frames, cohort_effect=effect, **options).proportional_hazards
            close([test.statistic for test in found.values()], expected)
            assert list(found)[-1] == "GLOBAL"
            assert found["GLOBAL"].df == 7

    @pytest.mark.parametrize(
        ("ties", "counts", "c"),
        [
            ("efron", [27242, 15291, 49, 111, 0], [0.640329247099714, 0.0266581227726475]),
            ("breslow", [27246, 15287, 49, 111, 0], [0.640423183504767, 0.0266476562235689]),
        ],
    )
    def test_rossi_concordance(self, ask, ties, counts, c):
        found = ask("cox", {"a": rossi()}, formula=ROSSI, ties=ties).concordance
        names = ("concordant", "discordant", "tied_score", "tied_time", "tied_both")
        assert [getattr(found, name) for name in names] == counts
        close([found.concordance, found.std_error], c)

    def test_gbsg2_stratified_by_cohort(self, ask):
        result = ask("cox", split(gbsg2(), "blk4@age"), formula=GBSG2)
        # R's reference level of menostat is Pre there, Post here.
        expected = [
            -0.388651725900713, -0.0377791994898478, -0.0389229949376678, 0.00946175062176437, 0.607961257161369,
            0.709991377394685, 0.0476425206907494, -0.00216304699472339, 0.00027207823610073,
        ]  # fmt: skip
        close(estimates(result), expected)
        close(
            errors(result),
            [0.1308107866038, 0.0157145099622819, 0.206231975237854, 0.00396028935539253, 0.249804778704412,
             0.2693863661382, 0.0076146173843437, 0.000581629585041599, 0.000465553214309919],
        )  # fmt: skip
        close([result.log_likelihood, result.null_log_likelihood], [-1349.00358720285, -1403.32168227235])
        c = result.concordance
        assert [c.concordant, c.discordant, c.tied_score, c.tied_time, c.tied_both] == [27337, 12245, 0, 12, 0]
        close([c.concordance, c.std_error], [0.690642211106058, 0.0158393699336111])
        assert (result.n, result.n_events) == (686, 299)
        close(result.bic, -2 * result.log_likelihood + 9 * np.log(299))

    @pytest.mark.parametrize(
        ("interval", "expected", "std_errors", "log_likelihood"),
        [
            (1, [-0.346278427620579, -0.00945923891341082, -0.25844484086586, 0.00779608385216718, 0.63611170455332,
                 0.779654242858245, 0.0487886003524266, -0.00221723568064824, 0.000197310710853675],
             [0.129074735223003, 0.00930059479708494, 0.183476451697747, 0.00393901773538434, 0.249202492015079,
              0.268480147338325, 0.00744708951978793, 0.000573528557034167, 0.000450367926763355], -1735.73210425795),
            (30.4375, [-0.345060595474055, -0.00950491064702928, -0.259761509339356, 0.0078102530587293,
                       0.64364162639646, 0.783618130687095, 0.0485971062782999, -0.00220731374874439,
                       0.000209605680262067],
             [0.129037021705509, 0.00929898615299431, 0.183538952098663, 0.00393834294296941, 0.249168297918411,
              0.268483656622996, 0.00742954545692569, 0.000572933868732518, 0.000451646934951475], -1738.49587412029),
        ],
        ids=["days", "months"],
    )  # fmt: skip
    def test_gbsg2_common(self, ask, interval, expected, std_errors, log_likelihood):
        result = ask("cox", split(gbsg2(), "blk4@age"), formula=GBSG2, cohort_effect="common", interval=interval)
        close(estimates(result), expected)
        close(errors(result), std_errors)
        close(result.log_likelihood, log_likelihood)
        alone = ask("cox", {"a": gbsg2()}, formula=GBSG2, interval=interval)
        close(estimates(alone), expected)
        if interval == 1:
            close(result.null_log_likelihood, -1788.10473712307)
            c = alone.concordance
            assert [c.concordant, c.discordant, c.tied_score, c.tied_time, c.tied_both] == [92066, 41006, 0, 32, 0]
            close([c.concordance, c.std_error], [0.691851028014909, 0.0149586967176198])

    @pytest.mark.parametrize("cohorts", [1, 3])
    def test_heart_with_covariates_that_change_in_time(self, ask, cohorts):
        frame = heart()
        frames = named([frame[frame["id"] % cohorts == k] for k in range(cohorts)])
        effect = {"cohort_effect": "common", "interval": 0.5} if cohorts > 1 else {}
        formula = "Surv(start, stop, event) ~ age + year + surgery + transplant + cluster(id)"
        result = ask("cox", frames, formula=formula, **effect)
        close(
            estimates(result),
            [0.0271666409576771, -0.146346345674198, -0.63720988996813, -0.0102507724090774],
        )
        close(
            list(result.model_std_errors.values()),
            [0.0137141152103179, 0.0704679795188534, 0.367225996180473, 0.313754798337487],
        )
        close(errors(result), [0.0138918929240804, 0.0730798592393635, 0.358210202384587, 0.316882349062489])
        close([result.log_likelihood, result.null_log_likelihood], [-290.56561621849, -298.121355672984])
        assert (result.n, result.clusters, result.std_error_type) == (172, 103, "robust by id")

    @pytest.mark.parametrize(
        ("cause", "expected", "std_errors", "log_likelihood"),
        [
            ("pcm", [0.0130385698370914, -0.0251377892665907], [0.00825868591210803, 0.188455848192887],
             -720.595073105828),
            ("death", [0.0648236635629092, 0.393225863731626], [0.00362027556808525, 0.0696981045796855],
             -5432.29740032151),
        ],
    )  # fmt: skip
    def test_cause_specific_hazards(self, ask, cause, expected, std_errors, log_likelihood):
        frame = mgus2()
        frame = frame.assign(event=frame["end"] == cause)[["months", "event", "age", "sex"]]
        result = ask("cox", split(frame, "blk4@age"), formula="Surv(months, event) ~ age + sex", cohort_effect="common")
        close(estimates(result), expected)
        close(errors(result), std_errors)
        close(result.log_likelihood, log_likelihood)


def test_shows_itself(ask):
    result = ask("cox", split(people(300, 50), "mod3"), formula="Surv(time, dead) ~ age + arm")
    text = result.summary()
    for word in ("hazard ratio", "likelihood ratio", "GLOBAL", "Concordance", "stratified"):
        assert word in text
    frame = result.to_frame("pandas")
    close(frame["hazard ratio"], np.exp(estimates(result)))
    forest, over_time = result.chart().to_dict()["vconcat"]
    assert forest["layer"]
    assert over_time["facet"]

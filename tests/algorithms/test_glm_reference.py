"""Generalised linear models against published numbers: computed on the pooled records by the package that each test
names, with the split over cohorts that they were checked on.
"""

import numpy as np
from datasets import diabetes, epil, fair, grunfeld, longley, named, randhie, split
from test_glm import close, errors, estimates

COVARIATES = "rate_marriage + age + yrs_married + children + religious + educ"


def test_logit_with_levels_absent_at_cohorts(ask):  # statsmodels 0.15.0
    result = ask(
        "glm",
        split(fair(), "blk4@job"),
        formula=f"y ~ {COVARIATES} + job",
        family="binomial",
        cohort_effect="common",
    )
    close(
        estimates(result),
        [
            3.10632448440938,
            -0.711288763479257,
            -0.060318388460137,
            0.107778854754492,
            0.0158666144755796,
            -0.374482470852633,
            -0.0025725874744414,
            0.408087859832915,
            0.724145987911493,
            0.487436655010821,
            1.06999671783528,
            1.13123397923312,
        ],
    )
    close(
        errors(result),
        [
            0.548528454160875,
            0.0314365430326879,
            0.0102902828737263,
            0.0109716965882788,
            0.032021563730632,
            0.0348325441939396,
            0.0170918104490547,
            0.445069746124956,
            0.43928855893654,
            0.440371411624022,
            0.444336130828953,
            0.490631064876717,
        ],
    )
    close(
        [result.deviance, result.null_deviance, result.log_likelihood, result.aic, result.pearson_chi2],
        [6914.80796764292, 8005.0599316808, -3457.40398382146, 6938.80796764292, 6289.8080805456],
    )
    assert (result.n, result.events, result.n_excluded) == (6366, 2053, 0)
    assert list(result.coefficients)[-5:] == ["job[2]", "job[3]", "job[4]", "job[5]", "job[6]"]
    assert result.rounds <= result.iterations + 3


def test_poisson(ask):  # statsmodels 0.15.0
    columns = "lncoins + idp + lpi + fmde + physlm + disea + hlthg + hlthf + hlthp"
    result = ask(
        "glm",
        split(randhie(), "blk4@disea"),
        formula=f"mdvis ~ {columns}",
        family="poisson",
        cohort_effect="common",
    )
    close(
        estimates(result),
        [
            0.70035287860113,
            -0.0525351153544608,
            -0.247086794131939,
            0.0352902016961851,
            -0.0345775067175957,
            0.271713978822378,
            0.0339414744818246,
            -0.0126350344024857,
            0.054056329894438,
            0.206115118440079,
        ],
    )
    close(
        errors(result),
        [
            0.01116266712632,
            0.00288398919785699,
            0.0106172518960386,
            0.00182833684412688,
            0.00161284852577948,
            0.0122391384380079,
            0.000564764974436644,
            0.00925061122620058,
            0.0153098706751145,
            0.0262792827176197,
        ],
    )
    close(
        [result.deviance, result.null_deviance, result.log_likelihood, result.aic],
        [83934.2378604674, 92389.4241074872, -62419.5885644489, 124859.177128898],
    )
    close([result.pearson_chi2, result.pearson_chi2 / result.df_residual], [126713.757987623, 6.27917532148776])


def test_poisson_with_offset(ask):  # statsmodels 0.15.0
    frame = epil()
    frames = named([frame[frame["subject"].between(a, b)] for a, b in ((1, 30), (31, 48), (49, 59))])
    formula = "y ~ lbase + trtp + lage + V4 + offset(log(weeks))"
    result = ask("glm", frames, formula=formula, family="poisson", cohort_effect="common")
    close(
        estimates(result),
        [1.05320699066154, 1.22422201858675, -0.0168539442678723, 0.578824308103059, -0.159769600576674],
    )
    close(
        errors(result),
        [0.0425533776521937, 0.0325311165314375, 0.0482041372341568, 0.109984965607351, 0.0545837099874696],
    )
    assert list(result.coefficients) == ["(Intercept)", "lbase", "trtp", "lage", "V4"]
    close([result.deviance, result.log_likelihood], [945.94444163902, -855.92455965417])


def test_one_intercept_per_cohort(ask):  # statsmodels 0.15.0, with an indicator per cohort
    frames = split(fair(), "blk4@job")
    logit = ask("glm", frames, formula=f"y ~ {COVARIATES}", family="binomial")
    close(
        estimates(logit),
        [
            -0.682181806175158,
            -0.055953364079829,
            0.116145904492078,
            -0.0181486208609764,
            -0.348258123971976,
            0.105298059751615,
        ],
    )
    close(
        errors(logit),
        [
            0.0324009283279353,
            0.0106050270027206,
            0.0112939605598644,
            0.0327086205531875,
            0.0358632758964905,
            0.0159795278838929,
        ],
    )
    close([logit.deviance, logit.log_likelihood], [6557.53442650717, -3278.76721325359])
    counts = ask("glm", frames, formula=f"visits ~ {COVARIATES}", family="poisson")
    close(
        estimates(counts),
        [
            -0.502184059737828,
            -0.0172833054100932,
            -0.0672634158861538,
            -0.026097824415996,
            -0.378653694801174,
            0.066846250988953,
        ],
    )
    close([counts.deviance, counts.log_likelihood], [12555.5629728721, -7798.73314508372])
    assert (logit.cohort_effect, logit.parameters) == ("stratified", 10)


def test_linear(ask):  # statsmodels 0.15.0
    frame = diabetes()
    formula = "target ~ " + " + ".join(frame.columns[:-1])
    result = ask("glm", split(frame, "blk3@bmi"), formula=formula, family="gaussian", cohort_effect="common")
    close(
        estimates(result),
        [
            -334.567138518785,
            -0.0363612242236225,
            -22.8596480904984,
            5.60296209192371,
            1.11680799331819,
            -1.08999633406323,
            0.746450455514209,
            0.372004715089137,
            6.53383193599032,
            68.4831249647879,
            0.280116989321496,
        ],
    )
    close(
        errors(result),
        [
            67.4546211043415,
            0.217041435408762,
            5.83582128501488,
            0.717105500560912,
            0.225238169188269,
            0.573331858550061,
            0.530834389766024,
            0.782463845626719,
            5.95863783721632,
            15.6697192387072,
            0.273313950359366,
        ],
    )
    close(
        [np.sqrt(result.dispersion), result.log_likelihood, result.aic, result.bic],
        [54.1542393280557, -2385.99286212352, 4793.98572424704, 4838.99013294989],
    )
    close(1 - result.deviance / result.null_deviance, 0.51774842222035)


def test_longley(ask):  # NIST StRD, certified values
    formula = "TOTEMP ~ GNPDEFL + GNP + UNEMP + ARMED + POP + YEAR"
    result = ask("glm", split(longley(), "mod3"), formula=formula, family="gaussian", cohort_effect="common")
    close(
        estimates(result),
        [
            -3482258.63459582,
            15.0618722713733,
            -0.035819179292591,
            -2.02022980381683,
            -1.03322686717359,
            -0.0511041056535807,
            1829.15146461355,
        ],
        rtol=1e-10,
    )
    close(
        errors(result),
        [
            890420.383607373,
            84.9149257747669,
            0.0334910077722432,
            0.488399681651699,
            0.214274163161675,
            0.22607320006937,
            455.478499142212,
        ],
        rtol=1e-10,
    )
    close(np.sqrt(result.dispersion), 304.854073561965, rtol=1e-10)


def test_within_firms(ask):  # statsmodels 0.15.0, an indicator per firm
    result = ask("glm", split(grunfeld(), "by@firm"), formula="invest ~ value + capital", family="gaussian")
    close(estimates(result), [0.110129119025771, 0.310033441874942])
    close(errors(result), [0.0112998432895951, 0.0165404765194787])
    assert result.df_residual == 220 - 11 - 2

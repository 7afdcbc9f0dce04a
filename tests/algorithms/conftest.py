import pytest

from simulation import network


@pytest.fixture
def ask():
    """Put one question to simulated cohorts and return the result: ask("glm", frames, formula=..., ...)."""

    def ask_cohorts(analysis, frames, *, dictionary=None, policy=None, **params):
        return network(frames, dictionary, policy).study("test").run(analysis, **params).result()

    return ask_cohorts

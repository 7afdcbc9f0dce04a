import pytest
from fake_coordinator import AVERAGE, TOKEN, FakeCoordinator, serving

from cohortium import analysis as contract


@pytest.fixture
def average(monkeypatch):
    """A registry that holds one analysis, `average`."""
    monkeypatch.setattr(contract, "registry", lambda: {"average": AVERAGE})
    monkeypatch.setattr("cohortium.client.registry", lambda: {"average": AVERAGE})
    return AVERAGE


@pytest.fixture
def coordinator():
    return FakeCoordinator()


@pytest.fixture
def url(coordinator):
    with serving(coordinator) as address:
        yield address


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("COHORTIUM_URL", "COHORTIUM_TOKEN", "COHORTIUM_CA", "COHORTIUM_STUDY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def logged_in(monkeypatch, url):
    """The environment in which the command line finds the fake coordinator."""
    monkeypatch.setenv("COHORTIUM_URL", url)
    monkeypatch.setenv("COHORTIUM_TOKEN", TOKEN)
    return url

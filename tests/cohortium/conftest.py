import pytest
from fake_coordinator import AVERAGE, CEREMONY, TOKEN, FakeCoordinator, serving

from cohortium import analysis as contract
from cohortium.keys import write_key


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
    for name in ("URL", "TOKEN", "CA", "STUDY", "KEY", "AUTHORITY", "PASSPHRASE"):
        monkeypatch.delenv(f"COHORTIUM_{name}", raising=False)


@pytest.fixture
def signing(monkeypatch, tmp_path):
    """The environment in which jobs are signed with a key that every permit of the fake coordinator names."""
    write_key(CEREMONY.researcher, tmp_path / "researcher.key")
    monkeypatch.setenv("COHORTIUM_KEY", str(tmp_path / "researcher.key"))
    monkeypatch.setenv("COHORTIUM_AUTHORITY", CEREMONY.authority_key)


@pytest.fixture
def logged_in(monkeypatch, url, signing):
    """The environment in which the command line finds the fake coordinator."""
    monkeypatch.setenv("COHORTIUM_URL", url)
    monkeypatch.setenv("COHORTIUM_TOKEN", TOKEN)
    return url

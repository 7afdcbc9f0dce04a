import time
from types import MappingProxyType

import pytest

from cohortium import analysis as contract


@pytest.fixture
def tally_registered(monkeypatch):
    """The analysis `tally`, and no other."""
    from tally import tally

    import coordinator.app

    monkeypatch.setattr(contract, "_registered", {})
    known = MappingProxyType({"tally": contract.analysis(tally)})
    monkeypatch.setattr(contract, "registry", lambda: known)
    monkeypatch.setattr(coordinator.app, "registry", lambda: known)


@pytest.fixture
def wait_until():
    def wait(condition, timeout=60.0):
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)
        return found

    return wait


@pytest.fixture
def database(tmp_path):
    """The URL of a store that does not exist yet."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def start_coordinator(tally_registered, database):
    """Starts a coordinator over a FakeLink with north, south and west enrolled; all are stopped at the end."""
    from tally import DICTIONARY, FakeLink, node_of

    from coordinator.config import Settings
    from coordinator.service import Coordinator
    from coordinator.store import Store

    started = []

    def start(link=None, *, url=database, dictionary=DICTIONARY, **settings):
        nodes = {"north": node_of("north", [1, 2, 3]), "south": node_of("south", [4]), "west": node_of("west", [5, 6])}
        link = link or FakeLink(nodes)
        settings = Settings(
            name="test",
            dictionary="none.toml",
            api_host="127.0.0.1",
            fleet_host="127.0.0.1",
            insecure_loopback=True,
            **{"max_parallel_jobs": 4, **settings},
        )
        store = Store(url)
        if not store.cohorts():
            for name in nodes:
                store.enrol(name, name.capitalize(), f"PUBLIC KEY of {name}")
        coordinator = Coordinator(settings, store, dictionary, link)
        coordinator.start()
        started.append(coordinator)
        return coordinator

    yield start
    for coordinator in started:
        coordinator.stop()


@pytest.fixture
def coordinator(start_coordinator, wait_until):
    running = start_coordinator()
    wait_until(lambda: all(view.variables for view in running.catalogue.cohorts()))
    return running

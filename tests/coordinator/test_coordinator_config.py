"""Settings: one file, every key known and explained, every fault told by its name."""

import tomllib
from pathlib import Path

import pytest

from coordinator.config import InvalidSettings, Settings, render
from coordinator.console import EXAMPLE

LOOPBACK = {
    "name": "n",
    "dictionary": "dictionary.toml",
    "api_host": "127.0.0.1",
    "fleet_host": "::1",
    "insecure_loopback": True,
}


@pytest.fixture
def read(tmp_path):
    (tmp_path / "dictionary.toml").write_text("")

    def read(values):
        file = tmp_path / "coordinator.toml"
        file.write_text(values if isinstance(values, str) else render(values))
        return Settings.from_toml(file)

    return read


def test_paths_are_relative_to_the_file(read, tmp_path):
    settings = read(LOOPBACK)
    assert settings.path(settings.dictionary) == tmp_path / "dictionary.toml"
    assert settings.store_url == f"sqlite:///{tmp_path / 'coordinator.db'}"
    assert settings.tls() is None


@pytest.mark.parametrize("store", ["postgresql+psycopg://me@db/x", "sqlite:////var/lib/x.db"])
def test_other_stores_are_left_as_they_are(read, store):
    assert read(LOOPBACK | {"store": store}).store_url == store


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"api_host": "0.0.0.0"}, "insecure_loopback"),
        ({"fleet_host": "example.nl"}, "insecure_loopback"),
        ({"insecure_loopback": False}, "certificate"),
        ({"insecure_loopback": False, "certificate": "a", "key": "b"}, "`ca`"),
        ({"certificate": "a"}, "choose one"),
        ({"insecure_loopback": False, "certificate": "a", "key": "b", "ca": "c"}, "there is no file"),
        ({"dictionary": "elsewhere.toml"}, "`dictionary`: there is no file"),
        ({"max_parallel_jobs": 0}, "max_parallel_jobs"),
        ({"api_port": 70000}, "api_port"),
        ({"log_format": "poem"}, "log_format"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(read, changes, words):
    with pytest.raises(InvalidSettings, match=words):
        read(LOOPBACK | changes)


def test_an_unknown_key_stops_the_start(read):
    with pytest.raises(InvalidSettings, match="api_prot: is not a setting"):
        read(render(LOOPBACK) + "\napi_prot = 1\n")


@pytest.mark.parametrize("text", ["name = ", "\x00"])
def test_what_is_not_toml(read, text):
    with pytest.raises(InvalidSettings, match="not TOML"):
        read(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidSettings, match="cannot be read"):
        Settings.from_toml(tmp_path / "none.toml")


def test_every_setting_is_explained():
    assert all(field.description for field in Settings.model_fields.values())


def test_the_example_is_what_init_writes_and_names_every_setting():
    example = Path(__file__).parents[2] / "configs" / "coordinator.toml"
    text = example.read_text(encoding="utf-8")
    assert text == render(EXAMPLE)
    uncommented = "\n".join(line.removeprefix("# ") if " = " in line else line for line in text.splitlines())
    assert set(tomllib.loads(uncommented)) <= set(Settings.model_fields)
    Settings.model_validate(tomllib.loads(text))

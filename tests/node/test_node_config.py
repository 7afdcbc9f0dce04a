"""The node's settings: every one is documented, a wrong one stops the start with all faults at once."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.dictionary import Dictionary, InvalidDictionary
from node.config import DataSettings, InvalidNodeSettings, NodeSettings, render, render_fields
from node.disclosure import Policy

CONFIGS = Path(__file__).parents[2] / "configs"
FIELDS = [*NodeSettings.model_fields.items(), *DataSettings.model_fields.items()]
VALUES = {
    "cohort": "north",
    "coordinator": "coordinator.example.nl:9443",
    "ca": "ca.crt",
    "key": "node.key",
    "dictionary": "dictionary.toml",
    "data": {"source": "data/*.parquet"},
}


def folder_with(path, **changed):
    for name in ("node.key", "dictionary.toml", "ca.crt", "policy.toml"):
        (path / name).write_text("")
    (path / "node.toml").write_text(render(VALUES | changed), encoding="utf-8")
    return path / "node.toml"


def words(comment):
    return " ".join(line.removeprefix("#").strip() for line in comment.splitlines())


class TestExample:
    TEXT = (CONFIGS / "node.toml").read_text(encoding="utf-8")

    @pytest.mark.parametrize(("name", "field"), [f for f in FIELDS if f[0] != "data"])
    def test_every_setting_is_there_with_its_description(self, name, field):
        written = re.search(rf"((?:^#.*\n)+)^(?:# )?(?:{name} = |\[data\.{name}\])", self.TEXT, re.MULTILINE)
        assert written, f"configs/node.toml does not show `{name}`"
        assert field.description in words(written[1])

    def test_every_setting_has_a_description(self):
        assert all(field.description and field.description.endswith(".") for _, field in FIELDS)

    def test_it_is_what_render_writes(self):
        assert render(tomllib.loads(self.TEXT)) == self.TEXT, "write configs/node.toml anew with node.config.render"

    def test_it_loads(self, tmp_path):
        folder_with(tmp_path)
        (tmp_path / "node.toml").write_text(self.TEXT)
        settings = NodeSettings.from_toml(tmp_path / "node.toml")
        assert settings.cohort == "north"
        assert settings.data.columns == {"bmi": "body_mass_index"}
        assert settings.source == str(tmp_path / "data/*.parquet")

    def test_it_agrees_with_the_dictionary_beside_it(self):
        data = tomllib.loads(self.TEXT)["data"]
        dictionary = Dictionary.from_toml(CONFIGS / "dictionary.toml")
        assert {*data["columns"], *data["absent"]} <= set(dictionary.variables)


class TestExampleDictionary:
    def test_it_shows_every_type_and_is_labelled_in_both_languages(self):
        dictionary = Dictionary.from_toml(CONFIGS / "dictionary.toml")
        variables = dictionary.variables.values()
        assert {v.type for v in variables} == {"number", "integer", "boolean", "category", "date", "identifier"}
        labels = [dictionary.title, *(v.label for v in variables), *(c.label for v in variables for c in v.categories)]
        assert all(label.en and label.nl for label in labels)
        assert all(v.unit for v in variables if v.type in {"number", "integer"})
        assert all(v.precision for v in variables if v.type == "number")

    def test_its_faults_are_listed_all_at_once(self, tmp_path):
        text = (CONFIGS / "dictionary.toml").read_text().replace('value = "middle"', 'value = "low"')
        text = text.replace("maximum = 80\n", "maximum = 8\n").replace('unit = "a"', 'unti = "a"')
        (tmp_path / "dictionary.toml").write_text(text)
        with pytest.raises(InvalidDictionary) as caught:
            Dictionary.from_toml(tmp_path / "dictionary.toml")
        assert all(name in str(caught.value) for name in ("education", "bmi", "age.unti"))
        assert len(str(caught.value).splitlines()) == 4


class TestRender:
    def test_what_is_written_is_read(self, tmp_path):
        data = {"source": "x.csv", "absent": ["age"], "decimal": ",", "columns": {"bmi": 'a "b" \\ é'}}
        settings = NodeSettings.from_toml(
            folder_with(tmp_path, ca="ca.crt", policy="policy.toml", workers=2, data=data)
        )
        assert settings.data.model_dump(exclude_defaults=True) == data
        assert (settings.workers, settings.path("x")) == (2, tmp_path / "x")

    def test_what_is_left_out_keeps_its_default(self, tmp_path):
        (folder_with(tmp_path)).write_text(
            render({k: v for k, v in VALUES.items() if k != "ca"} | {"coordinator": "[::1]:9"})
        )
        settings = NodeSettings.from_toml(tmp_path / "node.toml")
        assert (settings.ca, settings.policy, settings.log) == (None, None, "console")
        assert settings.data == DataSettings(source="data/*.parquet")

    def test_a_policy_with_every_threshold(self, tmp_path):
        (tmp_path / "policy.toml").write_text(render_fields(Policy, "What may leave."))
        assert Policy.from_toml(tmp_path / "policy.toml") == Policy()

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    def test_any_text_survives(self, text):
        values = tomllib.loads(render(VALUES | {"data": {"source": text}}))
        assert values["data"]["source"] == text


class TestFaults:
    def faults(self, folder, text):
        folder_with(folder)
        (folder / "node.toml").write_text(text, encoding="utf-8")
        with pytest.raises(InvalidNodeSettings) as caught:
            NodeSettings.from_toml(folder / "node.toml")
        return str(caught.value)

    def test_all_at_once_with_suggestions_and_without_values(self, tmp_path):
        text = render(VALUES | {"workers": 0, "log": "s3cret"})
        text = text.replace('source = "data/*.parquet"', 'sorce = "s3cret"').replace(
            "[data]", 'polcy = "s3cret"\n[data]'
        )
        said = self.faults(tmp_path, text)
        for line in (
            "polcy: is not a setting. Did you mean `policy`?",
            "data.sorce: is not a setting. Did you mean `source`?",
            "data.source: Field required",
            "workers: Input should be greater than or equal to 1",
            "log: Input should be 'console' or 'json'",
        ):
            assert f"\n  {line}" in said
        assert "s3cret" not in said

    @pytest.mark.parametrize(
        "address", ["coordinator", "https://coordinator:1", "c:0", "c:65536", "c:x", "a b:1", ":1"]
    )
    def test_an_address_is_host_and_port(self, tmp_path, address):
        assert "coordinator" in self.faults(tmp_path, render(VALUES | {"coordinator": address}))

    @pytest.mark.parametrize("address", ["localhost:9443", "127.0.0.1:1", "[::1]:9443", "c-1.example.nl:65535"])
    def test_good_addresses(self, tmp_path, address):
        assert NodeSettings.from_toml(folder_with(tmp_path, coordinator=address)).coordinator == address

    @pytest.mark.parametrize("cohort", ["a/b", "a b", "", "../x", "ñ"])
    def test_a_name_that_is_none(self, tmp_path, cohort):
        assert "cohort:" in self.faults(tmp_path, render(VALUES | {"cohort": cohort}))

    @pytest.mark.parametrize(
        ("host", "fine"), [("localhost", True), ("127.0.0.1", True), ("10.0.0.1", False), ("c.nl", False)]
    )
    def test_no_tls_but_on_this_machine(self, tmp_path, host, fine):
        text = render({k: v for k, v in VALUES.items() if k != "ca"} | {"coordinator": f"{host}:1"})
        if fine:
            folder_with(tmp_path).write_text(text)
            assert NodeSettings.from_toml(tmp_path / "node.toml").ca is None
        else:
            assert "`ca` is missing" in self.faults(tmp_path, text)

    def test_files_that_are_not_there(self, tmp_path):
        said = self.faults(tmp_path, render(VALUES | {"dictionary": "lost.toml", "ca": "lost.crt"}))
        assert f"dictionary: there is no file {tmp_path / 'lost.toml'}" in said
        assert f"ca: there is no file {tmp_path / 'lost.crt'}" in said

    def test_no_toml(self, tmp_path):
        assert "is not TOML" in self.faults(tmp_path, "cohort = north")
        (tmp_path / "node.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(InvalidNodeSettings, match="is not TOML"):
            NodeSettings.from_toml(tmp_path / "node.toml")

    def test_no_file(self, tmp_path):
        with pytest.raises(InvalidNodeSettings, match=r"node\.toml cannot be read: No such file"):
            NodeSettings.from_toml(tmp_path / "node.toml")


def test_a_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "a [b] *"
    folder.mkdir()
    (folder / "x.csv").write_text("age\n1\n")
    source = NodeSettings.from_toml(folder_with(folder, data={"source": "*.csv"})).source
    assert json.dumps(source) == json.dumps(str(tmp_path / "a [[]b] [*]" / "*.csv"))

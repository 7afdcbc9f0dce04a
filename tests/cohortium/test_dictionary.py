"""The dictionary fixes meaning and shape, and says what is wrong with itself."""

import pytest

from cohortium.dictionary import Dictionary, InvalidDictionary, Variable
from cohortium.errors import UnknownName

TOML = """
name = "demo"
version = "2"
title = {en = "Demo", nl = "Voorbeeld"}
[variables.sex]
type = "category"
categories = [{value = "female", code = "2"}, {value = "male", code = "1"}]
[variables.bmi]
type = "number"
unit = "kg/m2"
minimum = 10
maximum = 80
precision = 0.1
missing = [-9, "unknown"]
label = {en = "Body mass index", nl = "Queteletindex"}
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "dictionary.toml"
        path.write_text(text, encoding="utf-8")
        return Dictionary.from_toml(path)

    return read


def test_reads_what_a_file_says(read):
    dictionary = read(TOML)
    assert dictionary["sex"].levels == ("female", "male")
    assert dictionary["sex"].codes == ["2", "1"]
    assert dictionary["bmi"].label.nl == "Queteletindex"
    assert dictionary["bmi"].centre == 45
    assert "bmi" in dictionary
    assert "bmj" not in dictionary


def test_the_digest_follows_the_meaning_not_the_spelling(read):
    dictionary = read(TOML)
    assert read(TOML.replace("minimum = 10", "minimum = 10.0  # a comment")).digest == dictionary.digest
    assert read(TOML.replace("minimum = 10", "minimum = 11")).digest != dictionary.digest


def test_unknown_variable_suggests(read):
    with pytest.raises(UnknownName, match="Did you mean `bmi`"):
        read(TOML)["bmj"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("unit =", "units ="), "units"),
        (('"number"', '"numeric"'), "variables.bmi.type"),
        (("maximum = 80", "maximum = 8"), "`minimum` is larger"),
        (('code = "1"', 'code = "2"'), "declared twice"),
        (('value = "male"', 'value = "female"'), "declared twice"),
        (("[variables.bmi]", '[variables."b mi"]'), "variables"),
        (('type = "category"', 'type = "number"'), "categories"),
        (('name = "demo"', "name = "), "not TOML"),
        (("[variables.bmi]", 'missing = ["1"]\n[variables.bmi]'), "both a category and `missing`"),
    ],
)
def test_faults_are_named(read, change, words):
    with pytest.raises(InvalidDictionary, match=words):
        read(TOML.replace(*change))


@pytest.mark.parametrize(
    ("variable", "binary"),
    [
        ({"type": "boolean"}, True),
        ({"type": "integer", "minimum": 0, "maximum": 1}, True),
        ({"type": "integer", "minimum": 0, "maximum": 2}, False),
        ({"type": "category", "categories": [{"value": "a"}, {"value": "b"}]}, True),
        ({"type": "category", "categories": [{"value": "a"}, {"value": "b"}, {"value": "c"}]}, False),
    ],
)
def test_what_is_binary(variable, binary):
    assert Variable.model_validate(variable).is_binary is binary


def test_lattice_points_reach_the_maximum():
    dictionary = Dictionary(
        name="d",
        version="1",
        variables={"t": Variable(type="number", maximum=10.0, precision=0.1), "u": Variable(type="number")},
    )
    assert dictionary.lattice_points("t", 0.1) == 100
    assert dictionary.lattice_points("t", 3.0) == 4
    with pytest.raises(InvalidDictionary, match="no `maximum`"):
        dictionary.lattice_points("u", 1.0)


@pytest.mark.parametrize(("text", "found"), [("BMI", ["bmi"]), ("quetelet", ["bmi"]), ("", ["sex", "bmi"]), ("zz", [])])
def test_search_looks_at_names_and_labels_in_both_languages(read, text, found):
    assert read(TOML).search(text) == found

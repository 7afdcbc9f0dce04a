"""Keys, rosters and permits as people make them on the command line, from a ceremony to a roster that is replaced."""

import json
import stat

import pytest
from typer.testing import CliRunner

from cohortium.cli import app
from cohortium.documents import Member, Permit, Roster
from cohortium.keys import new_keys, public_text
from cohortium.signing import Signed, sign

PERMIT = """
network = "net"
study = "smoking"
title = "Smoking"
purpose = "To know"
variables = ["bmi", "age"]
analyses = "all"
cohorts = ["south", "north"]
researchers = ["{researcher}"]
valid_from = 2026-01-01T00:00:00Z
valid_until = 2126-01-01T00:00:00Z
"""


def run(*arguments, **environment):
    return CliRunner().invoke(app, [str(a) for a in arguments], env=environment)


def done(*arguments, **environment):
    outcome = run(*arguments, **environment)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output.strip()


@pytest.fixture
def ceremony(tmp_path):
    """An authority, a committee and two nodes that handed in their statements."""
    keys = {name: done("keys", "new", tmp_path / f"{name}.key") for name in ("authority", "committee", "ada")}
    for cohort in ("north", "south"):
        own = new_keys()
        identity, masking = (public_text(k.public_key()) for k in (own.identity, own.masking))
        statement = Member(network="net", cohort=cohort, identity=identity, masking=masking)
        (tmp_path / f"{cohort}.json").write_bytes(sign(statement, own.identity).to_bytes())
    return keys


def sign_roster(folder, keys, out, *more):
    members = [a for c in ("south", "north") for a in ("--member", folder / f"{c}.json")]
    who = ("--network", "net", "--committee", keys["committee"], "--key", folder / "authority.key")
    return done("roster", "sign", *who, *members, "--out", folder / out, *more)


def test_a_key_is_made_for_its_owner_alone_and_never_replaced(tmp_path):
    public = done("keys", "new", tmp_path / "a.key")
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    assert done("keys", "show", tmp_path / "a.key") == public
    assert run("keys", "new", tmp_path / "a.key").exit_code == 1
    masking = done("keys", "new", tmp_path / "m.key", "--masking")
    assert masking.startswith("x25519:")
    assert done("keys", "show", tmp_path / "m.key") == masking


def test_a_key_with_a_passphrase(tmp_path):
    made = CliRunner().invoke(app, ["keys", "new", str(tmp_path / "a.key"), "--passphrase"], input="word\nword\n")
    assert made.exit_code == 0
    assert "needs its passphrase" in run("keys", "show", tmp_path / "a.key").output
    assert done("keys", "show", tmp_path / "a.key", COHORTIUM_PASSPHRASE="word") in made.output


def test_a_roster_is_signed_verified_and_replaced(tmp_path, ceremony):
    sign_roster(tmp_path, ceremony, "one.json")
    shown = done("roster", "verify", tmp_path / "one.json", "--authority", ceremony["authority"])
    assert "net, version 1" in shown
    sign_roster(tmp_path, ceremony, "two.json", "--previous", tmp_path / "one.json", "--revoke", ceremony["ada"])
    one, two = (Signed.from_bytes(Roster, (tmp_path / f).read_bytes()).document for f in ("one.json", "two.json"))
    assert (two.version, two.previous, two.revoked) == (2, one.digest(), (ceremony["ada"],))
    assert [m.cohort for m in two.members] == ["north", "south"]
    wrong = run("roster", "verify", tmp_path / "one.json", "--authority", ceremony["committee"])
    assert wrong.exit_code == 1
    assert "may not sign it" in wrong.output


def test_a_statement_that_its_key_did_not_sign_is_not_listed(tmp_path, ceremony):
    north = json.loads((tmp_path / "north.json").read_text())
    north["document"]["masking"] = json.loads((tmp_path / "south.json").read_text())["document"]["masking"]
    (tmp_path / "north.json").write_text(json.dumps(north, sort_keys=True, separators=(",", ":")))
    with pytest.raises(AssertionError, match="does not belong to this member"):
        sign_roster(tmp_path, ceremony, "one.json")


def test_a_permit_is_signed_and_shown(tmp_path, ceremony):
    (tmp_path / "permit.toml").write_text(PERMIT.format(researcher=ceremony["ada"]))
    signing = ("permit", "sign", tmp_path / "permit.toml", "--key", tmp_path / "committee.key")
    done(*signing, "--out", tmp_path / "permit.json")
    permit = Signed.from_bytes(Permit, (tmp_path / "permit.json").read_bytes()).document
    assert (permit.cohorts, permit.variables) == (("north", "south"), ("age", "bmi"))
    shown = done("permit", "show", tmp_path / "permit.json")
    assert permit.digest() in shown
    assert ceremony["committee"] in shown
    assert run(*signing, "--out", tmp_path / "permit.json").exit_code == 1, "nothing is overwritten"
    (tmp_path / "permit.toml").write_text(PERMIT.format(researcher="ada"))
    assert "researchers" in run(*signing, "--out", tmp_path / "other.json").output


def test_the_example_permit_is_one(tmp_path, ceremony):
    from pathlib import Path

    example = Path(__file__).parents[2] / "configs" / "permit.toml"
    done("permit", "sign", example, "--key", tmp_path / "committee.key", "--out", tmp_path / "permit.json")

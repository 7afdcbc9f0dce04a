"""`cohortium keys`, `roster`, `permit` and `verify`: what the people of a network sign, and what anybody can check."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.errors import InvalidKey, InvalidQuestion

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from pydantic import BaseModel

keys = typer.Typer(help="Make keys and show their public halves.", no_args_is_help=True)
roster = typer.Typer(help="Say who is in a network: for its authority.", no_args_is_help=True)
permit = typer.Typer(help="Say what a study may ask: for a data access committee.", no_args_is_help=True)

KeyFile = Annotated[Path, typer.Option("--key", help="File of the private key that signs.", dir_okay=False)]
Out = Annotated[Path, typer.Option(help="File to write; an existing one is left alone.", dir_okay=False)]
Authority = Annotated[
    str, typer.Option(help="Public key of the network's authority.", envvar="COHORTIUM_AUTHORITY", show_envvar=True)
]


@keys.command("new")
def new_key(
    path: Annotated[Path, typer.Argument(help="File of the private key; only you will be able to read it.")],
    masking: Annotated[bool, typer.Option("--masking", help="A node's masking key instead of one that signs.")] = False,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Ask for a passphrase to encrypt it with.")] = False,
) -> None:
    """Make a key and print its public half."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from cohortium.keys import public_text, write_key

    key = X25519PrivateKey.generate() if masking else Ed25519PrivateKey.generate()
    secret = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True) if passphrase else None
    write_key(key, path, secret)
    typer.echo(public_text(key.public_key()))


@keys.command("show")
def show_key(path: Annotated[Path, typer.Argument(help="File of a private key.")]) -> None:
    """Print the public half of a key. [env: COHORTIUM_PASSPHRASE]."""
    from cohortium.keys import public_text, read_masking_key

    try:
        typer.echo(public_text(_signing_key(path).public_key()))
    except InvalidKey as error:
        if "no Ed25519" not in error.message:
            raise
        typer.echo(public_text(read_masking_key(path, os.environ.get("COHORTIUM_PASSPHRASE")).public_key()))


@roster.command("sign")
def sign_roster(  # noqa: PLR0917 - as many as there are options
    key: KeyFile,
    out: Out,
    network: Annotated[str, typer.Option(help="Name of the network.")],
    members: Annotated[list[Path], typer.Option("--member", help="A node's member.json; once per cohort.")],
    committees: Annotated[list[str], typer.Option("--committee", help="Public key whose permits count.")],
    previous: Annotated[Path | None, typer.Option(help="The roster that this one replaces.")] = None,
    revoked: Annotated[
        list[str] | None, typer.Option("--revoke", help="Researcher's public key, or hash of a permit, to withdraw.")
    ] = None,
    days: Annotated[int, typer.Option(help="How long it is valid.", min=1, max=3660)] = 365,
) -> None:
    """Sign a roster. Before, compare each identity key with what a person at that cohort reads out to you."""
    from cohortium.documents import Member, Roster
    from cohortium.signing import Signed, sign, verify_member

    before = Signed.from_bytes(Roster, previous.read_bytes()).document if previous else None
    listed = [verify_member(Signed.from_bytes(Member, path.read_bytes()), network) for path in members]
    fields: dict[str, Any] = {
        "network": network,
        "version": before.version + 1 if before else 1,
        "previous": before.digest() if before else None,
        "members": tuple(sorted(listed, key=lambda member: member.cohort)),
        "committees": tuple(sorted(committees)),
        "revoked": tuple(sorted({*(revoked or ()), *(before.revoked if before else ())})),
        **_valid_for(days),
    }
    document = _checked(Roster, fields)
    _write(out, sign(document, _signing_key(key)).to_bytes())
    typer.echo(_roster_lines(document))


@roster.command("verify")
def verify_a_roster(file: Path, authority: Authority, network: Annotated[str, typer.Option()] = "") -> None:
    """Check a roster's signature, time and network, and show who is in it."""
    from cohortium.documents import Roster
    from cohortium.signing import Signed, verify_roster

    signed = Signed.from_bytes(Roster, file.read_bytes())
    name = network or signed.document.network
    typer.echo(_roster_lines(verify_roster(signed, authority=authority, network=name, now=_now())))


@permit.command("sign")
def sign_permit(
    file: Annotated[Path, typer.Argument(help="The permit in TOML (see configs/permit.toml).")], key: KeyFile, out: Out
) -> None:
    """Sign a permit that was written down in TOML."""
    import tomllib

    from cohortium.documents import Permit
    from cohortium.signing import sign

    try:
        fields = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidQuestion(f"{file} is not TOML: {error}") from None
    for name in ("cohorts", "researchers", "variables", "analyses"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(sorted(fields[name]))
    document = _checked(Permit, fields)
    _write(out, sign(document, _signing_key(key)).to_bytes())
    typer.echo(document.model_dump_json(indent=2))
    typer.echo(f"hash: {document.digest()}")


@permit.command("show")
def show_permit(file: Path) -> None:
    """Show what a permit says, who signed it, and its hash."""
    from cohortium.documents import Permit
    from cohortium.signing import Signed, verify

    signed = Signed.from_bytes(Permit, file.read_bytes())
    verify(signed, Permit, {signed.signer})
    typer.echo(signed.document.model_dump_json(indent=2))
    typer.echo(f"hash: {signed.document.digest()}\nsigned by: {signed.signer}")


def verify_bundle(
    bundle: Annotated[Path, typer.Argument(help="What `result.save` or `--save` wrote.")], authority: Authority = ""
) -> None:
    """Check, offline, that a saved result is what its cohorts answered: every signature, every sum, every question."""
    from cohortium import load, settings
    from cohortium.proof import unpack
    from cohortium.verification import verify

    saved = settings.read()
    known = saved.networks.get(saved.default or "")
    pinned = authority or (known.authority if known else None)
    if not pinned:
        raise InvalidKey(
            "Whose network is this? Give the public key of its authority, which you know from a person: --authority, "
            "COHORTIUM_AUTHORITY, or `cohortium login --authority`."
        )
    result = load(bundle)
    proof = result.proof()
    if proof is None:
        raise InvalidQuestion(f"{bundle} has no proof: it was saved from a simulation.")
    found = verify(result, unpack(proof), pinned)
    job, grant = found.job, found.permit
    typer.echo(f"network   {job.network}, version {found.roster.version} of its roster")
    typer.echo(f"permit    {grant.study}: {grant.title} ({grant.digest()[:16]})")
    typer.echo(f"job       {job.analysis}, signed {job.submitted:%Y-%m-%d %H:%M} UTC ({job.digest()[:16]})")
    typer.echo(f"cohorts   {', '.join(job.cohorts)}")
    typer.echo(f"rounds    {found.rounds}: every answer signed, every sum added up anew, every question asked anew")
    same = "identical" if found.identical else "equal within 1e-9 (this machine rounds differently)"
    typer.echo(f"result    {same}")
    if not found.same_code:
        typer.echo("note      computed by another version of the code than the one installed here")
    typer.echo("verified")


def _signing_key(path: Path) -> Ed25519PrivateKey:
    from cohortium.keys import read_signing_key

    return read_signing_key(path, os.environ.get("COHORTIUM_PASSPHRASE"))


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC).replace(microsecond=0)


def _valid_for(days: int) -> dict[str, Any]:
    return {"valid_from": _now(), "valid_until": _now() + timedelta(days=days)}


def _checked(kind: type[BaseModel], fields: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise InvalidQuestion.from_validation(error) from None


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)


def _roster_lines(document: Any) -> str:
    until = f"{document.valid_until:%Y-%m-%d}"
    lines = [f"{document.network}, version {document.version}, valid until {until}, hash {document.digest()}"]
    lines += [f"  {member.cohort:<20} {member.identity}" for member in document.members]
    lines += [f"  committee            {key}" for key in document.committees]
    return "\n".join(lines + [f"  withdrawn            {key}" for key in document.revoked])

"""Run the meeting point of a network: set it up, start it, admit researchers and cohorts."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs, so that help is instant

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.errors import CohortiumError, InvalidQuestion, Problem, ServiceError, UnknownName

if TYPE_CHECKING:
    import httpx

    from coordinator.store import Store

app = typer.Typer(help=__doc__, no_args_is_help=True)
tokens = typer.Typer(help="Tokens that researchers and operators prove themselves with.", no_args_is_help=True)
app.add_typer(tokens, name="token")

EXAMPLE_DICTIONARY = """\
# The data dictionary of the network: replace these two variables by what your cohorts agreed on.
name = "example"
version = "1"
title = {en = "Example", nl = "Voorbeeld"}

[variables.age]
type = "integer"
unit = "a"
minimum = 0
maximum = 120
label = {en = "Age", nl = "Leeftijd"}

[variables.sex]
type = "category"
categories = [
    {value = "female", label = {en = "female", nl = "vrouw"}},
    {value = "male", label = {en = "male", nl = "man"}},
]
label = {en = "Sex", nl = "Geslacht"}
"""

EXAMPLE = {
    "name": "my network",
    "dictionary": "dictionary.toml",
    "certificate": "server.crt",
    "key": "server.key",
    "ca": "ca.crt",
}

ConfigFile = Annotated[Path, typer.Option("--config", help="The coordinator's settings file.", dir_okay=False)]
DEFAULT_CONFIG = Path("coordinator.toml")
Url = Annotated[str | None, typer.Option(help="Address of the coordinator. [env: COHORTIUM_URL]")]
OperatorToken = Annotated[
    str | None, typer.Option(help="An operator's token; better kept out of the shell's history. [env: COHORTIUM_TOKEN]")
]
Ca = Annotated[str | None, typer.Option(help="PEM file of the network's certificate authority. [env: COHORTIUM_CA]")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to put the files; made if it is not there.")],
    operator: Annotated[str, typer.Option(help="Name of the first operator.")] = "operator",
) -> None:
    """Write a settings file to fill in, an example dictionary, and the first operator's token.

    The token is shown this once; only its SHA-256 is kept.
    """
    from coordinator.auth import Role, issue
    from coordinator.config import render
    from coordinator.store import Store

    settings = folder / "coordinator.toml"
    if settings.exists():
        raise InvalidQuestion(f"{settings} is already there; nothing was changed.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # results belong to those who asked
    settings.write_text(render(EXAMPLE), encoding="utf-8")
    dictionary = folder / "dictionary.toml"
    if not dictionary.exists():
        dictionary.write_text(EXAMPLE_DICTIONARY, encoding="utf-8")
    store = Store(f"sqlite:///{(folder / 'coordinator.db').resolve()}")
    token = issue(store, operator, Role.operator)
    store.close()
    typer.echo(f"Wrote {settings} and {dictionary}: read and change them.")
    typer.echo("Put the TLS certificate, its key and its authority beside them, then run")
    typer.echo(f"  cohortium coordinator start --config {settings}")
    typer.echo(f"Token of `{operator}` (operator), shown this once:\n{token}")


@app.command()
def start(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the coordinator until Ctrl-C or SIGTERM.

    Jobs that have not ended by then go on at the next start.
    """
    from coordinator.config import Settings

    settings = Settings.from_toml(config)
    from coordinator.server import serve

    serve(settings)


@tokens.command("new")
def new_token(
    name: Annotated[str, typer.Argument(help="Whose token it is; tokens of one name are one caller.")],
    role: Annotated[
        str, typer.Option(help="`researcher` (asks questions) or `operator` (enrols cohorts).")
    ] = "researcher",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Make a token and show it, this once."""
    from coordinator.auth import Role, issue

    if role not in list(Role):
        raise UnknownName.of("role", role, list(Role))
    if not 0 < len(name) <= 100 or not name.isprintable():
        raise InvalidQuestion("A name has 1 to 100 printable characters.")
    typer.echo(issue(_store(config), name, role))


@tokens.command("list")
def list_tokens(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show whose tokens there are; the tokens themselves are not kept."""
    for token in _store(config).tokens():
        revoked = f"revoked {token.revoked:%Y-%m-%d %H:%M}" if token.revoked else "valid"
        typer.echo(f"{token.name}\t{token.role}\tmade {token.created:%Y-%m-%d %H:%M}\t{revoked}")


@tokens.command("revoke")
def revoke_tokens(
    name: Annotated[str, typer.Argument(help="Whose tokens.")], config: ConfigFile = DEFAULT_CONFIG
) -> None:
    """Make every token of a name useless, from now on."""
    count = _store(config).revoke(name)
    if not count:
        raise InvalidQuestion(f"`{name}` has no valid token.")
    typer.echo(f"Revoked {count}.")


@app.command()
def enrol(  # noqa: PLR0917 - as many as there are options
    name: Annotated[str, typer.Argument(help="Short name of the cohort: letters, digits, `-`, `_` and `.`.")],
    key_file: Annotated[Path, typer.Argument(help="Public key of its node (PEM), as its operator hands it in.")],
    title: Annotated[str, typer.Option(help="Full name of the cohort.")] = "",
    url: Url = None,
    token: OperatorToken = None,
    ca: Ca = None,
) -> None:
    """Take a cohort into the network, by pinning its node's public key. The coordinator must be running."""
    body = {"name": name, "title": title, "public_key": key_file.read_text(encoding="ascii", errors="replace")}
    _call(url, token, ca, "POST", "/cohorts", json=body)
    typer.echo(f"`{name}` is enrolled.")


@app.command()
def withdraw(
    name: Annotated[str, typer.Argument(help="The cohort.")],
    url: Url = None,
    token: OperatorToken = None,
    ca: Ca = None,
) -> None:
    """Take a cohort out of the network: its node is turned away, and jobs that wait for it fail."""
    _call(url, token, ca, "DELETE", f"/cohorts/{name}")
    typer.echo(f"`{name}` is withdrawn.")


def _store(config: Path) -> Store:
    from coordinator.config import Settings
    from coordinator.store import Store

    return Store(Settings.from_toml(config).store_url)


def _call(url: str | None, token: str | None, ca: str | None, method: str, path: str, **content: Any) -> None:
    import httpx

    from cohortium.settings import resolve

    connection = resolve(url, token, ca)
    try:
        response = httpx.request(
            method,
            f"{connection.url}/api/v1{path}",
            headers={"Authorization": f"Bearer {connection.token}"} if connection.token else {},
            verify=ssl.create_default_context(cafile=connection.ca),
            timeout=30,
            **content,
        )
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise ServiceError(f"{connection.url} cannot be reached: {error}") from None
    if not response.is_success:
        raise _error(response)


def _error(response: httpx.Response) -> CohortiumError:
    try:
        return CohortiumError.from_problem(Problem.model_validate_json(response.content))
    except ValueError:
        return ServiceError(f"The coordinator answered {response.status_code}.")

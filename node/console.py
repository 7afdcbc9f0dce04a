"""Run a cohort's node: set it up, check its data, start it."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs, so that help is instant and a start is quick

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.budget_console import budget
from node.loading import load
from node.plainly import (
    DEFAULT_CONFIG,
    EXIT_CONTRADICTION,
    EXIT_INVALID,
    EXIT_NOT_ENROLLED,
    ConfigFile,
    said_plainly,
    stop,
)
from node.preview_console import preview
from node.request_console import approve, refuse, requests
from node.selection_console import draw, select
from node.trust_console import journal, member
from node.twin_console import published, twin

if TYPE_CHECKING:
    from cohortium.data import Data
    from cohortium.dictionary import Variable
    from node.config import NodeSettings
    from node.disclosure import Policy
    from node.sources import Loaded

app = typer.Typer(help=__doc__, no_args_is_help=True)

app.command()(member)
app.command()(journal)
app.command()(budget)
for command in (requests, preview, approve, refuse, draw, select, twin):
    app.command()(command)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to put the settings, the policy and the key.", file_okay=False)],
    cohort: Annotated[str, typer.Option(help="Short name of your cohort.")] = "my-cohort",
    coordinator: Annotated[str, typer.Option(help="The coordinator's address for nodes.")] = "coordinator.example:9443",
    network: Annotated[str, typer.Option(help="Name of the network.")] = "my network",
    authority: Annotated[str, typer.Option(help="Public key of the network's authority, if you know it yet.")] = "",
) -> None:
    """Write commented settings and a policy to FOLDER, and make this node's keys. Nothing is ever overwritten."""
    from cohortium.keys import new_keys, write_key
    from node.config import NodeSettings, render, render_fields
    from node.disclosure import Policy
    from node.keys import new_key

    settings = {
        "cohort": cohort,
        "coordinator": coordinator,
        "ca": "ca.crt",
        "key": "node.key",
        "dictionary": "dictionary.toml",
        "policy": "policy.toml",
        "trust": {
            "network": network,
            "authority": authority,
            "identity": "identity.key",
            "masking": "masking.key",
            "memory": "memory.db",
        },
        "data": {"source": "data/*.parquet"},
    }
    with said_plainly(EXIT_INVALID):
        NodeSettings.of(settings, "--cohort, --coordinator, --network, --authority")
    policy = render_fields(Policy, "What may leave this node. These are the defaults; stricter is always possible.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("node.toml", "policy.toml", "node.key", "node.key.pub", "identity.key", "masking.key"):
        if (folder / name).exists():
            stop(f"There is a {folder / name} already; choose another folder, or move it away.", EXIT_INVALID)
    (folder / "node.toml").write_text(render(settings), encoding="utf-8")
    (folder / "policy.toml").write_text(policy, encoding="utf-8")
    public_key = new_key(folder / "node.key")
    keys = new_keys()
    write_key(keys.identity, folder / "identity.key")
    write_key(keys.masking, folder / "masking.key")
    typer.echo(
        f"Settings:    {folder / 'node.toml'}\nPolicy:      {folder / 'policy.toml'}\nPublic key:  {public_key}\n"
    )
    typer.echo(public_key.read_text(encoding="utf-8"))
    typer.echo("Next:")
    typer.echo(f"1. Send the public key and the name `{cohort}` to the coordinator's operator. Keep *.key to yourself.")
    typer.echo(f"2. Put the dictionary (dictionary.toml) and the certificate (ca.crt) that you get back into {folder}.")
    typer.echo("3. Run `cohortium node member` and hand member.json to the network's authority, in person; put the")
    typer.echo("   authority's public key, which you get from it, into node.toml (`authority`).")
    typer.echo("4. Say in node.toml where your data are; then run `cohortium node check` and `cohortium node start`,")
    typer.echo(f"   both with --config {folder / 'node.toml'}.")


@app.command()
def check(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Read settings, policy, dictionary and data as a start would, and say what is wrong or what was found.

    Shows no data: types, units, levels, and the share of missing values where that says nothing about few people.
    Exit code 1: the data contradict the dictionary. 2: something else is wrong.
    """
    with said_plainly(EXIT_CONTRADICTION):
        settings, policy, loaded = load(config)
    data = loaded.data
    typer.echo(
        f"{settings.cohort}: {loaded.files} file(s), dictionary {data.dictionary.name} {data.dictionary.version}\n"
    )
    for line in summary(data, policy):
        typer.echo(line)
    _say_ignored(loaded)
    typer.echo("\nThe data agree with the dictionary.")


@app.command()
def start(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Check everything, connect to the coordinator and answer its questions until stopped (Ctrl-C, SIGTERM).

    Exit code 0: stopped. 2: settings or data are wrong. 3: the coordinator does not know this node's key.
    """
    from cohortium.analysis import registry
    from cohortium.identity import code_identity
    from node.answer import CohortNode
    from node.credentials import trust_of
    from node.ledger import Ledger
    from node.logs import configure
    from node.memory import Memory
    from node.noise import PrivacyAccount
    from node.trusted import TrustedNode

    with said_plainly(EXIT_INVALID):
        for number in (signal.SIGINT, signal.SIGTERM):  # while loading, nothing has to be ended in order
            signal.signal(number, _leave)
        settings, policy, loaded = load(config)
        trust = trust_of(settings)
        memory = Memory(settings.path(settings.trust.memory), settings.cohort, trust.keys.identity)
        memory.forget_what_is_over()
        ledger = Ledger(settings.path(settings.trust.ledger))
        _say_ignored(loaded)
        log = configure(settings.log, settings.cohort)
        registry()  # import the analyses now, not while the first question waits

        def report(status: str, detail: str) -> None:
            log.info(status, detail=detail)
            if status == "online":
                typer.echo(f"ready: {settings.cohort} answers questions from {settings.coordinator}")

        dictionary = loaded.data.dictionary.digest
        account = PrivacyAccount(loaded.data.dictionary.name, settings.path(settings.trust.privacy))
        cohort = CohortNode(settings.cohort, loaded.data, policy, ledger, account)
        cohort.twin = published(settings, dictionary)
        node = TrustedNode(cohort, trust, memory)
        memory.note("started", policy=policy.model_dump(), dictionary=dictionary, code=code_identity())
        _serve(settings, node.answer, report)


def summary(data: Data, policy: Policy) -> list[str]:
    """A line per variable: what the dictionary says of it, and how much is missing. Levels are the declared ones."""
    width = max(map(len, data.dictionary.variables), default=0)
    return [
        f"{name:<{width}}  {_described(variable)}; {_missing(data, name, policy)}"
        for name, variable in data.dictionary.variables.items()
    ]


def _described(variable: Variable) -> str:
    levels = f": {', '.join(variable.levels)}" if variable.levels else ""
    return f"{variable.type}{f' ({variable.unit})' if variable.unit else ''}{levels}"


def _missing(data: Data, name: str, policy: Policy) -> str:
    """The share of missing values, unless it would be about fewer people than the policy's `min_people`."""
    if name not in data.columns:
        return "not collected"
    missing = int(data.missing(name).sum())
    if missing == 0:
        return "none missing"
    if min(missing, len(data) - missing) < policy.min_people:
        return "missing share withheld (`min_people`)"
    return f"{missing / len(data):.0%} missing"


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _serve(
    settings: NodeSettings, answer: Callable[[str, bytes], bytes], on_status: Callable[[str, str], None]
) -> None:
    from node.app import NotEnrolled, serve

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        serve(
            settings.coordinator,
            ca=settings.path(settings.ca) if settings.ca else None,
            key=settings.path(settings.key),
            bundle_hashes={_identity()},
            answer=answer,
            workers=settings.workers,
            stop=stopping,
            on_status=on_status,
        )
    except NotEnrolled as error:
        stop(str(error), EXIT_NOT_ENROLLED)


def _identity() -> str:
    from cohortium.fab import fab_hash
    from cohortium.identity import code_identity

    return fab_hash(code_identity())


def _say_ignored(loaded: Loaded) -> None:
    if loaded.ignored:
        typer.echo(f"Not in the dictionary, and not read: {', '.join(loaded.ignored)}", err=True)

"""The command line: `cohortium run glm --formula "bmi ~ age + sex" --study smoking-and-bmi`.

Every analysis is a command whose options are its parameters; nothing here knows which analyses there are.
"""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs, so that help and completion are instant

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperGroup

import cohortium
from cohortium import job_cli, options, programs, trust_cli
from cohortium.connected import AsJson, Connected, connection_options, network, show
from cohortium.errors import CohortiumError, did_you_mean

if TYPE_CHECKING:
    from cohortium.analysis import Analysis
    from cohortium.client import Job


def main() -> None:
    """The program `cohortium`."""
    typer.main.get_command(app)(prog_name="cohortium")


@contextmanager
def _said_plainly() -> Iterator[None]:
    try:
        yield
    except CohortiumError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(1) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"Error: {where}{error.strerror or error}", err=True)
        raise SystemExit(1) from None


class Commands(TyperGroup):
    """Our own commands, and those of the programs installed beside us. Errors are messages, not tracebacks."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.params += connection_options()

    def main(self, *args: Any, **attributes: Any) -> Any:
        """Run the command line."""
        with _said_plainly():
            return super().main(*args, **attributes)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command: asking first, then our others, then those of the programs."""
        return list(dict.fromkeys(["run", *super().list_commands(ctx), *programs.programs()]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command as far as help needs it."""
        own = super().get_command(ctx, cmd_name)
        return own or (programs.outline(cmd_name) if cmd_name in programs.programs() else None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command to run; a program is imported here and only here."""
        if args[0] in programs.programs() and args[0] not in self.commands:
            return args[0], programs.load(args[0]), args[1:]
        return super().resolve_command(ctx, args)


class Analyses(TyperGroup):
    """One command per installed analysis."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names of the analyses."""
        from cohortium.analysis import registry

        return list(registry())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of an analysis, made from its parameters."""
        from cohortium.analysis import registry

        known = registry()
        if cmd_name not in known:
            ctx.fail(f"There is no analysis `{cmd_name}`.{did_you_mean(cmd_name, known)}")
        return _command(known[cmd_name])


app = typer.Typer(
    cls=Commands, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, help=cohortium.__doc__
)
run = typer.Typer(
    cls=Analyses, no_args_is_help=True, rich_markup_mode=None, help="Ask a question: one command per analysis."
)
app.add_typer(run, name="run")
app.add_typer(trust_cli.keys, name="keys")
app.add_typer(trust_cli.roster, name="roster")
app.add_typer(trust_cli.permit, name="permit")
app.command("verify")(trust_cli.verify_bundle)
for command in (job_cli.jobs, job_cli.job, job_cli.explain, job_cli.cancel):
    app.command(cls=Connected)(command)

Save = Annotated[Path | None, typer.Option(help="Also save the result as a zip file, to share and to load again.")]
Report = Annotated[Path | None, typer.Option(help="Also write the result as an HTML page.")]


def _command(analysis: Analysis[Any, Any]) -> click.Command:
    def ask(
        _study: str,
        _cohorts: Sequence[str] | None,
        _json: bool,
        _save: Path | None,
        _report: Path | None,
        _wait: bool,
        **given: Any,
    ) -> None:
        _check_places(_save, _report)
        params = {name: value for name, value in given.items() if value is not None}
        job = network().study(_study, _cohorts).run(analysis.name, **params)
        if _wait:
            typer.echo(f"Job {job.id}", err=True)
            _deliver(job, _json, _save, _report)
        else:
            typer.echo(job.view.model_dump_json(indent=2) if _json else job.id)

    own = options.options(analysis.params)
    return Connected(
        analysis.name,
        callback=ask,
        params=[*own, *_asking_options()],
        help=analysis.doc,
        short_help=analysis.title,
        rich_markup_mode=None,
        # Parameters may be typed as they are named in Python: --max_rounds is --max-rounds.
        context_settings={"token_normalize_func": lambda token: token.replace("_", "-")},
    )


def _asking_options() -> list[click.Option]:
    # Their names begin with _ so that no parameter of an analysis can be mistaken for one of them.
    file = click.Path(dir_okay=False, path_type=Path)
    return [
        click.Option(["_study", "--study"], default="unnamed", envvar="COHORTIUM_STUDY", help="The study that asks."),
        options.listed(["_cohorts", "--cohorts"], help="Which cohorts to ask; every one if not given."),
        click.Option(["_json", "--json"], is_flag=True, help="Print JSON instead of text."),
        click.Option(["_save", "--save"], type=file, help="Also save the result as a zip file, to load again."),
        click.Option(["_report", "--report"], type=file, help="Also write the result as an HTML page."),
        click.Option(["_wait", "--wait/--no-wait"], default=True, help="Wait for the result, or print the job's id."),
    ]


def _check_places(*places: Path | None) -> None:
    for place in places:
        if place is not None and not place.absolute().parent.is_dir():
            raise click.UsageError(f"There is no folder {place.parent} to write {place.name} in.")


def _deliver(job: Job, as_json: bool, save: Path | None, report: Path | None) -> None:
    try:
        result = job.result()
    except KeyboardInterrupt:
        typer.echo(f"\nJob {job.id} goes on without you. Pick it up: cohortium result {job.id}", err=True)
        typer.echo(f"To end it: cohortium cancel {job.id}", err=True)
        raise typer.Exit(130) from None
    typer.echo(result.model_dump_json(indent=2) if as_json else result.summary())
    for path in ([result.save(save)] if save else []) + ([result.report(report)] if report else []):
        typer.echo(f"Wrote {path}", err=True)


@app.command(cls=Connected)
def cohorts(as_json: AsJson = False) -> None:
    """List the cohorts and whether each is there."""
    show(network().cohorts(), as_json)


@app.command(cls=Connected)
def budget(study: Annotated[str, typer.Argument(help="Name of the study.")], as_json: AsJson = False) -> None:
    """Say how much each cohort may still tell a study."""
    show(network().study(study).budget(), as_json)


@app.command(cls=Connected)
def variables(
    search: Annotated[str, typer.Argument(help="Part of a name or label, in English or Dutch.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the variables, or search them."""
    show(network().variables(search), as_json)


@app.command(cls=Connected)
def analyses(as_json: AsJson = False) -> None:
    """List what can be computed."""
    show(network().analyses(), as_json)


@app.command(cls=Connected)
def result(job: str, as_json: AsJson = False, save: Save = None, report: Report = None) -> None:
    """Wait for the result of a job and print it."""
    _check_places(save, report)
    _deliver(network().job(job), as_json, save, report)


@app.command()
def login(
    url: Annotated[str, typer.Argument(help="Address of the coordinator, https://…")],
    token: Annotated[str, typer.Option(prompt="Token (empty if the network needs none)", hide_input=True)] = "",
    ca: Annotated[Path | None, typer.Option(help="PEM file of the network's certificate authority.")] = None,
    key: Annotated[Path | None, typer.Option(help="File of your private key, which signs your jobs.")] = None,
    authority: Annotated[str | None, typer.Option(help="Public key of the network's authority.")] = None,
) -> None:
    """Remember a coordinator, your token, your key and whose rosters you rely on.

    They are kept in a file that only you can read.
    """
    from cohortium import settings
    from cohortium.client import Network
    from cohortium.rest import HttpService

    trusted, own = (str(path.absolute()) if path else None for path in (ca, key))
    connection = settings.resolve(url, token, trusted, own, authority)
    network = Network(HttpService(connection))
    typer.echo(f"Connected to {network.view.name}. Saved in {settings.save(connection)}")


@app.command()
def version() -> None:
    """Print the installed version."""
    typer.echo(cohortium.__version__)

"""`cohortium node budget`: how much this node has told each study."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from node.plainly import DEFAULT_CONFIG, EXIT_INVALID, ConfigFile, said_plainly

if TYPE_CHECKING:
    from node.budget import Spent
    from node.disclosure import Policy


def budget(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show how many figures each study was told, and what share of what the policy allows that is."""
    from node.budget import Budget
    from node.config import NodeSettings
    from node.disclosure import Policy

    with said_plainly(EXIT_INVALID):
        settings = NodeSettings.from_toml(config)
        policy = Policy.from_toml(settings.path(settings.policy)) if settings.policy else Policy()
        ledger = settings.path(settings.trust.ledger)
    told = Budget(ledger).studies() if ledger.is_file() else []
    if not told:
        typer.echo("No study was told anything yet.")
    width = max((len(spent.study) for spent in told), default=0)
    for spent in told:
        typer.echo(f"{spent.study:<{width}}  {described(spent, policy)}")


def described(spent: Spent, policy: Policy) -> str:
    """A study's budget in words; its numbers are for the node's operator alone."""
    state = spent.state(policy.budget_warn, policy.budget_refuse)
    said = {"open": "", "low": "; beyond `budget_warn`", "spent": "; hardly anything is answered any more"}[state]
    return f"{spent.figures} figures of {spent.cells} values: {spent.share / policy.budget_refuse:.0%} spent{said}"

"""Every analysis as a method of a study, with the parameters, defaults and help that its code declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cohortium.analysis import Analysis, Params

if TYPE_CHECKING:
    from cohortium.client import Job, Study


def method(study: Study, analysis: Analysis[Any, Any]) -> Callable[..., Job]:
    """`study.glm(...)`."""

    def ask(**params: Any) -> Job:
        return study.run(analysis.name, **params)

    ask.__name__ = analysis.name
    ask.__qualname__ = f"Study.{analysis.name}"
    ask.__doc__ = describe(analysis)
    ask.__signature__ = _signature(analysis.params)  # type: ignore[attr-defined]
    return ask


def _signature(params: type[Params]) -> inspect.Signature:
    keyword = inspect.Parameter.KEYWORD_ONLY
    # The annotation without its bounds: those are in the description.
    types = {name: field.annotation for name, field in params.model_fields.items()}
    parameters = inspect.signature(params).parameters
    own = [parameters[name].replace(kind=keyword, annotation=types[name]) for name in params.told()]
    cohorts = inspect.Parameter("cohorts", keyword, default=None, annotation=Sequence[str] | None)
    return inspect.Signature([*own, cohorts], return_annotation="Job")


def describe(analysis: Analysis[Any, Any]) -> str:
    """An analysis and its parameters, as help() shows them."""
    fields = analysis.params.told().items()
    return "\n".join([analysis.doc, "", *(f"{name}: {field.description or ''}" for name, field in fields)])

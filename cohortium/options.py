"""Command-line options from the JSON schema of an analysis's parameters."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import click
from pydantic import BaseModel

Schema = Mapping[str, Any]


class Items(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """Several values, by repeating the option or with commas between them."""

    def __init__(self, item: click.ParamType[Any]) -> None:
        self.item = item
        self.name = f"{item.name},..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        """The items of one occurrence of the option."""
        if not isinstance(value, str):
            return list(value)
        return [self.item.convert(part, param, ctx) for part in split(value)]


class Value(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """A value of several possible types: JSON where it is JSON, text where it is not."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """The value as it goes into the question."""
        try:
            return json.loads(value)
        except (TypeError, ValueError):
            return value


_TYPES: dict[str, click.ParamType[Any]] = {"integer": click.INT, "number": click.FLOAT, "string": click.STRING}


def options(params: type[BaseModel]) -> list[click.Option]:
    """One option per parameter; those that are not given stay None, so that the default is the model's own."""
    schema = params.model_json_schema()
    definitions, required = schema.get("$defs", {}), schema.get("required", ())
    properties = schema.get("properties", {}).items()
    return [_option(name, _resolved(s, definitions), name in required, definitions) for name, s in properties]


def split(text: str) -> list[str]:
    """The items of a comma-separated list, trimmed. `age, cut(bmi, [25, 30])` is two: brackets hold together."""
    depth, items = 0, [""]
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items if item.strip()]


def flatten(_ctx: click.Context, _param: click.Parameter, values: tuple[list[Any], ...]) -> list[Any] | None:
    """The items of all occurrences of an option, None if there was none."""
    return list(itertools.chain.from_iterable(values)) or None


def listed(declarations: list[str], item: click.ParamType[Any] = click.STRING, **attributes: Any) -> click.Option:
    """An option for a list, by repeating it or with commas."""
    return click.Option(declarations, type=Items(item), multiple=True, callback=flatten, **attributes)


def _option(name: str, schema: Schema, required: bool, definitions: Schema) -> click.Option:
    flag = name.replace("_", "-")
    words: dict[str, Any] = {"help": _help(schema), "required": required}
    if schema.get("type") == "boolean":
        return click.Option([name, f"--{flag}/--no-{flag}"], default=None, **words)
    declarations = [name, f"--{flag}"]
    if schema.get("type") == "array":
        return listed(declarations, _type(_resolved(schema.get("items", {}), definitions)), **words)
    return click.Option(declarations, type=_type(schema), **words)


def _type(schema: Schema) -> click.ParamType[Any]:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices and all(isinstance(choice, str) for choice in choices):
        return click.Choice(choices)
    return _TYPES.get(str(schema.get("type")), Value())


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """The schema itself, where it is behind a reference or may also be null; its own description and default win."""
    inner: Schema | None = None
    if "$ref" in schema:
        inner = definitions[schema["$ref"].rpartition("/")[2]]
    else:
        kinds = [s for s in schema.get("anyOf", schema.get("allOf", ())) if s.get("type") != "null"]
        inner = kinds[0] if len(kinds) == 1 else None
    return schema if inner is None else {**_resolved(inner, definitions), **schema}


def _help(schema: Schema) -> str:
    default = schema.get("default")
    shown = default if isinstance(default, str) else json.dumps(default)
    suffix = "" if default in (None, [], {}, "") else f" [default: {shown}]"
    return f"{schema.get('description', '')}{suffix}".strip()

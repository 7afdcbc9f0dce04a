"""The node's settings: one TOML file, read once, at start. A key that is not a setting stops the start.

Every setting documents itself: `render` writes the commented file that `cohortium node init` hands out from these
very descriptions, and `configs/node.toml` is one such file.
"""

from __future__ import annotations

import glob
import ipaddress
import json
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, ValidationError, model_validator

from cohortium.errors import CohortiumError, did_you_mean
from cohortium.keys import SigningKeyText
from cohortium.messages import CohortName
from node.policy import profiles

_HEADING = (
    "Settings of a Cohortium node. Paths are relative to the folder of this file. A key that is not a setting stops "
    "the start, and `cohortium node check` says what a start would say."
)


class InvalidNodeSettings(CohortiumError):
    """A settings file that does not say what a node needs to know; the message has a line per fault."""


class DataSettings(BaseModel):
    """Where the cohort's rows are, and how its files write them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(
        min_length=1,
        description="CSV (.csv, .csv.gz, .tsv; UTF-8, with a header) or Parquet (.parquet): one file, or a pattern "
        "over several files with the same columns, such as `data/*.parquet`. Only columns of the dictionary are read.",
    )
    columns: dict[str, str] = Field(
        {}, description='Variables that your files call something else: `variable = "column"`.'
    )
    absent: list[str] = Field(
        [], description="Variables of the dictionary that your cohort did not collect. Every other one must be there."
    )
    missing: list[str] = Field(
        ["NA", "NaN"],
        description="How your files write an empty cell, besides leaving it empty and besides the missing codes of the "
        "dictionary. A category that is spelled so stays a category.",
    )
    decimal: Literal[".", ","] = Field(".", description="Decimal sign of numbers in CSV files: `.` or `,`.")


class TrustSettings(BaseModel):
    """What this node relies on, and the keys that others know it by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str = Field(
        min_length=1, max_length=200, description="Name of the network, as its authority writes it in the roster."
    )
    authority: Literal[""] | SigningKeyText = Field(
        "",
        description="Public key of the network's authority (`ed25519:…`), which signs the roster. Get it from a person "
        "you know, not from the coordinator: everything that this node believes of others rests on it.",
    )
    identity: Path = Field(
        Path("identity.key"), description="Private key that signs this node's answers and its journal."
    )
    masking: Path = Field(Path("masking.key"), description="Private key that makes the masks of its answers.")
    memory: Path = Field(
        Path("memory.db"),
        description="Where the node keeps what it answered, and its journal. Never copy an old one back: the node "
        "would forget what it has said.",
    )
    ledger: Path = Field(
        Path("ledger.db"),
        description="Where the node keeps which rows were behind what it answered, so that no two answers differ by a "
        "few people. Never copy an old one back, and never delete it while a study is running.",
    )
    privacy: Path = Field(
        Path("privacy.db"),
        description="Where the node keeps what each study has spent of its privacy budget. Never copy an old one back.",
    )


SECTIONS = ("trust", "data")


class NodeSettings(BaseModel):
    """What a cohort holder decides about its node."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _folder: Path = PrivateAttr(Path())

    cohort: CohortName = Field(
        description="Short name of your cohort, as enrolled at the coordinator: letters, digits, `-`, `_` and `.`."
    )
    coordinator: Annotated[str, StringConstraints(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")] = Field(
        description="Where the coordinator listens for nodes, as `host:port`. The node dials out and opens no port."
    )
    ca: Path | None = Field(
        None,
        description="Certificate (PEM) of the authority that signed the coordinator's certificate. Without it there is "
        "no TLS, which is allowed only if the coordinator is on this very machine.",
    )
    key: Path = Field(
        Path("node.key"),
        description="Private key of this node (PEM), which `cohortium node init` made. It never leaves this machine; "
        "the coordinator's operator enrols the public one beside it, `node.key.pub`.",
    )
    dictionary: Path = Field(
        description="The data dictionary of the network (TOML). Coordinator and nodes must hold the very same one."
    )
    policy: Path | None = Field(
        None,
        description="What may leave this node: a file (TOML), or the name of a policy that comes with Cohortium: "
        "`default` (the rule of ten; what holds if there is none), `strict`, `dutch-registry`, `open-demo`.",
    )
    twin: Path | None = Field(
        None,
        description="Synthetic twin to publish for rehearsals, which `cohortium node twin` makes: marginals that pass "
        "the policy, rounded. Without it, nothing is published.",
    )
    workers: int = Field(
        4, ge=1, le=64, description="Questions that are answered at a time; more wait. As many as there are processors."
    )
    log: Literal["console", "json"] = Field(
        "console", description="How the log is written to standard error: for people or for machines. It has no data."
    )
    trust: TrustSettings = Field(description="What this node relies on, and the keys that others know it by.")
    data: DataSettings = Field(description="Where the cohort's rows are, and how its files write them.")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        host, _, port = self.coordinator.rpartition(":")
        if not 0 < int(port) < 2**16:
            raise ValueError("`coordinator`: a port is between 1 and 65535")
        if self.ca is None and not _is_loopback(host.strip("[]")):
            raise ValueError("`ca` is missing: without TLS a node connects only to its own machine (127.0.0.1)")
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> Self:
        """Settings as `values`, which `where` says the origin of. Raises InvalidNodeSettings with a line per fault."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InvalidNodeSettings("\n".join([f"{where}:", *_faults(error)])) from None

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a settings file. Raises InvalidNodeSettings with one line per fault."""
        path = Path(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidNodeSettings(f"{path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidNodeSettings(f"{path} is not TOML: {error}") from None
        settings = cls.of(values, str(path))
        settings._folder = path.resolve().parent
        settings._check_files(path)
        return settings

    def path(self, relative: Path | str) -> Path:
        """A path of the settings file, made absolute."""
        return self._folder / relative

    @property
    def policy_file(self) -> Path | None:
        """The policy's file, made absolute; None for the defaults. A file of that name beats a name."""
        if self.policy is None or self.path(self.policy).is_file():
            return None if self.policy is None else self.path(self.policy)
        return profiles().get(str(self.policy), self.path(self.policy))

    @property
    def source(self) -> str:
        """The file or pattern of `[data]`, made absolute."""
        return str(Path(glob.escape(str(self._folder))) / self.data.source)

    def _check_files(self, path: Path) -> None:
        named = {name: getattr(self, name) for name in ("ca", "key", "dictionary")} | {"policy": self.policy_file}
        named |= {"trust.identity": self.trust.identity, "trust.masking": self.trust.masking}
        lost = {name: self.path(file) for name, file in named.items() if file and not self.path(file).is_file()}
        if lost:
            lines = [f"  {name}: there is no file {file}" for name, file in lost.items()]
            raise InvalidNodeSettings("\n".join([f"{path}:", *lines]))


def render(values: Mapping[str, Any]) -> str:
    """A commented settings file with `values`; other settings are shown with their default, as a comment.

    `values` is shaped like the file: settings by name, with those of a section in a mapping under its name.
    """
    data = values.get("data", {})
    lines = [*_comment(_HEADING), ""]
    lines += _fields(NodeSettings, {k: v for k, v in values.items() if k not in SECTIONS}, skip=set(SECTIONS))
    lines += ["[trust]", *_fields(TrustSettings, values.get("trust", {}), skip=set())]
    lines += ["[data]", *_fields(DataSettings, data, skip={"columns"})]
    lines += [*_comment(DataSettings.model_fields["columns"].description or "")]
    columns = data.get("columns", {})
    lines += ["[data.columns]" if columns else "# [data.columns]"]
    lines += [f"{name} = {_toml(column)}" for name, column in columns.items()] or ['# bmi = "body_mass_index"']
    return "\n".join([*lines, ""])


def render_fields(model: type[BaseModel], heading: str) -> str:
    """A commented file of the settings of any flat model, with its defaults."""
    defaults = {name: field.get_default() for name, field in model.model_fields.items()}
    return "\n".join([*_comment(heading), "", *_fields(model, defaults, skip=set())])


def _fields(model: type[BaseModel], values: Mapping[str, Any], skip: set[str]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name not in skip:
            yield from _comment(field.description or "")
            value = values[name] if name in values else field.get_default()
            yield f"{'' if name in values else '# '}{name} = {_toml('' if value is None else value)}"
            yield ""


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in textwrap.wrap(text, 110))


def _toml(value: Any) -> str:
    # Values are written in TOML as in JSON, but for the delete character and for pairs of surrogates, which TOML lacks.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_input=False):
        where = fault["loc"]
        if fault["type"] == "extra_forbidden":
            sections: dict[str, type[BaseModel]] = {"data": DataSettings, "trust": TrustSettings}
            section = sections.get(str(where[0]), NodeSettings)
            known = section.model_fields if len(where) > 1 else NodeSettings.model_fields
            yield f"  {'.'.join(map(str, where))}: is not a setting.{did_you_mean(str(where[-1]), known)}"
        else:
            name = f"{'.'.join(map(str, where))}: " if where else ""
            yield f"  {name}{fault['msg'].removeprefix('Value error, ')}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""The coordinator's settings: one TOML file, read once, at start. A key that is not a setting stops the start.

Every setting documents itself; `render` writes a commented file from these very descriptions.
"""

from __future__ import annotations

import ipaddress
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from cohortium.errors import CohortiumError
from cohortium.keys import SigningKeyText

MiB = 2**20


class InvalidSettings(CohortiumError):
    """A settings file that does not say what a coordinator needs to know."""


class Settings(BaseModel):
    """What a coordinator's operator decides. Paths are relative to the folder of the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _folder: Path = PrivateAttr(Path())

    name: str = Field(min_length=1, max_length=100, description="Name of the network, as its authority signs it.")
    dictionary: Path = Field(
        description="The data dictionary of the network (TOML). Every node must hold the very same one."
    )
    store: str = Field(
        "sqlite:///coordinator.db",
        description="Database of cohorts, tokens, jobs and results, as an SQLAlchemy URL: `sqlite:///file` or "
        "`postgresql+psycopg://user@host/database`.",
    )
    api_host: str = Field("0.0.0.0", description="Address on which researchers reach the REST API.")  # noqa: S104
    api_port: int = Field(8443, ge=0, le=65535, description="Port of the REST API; 0 takes a free one.")
    fleet_host: str = Field("0.0.0.0", description="Address to which the cohorts' nodes dial out.")  # noqa: S104
    fleet_port: int = Field(9443, ge=0, le=65535, description="Port for the nodes; 0 takes a free one.")
    authority: Literal[""] | SigningKeyText = Field(
        "",
        description="Public key of the network's authority (`ed25519:…`), which signs the roster. No roster, no job.",
    )
    audit_key: Path = Field(
        Path("audit.key"), description="Private key that signs the audit of this coordinator; made at the first start."
    )
    certificate: Path | None = Field(
        None, description="TLS certificate chain of this coordinator (PEM), for both ports. Must name the host."
    )
    key: Path | None = Field(None, description="Private key of that certificate (PEM).")
    ca: Path | None = Field(None, description="Certificate of the authority that signed it (PEM).")
    insecure_loopback: bool = Field(
        False, description="Do without TLS. Allowed only while both hosts are this machine itself: for tests."
    )
    max_parallel_jobs: int = Field(
        64,
        ge=1,
        le=1024,
        description="Jobs that run at a time; more wait as `submitted`. A job that waits for a cohort that is away "
        "keeps its place, so leave room.",
    )
    max_body_bytes: int = Field(
        MiB, ge=1024, le=64 * MiB, description="Largest request that the REST API reads, in bytes."
    )
    body_timeout: float = Field(30, gt=0, le=600, description="Seconds within which a request must have arrived whole.")
    log_format: Literal["console", "json"] = Field("console", description="How the log is written to standard error.")

    @model_validator(mode="after")
    def _tls_or_loopback(self) -> Self:
        given = [self.certificate, self.key, self.ca]
        if self.insecure_loopback:
            if not (_is_loopback(self.api_host) and _is_loopback(self.fleet_host)):
                raise ValueError("`insecure_loopback` needs `api_host` and `fleet_host` to be loopback (127.0.0.1)")
            if any(given):
                raise ValueError("`insecure_loopback` goes without `certificate`, `key` and `ca`: choose one")
        elif None in given:
            raise ValueError("TLS needs `certificate`, `key` and `ca`")
        return self

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a settings file. Raises InvalidSettings with one line per fault."""
        path = Path(path)
        try:
            settings = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise InvalidSettings(f"{path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"{path} is not TOML: {error}") from None
        except ValidationError as error:
            raise InvalidSettings("\n".join([f"{path}:", *_faults(error)])) from None
        settings._folder = path.resolve().parent
        settings._check_files()
        return settings

    def path(self, relative: Path) -> Path:
        """A path of the settings file, made absolute."""
        return self._folder / relative

    def tls(self) -> tuple[Path, Path, Path] | None:
        """Certificate, key and CA as absolute paths; None where TLS is off."""
        if self.certificate is None or self.key is None or self.ca is None:
            return None
        return self.path(self.certificate), self.path(self.key), self.path(self.ca)

    @property
    def store_url(self) -> str:
        """The store's URL, with a relative SQLite file made absolute."""
        prefix = "sqlite:///"
        if not self.store.startswith(prefix) or self.store == prefix:
            return self.store
        return prefix + str(self.path(Path(self.store.removeprefix(prefix))))

    def _check_files(self) -> None:
        for name in ("dictionary", "certificate", "key", "ca"):
            file = getattr(self, name)
            if file is not None and not self.path(file).is_file():
                raise InvalidSettings(f"`{name}`: there is no file {self.path(file)}")


def render(values: dict[str, Any]) -> str:
    """A commented settings file with `values`; settings that are not among them are shown with their default."""
    lines = [
        "# Settings of a Cohortium coordinator. Paths are relative to this file; an unknown key stops the start.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        lines += [f"# {line}" for line in _wrapped(field.description or "")]
        value = values.get(name, field.get_default())
        lines += [f"{'' if name in values else '# '}{name} = {_toml(value)}", ""]
    return "\n".join(lines)


def _wrapped(text: str, width: int = 110) -> Iterator[str]:
    line = ""
    for word in text.split():
        if len(line) + len(word) >= width:
            yield line
            line = ""
        line = f"{line} {word}".strip()
    yield line


def _toml(value: Any) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value)  # a TOML string or number is written as in JSON


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_input=False):
        name = ".".join(map(str, fault["loc"]))
        what = "is not a setting" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
        yield f"  {name}: {what}" if name else f"  {what}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

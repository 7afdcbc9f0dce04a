"""Where a researcher's coordinator is and how to get in: arguments, then the environment, then what `login` wrote.

The file is `$XDG_CONFIG_HOME/cohortium/config.toml` (by default under `~/.config`), readable by its owner alone:

    default = "https://coordinator.example.nl"

    [networks."https://coordinator.example.nl"]
    token = "..."
    ca = "/home/ada/network-ca.pem"
    key = "/home/ada/researcher.key"    # signs your jobs; named in the permits of your studies
    authority = "ed25519:..."           # signs the network's roster; get it from a person you know
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from cohortium.errors import ServiceError

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Login(BaseModel):
    """What is known about one coordinator."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: str | None = None
    ca: str | None = None
    key: str | None = None
    authority: str | None = None


class Settings(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str | None = None
    networks: dict[str, Login] = {}


@dataclass(frozen=True, repr=False)
class Connection:
    """An address, and what it takes to be let in. Its repr keeps the token to itself."""

    url: str
    token: str | None = None
    ca: str | None = None
    key: str | None = None
    authority: str | None = None

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"


def path() -> Path:
    """Where the file is, whether or not it exists."""
    root = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(root) / "cohortium" / "config.toml"


def read() -> Settings:
    """What the file says; nothing, if there is none. Raises ServiceError that names the fault, never the token."""
    try:
        return Settings.model_validate(tomllib.loads(path().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise ServiceError(f"{path()} cannot be read as TOML. Correct it, or remove it and log in again.") from None
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, e["loc"])) for e in error.errors(include_input=False))
        raise ServiceError(f"{path()} has entries that mean nothing here: {keys}.") from None


def resolve(
    url: str | None = None,
    token: str | None = None,
    ca: str | None = None,
    key: str | None = None,
    authority: str | None = None,
) -> Connection:
    """What to connect to, from all the places where it can be said. Raises ServiceError if no address was said."""
    saved = read()
    address = url or os.environ.get("COHORTIUM_URL") or saved.default
    if not address:
        raise ServiceError(
            "Which coordinator? Give its address as connect(url) or --url, set COHORTIUM_URL, or use `cohortium login`."
        )
    address = checked(address)
    login = saved.networks.get(address, Login())
    token = token or os.environ.get("COHORTIUM_TOKEN") or login.token
    return Connection(
        address,
        _checked_token(token),
        ca or os.environ.get("COHORTIUM_CA") or login.ca,
        key or os.environ.get("COHORTIUM_KEY") or login.key,
        authority or os.environ.get("COHORTIUM_AUTHORITY") or login.authority,
    )


def checked(url: str) -> str:
    """The address without a closing slash. Raises ServiceError unless it is https, or http to this very machine."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
        raise ServiceError(f"`{parts.scheme}://{parts.hostname}` is no address. Write https://coordinator.example.nl.")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ServiceError(f"http://{parts.hostname} would send your token in the clear. Use https.")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def save(connection: Connection) -> Path:
    """Remember a coordinator, as the default one from now on, in a file that only its owner can read."""
    known = read().model_dump(exclude_none=True).get("networks", {})
    login = Login(**{name: getattr(connection, name) for name in Login.model_fields}).model_dump(exclude_none=True)
    file = path()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written beside and moved into place: mkstemp makes it 0600, and a crash leaves the old file whole.
    handle, written = tempfile.mkstemp(dir=file.parent, prefix=".config-", suffix=".toml")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(_toml(connection.url, {**known, connection.url: login}))
    Path(written).replace(file)
    return file


def _toml(default: str, networks: dict[str, dict[str, Any]]) -> str:
    # A JSON string is a TOML string.
    lines = [f"default = {json.dumps(default)}"]
    for url, login in networks.items():
        lines += ["", f"[networks.{json.dumps(url)}]", *(f"{key} = {json.dumps(v)}" for key, v in login.items())]
    return "\n".join(lines) + "\n"


def _checked_token(token: str | None) -> str | None:
    token = token.strip() if token else None
    if token and not (token.isascii() and token.isprintable()):
        raise ServiceError("The token holds characters that no token has. Copy it again.")
    return token or None

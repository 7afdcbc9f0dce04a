"""The same network in one process, for rehearsing, testing and comparing: `from simulation import network`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.in_process import network

__all__ = ["network"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the command line looks into this package without wanting a data engine.
    if name == "network":
        from simulation.in_process import network  # noqa: PLC0415

        return network
    raise AttributeError(name)

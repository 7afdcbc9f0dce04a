"""The same network in one process, for rehearsing, testing and comparing: `from simulation import network`."""

from simulation.in_process import network

__all__ = ["network"]

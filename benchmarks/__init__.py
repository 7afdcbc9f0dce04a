"""Measured side by side with what a user would do instead, in one run. `make bench` rewrites docs/performance.md."""

"""The same network in one process, for rehearsing, testing and comparing."""

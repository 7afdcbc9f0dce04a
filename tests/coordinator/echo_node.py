"""A node for tests: answers with the question. `echo_node.py HOST:PORT CA KEY HASH [MARKER]`.

With MARKER, the first question creates that file and is never answered; once the file is there, answers are given.
"""

import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from node.app import NotEnrolled, serve

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
address, ca, key, bundle_hash, *marker = sys.argv[1:]


def answer(kind: str, payload: bytes) -> bytes:
    if marker and not Path(marker[0]).exists():
        Path(marker[0]).touch()
        time.sleep(600)
    return payload


try:
    serve(address, ca=Path(ca), key=Path(key), bundle_hashes={bundle_hash}, answer=answer, stop=stop)
except NotEnrolled as problem:
    sys.exit(str(problem))

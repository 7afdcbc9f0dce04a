"""A malicious node: the real one, which answers as the file `attack` in its folder says."""

import sys
from pathlib import Path

import numpy as np

from cohortium import cli
from cohortium.keys import new_keys
from cohortium.messages import AnswerMessage
from cohortium.secure_sum import Layout, Vector
from node import trusted
from node.answer import CohortNode

FOLDER = Path(sys.argv[1])
true_signed, true_compute = trusted.TrustedNode._signed, CohortNode.compute
sent = []


def attack():
    file = FOLDER / "attack"
    return file.read_text() if file.exists() else ""


def signed(self, asked, digest, vector):
    name = attack()
    if name == "wrong_shape":
        fields = tuple((f, (2, *shape)) for f, shape in vector.layout.fields)
        vector = Vector(Layout(fields=fields), np.concatenate([vector.limbs, vector.limbs]))
    elif name == "garbage":
        vector = Vector(vector.layout, np.random.default_rng().integers(0, 2**63, vector.limbs.shape, dtype="<u8"))
    elif name == "another_key":
        keys = self.trust.keys
        self.trust = trusted.Trust(self.trust.network, self.trust.authority, new_keys())
        try:
            return true_signed(self, asked, digest, vector)
        finally:
            self.trust = trusted.Trust(self.trust.network, self.trust.authority, keys)
    elif name == "replayed" and sent:
        return sent[0]
    elif name == "unmasked":
        return AnswerMessage().to_bytes({"n": np.ones(1)})
    elif name == "gibberish":
        return b"gibberish"
    reply = true_signed(self, asked, digest, vector)
    sent.append(reply)
    return reply


def compute(self, *arguments, **others):
    arrays = true_compute(self, *arguments, **others)
    bad = {"nan": np.nan, "huge": 1e300}.get(attack())
    return arrays if bad is None else {name: np.full_like(a, bad) for name, a in arrays.items()}


trusted.TrustedNode._signed = signed
CohortNode.compute = compute

if __name__ == "__main__":
    sys.argv[:] = ["cohortium", *sys.argv[2:]]
    cli.main()

"""Writes the golden files anew, from the NumPy twins alone: `python tests/golden/write.py` from the repository.

`outputs.npz` holds inputs, weights, results and gradients in float64; `weights.json` the names, shapes and order of the
weights. A change of either file after a release is a break of compatibility.
"""

import json
import pathlib
import sys
import zlib

import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]
from cases import weights_of  # noqa: E402
from reference import numeric_gradient  # noqa: E402
from test_golden import EVERY, KINDS, MASK, RESETS, H, data, listed  # noqa: E402


def example(case, kind, seed):
    """Everything that a backend has to reproduce for one layer, by name."""
    rng = np.random.default_rng(seed)
    options, twin = KINDS[kind]
    x, state = data(case, rng)
    layer = case.built(rng, x.shape[-1], H, dtype="float32", **options)
    w = weights_of(layer)
    twin = {**twin, "mask": MASK, "resets": RESETS}
    if "zoneout" in options:
        twin["zoneout"] = [options["zoneout"]] * case.states
    outputs, _, _, final = case.walk(w, x, state, **twin)
    cotangents = [rng.normal(size=a.shape) for a in (outputs, *final)]

    def loss(x, *rest):
        start, now = list(rest[: case.states]), dict(zip(w, rest[case.states :], strict=True))
        outputs, _, _, final = case.walk(now, x, start, **twin)
        return sum((r * c).sum() for r, c in zip([outputs, *final], cotangents, strict=True))

    found = {"x": [x], "state": state, "weights": list(w.values()), "cotangents": cotangents}
    found["results"] = [outputs, *final]
    found["gradients"] = numeric_gradient(loss, [x, *state, *w.values()])
    return {f"{name}-{i}": a for name, arrays in found.items() for i, a in enumerate(arrays)}


def main():
    arrays = {}
    for case, kind in (p.values for p in EVERY):
        seed = zlib.crc32(f"{case}/{kind}".encode())  # a new case leaves the others as they are
        arrays |= {f"{case}/{kind}/{name}": a for name, a in example(case, kind, seed).items()}
    np.savez_compressed(HERE / "outputs.npz", **arrays)
    rows = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in listed().items()]
    (HERE / "weights.json").write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

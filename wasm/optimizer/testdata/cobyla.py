"""Records what nevergrad's NGOpt proposes on a few functions, for TestCOBYLAFollowsNevergrad.

Run: tools/peers/.venv/bin/python wasm/optimizer/testdata/cobyla.py > wasm/optimizer/testdata/cobyla.json
"""

import json
import warnings

import nevergrad
import numpy
import scipy

warnings.filterwarnings("ignore")


def bowl(w):  # ill-conditioned, minimum inside the box
    i = numpy.arange(len(w))
    return float(numpy.sum((1 + i) * (w - 0.7 * numpy.cos(i)) ** 2))


def outside(w):  # minimum outside the box, so that points bounce
    i = numpy.arange(len(w))
    return float(numpy.sum((w - 1.8 * numpy.cos(2 * i)) ** 2) + 0.3 * numpy.sum(w) ** 2)


def rough(w):  # kinks, as a penalty on |w| has
    i = numpy.arange(len(w))
    return float(numpy.sum(numpy.abs(w - 0.3 * numpy.sin(i))) + 0.1 * numpy.sum(numpy.cos(9 * w)))


def flat(w):  # nothing to find; 13 proposals, after which nevergrad starts again from a point that only ties decide
    return 1.0


def record(f, dim, budget, half):
    space = nevergrad.p.Array(init=[0] * dim, lower=[-half] * dim, upper=[half] * dim)
    optimizer = nevergrad.optimizers.NGOpt(parametrization=space, budget=budget)
    trace = []
    for _ in range(budget):
        x = optimizer.ask()
        loss = f(x.value)
        optimizer.tell(x, loss)
        trace.append([loss, x.value.tolist()])
    return {"name": f"{f.__name__} {dim}", "half": half, "trace": trace}


print(
    json.dumps(
        {
            "made_with": {"nevergrad": nevergrad.__version__, "scipy": scipy.__version__, "numpy": numpy.__version__},
            "runs": [
                record(bowl, 2, 60, 1.5),
                record(bowl, 5, 80, 1.5),
                record(bowl, 20, 100, 1.5),
                record(outside, 3, 60, 1.5),
                record(outside, 20, 60, 1.5),
                record(rough, 4, 80, 1.0),
                record(rough, 20, 80, 1.5),
                record(flat, 3, 13, 1.5),
            ],
        }
    )
)

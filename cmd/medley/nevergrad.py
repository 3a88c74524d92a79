"""nevergrad's NGOpt by ask and tell: a JSON request a line on standard input, a JSON answer a line on standard output.

{"new": {"lower": [...], "upper": [...], "budget": 40, "batch": 8, "seed": 1}}  ->  {}
{"ask": 8}             ->  {"x": [[...], ...]}
{"tell": [0.5, null]}  ->  {}               in the order asked; null is a failed evaluation
{"best": true}         ->  {"x": [[...]]}   the recommendation
The first line out is {"version": "1.0.12"}.
"""
import json
import sys
import warnings

warnings.simplefilter("ignore")
import nevergrad as ng

answers = sys.stdout
sys.stdout = sys.stderr  # what a library prints is no answer


def answer(**fields):
    print(json.dumps(fields), file=answers, flush=True)


def new(lower, upper, budget, batch, seed):
    space = ng.p.Array(init=[0.0] * len(lower), lower=lower, upper=upper)
    space.random_state.seed(seed)
    return ng.optimizers.registry["NGOpt"](parametrization=space, budget=budget, num_workers=batch)


answer(version=ng.__version__)
optimizer, asked = None, []
for line in sys.stdin:
    request = json.loads(line)
    if "new" in request:
        optimizer, asked = new(**request["new"]), []
        answer()
    elif "ask" in request:
        asked = [optimizer.ask() for _ in range(request["ask"])]
        answer(x=[list(map(float, candidate.value)) for candidate in asked])
    elif "tell" in request:
        for candidate, value in zip(asked, request["tell"]):
            optimizer.tell(candidate, float("inf") if value is None else value)
        answer()
    else:
        answer(x=[list(map(float, optimizer.provide_recommendation().value))])

"""Recompute the golden numbers of shared/zoo/zootest with PyTorch, Transformers and PEFT.

Cases (texts, examples, modules, weights, options) are read from golden.json and variants.json themselves; every number in them
is computed anew. `check` prints the worst difference of each section and fails where one is past its tolerance; `write`
replaces the numbers. To add a case, add its inputs to the JSON file and run `write`.

usage: golden.py check|write [--zoo shared/zoo/data] [--golden shared/zoo/zootest]
"""
import argparse
import copy
import importlib.metadata
import json
import math
import os
import sys

import torch

import hf

# What rounding and f32 sums in another order (other threads, another processor) may change: log-probabilities go down to -35,
# so 1e-4 is about 20 units in the last place; the cross-entropy of an objective likewise. A corner of a merge holds values
# near 0.05, except that SVD and pruning thresholds amplify last-place differences.
TOLERANCE = {"tokenizer": 0.0, "forward": 1e-4, "objective": 1e-4, "peft_merge": 1e-5, "variants": 1e-4}
LOGITS = 24  # first logits kept per case
NEW_TOKENS = 16  # greedy tokens per example, at most
PENALTY = 0.05  # weight of the mean absolute weight in both objectives
CORNER = (3, 4)  # rows and columns of a merged update that are kept


def read(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def tokenizer_case(case, tokenizer):
    ids = tokenizer(case["text"]).input_ids
    case["ids"] = ids
    case["decoded"] = tokenizer.decode(ids, skip_special_tokens=True)


def forward_numbers(case, model, tokenizer):
    """The fields that golden.json and variants.json have in common; returns the batch and the first logits."""
    batch = hf.Batch(tokenizer, case["examples"])
    loss, logprobs, logits = hf.forward(model, batch)
    case["loss_mean_token"] = loss
    case["target_logprobs"] = [[round(x, 6) for x in row] for row in logprobs]
    return batch, logits


def compose(composition, case, method):
    names, weights = case["modules"], case["weights"]
    if method == "base":
        composition.bare()
    elif method == "delta":
        composition.delta(names, weights)
    else:  # "single" is a product of one: the update is w² s B A
        composition.product(names, weights)


def forward_case(case, composition, tokenizer):
    compose(composition, case, case["method"])
    batch, logits = forward_numbers(case, composition.model, tokenizer)
    case["first_logits"] = [round(x, 5) for x in logits[:LOGITS].tolist()]
    ids = hf.greedy(composition.model, batch, NEW_TOKENS)
    case["greedy_ids"] = ids.tolist()
    case["greedy"] = hf.decode(tokenizer, ids)


def objective_case(case, composition, batches):
    weights, batch = case["weights"], batches[case["task"]]
    penalty = PENALTY * sum(map(abs, weights)) / len(weights)
    for method in ("product", "delta"):
        compose(composition, case, method)
        loss = hf.forward(composition.model, batch)[0]
        # The original divides the mean loss by the number of examples once more.
        case[method] = {"lorahub": loss / len(batch.ids) + penalty, "mean": loss + penalty}


def merge_case(case, composition):
    name = "merged"
    options = case["options"]
    composition.model.add_weighted_adapter(
        case["modules"], case["weights"], name, combination_type=case["method"], **options)
    layer = composition.model.base_model.model.get_submodule(case["layer"])
    update = layer.get_delta_weight(name).detach()
    composition.model.delete_adapter(name)
    case["shape"] = list(update.shape)
    case["norm"] = update.norm().item()
    rows, columns = CORNER
    case["corner"] = [[round(x, 7) for x in row] for row in update[:rows, :columns].tolist()]


def recompute(golden, variants, zoo, folder):
    """Fill in every number of golden and variants."""
    base = os.path.join(zoo, "base")
    for case in variants:
        model, tokenizer = hf.load_adapter(base, os.path.join(folder, "variants", case["adapter"]))
        forward_numbers(case, model, tokenizer)

    model, tokenizer = hf.load_base(base)
    modules = os.path.join(zoo, "modules")
    composition = hf.Composition(model, {n: os.path.join(modules, n) for n in sorted(os.listdir(modules))})
    for case in golden["tokenizer"]:
        tokenizer_case(case, tokenizer)
    for case in golden["peft_merge"]:  # first: later cases change the scales of the modules, which a merge would see
        merge_case(case, composition)
    for case in golden["forward"]:
        forward_case(case, composition, tokenizer)
    tasks = {case["task"] for case in golden["objective"]}
    batches = {t: hf.Batch(tokenizer, hf.rows(os.path.join(zoo, "tasks", t + ".few.jsonl"))) for t in tasks}
    for case in golden["objective"]:
        objective_case(case, composition, batches)
    golden["made_with"] = {p: importlib.metadata.version(p) for p in ("transformers", "peft", "sentencepiece")}
    golden["made_with"] = {"torch": torch.__version__, **golden["made_with"]}


def difference(a, b):
    """The largest absolute difference of two numbers or trees of numbers; infinite where anything else differs."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) if a != b else 0.0
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return max(map(difference, a, b), default=0.0)
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return max((difference(a[k], b[k]) for k in a), default=0.0)
    return 0.0 if a == b else math.inf


def check(committed, computed):
    """Print the worst difference of each section; whether all are within tolerance."""
    fine = True
    for section, tolerance in TOLERANCE.items():
        cases = committed[section]
        worst = difference(cases, computed[section])
        ok = len(cases) > 0 and worst <= tolerance
        fine = fine and ok
        print(f"{section:<11} {len(cases):>3} cases  worst difference {worst:.2g}  allowed {tolerance:g}  {'ok' if ok else 'FAILED'}")
    return fine


def write(path, value):
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        json.dump(value, f, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["check", "write"])
    parser.add_argument("--zoo", default="shared/zoo/data", help="folder with base, modules and tasks")
    parser.add_argument("--golden", default="shared/zoo/zootest", help="folder with golden.json, variants.json and variants")
    args = parser.parse_args()

    golden_path, variants_path = (os.path.join(args.golden, f) for f in ("golden.json", "variants.json"))
    golden, variants = read(golden_path), read(variants_path)
    committed = copy.deepcopy({**golden, "variants": variants})
    recompute(golden, variants, args.zoo, args.golden)
    if args.action == "write":
        write(golden_path, golden)
        write(variants_path, variants)
    elif not check(committed, {**golden, "variants": variants}):
        sys.exit("golden.py: a section differs by more than its tolerance")


if __name__ == "__main__":
    main()

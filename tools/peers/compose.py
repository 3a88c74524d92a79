"""What a user can run without Medley: LoraHub's search with PyTorch, PEFT and nevergrad, one candidate at a time.

Composition is `product`, the objective is `lorahub`. Prints one JSON line with the weights, the objective, the time per
evaluation, the peak memory and, with --eval, the exact-match accuracy.

usage: compose.py BASE MODULES_GLOB FEW.jsonl [--budget 40] [--optimizer NGOpt] [--eval EVAL.jsonl] [--threads 2]
"""
import argparse
import glob
import json
import os
import resource
import statistics
import time

import nevergrad as ng
import numpy as np
import torch
from peft import PeftModel
from peft.utils import load_peft_weights, set_peft_model_state_dict

import hf

BOUND = 1.5  # weights are in [-BOUND, BOUND]
PENALTY = 0.05  # weight of the mean absolute weight
NEW_TOKENS = 32
EVAL_BATCH = 32


class Search:
    """The objective over weight vectors, with the time of each evaluation."""

    def __init__(self, base, folders, examples):
        base_model, self.tokenizer = hf.load_base(base)
        self.model = PeftModel.from_pretrained(base_model, folders[0]).eval()
        self.states = [load_peft_weights(folder, device="cpu") for folder in folders]
        self.batch = hf.Batch(self.tokenizer, examples)
        self.times = []

    def use(self, weights):
        state = {k: sum(float(w) * s[k] for w, s in zip(weights, self.states)) for k in self.states[0]}
        set_peft_model_state_dict(self.model, state)

    @torch.no_grad()
    def objective(self, weights):
        start = time.perf_counter()
        self.use(weights)
        out = self.model(input_ids=self.batch.ids, attention_mask=self.batch.mask, labels=self.batch.labels)
        loss = out.loss.item() / len(self.batch.ids)
        self.times.append(time.perf_counter() - start)
        return loss + PENALTY * float(np.mean(np.abs(weights)))

    def accuracy(self, weights, examples):
        """Percent of exact matches after trimming, lower-casing and deleting full stops."""
        self.use(weights)
        hits = 0
        for i in range(0, len(examples), EVAL_BATCH):
            part = examples[i:i + EVAL_BATCH]
            ids = hf.greedy(self.model, hf.Batch(self.tokenizer, part), NEW_TOKENS)
            texts = hf.decode(self.tokenizer, ids)
            hits += sum(normal(text) == normal(e["output"]) for text, e in zip(texts, part))
        return 100 * hits / len(examples)


def normal(text):
    return text.strip().lower().replace(".", "")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("modules", help="pattern that matches the PEFT folders")
    parser.add_argument("few", help="JSONL examples to search on")
    parser.add_argument("--budget", type=int, default=40, help="number of evaluations")
    parser.add_argument("--optimizer", default="NGOpt", help="a name in nevergrad's registry")
    parser.add_argument("--eval", help="JSONL examples for accuracy")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.folders = sorted(glob.glob(args.modules))
    if not args.folders:
        parser.error(f"no adapter matches {args.modules}")
    return args


def main():
    start = time.perf_counter()
    args = parse()
    torch.set_num_threads(args.threads)
    search = Search(args.base, args.folders, hf.rows(args.few))
    n = len(args.folders)
    space = ng.p.Array(init=[0.0] * n, lower=[-BOUND] * n, upper=[BOUND] * n)
    searching = time.perf_counter()
    optimizer = ng.optimizers.registry[args.optimizer](parametrization=space, budget=args.budget)
    best = optimizer.minimize(search.objective).value
    done = time.perf_counter()
    result = dict(
        modules=[os.path.basename(f) for f in args.folders], weights=[round(float(w), 6) for w in best],
        evaluations=len(search.times), seconds=done - start, search_seconds=done - searching,
        evaluation_median_s=statistics.median(search.times), evaluation_min_s=min(search.times),
        objective=search.objective(best), objective_zero=search.objective([0.0] * n))
    if args.eval:
        examples = hf.rows(args.eval)
        result.update(accuracy=search.accuracy(best, examples), accuracy_zero=search.accuracy([0.0] * n, examples))
    result["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # KiB on Linux
    print(json.dumps(result))


if __name__ == "__main__":
    main()

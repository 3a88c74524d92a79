"""What cmd/bench compares Medley with: OpenBLAS as NumPy carries it, and PyTorch with PEFT. One JSON request a line on standard
input, one JSON reply a line on standard output; cmd/bench/wire.go says what is in them.

usage: bench.py [--threads 2]
"""
import argparse
import importlib.metadata
import json
import sys
import time
import types

import numpy as np
import threadpoolctl
import torch
from peft import LoraConfig, TaskType, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

import compose
import hf

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
LEAST = 3  # timed runs of a short operation
NOISE = 0.02  # standard deviation of both factors of a module that is made up
TARGET = 8  # target tokens of an example that is made up


def best(run, seconds):
    """Seconds of the quickest run; runs for about that long, after one to warm up."""
    run()
    times = []
    while len(times) < LEAST or sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def about(request):
    """Versions, and what OpenBLAS found itself to run on."""
    blas = next(p for p in threadpoolctl.threadpool_info() if "numpy.libs" in p["filepath"])  # others may carry their own
    facts = {p: importlib.metadata.version(p) for p in ("torch", "transformers", "peft", "numpy")}
    facts["openblas"] = f"{blas['version']}, {blas['architecture']} kernel, {blas['num_threads']} threads, in NumPy"
    facts["torch"] += f", {torch.backends.cpu.get_cpu_capability()}"
    return {"about": facts}


class Products:
    """x Wᵀ into an array that is there already."""

    def __init__(self):
        self.shape = None

    def __call__(self, r):
        shape = r["rows"], r["out"], r["in"]
        if shape != self.shape:
            rng = np.random.default_rng(1)
            self.x = rng.random((r["rows"], r["in"]), dtype=np.float32) - 0.5
            self.w = rng.random((r["out"], r["in"]), dtype=np.float32) - 0.5
            self.shape = shape
        if r["library"] == "openblas":
            y = np.empty((r["rows"], r["out"]), np.float32)
            return {"seconds": best(lambda: np.matmul(self.x, self.w.T, out=y), r["for"])}
        x, w = (torch.from_numpy(a).to(DTYPES[r["weights"]]) for a in (self.x, self.w))
        y = torch.empty(r["rows"], r["out"], dtype=x.dtype)
        return {"seconds": best(lambda: torch.mm(x, w.t(), out=y), r["for"])}


class MadeUp(compose.Search):
    """compose.Search over random modules and random tokens, so that sizes are free."""

    def __init__(self, base, rank, modules):
        model, self.tokenizer = hf.load_base(base)
        config = LoraConfig(task_type=TaskType.SEQ_2_SEQ_LM, r=rank, lora_alpha=2 * rank, target_modules=["q", "v"])
        self.model = get_peft_model(model, config).eval()
        self.states, self.times = [], []
        for i in range(modules):
            noise = torch.Generator().manual_seed(i)
            state = get_peft_model_state_dict(self.model)
            self.states.append({k: torch.randn(v.shape, generator=noise) * NOISE for k, v in state.items()})

    def examples(self, lengths):
        """Inputs of so many tokens."""
        noise = torch.Generator().manual_seed(1)

        def draw(n):
            return torch.randint(3, len(self.tokenizer), (n,), generator=noise).tolist()

        inputs, outputs = [draw(n) for n in lengths], [draw(TARGET) for _ in lengths]
        self.batch = types.SimpleNamespace(
            ids=hf.padded(inputs, self.tokenizer.pad_token_id), mask=hf.padded([[1] * n for n in lengths], 0),
            labels=hf.padded(outputs, hf.IGNORED))


class Scores:
    """Candidates one after the other, as a search with these libraries makes them: the weighted sum of the modules' states
    (LoraHub's product), then one forward pass over all examples."""

    def __init__(self):
        self.what, self.kept = None, {}  # searches over the same modules, by type of number

    def __call__(self, r):
        search = self.search(r)
        if "lengths" in r:
            search.examples(r["lengths"])
        losses, start = [], time.perf_counter()
        for weights in r["candidates"]:
            penalty = compose.PENALTY * float(np.mean(np.abs(weights)))
            losses.append((search.objective(weights) - penalty) * len(search.batch.ids))
        return {"seconds": time.perf_counter() - start, "losses": losses}

    def search(self, r):
        what = r["base"], r.get("folders"), r.get("modules"), r.get("rank")
        if what != self.what:
            self.what, self.kept = what, {}
        if r["weights"] not in self.kept:
            if "folders" in r:
                search = compose.Search(r["base"], r["folders"], hf.rows(r["examples"]))
            else:
                search = MadeUp(r["base"], r["rank"], r["modules"])
                search.examples(r["lengths"][:1])
            dtype = DTYPES[r["weights"]]
            search.model.to(dtype)
            search.states = [{k: v.to(dtype) for k, v in s.items()} for s in search.states]
            search.objective(r["candidates"][0])  # not timed
            self.kept[r["weights"]] = search
        return self.kept[r["weights"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    operations = {"about": about, "product": Products(), "score": Scores()}
    with threadpoolctl.threadpool_limits(args.threads, user_api="blas"):
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(operations[request["op"]](request)), flush=True)


if __name__ == "__main__":
    main()

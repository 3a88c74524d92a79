"""Times llama.cpp as cmd/bench times Medley: answers requests on standard input, one JSON object a line. See cmd/bench/wire.go.

llama.py --threads N
"""
import argparse
import json
import re
import sys
import time

import llama_cpp
import numpy as np


class Model:
    """A model with room for so many sequences of so many tokens."""

    def __init__(self, path, sequences, room, threads):
        llama_cpp.llama_log_set(quiet, None)
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise SystemExit("llama.py: cannot load " + path)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = sequences * room
        params.n_batch = params.n_ubatch = max(512, sequences)
        params.n_seq_max = sequences
        params.kv_unified = False
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)

    def decode(self, tokens, positions, sequences, wanted):
        b = self.batch
        b.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = token, positions[i], 1, sequences[i], wanted[i]
        if llama_cpp.llama_decode(self.context, b) != 0:
            raise SystemExit("llama.py: llama_decode failed")

    def choose(self, i):
        logits = llama_cpp.llama_get_logits_ith(self.context, i)
        return int(np.argmax(np.ctypeslib.as_array(logits, shape=(self.vocabulary,))))

    def free(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)


@llama_cpp.llama_log_callback
def quiet(level, text, data):
    pass


def continuation(model, r):
    sequences, prompt, count = max(1, r.get("sequences", 1)), r["prompt"], r["count"]
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(model.context), True)
    start, ids = time.perf_counter(), []
    last, n = [], len(prompt)
    for s in range(sequences):  # the most tokens of a batch are those of a prompt
        model.decode(prompt, range(n), [s] * n, [0] * (n - 1) + [1])
        last.append(model.choose(n - 1))
    first = time.perf_counter()
    ids.append(last[0])
    for step in range(count - 1):
        model.decode(last, [n + step] * sequences, range(sequences), [1] * sequences)
        last = [model.choose(i) for i in range(sequences)]
        ids.append(last[0])
    end = time.perf_counter()
    with open("/proc/self/status") as f:
        peak = int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) / 1024
    return {"first": first - start, "seconds": end - first, "tokens": (count - 1) * sequences, "ids": ids, "peak": peak}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    threads = parser.parse_args().threads
    model, kept = None, None
    for line in sys.stdin:
        r = json.loads(line)
        if r["op"] == "about":
            reply = {"about": {"llama-cpp-python": llama_cpp.__version__, "llama.cpp": llama_cpp.llama_print_system_info().decode().strip(" |")}}
        else:
            want = (r["base"], max(1, r.get("sequences", 1)), len(r["prompt"]) + r["count"])
            if kept != want:
                if model:
                    model.free()
                model, kept = Model(*want, threads), want
            reply = continuation(model, r)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()

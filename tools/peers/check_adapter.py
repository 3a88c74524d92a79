"""Say what Transformers and PEFT make of model folders: per example, the log-probabilities of the target tokens (end token
included) and the greedy text.

One JSON line per ADAPTER, on BASE; without adapters, one line for BASE alone (a merged model, say).

usage: check_adapter.py BASE EXAMPLES.jsonl [ADAPTER ...] [--new-tokens 16]
"""
import argparse
import json
import os

import hf


def report(model, tokenizer, examples, new_tokens):
    batch = hf.Batch(tokenizer, examples)
    loss, logprobs, _ = hf.forward(model, batch)
    texts = hf.decode(tokenizer, hf.greedy(model, batch, new_tokens))
    return {
        "loss_mean_token": loss,
        "examples": [{**e, "target_logprobs": row, "greedy": text} for e, row, text in zip(examples, logprobs, texts)],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("examples")
    parser.add_argument("adapters", nargs="*", metavar="ADAPTER")
    parser.add_argument("--new-tokens", type=int, default=16, help="greedy tokens per example, at most")
    args = parser.parse_args()

    examples = hf.rows(args.examples)
    if not args.adapters:
        model, tokenizer = hf.load_base(args.base)
        print(json.dumps({"adapter": None, **report(model, tokenizer, examples, args.new_tokens)}))
    for adapter in args.adapters:
        if not os.path.isdir(adapter):
            parser.error(f"{adapter} is not a folder")  # PEFT would look for it on the network
        model, tokenizer = hf.load_adapter(args.base, adapter)
        print(json.dumps({"adapter": adapter, **report(model, tokenizer, examples, args.new_tokens)}))


if __name__ == "__main__":
    main()

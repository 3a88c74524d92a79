"""Write tiny T5 checkpoints with random weights, one per branch of the family, and what Transformers says of them.

OUT/v1_0: relu, tied head, scaled output (T5 1.0). OUT/flan: gated GELU, a head of its own (T5 1.1, FLAN-T5), two shards.
OUT/expected.json: per folder the target log-probabilities (end token included) and greedy ids of the examples.

usage: families.py OUT [--zoo shared/zoo/data]
"""
import argparse
import json
import os
import shutil

import torch
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

import hf

EXAMPLES = [
    {"input": "pick the animal: seal plum tram fig", "output": "seal"},
    {"input": "one berry , several", "output": "berries"},
    {"input": "what a terrible meal and a truly moving show, " * 12, "output": "negative and positive"},
]
SHAPE = {"vocab_size": 704, "d_model": 16, "d_kv": 6, "num_heads": 3, "d_ff": 24, "num_layers": 3, "num_decoder_layers": 2,
         "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}


def v1_0():
    """T5 1.0: transformers ties the head and scales the decoder's output by default."""
    return T5ForConditionalGeneration(T5Config(**SHAPE, feed_forward_proj="relu")), {}


def flan():
    """A head of its own: transformers 5 ties by default, so the parameter is put in by hand, as published checkpoints have it."""
    model = T5ForConditionalGeneration(T5Config(**SHAPE, feed_forward_proj="gated-gelu", tie_word_embeddings=False))
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.3)
    model.config.tie_word_embeddings = False
    return model, {"max_shard_size": "60KB"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--zoo", default="shared/zoo/data")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(f"{args.zoo}/base")
    expected = {"examples": EXAMPLES, "models": {}}
    for seed, make in enumerate((v1_0, flan)):
        torch.manual_seed(seed)
        model, saving = make()
        for p in model.parameters():
            p.data += torch.randn_like(p) * 0.2  # far from the symmetric start
        folder = os.path.join(args.out, make.__name__)
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder, **saving)
        os.remove(os.path.join(folder, "generation_config.json"))
        batch = hf.Batch(tokenizer, EXAMPLES)
        _, logprobs, _ = hf.forward(model.eval(), batch)
        ids = hf.greedy(model, batch, 8)
        expected["models"][make.__name__] = {"target_logprobs": logprobs, "greedy_ids": ids.tolist()}
    with open(os.path.join(args.out, "expected.json"), "w", encoding="utf-8") as f:
        json.dump(expected, f, indent=1)


if __name__ == "__main__":
    main()

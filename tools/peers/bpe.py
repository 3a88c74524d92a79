"""Train small tokenizers of byte pair encoding, one per pipeline that published models have: python bpe.py OUT < texts.jsonl

Writes OUT/NAME/tokenizer.json and tokenizer_config.json for gpt2, gpt2_prefix, smollm, llama3, qwen, llama2 and mistral.
"""

import argparse
import json
import os
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPECIAL = ["<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def byte_level(pre, normalizer=None):
    """A model of bytes behind a pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if normalizer:
        tokenizer.normalizer = normalizer
    return tokenizer, {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "special_tokens": SPECIAL}


def split(pattern):
    """A pattern, then bytes, as Llama 3 and Qwen have it."""
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def characters(legacy):
    """A model of characters that falls back to bytes, as SentencePiece's are converted: Llama 2 (legacy) and Mistral."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer, {"special_tokens": ["<unk>", "<|begin|>", "<|end|>", *BYTES], "limit_alphabet": 200}


def pipelines():
    """Each pipeline with what its trainer is told."""
    return {
        "gpt2": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "gpt2_prefix": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "smollm": byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])),
        "llama3": byte_level(split(LLAMA3)),
        "qwen": byte_level(split(QWEN), normalizers.NFC()),
        "llama2": characters(True),
        "mistral": characters(False),
    }


def finish(name, file):
    """What training leaves out: added tokens of every kind, a merge that is not learned, a template."""
    vocab, added = file["model"]["vocab"], file["added_tokens"]
    file["added_tokens"] = added = [a for a in added if a["content"] not in BYTES]
    if name == "llama3":
        file["model"]["ignore_merges"] = True
        vocab.setdefault("Ġtheunmerged", len(vocab))  # found whole or not at all
    if name in ("llama3", "llama2", "mistral"):
        begin = {"SpecialToken": {"id": "<|begin|>", "type_id": 0}}
        template = {"type": "TemplateProcessing", "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {"<|begin|>": {"id": "<|begin|>", "ids": [vocab["<|begin|>"]], "tokens": ["<|begin|>"]}}}
        post = file["post_processor"]
        file["post_processor"] = {"type": "Sequence", "processors": [post, template]} if post else template
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    for content, flag in (("<think>", None), ("[WORD]", "single_word"), ("[LEFT]", "lstrip"), ("é[NFC]", "normalized")):
        new = len(vocab) + sum(a["content"] not in vocab for a in added)
        added.append({"id": vocab.get(content, new), "content": content, **flags, **({flag: True} if flag else {})})
    added.sort(key=lambda a: a["id"])
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--size", type=int, default=640)
    args = parser.parse_args()
    texts = [json.loads(line) for line in sys.stdin]
    for name, (tokenizer, told) in pipelines().items():
        tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=args.size, show_progress=False, **told))
        folder = os.path.join(args.out, name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(finish(name, json.loads(tokenizer.to_str())), f, ensure_ascii=False, separators=(",", ":"))
        with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
            json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>"}, f)


if __name__ == "__main__":
    main()

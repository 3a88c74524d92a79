"""What the other scripts share: Hugging Face Transformers and PEFT on a T5 folder, in f32, with the base frozen."""
import json
import warnings

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils import load_peft_weights, set_peft_model_state_dict
from transformers import AutoTokenizer, T5ForConditionalGeneration
from transformers.utils import logging

logging.disable_progress_bar()
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # Transformers' own use of PEFT's names

IGNORED = -100  # a label that does not count, as Transformers has it
COMPOSED = "composed"  # the adapter that holds a product composition


def rows(path):
    """The examples of a JSONL file."""
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def load_base(base):
    """A T5 folder as (model, tokenizer)."""
    model = T5ForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(base)


def load_adapter(base, adapter):
    """A T5 folder wearing one PEFT folder as (model, tokenizer)."""
    model, tokenizer = load_base(base)
    return PeftModel.from_pretrained(model, adapter).eval(), tokenizer


def padded(ids, value):
    """Lists of unequal length as one tensor [n, longest], filled with value."""
    width = max(map(len, ids))
    return torch.tensor([x + [value] * (width - len(x)) for x in ids])


class Batch:
    """Examples as one padded batch. End tokens are part of inputs and labels."""

    def __init__(self, tokenizer, examples):
        inputs = [tokenizer(e["input"]).input_ids for e in examples]
        self.ids = padded(inputs, tokenizer.pad_token_id)
        self.mask = padded([[1] * len(x) for x in inputs], 0)
        self.labels = padded([tokenizer(e["output"]).input_ids for e in examples], IGNORED)


@torch.no_grad()
def forward(model, batch):
    """(token-mean cross-entropy, target log-probabilities per example, logits of the first example's first step)."""
    out = model(input_ids=batch.ids, attention_mask=batch.mask, labels=batch.labels)
    counted = batch.labels != IGNORED
    targets = batch.labels.clamp(min=0).unsqueeze(-1)
    logprobs = out.logits.log_softmax(-1).gather(-1, targets).squeeze(-1)
    return out.loss.item(), [row[keep].tolist() for row, keep in zip(logprobs, counted)], out.logits[0, 0]


@torch.no_grad()
def greedy(model, batch, max_new_tokens):
    """Greedy ids [n, longest], from the decoder's start token on, padded."""
    return model.generate(input_ids=batch.ids, attention_mask=batch.mask, max_new_tokens=max_new_tokens, do_sample=False)


def decode(tokenizer, ids):
    """Text of greedy ids, special tokens dropped."""
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


class Composition:
    """One base under any weighted composition of PEFT folders, given as {name: folder}. Each call of a method puts the model
    in that state."""

    def __init__(self, model, modules):
        first = next(iter(modules.values()))
        self.model = PeftModel.from_pretrained(model, first, adapter_name=COMPOSED)
        self.states = {name: load_peft_weights(path, device="cpu") for name, path in modules.items()}
        for name, path in modules.items():
            self.model.load_adapter(path, adapter_name=name)
        self.model.eval()

    def bare(self):
        """The base alone."""
        self.model.base_model.disable_adapter_layers()

    def product(self, names, weights):
        """s (Σ w B)(Σ w A): the weighted sum of state dicts, as LoraHub composes."""
        first = self.states[names[0]]
        state = {key: sum(w * self.states[n][key] for n, w in zip(names, weights)) for key in first}
        set_peft_model_state_dict(self.model, state, adapter_name=COMPOSED)
        self._activate([COMPOSED])

    def delta(self, names, weights):
        """Σ w s B A: every module active at once, each scaled by its weight."""
        self._activate(names)
        for layer in self.model.modules():
            if isinstance(layer, LoraLayer):
                for name, weight in zip(names, weights):
                    layer.set_scale(name, weight)

    def _activate(self, names):
        self.model.base_model.enable_adapter_layers()
        self.model.base_model.set_adapter(list(names), inference_mode=True)

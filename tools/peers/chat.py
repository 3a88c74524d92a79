"""What Transformers makes of chat templates: chat.py < cases.json > texts.json

cases.json is a list of {"template", "bos", "eos", "messages"}; the model's answer comes next.
"""
import json
import sys

from transformers.utils.chat_template_utils import render_jinja_template


def main():
    texts = []
    for case in json.load(sys.stdin):
        rendered, _ = render_jinja_template([case["messages"]], chat_template=case["template"], add_generation_prompt=True,
                                            bos_token=case["bos"], eos_token=case["eos"])
        texts.append(rendered[0])
    json.dump(texts, sys.stdout)


if __name__ == "__main__":
    main()

"""Lets OpenAI's own client speak to a medley server, and holds what it gets to what it should get.

usage: openai_client.py URL < {"token", "chat", "text", "composition", "module", "prompt"}

"chat" is a base with a chat template, "text" one without; "composition" and "module" (as BASE:MODULE) are models on the latter, "prompt" what they are asked. Prints
what was said, as JSON, for the caller to compare with what the program says without a server.
"""

import json
import sys

import openai


def refused(kind, param, call):
    """The client raises kind, and tells the field."""
    try:
        call()
    except kind as e:
        if param is not None and e.param != param:
            raise SystemExit(f"{kind.__name__} is about {e.param}, not {param}: {e}")
        return {"status": e.status_code, "code": e.code, "type": e.type, "message": e.body["message"]}
    raise SystemExit(f"no {kind.__name__}")


def streamed_text(stream):
    """The text of choice 0, the reason for its end, and the usage of the last chunk."""
    text, reason, usage = "", None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            piece = choice.delta.content if hasattr(choice, "delta") else choice.text
            text += piece or ""
            reason = choice.finish_reason or reason
    return text, reason, usage


def main(url):
    given = json.load(sys.stdin)
    client = openai.OpenAI(base_url=url + "/v1", api_key=given["token"], max_retries=0)
    prompt, out = given["prompt"], {}

    models = {m.id: m for m in client.models.list()}
    for name in ("chat", "text", "composition", "module"):
        assert models[given[name].split(":")[-1]].object == "model", models
        assert client.models.retrieve(given[name]).id == given[name]
    greedy = {"max_tokens": 12, "temperature": 0}

    for name in ("text", "composition", "module"):
        whole = client.completions.create(model=given[name], prompt=prompt, **greedy)
        choice = whole.choices[0]
        assert whole.object == "text_completion" and whole.model == given[name] and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
        text, reason, usage = streamed_text(client.completions.create(
            model=given[name], prompt=prompt, stream=True, stream_options={"include_usage": True}, **greedy,
        ))
        assert (text, reason, usage) == (choice.text, choice.finish_reason, whole.usage), (text, reason, usage, whole)
        out[name] = choice.text

    lora = {"lora": [{"id": given["module"].split(":")[-1], "scale": 0.5}]}
    out["lora"] = client.completions.create(model=given["text"], prompt=prompt, extra_body=lora, **greedy).choices[0].text

    several = client.completions.create(model=given["chat"], prompt=["the", "one"], n=2, seed=7, max_tokens=8, echo=True)
    assert [c.index for c in several.choices] == [0, 1, 2, 3] and several.choices[2].text.startswith("one"), several
    assert several.choices == client.completions.create(model=given["chat"], prompt=["the", "one"], n=2, seed=7, max_tokens=8, echo=True).choices

    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "the"}]
    asked = {"model": given["chat"], "max_completion_tokens": 16, "temperature": 0}
    first = client.chat.completions.create(messages=talk, **asked)
    message = first.choices[0].message
    assert message.role == "assistant" and message.content and first.object == "chat.completion", first
    text, reason, usage = streamed_text(client.chat.completions.create(messages=talk, stream=True, stream_options={"include_usage": True}, **asked))
    assert (text, reason, usage) == (message.content, first.choices[0].finish_reason, first.usage), (text, reason, usage, first)
    stop = message.content[len(message.content) // 2:][:3]
    cut = client.chat.completions.create(messages=talk, stop=[stop, "never said"], **asked).choices[0]
    assert (cut.message.content, cut.finish_reason) == (message.content.split(stop)[0], "stop"), (cut, stop)
    second = client.chat.completions.create(messages=[*talk, message, {"role": "user", "content": "x"}], **asked)  # an answer goes back as it came
    assert second.usage.prompt_tokens > first.usage.prompt_tokens, second
    out["chat"] = message.content

    with client.chat.completions.create(messages=talk, stream=True, **{**asked, "max_completion_tokens": 2048}) as leaving:
        next(iter(leaving))

    user = [{"role": "user", "content": "x"}]
    out["refused"] = {
        "model": refused(openai.NotFoundError, "model", lambda: client.completions.create(model="none/such", prompt="x")),
        "retrieve": refused(openai.NotFoundError, "model", lambda: client.models.retrieve("none/such")),
        "token": refused(openai.AuthenticationError, None, lambda: openai.OpenAI(base_url=url + "/v1", api_key="bad", max_retries=0).models.list()),
        "field": refused(openai.BadRequestError, "temperature", lambda: client.completions.create(model=given["text"], prompt="x", temperature=-1)),
        "tools": refused(openai.BadRequestError, "tools", lambda: client.chat.completions.create(model=given["chat"], messages=user, tools=[])),
        "template": refused(openai.BadRequestError, "messages", lambda: client.chat.completions.create(model=given["text"], messages=user)),
        "long": refused(openai.BadRequestError, "prompt", lambda: client.completions.create(model=given["chat"], prompt="one berry " * 4000)),
    }
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

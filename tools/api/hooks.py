"""What Schemathesis is told beside the specification: names of what there is on the server, and files that are what they should be.

Half of the generated requests keep what was generated. Which half follows from the request itself, so that a seed gives the same run.
"""

import json
import os
import pathlib
import zlib

import schemathesis
from hypothesis import strategies as st

FURNITURE = json.loads(pathlib.Path(os.environ["MEDLEY_FURNITURE"]).read_text())
FILES = pathlib.Path(FURNITURE["files"])
ADAPTER, PLUGIN = (FILES / "adapter.zip").read_bytes(), (FILES / "plugin.wasm").read_bytes()

# Work that ends soon, whatever is asked for: the fuzzer tries the API, not the machine.
MOST = {"budget": 12, "batch": 12, "max_tokens": 8, "max_completion_tokens": 8, "n": 2, "rank": 8}


def chance(value, one_in):
    return zlib.crc32(repr(value).encode()) % one_in == 0


def damaged(content):
    """Bytes that are content but for one, or a part of it, or anything."""
    changed = st.builds(lambda at, byte: content[:at] + bytes([byte]) + content[at + 1:], st.integers(0, len(content) - 1), st.integers(0, 255))
    cut = st.builds(lambda at: content[:at], st.integers(0, len(content)))
    return st.one_of(st.just(content), changed, cut, st.binary(max_size=64))


schemathesis.openapi.media_type("application/wasm", damaged(PLUGIN))
schemathesis.openapi.media_type("application/zip", damaged(ADAPTER))


# An event of a stream, as OpenAPI 3.2 would have it under "itemSchema"; 3.1 knows streams as strings only.
EVENT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"enum": ["state", "evaluation", "end"]},
        "data": {"type": "string", "pattern": r"^\{.*\}$"},
    },
}

# A chunk of a streamed completion, or the end of the stream.
CHUNK = {
    "type": "object",
    "additionalProperties": False,
    "required": ["data"],
    "properties": {"event": {"enum": ["message"]}, "data": {"type": "string", "pattern": r"^(\{.*\}|\[DONE\])$"}},
}


@schemathesis.hook
def before_load_schema(_context, raw_schema):
    """Has Schemathesis check every event."""
    for path in ["/v1/completions", "/v1/chat/completions"]:
        raw_schema["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"] = CHUNK
    events = raw_schema["paths"]["/v1/compositions/{composition}/events"]["get"]["responses"]["200"]
    events["content"]["text/event-stream"]["schema"] = EVENT


@schemathesis.deserializer("application/x-ndjson")
def last_line(_context, response):
    """The specification has the schema of one line."""
    lines = [json.loads(line) for line in response.content.decode().splitlines()]
    if not lines or not (lines[-1].get("end") or "problem" in lines[-1]):
        raise ValueError("the stream was cut off")
    return lines[-1]


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Names what there is, unless it would be deleted."""
    if path_parameters and context.operation.method != "delete" and chance(path_parameters, 2):
        return {name: FURNITURE["ids"].get(name, value) for name, value in path_parameters.items()}
    return path_parameters


@schemathesis.hook
def map_body(context, body):
    """Names the base and modules that there are, and bounds the work."""
    if not isinstance(body, dict):
        return body
    kept, body = body, dict(body)
    for name, most in MOST.items():
        if isinstance(body.get(name), (int, float)) and body[name] > most:
            body[name] = most
    if chance(kept, 3):
        return body
    if "base" in body:
        body["base"] = FURNITURE["base_name"]
    if "model" in body:
        body["model"] = FURNITURE["models"][len(repr(kept)) % len(FURNITURE["models"])]
        if isinstance(body.get("lora"), list):
            body["lora"] = [{**entry, "id": name} for entry, name in zip(body["lora"], FURNITURE["modules"]) if isinstance(entry, dict)]
    if "modules" in body:
        body["modules"] = FURNITURE["modules"]
        if isinstance(body.get("weights"), list):
            body["weights"] = [0.5, -0.25, 0, 1]
    elif isinstance(body.get("weights"), list):
        body["weights"] = [[0.5, -0.25, 0, 1], [1, 0, 0, 0]]
    if "optimizer" in body and chance(kept, 2):
        body["optimizer"] = FURNITURE["ids"]["plugin"]
    if isinstance(body.get("examples"), list):
        body["examples"] = body["examples"][:3]
        if isinstance(body.get("holdout"), int):
            body["holdout"] = min(body["holdout"], len(body["examples"]) - 1)
    if "key" in body:
        body["key"] = FURNITURE["secret"]
    if "archive" in body:
        body = {"archive": ADAPTER}
    return body

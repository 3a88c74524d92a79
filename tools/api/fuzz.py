"""Fuzz the API from its own specification, against a live `medley serve` on a folder and a port of its own.

usage: fuzz.py MEDLEY [SECONDS]

The server is given what requests can name (an adapter, a plugin, a key, an open evaluation, a composition that has ended), so that
generated requests reach what is behind the checks: hooks.py puts it in. Schemathesis then tries every operation of /openapi.json with
good and bad requests, from a fixed seed, and every answer must be one that the specification has. Only the loopback interface is used.
"""

import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SEED = "20260101"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,"
    "missing_required_header,unsupported_method,allow_header_conformance,ignored_auth,use_after_free"
)


class Server:
    """A running medley serve with a token for everything."""

    def __init__(self, medley, data):
        self.log = open(data / "log", "w+b")
        self.process = subprocess.Popen(
            [medley, "serve", "--data", data / "state", "--listen", "127.0.0.1:0", "--request-rate", "1000000"],
            stdout=subprocess.PIPE, stderr=self.log,
        )
        line = self.process.stdout.readline().decode()
        if not line.startswith("Listening on "):
            self.fail("medley serve does not start")
        self.url = line.split()[2]
        made = subprocess.run(
            [medley, "token", "create", "--data", data / "state", "--ttl", "24h"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.token = made.stdout.decode().strip()

    def fail(self, sentence):
        self.log.seek(0)
        sys.exit(f"{sentence}:\n{self.log.read().decode()}")

    def call(self, method, path, body=None, media="application/json"):
        if body is not None and media == "application/json":
            body = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=body, method=method)
        request.add_header("Authorization", "Bearer " + self.token)
        if body is not None:
            request.add_header("Content-Type", media)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def stop(self):
        self.process.terminate()
        if self.process.wait(timeout=60) != 0:
            self.fail(f"medley serve ended with {self.process.returncode}")


def adapter():
    """A module of the zoo, as the zip archive that people upload."""
    folder = sorted((ROOT / "shared/zoo/data/modules").iterdir())[0]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        for name in ["adapter_config.json", "adapter_model.safetensors"]:
            z.write(folder / name, name)
    return archive.getvalue()


def furnish(server, data):
    """Makes one of everything; returns what hooks.py may put into requests."""
    archive, wasm = adapter(), (ROOT / "wasm/samples/testdata/c.wasm").read_bytes()
    for name, content in {"adapter.zip": archive, "plugin.wasm": wasm}.items():
        (data / name).write_bytes(content)
    base = server.call("GET", "/v1/bases")["items"][0]
    modules = [m["id"] for m in server.call("GET", "/v1/modules?limit=4")["items"]]
    task = {"base": base["name"], "modules": modules, "examples": [{"input": "one berry , several", "output": "berries"}]}
    server.call("POST", "/v1/modules?name=mine", archive, "application/zip")
    plugin = server.call("POST", "/v1/plugins?name=mine", wasm, "application/wasm")
    key = server.call("POST", "/v1/keys", {"name": "laptop", "scopes": ["compose:run"]})
    evaluation = server.call("POST", "/v1/evaluations", task)
    composition = server.call("POST", "/v1/compositions", {**task, "budget": 8})
    deadline = time.monotonic() + 120
    while server.call("GET", "/v1/compositions/" + composition["id"])["state"] != "succeeded":
        if time.monotonic() > deadline:
            server.fail("a composition does not succeed")
        time.sleep(0.2)
    return {
        "base_name": base["name"], "secret": key["secret"], "modules": modules, "files": str(data),
        "models": [base["name"], composition["id"], modules[0], base["name"] + ":mine"],
        "ids": {
            "base": base["id"], "module": modules[0], "plugin": plugin["id"], "evaluation": evaluation["id"], "composition": composition["id"],
            "model": composition["id"],
        },
    }


def main(medley, seconds="150"):
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder)
        server = Server(os.path.abspath(medley), data)
        try:
            (data / "furniture.json").write_text(json.dumps(furnish(server, data)))
            status = subprocess.run(
                [
                    HERE / ".venv/bin/schemathesis", "run", server.url + "/openapi.json", "--header", "Authorization: Bearer " + server.token,
                    "--checks", CHECKS, "--seed", SEED, "--max-time", seconds, "--request-timeout", "60", "--continue-on-failure", "--no-color",
                    "--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off", "--no-shrink",
                ],
                env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "MEDLEY_FURNITURE": str(data / "furniture.json")},
                cwd=data,
            ).returncode
            if status != 0:
                server.log.seek(0)
                print("What the server logged last:", server.log.read()[-4000:].decode(errors="replace"), sep="\n")
            server.call("GET", "/readyz")
        finally:
            server.stop()
    sys.exit(status)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

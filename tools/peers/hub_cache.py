"""What Python's huggingface_hub finds in a cache, or fetches into it; one JSON object on stdout.

The Hub and the cache are those of the environment (HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE).

usage: hub_cache.py snapshot REPO [--revision R] [--allow PATTERN]...   the folder, and the SHA-256 of each file in it
       hub_cache.py file REPO NAME [--revision R]                       the same for one file
       hub_cache.py scan                                                repositories, revisions, files and warnings in the cache
       hub_cache.py card FILE                                           what a model card's header says
"""
import argparse
import hashlib
import json
import os
import sys

import huggingface_hub


def digests(folder):
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            with open(path, "rb") as f:
                found[os.path.relpath(path, folder).replace(os.sep, "/")] = hashlib.sha256(f.read()).hexdigest()
    return found


def scan():
    info = huggingface_hub.scan_cache_dir()
    return {
        "warnings": [str(w) for w in info.warnings],
        "repos": {
            repo.repo_id: {
                revision.commit_hash: {"refs": sorted(revision.refs), "files": {f.file_name: f.size_on_disk for f in revision.files}}
                for revision in repo.revisions
            }
            for repo in info.repos
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["snapshot", "file", "scan", "card"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--revision")
    parser.add_argument("--allow", action="append")
    args = parser.parse_args()
    out = {"version": huggingface_hub.__version__}
    if args.what == "snapshot":
        out["folder"] = huggingface_hub.snapshot_download(args.names[0], revision=args.revision, allow_patterns=args.allow)
        out["files"] = digests(out["folder"])
    elif args.what == "file":
        path = huggingface_hub.hf_hub_download(args.names[0], args.names[1], revision=args.revision)
        out["folder"] = os.path.dirname(path)
        out["files"] = {args.names[1]: digests(out["folder"])[args.names[1]]}
    elif args.what == "card":
        with open(args.names[0], encoding="utf-8") as f:
            out["card"] = huggingface_hub.ModelCard(f.read()).data.to_dict()
    else:
        out.update(scan())
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()

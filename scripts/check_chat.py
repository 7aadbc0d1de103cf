#!/usr/bin/env python3
"""Compares `carat eval template` with prompts rendered by Hugging Face transformers.

usage: check_chat.py CARAT CASES.json [MODEL.gguf]

CASES.json holds {"template", "cases": [{"name", "input", "rendered"}]}. With MODEL.gguf that file's template is
used instead of the one in CASES.json. Prints "chat: N of M" and fails unless all are equal. Needs nothing but
Python.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

carat, cases, *model = sys.argv[1:]
cases = json.load(open(cases, encoding="utf-8"))
good = 0
with tempfile.TemporaryDirectory() as folder:
    template, conversation = pathlib.Path(folder, "chat.jinja"), pathlib.Path(folder, "input.json")
    template.write_bytes(cases["template"].encode())
    source = ["-m", model[0]] if model else ["--template", template]
    for case in cases["cases"]:
        conversation.write_bytes(json.dumps(case["input"], ensure_ascii=False).encode())
        command = [carat, "eval", "template", *source, "--input", conversation]
        run = subprocess.run(command, capture_output=True)
        found, wanted = run.stdout.decode(), case["rendered"]
        if run.returncode == 0 and found == wanted:
            good += 1
        else:
            print(f"{case['name']}: wanted\n{wanted}\nfound\n{found}\n{run.stderr.decode().strip()}")
total = len(cases["cases"])
print(f"chat: {good} of {total}")
sys.exit(good != total or total == 0)

#!/usr/bin/env python3
"""Compares `carat eval tokenize` with token ids from Hugging Face tokenizers.

usage: check_tokenizer.py CARAT VOCAB.gguf CASES.json

CASES.json holds {"plain": [{"text", "ids"}], "chat": [...]}; special tokens are parsed in "chat" only.
Prints "tokenizer: N of M" and fails unless all are equal. Needs nothing but Python.
"""
import json
import subprocess
import sys

carat, vocab, cases = sys.argv[1:]
cases = json.load(open(cases, encoding="utf-8"))
good = total = 0
for kind, flags in [("plain", []), ("chat", ["--special"])]:
    for case in cases[kind]:
        text, ids = case["text"], case["ids"]
        # An argument cannot hold NUL. It is a byte token of its own, so a leading one is left out on both sides.
        nul = len(text) - len(text.lstrip("\0"))
        command = [carat, "eval", "tokenize", "-m", vocab, *flags, "--text", text[nul:]]
        run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        found = [int(word) for word in run.stdout.split()]
        total += 1
        if run.returncode == 0 and found == ids[nul:]:
            good += 1
        else:
            print(f"{kind} {text!r}: wanted {ids[nul:]}, found {found} {run.stderr.strip()}")
print(f"tokenizer: {good} of {total}")
sys.exit(good != total or total == 0)

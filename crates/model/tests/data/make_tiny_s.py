#!/usr/bin/env python3
"""Cuts the reference kit `tiny-s` down to what the tests read. Needs numpy and safetensors.

usage: make_tiny_s.py PATH/TO/reference/tiny-s
"""
import json
import pathlib
import shutil
import sys

from safetensors.numpy import load_file, save_file

TEXT = ["text-short", "text-long"]
MEDIA = ["image", "audio", "mixed"]

kit = pathlib.Path(sys.argv[1])
out = pathlib.Path(__file__).parent / "tiny-s"
out.mkdir(exist_ok=True)
for name in ["f32", "bf16", "q8_0", "q4_0"]:
    shutil.copyfile(kit / f"text-{name}.gguf", out / f"text-{name}.gguf")
for name in ["mmproj-f32.gguf", "image.png", "audio.wav"]:
    shutil.copyfile(kit / name, out / name)

tensors = load_file(kit / "reference.safetensors")
wanted = [f"{c}." for c in TEXT] + [f"{c}.logits." for c in MEDIA]
wanted += ["image_embeddings", "audio_embeddings"]
kept = {k: v for k, v in tensors.items() if any(k.startswith(w) for w in wanted)}
save_file(kept, out / "reference.safetensors")

reference = json.load(open(kit / "reference.json"))
reference["cases"] = {c: reference["cases"][c] for c in TEXT + MEDIA}
json.dump(reference, open(out / "reference.json", "w"), ensure_ascii=False)

#!/usr/bin/env python3
"""Compares the exported pair, run by carat, with the checkpoint, run by PyTorch: logits and the loss of answers.

usage: compare.py CHECKPOINT --glyphs GLYPHS.npz --carat CARAT --model FOLDER [--count 40]

Exit 0 where the losses are within 1 %. With a pair from `export.py --f32` logits differ in their last bits only.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import load_file

import data
import render
from evaluate import write_sound
from model import Config, Model
from train import load

KINDS = {"scene": 0.2, "number": 0.2, "speech": 0.2, "tones": 0.1, "mixed": 0.2, "text": 0.1}


def arrays(segment):
    """One conversation as a batch of one row."""
    n, kinds = len(segment.ids), np.array(segment.kinds)
    cells, block, used = np.flatnonzero(kinds == data.IMAGE), np.zeros((1, n), np.int32), 0
    for i, (_, columns, rows) in enumerate(segment.pictures):
        block[0, cells[used : used + columns * rows]] = i + 1
        used += columns * rows
    out = {"ids": np.array([segment.ids], np.int32), "segment": np.ones((1, n), np.int32), "block": block}
    out["position"] = np.arange(n, dtype=np.int32)[None]
    out["image_at"], out["audio_at"] = cells, np.flatnonzero(kinds == data.AUDIO)
    out["frames"] = np.concatenate([np.zeros((0, data.FRAME), np.int16)] + segment.sounds)
    out.update(data.sprites(segment.pictures))
    return {name: torch.from_numpy(a) for name, a in out.items()}


@torch.no_grad()
def by_torch(model, batch, fields, segment, folder):
    """Logits of a conversation, [tokens, vocabulary], and the files of its media, so that nothing is left to resize."""
    media, images, sounds = [], [], []
    if len(batch["image_at"]):
        pixels = render.draw(batch, fields)
        rows = model.vision(pixels.flatten(1), batch["patch"][:, 1], batch["patch"][:, 2])
        media.append((batch["image_at"], rows))
        for i, (_, columns, lines) in enumerate(segment.pictures):
            image = pixels[batch["patch"][:, 0] == i].reshape(lines, columns, 3, 48, 48)
            image = image.permute(0, 3, 1, 4, 2).reshape(lines * 48, columns * 48, 3)
            images.append(str(folder / f"{i}.png"))
            Image.fromarray((image.numpy() * 255).round().astype(np.uint8)).save(images[-1])
    if len(batch["audio_at"]):
        media.append((batch["audio_at"], model.hear(batch["frames"].float() / 32768)))
        for i, frames in enumerate(segment.sounds):
            sounds.append(str(folder / f"{i}.wav"))
            write_sound(sounds[-1], frames)
    x = model.rows(batch["ids"].long(), media)
    return model.logits(model(x, batch["segment"], batch["position"], batch["block"]))[0], images, sounds


def by_carat(carat, pair, ids, images, sounds, budget, folder):
    json.dump({"ids": ids, "images": images, "audio": sounds, "image_tokens": budget}, open(folder / "in.json", "w"))
    files = ["-m", pair / "demo-text.gguf", "--mmproj", pair / "demo-mmproj.gguf"]
    paths = ["--input", folder / "in.json", "--output", folder / "out.safetensors"]
    subprocess.run([carat, "eval", "logits", *files, *paths], check=True, capture_output=True)
    return torch.from_numpy(load_file(folder / "out.safetensors")["logits"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", type=pathlib.Path)
    p.add_argument("--glyphs", required=True)
    p.add_argument("--carat", required=True)
    p.add_argument("--model", type=pathlib.Path, required=True)
    p.add_argument("--count", type=int, default=40)
    a = p.parse_args()
    model = Model(Config(**json.load(open(a.checkpoint / "state.json"))["config"]))
    load(model, a.checkpoint)
    atlas = data.Atlas(a.glyphs)
    fields, writer = torch.from_numpy(atlas.fields), data.Writer(np.random.default_rng(5), atlas, True)
    torch_loss, carat_loss, tokens, largest = 0.0, 0.0, 0, 0.0
    for i in range(a.count):
        budget = (70, 140, 280)[i % 3]
        writer.budgets = [float(b == budget) for b in (70, 140, 280)]
        segment = writer.segment(KINDS, 760)
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            expected, images, sounds = by_torch(model, arrays(segment), fields, segment, folder)
            found = by_carat(a.carat, a.model, segment.ids, images, sounds, budget, folder)
        said, target = torch.tensor(segment.said)[1:], torch.tensor(segment.ids)[1:]
        loss = lambda logits: F.cross_entropy(logits[:-1][said], target[said], reduction="sum").item()
        torch_loss, carat_loss, tokens = torch_loss + loss(expected), carat_loss + loss(found), tokens + int(said.sum())
        largest = max(largest, (expected - found).abs().max().item())
    off = carat_loss / torch_loss - 1
    print(f"loss per token: PyTorch {torch_loss / tokens:.5f}, carat {carat_loss / tokens:.5f}, {100 * off:+.2f} %")
    print(f"{tokens} tokens of answers; logits differ by {largest:.2g} at most")
    sys.exit(abs(off) > 0.01)


if __name__ == "__main__":
    main()

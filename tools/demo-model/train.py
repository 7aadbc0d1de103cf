#!/usr/bin/env python3
"""Trains the demo model from nothing, or goes on from a checkpoint, for so many seconds.

usage: train.py --glyphs GLYPHS.npz --out FOLDER [--seconds 480] [--resume FOLDER] [--rows 64] [--workers N]

Runs on CUDA where there is a device, else on the CPU (for trying things; a whole training takes days there). The
learning rate stays, and falls to zero over the last part of the time, so that each sitting ends in a usable model.
"""

import argparse
import json
import multiprocessing
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F

import data
import render
from model import Config, Model, described
from optimizer import Muon

KINDS = {"scene": 0.3, "number": 0.24, "speech": 0.2, "tones": 0.05, "mixed": 0.1, "text": 0.11}
LENGTH = 768


class Rows(torch.utils.data.IterableDataset):
    """Batches of packed rows without an end, other ones in every worker."""

    def __init__(self, glyphs, rows, seed, held, part):
        self.glyphs, self.rows, self.seed, self.held, self.part = glyphs, rows, seed, held, part

    def __iter__(self):
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0, int(self.held)])
        writer = data.Writer(rng, data.Atlas(self.glyphs), self.held)
        while True:
            part = self.part.value if self.part else 1.0
            # Small pictures cost less to learn from; 280 tokens are what people will show.
            writer.budgets = [0.7, 0.15, 0.15] if part < 0.5 else [0.3, 0.2, 0.5] if part < 0.8 else [0.15, 0.15, 0.7]
            arrays, tasks = data.pack(writer, KINDS, self.rows, LENGTH)
            batch = {name: torch.from_numpy(a) for name, a in arrays.items()}
            yield batch, tasks


def forward(model, batch, fields, generator=None):
    """Hidden rows of a batch, and the flat positions whose next token the model is to say."""
    media = []
    if len(batch["image_at"]):
        pixels = render.draw(batch, fields, generator).flatten(1)
        media.append((batch["image_at"], model.vision(pixels, batch["patch"][:, 1], batch["patch"][:, 2])))
    if len(batch["audio_at"]):
        media.append((batch["audio_at"], model.hear(batch["frames"].float() / 32768)))
    x = model.rows(batch["ids"].long(), media)
    h = model.run(x, batch["segment"], batch["position"], batch["block"])
    said = batch["said"].flatten()
    at = torch.nonzero(said[1:]).squeeze(1)
    return h.flatten(0, 1)[at], batch["ids"].flatten()[1:][at].long(), at


def evaluate(model, batches, fields):
    """Answers that are right as a whole, by task: each token the likeliest one after the right ones before it.

    Gradients stay on, so that the compiled layers are those of training.
    """
    right, total, loss, count = {}, {}, 0.0, 0
    for batch, tasks in batches:
        h, target, at = forward(model, batch, fields, torch.Generator(fields.device).manual_seed(1))
        logits = model.logits(h).detach()
        loss += F.cross_entropy(logits, target, reduction="sum").item()
        count += len(target)
        good = torch.zeros(batch["ids"].numel() + 1, dtype=torch.int32)
        good[(at + 1).cpu()] = (logits.argmax(1) == target).int().cpu()
        for name, start, end in tasks:
            if bool(batch["said"].flatten()[start]):
                total[name] = total.get(name, 0) + 1
                right[name] = right.get(name, 0) + int(good[start:end].all())
    return loss / count, {name: round(right[name] / total[name], 4) for name in sorted(total)}


def moved(batch, device):
    return {name: t.to(device, non_blocking=True) for name, t in batch.items()}


def save(model, out, state):
    """Weights as f16 in two files, so that none is large."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: t.detach().cpu().half().numpy() for name, t in model.state_dict().items() if "norm1" not in name}
    names = sorted(weights)
    half = sum(w.nbytes for w in weights.values()) / 2
    parts, size = [{}, {}], 0
    for name in names:
        parts[int(size > half)][name] = weights[name]
        size += weights[name].nbytes
    for i, part in enumerate(parts):
        np.savez(out / f"weights-{i}.npz", **part)
    json.dump(state | {"config": described(model.config)}, open(out / "state.json", "w"), indent=1)


def load(model, folder):
    for part in sorted(pathlib.Path(folder).glob("weights-*.npz")):
        model.load_state_dict({name: torch.from_numpy(w).float() for name, w in np.load(part).items()}, strict=False)


def main():
    begun = time.time()
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--glyphs", required=True)
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--seconds", type=float, default=480)
    p.add_argument("--resume", type=pathlib.Path)
    p.add_argument("--rows", type=int, default=64)
    p.add_argument("--workers", type=int, default=max(1, multiprocessing.cpu_count() - 1))
    p.add_argument("--rate", type=float, default=1.0, help="factor of all learning rates")
    p.add_argument("--fall", type=float, default=0.45, help="part of the time in which the rate falls")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--every", type=float, default=40, help="seconds between evaluations")
    a = p.parse_args()
    torch.manual_seed(a.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    part = multiprocessing.Value("d", 0.0)
    loader = torch.utils.data.DataLoader(
        Rows(a.glyphs, a.rows, a.seed, False, part),
        batch_size=None,
        num_workers=a.workers,
        prefetch_factor=4,
        pin_memory=device == "cuda",
    )
    source = iter(loader)
    fields = torch.from_numpy(data.Atlas(a.glyphs).fields).to(device)
    config = Config()
    model = Model(config).to(device)
    state = {"steps": 0, "seconds": 0.0, "sittings": []}
    if a.resume:
        load(model, a.resume)
        state = {k: v for k, v in json.load(open(a.resume / "state.json")).items() if k != "config"}
    model.run = model.forward
    if device == "cuda":
        for layer in model.layers:
            layer.compile()
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters on {device}, {a.workers} workers",
        flush=True,
    )
    held = [
        (moved(batch, device), tasks)
        for batch, tasks in (lambda it: [next(it) for _ in range(3)])(iter(Rows(a.glyphs, a.rows, 99, True, None)))
    ]
    optimizer = Muon(model, a.rate)
    evaluated = started = time.time()
    tokens, step, losses, waited = 0, 0, [], 0.0
    while True:
        spent = time.time() - begun
        part.value = min(1.0, spent / a.seconds)
        if spent >= a.seconds - 4:
            break
        t = time.time()
        batch, _ = next(source)
        waited += time.time() - t
        batch = moved(batch, device)
        h, target, _ = forward(model, batch, fields)
        loss = F.cross_entropy(model.logits(h), target)
        loss.backward()
        warm = min(1.0, (step + 1) / 100)
        optimizer.step(warm * min(1.0, (1 - part.value) / a.fall))
        step += 1
        tokens += batch["ids"].numel()
        losses.append(loss.detach())
        if step in (1, 2, 10) or step % 200 == 0:
            mean = torch.stack(losses[-200:]).mean().item()
            rate = tokens / (time.time() - started) / 1e6
            print(
                f"{spent:6.1f} s step {step} loss {mean:.4f} {rate:.2f} M tokens/s, waited {waited:.1f} s",
                flush=True,
            )
        if time.time() - evaluated > a.every and spent < a.seconds - 15:
            print(f"{spent:6.1f} s held out", *evaluate(model, held, fields), flush=True)
            save(model, a.out, state)  # a sitting that is cut off leaves something
            evaluated = time.time()
    loss, right = evaluate(model, held, fields)
    print("held out", loss, right, flush=True)
    state["steps"] += step
    state["seconds"] += time.time() - begun
    state["sittings"].append(
        {
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "rows": a.rows,
            "steps": step,
            "seconds": round(time.time() - begun),
            "tokens": tokens,
            "loss": loss,
            "right": right,
        }
    )
    save(model, a.out, state)
    print("saved", flush=True)


if __name__ == "__main__":
    main()

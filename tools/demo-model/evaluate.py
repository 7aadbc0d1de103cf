#!/usr/bin/env python3
"""Asks the exported model about held-out pictures and recordings, through the program.

usage: evaluate.py --glyphs GLYPHS.npz --carat CARAT [--model FOLDER] [--count 500] [--seed 7] [--keep FOLDER]

Pictures are painted by Pillow (training draws otherwise), numbers in fonts of held-out families, digits are spoken by
held-out voices. One question a file, greedy; an answer counts where it is the expected text. Files are made anew from
the seed.
"""

import argparse
import json
import math
import pathlib
import subprocess
import tempfile
import wave
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import data
import scenes
import sounds
import words
from paint import Painter


def write_sound(path, samples):
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, sounds.RATE, 0, "NONE", ""))
        out.writeframes(samples.tobytes())


class Maker:
    def __init__(self, glyphs, seed, folder):
        self.rng, self.folder = np.random.default_rng(seed), folder
        self.atlas = data.Atlas(glyphs)
        self.painter, self.voice = Painter(glyphs), sounds.Voice()

    def picture(self, name, picture):
        path = self.folder / f"{name}.png"
        self.painter.paint(self.rng, picture).save(path)
        return ["--image", str(path)]

    def sound(self, name, clean):
        path = self.folder / f"{name}.wav"
        write_sound(path, sounds.recorded(self.rng, clean))
        return ["--audio", str(path)]

    def digits(self, most):
        return "".join(str(d) for d in self.rng.integers(0, 10, int(self.rng.integers(1, most + 1))))

    def case(self, kind, name):
        """The media, the question and the answer of a case."""
        rng = self.rng
        if kind == "pictures":
            picture, seen, named = scenes.scene(rng, self.atlas)
            return self.picture(name, picture), *scenes.ask_scene(rng, seen, named)[0]
        if kind == "numbers":
            digits = self.digits(4)
            return self.picture(name, scenes.number(rng, self.atlas, digits, True)), "What number is this?", digits
        if kind == "speech":
            digits = self.digits(5)
            return self.sound(name, sounds.speech(rng, self.voice, digits, True)), "What number do you hear?", digits
        if kind == "tones":
            if rng.random() < 0.5:
                count = int(rng.integers(1, 7))
                return self.sound(name, sounds.beeps(rng, count)), *sounds.ask_beeps(rng, count)[0]
            rises = bool(rng.random() < 0.5)
            return self.sound(name, sounds.slide(rng, rises)), *sounds.ask_slide(rng, rises)[0]
        if kind == "mixed":
            return self.mixed(name)
        return [], *words.ask(rng)

    def mixed(self, name):
        rng = self.rng
        if rng.random() < 0.5:
            spoken = self.digits(4)
            shown = spoken if rng.random() < 0.5 else self.digits(4)
            media = self.picture(name, scenes.number(rng, self.atlas, shown, True)) + self.sound(
                name, sounds.speech(rng, self.voice, spoken, True)
            )
            if int(shown) != int(spoken) and rng.random() < 0.5:
                return (
                    media,
                    "Which number is larger, the one in the picture or the one in the recording?",
                    "the picture" if int(shown) > int(spoken) else "the recording",
                )
            return media, "Do you see and hear the same number?", "yes" if shown == spoken else "no"
        picture, seen, _ = scenes.scene(rng, self.atlas)
        count = len(seen) if rng.random() < 0.5 else int(rng.integers(1, 7))
        media = self.picture(name, picture)
        answer = "yes" if count == len(seen) else "no"
        if rng.random() < 0.5:
            return media + self.sound(name, sounds.beeps(rng, count)), "Are there as many beeps as shapes?", answer
        return (
            media + self.sound(name, sounds.speech(rng, self.voice, str(count), True)),
            "Is the number that you hear the number of shapes?",
            answer,
        )


def ask(carat, model, media, question):
    command = [carat, "run", *model, *media, "--temp", "0", "-n", "64", "-t", "1", question]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip() if done.returncode == 0 else f"error: {done.stderr.strip()}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--glyphs", required=True)
    p.add_argument("--carat", required=True)
    p.add_argument("--model", type=pathlib.Path, help="folder of the pair [default: the built-in model]")
    p.add_argument("--count", type=int, default=500)
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--kinds", default="pictures,numbers,speech,tones,mixed,text")
    p.add_argument("--keep", type=pathlib.Path, help="folder for the files and cases.json")
    a = p.parse_args()
    model = ["-m", str(a.model / "demo-text.gguf"), "--mmproj", str(a.model / "demo-mmproj.gguf")] if a.model else []
    with tempfile.TemporaryDirectory() as scratch:
        folder = a.keep or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = []
        for kind in a.kinds.split(","):
            maker = Maker(a.glyphs, [a.seed, len(kind)], folder)
            cases = [maker.case(kind, f"{kind}-{i}") for i in range(a.count)]
            with ThreadPoolExecutor(a.jobs) as pool:
                answers = list(pool.map(lambda c: ask(a.carat, model, c[0], c[1]), cases))
            right = sum(x == c[2] for x, c in zip(answers, cases))
            margin = 1.96 * math.sqrt(max(right, 1) * max(a.count - right, 1) / a.count) / a.count
            print(f"{kind:9} {right} of {a.count}  {100 * right / a.count:.1f} % +- {100 * margin:.1f}", flush=True)
            report += [{"media": c[0], "question": c[1], "expected": c[2], "found": x} for x, c in zip(answers, cases)]
        if a.keep:
            json.dump(report, open(a.keep / "cases.json", "w"), indent=1)


if __name__ == "__main__":
    main()

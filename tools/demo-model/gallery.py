#!/usr/bin/env python3
"""Makes the gallery of `carat demo`: held-out fonts and voices, painted by Pillow, the same files every time.

usage: gallery.py --glyphs GLYPHS.npz OUT-FOLDER
"""

import argparse
import json
import pathlib

import numpy as np

import data
import scenes
import sounds
from evaluate import write_sound
from paint import Painter

COLOURS = scenes.COLOURS


def drawn(atlas, background, things, width=1.5, noise=0.0):
    """A scene of (shape, colour, x, y, radius, turn), lengths in parts of the height."""
    picture = scenes.Picture(width, 1.0, (background, background, 0.0), noise, 1.0)
    for shape, colour, x, y, r, turn in things:
        picture.sprites.append((atlas.shape(shape), x, y, r / atlas.reach, turn, 1.0, COLOURS[colour]))
    return picture


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--glyphs", required=True)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--seed", type=int, default=8)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(a.seed)
    atlas, painter, voice = data.Atlas(a.glyphs), Painter(a.glyphs), sounds.Voice()
    items = []

    def picture(name, what):
        image = painter.paint(rng, what)
        image.thumbnail((640, 640))
        image.save(a.out / f"{name}.png", optimize=True)
        return f"{name}.png"

    def sound(name, clean):
        write_sound(a.out / f"{name}.wav", sounds.recorded(rng, clean, 4.0))
        return f"{name}.wav"

    def item(files, question, expected):
        items.append({"files": files, "question": question, "expected": expected})

    cream, sky, dusk = (250, 244, 228), (205, 228, 250), (70, 50, 90)
    shapes = drawn(
        atlas,
        cream,
        [
            ("star", "red", 0.3, 0.35, 0.2, 0.2),
            ("star", "red", 0.75, 0.68, 0.22, -0.3),
            ("circle", "blue", 1.2, 0.4, 0.24, 0.0),
        ],
    )
    item([picture("shapes", shapes)], "What is in the picture?", "two red stars and one blue circle")
    hearts = drawn(
        atlas,
        sky,
        [
            ("heart", "red", 0.25, 0.3, 0.14, 0.1),
            ("heart", "red", 0.7, 0.25, 0.12, -0.2),
            ("cross", "green", 1.15, 0.3, 0.15, 0.5),
            ("heart", "red", 0.5, 0.72, 0.15, 0.0),
            ("cross", "green", 1.1, 0.75, 0.16, 0.2),
        ],
    )
    item([picture("hearts", hearts)], "How many hearts do you see?", "3")
    triangle = drawn(
        atlas, dusk, [("triangle", "yellow", 1.25, 0.24, 0.15, 0.4), ("ring", "cyan", 0.35, 0.75, 0.17, 0.0)]
    )
    item([picture("evening", triangle)], "Where is the triangle?", "top right")
    item([picture("number", scenes.number(rng, atlas, "4071", True))], "What number is this?", "4071")
    item([picture("house", scenes.number(rng, atlas, "286", True))], "What number is this?", "286")
    item([sound("digits", sounds.speech(rng, voice, "59302", True))], "What number do you hear?", "59302")
    item([sound("beeps", sounds.beeps(rng, 4))], "How many beeps do you hear?", "4")
    item([sound("slide", sounds.slide(rng, True))], "Does the tone rise or fall?", "rising")
    item(
        [
            picture("both", scenes.number(rng, atlas, "618", True)),
            sound("both", sounds.speech(rng, voice, "618", True)),
        ],
        "Do you see and hear the same number?",
        "yes",
    )
    item([], "What is 27 + 38?", "65")
    json.dump(items, open(a.out / "gallery.json", "w"), indent=2)
    (a.out / "gallery.json").open("a").write("\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Turns the digits of all installed fonts, and seven shapes, into distance fields.

usage: glyphs.py OUT.npz

A field is 64 x 64 bytes: 128 is the outline, one step is 1/16 of a pixel of the field, more is inside. All digits of a
font share one scale and one baseline. Families are held out by the hash of their name.
"""

import hashlib
import math
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

SIDE = 64
OVER = 4  # pixels of the drawing in one of the field
MARGIN = 8  # pixels of the field around the largest digit
STEP = 16  # values of a byte in one pixel of the field
SHAPES = ["circle", "square", "triangle", "star", "cross", "heart", "ring"]


def field(mask):
    """The distance field of a drawing, a boolean array of SIDE * OVER squared."""
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    distance = (inside - outside) / OVER
    distance = distance.reshape(SIDE, OVER, SIDE, OVER).mean(axis=(1, 3))
    return np.clip(128 + distance * STEP, 0, 255).astype(np.uint8)


def shape(name, size=SIDE * OVER):
    """A shape, drawn white on black in a square of so many pixels."""
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    radius = (0.5 - MARGIN / SIDE) * size
    middle = size / 2

    def polygon(points):
        draw.polygon([(middle + radius * x, middle + radius * y) for x, y in points], fill=255)

    def corners(count, turn=0.0, radii=(1.0,)):
        angle = [2 * math.pi * i / count - math.pi / 2 + turn for i in range(count)]
        return [(radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a)) for i, a in enumerate(angle)]

    def disc(part, fill=255):
        r = radius * part
        draw.ellipse([middle - r, middle - r, middle + r, middle + r], fill=fill)

    if name == "circle":
        disc(1.0)
    elif name == "ring":
        disc(1.0)
        disc(0.55, 0)
    elif name == "square":
        polygon(corners(4, math.pi / 4))
    elif name == "triangle":
        polygon(corners(3))
    elif name == "star":
        polygon(corners(10, 0.0, (1.0, 0.42)))
    elif name == "cross":
        a, b = 0.95, 0.3
        polygon(
            [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)]
        )
    elif name == "heart":
        t = np.linspace(0, 2 * math.pi, 200)
        x = 16 * np.sin(t) ** 3
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        polygon(list(zip(x / 17.5, -(y + 2.5) / 17.5)))
    return image


def digits(path, size=SIDE * OVER):
    """The ten digits, white on black in squares, and their widths in parts of these; None if the font has none."""
    try:
        font = ImageFont.truetype(path, 400)
        boxes = [font.getbbox(d, anchor="ls") for d in "0123456789"]
    except (OSError, ValueError):
        return None
    width = max(b[2] - b[0] for b in boxes)
    top, bottom = min(b[1] for b in boxes), max(b[3] for b in boxes)
    if width <= 20 or bottom - top <= 20:
        return None
    scale = (1 - 2 * MARGIN / SIDE) * size / max(width, bottom - top)
    font = ImageFont.truetype(path, 400 * scale)
    images, widths = [], []
    for d in "0123456789":
        box = font.getbbox(d, anchor="ls")
        image = Image.new("L", (size, size))
        x = size / 2 - (box[0] + box[2]) / 2
        y = size / 2 - (top + bottom) / 2 * scale
        ImageDraw.Draw(image).text((x, y), d, font=font, fill=255, anchor="ls")
        if np.asarray(image).mean() < 2.5:
            return None
        images.append(image)
        widths.append((box[2] - box[0]) / size)
    return images, widths


def fields_of(path):
    """Fields of the ten digits of a font, and their widths; None where it has none or the same twice."""
    drawn = digits(path)
    if drawn is None:
        return None
    fields, widths = np.stack([field(np.asarray(image) > 127) for image in drawn[0]]), drawn[1]
    same = sum(np.abs(fields[i].astype(int) - fields[j]).mean() < 2 for i in range(10) for j in range(i))
    return None if same else (fields, widths)


def held_out(family):
    """Whether training must not see a family of fonts."""
    return hashlib.sha256(family.encode()).digest()[0] < 36  # one in seven


def main(out):
    listed = subprocess.run(
        ["fc-list", ":charset=30-39:lang=en", "file", "family", "style"], capture_output=True, text=True, check=True
    )
    fonts = {}
    for line in sorted(listed.stdout.splitlines()):
        path, _, rest = line.partition(": ")
        if path.endswith((".ttf", ".otf")):
            family, _, style = rest.partition(":style=")
            fonts.setdefault(family.split(",")[0].split(" ")[0], []).append((path, style))
    fields, widths, held, names, seen = [], [], [], [], set()
    for family, files in sorted(fonts.items()):
        kept = 0
        for path, _ in files:
            drawn = (
                fields_of(path)
                if kept < 6 and not any(w in path for w in ["Dingbat", "Symbol", "Emoji", "ornament"])
                else None
            )
            if drawn is None or drawn[0].tobytes() in seen:
                continue
            seen.add(drawn[0].tobytes())
            kept += 1
            fields.append(drawn[0])
            widths.append(drawn[1])
            held.append(held_out(family))
            names.append(pathlib.Path(path).name)
    shapes = np.stack([field(np.asarray(shape(name)) > 127) for name in SHAPES])
    np.savez_compressed(
        out,
        shapes=shapes,
        digits=np.stack(fields),
        widths=np.array(widths, np.float32),
        held=np.array(held),
        names=np.array(names),
    )
    print(f"{len(fields)} fonts of {len(fonts)} families, {sum(held)} held out")


if __name__ == "__main__":
    main(sys.argv[1])

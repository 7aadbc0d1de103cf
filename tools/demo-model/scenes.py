"""Drawn scenes and printed numbers: what is in a picture, and questions about it with their answers.

A picture is its size, its background, and sprites: fields of glyphs.npz that are moved, turned, scaled and coloured.
Lengths are parts of the shorter side until a size in pixels is chosen.
"""

import math
from dataclasses import dataclass, field

import numpy as np

SHAPES = ["circle", "square", "triangle", "star", "cross", "heart", "ring"]
PLURALS = {"cross": "crosses"}
# The first layer of the model takes mean and contrast out of every patch of 48 x 48 pixels, so that it can tell hues
# but hardly brightness: two of the colours have none.
COLOURS = {
    "red": (222, 40, 40),
    "orange": (248, 140, 20),
    "yellow": (245, 222, 40),
    "green": (40, 165, 60),
    "cyan": (40, 200, 215),
    "blue": (40, 75, 220),
    "purple": (135, 50, 180),
    "pink": (250, 120, 190),
    "black": (15, 15, 15),
    "white": (248, 248, 248),
}
PLACES = [["top left", "top", "top right"], ["left", "center", "right"], ["bottom left", "bottom", "bottom right"]]
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@dataclass
class Picture:
    """A picture of `width` and `height` in units of the shorter side.

    Sprites are (field, x, y, half, turn, stretch, colour).
    """

    width: float
    height: float
    background: tuple  # (kind, colour, colour, angle)
    noise: float
    soft: float  # width of an edge, in pixels of the model
    sprites: list = field(default_factory=list)


def plural(shape):
    return PLURALS.get(shape, shape + "s")


def is_apart(a, b):
    """Whether two colours can be told from each other on and beside each other."""
    return sum(abs(x - y) for x, y in zip(a, b)) > 190


def jitter(rng, colour, amount=14):
    return tuple(int(min(255, max(0, c + rng.integers(-amount, amount + 1)))) for c in colour)


def background(rng, colours):
    """A background that all of the colours stand out from, and its name if it has one."""
    for _ in range(50):
        name = None
        kind = rng.choice(["named", "pale", "any", "gradient"], p=[0.3, 0.3, 0.2, 0.2])
        if kind == "named":
            name = str(rng.choice(list(COLOURS)))
            first = jitter(rng, COLOURS[name])
        elif kind == "pale":
            first = tuple(int(x) for x in rng.integers(215, 256, 3))
        else:
            first = tuple(int(x) for x in rng.integers(0, 256, 3))
        second = first
        if kind == "gradient":
            second = tuple(int(min(255, max(0, c + rng.integers(-70, 71)))) for c in first)
        if all(is_apart(first, c) and is_apart(second, c) for c in colours):
            return (first, second, float(rng.uniform(0, 2 * math.pi))), name
    return ((255, 255, 255), (255, 255, 255), 0.0), "white"


def canvas(rng):
    """Sides of a picture in units of the shorter one."""
    ratio = float(np.exp(rng.uniform(0, math.log(1.9)))) if rng.random() < 0.8 else 1.0
    return (ratio, 1.0) if rng.random() < 0.6 else (1.0, ratio)


def surface(rng):
    noise = 0.0 if rng.random() < 0.4 else float(rng.uniform(0.003, 0.07))
    return noise, float(np.exp(rng.uniform(math.log(0.7), math.log(5.0))))


def place(rng, count, width, height):
    """Middles and radii of shapes that do not touch, count of them."""
    largest = min(0.42, 0.5 * math.sqrt(width * height / (count * 1.7)))
    while True:
        placed = []
        for _ in range(60):
            r = float(rng.uniform(0.35, 1.0)) * largest
            r = max(r, 0.07)
            x, y = (float(rng.uniform(r, side - r)) if side > 2 * r else side / 2 for side in (width, height))
            if all(math.hypot(x - a, y - b) > 1.08 * (r + c) for a, b, c in placed):
                placed.append((x, y, r))
                if len(placed) == count:
                    return placed
        largest *= 0.85


def scene(rng, atlas):
    """A picture of one to six shapes, and what is in it: (shape, colour, x, y) with x and y from 0 to 1."""
    width, height = canvas(rng)
    count = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.3, 0.2, 0.15, 0.13, 0.12, 0.1]))
    same = rng.random() < 0.4
    kinds = [
        (str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS))))
        for _ in range(1 if same else int(rng.integers(1, count + 1)))
    ]
    things = [kinds[i % len(kinds)] if i < len(kinds) else kinds[int(rng.integers(len(kinds)))] for i in range(count)]
    colours = {name: COLOURS[name] for _, name in things}
    (first, second, angle), named = background(rng, list(colours.values()))
    noise, soft = surface(rng)
    picture = Picture(width, height, (first, second, angle), noise, soft)
    seen = []
    for (shape, colour), (x, y, r) in zip(things, place(rng, count, width, height)):
        stretch = float(np.exp(rng.normal(0, 0.06)))
        turn = float(rng.uniform(-math.pi, math.pi)) if rng.random() < 0.6 else 0.0
        picture.sprites.append((atlas.shape(shape), x, y, r / atlas.reach, turn, stretch, jitter(rng, COLOURS[colour])))
        seen.append((shape, colour, x / width, y / height))
    return picture, seen, named


def number(rng, atlas, digits, held=False):
    """A picture with a printed number."""
    width, height = canvas(rng)
    font = atlas.font(rng, held)
    gap = float(rng.uniform(0.0, 0.1))
    advances = [atlas.width(font, int(d)) + gap for d in digits]
    turn = float(rng.normal(0, 0.09)) if rng.random() < 0.6 else 0.0
    line = sum(advances)
    room = min(
        width / (line * abs(math.cos(turn)) + abs(math.sin(turn)) + 0.1), height / (line * abs(math.sin(turn)) + 0.95)
    )
    cell = room * float(rng.uniform(0.45, 1.0))
    colour = (
        jitter(rng, COLOURS[str(rng.choice(list(COLOURS)))], 30)
        if rng.random() < 0.6
        else tuple(int(x) for x in rng.integers(0, 256, 3))
    )
    (first, second, angle), _ = background(rng, [colour])
    noise, soft = surface(rng)
    soft = min(soft, 3.0)
    picture = Picture(width, height, (first, second, angle), noise, soft)
    half_x = (line * abs(math.cos(turn)) + 0.8 * abs(math.sin(turn))) * cell / 2
    half_y = (line * abs(math.sin(turn)) + 0.8 * abs(math.cos(turn))) * cell / 2
    cx = float(rng.uniform(half_x, width - half_x)) if width > 2 * half_x else width / 2
    cy = float(rng.uniform(half_y, height - half_y)) if height > 2 * half_y else height / 2
    along = -line / 2
    for d, advance in zip(digits, advances):
        offset = (along + advance / 2) * cell
        x, y = cx + offset * math.cos(turn), cy + offset * math.sin(turn)
        picture.sprites.append((atlas.digit(font, int(d)), x, y, cell / 2, turn, 1.0, colour))
        along += advance
    return picture


def named_place(x, y):
    """The place of a point, or None where two names would do."""
    cells = []
    for v in (x, y):
        cells.append(0 if v < 0.3 else 1 if 0.4 < v < 0.6 else 2 if v > 0.7 else None)
    return None if None in cells else PLACES[cells[1]][cells[0]]


def listed(seen):
    """What is in a scene, in words: the most frequent first, then in the order of shapes and colours."""
    counts = {}
    for shape, colour, _, _ in seen:
        counts[shape, colour] = counts.get((shape, colour), 0) + 1
    order = sorted(counts.items(), key=lambda kv: (-kv[1], SHAPES.index(kv[0][0]), list(COLOURS).index(kv[0][1])))
    words = [f"{NUMBERS[n]} {colour} {shape if n == 1 else plural(shape)}" for (shape, colour), n in order]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def ask_scene(rng, seen, named):
    """Questions about a scene, each with its answer."""
    pick = lambda *options: options[int(rng.integers(len(options)))]
    noun = pick("picture", "image")
    colour_word = pick("color", "colour")
    shapes, colours = [s for s, _, _, _ in seen], [c for _, c, _, _ in seen]
    asked = []
    asked.append(
        (
            pick(
                "What is in the {n}?",
                "What do you see?",
                "Describe the {n}.",
                "What is in this {n}?",
                "What does the {n} show?",
                "Describe this {n}.",
            ),
            listed(seen),
        )
    )
    asked.append(
        (
            pick(
                "How many shapes are there?",
                "How many shapes are in the {n}?",
                "How many shapes do you see?",
                "Count the shapes.",
                "How many objects are there?",
                "How many things are in the {n}?",
            ),
            str(len(seen)),
        )
    )
    shape = pick(*shapes) if rng.random() < 0.75 else pick(*SHAPES)
    asked.append(
        (
            pick(
                "How many {p} are there?", "How many {p} do you see?", "Count the {p}.", "How many {p} are in the {n}?"
            ).replace("{p}", plural(shape)),
            str(shapes.count(shape)),
        )
    )
    colour = pick(*colours) if rng.random() < 0.75 else pick(*COLOURS)
    asked.append(
        (
            pick(
                "How many {c} shapes are there?",
                "How many shapes are {c}?",
                "Count the {c} shapes.",
                "How many {c} things do you see?",
            ).replace("{c}", colour),
            str(colours.count(colour)),
        )
    )
    shape, colour = pick(*seen)[:2] if rng.random() < 0.5 else (pick(*SHAPES), pick(*colours))
    there = any(s == shape and c == colour for s, c, _, _ in seen)
    article = "an" if colour == "orange" else "a"
    asked.append(
        (
            pick("Is there {a} {c} {s}?", "Do you see {a} {c} {s}?", "Does the {n} show {a} {c} {s}?")
            .replace("{a}", article)
            .replace("{c}", colour)
            .replace("{s}", shape),
            "yes" if there else "no",
        )
    )
    if len(set(colours)) == 1:
        asked.append(
            (
                (
                    pick(
                        "What {w} is it?",
                        "What {w} is the shape?",
                        "What {w} is this?",
                        "Which {w} is it?",
                        "Name the {w}.",
                    )
                    if len(seen) == 1
                    else pick("What {w} are they?", "What {w} are the shapes?", "Which {w} are they?")
                ),
                colours[0],
            )
        )
    if len(set(shapes)) == 1:
        asked.append(
            (
                (
                    pick(
                        "What shape is it?",
                        "What shape is this?",
                        "Which shape is this?",
                        "Name the shape.",
                        "What kind of shape is it?",
                    )
                    if len(seen) == 1
                    else pick("What shapes are they?", "Which shape are they?", "What shape are they?")
                ),
                shapes[0],
            )
        )
    for shape, colour, x, y in seen:
        one_shape, one_colour = shapes.count(shape) == 1, colours.count(colour) == 1
        if one_shape:
            asked.append(
                (
                    pick(
                        "What {w} is the {s}?",
                        "Which {w} is the {s}?",
                        "What is the {w} of the {s}?",
                        "What is the {s}'s {w}?",
                    ).replace("{s}", shape),
                    colour,
                )
            )
        if one_colour:
            asked.append(
                (
                    pick("What shape is {c}?", "Which shape is {c}?", "What is {c}?", "What is the {c} shape?").replace(
                        "{c}", colour
                    ),
                    shape,
                )
            )
        where = named_place(x, y)
        name = shape if one_shape else f"{colour} shape" if one_colour else None
        if rng.random() < 0.3 and sum(s == shape and c == colour for s, c, _, _ in seen) == 1:
            name = f"{colour} {shape}"
        if where and name:
            asked.append(
                (
                    pick(
                        "Where is the {s}?",
                        "Where in the {n} is the {s}?",
                        "Where do you see the {s}?",
                        "In which part of the {n} is the {s}?",
                    ).replace("{s}", name),
                    where,
                )
            )
    if len(seen) == 1 and (where := named_place(seen[0][2], seen[0][3])):
        asked.append((pick("Where is it?", "Where is the shape?", "Where in the {n} is it?"), where))
    if len(seen) >= 2:
        a, b = (seen[i] for i in rng.choice(len(seen), 2, replace=False))
        if all(sum(s == t[0] and c == t[1] for s, c, _, _ in seen) == 1 for t in (a, b)):
            axis = int(rng.integers(2))
            gap = a[2 + axis] - b[2 + axis]
            if abs(gap) > 0.15:
                word, positive = pick(
                    *[[("left of", False), ("right of", True)], [("above", False), ("below", True)]][axis]
                )
                asked.append(
                    (f"Is the {a[1]} {a[0]} {word} the {b[1]} {b[0]}?", "yes" if (gap > 0) == positive else "no")
                )
    if named:
        asked.append(
            (
                pick(
                    "What {w} is the background?", "Which {w} is the background?", "What is the {w} of the background?"
                ),
                named,
            )
            if named not in ("black", "white")
            else asked[0]
        )
    rng.shuffle(asked)
    return [(q.replace("{n}", noun).replace("{w}", colour_word), a) for q, a in dict(asked).items()]


def ask_number(rng, digits):
    """Questions about a printed number."""
    pick = lambda *options: options[int(rng.integers(len(options)))]
    noun = pick("picture", "image")
    asked = [
        (
            pick(
                "What number is this?",
                "What number is in the {n}?",
                "What number do you see?",
                "Read the number.",
                "Which number is shown?",
                "What number is shown?",
                "What does the {n} say?",
                "What is the number?",
                "What is in the {n}?",
                "What number is printed here?",
                "What is written in the {n}?",
            ),
            digits,
        )
    ]
    asked.append(
        (
            pick(
                "How many digits does it have?",
                "How many digits are there?",
                "How many digits do you see?",
                "Count the digits.",
            ),
            str(len(digits)),
        )
    )
    asked.append((pick("What is the first digit?", "Which digit comes first?"), digits[0]))
    asked.append((pick("What is the last digit?", "Which digit comes last?"), digits[-1]))
    digit = pick(*digits) if rng.random() < 0.5 else str(rng.integers(10))
    asked.append(
        (f"Is there a {digit} in it?" if digit != "8" else "Is there an 8 in it?", "yes" if digit in digits else "no")
    )
    asked = [asked[0]] + [asked[i] for i in rng.permutation(range(1, len(asked)))[: int(rng.integers(0, 4))]]
    rng.shuffle(asked)
    return [(q.replace("{n}", noun), a) for q, a in asked]

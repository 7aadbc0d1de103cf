"""Conversations with pictures and sounds, packed into rows of tokens for training.

A segment is a conversation that begins with <bos>. Segments stand one after another in a row and do not see each other.
"""

import json
import math
import pathlib
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

import scenes
import sounds
import words

HERE = pathlib.Path(__file__).parent
PATCH, FRAME = 48, 640
TEXT, IMAGE, AUDIO = 0, 1, 2


class Vocabulary:
    """Text to ids, as a `gemma4` tokeniser does it: special tokens are never read out of text."""

    def __init__(self, path=HERE / "vocabulary.json"):
        state = json.load(open(path))
        self.tokens, self.merges = state["tokens"], [tuple(m.split(" ")) for m in state["merges"]]
        self.special = {t: i for i, t in enumerate(self.tokens[: state["special"]])}
        ids = {t: i for i, t in enumerate(self.tokens)}
        self.bpe = Tokenizer(models.BPE(ids, self.merges, byte_fallback=True, unk_token="<unk>"))
        self.bpe.normalizer = normalizers.Replace(" ", "\u2581")
        self.bpe.pre_tokenizer = pre_tokenizers.Split(Regex("\n+"), "isolated")
        self.known = {}

    def ids(self, text):
        found = self.known.get(text)
        if found is None:
            found = self.bpe.encode(text).ids
            if len(self.known) < 50_000:
                self.known[text] = found
        return found


class Atlas:
    """The fields of glyphs.npz: shapes first, then ten digits a font."""

    reach = 0.75  # a shape's radius in parts of the field's half side

    def __init__(self, path):
        state = np.load(path)
        self.fields = np.concatenate([state["shapes"], state["digits"].reshape(-1, *state["shapes"].shape[1:])])
        self.widths, held = state["widths"], state["held"]
        self.fonts = {True: np.flatnonzero(held), False: np.flatnonzero(~held)}

    def shape(self, name):
        return scenes.SHAPES.index(name)

    def font(self, rng, held):
        return int(rng.choice(self.fonts[held]))

    def width(self, font, digit):
        return float(self.widths[font, digit])

    def digit(self, font, digit):
        return len(scenes.SHAPES) + 10 * font + digit


def grid(width, height, budget):
    """Columns and rows of a picture of that shape, as Gemma 4's preprocessing chooses them."""
    f = math.sqrt(budget * PATCH * PATCH / (width * height))
    columns, rows = math.floor(f * width / PATCH), math.floor(f * height / PATCH)
    return max(columns, 1), max(rows, 1)


@dataclass
class Segment:
    """Tokens of a conversation: ids, whether the model is to say them, what they are; and the media."""

    ids: list = field(default_factory=list)
    said: list = field(default_factory=list)
    kinds: list = field(default_factory=list)
    pictures: list = field(default_factory=list)  # (Picture, columns, rows)
    sounds: list = field(default_factory=list)  # frames [n, 640]
    tasks: list = field(default_factory=list)  # (name, first token of the answer, its end)

    def put(self, ids, said=False, kind=TEXT):
        self.ids += ids
        self.said += [said] * len(ids)
        self.kinds += [kind] * len(ids)


class Writer:
    """Makes segments."""

    def __init__(self, rng, atlas, held=False):
        self.rng, self.atlas, self.held = rng, atlas, held
        self.vocabulary = Vocabulary()
        self.voice = sounds.Voice()
        self.pool = []
        special = self.vocabulary.special
        self.bos, self.turn, self.end = special["<bos>"], special["<|turn>"], special["<turn|>"]
        self.newline = self.vocabulary.ids("\n")
        self.roles = {role: self.vocabulary.ids(role) for role in ("system", "user", "model")}

    def digits(self, most):
        count = int(self.rng.integers(1, most + 1))
        return "".join(str(d) for d in self.rng.integers(0, 10, count))

    def speech(self, digits=None):
        """Clean speech and its digits; most clips are used several times."""
        if digits is None and len(self.pool) >= 200 and self.rng.random() < 0.6:
            return self.pool[int(self.rng.integers(len(self.pool)))]
        digits = digits or self.digits(5)
        clip = (digits, sounds.speech(self.rng, self.voice, digits, self.held))
        if len(self.pool) < 1500:
            self.pool.append(clip)
        else:
            self.pool[int(self.rng.integers(1500))] = clip
        return clip

    def frames(self, clean):
        x = sounds.recorded(self.rng, clean)
        x = np.concatenate([x, np.zeros(-len(x) % FRAME, np.int16)])
        return x.reshape(-1, FRAME)

    def picture(self, segment, picture):
        budget = int(self.rng.choice([70, 140, 280], p=self.budgets))
        columns, rows = grid(picture.width, picture.height, budget)
        special = self.vocabulary.special
        segment.put([special["<|image>"]])
        segment.put([special["<|image|>"]] * (columns * rows), kind=IMAGE)
        segment.put([special["<image|>"]])
        segment.pictures.append((picture, columns, rows))

    def sound(self, segment, clean):
        frames = self.frames(clean)
        special = self.vocabulary.special
        segment.put([special["<|audio>"]])
        segment.put([special["<|audio|>"]] * len(frames), kind=AUDIO)
        segment.put([special["<audio|>"]])
        segment.sounds.append(frames)

    def exchange(self, segment, task, question, answer, media=()):
        """One question with its media, and its answer."""
        segment.put([self.turn] + self.roles["user"] + self.newline)
        if task != "text" and self.rng.random() < 0.15:
            question = question.lower()
        if task != "text" and self.rng.random() < 0.15:
            question = question.rstrip("?.")
        after = media and self.rng.random() < 0.08
        question = self.vocabulary.ids(question)
        if after:
            segment.put(question)
        for show, what in media:
            show(segment, what)
        if not after:
            segment.put(question)
        segment.put([self.end] + self.newline + [self.turn] + self.roles["model"] + self.newline)
        start = len(segment.ids)
        segment.put(self.vocabulary.ids(answer) + [self.end], said=True)
        segment.tasks.append((task, start, len(segment.ids)))
        segment.put(self.newline)

    def talk(self, segment, task, asked, media):
        for question, answer in asked:
            self.exchange(segment, task, question, answer, media)
            media = ()

    def episode(self, segment, kinds):
        kind, rng = str(self.rng.choice(list(kinds), p=list(kinds.values()))), self.rng
        if kind == "scene":
            picture, seen, named = scenes.scene(rng, self.atlas)
            self.talk(
                segment, kind, scenes.ask_scene(rng, seen, named)[: int(rng.integers(2, 7))], [(self.picture, picture)]
            )
        elif kind == "number":
            digits = self.digits(4)
            self.talk(
                segment,
                kind,
                scenes.ask_number(rng, digits),
                [(self.picture, scenes.number(rng, self.atlas, digits, self.held))],
            )
        elif kind == "speech":
            digits, clean = self.speech()
            self.talk(segment, kind, sounds.ask_speech(rng, digits), [(self.sound, clean)])
        elif kind == "tones":
            if rng.random() < 0.6:
                count = int(rng.integers(1, 7))
                self.talk(segment, "beeps", sounds.ask_beeps(rng, count), [(self.sound, sounds.beeps(rng, count))])
            else:
                rises = bool(rng.random() < 0.5)
                self.talk(segment, "slide", sounds.ask_slide(rng, rises), [(self.sound, sounds.slide(rng, rises))])
        elif kind == "mixed":
            self.mixed(segment)
        else:
            for _ in range(int(rng.integers(1, 5))):
                self.exchange(segment, "text", *words.ask(rng))

    def mixed(self, segment):
        rng = self.rng
        pick = lambda *options: options[int(rng.integers(len(options)))]
        if rng.random() < 0.6:
            spoken, clean = self.speech()
            shown = spoken
            if len(shown) > 4 or rng.random() < 0.5:
                shown = self.digits(4)
                if len(spoken) <= 4 and rng.random() < 0.5:  # one digit differs
                    at = int(rng.integers(len(spoken)))
                    shown = spoken[:at] + str((int(spoken[at]) + int(rng.integers(1, 10))) % 10) + spoken[at + 1 :]
            asked = [
                (
                    pick(
                        "Do you see and hear the same number?",
                        "Are the two numbers the same?",
                        "Is it the same number?",
                        "Do the picture and the recording say the same number?",
                        "Is the number in the picture the number that you hear?",
                        "Does the recording say the number in the picture?",
                    ),
                    "yes" if shown == spoken else "no",
                )
            ]
            if int(shown) != int(spoken):
                asked.append(
                    (
                        pick(
                            "Which number is larger?",
                            "Which number is larger, the one in the picture or the one in the recording?",
                            "Where is the larger number?",
                        ),
                        "the picture" if int(shown) > int(spoken) else "the recording",
                    )
                )
            asked.append((pick("What number is in the picture?", "What number do you see?"), shown))
            asked.append(
                (pick("What number do you hear?", "What number is in the recording?", "What number is spoken?"), spoken)
            )
            media = [(self.picture, scenes.number(rng, self.atlas, shown, self.held)), (self.sound, clean)]
        else:
            picture, seen, _ = scenes.scene(rng, self.atlas)
            same = rng.random() < 0.5
            count = len(seen) if same else int(rng.integers(1, 7))
            if rng.random() < 0.5:
                asked = [
                    (
                        pick(
                            "Are there as many beeps as shapes?",
                            "Do you hear as many beeps as you see shapes?",
                            "Is the number of beeps the number of shapes?",
                        ),
                        "yes" if count == len(seen) else "no",
                    ),
                    (pick("How many beeps do you hear?", "Count the beeps."), str(count)),
                ]
                clean = sounds.beeps(rng, count)
            else:
                asked = [
                    (
                        pick(
                            "Is the number that you hear the number of shapes?",
                            "Does the recording say how many shapes there are?",
                            "Do you hear the number of shapes?",
                        ),
                        "yes" if count == len(seen) else "no",
                    ),
                    ("What number do you hear?", str(count)),
                ]
                clean = self.speech(str(count))[1]
            asked.append(
                (pick("How many shapes are there?", "How many shapes do you see?", "Count the shapes."), str(len(seen)))
            )
            media = [(self.picture, picture), (self.sound, clean)]
        first = asked[:1] if rng.random() < 0.5 else []
        rest = asked[len(first) :]
        rng.shuffle(rest)
        if rng.random() < 0.3:
            media.reverse()
        self.talk(segment, "mixed", first + rest[: int(rng.integers(1, 4))], media)

    budgets = [0.5, 0.15, 0.35]
    SYSTEM = ["You are a helpful assistant.", "Answer briefly.", "You are carat's toy model.", "Be brief."]

    def segment(self, kinds, longest):
        """A conversation of at most so many tokens."""
        while True:
            segment = Segment()
            segment.put([self.bos])
            if self.rng.random() < 0.06:
                segment.put([self.turn] + self.roles["system"] + self.newline)
                segment.put(self.vocabulary.ids(str(self.rng.choice(self.SYSTEM))) + [self.end] + self.newline)
            self.episode(segment, kinds)
            while self.rng.random() < 0.2:
                self.episode(segment, kinds)
            if len(segment.ids) <= longest:
                return segment


def pack(writer, kinds, rows, length):
    """`rows` rows of `length` tokens: arrays by name, as `train.py` and `render.py` read them."""
    out = {
        name: np.zeros((rows, length), kind)
        for name, kind in (("ids", np.int32), ("segment", np.int32), ("position", np.int32), ("block", np.int32))
    }
    said = np.zeros((rows, length), bool)
    image_at, audio_at, frames = [], [], []
    pictures, tasks, waiting = [], [], []
    number = 0
    for row in range(rows):
        at = 0
        while length - at > 40:
            fits = next((i for i, s in enumerate(waiting) if len(s.ids) <= length - at), None)
            segment = waiting.pop(fits) if fits is not None else writer.segment(kinds, length)
            n = len(segment.ids)
            if n > length - at:
                waiting.append(segment)
                if len(waiting) > 6:
                    break
                continue
            number += 1
            here = slice(at, at + n)
            out["ids"][row, here], said[row, here] = segment.ids, segment.said
            out["segment"][row, here], out["position"][row, here] = number, np.arange(n)
            kinds_here = np.array(segment.kinds)
            cells = np.flatnonzero(kinds_here == IMAGE) + at
            used = 0
            for picture, columns, lines in segment.pictures:
                count = columns * lines
                pictures.append((picture, columns, lines))
                out["block"][row, cells[used : used + count]] = len(pictures)
                image_at.append(row * length + cells[used : used + count])
                used += count
            audio_at.append(row * length + np.flatnonzero(kinds_here == AUDIO) + at)
            frames += segment.sounds
            tasks += [(name, row * length + at + a, row * length + at + b) for name, a, b in segment.tasks]
            at += n
    out["said"] = said
    empty = [np.zeros(0, np.int64)]
    out["image_at"], out["audio_at"] = np.concatenate(empty + image_at), np.concatenate(empty + audio_at)
    out["frames"] = np.concatenate([np.zeros((0, FRAME), np.int16)] + frames)
    out.update(sprites(pictures))
    return out, tasks


def sprites(pictures):
    """Pictures as arrays: a line for each patch, picture, sprite, and pair of a patch and a sprite."""
    patch, image, sprite, pairs = [], [], [], []
    patches = 0
    for i, (p, columns, rows) in enumerate(pictures):
        first, second, angle = p.background
        sx, sy = columns * PATCH / p.width, rows * PATCH / p.height
        soft = p.soft * math.sqrt(columns * rows / 256)
        image.append([sx, sy, *first, *second, angle, p.noise, max(soft, 0.7), p.width, p.height])
        patch.append(
            np.stack(
                [np.full(columns * rows, i), np.tile(np.arange(columns), rows), np.repeat(np.arange(rows), columns)], 1
            )
        )
        for kind, x, y, half, turn, stretch, colour in p.sprites:
            reach = half * 1.42 * max(stretch, 1 / stretch)
            c0, c1 = max(0, int((x - reach) * sx // PATCH)), min(columns - 1, int((x + reach) * sx // PATCH))
            r0, r1 = max(0, int((y - reach) * sy // PATCH)), min(rows - 1, int((y + reach) * sy // PATCH))
            touched = (patches + np.arange(r0, r1 + 1)[:, None] * columns + np.arange(c0, c1 + 1)).ravel()
            pairs.append(np.stack([touched, np.full(len(touched), len(sprite))], 1))
            sprite.append([kind, x, y, half, turn, stretch, *colour])
        patches += columns * rows
    whole = lambda parts, width: np.concatenate([np.zeros((0, width), np.int64)] + parts)
    return {
        "patch": whole(patch, 3),
        "pairs": whole(pairs, 2),
        "image": np.array(image, np.float32).reshape(-1, 13),
        "sprite": np.array(sprite, np.float32).reshape(-1, 9),
    }

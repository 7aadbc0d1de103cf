"""Paints pictures with Pillow, as files are that the model was not trained on: training draws with `render.py`."""

import math
import subprocess

import numpy as np
from PIL import Image

import glyphs
import scenes

SIZE = 512  # of a sprite, in pixels, before it is scaled


class Painter:
    def __init__(self, atlas_path):
        names = np.load(atlas_path)["names"]
        files = subprocess.run(["fc-list", ":", "file"], capture_output=True, text=True, check=True).stdout
        paths = {line.rstrip(": ").rsplit("/", 1)[-1]: line.rstrip(": ") for line in files.splitlines()}
        self.fonts = [paths.get(name) for name in names]
        self.known = {}

    def sprite(self, index):
        if index not in self.known:
            count = len(scenes.SHAPES)
            if index < count:
                self.known[index] = glyphs.shape(scenes.SHAPES[index], SIZE)
            else:
                images, _ = glyphs.digits(self.fonts[(index - count) // 10], SIZE)
                for d, image in enumerate(images):
                    self.known[count + (index - count) // 10 * 10 + d] = image
        return self.known[index]

    def paint(self, rng, picture):
        """A picture of 200 to 900 pixels on the shorter side, as RGB."""
        over = 2
        side = int(np.exp(rng.uniform(math.log(200), math.log(900))))
        width, height = round(picture.width * side), round(picture.height * side)
        w, h = width * over, height * over
        first, second, angle = picture.background
        x = (np.arange(w) + 0.5) / w - 0.5
        y = (np.arange(h) + 0.5) / h - 0.5
        along = np.clip(x[None, :] * math.cos(angle) + y[:, None] * math.sin(angle) + 0.5, 0, 1)[:, :, None]
        canvas = np.array(first) * (1 - along) + np.array(second) * along
        image = Image.fromarray(canvas.round().astype(np.uint8))
        for index, cx, cy, half, turn, stretch, colour in picture.sprites:
            scale = side * over
            sx, sy = SIZE / 2 / (half * scale * stretch), SIZE / 2 / (half * scale / stretch)
            cos, sin = math.cos(turn), math.sin(turn)
            px, py = cx * scale, cy * scale
            # from a pixel of the picture to one of the sprite
            a, b, d, e = cos * sx, sin * sx, -sin * sy, cos * sy
            matrix = (a, b, SIZE / 2 - a * px - b * py, d, e, SIZE / 2 - d * px - e * py)
            source = self.sprite(index)
            shrink = max(1, round(min(sx, sy)))
            if shrink > 1:
                source = source.resize((SIZE // shrink, SIZE // shrink), Image.BOX)
                matrix = tuple(m / shrink for m in matrix)
            mask = source.transform((w, h), Image.AFFINE, matrix, Image.BILINEAR)
            image.paste(colour, (0, 0), mask)
        image = image.resize((width, height), Image.BOX)
        if picture.noise:
            noisy = np.asarray(image) + rng.standard_normal((height, width, 3)) * picture.noise * 255
            image = Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))
        return image

"""Draws the patches of pictures, all at once, on whatever device the arrays are on."""

import torch

PATCH = 48
STEP = 16.0


def draw(batch, fields, generator=None):
    """Patches [n, 3, 48, 48] of 0 to 1, as 8-bit pictures have them. `fields` is [n, 64, 64] u8.

    With a generator the noise is the same every time.
    """
    patch, image = batch["patch"], batch["image"]
    of_image = image[patch[:, 0]]  # [n, 13]
    is_coarse = (image[:, 8] * 1000 % 1 > 0.5)[patch[:, 0]][:, None, None, None]  # by chance, fixed for a picture
    pixels = fused(paint, patch, of_image, batch["sprite"], fields, batch["pairs"])
    random = lambda side: torch.randn(len(patch), 3, side, side, device=image.device, generator=generator)
    return fused(noisy, pixels, of_image, is_coarse, random(PATCH), random(PATCH // 3))


def paint(patch, of_image, sprite, fields, pairs):
    """Backgrounds and sprites."""
    n = patch.shape[0]
    inside = torch.arange(PATCH, device=of_image.device) + 0.5
    x = (patch[:, 1, None] * PATCH + inside) / of_image[:, 0:1]  # [n, 48], in units of the picture
    y = (patch[:, 2, None] * PATCH + inside) / of_image[:, 1:2]
    angle = of_image[:, 8]
    along = (x / of_image[:, 11:12] - 0.5)[:, None, :] * angle.cos()[:, None, None] + (y / of_image[:, 12:13] - 0.5)[
        :, :, None
    ] * angle.sin()[:, None, None]
    along = (along + 0.5).clamp(0, 1)[:, None]
    first, second = of_image[:, 2:5, None, None] / 255, of_image[:, 5:8, None, None] / 255
    pixels = first + (second - first) * along  # [n, 3, 48, 48]
    alpha = cover(x, y, of_image, sprite, fields, pairs)
    covered = torch.zeros(n, PATCH, PATCH, device=of_image.device).index_add(0, pairs[:, 0], alpha)[:, None]
    colours = (sprite[pairs[:, 1], 6:9] / 255)[:, :, None, None]
    painted = torch.zeros_like(pixels).index_add(0, pairs[:, 0], alpha[:, None] * colours)
    return pixels * (1 - covered.clamp(max=1)) + painted / covered.clamp(min=1)


def noisy(pixels, of_image, is_coarse, noise, coarse):
    coarse = coarse.repeat_interleave(3, 2).repeat_interleave(3, 3)
    pixels = pixels + torch.where(is_coarse, coarse, noise) * of_image[:, 9, None, None, None]
    return (pixels.clamp(0, 1) * 255).round() / 255


def fused(function, *arguments):
    """The result of a function, compiled where the arguments are on a GPU and the compiler can."""
    name = function.__name__
    if not arguments[0].is_cuda or compiled.get(name) is False:
        return function(*arguments)
    if name not in compiled:
        compiled[name] = torch.compile(function, dynamic=True)
    try:
        return compiled[name](*arguments)
    except Exception as error:
        print(f"{name} is not compiled: {str(error)[:300]}", flush=True)
        compiled[name] = False
        return function(*arguments)


compiled = {}


def cover(x, y, of_image, sprite, fields, pairs):
    """How much of each pixel a sprite covers, [pairs, 48, 48]."""
    at, what = pairs[:, 0], sprite[pairs[:, 1]]
    column = lambda i: what[:, i, None, None]
    dx, dy = x[at][:, None, :] - column(1), y[at][:, :, None] - column(2)
    cos, sin, half = column(4).cos(), column(4).sin(), column(3)
    u = (cos * dx + sin * dy) / (half * column(5))  # -1 to 1 within the field
    v = (cos * dy - sin * dx) / (half / column(5))
    side = fields.shape[-1]
    fu, fv = ((u + 1) * side / 2 - 0.5).clamp(0, side - 1.001), ((v + 1) * side / 2 - 0.5).clamp(0, side - 1.001)
    iu, iv = fu.long(), fv.long()
    fu, fv = fu - iu, fv - iv
    base = what[:, 0].long()[:, None, None] * (side * side) + iv * side + iu
    flat = fields.reshape(-1)
    value = lambda offset: flat[base + offset].float()
    upper = value(0) * (1 - fu) + value(1) * fu
    lower = value(side) * (1 - fu) + value(side + 1) * fu
    distance = ((upper * (1 - fv) + lower * fv) - 128) / STEP  # pixels of the field
    settings = of_image[at]
    scale = (settings[:, 0] * settings[:, 1]).sqrt()[:, None, None] * half * 2 / side
    alpha = (0.5 + distance * scale / settings[:, 10, None, None]).clamp(0, 1)
    return alpha * ((u.abs() < 1) & (v.abs() < 1))

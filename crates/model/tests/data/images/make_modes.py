#!/usr/bin/env python3
"""Makes modes/: small pictures in the modes and variants of each format, and beside each, as
NAME.png, what Pillow's convert("RGB") makes of it.

usage: make_modes.py   (in this folder; needs pillow and, for two files, ffmpeg)
"""
import pathlib
import subprocess

import numpy
from PIL import Image, ImageOps

W, H = 21, 13
x, y = numpy.meshgrid(numpy.arange(W), numpy.arange(H))
rgb = numpy.stack([x * 12, y * 19, (x * y * 7) % 256], -1).astype(numpy.uint8)
rgb[:5, :9] = [255, 0, 0]
rgb[7:, 14:] = [0, 0, 255]
picture = Image.fromarray(rgb)
gray = picture.convert("L")
alpha = Image.fromarray(((x * 37 + y * 11) % 256).astype(numpy.uint8))
rgba, la = picture.copy(), gray.copy()
rgba.putalpha(alpha)
la.putalpha(alpha)
palette = picture.quantize(29)
out = pathlib.Path("modes")


def save(name, image, **how):
    image.save(out / name, **how)


save("h2v2.jpg", picture, quality=90)
save("h2v1.jpg", picture, quality=90, subsampling=1)
save("full.jpg", picture, quality=90, subsampling=0, restart_marker_blocks=2)
save("progressive.jpg", picture, quality=85, progressive=True, restart_marker_rows=1)
save("gray.jpg", gray, quality=85)
save("cmyk.jpg", picture.convert("CMYK"), quality=85)
save("rgb.jpg", picture, quality=85, keep_rgb=True)
exif = Image.Exif()
exif[274] = 5
save("turned.jpg", picture, quality=85, exif=exif)
save("turned.webp", rgba, lossless=True, exact=True, exif=exif)
save("one.png", picture.convert("1"))
save("la.png", la)
save("rgba.png", rgba)
save("palette.png", palette, transparency=3)
save("gray-transparent.png", gray, transparency=100)
save("clip.png", Image.fromarray((x * 20 + y).astype(numpy.uint16)))
save("palette.gif", palette, transparency=3)
save("lossy.webp", rgba, quality=60)
save("palette.tif", palette, compression="tiff_lzw")
save("turned.tif", picture, tiffinfo={274: 8})
save("cmyk.tif", picture.convert("CMYK"))
save("la.tif", la, compression="packbits")
save("one.tif", picture.convert("1"), compression="group4")
save("integer.tif", Image.fromarray((x * 300 - y * 200).astype(numpy.int32)))
save("float.tif", Image.fromarray((x * 17.4 - y * 9.7).astype(numpy.float32)))
save("ycbcr.tif", picture.convert("YCbCr"))
save("palette.bmp", palette)


def within(name, transparent):
    """A GIF whose only frame, of 16 colours, leaves the edge of its screen free."""
    frame = Image.fromarray(((x + 3 * y) % 16).astype(numpy.uint8), "P")
    frame.putpalette([(value * part) % 256 for value in range(3, 19) for part in (16, 37, 211)])
    frame.save(out / name, optimize=False, **({} if transparent is None else {"transparency": transparent}))
    data = bytearray((out / name).read_bytes())
    data[6:10] = (W + 9).to_bytes(2, "little") + (H + 6).to_bytes(2, "little")
    at = data.index(b"\x2c\0\0\0\0" + W.to_bytes(2, "little"))
    data[at + 1:at + 5] = (4).to_bytes(2, "little") + (5).to_bytes(2, "little")
    (out / name).write_bytes(data)


within("within.gif", None)
within("within-transparent.gif", 6)
for name, pixels in [("rgb565.bmp", "rgb565le"), ("rgb48.png", "rgb48be"), ("h1v2.jpg", "yuvj440p"),
                     ("ya16.png", "ya16be")]:
    source = str(out / "rgba.png")
    subprocess.run(["ffmpeg", "-y", "-v", "error", "-i", source, "-pix_fmt", pixels, "-q:v", "3",
                    "-bitexact", str(out / name)], check=True)
moving = [Image.new("L", (6, 4), value) for value in (0, 80, 160)]
moving[0].save("moving.png", save_all=True, append_images=moving[1:], duration=500)
for path in sorted(out.glob("*")):
    if not path.name.endswith(".expected.png"):
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        image.save(str(path) + ".expected.png", optimize=True)

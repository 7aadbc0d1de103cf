#!/usr/bin/env python3
"""Makes modes/ and near/: small pictures in the modes and variants of each format, and beside each, as
NAME.png, what Pillow's convert("RGB") makes of it.

usage: make_modes.py   (in this folder; needs pillow, pillow_heif and, for four files, ffmpeg)
"""
import pathlib
import struct
import subprocess
import zlib

import numpy
import pillow_heif
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


def tiff(name, fields, strips, order="<", wide=False):
    """A TIFF file of fields {tag: values}, numbers of 16 bits or, as tuples, fractions; the strips are tiles
    where there is a field 322. A wide one is a BigTIFF."""
    places = (324, 325) if 322 in fields else (273, 279)
    short, place, count = (order + "H", order + "Q", order + "Q") if wide else (order + "H", order + "I", order + "H")
    room = 8 if wide else 4
    start = 16 if wide else 8
    size = struct.calcsize(count) + (len(fields) + 2) * (4 + 2 * room) + room
    entries, behind = [], b""

    def add(tag, kind, values):
        nonlocal behind
        if kind == 5:
            raw = b"".join(struct.pack(order + "II", *value) for value in values)
        else:
            raw = b"".join(struct.pack(order + {3: "H", 4: "I"}[kind], value) for value in values)
        if len(raw) > room:
            at = start + size + len(behind)
            behind += raw + b"\0" * (len(raw) % 2)
            raw = struct.pack(place, at)
        entries.append((tag, kind, len(values), raw.ljust(room, b"\0")))

    for tag, values in fields.items():
        add(tag, 5 if isinstance(values[0], tuple) else 3, values)
    data = start + size + len(behind) + 8 * len(strips)  # both lists of places at most
    offsets = [data + sum(map(len, strips[:i])) for i in range(len(strips))]
    add(places[0], 4, offsets)
    add(places[1], 4, [len(strip) for strip in strips])
    entries.sort()
    head = (b"II" if order == "<" else b"MM") + struct.pack(short, 43 if wide else 42)
    head += struct.pack(order + "HH", 8, 0) if wide else b""
    head += struct.pack(place, start) + struct.pack(count, len(entries))
    for tag, kind, values, raw in entries:
        head += struct.pack(short, tag) + struct.pack(short, kind) + struct.pack(place, values) + raw
    head += struct.pack(place, 0) + behind
    (out / name).write_bytes(head.ljust(data, b"\0") + b"".join(strips))


def fields(bits, photometric, **more):
    """Those that every picture has; the others by their names."""
    names = {"compression": 259, "order": 266, "rows": 278, "planes": 284, "predictor": 317, "palette": 320,
             "tile": (322, 323), "extra": 338, "format": 339, "weights": 529, "sampling": 530, "range": 532}
    found = {256: [W], 257: [H], 258: bits, 262: [photometric], 277: [len(bits)]}
    for name, values in more.items():
        if name == "tile":
            found[322], found[323] = values[:1], values[1:]
        else:
            found[names[name]] = values if isinstance(values, list) else [values]
    return found


def old_lzw(data):
    """LZW with codes of 9 bits from the low end, as programs before 1988 wrote it."""
    codes = []
    for i, byte in enumerate(data):
        codes += ([256] if i % 250 == 0 else []) + [byte]
    bits = sum(code << 9 * i for i, code in enumerate(codes + [257]))
    return bits.to_bytes(len(codes) * 9 // 8 + 3, "little")


def packed(values, bits):
    """Rows of samples without gaps, the highest bit first."""
    rows = ["".join(format(value, f"0{bits}b") for value in row) for row in values]
    rows = [row + "0" * (-len(row) % 8) for row in rows]
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)


def tiles(pixels, width, height):
    """Tiles of a picture, those at the edge filled up."""
    pad = ((0, -H % height), (0, -W % width)) + ((0, 0),) * (pixels.ndim - 2)
    full = numpy.pad(pixels, pad, constant_values=77)
    rows = range(0, full.shape[0], height)
    return [full[top:top + height, left:left + width] for top in rows for left in range(0, full.shape[1], width)]


def differences(pixels):
    return numpy.diff(pixels, axis=1, prepend=numpy.zeros_like(pixels[:, :1]))


values = (x * 5 + y * 3) % 256
alpha_values = numpy.asarray(alpha)
seen = numpy.dstack([rgb.astype(int) * alpha_values[..., None] // 255, alpha_values]).astype(numpy.uint8)
wide_rgb = rgb.astype(int) * 257 - x[..., None]
flipped = bytes(int(format(byte, "08b")[::-1], 2) for byte in range(256))
colors = [int(value) for value in numpy.random.default_rng(1).integers(0, 65536, 768)]
tiff("associated.tif", fields([8] * 4, 2, extra=1), [seen.tobytes()])
tiff("associated16.tif", fields([16] * 4, 2, extra=1, rows=5), [
    (seen[top:top + 5].astype(">u2") * 257).tobytes() for top in range(0, H, 5)], ">")
tiff("unspecified.tif", fields([8] * 4, 2, extra=0), [seen.tobytes()])
tiff("palette-alpha.tif", fields([8] * 2, 3, extra=2, palette=colors), [numpy.dstack([values, alpha_values]).astype(
    numpy.uint8).tobytes()])
tiff("palette4.tif", fields([4], 3, palette=colors[:48]), [packed(values % 16, 4)], ">")
tiff("white16.tif", fields([16], 0), [(values * 2).astype("<u2").tobytes()])
tiff("white-float.tif", fields([32], 0, format=3), [(values * 1.3 - 20).astype("<f4").tobytes()])
tiff("white2.tif", fields([2], 0), [packed(values % 4, 2)])
tiff("white1.tif", fields([1], 0), [packed(values % 2, 1)], ">")
tiff("twelve.tif", fields([12], 1), [packed(values * 2, 12)])
tiff("signed.tif", fields([16], 1, format=2), [(values * 3 - 300).astype("<i2").tobytes()])
tiff("reversed.tif", fields([8] * 3, 2, order=2), [rgb.tobytes().translate(flipped)])
tiff("reversed-lzw.tif", fields([8], 1, order=2, compression=8), [
    zlib.compress(values.astype(numpy.uint8).tobytes()).translate(flipped)])
tiff("old-lzw.tif", fields([8] * 3, 2, compression=5), [old_lzw(rgb.tobytes())])
tiff("tiles.tif", fields([8] * 3, 2, compression=8, predictor=2, tile=[16, 16]), [
    zlib.compress(differences(tile).tobytes()) for tile in tiles(rgb, 16, 16)])
tiff("tiles-planes.tif", fields([8] * 3, 2, compression=8, predictor=2, planes=2, tile=[16, 16]), [
    zlib.compress(differences(tile).tobytes()) for plane in range(3) for tile in tiles(rgb[..., plane], 16, 16)])
tiff("planes.tif", fields([8] * 3, 2, planes=2, rows=4), [
    rgb[top:top + 4, :, plane].tobytes() for plane in range(3) for top in range(0, H, 4)])
tiff("predictor16.tif", fields([16] * 3, 2, compression=32946, predictor=2), [
    zlib.compress(differences(wide_rgb.astype(">u2")).astype(">u2").tobytes())], ">")
floats = (values * 1.3 - 20).astype(">f4").view(numpy.uint8).reshape(H, W, 4).transpose(0, 2, 1).reshape(H, -1)
tiff("predictor-float.tif", fields([32], 1, format=3, compression=8, predictor=3), [
    zlib.compress(differences(floats).tobytes())])
tiff("cmyk16.tif", fields([16] * 4, 5), [(seen.astype("<u2") * 257 + 100).tobytes()])
tiff("big.tif", fields([8] * 3, 2, rows=6), [rgb[top:top + 6].tobytes() for top in range(0, H, 6)], wide=True)
ycc = numpy.pad(numpy.asarray(picture.convert("YCbCr")), ((0, 1), (0, 1), (0, 0)), mode="edge")
units = b"".join(
    ycc[top:top + 2, left:left + 2, 0].tobytes() + ycc[top, left, 1:].tobytes()
    for top in range(0, H, 2) for left in range(0, W, 2))
tiff("shared-chroma.tif", fields([8] * 3, 6, compression=8, sampling=[2, 2]), [zlib.compress(units)])
tiff("studio.tif", fields([8] * 3, 6, compression=8, sampling=[2, 2], weights=[(2126, 10000), (7152, 10000), (722, 10000)],
                          range=[(15, 1), (235, 1), (128, 1), (240, 1), (128, 1), (240, 1)]), [zlib.compress(units)])
fax = Image.fromarray((((x // 3 + y // 2) % 3 > 0) * 255).astype(numpy.uint8)).convert("1")
save("fax3.tif", fax, compression="group3")
save("fax3-reversed.tif", fax, compression="group3", tiffinfo={266: 2})
save("fax3-two.tif", fax, compression="group3", tiffinfo={292: 5})
save("fax-runs.tif", fax, compression="tiff_ccitt")
save("fax4.tif", fax, compression="group4", tiffinfo={266: 2})
save("zstd.tif", picture, compression="zstd")
save("jpeg.tif", picture.convert("YCbCr"), compression="jpeg")
save("jpeg-rgb.tif", picture, compression="jpeg")
save("jpeg-gray.tif", gray, compression="jpeg")
save("pages.tif", gray, save_all=True, append_images=[gray.resize((3, 2))])


def gif(name, screen, place, stored, palette=b"", local=b"", transparent=None, interlaced=False):
    """A GIF of 16 colors whose codes are all of one length."""
    if interlaced:
        stored = numpy.concatenate([stored[0::8], stored[4::8], stored[2::4], stored[1::2]])
    codes = []
    for i, value in enumerate(stored.ravel()):
        codes += ([16] if i % 14 == 0 else []) + [int(value)]
    bits = sum(code << 5 * i for i, code in enumerate(codes + [17]))
    data = bits.to_bytes(len(codes) * 5 // 8 + 2, "little")
    control = b"" if transparent is None else bytes([0x21, 0xF9, 4, 1, 0, 0, transparent, 0])
    blocks = b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255))
    (out / name).write_bytes(
        b"GIF89a" + struct.pack("<HHBBB", *screen, 0x83 if palette else 0, 0, 0) + palette + control + b","
        + struct.pack("<HHHHB", *place, (0x83 if local else 0) | (0x40 if interlaced else 0)) + local + b"\4" + blocks
        + b"\0;")


sixteen, local = bytes(value % 256 for value in range(5, 2405, 50)), bytes(value % 256 for value in range(9, 3369, 70))
stored = (x + 3 * y) % 16
gif("beyond.gif", (W, H), (5, 4, W, H), stored, sixteen)
gif("beyond-transparent.gif", (W, H), (5, 4, W, H), stored, sixteen, local, transparent=9)
gif("larger.gif", (7, 5), (0, 0, W, H), stored, sixteen)
gif("no-screen.gif", (0, 0), (0, 2, W, H), stored, local=local)
gif("no-palette.gif", (W, H), (0, 0, W, H), stored)
gif("interlaced.gif", (W, H), (0, 0, W, H), stored, sixteen, interlaced=True)


def bmp(name, bits, data, size=40, compression=0, height=H, palette=b"", masks=b"", gap=0):
    """A BMP with a header of so many bytes, and so many bytes between palette and pixels."""
    if size == 12:
        header = struct.pack("<IHHHH", 12, W, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", size, W, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    header += masks.ljust(max(size - 40, 0), b"\0") + palette + bytes(gap)
    (out / name).write_bytes(
        b"BM" + struct.pack("<IHHI", 14 + len(header) + len(data), 0, 0, 14 + len(header)) + header + data)


def rows(values, bits):
    """Rows from the bottom up, each of whole words."""
    width = len(packed(values[:1], bits))
    lines = [packed(row[None], bits).ljust(-width % 4 + width, b"\0") for row in values[::-1]]
    return b"".join(lines)


def runs(values, bits, skip, at):
    """Runs, pixels without runs, and, where wanted, skipped places."""
    data = b""
    for number, row in enumerate(values[::-1]):
        left = 0
        while left < W:
            same = next((i for i in range(left, W) if row[i] != row[left]), W) - left
            if skip and number % 4 == 1 and left == 4:
                data += bytes([0, 2, 6, 1])  # the row that follows begins six places further
                break
            if same > 2 or W - left < 3:
                data, left = data + bytes([same, int(row[left]) * (17 if bits == 4 else 1)]), left + same
                continue
            count = min(5, W - left)
            pixels = packed(row[None, left:left + count], bits)
            data, left = data + bytes([0, count]) + pixels, left + count
            data += b"\0" * ((at + len(data)) % 2)
        data += b"\0\0"
    return data + bytes(W * H // 200) + bytes([0, 2, 0, H]) + b"\0\1"


blocky = (x // 4 * 5 + y // 3) % 16
table = b"".join(bytes([i * 7 % 256, i * 31 % 256, i * 3 % 256, 0]) for i in range(256))
narrow = b"".join(table[i:i + 3] for i in range(0, 64, 4))
bmp("rle8.bmp", 8, runs(blocky, 8, False, 1078), compression=1, palette=table)
bmp("rle8-skips.bmp", 8, runs(blocky, 8, True, 1079), compression=1, palette=table, gap=1)
bmp("rle4-down.bmp", 4, runs(blocky, 4, False, 118), compression=2, height=-H, palette=table[:64])
bmp("os2.bmp", 4, rows(blocky, 4), size=12, palette=narrow)
bmp("os2v2.bmp", 4, rows(blocky, 4), size=64, palette=table[:64], gap=3)
bmp("one.bmp", 1, rows(blocky % 2, 1), palette=table[8:16])
bmp("down.bmp", 8, rows(blocky, 8), height=-H, palette=table)
bmp("x555.bmp", 16, rows(values * 37 % 32768, 16))
bmp("bgra.bmp", 32, rows(values * 16843009 + x * 65536, 32), size=56, compression=3,
    masks=struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000))
bmp("rgba.bmp", 32, rows(values * 16843009 + x * 65536, 32), size=108, compression=3,
    masks=struct.pack("<4I", 0xFF, 0xFF00, 0xFF0000, 0xFF000000))
for name, pixels in [("rgb565.bmp", "rgb565le"), ("rgb48.png", "rgb48be"), ("h1v2.jpg", "yuvj440p"),
                     ("ya16.png", "ya16be")]:
    source = str(out / "rgba.png")
    subprocess.run(["ffmpeg", "-y", "-v", "error", "-i", source, "-pix_fmt", pixels, "-q:v", "3",
                    "-bitexact", str(out / name)], check=True)
pillow_heif.register_heif_opener()
turn = Image.Exif()
turn[0x112] = 6
save("../near/h2v2.heic", picture, quality=60)
save("../near/h2v1.heic", picture, quality=60, chroma=422)
save("full.heic", picture, quality=60, chroma=444)
save("rgb.heic", picture, quality=-1, chroma=444, matrix_coefficients=0)
save("gray.heic", gray, quality=60)
save("../near/rgba.heic", rgba, quality=60)
save("../near/turned.heic", picture.crop((0, 0, 20, 12)), quality=60, exif=turn.tobytes())
moving = [Image.new("L", (6, 4), value) for value in (0, 80, 160)]
moving[0].save("moving.png", save_all=True, append_images=moving[1:], duration=500)
for path in [*sorted(out.glob("*")), *sorted(out.glob("../near/*"))]:
    if not path.name.endswith(".expected.png"):
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        image.save(str(path) + ".expected.png", optimize=True)

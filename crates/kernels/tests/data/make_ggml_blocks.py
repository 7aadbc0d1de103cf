#!/usr/bin/env python3
"""Makes the golden data of tests/ggml_blocks.rs with the `gguf` package (pip install gguf==0.19.0).

dequantize/NAME.bin  blocks of the format, then the f32 weights that gguf dequantises them to
quantize/NAME.bin    f32 weights, then the blocks that gguf quantises them to

It also writes the codebooks of the IQ2 and IQ3 formats, ../../src/block/codebooks.bin: facts of
those formats, which ggml has in ggml-common.h and gguf in the grids of its classes.

With the path of a built `libggml-base` as argument, prints instead the errors of ggml's own Q4_K
and Q6_K, which gguf cannot quantise to; they stand in the tests of src/quantize.rs.

Everything is little-endian. The number of blocks follows from the file's length.
"""

import ctypes
import pathlib
import sys

import gguf
import numpy as np

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(20)

# Zero, the smallest and largest subnormal, the smallest normal, one, the largest: of both signs.
SPECIAL_F16 = np.array(
    [s | h for h in (0x0000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x7BFF) for s in (0, 0x8000)], "<u2"
)
# Offsets of the f16 fields of a block; every other byte of a block may have any value.
F16_FIELDS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_XS": [0],
    "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
}
# Formats whose scales are bytes of their own, of which every value is tried.
BYTE_SCALES = {"MXFP4": [0], "NVFP4": [0, 1, 2, 3]}
# Entries of the codebooks, in the order of codebooks.bin.
CODEBOOKS = {"IQ2_XXS": 256, "IQ2_XS": 512, "IQ2_S": 1024, "IQ3_XXS": 256, "IQ3_S": 512}
PATTERNS = [0x00, 0xFF, 0x0F, 0x80]


def random_f16(n):
    """Finite values of every exponent."""
    return (rng.integers(0, 0x7C00, n) | rng.integers(0, 2, n) << 15).astype("<u2")


def blocks(name):
    """Special scales over random integers, then ordinary scales over extreme integers."""
    weights, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    scales, ordinary = len(SPECIAL_F16), 1 if weights == 256 else 16
    n = scales + len(PATTERNS) + ordinary
    out = rng.integers(0, 256, (n, size)).astype(np.uint8)
    for i, pattern in enumerate(PATTERNS):
        out[scales + i] = pattern
    for i, at in enumerate(F16_FIELDS[name]):
        # The second field meets the first in another order: 5 and 12 have no common divisor.
        special = SPECIAL_F16[(np.arange(scales) * (5 if i else 1) + 3 * i) % scales]
        values = np.concatenate([special, random_f16(n - scales)]).astype("<u2")
        out[:, at : at + 2] = values.view(np.uint8).reshape(n, 2)
    return out


def all_entries(name):
    """Blocks that name every entry of the codebook once, and every one of 128 signs."""
    entries = CODEBOOKS[name]
    in_block = 32 if name.startswith("IQ2") else 64
    index = np.arange(entries).reshape(-1, in_block)
    n, sign = len(index), np.arange(32 * len(index)).reshape(-1, 32) % 128
    scale = rng.integers(0, 256, (n, 8)).astype(np.uint8)
    d = random_f16(n).view(np.uint8).reshape(n, 2)
    low = (index & 255).astype(np.uint8)
    signs = (sign * 2 + rng.integers(0, 2, sign.shape)).astype(np.uint8)
    shifts = np.array([0, 7, 14, 21])
    # Four signs of seven bits and a scale of four in a dword.
    dword = (sign.reshape(n, 8, 4) << shifts).sum(axis=-1) | (scale.astype(np.int64) >> 4 << 28)
    dword = dword.astype("<u4")
    if name == "IQ2_XXS":
        quads = low.view("<u4").reshape(n, 8)
        fields = [np.stack([quads, dword], axis=-1).view(np.uint8)]
    elif name == "IQ2_XS":
        fields = [(index | sign << 9).astype("<u2").view(np.uint8), scale]
    elif name == "IQ2_S":
        high = ((index >> 8).reshape(n, 8, 4) << np.arange(0, 8, 2)).sum(axis=-1)
        fields = [low, signs, high.astype(np.uint8), scale]
    elif name == "IQ3_XXS":
        fields = [low, dword.view(np.uint8)]
    else:
        high = ((index >> 8).reshape(n, 8, 8) << np.arange(8)).sum(axis=-1)
        fields = [low, high.astype(np.uint8), signs, scale[:, :4]]
    return np.concatenate([d, *(field.reshape(n, -1) for field in fields)], axis=1)


def scale_bytes(name):
    """Random integers under every scale."""
    weights, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    fields = BYTE_SCALES[name]
    n = 256 // len(fields)
    out = rng.integers(0, 256, (n, size)).astype(np.uint8)
    out[:, fields] = np.arange(256).reshape(n, len(fields))
    return out


def write_codebooks():
    """Little-endian u16, one an entry: the places of its weights among the format's levels, two
    bits each (IQ2, eight weights) or three (IQ3, four weights), the first weight lowest."""
    out = []
    for name, entries in CODEBOOKS.items():
        kind = getattr(gguf.quants, name)
        kind.init_grid()
        grid = kind.grid.reshape(kind.grid_shape)
        bits, levels = (2 if name.startswith("IQ2") else 3), np.array(kind.grid_map)
        places = np.searchsorted(levels, grid)
        assert grid.shape[0] == entries and (levels[places] == grid).all()
        out.append((places << (bits * np.arange(grid.shape[1]))).sum(axis=1).astype("<u2"))
    (HERE / "../../src/block/codebooks.bin").write_bytes(np.concatenate(out).tobytes())


def plain(name):
    """Any bits but those of NaN, whose payload is nobody's concern."""
    if name == "F32":
        x = rng.integers(0, 1 << 32, 512).astype("<u4").view("<f4")
        return np.where(np.isnan(x), np.float32(-0.0), x).view(np.uint8)
    infinity = {"F16": 0x7C00, "BF16": 0x7F80}[name]
    edge = [infinity, 0, 1, infinity - 1, 0x3F80, 0x3C00]
    x = np.concatenate([edge, rng.integers(0, infinity + 1, 506)])
    x = np.concatenate([x, x | 0x8000])
    return x.astype("<u2").view(np.uint8)


def weights_of_32():
    """Rows of 32 weights on which quantisers differ if they can."""
    # Not all −0: there gguf and ggml itself differ in the sign of a zero scale.
    rows = [np.zeros(32), np.full(32, 0.7), np.full(32, -1e-30)]
    rows.append(np.where(np.arange(32) == 9, -1, -0.0))
    # The largest magnitude is 8 (Q4_0) or 127 (Q8_0), so every half is a tie.
    for top in (8, -8, 127, -127):
        row = (np.arange(32) - 16) / 2.0
        row[5] = top
        rows.append(row)
        rows.append(-row)
    # Two largest magnitudes of opposite sign: the first decides.
    for first in (1.0, -1.0):
        row = rng.uniform(-0.9, 0.9, 32)
        row[3], row[20] = first, -first
        rows.append(row)
    # Scales that are normal, subnormal and zero as f16, and one that overflows it.
    for magnitude in (1e-12, 1e-7, 1e-6, 1e-4, 0.02, 1.0, 30.0, 1e5, 1e8):
        rows += list(rng.normal(0, magnitude, (3, 32)))
        rows.append(rng.uniform(0, magnitude, 32))
    return np.array(rows, np.float32)


def weights_of_1(name):
    """Values around every kind of rounding: ties of both parities, subnormals, overflow."""
    kept = {"F16": 10, "BF16": 7}[name]  # fraction bits
    half = 1 << (22 - kept)
    bits = []
    for exponent in (0, 1, 90, 102, 103, 104, 108, 112, 113, 127, 141, 142, 143, 253, 254):
        base = rng.integers(0, 1 << kept, 3) << (23 - kept) | exponent << 23
        for b in list(base) + [exponent << 23, (exponent << 23) | 0x7FFFFF]:
            top = int(b) >> (23 - kept) << (23 - kept)
            bits += [top, top + half - 1, top + half, top + half + 1, top + 2 * half - 1]
    bits += [0x7F800000, 0x477FEFFF, 0x477FF000, 0x33000000, 0x33000001]
    bits = np.array(bits, np.uint64)
    bits = np.concatenate([bits, bits | 0x80000000]).astype("<u4")
    if name == "BF16":  # ggml says which NaN; for F16 it depends on the processor
        bits = np.concatenate([bits, np.array([0x7F800001, 0xFFFFFFFF, 0x7FC00000], "<u4")])
    return bits.view("<f4").reshape(-1, 1)


def write(folder, name, first, second):
    (HERE / folder).mkdir(exist_ok=True)
    (HERE / folder / f"{name}.bin").write_bytes(first.tobytes() + second.tobytes())


def write_blocks(name):
    kind = gguf.GGMLQuantizationType[name]
    if name in BYTE_SCALES:
        data = scale_bytes(name)
    else:
        data = blocks(name) if name in F16_FIELDS else plain(name)
    if name in CODEBOOKS:
        data = np.concatenate([data, all_entries(name)])
    floats = gguf.quants.dequantize(data, kind).astype("<f4")
    assert np.isfinite(floats).all() or name not in F16_FIELDS, name
    write("dequantize", name, data, floats)


def main():
    np.seterr(all="ignore")
    write_codebooks()
    late = [*CODEBOOKS, *BYTE_SCALES]
    for name in ["F32", "F16", "BF16", *F16_FIELDS]:
        if name not in late:
            write_blocks(name)
    for name in ["F16", "BF16", "Q4_0", "Q8_0"]:
        kind = gguf.GGMLQuantizationType[name]
        x = weights_of_32() if name.startswith("Q") else weights_of_1(name)
        write("quantize", name, x, gguf.quants.quantize(x, kind))
    # What is drawn for one file depends on the files before it: the newest formats come last.
    for name in late:
        write_blocks(name)


def bell_shaped(n):
    """The same weights as the function of this name in src/quantize.rs."""
    state, uniform = 20, []
    for _ in range(4 * n):
        state = (state * 6364136223846793005 + 1) % (1 << 64)
        uniform.append((state >> 40) / (1 << 24) - 0.5)
    a, b, c, d = np.array(uniform, "<f4").reshape(n, 4).T
    return ((a + b) + c) + d


def print_errors(library):
    quantize = ctypes.CDLL(library).ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    # type, source, destination, start, rows, weights in a row, importance
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    quantize.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    for name in ["Q4_K", "Q6_K"]:
        kind = gguf.GGMLQuantizationType[name]
        weights, size = gguf.GGML_QUANT_SIZES[kind]
        for offset in [0, 5]:
            x = bell_shaped(1 << 16) + np.float32(offset)
            data = np.zeros(x.size // weights * size, np.uint8)
            quantize(kind, x.ctypes.data, data.ctypes.data, 0, 1, x.size, None)
            error = gguf.quants.dequantize(data, kind).astype("f8") - x
            print(name, offset, f"{np.sqrt(np.mean(error**2)):.5e}")


if len(sys.argv) > 1:
    print_errors(sys.argv[1])
else:
    main()

#!/usr/bin/env python3
"""Records a command in a terminal as an SVG that scrolls as the terminal did. Needs pyte.

usage: record_demo.py [--columns N] [--rows N] [--seconds S] OUTPUT COMMAND [ARGUMENT...]

For the README: tools/record_demo.py assets/demo.svg target/release/carat demo

The command sees a terminal of 24-bit colours. Lines appear in the order and with the pauses in
which they came, in S seconds altogether, and the end stays for a while. Who shows no animations,
or wants none, sees the beginning. Blocks become rectangles, so that no font can leave gaps in
pictures.
"""
import argparse
import collections
import fcntl
import os
import pathlib
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from xml.sax.saxutils import escape

import pyte

CELL_WIDTH, CELL_HEIGHT, FONT = 8, 16, 13
MARGIN, TITLE = 12, 28
LINES_MAX, BYTES_MAX = 1000, 400_000
REST = 5.0
EIGHTHS = "▁▂▃▄▅▆▇█"
BACKGROUND, TEXT = "#16181d", "#d5d8de"
NAMED = {
    "black": "#3b4048", "red": "#ef6b73", "green": "#8ccf7e", "brown": "#e5c76b",
    "blue": "#67b0e8", "magenta": "#c47fd5", "cyan": "#6cbfbf", "white": "#d5d8de",
}


def record(command, columns, rows):
    """The bytes that a command writes, each piece with its time in seconds."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = dict(os.environ, TERM="xterm-256color", COLORTERM="truecolor")
    environment.pop("NO_COLOR", None)
    begun = time.monotonic()
    try:
        child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    except OSError as error:
        sys.exit(f"record_demo: cannot start {command[0]}: {error.strerror}")
    os.close(slave)
    pieces = []
    while True:
        if not select.select([master], [], [], 120)[0]:
            child.kill()
            sys.exit("record_demo: the command has been silent for two minutes")
        try:
            piece = os.read(master, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        pieces.append((time.monotonic() - begun, piece))
    if child.wait() != 0:
        sys.exit(f"record_demo: {command[0]} ended with code {child.returncode}")
    return pieces


def screen_of(pieces, columns):
    """A screen with everything on it, and for each line the time at which it was begun."""
    screen = pyte.Screen(columns, LINES_MAX)
    stream = pyte.ByteStream(screen)
    times = []
    for at, piece in pieces:
        stream.feed(piece)
        times += [at] * (screen.cursor.y + 1 - len(times))
    if len(times) >= LINES_MAX:
        sys.exit(f"record_demo: the command writes {LINES_MAX} lines or more")
    while times and not screen.display[len(times) - 1].strip():
        times.pop()
    return screen, times


def colour(name, default):
    """A colour of pyte as one of SVG. Few bits are enough for a thumbnail, and make it small."""
    if name == "default":
        return default
    name = name.removeprefix("bright")
    if name in NAMED:
        return NAMED[name]
    # The middle of 32 steps; white and black stay what they are.
    parts = [int(name[i:i + 2], 16) for i in (0, 2, 4)]
    return "#" + "".join(f"{round(part / 255 * 31) * 255 // 31:02x}" for part in parts)


def runs(values):
    """Neighbours that are equal: (first index, length, value)."""
    begin = 0
    for i in range(1, len(values) + 1):
        if i == len(values) or values[i] != values[begin]:
            yield begin, i - begin, values[begin]
            begin = i


def drawn(screen, lines, columns):
    """The rectangles, one path for each colour, and the texts."""
    rectangles, texts = collections.defaultdict(list), []
    half = CELL_HEIGHT // 2
    for y in range(lines):
        cells = [screen.buffer[y][x] for x in range(columns)]
        backs = [colour(cell.bg, None) for cell in cells]
        fronts = [colour(cell.fg, TEXT) for cell in cells]
        upper = [front if cell.data == "▀" else back for cell, front, back in zip(cells, fronts, backs)]
        rows = [(0, half, upper), (half, half, backs)]
        for eighths, block in enumerate(EIGHTHS, 1):
            height = eighths * CELL_HEIGHT // 8
            bars = [front if cell.data == block else None for cell, front in zip(cells, fronts)]
            rows.append((CELL_HEIGHT - height, height, bars))
        for top, height, row in rows:
            for x, length, fill in runs(row):
                if fill:
                    left, width = x * CELL_WIDTH, length * CELL_WIDTH
                    place = f"M{left} {y * CELL_HEIGHT + top}"
                    rectangles[fill].append(f"{place}h{width}v{height}h-{width}z")
        style = [
            None if cell.data in f" ▀{EIGHTHS}" else (front, cell.bold)
            for cell, front in zip(cells, fronts)
        ]
        for x, length, kind in runs(style):
            if kind:
                fill, is_bold = kind
                words = escape("".join(c.data for c in cells[x:x + length]))
                look = ("" if fill == TEXT else f' fill="{fill}"') + (' font-weight="bold"' if is_bold else "")
                place = f'x="{x * CELL_WIDTH}" y="{y * CELL_HEIGHT + FONT}"'
                texts.append(f'<text {place} textLength="{length * CELL_WIDTH}"{look}>{words}</text>')
    paths = [f'<path fill="{fill}" d="{"".join(ds)}"/>' for fill, ds in rectangles.items()]
    return paths + texts


def keyframes(times, rows, seconds):
    """Where the text stands at which share of the time: the last line is the lowest."""
    whole, scale = seconds + REST, seconds / max(times[-1], 1e-9)
    frames = {0.0: 0}
    for line, at in enumerate(times):
        frames[round(100 * at * scale / whole, 2)] = line + 1
    place = lambda count: f"translateY({(rows - count) * CELL_HEIGHT}px)"
    steps = "".join(f"{share}%{{transform:{place(count)}}}" for share, count in frames.items())
    return whole, steps + f"100%{{transform:{place(len(times))}}}"


def svg(title, screen, times, columns, rows, seconds):
    width, height = columns * CELL_WIDTH, rows * CELL_HEIGHT
    whole, steps = keyframes(times, rows, seconds)
    outer = (width + 2 * MARGIN, height + MARGIN + TITLE)
    dots = "".join(
        f'<circle cx="{MARGIN + 6 + 16 * i}" cy="14" r="5" fill="{fill}"/>'
        for i, fill in enumerate(("#ef6b73", "#e5c76b", "#8ccf7e"))
    )
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {outer[0]} {outer[1]}" '
        f'width="{outer[0]}" height="{outer[1]}" role="img" fill="{TEXT}">',
        f"<title>{escape(title)}</title>",
        f"<style>text{{font:{FONT}px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
        f"monospace;white-space:pre}}"
        f"#said{{animation:said {whole:.1f}s steps(1,end) infinite}}"
        f"@keyframes said{{{steps}}}"
        "@media (prefers-reduced-motion:reduce){#said{animation:none}}</style>",
        f'<rect width="{outer[0]}" height="{outer[1]}" rx="8" fill="{BACKGROUND}"/>{dots}',
        f'<text x="{outer[0] // 2}" y="18" text-anchor="middle">{escape(title)}</text>',
        f'<svg x="{MARGIN}" y="{TITLE}" width="{width}" height="{height}"><g id="said" shape-rendering="crispEdges">',
        *drawn(screen, len(times), columns),
        "</g></svg></svg>\n",
    ])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if not args.command:
        parser.error("a command is wanted after the output")
    pieces = record(args.command, args.columns, args.rows)
    screen, times = screen_of(pieces, args.columns)
    if not times:
        sys.exit("record_demo: the command has written nothing")
    program = os.path.basename(args.command[0])
    title = " ".join([program, *args.command[1:]])
    text = svg(title, screen, times, args.columns, args.rows, args.seconds)
    if len(text.encode()) > BYTES_MAX:
        sys.exit(f"record_demo: the picture has {len(text.encode())} bytes, at most {BYTES_MAX} are wanted")
    args.output.write_text(text)
    print(f"{args.output}: {len(text.encode())} bytes, {len(times)} lines")


main()

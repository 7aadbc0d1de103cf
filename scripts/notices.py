#!/usr/bin/env python3
"""Writes the licences of all crates that are in the program: their terms ask for that wherever it is given away.

    python3 scripts/notices.py TARGET > NOTICES.txt

The crates are those that cargo compiles into `carat` for TARGET; each text is printed once, below the
names of the crates that bring it. A crate without a text of its own is named with its licence, whose text
another crate has. Needs nothing but Python and cargo, after a build: the sources are then on the disk.
"""

import json
import pathlib
import re
import subprocess
import sys

NAMES = re.compile(r"(licen[cs]e|copying|notice|copyright|unlicense)", re.IGNORECASE)
RULE = "=" * 100


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def in_program(target):
    """Names and versions of the crates in the program, build scripts and macros left out."""
    tree = cargo("tree", "--locked", "-p", "carat-cli", "-e", "normal,no-proc-macro", "--target", target,
                 "--prefix", "none", "--no-dedupe", "--format", "{p}")
    return {tuple(line.split()[:2]) for line in tree.splitlines() if line}


def texts(folder):
    """The licence files of a crate, with no difference left that only editors see."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and NAMES.match(f.name) and f.suffix != ".rs")
    files += sorted(f for d in folder.iterdir() if d.is_dir() and NAMES.match(d.name) for f in d.iterdir())
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        yield "\n".join(line.rstrip() for line in text.splitlines()).strip()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    target = sys.argv[1]
    wanted = in_program(target)
    # All packages, because cargo's own filter would leave out what another target needs.
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    bringing, bare, found = {}, [], set()
    for package in metadata["packages"]:
        key = (package["name"], "v" + package["version"])
        if key not in wanted:
            continue
        found.add(key)
        name = f"{package['name']} {package['version']} ({package['license'] or 'see its text'})"
        own = [text for text in texts(pathlib.Path(package["manifest_path"]).parent) if text]
        for text in own:
            bringing.setdefault(text, []).append(name)
        if not own:
            bare.append(f"{name}, {', '.join(package['authors']) or 'its authors'}")
    if missing := wanted - found:
        sys.exit(f"notices: cargo metadata does not know {sorted(missing)}")
    print(f"Carat is made of these {len(found)} crates and of the standard library of Rust (MIT OR Apache-2.0).")
    for text, names in sorted(bringing.items(), key=lambda item: item[1]):
        print(f"\n{RULE}\n" + "\n".join(sorted(set(names))) + f"\n{RULE}\n\n{text}")
    print(f"\n{RULE}\nWithout a text of their own:\n" + "\n".join(sorted(bare)))


main()

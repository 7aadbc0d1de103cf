#!/usr/bin/env python3
"""Makes the reference of a model for the protocol's gate: what it says after fixed tokens.

It shares nothing with the engine: gguf-py reads and dequantises the file, numpy computes the
forward pass of Gemma 4 in f32 with exact activations. One layer's matrices are in memory at a
time, so that a model of 12B needs some 2 GB.

    pip install numpy gguf
    benches/reference.py MODEL.gguf HASH NAME > benches/references/NAME.json

HASH is what `carat bench --protocol 1 -o json` has as the model's `hash`.
"""

import json
import sys

import numpy
from gguf import GGUFReader
from gguf.quants import dequantize

PROMPT, FOLLOW, TOP, OTHERS = 32, 8, 16, 48


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.fields = reader.fields
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.layers = self.key("block_count")
        self.sliding = [bool(x) for x in self.key("attention.sliding_window_pattern")]

    def key(self, name):
        field = self.fields[f"gemma4.{name}"]
        return field.contents()

    def tensor(self, name):
        found = self.tensors[name]
        return dequantize(found.data, found.tensor_type).astype(numpy.float32)

    def weight(self, layer, name):
        return self.tensor(f"blk.{layer}.{name}.weight")

    def has(self, layer, name):
        return f"blk.{layer}.{name}.weight" in self.tensors

    def rows(self, name, ids):
        """Some rows of a matrix that is too large to be dequantised at once."""
        found = self.tensors[name]
        return dequantize(found.data[ids], found.tensor_type).astype(numpy.float32)


def norm(x, weight=None):
    x = x / numpy.sqrt(numpy.mean(numpy.square(x, dtype=numpy.float64), -1, keepdims=True) + 1e-6)
    return (x if weight is None else x * weight).astype(numpy.float32)


def gelu(x):
    u = numpy.sqrt(2 / numpy.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + numpy.tanh(u))


def rope(x, base, divisors):
    """[tokens, heads, d]: dimension i turns with i + d/2."""
    tokens, _, d = x.shape
    frequencies = base ** (-2.0 * numpy.arange(d // 2) / d) / divisors
    angles = numpy.arange(tokens)[:, None, None] * frequencies
    sin, cos = numpy.sin(angles), numpy.cos(angles)
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return numpy.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(numpy.float32)


def attention(model, i, a):
    sliding = model.sliding[i]
    d = model.key("attention.key_length_swa" if sliding else "attention.key_length")
    base = model.key("rope.freq_base_swa" if sliding else "rope.freq_base")
    divisors = numpy.ones(d // 2)
    if not sliding and "rope_freqs.weight" in model.tensors:
        divisors = model.tensor("rope_freqs.weight").astype(numpy.float64)
    tokens = len(a)
    heads = lambda x: x.reshape(tokens, -1, d)
    q = heads(a @ model.weight(i, "attn_q").T)
    k = heads(a @ model.weight(i, "attn_k").T)
    v = heads(a @ model.weight(i, "attn_v").T) if model.has(i, "attn_v") else k
    q = rope(norm(q, model.weight(i, "attn_q_norm")), base, divisors)
    k = rope(norm(k, model.weight(i, "attn_k_norm")), base, divisors)
    v = norm(v)
    share = q.shape[1] // k.shape[1]
    at = numpy.arange(tokens)
    seen = at[None, :] <= at[:, None]
    if sliding:
        seen &= at[None, :] > at[:, None] - model.key("attention.sliding_window")
    out = numpy.empty_like(q)
    for head in range(q.shape[1]):
        scores = q[:, head] @ k[:, head // share].T
        scores = numpy.where(seen, scores, -numpy.inf).astype(numpy.float64)
        p = numpy.exp(scores - scores.max(-1, keepdims=True))
        out[:, head] = (p / p.sum(-1, keepdims=True)) @ v[:, head // share]
    return out.reshape(tokens, -1) @ model.weight(i, "attn_output").T


def logits(model, ids, first):
    """The logits after the tokens from `first` on."""
    x = model.rows("token_embd.weight", ids) * numpy.float32(numpy.sqrt(model.key("embedding_length")))
    for i in range(model.layers):
        w = lambda name: model.weight(i, name)
        s = attention(model, i, norm(x, w("attn_norm")))
        x = x + norm(s, w("post_attention_norm"))
        m = norm(x, w("ffn_norm"))
        m = (gelu(m @ w("ffn_gate").T) * (m @ w("ffn_up").T)) @ w("ffn_down").T
        x = (x + norm(m, w("post_ffw_norm"))) * w("layer_output_scale")
        print(f"\rlayer {i + 1} of {model.layers}", end="", file=sys.stderr)
    print(file=sys.stderr)
    x = norm(x[first:], model.tensor("output_norm.weight"))
    head = "output.weight" if "output.weight" in model.tensors else "token_embd.weight"
    vocab = model.tensors[head].data.shape[0]
    steps = [numpy.arange(i, min(i + 8192, vocab)) for i in range(0, vocab, 8192)]
    out = numpy.concatenate([x @ model.rows(head, step).T for step in steps], -1)
    cap = model.key("final_logit_softcapping") if "gemma4.final_logit_softcapping" in model.fields else 0
    return cap * numpy.tanh(out / cap) if cap else out


def candidate(j, vocab):
    return (j * 2654435761 % 2**32) * vocab >> 32


def tokens(model, count):
    """BOS and then ordinary tokens, as `protocol::ids` has them."""
    types = model.fields["tokenizer.ggml.token_type"].contents()
    ids = [model.fields["tokenizer.ggml.bos_token_id"].contents()]
    j = 0
    while len(ids) < count:
        j += 1
        id = candidate(j, len(types))
        if types[id] not in (3, 4):  # control and user-defined: those that are special
            ids.append(id)
    return ids


def main(path, hash, name):
    model = Model(path)
    ids = tokens(model, PROMPT + FOLLOW)
    found = logits(model, ids, PROMPT - 1).astype(numpy.float64)
    rows = []
    for at, row in enumerate(found):
        top = sorted(range(len(row)), key=lambda id: (-row[id], id))[:TOP]
        chosen = top + [candidate(j, len(row)) for j in range(1, OTHERS + 1)]
        lse = row.max() + numpy.log(numpy.exp(row - row.max()).sum())
        rows.append({
            "position": PROMPT - 1 + at,
            "lse": round(float(lse), 6),
            "ids": chosen,
            "logits": [round(float(row[id]), 5) for id in chosen],
        })
    how = f"benches/reference.py: gguf-py and numpy {numpy.__version__}, f32, exact activations"
    reference = {"protocol": 1, "hash": hash, "name": name, "how": how, "ids": ids}
    lines = ",\n    ".join(json.dumps(row) for row in rows)
    print(json.dumps(reference)[:-1] + ',\n  "rows": [\n    ' + lines + "\n  ]\n}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("give the model, its hash and a name: benches/reference.py MODEL.gguf HASH NAME")
    main(*sys.argv[1:])

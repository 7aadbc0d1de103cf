"""Gemma 4 12B's architecture at a size that trains in minutes: the decoder, and the two projections of the media."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

PATCH_VALUES, FRAME = 48 * 48 * 3, 640


@dataclass
class Config:
    vocab: int = 1024
    hidden: int = 320
    embed: int = 256  # of a patch, before its projection
    feed_forward: int = 1024
    pattern: str = "sssfsssf"  # sliding and full layers
    heads: int = 4
    head_dim: int = 64  # of sliding layers; full layers have twice as many
    kv_heads: int = 2  # of sliding layers; full layers have one
    window: int = 512
    context: int = 4096
    places: int = 280  # columns and rows that a patch can be at
    softcap: float = 30.0
    eps: float = 1e-6


def rms(x, weight=None, eps=1e-6):
    x = x.float()
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return x if weight is None else x * weight


def rotate(x, cos, sin):
    """RoPE of [batch, length, heads, d] that turns pair i with i + d / 2; cos and sin are [batch, length, d / 2]."""
    a, b = x.float().chunk(2, -1)
    cos, sin = cos[:, :, None], sin[:, :, None]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def frequencies(dim, base, part):
    """Inverse frequencies of RoPE; beyond `part` of the pairs nothing turns."""
    half = dim // 2
    inverse = base ** (-2 * np.arange(half) / dim)
    inverse[int(half * part) :] = 0
    return torch.tensor(inverse, dtype=torch.float32)


class Layer(nn.Module):
    def __init__(self, config, is_full):
        super().__init__()
        self.config, self.is_full = config, is_full
        self.dim = config.head_dim * (2 if is_full else 1)
        self.kv_heads = 1 if is_full else config.kv_heads
        d, f = config.hidden, config.feed_forward
        matrix = lambda out, inner: nn.Parameter(torch.randn(out, inner) / math.sqrt(inner))
        vector = lambda n, value: nn.Parameter(torch.full((n,), value))
        self.q, self.k = matrix(config.heads * self.dim, d), matrix(self.kv_heads * self.dim, d)
        self.v = None if is_full else matrix(self.kv_heads * self.dim, d)
        self.o = matrix(d, config.heads * self.dim)
        self.gate, self.up, self.down = matrix(f, d), matrix(f, d), matrix(d, f)
        sharp = self.dim**-0.25  # the scale of attention is 1
        self.q_norm, self.k_norm = vector(self.dim, sharp), vector(self.dim, sharp)
        small = 1 / math.sqrt(2 * len(config.pattern))
        self.attn_norm, self.post_attention_norm = vector(d, 1.0), vector(d, small)
        self.ffn_norm, self.post_ffw_norm = vector(d, 1.0), vector(d, small)
        self.output_scale = vector(1, 1.0)

    def forward(self, x, mask, cos, sin):
        b, n, _ = x.shape
        c = self.config
        h = rms(x, self.attn_norm, c.eps).to(torch.bfloat16 if x.is_cuda else x.dtype)
        q = F.linear(h, self.q.to(h.dtype)).view(b, n, c.heads, self.dim)
        k = F.linear(h, self.k.to(h.dtype)).view(b, n, self.kv_heads, self.dim)
        v = k if self.is_full else F.linear(h, self.v.to(h.dtype)).view(b, n, self.kv_heads, self.dim)
        q = rotate(rms(q, self.q_norm, c.eps), cos, sin).to(h.dtype)
        k = rotate(rms(k, self.k_norm, c.eps), cos, sin).to(h.dtype)
        v = rms(v, None, c.eps).to(h.dtype)
        each = c.heads // self.kv_heads
        k, v = k.repeat_interleave(each, 2), v.repeat_interleave(each, 2)
        s = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, scale=1.0
        )
        s = F.linear(s.transpose(1, 2).reshape(b, n, -1), self.o.to(h.dtype))
        x = x + rms(s, self.post_attention_norm, c.eps)
        h = rms(x, self.ffn_norm, c.eps).to(h.dtype)
        m = F.gelu(F.linear(h, self.gate.to(h.dtype)), approximate="tanh") * F.linear(h, self.up.to(h.dtype))
        m = F.linear(m, self.down.to(h.dtype))
        return (x + rms(m, self.post_ffw_norm, c.eps)) * self.output_scale


class Vision(nn.Module):
    def __init__(self, config):
        super().__init__()
        e = config.embed
        self.patch = nn.Parameter(torch.randn(e, PATCH_VALUES) / math.sqrt(PATCH_VALUES))
        self.patch_bias = nn.Parameter(torch.zeros(e))
        self.register_buffer("norm1_weight", torch.ones(PATCH_VALUES))
        self.register_buffer("norm1_bias", torch.zeros(PATCH_VALUES))
        self.norm2, self.norm3 = nn.LayerNorm(e, 1e-5), nn.LayerNorm(e, 1e-5)
        self.places = nn.Parameter(torch.randn(2, config.places, e) * 0.02)
        self.projection = nn.Parameter(torch.randn(config.hidden, e) / math.sqrt(e))

    def forward(self, pixels, columns, rows):
        """Rows of the decoder for patches [n, 6912] of 0 to 1: all red, then green, then blue."""
        kind = torch.bfloat16 if pixels.is_cuda else pixels.dtype
        x = F.layer_norm(pixels, (PATCH_VALUES,), self.norm1_weight, self.norm1_bias, 1e-5).to(kind)
        x = F.linear(x, self.patch.to(kind)).float() + self.patch_bias
        x = self.norm3(self.norm2(x) + self.places[0, columns] + self.places[1, rows])
        return F.linear(rms(x).to(kind), self.projection.to(kind)).float()


def filters(count):
    """Windowed waves, spaced as the ear hears: pairs of cosine and sine, [count, 640], each of length 1.

    Raw samples say little before they are made into energies of bands. The first layer learns the squares.
    """
    mel = lambda f: 1127 * np.log(1 + f / 700)
    out = []
    t = np.arange(FRAME)
    for pairs, low, middles in ((count * 11 // 32, 90, [0.5]), (count // 2 - count * 11 // 32, 900, [0.25, 0.75])):
        m = np.linspace(mel(low), mel(7200), pairs)
        f = 700 * (np.exp(m / 1127) - 1)
        for i, frequency in enumerate(f):
            width = np.gradient(f)[i]
            length = np.clip(2 * 16000 / width, 200, FRAME)
            middle = np.clip(middles[i % len(middles)] * FRAME, length / 2, FRAME - length / 2)
            window = np.where(np.abs(t - middle) < length / 2, np.cos(np.pi * (t - middle) / length) ** 2, 0)
            for wave in (np.cos, np.sin):
                w = window * wave(2 * np.pi * frequency * (t - middle) / 16000)
                out.append(w / np.linalg.norm(w))
    return torch.tensor(np.array(out), dtype=torch.float32)


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.randn(config.vocab, config.hidden) / math.sqrt(config.hidden))
        self.output_norm = nn.Parameter(torch.ones(config.hidden))
        self.layers = nn.ModuleList(Layer(config, kind == "f") for kind in config.pattern)
        self.vision = Vision(config)
        self.audio = nn.Parameter(filters(config.hidden))
        self.register_buffer("sliding", frequencies(config.head_dim, 1e4, 1.0), persistent=False)
        self.register_buffer("full", frequencies(2 * config.head_dim, 1e6, 0.25), persistent=False)
        with torch.no_grad():  # squares of the values that filters put into the residual stream
            first, units = self.layers[0], min(2 * config.hidden, config.feed_forward)
            which = torch.arange(units) % config.hidden
            sign = torch.where(torch.arange(units) < config.hidden, 1.0, -1.0)
            for weight in (first.gate, first.up):
                weight[:units] *= 0.3
                weight[torch.arange(units), which] += sign

    def rows(self, ids, media):
        """The residual stream before the first layer: scaled embeddings of words, and rows of media in their places."""
        x = F.embedding(ids, self.embedding) * math.sqrt(self.config.hidden)
        flat = x.view(-1, self.config.hidden)
        for at, rows in media:
            flat = flat.index_copy(0, at, rows)
        return flat.view_as(x)

    def hear(self, frames):
        """Rows of the decoder for frames [n, 640] of -1 to 1."""
        frames = rms(frames)
        kind = torch.bfloat16 if frames.is_cuda else frames.dtype
        return F.linear(frames.to(kind), self.audio.to(kind)).float()

    def forward(self, x, segment, position, block):
        """Residual rows [batch, length, hidden] after the last layer and its norm."""
        q, k = position[:, :, None], position[:, None, :]
        same = segment[:, :, None] == segment[:, None, :]
        causal = same & (k <= q)
        picture = (block[:, :, None] == block[:, None, :]) & (block[:, :, None] > 0)
        near = (causal | (same & picture)) & (k > q - self.config.window)
        kind = torch.bfloat16 if x.is_cuda else x.dtype
        bias = lambda seen: torch.zeros(seen.shape, dtype=kind, device=x.device).masked_fill(~seen, float("-inf"))[
            :, None
        ]
        masks = {False: bias(near), True: bias(causal)}
        turns = {}
        for is_full, inverse in ((False, self.sliding), (True, self.full)):
            angle = position[:, :, None].float() * inverse
            turns[is_full] = (angle.cos(), angle.sin())
        for layer in self.layers:
            x = layer(x, masks[layer.is_full], *turns[layer.is_full])
        return rms(x, self.output_norm, self.config.eps)

    def logits(self, h):
        z = F.linear(h, self.embedding)
        return self.config.softcap * torch.tanh(z / self.config.softcap)


def described(config):
    return asdict(config)

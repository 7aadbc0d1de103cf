//! The KV cache: keys and values of past positions.
//!
//! A sliding layer keeps a ring of `window + rollback` positions: what the next query can see, and
//! what it could see after giving up to `rollback` positions back. A full layer keeps everything in
//! blocks of [`BLOCK_POSITIONS`], allocated when the conversation reaches them.
//!
//! The positions of a forward pass are not written at once, since a chunk longer than the ring
//! would overwrite what its own first tokens still see. They are staged in scratch memory in the
//! type of the cache, attention reads cache and stage as one, and then [`LayerKv::commit`] moves
//! them. So what is read has been rounded the same way wherever it lies.

use std::ops::Range;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::arena::{Line, lines};
use crate::config::{Config, LayerConfig, LayerKind};
use crate::error::Result;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// 4 bytes a value, exact.
    F32,
    /// IEEE 754 binary16, 2 bytes a value.
    #[default]
    F16,
    /// 8-bit integers with an f32 scale for each 32 of a head, 1.125 bytes a value.
    Q8,
}

impl KvType {
    /// Bytes of one head of one position.
    fn vector_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 => 4 * head_dim,
            Self::F16 => 2 * head_dim,
            Self::Q8 => 4 * head_dim.div_ceil(Q8_BLOCK) + head_dim.next_multiple_of(4),
        }
    }

    /// Writes one head; `out` is aligned to 4 bytes.
    fn store(self, x: &[f32], out: &mut [u8]) {
        match self {
            Self::F32 => bytemuck::cast_slice_mut(out).copy_from_slice(x),
            Self::F16 => halves_mut(out).convert_from_f32_slice(x),
            Self::Q8 => {
                let (scales, q) = out.split_at_mut(4 * x.len().div_ceil(Q8_BLOCK));
                let scales: &mut [f32] = bytemuck::cast_slice_mut(scales);
                let blocks = x.chunks(Q8_BLOCK).zip(q.chunks_mut(Q8_BLOCK));
                for ((x, q), scale) in blocks.zip(scales) {
                    *scale = x.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 127.0;
                    let inverse = if *scale > 0.0 { 1.0 / *scale } else { 0.0 };
                    for (q, x) in q.iter_mut().zip(x) {
                        *q = ((x * inverse).round_ties_even() as i8).cast_unsigned();
                    }
                }
            }
        }
    }

    /// Reads heads that [`KvType::store`] wrote one after the other.
    fn load(self, bytes: &[u8], head_dim: usize, out: &mut [f32]) {
        match self {
            Self::F32 => out.copy_from_slice(bytemuck::cast_slice(bytes)),
            Self::F16 => halves(bytes).convert_to_f32_slice(out),
            Self::Q8 => {
                let vectors = bytes.chunks_exact(self.vector_bytes(head_dim));
                for (out, bytes) in out.chunks_exact_mut(head_dim).zip(vectors) {
                    let (scales, q) = bytes.split_at(4 * head_dim.div_ceil(Q8_BLOCK));
                    let scales: &[f32] = bytemuck::cast_slice(scales);
                    let blocks = out.chunks_mut(Q8_BLOCK).zip(q.chunks(Q8_BLOCK));
                    for ((out, q), scale) in blocks.zip(scales) {
                        for (out, q) in out.iter_mut().zip(q) {
                            *out = scale * f32::from(q.cast_signed());
                        }
                    }
                }
            }
        }
    }
}

/// Keys and values of all layers.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<LayerKv>,
    context: usize,
    len: usize,
    /// The greatest length since the rings last held everything: older than
    /// `high - ring` is overwritten.
    high: usize,
    window: usize,
    ring: usize,
    has_rings: bool,
}

/// What a cache is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvLimits {
    pub(crate) kind: KvType,
    /// Most positions.
    pub(crate) context: usize,
    /// Positions that can always be given back.
    pub(crate) rollback: usize,
}

impl KvCache {
    /// Reserves the rings.
    pub(crate) fn new(config: &Config, limits: KvLimits) -> Result<Self> {
        let layer = |l: &LayerConfig| LayerKv::new(config, l, limits);
        Ok(Self {
            layers: config.layers.iter().map(layer).collect::<Result<_>>()?,
            context: limits.context,
            len: 0,
            high: 0,
            window: config.window,
            ring: ring_positions(config, limits),
            has_rings: config.layers.iter().any(|l| l.kind == LayerKind::Sliding),
        })
    }

    /// Bytes of a cache whose context is full.
    pub(crate) fn bytes(config: &Config, limits: KvLimits) -> u64 {
        let layer = |l: &LayerConfig| {
            let positions = block_positions(config, l, limits);
            let blocks = match l.kind {
                LayerKind::Sliding => 1,
                LayerKind::Full => limits.context.div_ceil(positions),
            };
            (blocks * positions * position_bytes(l, limits.kind)) as u64
        };
        config.layers.iter().map(layer).sum()
    }

    /// Positions held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Most positions.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// Makes room for `len` positions: the only allocation after [`KvCache::new`].
    pub(crate) fn reserve(&mut self, len: usize) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| layer.reserve(len))
    }

    pub(crate) fn layer_mut(&mut self, i: usize) -> &mut LayerKv {
        &mut self.layers[i]
    }

    /// Counts `tokens` more positions, after every layer has committed them.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
        self.high = self.high.max(self.len);
    }

    /// Forgets positions from `len` on.
    ///
    /// # Errors
    /// Where a ring has overwritten what the next query would see: the least length possible.
    pub(crate) fn truncate(&mut self, len: usize) -> Result<(), usize> {
        let oldest = if self.has_rings { self.high.saturating_sub(self.ring) } else { 0 };
        if len > 0 && oldest > 0 && len + 1 < oldest + self.window {
            return Err(oldest + self.window - 1);
        }
        self.len = self.len.min(len);
        if len == 0 {
            self.high = 0;
        }
        Ok(())
    }
}

/// Keys and values of one layer. A block is `[keys, values][kv_heads][positions][vector]`.
#[derive(Debug)]
pub(crate) struct LayerKv {
    kind: KvType,
    heads: usize,
    head_dim: usize,
    /// Positions in a block; a ring is one block.
    positions: usize,
    is_ring: bool,
    blocks: Vec<Vec<Line>>,
}

impl LayerKv {
    fn new(config: &Config, layer: &LayerConfig, limits: KvLimits) -> Result<Self> {
        let positions = block_positions(config, layer, limits);
        let is_ring = layer.kind == LayerKind::Sliding;
        let count = if is_ring { 1 } else { limits.context.div_ceil(positions) };
        let mut new = Self {
            kind: limits.kind,
            heads: layer.kv_heads,
            head_dim: layer.head_dim,
            positions,
            is_ring,
            blocks: Vec::with_capacity(count),
        };
        if is_ring {
            new.add_block()?;
        }
        Ok(new)
    }

    fn add_block(&mut self) -> Result<()> {
        let bytes = self.positions * self.token_bytes();
        self.blocks.push(lines("keys and values", bytes)?);
        Ok(())
    }

    fn reserve(&mut self, len: usize) -> Result<()> {
        while !self.is_ring && self.blocks.len() * self.positions < len {
            self.add_block()?;
        }
        Ok(())
    }

    /// Bytes of one position, `[keys, values][kv_heads][vector]`.
    pub(crate) fn token_bytes(&self) -> usize {
        2 * self.heads * self.vector()
    }

    /// Writes keys and values of one position, `[kv_heads][head_dim]` each, as they are staged.
    pub(crate) fn stage(&self, k: &[f32], v: &[f32], staged: &mut [u8]) {
        let heads = k.chunks_exact(self.head_dim).chain(v.chunks_exact(self.head_dim));
        for (x, out) in heads.zip(staged.chunks_exact_mut(self.vector())) {
            self.kind.store(x, out);
        }
    }

    /// Cache and stage as one; the stage begins at position `start`.
    pub(crate) fn view<'a>(&'a self, staged: &'a [u8], start: usize) -> KvView<'a> {
        KvView { layer: self, staged, start }
    }

    /// Moves staged positions, the first of which is `start`, into the cache.
    pub(crate) fn commit(&mut self, staged: &[u8], start: usize) {
        let (vector, token) = (self.vector(), self.token_bytes());
        for (t, staged) in staged.chunks_exact(token).enumerate() {
            for (plane, staged) in staged.chunks_exact(vector).enumerate() {
                let (block, at) = self.place(plane, start + t);
                let block: &mut [u8] = bytemuck::cast_slice_mut(&mut self.blocks[block]);
                block[at..at + vector].copy_from_slice(staged);
            }
        }
    }

    /// Block and offset of a vector; planes are the key heads and then the value heads.
    fn place(&self, plane: usize, position: usize) -> (usize, usize) {
        let (block, slot) = (position / self.positions, position % self.positions);
        let block = if self.is_ring { 0 } else { block };
        (block, (plane * self.positions + slot) * self.vector())
    }

    fn vector(&self) -> usize {
        self.kind.vector_bytes(self.head_dim)
    }
}

/// What attention reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvView<'a> {
    layer: &'a LayerKv,
    staged: &'a [u8],
    start: usize,
}

impl KvView<'_> {
    /// Keys of one head as f32, `[positions][head_dim]`.
    pub(crate) fn keys(&self, head: usize, positions: Range<usize>, out: &mut [f32]) {
        self.read(head, positions, out);
    }

    /// Values of one head as f32, `[positions][head_dim]`.
    pub(crate) fn values(&self, head: usize, positions: Range<usize>, out: &mut [f32]) {
        self.read(self.layer.heads + head, positions, out);
    }

    fn read(&self, plane: usize, positions: Range<usize>, out: &mut [f32]) {
        let (vector, head_dim) = (self.layer.vector(), self.layer.head_dim);
        let mut at = positions.start;
        let mut out = out;
        while at < positions.end {
            let (bytes, run) = if at >= self.start {
                let offset = (at - self.start) * self.layer.token_bytes() + plane * vector;
                (&self.staged[offset..], 1)
            } else {
                let (block, offset) = self.layer.place(plane, at);
                let end = positions.end.min(self.start);
                let run = (self.layer.positions - at % self.layer.positions).min(end - at);
                (&bytemuck::cast_slice(&self.layer.blocks[block])[offset..], run)
            };
            let (these, rest) = out.split_at_mut(run * head_dim);
            self.layer.kind.load(&bytes[..run * vector], head_dim, these);
            (out, at) = (rest, at + run);
        }
    }
}

fn halves(bytes: &[u8]) -> &[f16] {
    bytemuck::cast_slice::<u8, u16>(bytes).reinterpret_cast()
}

fn halves_mut(bytes: &mut [u8]) -> &mut [f16] {
    bytemuck::cast_slice_mut::<u8, u16>(bytes).reinterpret_cast_mut()
}

fn ring_positions(config: &Config, limits: KvLimits) -> usize {
    config.window.saturating_add(limits.rollback).min(limits.context)
}

fn block_positions(config: &Config, layer: &LayerConfig, limits: KvLimits) -> usize {
    match layer.kind {
        LayerKind::Sliding => ring_positions(config, limits),
        LayerKind::Full => BLOCK_POSITIONS.min(limits.context),
    }
}

pub(super) fn position_bytes(layer: &LayerConfig, kind: KvType) -> usize {
    2 * layer.kv_heads * kind.vector_bytes(layer.head_dim)
}

/// Positions in a block of a full layer: 1 MiB of the 12B at f16.
const BLOCK_POSITIONS: usize = 256;

/// Values that share a scale in [`KvType::Q8`].
const Q8_BLOCK: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored and read again: exact, within half a unit of the last of 11 bits, and within half a
    /// step of 1/127 of the block's largest value.
    #[test]
    fn types_round_within_their_precision() {
        let x: Vec<f32> = (0..40).map(|i| ((i * 37 % 40) as f32 - 19.0) / 7.0).collect();
        for (kind, error) in
            [(KvType::F32, 0.0), (KvType::F16, 2f32.powi(-11)), (KvType::Q8, 0.004)]
        {
            let mut memory = lines("test", kind.vector_bytes(40)).expect("a few bytes");
            let stored = &mut bytemuck::cast_slice_mut(&mut memory)[..kind.vector_bytes(40)];
            let mut read = [f32::NAN; 40];
            kind.store(&x, stored);
            kind.load(stored, 40, &mut read);
            for (x, read) in x.iter().zip(read) {
                assert!((x - read).abs() <= error * 20.0 / 7.0, "{kind:?}: {read} for {x}");
            }
        }
    }
}

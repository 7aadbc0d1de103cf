//! The KV cache: keys and values of past positions.
//!
//! A sliding layer keeps a ring of `window + rollback` positions: what the next query can see, and
//! what it could see after giving up to `rollback` positions back. A full layer has room for the
//! whole context, of which the system hands out pages when the conversation reaches them.
//!
//! The positions of a forward pass are staged in scratch memory in the type of the cache, and
//! attention reads cache and stage as one. So what is read has been rounded the same way wherever
//! it lies. Those of a full layer then go to the cache, beyond the positions that count. A ring has
//! no such place, since every position overwrites an older one: rings take theirs once the whole
//! pass is done ([`KvCache::keep`]), and a pass that is not finished changes nothing.
//!
//! Where a full layer has no value projection, one projection `p` gives values `RMSNorm(p)` and
//! keys `RoPE(RMSNorm(p) · w)`. Of such keys only the pairs that turn are kept; the others are the
//! value times `w`, by the very multiplication that made them. In the 12B these are 640 values a
//! position instead of 1024.

mod filled;
mod guessed;
mod snapshot;
mod stored;

use std::ops::Range;

use carat_kernels::Isa;
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::config::{Config, LayerConfig, LayerKind};
use crate::pages::{MemoryError, Pages};
use crate::pool::Pool;
pub(crate) use snapshot::Snapshot;
pub(crate) use stored::skip;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum KvType {
    /// f32: 4 bytes a value, exact.
    F32,
    /// f16 (IEEE 754 binary16): 2 bytes a value.
    #[default]
    F16,
    /// 8-bit integers with an f32 scale for each 32 values of a head: 1.125 bytes a value.
    Q8,
}

impl KvType {
    /// The bytes that a vector of `head_dim` values takes.
    fn vector_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 => 4 * head_dim,
            Self::F16 => 2 * head_dim,
            Self::Q8 => 4 * head_dim.div_ceil(Q8_BLOCK) + head_dim.next_multiple_of(4),
        }
    }

    /// Stores the vector `x` of one head in `out`, which is aligned to 4 bytes.
    fn store(self, x: &[f32], out: &mut [u8]) {
        match self {
            Self::F32 => bytemuck::cast_slice_mut(out).copy_from_slice(x),
            Self::F16 => halves_mut(out).convert_from_f32_slice(x),
            Self::Q8 => {
                let (scales, q) = out.split_at_mut(4 * x.len().div_ceil(Q8_BLOCK));
                let scales: &mut [f32] = bytemuck::cast_slice_mut(scales);
                let blocks = x.chunks(Q8_BLOCK).zip(q.chunks_mut(Q8_BLOCK));
                for ((x, q), scale) in blocks.zip(scales) {
                    // Bits of numbers without a sign are in the numbers' order, NaN comes last.
                    let max = x.iter().fold(0, |max, x| x.abs().to_bits().max(max));
                    *scale = f32::from_bits(max) / 127.0;
                    let inverse = if *scale > 0.0 { 1.0 / *scale } else { 0.0 };
                    for (q, x) in q.iter_mut().zip(x) {
                        *q = ((x * inverse).round_ties_even() as i8).cast_unsigned();
                    }
                }
            }
        }
    }

    /// Reads consecutive vectors that [`KvType::store`] wrote, `head_dim` values each, into `out`.
    fn load(self, isa: Isa, bytes: &[u8], head_dim: usize, out: &mut [f32]) {
        match self {
            Self::F32 => out.copy_from_slice(bytemuck::cast_slice(bytes)),
            Self::F16 => isa.widen_f16(out, bytemuck::cast_slice(bytes)),
            Self::Q8 => {
                let vectors = bytes.chunks_exact(self.vector_bytes(head_dim));
                for (out, bytes) in out.chunks_exact_mut(head_dim).zip(vectors) {
                    let (scales, q) = bytes.split_at(4 * head_dim.div_ceil(Q8_BLOCK));
                    let q: &[i8] = bytemuck::cast_slice(&q[..head_dim]);
                    isa.scale_int8(out, q, bytemuck::cast_slice(scales));
                }
            }
        }
    }
}

/// Keys and values of all layers that have their own.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<LayerKv>,
    context: usize,
    len: usize,
    /// The first position that the rings still hold.
    oldest: usize,
    window: usize,
    ring: usize,
    has_rings: bool,
    /// The bytes of one position in all rings.
    ring_bytes: usize,
}

/// What a cache is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvLimits {
    pub(crate) kind: KvType,
    /// The most positions that a full layer can hold.
    pub(crate) context: usize,
    /// The number of last positions that can always be taken back.
    pub(crate) rollback: usize,
    /// The pairs that RoPE turns in keys of full layers, where the rest of a key is the value times
    /// the norm's weights. `None` where keys are stored whole.
    pub(crate) turning_pairs: Option<usize>,
}

impl KvCache {
    /// Makes an empty cache: reserves the rings, and address space for the full layers.
    pub(crate) fn new(config: &Config, limits: KvLimits) -> Result<Self, MemoryError> {
        let own = config.own_layers();
        let mut layers = Vec::with_capacity(own.len());
        let mut ring_bytes = 0;
        for layer in own {
            layers.push(LayerKv::new(config, layer, limits, ring_bytes)?);
            if layer.kind == LayerKind::Sliding {
                ring_bytes += position_bytes(layer, limits);
            }
        }
        Ok(Self {
            layers,
            ring_bytes,
            context: limits.context,
            len: 0,
            oldest: 0,
            window: config.window,
            ring: ring_positions(config, limits),
            has_rings: own.iter().any(|l| l.kind == LayerKind::Sliding),
        })
    }

    /// The bytes of a cache whose context is full.
    pub(crate) fn bytes(config: &Config, limits: KvLimits) -> u64 {
        let layer =
            |l: &LayerConfig| (positions(config, l, limits) * position_bytes(l, limits)) as u64;
        config.own_layers().iter().map(layer).sum()
    }

    /// The number of positions that the cache holds.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The most positions that the cache can hold.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    pub(super) fn layer(&self, i: usize) -> &LayerKv {
        &self.layers[i]
    }

    pub(super) fn layer_mut(&mut self, i: usize) -> &mut LayerKv {
        &mut self.layers[i]
    }

    /// The bytes of one position in all rings.
    pub(super) fn ring_bytes(&self) -> usize {
        self.ring_bytes
    }

    /// Counts `tokens` more positions: full layers have them already, and the rings take theirs
    /// from `staged`, which holds those of a pass of `of` tokens.
    pub(super) fn keep(&mut self, pool: &Pool, staged: &[u8], of: usize, tokens: usize) {
        let start = self.len;
        pool.always(&mut self.layers, |layer| {
            if layer.is_ring {
                let staged = &staged[layer.staged_at(of)];
                layer.commit(&staged[..tokens * layer.token_bytes()], start);
            }
        });
        self.count(tokens);
    }

    fn count(&mut self, tokens: usize) {
        self.len += tokens;
        self.oldest = self.oldest.max(self.len.saturating_sub(self.ring));
    }

    /// Forgets positions from `len` on.
    ///
    /// # Errors
    /// The least possible length, if a ring has overwritten what the next query would see.
    pub(crate) fn truncate(&mut self, len: usize) -> Result<(), usize> {
        if len > 0 && len < self.least() {
            return Err(self.least());
        }
        self.len = self.len.min(len);
        if len == 0 {
            self.oldest = 0;
        }
        Ok(())
    }

    /// The shortest length but 0 that the cache can be cut to.
    pub(crate) fn least(&self) -> usize {
        match self.has_rings && self.oldest > 0 {
            true => self.oldest + self.window - 1,
            false => 1,
        }
    }
}

/// Keys and values of one layer, `[kv_heads][positions][key]` and `[kv_heads][positions][value]`.
#[derive(Debug)]
pub(crate) struct LayerKv {
    kind: KvType,
    heads: usize,
    head_dim: usize,
    /// See [`KvLimits`].
    turning_pairs: Option<usize>,
    /// The number of positions that there is room for.
    positions: usize,
    /// Whether it is the ring of a sliding layer.
    is_ring: bool,
    /// The bytes of one position in all rings before this one.
    bytes_before: usize,
    pages: Pages,
}

/// The place of the keys, or of the values, of one head.
#[derive(Clone, Copy)]
struct Plane {
    /// The bytes of one position.
    vector: usize,
    /// The offset in the cache.
    cached: usize,
    /// The offset in the staged bytes of one position.
    staged: usize,
}

impl Plane {
    /// The bytes of some slots in the cache.
    fn bytes(self, slots: Range<usize>) -> Range<usize> {
        let at = |slot| self.cached + slot * self.vector;
        at(slots.start)..at(slots.end)
    }
}

impl LayerKv {
    fn new(
        config: &Config,
        layer: &LayerConfig,
        limits: KvLimits,
        bytes_before: usize,
    ) -> Result<Self, MemoryError> {
        let positions = positions(config, layer, limits);
        let bytes = positions * position_bytes(layer, limits);
        Ok(Self {
            kind: limits.kind,
            heads: layer.kv_heads,
            head_dim: layer.head_dim,
            turning_pairs: turning_pairs(layer, limits),
            positions,
            is_ring: layer.kind == LayerKind::Sliding,
            bytes_before,
            pages: Pages::zeroed("keys and values", bytes)?,
        })
    }

    /// Where a pass of `tokens` tokens stages the positions of this ring, among those of all rings.
    pub(super) fn staged_at(&self, tokens: usize) -> Range<usize> {
        let start = tokens * self.bytes_before;
        start..start + tokens * self.token_bytes()
    }

    /// The bytes of one position, `[kv_heads][key]` and then `[kv_heads][value]`.
    pub(crate) fn token_bytes(&self) -> usize {
        self.heads * (self.key_bytes() + self.value_bytes())
    }

    /// Stores the keys `k` and values `v` of one position, `[kv_heads][head_dim]` each, in
    /// `staged`.
    pub(crate) fn stage(&self, k: &[f32], v: &[f32], staged: &mut [u8]) {
        let (keys, values) = staged.split_at_mut(self.heads * self.key_bytes());
        for (k, out) in k.chunks_exact(self.head_dim).zip(keys.chunks_exact_mut(self.key_bytes())) {
            match self.turning_pairs {
                None => self.kind.store(k, out),
                Some(pairs) => {
                    let (first, second) = out.split_at_mut(out.len() / 2);
                    self.kind.store(&k[..pairs], first);
                    self.kind.store(&k[self.head_dim / 2..][..pairs], second);
                }
            }
        }
        let values = values.chunks_exact_mut(self.value_bytes());
        for (v, out) in v.chunks_exact(self.head_dim).zip(values) {
            self.kind.store(v, out);
        }
    }

    /// A view of the cached positions and of the staged ones, which begin at position `start`.
    /// `key_norm` holds the weights of the keys' RMSNorm.
    pub(crate) fn view<'a>(
        &'a self,
        staged: &'a [u8],
        start: usize,
        key_norm: &'a [f32],
        isa: Isa,
    ) -> KvView<'a> {
        KvView { layer: self, staged, start, key_norm, isa }
    }

    /// Moves staged positions, the first of which is `start`, into the cache.
    pub(crate) fn commit(&mut self, staged: &[u8], start: usize) {
        for (t, staged) in staged.chunks_exact(self.token_bytes()).enumerate() {
            let slot = (start + t) % self.positions;
            for head in 0..self.heads {
                for plane in [self.keys(head), self.values(head)] {
                    let at = plane.cached + slot * plane.vector;
                    let vector = &staged[plane.staged..][..plane.vector];
                    self.pages[at..][..plane.vector].copy_from_slice(vector);
                }
            }
        }
    }

    /// Where the bytes of `positions` lie: for each head its keys and then its values, in two runs
    /// where a ring begins anew between them.
    fn runs(&self, positions: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let slots = self.slots(positions);
        let run = move |plane: Plane| slots.clone().map(|slots| plane.bytes(slots));
        self.planes().into_iter().flat_map(run)
    }

    /// The slots of `positions`, in two runs where a ring begins anew between them.
    fn slots(&self, positions: Range<usize>) -> [Range<usize>; 2] {
        let first = positions.start % self.positions;
        let until_end = (self.positions - first).min(positions.len());
        [first..first + until_end, 0..positions.len() - until_end]
    }

    /// For each head its keys and then its values.
    fn planes(&self) -> Vec<Plane> {
        (0..self.heads).flat_map(|head| [self.keys(head), self.values(head)]).collect()
    }

    fn keys(&self, head: usize) -> Plane {
        let vector = self.key_bytes();
        Plane { vector, cached: head * self.positions * vector, staged: head * vector }
    }

    fn values(&self, head: usize) -> Plane {
        let (vector, keys) = (self.value_bytes(), self.heads * self.key_bytes());
        Plane {
            vector,
            cached: self.positions * (keys + head * vector),
            staged: keys + head * vector,
        }
    }

    fn key_bytes(&self) -> usize {
        key_bytes(self.kind, self.head_dim, self.turning_pairs)
    }

    fn value_bytes(&self) -> usize {
        self.kind.vector_bytes(self.head_dim)
    }
}

/// The keys and values that attention reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvView<'a> {
    layer: &'a LayerKv,
    staged: &'a [u8],
    start: usize,
    key_norm: &'a [f32],
    isa: Isa,
}

impl KvView<'_> {
    /// Reads the keys and values of `head` at `positions` as f32, `[positions][head_dim]` each.
    pub(crate) fn load(
        &self,
        head: usize,
        positions: Range<usize>,
        keys: &mut [f32],
        values: &mut [f32],
    ) {
        let (kind, dim, isa) = (self.layer.kind, self.layer.head_dim, self.isa);
        let whole = |bytes: &[u8], out: &mut [f32]| kind.load(isa, bytes, dim, out);
        self.read(self.layer.values(head), positions.clone(), values, whole);
        let plane = self.layer.keys(head);
        let Some(pairs) = self.layer.turning_pairs else {
            return self.read(plane, positions, keys, whole);
        };
        keys.copy_from_slice(values);
        self.read(plane, positions, keys, |bytes, out| {
            let keys = bytes.chunks_exact(plane.vector).zip(out.chunks_exact_mut(dim));
            for (bytes, out) in keys {
                isa.mul(out, self.key_norm);
                let (first, second) = bytes.split_at(plane.vector / 2);
                kind.load(isa, first, pairs, &mut out[..pairs]);
                kind.load(isa, second, pairs, &mut out[dim / 2..][..pairs]);
            }
        });
    }

    /// Calls `load` with the stored vectors of `positions` and their part of `out`, once for each
    /// run of vectors that lie together.
    fn read(
        &self,
        plane: Plane,
        positions: Range<usize>,
        mut out: &mut [f32],
        mut load: impl FnMut(&[u8], &mut [f32]),
    ) {
        let mut at = positions.start;
        while at < positions.end {
            let (bytes, run) = if at >= self.start {
                let offset = (at - self.start) * self.layer.token_bytes() + plane.staged;
                (&self.staged[offset..], 1)
            } else {
                let (slot, end) = (at % self.layer.positions, positions.end.min(self.start));
                let run = (self.layer.positions - slot).min(end - at);
                (&self.layer.pages[plane.cached + slot * plane.vector..], run)
            };
            let (these, rest) = out.split_at_mut(run * self.layer.head_dim);
            load(&bytes[..run * plane.vector], these);
            (out, at) = (rest, at + run);
        }
    }
}

fn halves_mut(bytes: &mut [u8]) -> &mut [f16] {
    bytemuck::cast_slice_mut::<u8, u16>(bytes).reinterpret_cast_mut()
}

fn ring_positions(config: &Config, limits: KvLimits) -> usize {
    config.window.saturating_add(limits.rollback).min(limits.context)
}

/// The number of positions that a layer has room for.
fn positions(config: &Config, layer: &LayerConfig, limits: KvLimits) -> usize {
    match layer.kind {
        LayerKind::Sliding => ring_positions(config, limits),
        LayerKind::Full => limits.context,
    }
}

/// The bytes of one position in all rings.
pub(crate) fn ring_bytes(config: &Config, limits: KvLimits) -> usize {
    let rings = config.own_layers().iter().filter(|layer| layer.kind == LayerKind::Sliding);
    rings.map(|layer| position_bytes(layer, limits)).sum()
}

fn turning_pairs(layer: &LayerConfig, limits: KvLimits) -> Option<usize> {
    limits.turning_pairs.filter(|_| layer.kind == LayerKind::Full)
}

/// The bytes of one position of a layer.
pub(super) fn position_bytes(layer: &LayerConfig, limits: KvLimits) -> usize {
    let key = key_bytes(limits.kind, layer.head_dim, turning_pairs(layer, limits));
    layer.kv_heads * (key + limits.kind.vector_bytes(layer.head_dim))
}

/// The bytes of one key: of the whole head, or of both values of the pairs that turn.
fn key_bytes(kind: KvType, head_dim: usize, turning_pairs: Option<usize>) -> usize {
    turning_pairs.map_or(kind.vector_bytes(head_dim), |pairs| 2 * kind.vector_bytes(pairs))
}

/// The number of values that share a scale in [`KvType::Q8`].
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
            let stored = &mut *Pages::zeroed("test", kind.vector_bytes(40)).expect("a page");
            let mut read = [f32::NAN; 40];
            kind.store(&x, stored);
            kind.load(Isa::scalar(), stored, 40, &mut read);
            for (x, read) in x.iter().zip(read) {
                assert!((x - read).abs() <= error * 20.0 / 7.0, "{kind:?}: {read} for {x}");
            }
        }
    }

    /// What is no number is read again as none, and for Q8 so are its neighbours.
    #[test]
    fn types_keep_what_is_no_number() {
        for kind in [KvType::F32, KvType::F16, KvType::Q8] {
            for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in 0..40 {
                    let mut x = [0.5; 40];
                    x[at] = poison;
                    let stored =
                        &mut *Pages::zeroed("test", kind.vector_bytes(40)).expect("a page");
                    kind.store(&x, stored);
                    let mut read = [0.0; 40];
                    kind.load(Isa::best(), stored, 40, &mut read);
                    assert!(!read[at].is_finite(), "{kind:?} {poison} at {at}: {}", read[at]);
                }
            }
        }
    }

    /// A layer of two heads of 12 values with room for 6 positions.
    fn layer(kind: KvType, turning_pairs: Option<usize>) -> LayerKv {
        let mut layer = LayerKv {
            kind,
            heads: 2,
            head_dim: 12,
            turning_pairs,
            positions: 6,
            is_ring: false,
            bytes_before: 0,
            pages: Pages::zeroed("test", 0).expect("no memory"),
        };
        layer.pages = Pages::zeroed("test", 6 * layer.token_bytes()).expect("a page");
        layer
    }

    /// Keys that are values times weights, but for pairs 0 and 1 of 6, are read from a cache that
    /// holds nothing else of them as from one that holds them whole; past positions and staged
    /// ones.
    #[test]
    fn keys_come_back_from_values() {
        let isa = Isa::scalar();
        let norm: Vec<f32> = (0..12).map(|i| 0.5 + 0.125 * i as f32).collect();
        let value =
            |t: usize| (0..24).map(|i| ((t * 31 + i * 17) % 23) as f32 / 3.0 - 3.0).collect();
        let key = |v: &[f32]| {
            let mut k = v.to_vec();
            for head in k.chunks_exact_mut(12) {
                isa.mul(head, &norm);
                [0, 1, 6, 7].into_iter().for_each(|i| head[i] = 1.0 - head[i]);
            }
            k
        };
        // Keys are below 9.2, values times weights below 8.4, values below 4.4 and weights below
        // 1.9. Each reading is off by half a unit of f16 (1/256 of a key, 1/512 of a value), or by
        // half a step of 1/127.
        let (f16, q8) = (1.0 / 256.0 + 1.9 / 512.0, 2.0 * 9.2 / 254.0);
        let kinds = [(KvType::F32, 0.0), (KvType::F16, f16), (KvType::Q8, q8)];
        for (kind, error) in kinds {
            let [mut whole, mut shared] = [None, Some(2)].map(|pairs| layer(kind, pairs));
            assert!(shared.token_bytes() <= whole.token_bytes());
            let stage = |layer: &LayerKv, positions: Range<usize>| {
                let mut staged = vec![0u32; positions.len() * layer.token_bytes() / 4];
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut staged);
                for (t, out) in positions.zip(bytes.chunks_exact_mut(layer.token_bytes())) {
                    let v: Vec<f32> = value(t);
                    layer.stage(&key(&v), &v, out);
                }
                staged
            };
            for layer in [&mut whole, &mut shared] {
                let staged = stage(layer, 0..4);
                layer.commit(bytemuck::cast_slice(&staged), 0);
            }
            let staged = [&whole, &shared].map(|layer| stage(layer, 4..6));
            for head in 0..2 {
                let read = |i: usize, layer: &LayerKv| {
                    let view = layer.view(bytemuck::cast_slice(&staged[i]), 4, &norm, isa);
                    let (mut k, mut v) = ([0.0; 48], [0.0; 48]);
                    view.load(head, 1..5, &mut k, &mut v);
                    (k, v)
                };
                let (wanted, found) = (read(0, &whole), read(1, &shared));
                assert_eq!(wanted.1, found.1, "{kind:?}");
                for (wanted, found) in wanted.0.iter().zip(found.0) {
                    assert!((wanted - found).abs() <= error, "{kind:?}: {found}, not {wanted}");
                }
                let exact: Vec<f32> =
                    (1..5).flat_map(|t| key(&value(t))[head * 12..][..12].to_vec()).collect();
                assert!(kind != KvType::F32 || exact == found.0);
            }
        }
    }
}

//! A cache that holds positions without a pass over them, for measurements at depth.

use std::ops::Range;

use super::{KvCache, LayerKv};

impl KvCache {
    /// Appends positions up to `len`. Their values are arbitrary numbers of mean 0 and variance 1,
    /// and so are their keys before they are multiplied with their norm's weights, `key_norms`,
    /// `[layers][head_dim]`: RMSNorm leaves a pass's own as large. They are stored as those of a
    /// pass are.
    pub(crate) fn fill(&mut self, len: usize, key_norms: &[&[f32]]) {
        let start = self.len;
        for (layer, key_norm) in self.layers.iter_mut().zip(key_norms) {
            // Of a ring's positions only the last are there in the end.
            let first = if layer.is_ring { len.saturating_sub(layer.positions) } else { 0 };
            layer.fill(start.max(first)..len, key_norm);
        }
        self.len = start.max(len);
        self.oldest = self.oldest.max(self.len.saturating_sub(self.ring));
    }
}

impl LayerKv {
    /// Stores arbitrary keys and values at `positions`, of which every [`PERIOD`] are the same.
    fn fill(&mut self, positions: Range<usize>, key_norm: &[f32]) {
        let values = self.heads * self.head_dim;
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let bytes = self.token_bytes();
        // Stored vectors are aligned to 4 bytes, and a whole number of them long.
        let mut staged = vec![0u32; PERIOD.min(positions.len()) * bytes / 4];
        let staged: &mut [u8] = bytemuck::cast_slice_mut(&mut staged);
        for out in staged.chunks_exact_mut(bytes) {
            let mut key = random.normals(values);
            for head in key.chunks_exact_mut(self.head_dim) {
                head.iter_mut().zip(key_norm).for_each(|(key, weight)| *key *= weight);
            }
            self.stage(&key, &random.normals(values), out);
        }
        for first in positions.clone().step_by(PERIOD) {
            let count = PERIOD.min(positions.end - first);
            self.commit(&staged[..count * bytes], first);
        }
    }
}

/// Marsaglia's xorshift64 ("Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    /// Values of mean 0 and variance 1: sums of four uniform ones, each of variance 1/12.
    fn normals(&mut self, count: usize) -> Vec<f32> {
        let mut normal = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let uniform = |i: u32| ((self.0 >> (16 * i)) & 0xffff) as f32 / 65_536.0 - 0.5;
            (0..4).map(uniform).sum::<f32>() * 3f32.sqrt()
        };
        (0..count).map(|_| normal()).collect()
    }
}

/// A prime number, so that positions which attention reads together differ.
const PERIOD: usize = 61;

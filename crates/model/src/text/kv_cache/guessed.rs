//! Positions of guessed tokens: full layers hold them beyond the end of the cache, those of rings
//! are set aside until it is known whether they stay.

use super::KvCache;

impl KvCache {
    /// Copies the last positions of a pass of `of` tokens from `staged` to `out`, as a pass of so
    /// many tokens stages them: all from `first` on.
    pub(crate) fn set_aside(&self, staged: &[u8], of: usize, first: usize, out: &mut [u8]) {
        for layer in self.layers.iter().filter(|layer| layer.is_ring) {
            let staged = &staged[layer.staged_at(of)][first * layer.token_bytes()..];
            out[layer.staged_at(of - first)].copy_from_slice(staged);
        }
    }

    /// Counts one more position, which full layers have already: the rings take theirs from
    /// `staged`, where it is number `index` of `of`.
    pub(crate) fn keep_one(&mut self, staged: &[u8], of: usize, index: usize) {
        let start = self.len;
        for layer in self.layers.iter_mut().filter(|layer| layer.is_ring) {
            let bytes = layer.token_bytes();
            let staged = &staged[layer.staged_at(of)];
            layer.commit(&staged[index * bytes..][..bytes], start);
        }
        self.count(1);
    }
}

//! What the rings of a cache hold at one length, to come back to it.

use std::ops::Range;

use super::{KvCache, KvLimits, ring_bytes};
use crate::config::Config;
use crate::pages::{MemoryError, Pages};

/// The positions of all rings that the query after them sees.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(super) positions: Range<usize>,
    /// `[layers]`, and for each the runs of `LayerKv::runs`.
    pub(super) pages: Pages,
}

impl KvCache {
    /// What the rings hold of the positions that the query at position `at` sees, which is one that
    /// the cache can be cut to.
    pub(crate) fn snapshot(&self, at: usize) -> Result<Snapshot, MemoryError> {
        let positions = at.saturating_sub(self.window - 1).max(self.oldest)..at;
        let mut pages = Pages::zeroed("a snapshot", positions.len() * self.ring_bytes)?;
        let mut rest = &mut pages[..];
        for layer in self.layers.iter().filter(|layer| layer.is_ring) {
            for run in layer.runs(positions.clone()) {
                let (out, others) = rest.split_at_mut(run.len());
                out.copy_from_slice(&layer.pages[run]);
                rest = others;
            }
        }
        Ok(Snapshot { positions, pages })
    }

    /// Goes back to where a snapshot was taken. The full layers hold their positions as long as the
    /// cache was never shorter since.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        let Snapshot { positions, pages } = snapshot;
        let mut rest = &pages[..];
        for layer in self.layers.iter_mut().filter(|layer| layer.is_ring) {
            for run in layer.runs(positions.clone()) {
                let (bytes, others) = rest.split_at(run.len());
                layer.pages[run].copy_from_slice(bytes);
                rest = others;
            }
        }
        (self.len, self.oldest) = (positions.end, positions.start);
    }
}

impl Snapshot {
    /// The most bytes that one takes.
    pub(crate) fn bytes_max(config: &Config, limits: KvLimits) -> u64 {
        let positions = config.window.saturating_sub(1).min(limits.context);
        (positions * ring_bytes(config, limits)) as u64
    }

    /// The position of the query: the length of the cache then.
    pub(crate) fn at(&self) -> usize {
        self.positions.end
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.pages
    }

    /// All of it, to be filled.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.pages
    }
}

//! The keys and values of a cache as a saved session has them.
//!
//! Layers come in order. Each has for every head its keys and then its values,
//! `[positions][bytes]`: all positions on full layers, those that a ring still holds on sliding
//! ones. Positions come in order wherever they lie in memory, so the bytes fit any context and any
//! rollback.

use std::ops::Range;

use super::{KvCache, LayerKv, Snapshot};
use crate::pages::{MemoryError, Pages};

impl KvCache {
    /// The positions that the rings hold, up to the end of the cache.
    pub(crate) fn held(&self) -> Range<usize> {
        let oldest = if self.has_rings { self.oldest } else { 0 };
        oldest.min(self.len)..self.len
    }

    /// Whether rings that hold these positions can be gone on with.
    pub(crate) fn can_hold(&self, held: &Range<usize>) -> bool {
        let is_enough = held.start == 0 || held.len() >= self.window - 1;
        held.start <= held.end && held.end <= self.context && is_enough
    }

    /// The bytes that are stored of a cache whose rings hold these positions.
    pub(crate) fn stored_bytes(&self, held: &Range<usize>) -> u64 {
        let layer = |layer: &LayerKv| layer.stored(held).len() as u64 * layer.token_bytes() as u64;
        self.layers.iter().map(layer).sum()
    }

    /// Hands over all bytes.
    pub(crate) fn store<E>(&self, put: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let held = self.held();
        for layer in &self.layers {
            layer.runs(layer.stored(&held)).try_for_each(|run| put(&layer.pages[run]))?;
        }
        Ok(())
    }

    /// Takes all bytes of a cache whose rings held these positions. Rings that are shorter keep the
    /// last ones.
    pub(crate) fn load<E>(
        &mut self,
        held: Range<usize>,
        take: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let kept = held.start.max(held.end.saturating_sub(self.ring))..held.end;
        for layer in &mut self.layers {
            let (stored, kept) = (layer.stored(&held), layer.stored(&kept));
            let slots = layer.slots(kept.clone());
            for plane in layer.planes() {
                skip((kept.start - stored.start) * plane.vector, take)?;
                for slots in slots.clone() {
                    take(&mut layer.pages[plane.bytes(slots)])?;
                }
            }
        }
        (self.len, self.oldest) = (kept.end, kept.start);
        Ok(())
    }

    /// The bytes of a snapshot that was taken at position `at`.
    pub(crate) fn snapshot_bytes(&self, at: usize) -> u64 {
        (self.seen(at).len() * self.ring_bytes) as u64
    }

    /// The snapshot that was taken at position `at`, before its bytes are there.
    pub(crate) fn empty_snapshot(&self, at: usize) -> Result<Snapshot, MemoryError> {
        let positions = self.seen(at);
        let pages = Pages::zeroed("a snapshot", positions.len() * self.ring_bytes)?;
        Ok(Snapshot { positions, pages })
    }

    /// The positions before `at` that a query there sees on sliding layers.
    fn seen(&self, at: usize) -> Range<usize> {
        at.saturating_sub(self.window - 1)..at
    }
}

impl LayerKv {
    /// The positions that are stored, where rings hold these.
    fn stored(&self, held: &Range<usize>) -> Range<usize> {
        let start = if self.is_ring { held.start } else { 0 };
        start..held.end
    }
}

/// Takes bytes that are not wanted.
pub(crate) fn skip<E>(
    mut bytes: usize,
    take: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut piece = [0; 16 << 10];
    while bytes > 0 {
        let len = bytes.min(piece.len());
        take(&mut piece[..len])?;
        bytes -= len;
    }
    Ok(())
}

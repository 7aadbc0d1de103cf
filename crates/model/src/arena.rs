//! Scratch memory: one block, sized before the first token, lent out in nested frames.
//!
//! Every function that needs scratch states its [`Need`] next to it: `and` for memory held at the
//! same time, `or` for memory held in turn. A [`Frame`] then hands out slices from the front; a
//! nested frame gives its slices back when it ends. There is no `unsafe` and nothing is freed or
//! cleared: a slice holds whatever was there before.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytemuck::{Pod, Zeroable};

use crate::pages::{MemoryError, Pages};

/// The unit of the arena: a cache line, aligned like one.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// An amount of scratch memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    lines: usize,
}

impl Need {
    /// A slice of `len` values of type `T`.
    pub(crate) fn of<T: Pod>(len: usize) -> Self {
        Self { lines: (len * size_of::<T>()).div_ceil(size_of::<Line>()) }
    }

    /// Both at the same time.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { lines: self.lines + other.lines }
    }

    /// One after the other.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { lines: self.lines.max(other.lines) }
    }

    /// The amount in bytes.
    pub(crate) fn bytes(self) -> usize {
        self.lines * size_of::<Line>()
    }
}

/// The block of memory.
#[derive(Debug)]
pub(crate) struct Arena {
    pages: Pages,
    high_water: AtomicUsize,
}

impl Arena {
    /// Reserves `need`.
    pub(crate) fn new(need: Need) -> Result<Self, MemoryError> {
        let pages = Pages::zeroed("scratch", need.bytes())?;
        Ok(Self { pages, high_water: AtomicUsize::new(0) })
    }

    /// All of it, to be divided.
    pub(crate) fn frame(&mut self) -> Frame<'_> {
        let rest: &mut [Line] = bytemuck::cast_slice_mut(&mut self.pages);
        Frame { total: rest.len(), rest, high_water: &self.high_water }
    }

    /// The most that was ever lent out at one time, in bytes.
    pub(crate) fn high_water(&self) -> usize {
        self.high_water.load(Ordering::Relaxed) * size_of::<Line>()
    }
}

/// A part of the arena that is still free.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    rest: &'a mut [Line],
    total: usize,
    high_water: &'a AtomicUsize,
}

impl<'a> Frame<'a> {
    /// Takes `len` values for as long as the frame's own borrow lasts. Their content is arbitrary.
    ///
    /// # Panics
    /// If the arena was declared too small.
    pub(crate) fn take<T: Pod>(&mut self, len: usize) -> &'a mut [T] {
        let need = Need::of::<T>(len).lines;
        let free = self.rest.len();
        assert!(need <= free, "{need} lines of scratch where {free} are left");
        let (taken, rest) = mem::take(&mut self.rest).split_at_mut(need);
        self.rest = rest;
        self.high_water.fetch_max(self.total - self.rest.len(), Ordering::Relaxed);
        &mut bytemuck::cast_slice_mut(taken)[..len]
    }

    /// A frame whose slices come back when it ends.
    pub(crate) fn nested(&mut self) -> Frame<'_> {
        Frame { rest: self.rest, total: self.total, high_water: self.high_water }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_add_up_in_lines() {
        let line = Need::of::<f32>(16);
        assert_eq!(Need::of::<f32>(17), line.and(line));
        assert_eq!(Need::of::<u8>(0).bytes(), 0);
        assert_eq!(Need::of::<u8>(1).or(line.and(line)).bytes(), 128);
    }

    #[test]
    fn nested_frames_share_memory_and_the_high_water_mark_is_their_maximum() {
        let outer = Need::of::<f32>(3);
        let inner = Need::of::<u32>(100).or(Need::of::<u8>(65));
        let mut arena = Arena::new(outer.and(inner)).expect("a small arena");
        let mut frame = arena.frame();
        let kept: &mut [f32] = frame.take(3);
        kept.fill(1.0);
        assert_eq!(frame.high_water.load(Ordering::Relaxed), 1);
        for _ in 0..2 {
            let mut nested = frame.nested();
            nested.take::<u32>(100).fill(u32::MAX);
            assert!(nested.rest.is_empty());
        }
        frame.nested().take::<u8>(65).fill(0);
        assert_eq!(kept, [1.0; 3]);
        assert_eq!(arena.high_water(), outer.and(inner).bytes());
    }

    #[test]
    #[should_panic = "2 lines of scratch where 1 are left"]
    fn taking_more_than_was_declared_panics() {
        let mut arena = Arena::new(Need::of::<u8>(64)).expect("a small arena");
        arena.frame().take::<u8>(65);
    }
}

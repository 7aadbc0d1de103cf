//! What a template may spend: steps of work, and bytes of values that are alive.
//!
//! Both are counted before they are spent. A vector of characters or values grows only through
//! [`Builder`], which asks the budget first, so the size of a result never matters before it is
//! known to fit.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

/// Why a render stops.
#[derive(Debug)]
pub(super) enum Fault {
    /// The template does something that its values do not allow.
    Error(String),
    /// The template called `raise_exception`.
    Raised(String),
    /// The steps are used up.
    Steps,
    /// The values that are alive would need more bytes than allowed.
    Bytes,
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

/// An error with the words of `reason`.
pub(super) fn fail<T>(reason: impl Into<String>) -> Result<T> {
    Err(Fault::Error(reason.into()))
}

/// The budget of one render, shared by all its values.
pub(super) type Heap = Rc<Budget>;

#[derive(Debug)]
pub(super) struct Budget {
    steps: Cell<u64>,
    bytes: Cell<usize>,
}

impl Budget {
    pub(super) fn new(steps: u64, bytes: usize) -> Heap {
        Rc::new(Self { steps: Cell::new(steps), bytes: Cell::new(bytes) })
    }

    /// The bytes that values hold, of a budget that had all there are.
    pub(super) fn held(&self) -> usize {
        usize::MAX - self.bytes.get()
    }

    /// What is left from now on.
    pub(super) fn limit(&self, steps: u64, bytes: usize) {
        self.steps.set(steps);
        self.bytes.set(bytes);
    }

    /// Spends `steps`.
    pub(super) fn work(&self, steps: usize) -> Result<()> {
        let left = self.steps.get().checked_sub(steps as u64).ok_or(Fault::Steps)?;
        self.steps.set(left);
        Ok(())
    }

    /// Spends the steps of looking at `count` characters.
    pub(super) fn scan(&self, count: usize) -> Result<()> {
        self.work(count / SCANNED_PER_STEP)
    }

    /// Takes `bytes` until they are given back.
    pub(super) fn take(&self, bytes: usize) -> Result<()> {
        let left = self.bytes.get().checked_sub(bytes).ok_or(Fault::Bytes)?;
        self.bytes.set(left);
        Ok(())
    }

    fn give(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }
}

/// A finished vector whose bytes are counted until it is dropped.
#[derive(Debug)]
pub(super) struct Held<T> {
    items: Vec<T>,
    bytes: usize,
    heap: Heap,
}

impl<T> Deref for Held<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.heap.give(self.bytes);
    }
}

/// A vector that grows within the budget.
#[derive(Debug)]
pub(super) struct Builder<T> {
    held: Held<T>,
}

impl<T> Builder<T> {
    pub(super) fn new(heap: &Heap) -> Self {
        Self { held: Held { items: Vec::new(), bytes: 0, heap: Rc::clone(heap) } }
    }

    pub(super) fn heap(&self) -> &Heap {
        &self.held.heap
    }

    /// Makes room for `more` items.
    pub(super) fn reserve(&mut self, more: usize) -> Result<()> {
        let (len, room) = (self.held.items.len(), self.held.items.capacity());
        let wanted = len.saturating_add(more);
        if wanted <= room {
            return Ok(());
        }
        let wanted = wanted.max(room.saturating_mul(2)).max(4);
        let bytes = wanted.saturating_mul(size_of::<T>()).saturating_add(HELD_BYTES);
        self.held.heap.take(bytes.saturating_sub(self.held.bytes))?;
        self.held.bytes = bytes;
        self.held.heap.work(bytes / COPIED_PER_STEP)?;
        self.held.items.reserve_exact(wanted - len);
        Ok(())
    }

    pub(super) fn push(&mut self, item: T) -> Result<()> {
        self.reserve(1)?;
        self.held.items.push(item);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.held.items.len()
    }

    pub(super) fn items(&self) -> &[T] {
        &self.held.items
    }

    pub(super) fn items_mut(&mut self) -> &mut [T] {
        &mut self.held.items
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.held.items.truncate(len);
    }

    pub(super) fn finish(self) -> Result<Held<T>> {
        let mut held = self.held;
        if held.bytes == 0 {
            held.heap.take(HELD_BYTES)?;
            held.bytes = HELD_BYTES;
        }
        Ok(held)
    }
}

impl<T: Clone> Builder<T> {
    pub(super) fn extend(&mut self, items: &[T]) -> Result<()> {
        self.reserve(items.len())?;
        self.held.items.extend_from_slice(items);
        Ok(())
    }

    /// `items` so many times.
    pub(super) fn repeat(&mut self, items: &[T], times: usize) -> Result<()> {
        self.reserve(items.len().saturating_mul(times))?;
        if !items.is_empty() {
            (0..times).for_each(|_| self.held.items.extend_from_slice(items));
        }
        Ok(())
    }
}

/// What a value costs besides its items: counters, pointers, the allocator's own.
const HELD_BYTES: usize = 96;

/// A step is one operation of the template, about 100 ns; that many bytes are copied in it.
const COPIED_PER_STEP: usize = 128;

/// Characters compared or searched in the time of a step.
const SCANNED_PER_STEP: usize = 8;

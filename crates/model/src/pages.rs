//! Memory by the page: large blocks of zeros, straight from the system.
//!
//! A block takes memory only where it was touched, so it may be made for the most that could ever
//! be needed. Huge pages (2 MiB) are asked for, where the system knows them: with pages of 4 KiB,
//! whoever reads gigabytes of weights waits for page tables, too.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// The system gave no memory.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for {bytes} bytes of {what}: close other programs or ask for less context")]
#[non_exhaustive]
pub struct MemoryError {
    /// What the memory was for.
    pub what: &'static str,
    /// How much was asked for.
    pub bytes: u64,
}

/// A block of memory, aligned to a page.
#[derive(Debug)]
pub(crate) struct Pages {
    map: MmapMut,
    len: usize,
}

impl Pages {
    /// `bytes` of zeros, or an error instead of an abort; `what` they are for.
    pub(crate) fn zeroed(what: &'static str, bytes: usize) -> Result<Self, MemoryError> {
        let no_memory = |_| MemoryError { what, bytes: bytes as u64 };
        let map = MmapMut::map_anon(bytes.max(1)).map_err(no_memory)?;
        // A kernel without huge pages refuses, and nothing but speed is lost. Miri knows none.
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, len: bytes })
    }
}

/// Asks the system for memory and gives it back: an error where what follows would abort, since it
/// asks in many small pieces.
pub(crate) fn ask(what: &'static str, bytes: usize) -> Result<(), MemoryError> {
    Pages::zeroed(what, bytes).map(drop)
}

/// A vector of `count` zeros, or an error instead of an abort; `what` they are for.
pub(crate) fn zeros<T: Clone + Default>(
    what: &'static str,
    count: usize,
) -> Result<Vec<T>, MemoryError> {
    let mut values = Vec::new();
    let bytes = count.saturating_mul(size_of::<T>()) as u64;
    values.try_reserve_exact(count).map_err(|_| MemoryError { what, bytes })?;
    values.resize(count, T::default());
    Ok(values)
}

/// Makes a buffer that is used again and again `len` bytes long, or gives an error instead of an
/// abort; what is in it is anything.
pub(crate) fn resize(
    what: &'static str,
    buffer: &mut Vec<u8>,
    len: usize,
) -> Result<(), MemoryError> {
    let more = len.saturating_sub(buffer.len());
    buffer.try_reserve(more).map_err(|_| MemoryError { what, bytes: len as u64 })?;
    buffer.resize(len, 0);
    Ok(())
}

/// What work takes in small pieces, beside what is asked for by itself, and the 64 MiB that glibc
/// maps for the pieces of a new thread.
#[cfg(feature = "chat")]
pub(crate) const SMALL_BYTES: usize = (64 + 16) << 20;

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[..self.len]
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.map[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_sizes_are_an_error() {
        for bytes in [usize::MAX / 2, usize::MAX] {
            let error = Pages::zeroed("test", bytes).expect_err("more than any machine has");
            assert_eq!(error, MemoryError { what: "test", bytes: bytes as u64 });
            assert_eq!(ask("test", bytes), Err(error));
            let error = zeros::<u8>("test", bytes).expect_err("more than any machine has");
            assert_eq!(error, MemoryError { what: "test", bytes: bytes as u64 });
        }
        let bytes = u64::MAX;
        assert_eq!(zeros::<f32>("test", usize::MAX), Err(MemoryError { what: "test", bytes }));
        assert_eq!(zeros::<f32>("test", 3), Ok(vec![0.0; 3]));
    }

    #[test]
    fn blocks_are_zeros_of_the_length_asked_for() {
        for bytes in [0, 1, 4096, 5 << 20] {
            let mut pages = Pages::zeroed("test", bytes).expect("a block");
            assert_eq!(pages.len(), bytes);
            assert!(pages.iter().all(|byte| *byte == 0));
            pages.fill(1);
        }
    }
}

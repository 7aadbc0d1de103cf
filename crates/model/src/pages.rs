//! Memory by the page: large blocks of zeros, straight from the system.
//!
//! A block takes memory only where it was touched, so it may be made for the most that could ever
//! be needed. Huge pages (2 MiB) are asked for, where the system knows them: with pages of 4 KiB,
//! whoever reads gigabytes of weights waits for page tables, too.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

use crate::error::{Error, Result};

/// A block of memory, aligned to a page.
#[derive(Debug)]
pub(crate) struct Pages {
    map: MmapMut,
    len: usize,
}

impl Pages {
    /// `bytes` of zeros, or an error instead of an abort; `what` they are for.
    pub(crate) fn zeroed(what: &'static str, bytes: usize) -> Result<Self> {
        let no_memory = |_| Error::Memory { what, bytes: bytes as u64 };
        let map = MmapMut::map_anon(bytes.max(1)).map_err(no_memory)?;
        // A kernel without huge pages refuses, and nothing but speed is lost.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, len: bytes })
    }
}

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
        assert!(matches!(Pages::zeroed("test", usize::MAX / 2), Err(Error::Memory { .. })));
        assert!(matches!(Pages::zeroed("test", usize::MAX), Err(Error::Memory { .. })));
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

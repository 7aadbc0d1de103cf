//! How many groups of rows a product with few columns reads side by side.
//!
//! Such a product waits for memory, and what memory gives depends on how it is asked. A core
//! follows each stream of addresses on its own: on a Xeon (family 6, model 207) four streams bring
//! 25 GB/s to two threads where one brings 17, while a Zen 4 reads one stream fastest
//! (`x86/prefetch.rs`). No table knows all machines, so whoever multiplies can measure:
//! [`Isa::streams`] names the ways worth trying. All of them give the same bits.

use crate::{Format, Isa, Weights};

/// How many groups of rows a product with few columns reads side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Streams {
    /// One or two, as suits most cores of this maker and the number of columns.
    #[default]
    Few,
    /// Four.
    Four,
}

impl Isa {
    /// The ways in which products of `format` with so many columns can read weights, the usual one
    /// first: a single one where the others would be no different.
    pub fn streams(self, format: Format, columns: usize) -> &'static [Streams] {
        match format.wants_int8() && columns <= self.stream_columns() {
            true => &[Streams::Few, Streams::Four],
            false => &[Streams::Few],
        }
    }
}

impl Weights<'_> {
    /// The same weights, of which products with few columns read so many streams.
    pub fn in_streams(mut self, streams: Streams) -> Self {
        self.streams = streams;
        self
    }

    /// How many groups of rows products with few columns read side by side.
    pub fn streams(&self) -> Streams {
        self.streams
    }
}

/// The most columns with which four streams are read: with more, arithmetic takes longer than
/// memory.
#[cfg(target_arch = "x86_64")]
pub(crate) const STREAM_COLUMNS: usize = 4;

//! Prefetching of weights for products with few columns, which wait for memory.
//!
//! How weights are best asked for depends on the core, not on its instructions. Measured with one
//! thread over 1 GiB of weights, in GB/s, where plain reading gives 32 (Zen 4):
//!
//! | hints ahead, in bytes       | Q4_0, one stream | Q6_K, one stream | Q4_0, two streams |
//! |-----------------------------|------------------|------------------|-------------------|
//! | none                        | 29               | 6                | 13                |
//! | L1 at 1152, L2 at 3008      | 25               | 13               | 19                |
//! | L1 at 5056                  | 28               | 27               | 15                |
//!
//! With two threads the memory's own changes hide what the distance does.
//!
//! On a Xeon with AVX-VNNI (family 6, model 207) the number of streams decides, and the hints do
//! little. In the same units, Q4_0:
//!
//! | streams                                       | one thread | two threads |
//! |-----------------------------------------------|------------|-------------|
//! | plain reading                                 | 10         | 19          |
//! | one, any of the hints above                   | 10         | 19          |
//! | two, L1 at 1152, L2 at 3008                   | 13         | 25          |
//! | four, L1 at 1152                              | 14 to 15   | 26 to 29    |
//! | four, no hint                                 | 10         | 20          |
//! | eight                                         | 12         | 23          |
//!
//! So there is a choice between few streams and four (`crate::Streams`), and each has its hints.

#![expect(unsafe_code, reason = "prefetches")]

use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, CpuidResult};
use std::sync::LazyLock;

/// How this core is best asked for weights.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prefetch {
    /// For kernels that read one group of rows after the other. Two side by side want the two steps
    /// on every core that was measured.
    one_stream: Ahead,
    /// The greatest number of columns for which one stream of 256 bits is faster than two that fill
    /// 512 bits.
    pub(crate) narrow_columns: usize,
}

/// How far ahead of their use weights are prefetched, in bytes; 0 where a cache is not asked.
///
/// No distance is a multiple of a page: such lines share their place in the L1 cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ahead {
    to_l1: usize,
    to_l2: usize,
}

/// First into L2, of which a core can await many more lines than of L1, and into L1 before the use.
const IN_TWO_STEPS: Ahead = Ahead { to_l1: 1152, to_l2: 3008 };
/// Four streams have enough lines on the way with one hint for each.
const NEAR: Ahead = Ahead { to_l1: 1152, to_l2: 0 };
/// Hints for L2 hold the reads of AMD's cores back, unless two streams share them.
const AMD: Prefetch = Prefetch { one_stream: Ahead { to_l1: 5056, to_l2: 0 }, narrow_columns: 2 };
const OTHERS: Prefetch = Prefetch { one_stream: IN_TWO_STEPS, narrow_columns: 1 };

impl Prefetch {
    /// The entry of this machine.
    pub(crate) fn of_this_core() -> &'static Self {
        static VENDOR: LazyLock<[u8; 12]> = LazyLock::new(|| vendor(std::arch::x86_64::__cpuid(0)));
        Self::of(&VENDOR)
    }

    fn of(vendor: &[u8; 12]) -> &'static Self {
        match vendor {
            b"AuthenticAMD" | b"HygonGenuine" => &AMD,
            _ => &OTHERS,
        }
    }

    /// The distances for a kernel that reads so many groups of rows side by side.
    pub(crate) fn ahead(&self, streams: usize) -> Ahead {
        match streams {
            1 => self.one_stream,
            4 => NEAR,
            _ => IN_TWO_STEPS,
        }
    }
}

/// The name of the maker that `cpuid` gives for leaf 0 (Intel SDM volume 2A, CPUID).
fn vendor(leaf: CpuidResult) -> [u8; 12] {
    bytemuck::cast([leaf.ebx, leaf.edx, leaf.ecx])
}

impl Ahead {
    /// Prefetches the memory that lies these distances after `bytes`, where the weights go on.
    #[inline(always)]
    pub(crate) fn prefetch(self, bytes: &[u8]) {
        let lines = || (0..bytes.len()).step_by(64).map(|at| bytes.as_ptr().wrapping_add(at));
        if self.to_l2 > 0 {
            lines().for_each(|line| hint::<_MM_HINT_T1>(line.wrapping_add(self.to_l2)));
        }
        lines().for_each(|line| hint::<_MM_HINT_T0>(line.wrapping_add(self.to_l1)));
    }
}

#[inline(always)]
fn hint<const HINT: i32>(line: *const u8) {
    // SAFETY: a prefetch is a hint that every x86-64 CPU knows; no address makes it fault.
    unsafe { _mm_prefetch::<HINT>(line.cast()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_known_by_its_maker() {
        let dword = |text: &[u8]| u32::from_le_bytes(text.try_into().expect("four bytes"));
        let leaf = |b, d, c| CpuidResult { eax: 16, ebx: dword(b), ecx: dword(c), edx: dword(d) };
        let of = |leaf| Prefetch::of(&vendor(leaf));
        assert_eq!(of(leaf(b"Auth", b"enti", b"cAMD")), &AMD);
        assert_eq!(of(leaf(b"Genu", b"ineI", b"ntel")), &OTHERS);
        assert_eq!(of(leaf(b"Some", b"body", b"Else")), &OTHERS);
    }
}

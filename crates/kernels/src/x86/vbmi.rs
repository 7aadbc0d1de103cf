//! Look-ups in whole registers, by AVX-512 VBMI.

use std::arch::x86_64::*;

use super::lanes512::V;
use crate::block::codebook::planes::{Levels, Planes};

/// For each byte `i` of `low`, and the bits above it, the two bytes of entry `i`.
///
/// Bit `b` of `high[h]` is bit `8 + h` of the index in byte `b`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
pub(super) fn look_up<const TABLES: usize, const HIGH: usize>(
    planes: &Planes<TABLES>,
    low: V,
    high: [__mmask64; HIGH],
) -> [V; 2] {
    const { assert!(TABLES == 2 << HIGH) };
    let eighth = _mm512_movepi8_mask(low);
    let mut found = [low; 2];
    for (plane, found) in planes.iter().zip(&mut found) {
        // Of every two tables the one that the lowest bit of its number picks, and so on upwards.
        let mut left = [low; TABLES];
        for (table, left) in plane.iter().zip(&mut left) {
            let [first, second]: [V; 2] = bytemuck::must_cast(*table);
            *left = _mm512_permutex2var_epi8(first, low, second);
        }
        for h in 0..=HIGH {
            let bit = if h == 0 { eighth } else { high[h - 1] };
            for i in 0..TABLES >> (h + 1) {
                left[i] = _mm512_mask_blend_epi8(bit, left[2 * i], left[2 * i + 1]);
            }
        }
        *found = left[0];
    }
    found
}

/// Which bytes have the one bit that `pick` has in the same byte of a dword.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
pub(super) fn is_set(bytes: V, pick: u32) -> __mmask64 {
    _mm512_test_epi8_mask(bytes, _mm512_set1_epi32(pick as i32))
}

/// The weights of entry `i` of each dword of bytes that [`look_up`] found: the first four and the
/// last four.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
pub(super) fn octet(levels: &Levels, bytes: [V; 2], i: usize) -> [V; 2] {
    let at = bits_of_dwords(8 * i, [0, 2, 4, 6]);
    bytes.map(|bytes| level(levels, _mm512_multishift_epi64_epi8(at, bytes)))
}

/// The four weights of entry `i` of each dword of bytes that [`look_up`] found.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
pub(super) fn quad(levels: &Levels, [first, last]: [V; 2], i: usize) -> V {
    let at = bits_of_dwords(8 * i, [0, 3, 0, 3]);
    let two = _mm512_multishift_epi64_epi8(at, first);
    level(levels, _mm512_mask_multishift_epi64_epi8(two, LAST_TWO, at, last))
}

/// Where the bits of the four bytes of each dword begin in its quadword.
#[target_feature(enable = "avx512f")]
#[inline]
fn bits_of_dwords(first: usize, bytes: [usize; 4]) -> V {
    let at = |b: usize| (first + bytes[b % 4] + b / 4 * 32) as u8;
    _mm512_set1_epi64(i64::from_le_bytes(std::array::from_fn(at)))
}

/// The level that the lower bits of each byte name.
#[target_feature(enable = "avx512f,avx512vbmi")]
#[inline]
fn level(levels: &Levels, numbers: V) -> V {
    _mm512_permutexvar_epi8(numbers, bytemuck::must_cast(*levels))
}

/// The last two bytes of each dword.
const LAST_TWO: __mmask64 = 0xCCCC_CCCC_CCCC_CCCC;

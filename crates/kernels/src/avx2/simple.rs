//! Q4_0, Q5_0 and Q8_0: a block of 32 weights with one f16 scale.

use std::arch::x86_64::*;

use bytemuck::{Pod, Zeroable};

use super::{add_pairs, add_scaled, broadcast, for_blocks, load, load_f16};
use crate::activations::{Int8Block, SUM};

/// Eight rows of [`BlockQ4_0`](crate::block::BlockQ4_0).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q4_0x8 {
    d: [u8; 16],
    /// Vector `h`: weights `4h ..` in the low nibbles, `16 + 4h ..` in the high ones.
    qs: [[u8; 32]; 4],
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q4_0<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let low = _mm256_set1_epi8(15);
    for_blocks(groups, x, out, |block: &Q4_0x8, x: &Int8Block<N>, acc| {
        let mut s = [_mm256_setzero_si256(); N];
        for h in 0..4 {
            let both = load(&block.qs[h]);
            let w0 = _mm256_and_si256(both, low);
            let w1 = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
            for c in 0..N {
                let p0 = _mm256_maddubs_epi16(w0, broadcast(x[h][c]));
                let p1 = _mm256_maddubs_epi16(w1, broadcast(x[4 + h][c]));
                s[c] = _mm256_add_epi16(_mm256_add_epi16(s[c], p0), p1);
            }
        }
        for c in 0..N {
            s[c] = _mm256_sub_epi32(add_pairs(s[c]), broadcast(x[SUM][c])); // offset 8
        }
        add_scaled(s, load_f16(&block.d), x, acc);
    });
}

/// Eight rows of [`BlockQ5_0`](crate::block::BlockQ5_0).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q5_0x8 {
    d: [u8; 16],
    /// Bit `i` of dword `r` is the fifth bit of weight `i` of row `r`.
    qh: [u8; 32],
    qs: [[u8; 32]; 4],
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q5_0<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let low = _mm256_set1_epi8(15);
    for_blocks(groups, x, out, |block: &Q5_0x8, x: &Int8Block<N>, acc| {
        let high = load(&block.qh);
        let mut s = [_mm256_setzero_si256(); N];
        for half in 0..2 {
            let mut s16 = [_mm256_setzero_si256(); N];
            for h in 0..4 {
                let nibbles = load(&block.qs[h]);
                let nibbles = if half == 0 { nibbles } else { _mm256_srli_epi16::<4>(nibbles) };
                let fifth = spread_bits(high, 4 * half + h);
                let w = _mm256_or_si256(_mm256_and_si256(nibbles, low), fifth);
                for c in 0..N {
                    let p = _mm256_maddubs_epi16(w, broadcast(x[4 * half + h][c]));
                    s16[c] = _mm256_add_epi16(s16[c], p);
                }
            }
            for c in 0..N {
                s[c] = _mm256_add_epi32(s[c], add_pairs(s16[c]));
            }
        }
        for c in 0..N {
            let offset = _mm256_slli_epi32::<1>(broadcast(x[SUM][c])); // offset 16
            s[c] = _mm256_sub_epi32(s[c], offset);
        }
        add_scaled(s, load_f16(&block.d), x, acc);
    });
}

/// Bits `4g .. 4g + 4` of each dword, as bit 4 of the dword's four bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn spread_bits(bits: __m256i, g: usize) -> __m256i {
    // Every byte of the result looks at the byte that holds its bit, and picks it.
    let byte = _mm256_set1_epi32(0x0101_0101 * (g / 2) as i32);
    let lane = _mm256_set_epi32(
        0x0C0C_0C0C,
        0x0808_0808,
        0x0404_0404,
        0,
        0x0C0C_0C0C,
        0x0808_0808,
        0x0404_0404,
        0,
    );
    let bytes = _mm256_shuffle_epi8(bits, _mm256_add_epi8(lane, byte));
    let pick =
        _mm256_set1_epi32(if g.is_multiple_of(2) { 0x0804_0201 } else { 0x8040_2010_u32 as i32 });
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, pick), pick);
    _mm256_and_si256(set, _mm256_set1_epi8(16))
}

/// Eight rows of [`BlockQ8_0`](crate::block::BlockQ8_0).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q8_0x8 {
    d: [u8; 16],
    /// Vector `g`: weights `4g ..`, signed.
    qs: [[u8; 32]; 8],
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q8_0<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q8_0x8, x: &Int8Block<N>, acc| {
        let mut s = [_mm256_setzero_si256(); N];
        for g in 0..8 {
            let w = load(&block.qs[g]);
            let magnitude = _mm256_abs_epi8(w); // 128 as an unsigned byte for −128
            for c in 0..N {
                let q = _mm256_sign_epi8(broadcast(x[g][c]), w);
                s[c] = _mm256_add_epi32(s[c], add_pairs(_mm256_maddubs_epi16(magnitude, q)));
            }
        }
        add_scaled(s, load_f16(&block.d), x, acc);
    });
}

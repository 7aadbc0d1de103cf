//! Q4_K, Q5_K and Q6_K: blocks of 256 weights whose scales are small integers times an f16.
//!
//! The eight sub-blocks of 32 differ in shifts only, which are constants: `J` is the sub-block.

use std::arch::x86_64::*;

use bytemuck::{Pod, Zeroable};

use super::{add_pairs, add_scaled, broadcast, for_blocks, load, load_f16, subtract_min};
use crate::activations::{HALF_SUMS, Int8Block};

/// Eight rows of [`BlockQ4_K`](crate::block::BlockQ4_K).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q4Kx8 {
    d: [u8; 16],
    dmin: [u8; 16],
    /// The twelve scale bytes as three dwords of each row.
    scales: [[u8; 32]; 3],
    /// Vector `8c + g`: weights `4g ..` of sub-block `2c` (low) and `2c + 1` (high nibbles).
    qs: [[u8; 32]; 32],
}

/// Eight rows of [`BlockQ5_K`](crate::block::BlockQ5_K).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q5Kx8 {
    d: [u8; 16],
    dmin: [u8; 16],
    scales: [[u8; 32]; 3],
    /// Vector `g`: bit `j` is the fifth bit of weights `4g ..` of sub-block `j`.
    qh: [[u8; 32]; 8],
    qs: [[u8; 32]; 32],
}

/// Eight rows of [`BlockQ6_K`](crate::block::BlockQ6_K).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q6Kx8 {
    ql: [[u8; 32]; 32],
    qh: [[u8; 32]; 16],
    /// Vector `v`: the scales `4v .. 4v + 4` of each row.
    scales: [[u8; 32]; 4],
    d: [u8; 16],
}

/// Runs a `sub::<J>` for the eight sub-blocks.
macro_rules! for_sub_blocks {
    ($sub:ident($($arg:expr),*), $x:expr, $acc:expr) => {{
        $sub::<0, N>($($arg),*, &$x[0], $acc);
        $sub::<1, N>($($arg),*, &$x[1], $acc);
        $sub::<2, N>($($arg),*, &$x[2], $acc);
        $sub::<3, N>($($arg),*, &$x[3], $acc);
        $sub::<4, N>($($arg),*, &$x[4], $acc);
        $sub::<5, N>($($arg),*, &$x[5], $acc);
        $sub::<6, N>($($arg),*, &$x[6], $acc);
        $sub::<7, N>($($arg),*, &$x[7], $acc);
    }};
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q4_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: &Q4Kx8, x: &[Int8Block<N>; 8], acc| {
        let scales = KScales::new(&block.d, &block.dmin, &block.scales);
        for_sub_blocks!(q4_k_sub(block, &scales), x, acc);
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn q4_k_sub<const J: usize, const N: usize>(
    block: &Q4Kx8,
    scales: &KScales,
    x: &Int8Block<N>,
    acc: &mut [__m256; N],
) {
    let mut s = [_mm256_setzero_si256(); N];
    for g in 0..8 {
        let w = nibbles::<J>(&block.qs[J / 2 * 8 + g]);
        for c in 0..N {
            s[c] = _mm256_add_epi16(s[c], _mm256_maddubs_epi16(w, broadcast(x[g][c])));
        }
    }
    for s in &mut s {
        *s = add_pairs(*s);
    }
    add_scaled(s, scales.scale::<J>(), x, acc);
    subtract_min(scales.min::<J>(), x, acc);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q5_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: &Q5Kx8, x: &[Int8Block<N>; 8], acc| {
        let scales = KScales::new(&block.d, &block.dmin, &block.scales);
        for_sub_blocks!(q5_k_sub(block, &scales), x, acc);
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn q5_k_sub<const J: usize, const N: usize>(
    block: &Q5Kx8,
    scales: &KScales,
    x: &Int8Block<N>,
    acc: &mut [__m256; N],
) {
    let mut s = [_mm256_setzero_si256(); N];
    for half in 0..2 {
        let mut s16 = [_mm256_setzero_si256(); N];
        for g in 4 * half..4 * half + 4 {
            let high = shift_to_bit_4::<J, 1>(load(&block.qh[g]));
            let w = _mm256_or_si256(nibbles::<J>(&block.qs[J / 2 * 8 + g]), high);
            for c in 0..N {
                s16[c] = _mm256_add_epi16(s16[c], _mm256_maddubs_epi16(w, broadcast(x[g][c])));
            }
        }
        for c in 0..N {
            s[c] = _mm256_add_epi32(s[c], add_pairs(s16[c]));
        }
    }
    add_scaled(s, scales.scale::<J>(), x, acc);
    subtract_min(scales.min::<J>(), x, acc);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q6_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: &Q6Kx8, x: &[Int8Block<N>; 8], acc| {
        let d = load_f16(&block.d);
        for_sub_blocks!(q6_k_sub(block, d), x, acc);
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn q6_k_sub<const J: usize, const N: usize>(
    block: &Q6Kx8,
    d: __m256,
    x: &Int8Block<N>,
    acc: &mut [__m256; N],
) {
    let (upper, r) = (const { J / 4 }, const { J % 4 });
    for half in 0..2 {
        let mut s = [_mm256_setzero_si256(); N];
        for pair in 0..2 {
            let mut s16 = [_mm256_setzero_si256(); N];
            for g in [4 * half + 2 * pair, 4 * half + 2 * pair + 1] {
                let low = &block.ql[16 * upper + 8 * (r % 2) + g];
                let low = if r < 2 { nibbles::<0>(low) } else { nibbles::<1>(low) };
                let high = load(&block.qh[8 * upper + g]);
                let high = match r {
                    0 => shift_to_bit_4::<0, 3>(high),
                    1 => shift_to_bit_4::<2, 3>(high),
                    2 => shift_to_bit_4::<4, 3>(high),
                    _ => shift_to_bit_4::<6, 3>(high),
                };
                let w = _mm256_or_si256(low, high);
                for c in 0..N {
                    let p = _mm256_maddubs_epi16(w, broadcast(x[g][c]));
                    s16[c] = _mm256_add_epi16(s16[c], p);
                }
            }
            for c in 0..N {
                s[c] = _mm256_add_epi32(s[c], add_pairs(s16[c]));
            }
        }
        for c in 0..N {
            let offset = _mm256_slli_epi32::<2>(broadcast(x[HALF_SUMS[half]][c])); // offset 32
            s[c] = _mm256_sub_epi32(s[c], offset);
        }
        // Scale 2J + half: sign-extend its byte.
        let four = load(&block.scales[J / 2]);
        let scale = match (J % 2, half) {
            (0, 0) => _mm256_slli_epi32::<24>(four),
            (0, _) => _mm256_slli_epi32::<16>(four),
            (_, 0) => _mm256_slli_epi32::<8>(four),
            _ => four,
        };
        let scale = _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(scale));
        add_scaled(s, _mm256_mul_ps(d, scale), x, acc);
    }
}

/// The scales and mins of eight rows of Q4_K or Q5_K, four bits of bookkeeping undone.
///
/// `scale_min` in `block/k.rs` tells where the bits are; here a dword of each row holds
/// four sub-blocks, so the same shifts serve all of them.
struct KScales {
    d: __m256,
    dmin: __m256,
    /// Sub-blocks 0–3 and 4–7, a byte each.
    scales: [__m256i; 2],
    mins: [__m256i; 2],
}

impl KScales {
    #[target_feature(enable = "avx2,f16c")]
    #[inline]
    fn new(d: &[u8; 16], dmin: &[u8; 16], scales: &[[u8; 32]; 3]) -> Self {
        let [a, b, c] = [load(&scales[0]), load(&scales[1]), load(&scales[2])];
        let six = _mm256_set1_epi8(63);
        let four = _mm256_set1_epi8(15);
        let top = _mm256_set1_epi8(48);
        let high = |x| _mm256_and_si256(_mm256_srli_epi16::<2>(x), top);
        let low = _mm256_and_si256(c, four);
        let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(c), four);
        Self {
            d: load_f16(d),
            dmin: load_f16(dmin),
            scales: [_mm256_and_si256(a, six), _mm256_or_si256(low, high(a))],
            mins: [_mm256_and_si256(b, six), _mm256_or_si256(upper, high(b))],
        }
    }

    /// `d · sc` of sub-block `J`.
    #[target_feature(enable = "avx2,f16c")]
    #[inline]
    fn scale<const J: usize>(&self) -> __m256 {
        _mm256_mul_ps(self.d, byte_to_f32::<J>(self.scales[J / 4]))
    }

    /// `dmin · m` of sub-block `J`.
    #[target_feature(enable = "avx2,f16c")]
    #[inline]
    fn min<const J: usize>(&self) -> __m256 {
        _mm256_mul_ps(self.dmin, byte_to_f32::<J>(self.mins[J / 4]))
    }
}

/// Byte `J % 4` of each dword.
#[target_feature(enable = "avx2")]
#[inline]
fn byte_to_f32<const J: usize>(bytes: __m256i) -> __m256 {
    let byte = match J % 4 {
        0 => bytes,
        1 => _mm256_srli_epi32::<8>(bytes),
        2 => _mm256_srli_epi32::<16>(bytes),
        _ => _mm256_srli_epi32::<24>(bytes),
    };
    _mm256_cvtepi32_ps(_mm256_and_si256(byte, _mm256_set1_epi32(255)))
}

/// The low (even `J`) or high nibbles.
#[target_feature(enable = "avx2")]
#[inline]
fn nibbles<const J: usize>(bytes: &[u8; 32]) -> __m256i {
    let bytes = load(bytes);
    let bytes = if J.is_multiple_of(2) { bytes } else { _mm256_srli_epi16::<4>(bytes) };
    _mm256_and_si256(bytes, _mm256_set1_epi8(15))
}

/// Bits `FROM ..` of each byte under `MASK`, moved to bit 4.
#[target_feature(enable = "avx2")]
#[inline]
fn shift_to_bit_4<const FROM: usize, const MASK: i8>(x: __m256i) -> __m256i {
    let moved = match FROM {
        0 => _mm256_slli_epi16::<4>(x),
        1 => _mm256_slli_epi16::<3>(x),
        2 => _mm256_slli_epi16::<2>(x),
        3 => _mm256_slli_epi16::<1>(x),
        4 => x,
        5 => _mm256_srli_epi16::<1>(x),
        6 => _mm256_srli_epi16::<2>(x),
        _ => _mm256_srli_epi16::<3>(x),
    };
    _mm256_and_si256(moved, _mm256_set1_epi8(MASK << 4))
}

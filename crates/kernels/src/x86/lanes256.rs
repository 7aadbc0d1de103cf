//! Eight lanes of 32 bits: one group of rows. Only what the kernels need, all of it AVX2.

use std::arch::x86_64::*;

/// Thirty-two bytes or eight i32.
pub(crate) type V = __m256i;
/// Eight f32, one of each row.
pub(crate) type F = __m256;
/// Groups of rows in a vector.
pub(crate) const GROUPS: usize = 1;

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn load([bytes]: [&[u8; 32]; GROUPS]) -> V {
    bytemuck::must_cast(*bytes)
}

/// f16 to f32.
#[target_feature(enable = "avx2,f16c")]
#[inline]
pub(crate) fn load_f16([bytes]: [&[u8; 16]; GROUPS]) -> F {
    _mm256_cvtph_ps(bytemuck::must_cast(*bytes))
}

/// u16 to u32.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn load_u16([bytes]: [&[u8; 16]; GROUPS]) -> V {
    _mm256_cvtepu16_epi32(bytemuck::must_cast(*bytes))
}

/// u8 to u32.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn load_u8([bytes]: [&[u8; 8]; GROUPS]) -> V {
    _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*bytes)))
}

/// The words of each group.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn words(a: V) -> [[u16; 16]; GROUPS] {
    [bytemuck::must_cast(a)]
}

/// Row `r` of group `g` is the dword `row(g, r)`.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn collect(row: impl Fn(usize, usize) -> u32) -> V {
    let row = |r| row(0, r) as i32;
    _mm256_set_epi32(row(7), row(6), row(5), row(4), row(3), row(2), row(1), row(0))
}

/// The lower dwords of quadwords, row `r` of group `g` being `row(g, r)`, and the upper ones.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn split(row: impl Fn(usize, usize) -> u64) -> [V; 2] {
    // Each half of a vector has its rows in order once both are shuffled.
    let pair = |r| _mm_set_epi64x(row(0, r + 1) as i64, row(0, r) as i64);
    let outer = _mm256_castsi256_ps(_mm256_set_m128i(pair(4), pair(0)));
    let inner = _mm256_castsi256_ps(_mm256_set_m128i(pair(6), pair(2)));
    let lower = _mm256_shuffle_ps::<0x88>(outer, inner);
    let upper = _mm256_shuffle_ps::<0xDD>(outer, inner);
    [_mm256_castps_si256(lower), _mm256_castps_si256(upper)]
}

/// Writes the values of eight rows.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn store(out: &mut [f32], values: F) {
    out[..8].copy_from_slice(&bytemuck::must_cast::<_, [f32; 8]>(values));
}

/// Eight values.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn load_f32(values: &[f32]) -> F {
    bytemuck::must_cast(*values.first_chunk::<8>().expect("eight rows"))
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn splat(dword: u32) -> V {
    _mm256_set1_epi32(dword as i32)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn splat_byte(byte: u8) -> V {
    _mm256_set1_epi8(byte as i8)
}

/// The f32 with these bits.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn splat_f32(bits: u32) -> F {
    _mm256_castsi256_ps(splat(bits))
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn splat_quad(bytes: [u8; 16]) -> V {
    _mm256_broadcastsi128_si256(bytemuck::must_cast(bytes))
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn and(a: V, b: V) -> V {
    _mm256_and_si256(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn or(a: V, b: V) -> V {
    _mm256_or_si256(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn xor(a: V, b: V) -> V {
    _mm256_xor_si256(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn sub8(a: V, b: V) -> V {
    _mm256_sub_epi8(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn sub32(a: V, b: V) -> V {
    _mm256_sub_epi32(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn shl<const BITS: i32>(a: V) -> V {
    _mm256_slli_epi32::<BITS>(a)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn shr<const BITS: i32>(a: V) -> V {
    _mm256_srli_epi32::<BITS>(a)
}

/// What [`shr_by`] takes.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn bits(bits: usize) -> __m128i {
    _mm_cvtsi32_si128(bits as i32)
}

/// Shifts every dword by the same number of bits.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn shr_by(a: V, bits: __m128i) -> V {
    _mm256_srl_epi32(a, bits)
}

/// Shifts copies of the sign in.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn sar<const BITS: i32>(a: V) -> V {
    _mm256_srai_epi32::<BITS>(a)
}

/// Byte `i` is byte `index[i]` of the same 16 bytes of `table`.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn shuffle(table: V, index: V) -> V {
    _mm256_shuffle_epi8(table, index)
}

/// `2 · CENTRE` minus the byte, in each byte whose one bit of `pick` is set in `bytes`.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn reflect_where<const CENTRE: u8>(a: V, bytes: V, pick: V) -> V {
    let is_set = _mm256_cmpeq_epi8(and(bytes, pick), pick);
    // All bits turned over are −1 − a.
    _mm256_add_epi8(xor(a, is_set), and(is_set, splat_byte((2 * CENTRE).wrapping_add(1))))
}

/// 16 in each byte that has the one bit of `pick`.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn sixteen_where(bytes: V, pick: V) -> V {
    and(_mm256_cmpeq_epi8(and(bytes, pick), pick), splat_byte(16))
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn to_f32(a: V) -> F {
    _mm256_cvtepi32_ps(a)
}

/// The f32 with these bits.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn as_f32(a: V) -> F {
    _mm256_castsi256_ps(a)
}

/// The greater of two i32.
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn max32(a: V, b: V) -> V {
    _mm256_max_epi32(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn min(a: F, b: F) -> F {
    _mm256_min_ps(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn mul(a: F, b: F) -> F {
    _mm256_mul_ps(a, b)
}

/// `a·b + c`, rounded once.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(crate) fn mul_add(a: F, b: F, c: F) -> F {
    _mm256_fmadd_ps(a, b, c)
}

#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn negate(a: F) -> F {
    _mm256_xor_ps(a, _mm256_set1_ps(-0.0))
}

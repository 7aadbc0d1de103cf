//! Sixteen lanes of 32 bits: two groups of rows side by side. The names are those of `lanes256`.

use std::arch::x86_64::*;

use super::lanes256;

/// Sixty-four bytes or sixteen i32.
pub(crate) type V = __m512i;
/// Sixteen f32, one of each row.
pub(crate) type F = __m512;
/// Groups of rows in a vector.
pub(crate) const GROUPS: usize = 2;

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn load([low, high]: [&[u8; 32]; GROUPS]) -> V {
    join(bytemuck::must_cast(*low), bytemuck::must_cast(*high))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn join(low: __m256i, high: __m256i) -> V {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// f16 to f32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn load_f16([low, high]: [&[u8; 16]; GROUPS]) -> F {
    _mm512_cvtph_ps(_mm256_set_m128i(bytemuck::must_cast(*high), bytemuck::must_cast(*low)))
}

/// u16 to u32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn load_u16([low, high]: [&[u8; 16]; GROUPS]) -> V {
    let both = _mm256_set_m128i(bytemuck::must_cast(*high), bytemuck::must_cast(*low));
    _mm512_cvtepu16_epi32(both)
}

/// u8 to u32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn load_u8(bytes: [&[u8; 8]; GROUPS]) -> V {
    let [low, high] = bytes.map(|bytes| i64::from_le_bytes(*bytes));
    _mm512_cvtepu8_epi32(_mm_set_epi64x(high, low))
}

/// The words of each group.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn words(a: V) -> [[u16; 16]; GROUPS] {
    let (low, high) = (_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64::<1>(a));
    [bytemuck::must_cast(low), bytemuck::must_cast(high)]
}

/// Row `r` of group `g` is the dword `row(g, r)`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn collect(row: impl Fn(usize, usize) -> u32) -> V {
    join(lanes256::collect(|_, r| row(0, r)), lanes256::collect(|_, r| row(1, r)))
}

/// The lower dwords of quadwords, row `r` of group `g` being `row(g, r)`, and the upper ones.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn split(row: impl Fn(usize, usize) -> u64) -> [V; 2] {
    let (low, high) = (lanes256::split(|_, r| row(0, r)), lanes256::split(|_, r| row(1, r)));
    [join(low[0], high[0]), join(low[1], high[1])]
}

/// Writes as many values as `out` has room for: eight where the last group stands alone.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn store(out: &mut [f32], values: F) {
    let low = _mm512_castps512_ps256(values);
    let high = _mm512_extractf32x8_ps::<1>(values);
    for (out, eight) in out.as_chunks_mut::<8>().0.iter_mut().zip([low, high]) {
        *out = bytemuck::must_cast(eight);
    }
}

/// Sixteen values.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn load_f32(values: &[f32]) -> F {
    let [low, high] = values.first_chunk::<16>().expect("two groups of rows").as_chunks::<8>().0
    else {
        unreachable!("sixteen are two times eight")
    };
    _mm512_insertf32x8::<1>(
        _mm512_castps256_ps512(bytemuck::must_cast(*low)),
        bytemuck::must_cast(*high),
    )
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn splat(dword: u32) -> V {
    _mm512_set1_epi32(dword as i32)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn splat_byte(byte: u8) -> V {
    _mm512_set1_epi8(byte as i8)
}

/// The f32 with these bits.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn splat_f32(bits: u32) -> F {
    _mm512_castsi512_ps(splat(bits))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn splat_quad(bytes: [u8; 16]) -> V {
    _mm512_broadcast_i32x4(bytemuck::must_cast(bytes))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn and(a: V, b: V) -> V {
    _mm512_and_si512(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn or(a: V, b: V) -> V {
    _mm512_or_si512(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn xor(a: V, b: V) -> V {
    _mm512_xor_si512(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn sub8(a: V, b: V) -> V {
    _mm512_sub_epi8(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn sub32(a: V, b: V) -> V {
    _mm512_sub_epi32(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn shl<const BITS: u32>(a: V) -> V {
    _mm512_slli_epi32::<BITS>(a)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn shr<const BITS: u32>(a: V) -> V {
    _mm512_srli_epi32::<BITS>(a)
}

/// What [`shr_by`] takes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn bits(bits: usize) -> __m128i {
    _mm_cvtsi32_si128(bits as i32)
}

/// Shifts every dword by the same number of bits.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn shr_by(a: V, bits: __m128i) -> V {
    _mm512_srl_epi32(a, bits)
}

/// Shifts copies of the sign in.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn sar<const BITS: u32>(a: V) -> V {
    _mm512_srai_epi32::<BITS>(a)
}

/// Byte `i` is byte `index[i]` of the same 16 bytes of `table`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn shuffle(table: V, index: V) -> V {
    _mm512_shuffle_epi8(table, index)
}

/// `2 · CENTRE` minus the byte, in each byte whose one bit of `pick` is set in `bytes`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn reflect_where<const CENTRE: u8>(a: V, bytes: V, pick: V) -> V {
    _mm512_mask_sub_epi8(a, _mm512_test_epi8_mask(bytes, pick), splat_byte(2 * CENTRE), a)
}

/// 16 in each byte that has the one bit of `pick`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn sixteen_where(bytes: V, pick: V) -> V {
    _mm512_maskz_set1_epi8(_mm512_test_epi8_mask(bytes, pick), 16)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn to_f32(a: V) -> F {
    _mm512_cvtepi32_ps(a)
}

/// The f32 with these bits.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn as_f32(a: V) -> F {
    _mm512_castsi512_ps(a)
}

/// The greater of two i32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn max32(a: V, b: V) -> V {
    _mm512_max_epi32(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn min(a: F, b: F) -> F {
    _mm512_min_ps(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn mul(a: F, b: F) -> F {
    _mm512_mul_ps(a, b)
}

/// `a·b + c`, rounded once.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn mul_add(a: F, b: F, c: F) -> F {
    _mm512_fmadd_ps(a, b, c)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
pub(crate) fn negate(a: F) -> F {
    _mm512_xor_ps(a, _mm512_set1_ps(-0.0))
}

//! MXFP4 and NVFP4: nibbles that index a table, under scales that are floats of eight bits.

use super::super::lanes::*;
use super::{Scales, nibbles};
use crate::block::FP4_VALUES;
use crate::packed_blocks::{MXFP4x8, NVFP4x8};

kernels! {
#[inline]
pub(super) fn mxfp4(b: [&MXFP4x8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let mut w = [splat(0); 8];
    for h in 0..4 {
        let both = load(per_group!(b => &b.qs[h]));
        w[h] = shuffle(splat_quad(UNSIGNED), nibbles::<false>(both));
        w[h + 4] = shuffle(splat_quad(UNSIGNED), nibbles::<true>(both));
    }
    // `(e − 1) · 2²³` are the bits of half of 2^(e − 127). For the two subnormal ones, where `e` is
    // 0 or 1, the bits are `(e + 1) · 2²¹`, which is the smaller number everywhere else.
    let e = load_u8(per_group!(b => &b.e));
    let (less, more) = (sub32(e, splat(1)), sub32(e, splat(u32::MAX)));
    let scale = [as_f32(max32(shl::<23>(less), shl::<21>(more)))];
    each(0, w, Scales { scale, min: [] });
}

#[inline]
pub(super) fn nvfp4(b: [&NVFP4x8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<2, 0>)) {
    let scales = ue4m3(load(per_group!(b => &b.d)));
    for j in 0..2 {
        let mut w = [splat(0); 8];
        for k in 0..2 {
            for i in 0..2 {
                let both = load(per_group!(b => &b.qs[4 * j + 2 * k + i]));
                w[4 * k + i] = shuffle(splat_quad(UNSIGNED), nibbles::<false>(both));
                w[4 * k + i + 2] = shuffle(splat_quad(UNSIGNED), nibbles::<true>(both));
            }
        }
        each(j, w, Scales { scale: [scales[2 * j], scales[2 * j + 1]], min: [] });
    }
}

/// Half of the UE4M3 floats of each dword; `ue4m3_half` in `block/fp4.rs` tells what they are.
#[inline]
fn ue4m3(bytes: V) -> [F; 4] {
    let seven = and(bytes, splat_byte(0x7F));
    // One more than 0x7F has the top bit, which 0x7F has not: it alone becomes 0.
    let top = and(and(sub8(seven, splat_byte(255)), xor(bytes, splat_byte(255))), splat_byte(0x80));
    let x = xor(seven, sub32(top, shr::<7>(top)));
    let byte = splat(0x7F);
    let four = [and(x, byte), and(shr::<8>(x), byte), and(shr::<16>(x), byte), shr::<24>(x)];
    let mut out = [splat_f32(0); 4];
    for i in 0..4 {
        // A larger exponent makes a normal number right. A number of exponent 0 becomes
        // `2⁻⁸ · (1 + m/8)` and should be `2⁻⁷ · m/8`, which is twice that less `2⁻⁷`. For all
        // other numbers twice the number less `2⁻⁷` is not smaller than the number.
        // A product with the bits as they are would be right as well, but those of exponent 0 are
        // subnormal, which takes over a hundred cycles. Many scales of small weights are such.
        let number = as_f32(sub32(shl::<20>(four[i]), splat(EXPONENT.wrapping_neg())));
        let twice = mul_add(number, splat_f32(2.0_f32.to_bits()), splat_f32(LESS));
        out[i] = min(number, twice);
    }
    out
}
}

/// `FP4_VALUES` with 16 added.
const UNSIGNED: [u8; 16] = {
    let (mut table, mut i) = ([0; 16], 0);
    while i < 16 {
        table[i] = (FP4_VALUES[i] + 16) as u8;
        i += 1;
    }
    table
};
/// Bits of a UE4M3 float, read as those of an f32, give a value that is too small by 2¹²⁰. Half of
/// the float is larger than that value by 2¹¹⁹.
const EXPONENT: u32 = 119 << 23;
/// −2⁻⁷.
const LESS: u32 = (-1.0_f32 / 128.0).to_bits();

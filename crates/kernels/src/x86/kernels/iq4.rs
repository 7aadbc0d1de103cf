//! IQ4_NL and IQ4_XS: nibbles that index a table.

use super::super::lanes::*;
use super::{Scales, nibbles};
use crate::block::IQ4_VALUES;
use crate::packed_blocks::{Dwords, IQ4NLx8, IQ4XSx8};

kernels! {
#[inline]
pub(super) fn iq4_nl(b: [&IQ4NLx8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let scale = [load_f16(per_group!(b => &b.d))];
    each(0, look_up(per_group!(b => &b.qs)), Scales { scale, min: [] });
}

#[inline]
pub(super) fn iq4_xs(b: [&IQ4XSx8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let d = load_f16(per_group!(b => &b.d));
    let low = load(per_group!(b => &b.scales_l));
    let high = load_u16(per_group!(b => &b.scales_h));
    for j in 0..8 {
        let low = and(shr_by(low, bits(4 * j)), splat(15));
        let scale = or(low, shl::<4>(and(shr_by(high, bits(2 * j)), splat(3))));
        let scale = [mul(d, to_f32(sub32(scale, splat(32))))];
        let w = look_up(per_group!(b => &b.qs.as_chunks().0[j]));
        each(j, w, Scales { scale, min: [] });
    }
}

/// The table's values plus 128; low nibbles are the first 16 weights.
#[inline]
fn look_up(qs: [&[Dwords; 4]; GROUPS]) -> [V; 8] {
    let mut w = [splat(0); 8];
    for h in 0..4 {
        let both = load(per_group!(qs => &qs[h]));
        w[h] = shuffle(splat_quad(UNSIGNED), nibbles::<false>(both));
        w[h + 4] = shuffle(splat_quad(UNSIGNED), nibbles::<true>(both));
    }
    w
}
}

/// `IQ4_VALUES` with 128 added.
const UNSIGNED: [u8; 16] = {
    let (mut table, mut i) = ([0; 16], 0);
    while i < 16 {
        table[i] = IQ4_VALUES[i] as u8 ^ 128;
        i += 1;
    }
    table
};

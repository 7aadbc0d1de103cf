//! IQ4_NL and IQ4_XS: nibbles that index a table.

use super::super::lanes::*;
use super::super::products;
use super::{add_scaled, for_blocks, nibbles, offset, prefetch, simple::step};
use crate::activations::{Int8Block, SCALE, SUM};
use crate::block::IQ4_VALUES;
use crate::packed_blocks::{Dwords, IQ4NLx8, IQ4XSx8};

kernels! {
pub(super) fn iq4_nl<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: [&IQ4NLx8; GROUPS], x: &Int8Block<N>, acc: &mut [F; N]| {
        let four = |i: usize| (look_up(block.map(|b| &b.qs[i / 2]), i), &x[step(i)]);
        let d = load_f16(block.map(|b| &b.d));
        products::<255, 8, 1, N>(|c| offset::<4>(x[SUM][c]), four, |c, s| {
            add_scaled(s, d, x[SCALE][c], &mut acc[c]);
        });
    });
}

pub(super) fn iq4_xs<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: [&IQ4XSx8; GROUPS], x: &[Int8Block<N>; 8], acc: &mut [F; N]| {
        let d = load_f16(block.map(|b| &b.d));
        let low = load(block.map(|b| &b.scales_l));
        let high = load_u16(block.map(|b| &b.scales_h));
        for j in 0..8 {
            prefetch::<IQ4XSx8, 8, N>(block, j);
            let four = |i: usize| (look_up(block.map(|b| &b.qs[4 * j + i / 2]), i), &x[j][step(i)]);
            let low = and(shr_by(low, bits(4 * j)), splat(15));
            let scale = or(low, shl::<4>(and(shr_by(high, bits(2 * j)), splat(3))));
            let scale = mul(d, to_f32(sub32(scale, splat(32))));
            products::<255, 8, 1, N>(|c| offset::<4>(x[j][SUM][c]), four, |c, s| {
                add_scaled(s, scale, x[j][SCALE][c], &mut acc[c]);
            });
        }
    });
}

/// The table's values plus 128, for the low (even `i`) or high nibbles.
#[inline]
fn look_up(qs: [&Dwords; GROUPS], i: usize) -> V {
    let both = load(qs);
    shuffle(splat_quad(UNSIGNED), if i.is_multiple_of(2) { nibbles::<false>(both) } else { nibbles::<true>(both) })
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

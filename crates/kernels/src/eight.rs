//! Eight lanes of f32 on every instruction set.
//!
//! The result of a sum of floats depends on its order, and a sum over the lanes of a vector on how
//! many lanes there are. So that all instruction sets give the same bits, every long sum has eight
//! lanes: one vector where a vector has eight (AVX2, and the scalar code, which stands for it), two
//! where it has four (NEON). The lanes are added as a tree of halves.

use pulp::Simd;

/// The number of lanes.
pub(crate) const LANES: usize = 8;

/// Eight lanes. Where a vector has all of them, the second one is not used.
#[derive(Clone, Copy)]
pub(crate) struct Eight<S: Simd>(pub(crate) [S::f32s; 2]);

/// The vectors that make eight lanes, a constant for the compiler.
#[inline(always)]
pub(crate) const fn vectors<S: Simd>() -> usize {
    const { assert!(S::F32_LANES == 4 || S::F32_LANES == LANES, "vectors of four or eight lanes") };
    LANES / S::F32_LANES
}

impl<S: Simd> Eight<S> {
    #[inline(always)]
    pub(crate) fn zero(simd: S) -> Self {
        Self([simd.splat_f32s(0.0); 2])
    }

    /// Up to eight values, and zeros in the lanes behind them.
    #[inline(always)]
    pub(crate) fn partial_load(simd: S, values: &[f32]) -> Self {
        let mut out = Self::zero(simd);
        let first = values.len().min(S::F32_LANES);
        out.0[0] = simd.partial_load_f32s(&values[..first]);
        if vectors::<S>() == 2 && first < values.len() {
            out.0[1] = simd.partial_load_f32s(&values[first..]);
        }
        out
    }

    /// `self + x · y`, each product and sum rounded once.
    #[inline(always)]
    pub(crate) fn mul_add(mut self, simd: S, x: Self, y: Self) -> Self {
        for i in 0..vectors::<S>() {
            self.0[i] = simd.mul_add_f32s(x.0[i], y.0[i], self.0[i]);
        }
        self
    }

    #[inline(always)]
    pub(crate) fn add(mut self, simd: S, other: Self) -> Self {
        for i in 0..vectors::<S>() {
            self.0[i] = simd.add_f32s(self.0[i], other.0[i]);
        }
        self
    }

    /// The sum of the lanes: `((l₀+l₄)+(l₂+l₆)) + ((l₁+l₅)+(l₃+l₇))`.
    #[inline(always)]
    pub(crate) fn sum(self, simd: S) -> f32 {
        if vectors::<S>() == 1 {
            return simd.reduce_sum_f32s(self.0[0]); // a tree of halves, see the test
        }
        let halves = simd.add_f32s(self.0[0], self.0[1]);
        let lanes: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&halves));
        (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
    }
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::Isa;

    struct Sum<'a>(&'a [f32]);

    impl WithSimd for Sum<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            Eight::partial_load(simd, self.0).sum(simd)
        }
    }

    /// Values of many sizes, so that any other order rounds otherwise.
    #[test]
    fn lanes_are_summed_as_a_tree_of_halves() {
        let mut others = 0;
        for seed in 0..200u32 {
            let value = |i: u32| {
                let bits = (seed * 8 + i).wrapping_mul(2_654_435_761);
                (bits >> 9) as f32 * 2f32.powi((bits % 23) as i32 - 30)
            };
            let l: [f32; 8] = std::array::from_fn(|i| value(i as u32));
            let want = ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
            others += usize::from(l.iter().sum::<f32>().to_bits() != want.to_bits());
            for isa in Isa::available() {
                let got = isa.run(Sum(&l));
                assert_eq!(got.to_bits(), want.to_bits(), "{isa:?}: {got} for {want}");
            }
        }
        assert!(others > 50, "{others} sums in another order differ");
    }

    #[test]
    fn lanes_behind_the_values_are_zeros() {
        for isa in Isa::available() {
            for len in 0..=LANES {
                let sum = isa.run(Sum(&[1.0; LANES][..len]));
                assert_eq!(sum, len as f32, "{isa:?}");
            }
        }
    }
}

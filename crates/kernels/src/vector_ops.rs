//! Element-wise f32 operations, written once with pulp.
//!
//! Operations are `WithSimd` structs: pulp compiles the body for each instruction set, so a body
//! is inlined whole (`#[inline(always)]`) and one dispatch covers a whole vector.
//!
//! All instruction sets give the same bits: what is computed value by value is the same arithmetic
//! everywhere, and sums have eight lanes (`eight.rs`).
//!
//! No operation makes a number of what is none: NaN stays NaN on every instruction set, and so does
//! an infinity where the operation would otherwise map it to an ordinary value (norms, softcap).
//! Damaged weights thus reach the logits, where the sampler refuses them.

use pulp::{Simd, WithSimd};

use crate::Isa;
use crate::eight::{Eight, LANES, vectors};

impl Isa {
    /// Root-mean-square normalisation: `out = x / sqrt(mean(x²) + eps) · weight`, without `weight`
    /// where there is none. All of it is NaN where the mean is not finite.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rms_norm(self, out: &mut [f32], x: &[f32], weight: Option<&[f32]>, eps: f32) {
        assert_eq!(out.len(), x.len(), "norm of {} values into {}", x.len(), out.len());
        out.copy_from_slice(x);
        self.rms_norm_in_place(out, weight, eps);
    }

    /// [`Isa::rms_norm`] of a vector into itself.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rms_norm_in_place(self, x: &mut [f32], weight: Option<&[f32]>, eps: f32) {
        let mean = self.dot(x, x) / x.len() as f32;
        let factor = inverse_root(mean, eps);
        match weight {
            Some(weight) => {
                assert_eq!(weight.len(), x.len(), "norm weights");
                self.run(Zip(x, weight, ScaledProduct(factor)));
            }
            None => self.scale(x, factor),
        }
    }

    /// Layer normalisation (Ba et al. 2016) of a vector into itself:
    /// `x = (x − mean) / sqrt(variance + eps) · weight + bias`, the variance that of the
    /// population.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn layer_norm_in_place(self, x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
        assert!(weight.len() == x.len() && bias.len() == x.len(), "norm weights and biases");
        let count = x.len() as f32;
        let mean = self.run(Total(x)) / count;
        self.run(Map(x, Shift(-mean)));
        let factor = inverse_root(self.dot(x, x) / count, eps);
        self.run(Zip(x, weight, ScaledProduct(factor)));
        self.add(x, bias);
    }

    /// `Σ x[i] · y[i]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn dot(self, x: &[f32], y: &[f32]) -> f32 {
        assert_eq!(x.len(), y.len(), "dot product");
        self.run(Dot(x, y))
    }

    /// Rotates the pairs `(i, i + d/2)` of a head by the angles whose cosines and sines are given
    /// (rotary position embedding, NeoX order).
    ///
    /// # Panics
    /// Unless `cos` and `sin` hold half as many values as the head.
    pub fn rope(self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        let half = head.len() / 2;
        assert!(head.len() == 2 * half && cos.len() == half && sin.len() == half, "rope tables");
        let (low, high) = head.split_at_mut(half);
        self.run(Rope { low, high, cos, sin });
    }

    /// `x += y`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "sum");
        self.run(Zip(x, y, Sum));
    }

    /// `x += factor · y`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_scaled(self, x: &mut [f32], y: &[f32], factor: f32) {
        assert_eq!(x.len(), y.len(), "sum");
        self.run(Zip(x, y, ScaledSum(factor)));
    }

    /// `x *= factor`.
    pub fn scale(self, x: &mut [f32], factor: f32) {
        self.run(Map(x, Scale(factor)));
    }

    /// Holds every value of `x` to `min ..= max`. NaN and infinities become NaN.
    pub fn clamp(self, x: &mut [f32], min: f32, max: f32) {
        self.run(Map(x, Clamp(min, max)));
    }

    /// `x *= y`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn mul(self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "product");
        self.run(Zip(x, y, ScaledProduct(1.0)));
    }

    /// `gate = gelu(gate) · up` with the tanh form of GELU,
    /// `gelu(x) = x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))` (Hendrycks and Gimpel 2016).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn gelu_mul(self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len(), "gate and up");
        self.run(Zip(gate, up, GeluProduct));
    }

    /// `x = silu(x) = x · sigmoid(x)`, with `sigmoid(x) = 1 / (1 + exp(−x))` (Hendrycks and Gimpel
    /// 2016).
    pub fn silu(self, x: &mut [f32]) {
        self.run(Map(x, Silu));
    }

    /// `x *= sigmoid(y)`, a gated linear unit (Dauphin et al. 2016); NaN where `y` is infinite.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sigmoid_mul(self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "values and gates");
        self.run(Zip(x, y, SigmoidProduct));
    }

    /// `x = cap · tanh(x / cap)`; NaN for infinities, which no sound model has as logits.
    pub fn softcap(self, x: &mut [f32], cap: f32) {
        self.run(Map(x, Softcap(cap)));
    }

    /// `x = exp(x − max)`, and the sum of the results. −∞ gives exactly 0.
    pub fn exp_sub_sum(self, x: &mut [f32], max: f32) -> f32 {
        self.run(ExpSubSum(x, max))
    }

    /// `e^x`: 0 below −87, `e^88` above 88. It has the same bits on every machine, which those of
    /// the system's libraries do not.
    #[must_use]
    pub fn exp(self, x: f32) -> f32 {
        let mut x = [x];
        self.run(Map(&mut x, Exp));
        x[0]
    }

    /// The largest value, −∞ for none; NaN if one of them is NaN.
    pub fn max(self, x: &[f32]) -> f32 {
        self.run(Max(x))
    }

    /// Whether all values are finite.
    pub fn is_finite(self, x: &[f32]) -> bool {
        self.run(SumOfNothings(x)) == 0.0
    }
}

/// `1 / sqrt(mean + eps)`. A mean that is not finite gives NaN and not 0, which would turn values
/// without meaning into zeros.
fn inverse_root(mean: f32, eps: f32) -> f32 {
    if mean < f32::INFINITY { 1.0 / (mean + eps).sqrt() } else { f32::NAN }
}

/// `f` of one vector of values.
trait Unary: Copy {
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s;
}

/// `f` of two vectors of values.
trait Binary: Copy {
    fn apply<S: Simd>(self, simd: S, x: S::f32s, y: S::f32s) -> S::f32s;
}

struct Map<'a, F>(&'a mut [f32], F);

impl<F: Unary> WithSimd for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (head, tail) = S::as_mut_simd_f32s(self.0);
        for x in head {
            *x = self.1.apply(simd, *x);
        }
        if !tail.is_empty() {
            let x = self.1.apply(simd, simd.partial_load_f32s(tail));
            simd.partial_store_f32s(tail, x);
        }
    }
}

struct Zip<'a, F>(&'a mut [f32], &'a [f32], F);

impl<F: Binary> WithSimd for Zip<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (x, x_tail) = S::as_mut_simd_f32s(self.0);
        let (y, y_tail) = S::as_simd_f32s(self.1);
        for (x, y) in x.iter_mut().zip(y) {
            *x = self.2.apply(simd, *x, *y);
        }
        if !x_tail.is_empty() {
            let (a, b) = (simd.partial_load_f32s(x_tail), simd.partial_load_f32s(y_tail));
            simd.partial_store_f32s(x_tail, self.2.apply(simd, a, b));
        }
    }
}

#[derive(Clone, Copy)]
struct Scale(f32);

impl Unary for Scale {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        simd.mul_f32s(x, simd.splat_f32s(self.0))
    }
}

#[derive(Clone, Copy)]
struct Shift(f32);

impl Unary for Shift {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        simd.add_f32s(x, simd.splat_f32s(self.0))
    }
}

#[derive(Clone, Copy)]
struct Clamp(f32, f32);

impl Unary for Clamp {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let (min, max) = (simd.splat_f32s(self.0), simd.splat_f32s(self.1));
        let held = simd.select_f32s(simd.less_than_f32s(x, min), min, x);
        let held = simd.select_f32s(simd.greater_than_f32s(held, max), max, held);
        simd.mul_add_f32s(x, simd.splat_f32s(0.0), held) // NaN unless x is finite
    }
}

#[derive(Clone, Copy)]
struct Softcap(f32);

impl Unary for Softcap {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let (cap, zero) = (simd.splat_f32s(self.0), simd.splat_f32s(0.0));
        let capped = simd.mul_f32s(cap, tanh(simd, simd.div_f32s(x, cap)));
        // Adds 0 to the result of a finite x, with the sign of both, and NaN to that of another.
        simd.mul_add_f32s(x, zero, capped)
    }
}

#[derive(Clone, Copy)]
struct Sum;

impl Binary for Sum {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, y: S::f32s) -> S::f32s {
        simd.add_f32s(x, y)
    }
}

#[derive(Clone, Copy)]
struct ScaledSum(f32);

impl Binary for ScaledSum {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, y: S::f32s) -> S::f32s {
        simd.mul_add_f32s(y, simd.splat_f32s(self.0), x)
    }
}

#[derive(Clone, Copy)]
struct ScaledProduct(f32);

impl Binary for ScaledProduct {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, y: S::f32s) -> S::f32s {
        simd.mul_f32s(simd.mul_f32s(x, simd.splat_f32s(self.0)), y)
    }
}

#[derive(Clone, Copy)]
struct GeluProduct;

impl Binary for GeluProduct {
    /// With `u` the argument of tanh, `(1 + tanh u) / 2 = 1 / (1 + exp(−2u))`.
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, y: S::f32s) -> S::f32s {
        const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769_2; // 2·√(2/π)
        let one = simd.splat_f32s(1.0);
        let poly = simd.mul_add_f32s(simd.mul_f32s(x, x), simd.splat_f32s(0.044715), one);
        let u = simd.mul_f32s(simd.mul_f32s(x, poly), simd.splat_f32s(-TWICE_SQRT_2_OVER_PI));
        let gelu = simd.div_f32s(x, simd.add_f32s(one, exp(simd, u)));
        simd.mul_f32s(gelu, y)
    }
}

#[derive(Clone, Copy)]
struct Exp;

impl Unary for Exp {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        exp(simd, x)
    }
}

#[derive(Clone, Copy)]
struct Silu;

impl Unary for Silu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        simd.div_f32s(x, one_and_exp_of_minus(simd, x))
    }
}

#[derive(Clone, Copy)]
struct SigmoidProduct;

impl Binary for SigmoidProduct {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, y: S::f32s) -> S::f32s {
        let product = simd.div_f32s(x, one_and_exp_of_minus(simd, y));
        simd.mul_add_f32s(y, simd.splat_f32s(0.0), product) // NaN unless y is finite
    }
}

/// `1 + exp(−x)`.
#[inline(always)]
fn one_and_exp_of_minus<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let minus = simd.mul_f32s(x, simd.splat_f32s(-1.0));
    simd.add_f32s(simd.splat_f32s(1.0), exp(simd, minus))
}

struct Total<'a>(&'a [f32]);

impl WithSimd for Total<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (head, tail) = self.0.as_chunks::<LANES>();
        let (head, _) = S::as_simd_f32s(head.as_flattened());
        let mut sum = Eight::zero(simd);
        for x in head.chunks_exact(vectors::<S>()) {
            for (sum, x) in sum.0.iter_mut().zip(x) {
                *sum = simd.add_f32s(*sum, *x);
            }
        }
        sum.sum(simd) + tail.iter().sum::<f32>()
    }
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl WithSimd for Dot<'_> {
    type Output = f32;

    /// Four accumulators hide the latency of the fused multiply-add.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let ((x, x_tail), (y, y_tail)) = (self.0.as_chunks::<LANES>(), self.1.as_chunks::<LANES>());
        let (x, _) = S::as_simd_f32s(x.as_flattened());
        let (y, _) = S::as_simd_f32s(y.as_flattened());
        let mut acc = [Eight::zero(simd); 4];
        let fours = 4 * vectors::<S>();
        let (mut x4, mut y4) = (x.chunks_exact(fours), y.chunks_exact(fours));
        for (x, y) in (&mut x4).zip(&mut y4) {
            for i in 0..fours {
                let acc = &mut acc[i / vectors::<S>()].0[i % vectors::<S>()];
                *acc = simd.mul_add_f32s(x[i], y[i], *acc);
            }
        }
        let rest = x4.remainder().iter().zip(y4.remainder());
        for (i, (x, y)) in rest.enumerate() {
            let acc = &mut acc[0].0[i % vectors::<S>()];
            *acc = simd.mul_add_f32s(*x, *y, *acc);
        }
        if !x_tail.is_empty() {
            let x = Eight::partial_load(simd, x_tail);
            acc[1] = acc[1].mul_add(simd, x, Eight::partial_load(simd, y_tail));
        }
        let pair = |a: Eight<S>, b| a.add(simd, b);
        pair(pair(acc[0], acc[1]), pair(acc[2], acc[3])).sum(simd)
    }
}

struct Rope<'a> {
    low: &'a mut [f32],
    high: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
}

impl WithSimd for Rope<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rotate = |a, b, cos, sin| {
            let low = simd.negate_mul_add_f32s(b, sin, simd.mul_f32s(a, cos));
            (low, simd.mul_add_f32s(a, sin, simd.mul_f32s(b, cos)))
        };
        let (low, low_tail) = S::as_mut_simd_f32s(self.low);
        let (high, high_tail) = S::as_mut_simd_f32s(self.high);
        let (cos, cos_tail) = S::as_simd_f32s(self.cos);
        let (sin, sin_tail) = S::as_simd_f32s(self.sin);
        for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            (*a, *b) = rotate(*a, *b, *cos, *sin);
        }
        if !low_tail.is_empty() {
            let load = |x: &[f32]| simd.partial_load_f32s(x);
            let (a, b) = rotate(load(low_tail), load(high_tail), load(cos_tail), load(sin_tail));
            simd.partial_store_f32s(low_tail, a);
            simd.partial_store_f32s(high_tail, b);
        }
    }
}

/// Σ 0·x: NaN unless all of x are finite.
struct SumOfNothings<'a>(&'a [f32]);

impl WithSimd for SumOfNothings<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (head, tail) = S::as_simd_f32s(self.0);
        let zero = simd.splat_f32s(0.0);
        let sum = head.iter().fold(zero, |sum, x| simd.mul_add_f32s(*x, zero, sum));
        tail.iter().fold(simd.reduce_sum_f32s(sum), |sum, x| sum + x * 0.0)
    }
}

struct Max<'a>(&'a [f32]);

impl WithSimd for Max<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (head, tail) = S::as_simd_f32s(self.0);
        // What an instruction set makes of the maximum of NaN and a number differs.
        let mut nan = simd.splat_f32s(0.0);
        let mut max = simd.splat_f32s(f32::NEG_INFINITY);
        for x in head {
            max = simd.max_f32s(max, *x);
            nan = simd.select_f32s(simd.equal_f32s(*x, *x), nan, *x);
        }
        let max = tail.iter().fold(simd.reduce_max_f32s(max), |max, x| max.max(*x));
        let nan =
            tail.iter().fold(simd.reduce_sum_f32s(nan), |nan, x| if x.is_nan() { *x } else { nan });
        if nan.is_nan() { nan } else { max }
    }
}

struct ExpSubSum<'a>(&'a mut [f32], f32);

impl WithSimd for ExpSubSum<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (head, tail) = self.0.as_chunks_mut::<LANES>();
        let (head, _) = S::as_mut_simd_f32s(head.as_flattened_mut());
        let max = simd.splat_f32s(self.1);
        let mut sum = Eight::zero(simd);
        for x in head.chunks_exact_mut(vectors::<S>()) {
            for (sum, x) in sum.0.iter_mut().zip(x) {
                *x = exp(simd, simd.sub_f32s(*x, max));
                *sum = simd.add_f32s(*sum, *x);
            }
        }
        let mut sum = sum.sum(simd);
        if !tail.is_empty() {
            for x in tail.chunks_mut(S::F32_LANES) {
                let exp = exp(simd, simd.sub_f32s(simd.partial_load_f32s(x), max));
                simd.partial_store_f32s(x, exp);
            }
            sum += tail.iter().sum::<f32>();
        }
        sum
    }
}

/// `e^x`, 0 below −87 and `e^88` above 88; relative error under 3e-7 in between. NaN stays NaN.
///
/// `x = n·ln 2 + r` with `|r| <= ln 2 / 2`; `2^n` is built from exponent bits, `e^r` is a
/// polynomial of degree 6 (Taylor: the next term is `r^7/5040 < 1.2e-7`; rounding adds as much).
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Adding this leaves the integer part of a small number in the lowest bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23
    // ln 2 in two parts, the first with few enough bits that n times it is exact (Cephes).
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let splat = |x| simd.splat_f32s(x);
    let tiny = simd.less_than_f32s(x, splat(-87.0));
    // Compared and selected, because minima of NaN differ between instruction sets. Below −87
    // everything up to the last line may come out as it will.
    let x = simd.select_f32s(simd.greater_than_f32s(x, splat(88.0)), splat(88.0), x);
    let shifted = simd.mul_add_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(shifted, splat(ROUND));
    let r = simd.negate_mul_add_f32s(n, splat(LN_2_HIGH), x);
    let r = simd.negate_mul_add_f32s(n, splat(LN_2_LOW), r);
    let mut poly = splat(1.0 / 720.0);
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        poly = simd.mul_add_f32s(poly, r, splat(factor));
    }
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let power = simd.add_u32s(exponent, simd.splat_u32s(1.0f32.to_bits()));
    let result = simd.mul_f32s(poly, simd.transmute_f32s_u32s(power));
    simd.select_f32s(tiny, splat(0.0), result)
}

/// `tanh x = 1 − 2 / (e^2x + 1)`, and near 0, where that cancels, its Taylor series to `x^9`.
#[inline(always)]
fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |x| simd.splat_f32s(x);
    let square = simd.mul_f32s(x, x);
    let mut series = splat(62.0 / 2835.0);
    for factor in [-17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0] {
        series = simd.mul_add_f32s(series, square, splat(factor));
    }
    let e = exp(simd, simd.add_f32s(x, x));
    let far = simd.sub_f32s(splat(1.0), simd.div_f32s(splat(2.0), simd.add_f32s(e, splat(1.0))));
    let near = simd.less_than_f32s(square, splat(0.09));
    simd.select_f32s(near, simd.mul_f32s(series, x), far)
}

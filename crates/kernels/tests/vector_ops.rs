//! The element-wise operations on every instruction set against f64, at lengths around every edge.

use carat_kernels::Isa;
use half::f16;

fn isas() -> Vec<Isa> {
    match std::env::var("CARAT_TEST_ISA") {
        Ok(name) => vec![Isa::by_name(&name).expect("CARAT_TEST_ISA names an instruction set")],
        Err(_) => Isa::available().to_vec(),
    }
}

const LENGTHS: [usize; 12] = [1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 100, 257];

/// Values in -`size` ..= `size`, without order.
fn values(len: usize, size: f32, seed: usize) -> Vec<f32> {
    (0..len).map(|i| (((i + seed) * 7919 % 2003) as f32 / 1001.0 - 1.0) * size).collect()
}

/// Two roundings of each of `n` terms: `2·n·ε·Σ|term|`, and never below one ε of `at_least`.
fn sum_bound(terms: impl Iterator<Item = f64>, n: usize, at_least: f64) -> f64 {
    let size: f64 = terms.map(f64::abs).sum();
    f64::from(f32::EPSILON) * (2.0 * n as f64 * size).max(at_least)
}

fn assert_near(got: f32, want: f64, bound: f64, what: std::fmt::Arguments<'_>) {
    let error = (f64::from(got) - want).abs();
    assert!(error <= bound, "{what}: {got} for {want}, off by {error:e} of {bound:e}");
}

/// Runs a case for every instruction set and length.
fn for_each(mut case: impl FnMut(Isa, usize)) {
    for isa in isas() {
        LENGTHS.into_iter().for_each(|len| case(isa, len));
    }
}

#[test]
fn rms_norm_divides_by_the_root_mean_square() {
    for_each(|isa, len| {
        let (x, w) = (values(len, 3.0, 1), values(len, 2.0, 5));
        let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / len as f64;
        let factor = 1.0 / (mean + 1e-6).sqrt();
        for weight in [None, Some(w.as_slice())] {
            let mut out = vec![f32::NAN; len];
            isa.rms_norm(&mut out, &x, weight, 1e-6);
            for (i, got) in out.iter().enumerate() {
                let want = f64::from(x[i]) * factor * weight.map_or(1.0, |w| f64::from(w[i]));
                let bound = f64::from(f32::EPSILON) * (4.0 + len as f64) * want.abs();
                assert_near(*got, want, bound, format_args!("{isa:?} {len} at {i}"));
            }
        }
    });
}

#[test]
fn products_are_rounded_once() {
    for_each(|isa, len| {
        let (x, y) = (values(len, 3.0, 1), values(len, 2.0, 5));
        let mut out = x.clone();
        isa.mul(&mut out, &y);
        let q: Vec<i8> = (0..len).map(|i| (i * 37 % 256) as u8 as i8).collect();
        let scales = values(len.div_ceil(32), 1.0, 3);
        let mut scaled = vec![f32::NAN; len];
        isa.scale_int8(&mut scaled, &q, &scales);
        for i in 0..len {
            assert_eq!(out[i].to_bits(), (x[i] * y[i]).to_bits(), "{isa:?} {len} at {i}");
            let want = scales[i / 32] * f32::from(q[i]);
            assert_eq!(scaled[i].to_bits(), want.to_bits(), "{isa:?} {len} at {i}");
        }
    });
}

/// All there are, and lengths that are no multiple of a vector.
#[test]
fn every_half_is_widened() {
    let bits: Vec<u16> = (0..=u16::MAX).collect();
    for isa in isas() {
        for bits in [&bits[..], &bits[0x3c00..][..1], &bits[0x3c00..][..13]] {
            let mut out = vec![f32::NAN; bits.len()];
            isa.widen_f16(&mut out, bits);
            for (bits, got) in bits.iter().zip(out) {
                let want = f16::from_bits(*bits).to_f32_const();
                let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(same, "{isa:?}: {bits:#x} is {want}, not {got}");
            }
        }
    }
}

#[test]
fn layer_norm_has_mean_bias_and_unit_variance() {
    for_each(|isa, len| {
        let (x, w, b) = (values(len, 3.0, 1), values(len, 2.0, 5), values(len, 1.0, 8));
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / len as f64;
        let square = |x: &f32| (f64::from(*x) - mean).powi(2);
        let factor = 1.0 / (x.iter().map(square).sum::<f64>() / len as f64 + 1e-5).sqrt();
        let mut out = x.clone();
        isa.layer_norm_in_place(&mut out, &w, &b, 1e-5);
        for (i, got) in out.iter().enumerate() {
            let scaled = factor * f64::from(w[i]);
            let want = (f64::from(x[i]) - mean) * scaled + f64::from(b[i]);
            // The mean of `len` values of at most 3 is off by len·ε·3, as is each difference.
            let off = f64::from(f32::EPSILON) * (4.0 + len as f64);
            let bound = off * (3.0 * scaled.abs() + want.abs() + 1.0);
            assert_near(*got, want, bound, format_args!("{isa:?} {len} at {i}"));
        }
    });
}

#[test]
fn dot_sums_every_product_once() {
    for_each(|isa, len| {
        let (x, y) = (values(len, 3.0, 1), values(len, 2.0, 5));
        let terms = || x.iter().zip(&y).map(|(x, y)| f64::from(*x) * f64::from(*y));
        let bound = sum_bound(terms(), len, 0.0);
        assert_near(isa.dot(&x, &y), terms().sum(), bound, format_args!("{isa:?} {len}"));
    });
}

#[test]
fn rope_turns_pairs_half_a_head_apart() {
    for_each(|isa, half| {
        let x = values(2 * half, 3.0, 2);
        let angles: Vec<f64> = (0..half).map(|i| i as f64 * 0.7 - 3.0).collect();
        let cos: Vec<f32> = angles.iter().map(|a| a.cos() as f32).collect();
        let sin: Vec<f32> = angles.iter().map(|a| a.sin() as f32).collect();
        let mut head = x.clone();
        isa.rope(&mut head, &cos, &sin);
        for i in 0..half {
            let (a, b) = (f64::from(x[i]), f64::from(x[i + half]));
            let (sin, cos) = angles[i].sin_cos();
            let bound = 4.0 * f64::from(f32::EPSILON) * (a.abs() + b.abs());
            let what = format_args!("{isa:?} {half} at {i}").to_string();
            assert_near(head[i], a * cos - b * sin, bound, format_args!("{what}"));
            assert_near(head[i + half], b * cos + a * sin, bound, format_args!("{what}"));
        }
    });
}

#[test]
fn add_and_scale_round_once() {
    for_each(|isa, len| {
        let (x, y) = (values(len, 3.0, 1), values(len, 2.0, 5));
        let mut out = x.clone();
        isa.add(&mut out, &y);
        isa.scale(&mut out, 0.3);
        for i in 0..len {
            assert_eq!(out[i], (x[i] + y[i]) * 0.3, "{isa:?} {len} at {i}");
        }
    });
}

#[test]
fn a_scaled_vector_is_added() {
    for_each(|isa, len| {
        let (x, y) = (values(len, 3.0, 1), values(len, 2.0, 5));
        let mut out = x.clone();
        isa.add_scaled(&mut out, &y, -0.7);
        for i in 0..len {
            let (a, b) = (f64::from(x[i]), f64::from(-0.7f32) * f64::from(y[i]));
            // One rounding of the product and one of the sum.
            let bound = f64::from(f32::EPSILON) * (a.abs() + 2.0 * b.abs());
            assert_near(out[i], a + b, bound, format_args!("sum {isa:?} {len} at {i}"));
        }
    });
}

#[test]
fn clamp_holds_values_to_bounds() {
    for_each(|isa, len| {
        let x = values(len, 3.0, 1);
        for (min, max) in [(-1.5, 0.7), (0.0, 0.0), (f32::NEG_INFINITY, 1.0), (-9.0, 9.0)] {
            let mut out = x.clone();
            isa.clamp(&mut out, min, max);
            for i in 0..len {
                assert_eq!(out[i], x[i].clamp(min, max), "{isa:?} {len} at {i}: {min} to {max}");
            }
        }
    });
}

#[test]
fn gelu_and_softcap_follow_tanh() {
    for_each(|isa, len| {
        for size in [0.01, 1.0, 9.0, 200.0] {
            let (x, y) = (values(len, size, 1), values(len, 2.0, 5));
            let (mut gelu, mut cap) = (x.clone(), x.clone());
            isa.gelu_mul(&mut gelu, &y);
            isa.softcap(&mut cap, 30.0);
            for i in 0..len {
                let (a, b) = (f64::from(x[i]), f64::from(y[i]));
                let u = (2.0 / std::f64::consts::PI).sqrt() * (a + 0.044715 * a.powi(3));
                // a/2 · (1 + tanh u) without its cancellation for negative u.
                let want = a / (1.0 + (-2.0 * u).exp()) * b;
                // Five roundings in u move exp(−2u) by 5·|u|·ε; exp, sum, quotient and product
                // add less than 8. Below −88 exp stops growing: what is left is nothing.
                let bound = f64::from(f32::EPSILON) * (8.0 + 5.0 * u.abs()) * want.abs() + 1e-30;
                assert_near(gelu[i], want, bound, format_args!("gelu {isa:?} of {a}"));
                let want = 30.0 * (a / 30.0).tanh();
                let bound =
                    f64::from(f32::EPSILON) * (8.0 * want.abs()).max(4.0 * 0.3 * want.abs());
                assert_near(cap[i], want, bound, format_args!("softcap {isa:?} of {a}"));
            }
        }
    });
}

#[test]
fn silu_and_gated_units_follow_the_logistic_function() {
    for_each(|isa, len| {
        for size in [0.01, 1.0, 9.0, 80.0, 1e4] {
            let (x, y) = (values(len, size, 1), values(len, 2.0, 5));
            let (mut silu, mut gated) = (x.clone(), y.clone());
            isa.silu(&mut silu);
            isa.sigmoid_mul(&mut gated, &x);
            for i in 0..len {
                let (a, b) = (f64::from(x[i]), f64::from(y[i]));
                // exp, sum, and quotient; beyond 88 exp stops growing and little is left.
                let bound = |want: f64| 8.0 * f64::from(f32::EPSILON) * want.abs() + 1e-33;
                let want = a / (1.0 + (-a).exp());
                assert_near(silu[i], want, bound(want), format_args!("silu {isa:?} of {a}"));
                let want = b / (1.0 + (-a).exp());
                assert_near(gated[i], want, bound(want), format_args!("gate {isa:?} of {a}"));
            }
        }
    });
}

#[test]
fn exp_is_zero_for_minus_infinity_and_one_at_the_maximum() {
    for_each(|isa, len| {
        let mut x = values(len, 30.0, 3);
        let max = isa.max(&x);
        assert_eq!(max, x.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{isa:?} {len}");
        let want: Vec<f64> = x.iter().map(|x| (f64::from(*x) - f64::from(max)).exp()).collect();
        let sum = isa.exp_sub_sum(&mut x, max);
        for (i, got) in x.iter().enumerate() {
            // The difference is rounded once: its ulp times its size, plus the polynomial.
            let bound = f64::from(f32::EPSILON) * 34.0 * want[i] + 2e-38;
            assert_near(*got, want[i], bound, format_args!("{isa:?} {len} at {i}"));
        }
        let bound = f64::from(f32::EPSILON) * (len + 34) as f64 * want.iter().sum::<f64>();
        assert_near(sum, want.iter().sum(), bound, format_args!("sum {isa:?} {len}"));
        let mut masked = vec![f32::NEG_INFINITY; len];
        assert_eq!(isa.exp_sub_sum(&mut masked, 0.0), 0.0, "{isa:?} {len}");
        assert!(masked.iter().all(|x| x.to_bits() == 0), "{isa:?} {len}");
    });
}

#[test]
fn attention_products_cover_every_head_and_key() {
    for_each(|isa, d| {
        for (rows, keys) in [(1, 1), (1, 9), (2, 5), (3, 8), (4, 3), (7, 17), (8, 16)] {
            let stride = keys + 2;
            let (q, k) = (values(rows * d, 1.0, 1), values(keys * d, 1.0, 4));
            let q: Vec<&[f32]> = q.chunks_exact(d).collect();
            let mut scores = vec![f32::NAN; rows * stride];
            isa.attention_scores(&mut scores, stride, &q, &k, d);
            let mut out = values(rows * d, 1.0, 9);
            let before = out.clone();
            isa.attention_values(&mut out, &scores, stride, &k, d);
            for r in 0..rows {
                let scores = &scores[r * stride..][..stride];
                for t in 0..keys {
                    let k = &k[t * d..][..d];
                    let terms = || q[r].iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k));
                    let what = format!("{isa:?} d {d} row {r} key {t}");
                    let bound = sum_bound(terms(), d, 0.0);
                    assert_near(scores[t], terms().sum(), bound, format_args!("{what}"));
                }
                assert!(scores[keys..].iter().all(|x| x.is_nan()), "{isa:?} d {d} row {r}");
                for i in 0..d {
                    let start = f64::from(before[r * d + i]);
                    let term = |t: usize| f64::from(scores[t]) * f64::from(k[t * d + i]);
                    let terms = || (0..keys).map(term).chain([start]);
                    let bound = sum_bound(terms(), keys + 1, 0.0);
                    let what = format!("{isa:?} d {d} row {r} value {i}");
                    assert_near(out[r * d + i], terms().sum(), bound, format_args!("{what}"));
                }
            }
        }
    });
}

/// Rows and keys in any company give the same bits.
#[test]
fn attention_rows_do_not_depend_on_their_neighbours() {
    for_each(|isa, d| {
        let (q, k) = (values(7 * d, 1.0, 1), values(19 * d, 1.0, 4));
        let q: Vec<&[f32]> = q.chunks_exact(d).collect();
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let mut together = vec![0.0; 7 * 19];
        isa.attention_scores(&mut together, 19, &q, &k, d);
        let mut values_together = vec![0.0; 7 * d];
        isa.attention_values(&mut values_together, &together, 19, &k, d);
        for r in 0..7 {
            for (t, k) in k.chunks_exact(d).enumerate() {
                let mut alone = [0.0];
                isa.attention_scores(&mut alone, 1, &q[r..=r], k, d);
                assert_eq!(bits(&alone), bits(&together[r * 19 + t..][..1]), "{isa:?} {d} {r} {t}");
            }
            let mut alone = vec![0.0; d];
            isa.attention_values(&mut alone, &together[r * 19..][..19], 19, &k, d);
            assert_eq!(bits(&alone), bits(&values_together[r * d..][..d]), "{isa:?} {d} {r}");
        }
    });
}

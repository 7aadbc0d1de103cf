//! Every instruction set gives the same bits for f32 operations, and sums have the order that they
//! promise: eight lanes, which are added as a tree of halves.

use carat_kernels::Isa;

const LENGTHS: [usize; 14] = [1, 3, 4, 7, 8, 9, 12, 16, 31, 32, 33, 40, 100, 257];

/// Values of many sizes, so that another order rounds otherwise.
fn values(len: usize, seed: u32) -> Vec<f32> {
    let value = |i: usize| {
        let bits = (i as u32 + 1).wrapping_mul(2_654_435_761).wrapping_add(seed * 40_503) >> 7;
        let sign = if bits & 1 == 0 { 1.0 } else { -1.0 };
        sign * (bits % 4099) as f32 / 4099.0 * 2f32.powi((bits % 9) as i32 - 4)
    };
    (0..len).map(value).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// A tree of halves.
fn tree(mut lanes: [f32; 8]) -> f32 {
    for half in [4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

fn for_each(mut case: impl FnMut(Isa, usize)) {
    for isa in Isa::available() {
        LENGTHS.into_iter().for_each(|len| case(*isa, len));
    }
}

/// Groups of 32 values go to four accumulators of eight lanes, later groups of eight to the first
/// one, what is left to the second.
#[test]
fn a_scalar_product_has_the_order_it_promises() {
    for_each(|isa, len| {
        let (x, y) = (values(len, 1), values(len, 2));
        let mut lanes = [[0.0f32; 8]; 4];
        for (i, (x, y)) in x.iter().zip(&y).enumerate() {
            let group = match (i < len / 32 * 32, i < len / 8 * 8) {
                (true, _) => i / 8 % 4,
                (false, true) => 0,
                (false, false) => 1,
            };
            lanes[group][i % 8] = x.mul_add(*y, lanes[group][i % 8]);
        }
        let sum = |i: usize| (lanes[0][i] + lanes[1][i]) + (lanes[2][i] + lanes[3][i]);
        let want = tree(std::array::from_fn(sum));
        assert_eq!(isa.dot(&x, &y).to_bits(), want.to_bits(), "{isa:?}, {len} values");
    });
}

#[test]
fn exponentials_are_summed_in_the_order_they_promise() {
    for_each(|isa, len| {
        let mut x = values(len, 3);
        let each: Vec<_> = x.iter().map(|x| isa.exp(x - 2.0)).collect();
        let (eights, rest) = each.as_chunks::<8>();
        let add = |lanes: [f32; 8], x: &[f32; 8]| std::array::from_fn(|i| lanes[i] + x[i]);
        let want = tree(eights.iter().fold([0.0; 8], add)) + rest.iter().sum::<f32>();
        let sum = isa.exp_sub_sum(&mut x, 2.0);
        assert_eq!(bits(&x), bits(&each), "{isa:?}, {len} values");
        assert_eq!(sum.to_bits(), want.to_bits(), "{isa:?}, {len} values");
    });
}

#[test]
fn scores_of_attention_are_one_chain_in_each_lane() {
    for_each(|isa, d| {
        for (rows, keys) in [(1, 1), (1, 11), (2, 5), (3, 4), (4, 3), (4, 8), (7, 9), (9, 21)] {
            let (q, k) = (values(rows * d, 4), values(keys * d, 5));
            let q: Vec<_> = q.chunks_exact(d).collect();
            let mut out = vec![f32::NAN; rows * keys];
            isa.attention_scores(&mut out, keys, &q, &k, d);
            for (got, (row, key)) in
                out.iter().zip((0..rows).flat_map(|row| (0..keys).map(move |key| (row, key))))
            {
                let mut lanes = [0.0f32; 8];
                for i in 0..d {
                    lanes[i % 8] = q[row][i].mul_add(k[key * d + i], lanes[i % 8]);
                }
                let want = tree(lanes);
                assert_eq!(got.to_bits(), want.to_bits(), "{isa:?}, {d}: row {row}, key {key}");
            }
        }
    });
}

/// One accumulator for a value of the output, keys in order.
#[test]
fn values_of_attention_are_one_chain_along_the_keys() {
    for_each(|isa, d| {
        for (rows, keys) in [(1, 1), (2, 5), (7, 9)] {
            let (p, v) = (values(rows * keys, 6), values(keys * d, 7));
            let mut out = vec![0.0f32; rows * d];
            isa.attention_values(&mut out, &p, keys, &v, d);
            for (at, got) in out.iter().enumerate() {
                let (row, i) = (at / d, at % d);
                let step = |sum: f32, t: usize| p[row * keys + t].mul_add(v[t * d + i], sum);
                let want = (0..keys).fold(0.0, step);
                assert_eq!(got.to_bits(), want.to_bits(), "{isa:?}, {d}: row {row}, value {i}");
            }
        }
    });
}

/// What every instruction set makes of two vectors, operation by operation.
fn all_operations(isa: Isa, x: &[f32], y: &[f32]) -> Vec<(&'static str, Vec<u32>)> {
    let changed = |change: &dyn Fn(&mut [f32])| {
        let mut out = x.to_vec();
        change(&mut out);
        bits(&out)
    };
    let half = x.len() / 2;
    vec![
        ("rms_norm", changed(&|x| isa.rms_norm_in_place(x, Some(y), 1e-6))),
        ("rms_norm without weights", changed(&|x| isa.rms_norm_in_place(x, None, 1e-6))),
        ("layer_norm", changed(&|x| isa.layer_norm_in_place(x, y, y, 1e-5))),
        ("rope", changed(&|x| isa.rope(&mut x[..2 * half], &y[..half], &y[half..2 * half]))),
        ("add", changed(&|x| isa.add(x, y))),
        ("add_scaled", changed(&|x| isa.add_scaled(x, y, -0.7))),
        ("scale", changed(&|x| isa.scale(x, 0.3))),
        ("clamp", changed(&|x| isa.clamp(x, -0.5, 0.7))),
        ("mul", changed(&|x| isa.mul(x, y))),
        ("gelu_mul", changed(&|x| isa.gelu_mul(x, y))),
        ("silu", changed(&|x| isa.silu(x))),
        ("sigmoid_mul", changed(&|x| isa.sigmoid_mul(x, y))),
        ("softcap", changed(&|x| isa.softcap(x, 30.0))),
        ("max", vec![isa.max(x).to_bits()]),
        ("exp", x.iter().map(|x| isa.exp(-x.abs()).to_bits()).collect()),
    ]
}

#[test]
fn every_operation_has_the_bits_of_scalar() {
    for_each(|isa, len| {
        let (x, y) = (values(len, 8), values(len, 9));
        let wanted = all_operations(Isa::scalar(), &x, &y);
        for ((name, got), (_, want)) in all_operations(isa, &x, &y).into_iter().zip(wanted) {
            assert!(got == want, "{isa:?}, {name} of {len} values");
        }
    });
}

/// Against f64; the documentation says what happens beyond the ends.
#[test]
fn the_exponential_is_accurate() {
    for isa in Isa::available() {
        for step in 0..8700 {
            let x = -(step as f32) * 0.01;
            let want = f64::from(x).exp();
            let error = (f64::from(isa.exp(x)) - want).abs();
            assert!(error <= 3e-7 * want, "{isa:?}: exp({x}) is off by {error:e}");
        }
        let ends = [isa.exp(f32::NEG_INFINITY), isa.exp(-88.0), isa.exp(0.0)];
        assert_eq!(ends, [0.0, 0.0, 1.0], "{isa:?}");
        assert!(isa.exp(f32::NAN).is_nan(), "{isa:?}");
    }
}

//! Products on several threads, small enough for Miri, which sees what threads do to memory.

use carat_kernels::{pack, packed_bytes, quantize};

use super::*;
use crate::arena::Arena;

const K: usize = 64;
const TOKENS: usize = 11;

/// Whole numbers, of which each 32 have a 127: 8-bit blocks then have scale 1 and lose nothing.
fn whole(n: usize, step: usize) -> f32 {
    if n.is_multiple_of(32) { 127.0 } else { (n * step % 23) as f32 - 11.0 }
}

/// A matrix of such numbers, and its bytes in the eight-row container.
fn matrix(format: Format, rows: usize, step: usize) -> (Vec<f32>, Vec<u8>) {
    let values: Vec<f32> = (0..rows * K).map(|n| whole(n, step)).collect();
    let mut bytes = vec![0; rows * format.row_bytes(K)];
    match format {
        Format::F32 => bytes.copy_from_slice(bytemuck::cast_slice(&values)),
        _ => quantize(format, &values, &mut bytes),
    }
    let mut packed = vec![0; packed_bytes(format, rows, K)];
    pack(format, K, &bytes, &mut packed);
    (values, packed)
}

fn pool(threads: usize) -> Pool {
    Pool::new(threads, Isa::scalar()).expect("threads")
}

/// `out[token][row]` by the definition of a product, in whole numbers.
fn products(w: &[f32], x: &[f32]) -> Vec<i64> {
    let row = |token: &[f32], w: &[f32]| {
        token.iter().zip(w).map(|(x, w)| *x as i64 * *w as i64).sum::<i64>()
    };
    x.chunks(K).flat_map(|token| w.chunks(K).map(move |w| row(token, w))).collect()
}

#[test]
fn products_of_several_threads_land_in_their_places() {
    let x: Vec<f32> = (0..TOKENS * K).map(|n| whole(n, 5)).collect();
    let mut arena = Arena::new(Activations::need(K, TOKENS)).expect("a small arena");
    for (format, threads) in [(Format::F32, 3), (Format::Q8_0, 1), (Format::Q8_0, 3)] {
        let (pool, mut frame) = (pool(threads), arena.frame());
        let x_of = Activations::new(&pool, &x, K, &mut frame);
        let ((a, a_packed), (b, b_packed)) = (matrix(format, 100, 7), matrix(format, 9, 3));
        let (mut of_a, mut of_b) = (vec![f32::NAN; TOKENS * 100], vec![f32::NAN; TOKENS * 9]);
        let weights = |rows, packed| Weights::new(format, rows, K, packed);
        let products_of = [
            Product { weights: weights(100, &a_packed), out: &mut of_a },
            Product { weights: weights(9, &b_packed), out: &mut of_b },
        ];
        pool.matmul(&x_of, products_of);
        let whole = |out: &[f32]| out.iter().map(|v| v.round() as i64).collect::<Vec<_>>();
        assert!(whole(&of_a) == products(&a, &x), "{format} on {threads} threads");
        assert!(whole(&of_b) == products(&b, &x), "{format} on {threads} threads");
    }
}

/// A run of each matrix; the last one has a single token.
#[test]
fn runs_of_several_threads_land_in_their_places() {
    let x: Vec<f32> = (0..TOKENS * K).map(|n| whole(n, 9)).collect();
    let runs = [(1, 0, 6), (0, 6, 4), (1, 10, 1)];
    let runs = runs.map(|(matrix, first, count)| Run { matrix, first, count });
    let matrices = [matrix(Format::Q8_0, 20, 7), matrix(Format::Q8_0, 20, 3)];
    let mut arena = Arena::new(Activations::need(K, TOKENS)).expect("a small arena");
    let (pool, mut frame) = (pool(3), arena.frame());
    let mut values = vec![0.0; x.len()];
    let fill = |i: usize, vector: &mut [f32]| vector.copy_from_slice(&x[i * K..][..K]);
    let x_of = Activations::filled(&pool, &mut values, K, &runs, fill, &mut frame);
    let mut out = vec![f32::NAN; TOKENS * 20];
    let weights = |i: usize| Weights::new(Format::Q8_0, 20, K, &matrices[i].1);
    pool.matmul_runs(&x_of, &runs, weights, &mut out);
    for run in runs {
        let (first, count) = (run.first as usize, run.count as usize);
        let wanted = products(&matrices[run.matrix as usize].0, &x[first * K..][..count * K]);
        let found = out[first * 20..][..count * 20].iter().map(|v| v.round() as i64);
        assert!(found.eq(wanted), "tokens {first} and {count} more");
    }
}

#[test]
fn gate_and_up_have_the_same_bits_on_any_number_of_threads() {
    let x: Vec<f32> = (0..TOKENS * K).map(|n| whole(n, 5) / 64.0).collect();
    let (rows, source) = (128, Format::Q8_0);
    let (gate, up) = (matrix(source, rows, 7).1, matrix(source, rows, 3).1);
    for format in [Format::F32, Format::Q8_0] {
        let bits = |threads| {
            let need = Activations::need(K, TOKENS).and(Activations::gated_need(rows, TOKENS));
            let mut arena = Arena::new(need).expect("a small arena");
            let (pool, mut frame) = (pool(threads), arena.frame());
            let x = Activations::new(&pool, &x, K, &mut frame);
            let pair = [&gate, &up].map(|packed| Weights::new(source, rows, K, packed));
            let gated = Activations::gated(&pool, &x, pair, format, &mut frame);
            let values = gated.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            [values, gated.int8.to_vec()]
        };
        let one = bits(1);
        assert!(one.iter().any(|bits| bits.len() >= TOKENS * rows / 4), "nothing was made");
        assert!(bits(3) == one, "{format}");
    }
}

#[test]
#[should_panic = "3 values at 18446744073709551615 of 8"]
#[cfg(target_pointer_width = "64")]
fn no_place_outside_is_written_however_sums_wrap() {
    let mut out = [0.0; 8];
    Scatter::new(&mut out).write(usize::MAX, &[1.0; 3]);
}

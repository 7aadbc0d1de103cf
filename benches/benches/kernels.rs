//! One thread, one matrix: every format on every instruction set of this machine, for one column
//! (decoding) and for eight (prefill), beside plainly reading the same bytes.
//!
//! Every product is compared with the scalar kernel's before it is timed; `-- --test` does only
//! that, on a small matrix.

use std::hint::black_box;
use std::time::Duration;

use carat_bench::{Activations, Matrix, read};
use carat_kernels::{COLUMNS_MAX, Format, GROUP_ROWS, Isa};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn kernels(criterion: &mut Criterion) {
    let rows = if std::env::args().any(|argument| argument == "--test") { 24 } else { ROWS };
    for format in Format::ALL {
        let matrix = Matrix::new(format, rows, COLS);
        let mut group = criterion.benchmark_group(format.name());
        group.throughput(Throughput::Bytes(matrix.bytes().len() as u64));
        group.bench_function("read", |bencher| bencher.iter(|| read(black_box(matrix.bytes()))));
        for columns in [1, COLUMNS_MAX] {
            let x = Activations::new(format, COLS, columns);
            let expected = multiply(Isa::scalar(), &matrix, &x);
            for &isa in Isa::available() {
                check(isa, format, &multiply(isa, &matrix, &x), &expected);
                group.bench_function(BenchmarkId::new(isa.name(), columns), |bencher| {
                    let weights = matrix.weights();
                    let mut out = vec![0.0; expected.len()];
                    bencher.iter(|| {
                        isa.matmul(&weights, 0..weights.groups(), x.columns(), black_box(&mut out));
                    });
                });
            }
        }
        group.finish();
    }
}

fn multiply(isa: Isa, matrix: &Matrix, x: &Activations) -> Vec<f32> {
    let weights = matrix.weights();
    let mut out = vec![f32::NAN; weights.groups() * GROUP_ROWS * x.columns().columns()];
    isa.matmul(&weights, 0..weights.groups(), x.columns(), &mut out);
    out
}

/// A kernel that is fast because it is wrong shall not be timed: every instruction set has the same
/// bits.
fn check(isa: Isa, format: Format, got: &[f32], expected: &[f32]) {
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got.to_bits() == expected.to_bits();
        assert!(same, "{format} on {}: {got} instead of {expected} at {i}", isa.name());
    }
}

fn configuration() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

/// Gemma 4 12B's hidden size.
const COLS: usize = 3840;
/// Enough for every format's matrix to exceed a laptop core's second-level cache.
const ROWS: usize = 4096;

criterion_group! { name = benches; config = configuration(); targets = kernels }
criterion_main!(benches);

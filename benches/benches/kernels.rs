//! One thread, one kernel at a time: every format and operation on every instruction set of this
//! machine, beside the roof of the same run.
//!
//! Rows with one column say GB/s of weights: the roof is `read`. Rows with eight say Gelem/s, which
//! are 10⁹ multiplications a second: the roof is the 8-bit peak that is printed first. Every product
//! is compared with the scalar kernel's before it is timed; `-- --test` does only that, on a small
//! matrix.

use std::hint::black_box;
use std::time::Duration;

use carat_bench::{Activations, Matrix, Roof, RoofOptions, read};
use carat_kernels::{COLUMNS_MAX, Format, GROUP_ROWS, Isa, int8_dwords};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};

fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

fn roof(_: &mut Criterion) {
    let mut options = RoofOptions::new(1, 3 << 30);
    if is_test() {
        (options.read_bytes, options.time) = (1 << 20, Duration::from_millis(5));
    }
    let Ok(roof) = Roof::measure(&options) else { return eprintln!("no memory for the roof") };
    println!("roof of one thread: {:.1} GB/s ({})", roof.read_gb_s, roof.read_loop);
    for peak in roof.peaks {
        let what = if peak.is_int8 { "int8" } else { "f32" };
        println!("roof of one thread: {:.1} GMAC/s {what} ({})", peak.gmac_s, peak.name);
    }
}

fn products(criterion: &mut Criterion) {
    let rows = if is_test() { 24 } else { ROWS };
    for format in Format::ALL {
        let matrix = Matrix::new(format, rows, COLS);
        let mut group = criterion.benchmark_group(format.name());
        let bytes = matrix.bytes().len() as u64;
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function("read", |bencher| bencher.iter(|| read(black_box(matrix.bytes()))));
        for columns in [1, COLUMNS_MAX] {
            let macs = (rows * COLS * columns) as u64;
            group.throughput(match columns {
                1 => Throughput::Bytes(bytes),
                _ => Throughput::Elements(macs),
            });
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

/// What is done with f32 values between the products, at the sizes of Gemma 4 12B: a residual row,
/// a feed-forward row, a sliding layer's head over a whole window.
fn operations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("f32");
    for &isa in Isa::available() {
        elementwise(&mut group, isa);
        attention(&mut group, isa);
    }
    group.finish();
}

fn elementwise(group: &mut BenchmarkGroup<'_, WallTime>, isa: Isa) {
    let mut row: Vec<f32> = values(COLS);
    let other = values(COLS);
    let mut timed = |name: &str, run: &mut dyn FnMut(&mut [f32])| {
        group.throughput(Throughput::Elements(COLS as u64));
        group.bench_function(BenchmarkId::new(name, isa.name()), |bencher| {
            bencher.iter(|| run(black_box(&mut row)));
        });
    };
    for columns in [1, COLUMNS_MAX] {
        let x = values(COLS * columns);
        let mut out = vec![0; int8_dwords(COLS, columns)];
        timed(&format!("quantize_columns {columns}"), &mut |_| {
            isa.quantize_columns(&x, COLS, black_box(&mut out));
        });
    }
    timed("rms_norm", &mut |row| isa.rms_norm_in_place(row, Some(&other), 1e-6));
    timed("dot", &mut |row| _ = black_box(isa.dot(row, &other)));
    timed("gelu_mul", &mut |row| isa.gelu_mul(row, &other));
    timed("softcap", &mut |row| isa.softcap(row, 30.0));
    timed("exp_sub_sum", &mut |row| _ = black_box(isa.exp_sub_sum(row, 1.0)));
}

fn attention(group: &mut BenchmarkGroup<'_, WallTime>, isa: Isa) {
    let (q, keys) = (values(HEAD), values(HEAD * WINDOW));
    let mut scores = values(WINDOW);
    let mut out = vec![0.0; HEAD];
    group.throughput(Throughput::Elements((HEAD * WINDOW) as u64));
    group.bench_function(BenchmarkId::new("attention_scores", isa.name()), |bencher| {
        bencher.iter(|| isa.attention_scores(black_box(&mut scores), &q, &keys, HEAD));
    });
    group.bench_function(BenchmarkId::new("attention_values", isa.name()), |bencher| {
        bencher.iter(|| isa.attention_values(black_box(&mut out), &scores, &keys, HEAD));
    });
}

fn values(count: usize) -> Vec<f32> {
    let mut random = carat_bench::random::Xorshift::default();
    (0..count).map(|_| random.normal()).collect()
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
/// Length of a head of a sliding layer, and the positions that it sees.
const HEAD: usize = 256;
const WINDOW: usize = 1024;

criterion_group! { name = benches; config = configuration(); targets = roof, products, operations }
criterion_main!(benches);

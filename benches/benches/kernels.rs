//! One thread, one kernel at a time: every format and operation on every instruction set of this
//! machine, beside the roof of the same run.
//!
//! Criterion watches how a kernel's time moves between runs. The table at the end says what a
//! kernel is worth: its best pass in bytes and multiplications a second, and as parts of the roof,
//! which is the best pass as well. Every product is compared with the scalar kernel's before it is
//! timed; `-- --test` does only that, on a small matrix.

use std::hint::black_box;
use std::time::{Duration, Instant};

use carat_bench::random::Xorshift;
use carat_bench::{Activations, Matrix, PROMPT_COLUMNS, Roof, RoofOptions, read};
use carat_kernels::{Format, GROUP_COLUMNS, GROUP_ROWS, Isa, Streams, int8_dwords};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut table = Table { roof: roof(), rows: Vec::new() };
    products(&mut criterion, &mut table);
    operations(&mut criterion, &mut table);
    criterion.final_summary();
    if !is_test() {
        table.print();
    }
}

fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

fn roof() -> Option<Roof> {
    let mut options = RoofOptions::new(1, 3 << 30);
    if is_test() {
        (options.read_bytes, options.time) = (1 << 20, Duration::from_millis(5));
    }
    let roof = Roof::measure(&options);
    roof.inspect_err(|e| eprintln!("no roof to compare with: {e}")).ok()
}

/// What was timed, in the order of the work.
struct Table {
    roof: Option<Roof>,
    rows: Vec<Row>,
}

/// One kernel: what it works on, and the seconds of its best pass.
struct Row {
    name: String,
    isa: Isa,
    work: Work,
    seconds: f64,
}

/// What one pass of a kernel does.
#[derive(Clone, Copy)]
struct Work {
    /// Bytes that it reads.
    bytes: u64,
    /// Whether they come from memory; otherwise they lie in a cache, which has no roof here.
    is_memory: bool,
    /// Multiplications and additions; 0 where that is not what takes the time.
    macs: u64,
    /// Whether these are of 8 bits.
    is_int8: bool,
}

impl Table {
    /// Times `work` under criterion, if its command line asks for it.
    fn time(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        (name, id): (&str, BenchmarkId),
        (isa, work): (Isa, Work),
        run: &mut dyn FnMut(),
    ) {
        group.throughput(match work.macs {
            0 => Throughput::BytesDecimal(work.bytes),
            macs => Throughput::Elements(macs),
        });
        let mut seconds = f64::INFINITY;
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|passes| {
                let begun = Instant::now();
                (0..passes).for_each(|_| run());
                let time = begun.elapsed();
                seconds = seconds.min(time.as_secs_f64() / passes as f64);
                time
            });
        });
        if seconds.is_finite() {
            self.rows.push(Row { name: name.to_owned(), isa, work, seconds });
        }
    }

    fn print(&self) {
        if let Some(roof) = &self.roof {
            println!("\nroof of one thread");
            println!("{:<34} {:>8.1} GB/s", roof.read_loop, roof.read_gb_s);
            for peak in &roof.peaks {
                let what = if peak.is_int8 { "int8" } else { "f32" };
                println!("{:<34} {:>8.1} GMAC/s {what}", peak.name, peak.gmac_s);
            }
        }
        let [gb, gmac] = ["GB/s", "GMAC/s"];
        println!("\n{:<34} {gb:>8} {:>8} {gmac:>8} {:>8}", "best pass", "of read", "of peak");
        for Row { name, isa, work, seconds } in &self.rows {
            let (gb_s, gmac_s) =
                (work.bytes as f64 / seconds / 1e9, work.macs as f64 / seconds / 1e9);
            let roof = self.roof.as_ref();
            let read = roof.filter(|_| work.is_memory).map(|roof| roof.read_gb_s);
            let peak = roof.filter(|_| work.macs > 0);
            let peak = peak.and_then(|roof| roof.peak(isa.name(), work.is_int8)).map(|p| p.gmac_s);
            let share = |x: f64, of: Option<f64>| {
                of.map_or_else(String::new, |of| format!("{:.0} %", 100.0 * x / of))
            };
            let macs = if work.macs > 0 { format!("{gmac_s:.1}") } else { String::new() };
            let (of_read, of_peak) = (share(gb_s, read), share(gmac_s, peak));
            println!("{name:<34} {gb_s:>8.1} {of_read:>8} {macs:>8} {of_peak:>8}");
        }
    }
}

fn products(criterion: &mut Criterion, table: &mut Table) {
    let rows = if is_test() { 24 } else { ROWS };
    for format in Format::ALL {
        let matrix = Matrix::new(format, rows, COLS);
        let mut group = criterion.benchmark_group(format.name());
        let bytes = matrix.bytes().len() as u64;
        let is_int8 = format.wants_int8();
        let work = Work { bytes, is_memory: true, macs: 0, is_int8 };
        let names = (&*format!("{format}/read"), BenchmarkId::from_parameter("read"));
        table.time(&mut group, names, (Isa::scalar(), work), &mut || {
            black_box(read(black_box(matrix.bytes())));
        });
        for columns in [1, VERIFY_COLUMNS, GROUP_COLUMNS, PROMPT_COLUMNS] {
            let work = Work { macs: (rows * COLS * columns) as u64, ..work };
            let x = Activations::new(format, COLS, columns);
            let expected = multiply(Isa::scalar(), &matrix, &x);
            // Scalar has nothing else to show with many columns than with eight, and takes seconds.
            let is_timed = |isa: &&Isa| columns <= GROUP_COLUMNS || **isa != Isa::scalar();
            for &isa in Isa::available().iter().filter(is_timed) {
                check(isa, format, &multiply(isa, &matrix, &x), &expected);
                let mut out = vec![0.0; expected.len()];
                for &streams in isa.streams(format, columns) {
                    let weights = matrix.weights().in_streams(streams);
                    let how = match streams {
                        Streams::Few => columns.to_string(),
                        Streams::Four => format!("{columns} in four streams"),
                    };
                    let name = format!("{format}/{}/{how}", isa.name());
                    let names = (&*name, BenchmarkId::new(isa.name(), how));
                    table.time(&mut group, names, (isa, work), &mut || {
                        isa.matmul(&weights, 0..weights.groups(), x.columns(), black_box(&mut out));
                    });
                }
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
/// and a sliding layer's head over a whole window.
fn operations(criterion: &mut Criterion, table: &mut Table) {
    let mut group = criterion.benchmark_group("f32");
    for &isa in Isa::available() {
        elementwise(&mut group, table, isa);
        attention(&mut group, table, isa);
    }
    group.finish();
}

/// Something done to the first row with the second.
type Operation = fn(Isa, &mut [f32], &[f32]);

fn elementwise(group: &mut BenchmarkGroup<'_, WallTime>, table: &mut Table, isa: Isa) {
    let work = |values: usize, macs: usize| Work {
        bytes: 4 * values as u64,
        is_memory: false,
        macs: macs as u64,
        is_int8: false,
    };
    for columns in [1, GROUP_COLUMNS] {
        let x = Xorshift::normals(COLS * columns);
        let mut out = vec![0; int8_dwords(COLS, columns)];
        let (full, id) = names(&format!("quantize_columns {columns}"), isa);
        table.time(group, (&full, id), (isa, work(x.len(), 0)), &mut || {
            isa.quantize_columns(&x, COLS, black_box(&mut out));
        });
    }
    let operations: [(&str, usize, usize, Operation); 10] = [
        ("rms_norm", COLS, 0, |isa, x, y| isa.rms_norm_in_place(x, Some(y), 1e-6)),
        ("layer_norm", COLS, 0, |isa, x, y| isa.layer_norm_in_place(x, y, y, 1e-6)),
        ("rope", 2 * HEAD, 0, |isa, x, y| {
            isa.rope(&mut x[..HEAD], &y[..HEAD / 2], &y[HEAD / 2..HEAD]);
        }),
        ("dot", 2 * COLS, COLS, |isa, x, y| _ = black_box(isa.dot(x, y))),
        ("add", 2 * COLS, 0, |isa, x, y| isa.add(x, y)),
        ("scale", COLS, 0, |isa, x, _| isa.scale(x, black_box(1.0))),
        ("gelu_mul", 2 * COLS, 0, |isa, x, y| isa.gelu_mul(x, y)),
        ("softcap", COLS, 0, |isa, x, _| isa.softcap(x, 30.0)),
        ("max", COLS, 0, |isa, x, _| _ = black_box(isa.max(x))),
        ("exp_sub_sum", COLS, 0, |isa, x, _| _ = black_box(isa.exp_sub_sum(x, 1.0))),
    ];
    for (name, count, macs, run) in operations {
        let (mut row, other) = (Xorshift::normals(COLS), Xorshift::normals(COLS));
        let (full, id) = names(name, isa);
        table.time(group, (&full, id), (isa, work(count, macs)), &mut || {
            run(isa, black_box(&mut row), &other);
        });
    }
}

/// One query, as in decoding, and as many as share a tile of keys.
fn attention(group: &mut BenchmarkGroup<'_, WallTime>, table: &mut Table, isa: Isa) {
    for rows in [1, ATTENTION_ROWS] {
        let (queries, keys) = (Xorshift::normals(rows * HEAD), Xorshift::normals(WINDOW * HEAD));
        let queries: Vec<&[f32]> = queries.chunks_exact(HEAD).collect();
        let (mut scores, mut out) = (Xorshift::normals(rows * WINDOW), vec![0.0; rows * HEAD]);
        let work = Work {
            bytes: (4 * WINDOW * HEAD) as u64,
            is_memory: false,
            macs: (rows * WINDOW * HEAD) as u64,
            is_int8: false,
        };
        let (full, id) = names(&format!("attention_scores {rows}"), isa);
        table.time(group, (&full, id), (isa, work), &mut || {
            isa.attention_scores(black_box(&mut scores), WINDOW, &queries, &keys, HEAD);
        });
        let (full, id) = names(&format!("attention_values {rows}"), isa);
        table.time(group, (&full, id), (isa, work), &mut || {
            isa.attention_values(black_box(&mut out), &scores, WINDOW, &keys, HEAD);
        });
    }
}

/// As the table has it, and as criterion does.
fn names(operation: &str, isa: Isa) -> (String, BenchmarkId) {
    (format!("f32/{operation}/{}", isa.name()), BenchmarkId::new(operation, isa.name()))
}

/// Gemma 4 12B's hidden size.
const COLS: usize = 3840;
/// Enough for every format's matrix to exceed a laptop core's second-level cache.
const ROWS: usize = 4096;
/// Tokens of a draft that are verified at once.
const VERIFY_COLUMNS: usize = 4;
/// Length of a head of a sliding layer, and the positions that it sees.
const HEAD: usize = 256;
const WINDOW: usize = 1024;
/// Queries that meet a tile of keys at once (`carat_kernels`, `attention.rs`).
const ATTENTION_ROWS: usize = 4;

//! Fixed work for each hot kernel of one instruction set, for callgrind to count.
//!
//! ```text
//! instructions            names of the kernels, in the order of the work
//! instructions ISA        does the work
//! ```
//!
//! Callgrind writes a profile whenever [`counted`] returns, of everything since the one before
//! (`.ci/instructions` has the options); the first is of the start. Counts do not depend on what
//! else the machine does, so a kernel that grew by a few percent shows where a clock would not.

use std::hint::black_box;
use std::process::ExitCode;

use carat_bench::random::Xorshift;
use carat_bench::{Activations, Matrix, PROMPT_COLUMNS};
use carat_kernels::{Format, GROUP_COLUMNS, GROUP_ROWS, Isa, int8_dwords};

/// Name and work; the work is done once and the result is not looked at.
type Kernel = (String, Box<dyn FnMut(Isa)>);
/// Something done to the first slice with the second.
type Operation = fn(Isa, &mut [f32], &[f32]);

fn main() -> ExitCode {
    let mut kernels = kernels();
    let Some(name) = std::env::args().nth(1) else {
        for (name, _) in kernels {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let Some(isa) = Isa::by_name(&name) else {
        let names: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
        eprintln!("instructions: no {name} here, but {}", names.join(", "));
        return ExitCode::FAILURE;
    };
    counted(&mut |_| (), isa);
    for (_, work) in &mut kernels {
        counted(work, isa);
    }
    ExitCode::SUCCESS
}

/// Callgrind knows this function by its name.
#[inline(never)]
fn counted(work: &mut dyn FnMut(Isa), isa: Isa) {
    work(black_box(isa));
    black_box(());
}

fn kernels() -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    // F32 is gemm's affair, which chooses its own instructions.
    for format in Format::ALL.into_iter().filter(|format| *format != Format::F32) {
        let prompt = format.wants_int8().then_some(PROMPT_COLUMNS);
        for columns in [1, 4, GROUP_COLUMNS].into_iter().chain(prompt) {
            let (matrix, x) =
                (Matrix::new(format, ROWS, COLS), Activations::new(format, COLS, columns));
            let mut out = vec![0.0; ROWS.next_multiple_of(GROUP_ROWS) * columns];
            kernels.push((
                format!("{format}/{columns}"),
                Box::new(move |isa| {
                    let weights = matrix.weights();
                    isa.matmul(&weights, 0..weights.groups(), x.columns(), black_box(&mut out));
                }),
            ));
        }
    }
    for columns in [1, GROUP_COLUMNS] {
        let x = Xorshift::normals(COLS * columns);
        let mut out = vec![0; int8_dwords(COLS, columns)];
        let work = move |isa: Isa| isa.quantize_columns(&x, COLS, black_box(&mut out));
        kernels.push((format!("quantize/{columns}"), Box::new(work)));
    }
    for rows in [1, ATTENTION_ROWS] {
        let queries = Xorshift::normals(rows * HEAD);
        let (keys, mut scores) = (Xorshift::normals(KEYS * HEAD), Xorshift::normals(rows * KEYS));
        let weights = scores.clone();
        let work = move |isa: Isa| {
            let queries: [&[f32]; ATTENTION_ROWS] =
                std::array::from_fn(|i| &queries[i % rows * HEAD..][..HEAD]);
            isa.attention_scores(black_box(&mut scores), KEYS, &queries[..rows], &keys, HEAD);
        };
        kernels.push((format!("attention_scores/{rows}"), Box::new(work)));
        let (values, mut out) = (Xorshift::normals(KEYS * HEAD), vec![0.0; rows * HEAD]);
        let work = move |isa: Isa| {
            isa.attention_values(black_box(&mut out), &weights, KEYS, &values, HEAD);
        };
        kernels.push((format!("attention_values/{rows}"), Box::new(work)));
    }
    let operations: [(&str, Operation); 8] = [
        ("rms_norm", |isa, x, y| isa.rms_norm_in_place(x, Some(y), 1e-6)),
        ("gelu_mul", |isa, x, y| isa.gelu_mul(x, y)),
        ("exp_sub_sum", |isa, x, _| _ = black_box(isa.exp_sub_sum(x, 1.0))),
        ("rope", |isa, x, y| isa.rope(&mut x[..HEAD], &y[..HEAD / 2], &y[HEAD / 2..HEAD])),
        ("add", |isa, x, y| isa.add(x, y)),
        ("softcap", |isa, x, _| isa.softcap(x, 30.0)),
        ("widen_f16", |isa, x, y| isa.widen_f16(x, &bytemuck::cast_slice(y)[..COLS])),
        ("scale_int8", |isa, x, y| {
            isa.scale_int8(x, &bytemuck::cast_slice(y)[..COLS], &y[..COLS / 32]);
        }),
    ];
    for (name, run) in operations {
        let (mut x, y) = (Xorshift::normals(COLS), Xorshift::normals(COLS));
        let work = move |isa: Isa| run(isa, black_box(&mut x), &y);
        kernels.push((name.to_owned(), Box::new(work)));
    }
    kernels
}

/// Eight groups of rows of ten K-quant superblocks: enough to drown what happens once.
const ROWS: usize = 64;
const COLS: usize = 2560;
/// Length of a head, and positions that it sees.
const HEAD: usize = 256;
const KEYS: usize = 64;
/// Queries that meet a tile of keys at once (`carat_kernels`, `attention.rs`).
const ATTENTION_ROWS: usize = 4;

//! Threads: a forward pass enters the pool once, and inside it work is cut into fixed ranges.
//!
//! A range of rows or a token is computed whole by whichever thread takes it, always by the same
//! instructions, so no bit of a result depends on the number of threads. This file is the only one
//! that knows how threads share work, and with [`Scatter`] the only one with `unsafe`.

#![expect(unsafe_code, reason = "units of a matrix product write disjoint columns of one output")]

use std::collections::HashSet;
use std::ops::Range;
use std::{marker, ptr};

use carat_kernels::{COLUMNS_MAX, Columns, Format, GROUP_ROWS, Isa, Weights, int8_dwords};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::arena::{Frame, Need};
use crate::error::{Error, Result};

/// The threads of one session and the instruction set that they use.
#[derive(Debug)]
pub(crate) struct Pool {
    /// None where one thread is enough: then the caller's own does the work.
    threads: Option<ThreadPool>,
    isa: Isa,
}

impl Pool {
    /// Starts `threads` threads; 0 stands for the number of physical cores.
    pub(crate) fn new(threads: usize, isa: Isa) -> Result<Self> {
        let threads = if threads == 0 { physical_cores() } else { threads };
        let build = || ThreadPoolBuilder::new().num_threads(threads).build();
        let threads = (threads > 1)
            .then(build)
            .transpose()
            .map_err(|source| Error::Threads { threads, source })?;
        Ok(Self { threads, isa })
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    /// Runs `work` inside the pool; the methods below are called from there.
    pub(crate) fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.threads {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Calls `work(i, chunk)` for each `width` values of `data`.
    pub(crate) fn chunks<T: Send>(
        &self,
        data: &mut [T],
        width: usize,
        work: impl Fn(usize, &mut [T]) + Sync + Send,
    ) {
        if self.threads.is_none() || data.len() <= width {
            return data.chunks_mut(width).enumerate().for_each(|(i, chunk)| work(i, chunk));
        }
        data.par_chunks_mut(width).enumerate().for_each(|(i, chunk)| work(i, chunk));
    }

    /// Calls `work(i)` for each `i` below `count`.
    fn units(&self, count: usize, work: impl Fn(usize) + Sync + Send) {
        if self.threads.is_none() || count == 1 {
            return (0..count).for_each(work);
        }
        (0..count).into_par_iter().with_max_len(1).for_each(work);
    }

    /// Multiplies several matrices with the same input: `out[token][row] = Σ w[row][k] · x[token][k]`.
    ///
    /// The work is cut into units of [`UNIT_GROUPS`] groups of rows, fewer for small matrices.
    pub(crate) fn matmul<const N: usize>(&self, x: &Activations<'_>, products: [Product<'_>; N]) {
        let groups: usize = products.iter().map(|p| p.weights.groups()).sum();
        let mut unit = UNIT_GROUPS;
        while unit > 1 && groups / unit < 2 * self.threads() {
            unit /= 2;
        }
        let products = products.map(|p| {
            let have = p.out.len();
            let rows = p.weights.rows();
            assert_eq!(have, x.tokens * rows, "room for {have} products of {}x{rows}", x.tokens);
            (p.weights, Scatter::new(p.out, rows))
        });
        let count = products.iter().map(|(w, _)| w.groups().div_ceil(unit)).sum();
        self.units(count, |mut i| {
            for (weights, out) in &products {
                let units = weights.groups().div_ceil(unit);
                if i < units {
                    let groups = i * unit..((i + 1) * unit).min(weights.groups());
                    return self.product(x, weights, groups, out);
                }
                i -= units;
            }
        });
    }

    /// One unit of a product: a range of groups of rows, all tokens.
    fn product(
        &self,
        x: &Activations<'_>,
        w: &Weights<'_>,
        groups: Range<usize>,
        out: &Scatter<'_>,
    ) {
        let mut tile = [0.0; COLUMNS_MAX * UNIT_GROUPS * GROUP_ROWS];
        let rows = groups.start * GROUP_ROWS..(groups.end * GROUP_ROWS).min(w.rows());
        let height = groups.len() * GROUP_ROWS;
        let step = column_step(w.format(), x.together);
        for first in (0..x.tokens).step_by(step) {
            let tokens = first..(first + step).min(x.tokens);
            let tile = &mut tile[..tokens.len() * height];
            self.isa.matmul(w, groups.clone(), x.columns(w.format(), tokens.clone()), tile);
            for (token, values) in tokens.zip(tile.chunks_exact(height)) {
                out.write(token, rows.start, &values[..rows.len()]);
            }
        }
    }
}

/// One matrix of [`Pool::matmul`] and where its product goes, `[tokens][rows]`.
pub(crate) struct Product<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) out: &'a mut [f32],
}

/// The input of matrix products: the f32 values and, for block formats, their 8-bit form.
pub(crate) struct Activations<'a> {
    /// `[tokens][k]`.
    values: &'a [f32],
    /// Groups of [`COLUMNS_MAX`] tokens one after the other; empty if `k` suits no block format.
    int8: &'a [u32],
    k: usize,
    tokens: usize,
    together: bool,
}

impl<'a> Activations<'a> {
    /// Scratch for `tokens` vectors of at most `k` values.
    pub(crate) fn need(k: usize, tokens: usize) -> Need {
        Need::of::<u32>(dwords(k, tokens))
    }

    /// Quantises `values`, vectors of `k`.
    pub(crate) fn new<'b: 'a>(
        pool: &Pool,
        values: &'a [f32],
        k: usize,
        frame: &mut Frame<'b>,
    ) -> Self {
        let tokens = values.len() / k;
        let int8 = frame.take::<u32>(dwords(k, tokens));
        if !int8.is_empty() {
            pool.chunks(int8, dwords(k, COLUMNS_MAX), |i, out| {
                let first = i * COLUMNS_MAX * k;
                let last = (first + COLUMNS_MAX * k).min(values.len());
                pool.isa.quantize_columns(&values[first..last], k, out);
            });
        }
        Self { values, int8, k, tokens, together: false }
    }

    /// Lets F32 products take several tokens at once, for callers that always cut them alike.
    pub(crate) fn together(self) -> Self {
        Self { together: true, ..self }
    }

    /// At most [`COLUMNS_MAX`] tokens; for block formats a whole group of them.
    fn columns(&self, format: Format, tokens: Range<usize>) -> Columns<'a> {
        let k = self.k;
        if format.wants_int8() {
            let first = dwords(k, tokens.start);
            let columns = tokens.len();
            return Columns::Int8 { k, columns, data: &self.int8[first..][..dwords(k, columns)] };
        }
        Columns::F32 { k, values: &self.values[tokens.start * k..tokens.end * k] }
    }
}

/// Length of the 8-bit form of `tokens` vectors of `k` values.
fn dwords(k: usize, tokens: usize) -> usize {
    if !k.is_multiple_of(32) {
        return 0;
    }
    int8_dwords(k, COLUMNS_MAX) * (tokens / COLUMNS_MAX)
        + match tokens % COLUMNS_MAX {
            0 => 0,
            rest => int8_dwords(k, rest),
        }
}

/// Tokens in one call of a kernel. F32 products go one by one: the order in which `gemm` adds
/// depends on the number of columns, and a prompt must give the same bits however it is cut.
fn column_step(format: Format, together: bool) -> usize {
    if format == Format::F32 && !together { 1 } else { COLUMNS_MAX }
}

/// The output of a matrix product, `[tokens][rows]`, written by several threads: each owns a range
/// of rows, which is a strided set of places and so no slice.
struct Scatter<'a> {
    out: *mut f32,
    len: usize,
    rows: usize,
    borrow: marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: `Scatter` is a `&mut [f32]` that is only written through, and `Pool::matmul` gives every
// (token, row) place to exactly one unit: units are disjoint ranges of groups, hence of rows.
unsafe impl Sync for Scatter<'_> {}

// SAFETY: as a `&mut [f32]`, it may move to another thread.
unsafe impl Send for Scatter<'_> {}

impl<'a> Scatter<'a> {
    fn new(out: &'a mut [f32], rows: usize) -> Self {
        let len = out.len();
        Self { out: out.as_mut_ptr(), len, rows, borrow: marker::PhantomData }
    }

    fn write(&self, token: usize, row: usize, values: &[f32]) {
        let at = token * self.rows + row;
        assert!(row + values.len() <= self.rows && at + values.len() <= self.len);
        let out = ptr::slice_from_raw_parts_mut(self.out.wrapping_add(at), values.len());
        // SAFETY: the assertion says that the range lies inside the borrowed slice, and no other
        // unit writes these rows (see `Sync` above), so the reference is unique while it lives.
        unsafe { &mut *out }.copy_from_slice(values);
    }
}

/// Cores, not hardware threads: two threads of one core share the units that the kernels fill.
pub(crate) fn physical_cores() -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    // On Linux the hardware threads of a core share this list; elsewhere nothing is known.
    let siblings = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        std::fs::read_to_string(path).ok()
    };
    let cores: HashSet<String> = (0..).map_while(siblings).collect();
    if cores.is_empty() { available } else { available.min(cores.len()) }
}

/// Groups of rows in a unit of work: 64 rows of the 12B's longest input are 0.5 MB of Q4_0.
const UNIT_GROUPS: usize = 8;

//! Cuts the work of a forward pass into units that threads share.
//!
//! A forward pass is a sequence of pieces of work, and each piece is cut into units: fixed ranges
//! of rows, or single tokens. One thread computes a unit whole, always by the same instructions, so
//! the bits of a result do not depend on the number of threads. The module [`crew`] shares units
//! among threads; this file cuts products and rows into units.

#![expect(unsafe_code, reason = "units of a matrix product write disjoint columns of one output")]

mod cores;
mod crew;
mod reading;
mod runs;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::{io, marker, ptr};

use carat_kernels::{
    Columns, Format, GROUP_COLUMNS, GROUP_ROWS, Isa, Streams, Weights, int8_dwords,
};

use crate::arena::{Frame, Need};
use crate::cancel::Cancel;
pub(crate) use cores::threads;
pub use cores::threads_max;
use crew::Crew;
pub use reading::WeightReading;
use reading::{Products, Readings};
pub(crate) use runs::Run;

/// Why threads cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum ThreadsError {
    /// More threads than could be of use: they would only wait for each other.
    #[error(
        "{wanted} threads are more than the {most} that are started here, four for each CPU that \
         this process may use and at least 16: ask for fewer"
    )]
    TooMany { wanted: usize, most: usize },

    /// The system refused to start a thread.
    #[error("cannot start {threads} threads: ask for fewer")]
    Start { threads: usize, source: io::Error },
}

/// The threads of an engine, the instruction set that they use, and what may stop them.
#[derive(Debug)]
pub(crate) struct Pool {
    /// The number of threads, the caller's included.
    threads: usize,
    crew: Mutex<Crew>,
    isa: Isa,
    cancel: Cancel,
    /// Whether units were left out since [`Pool::begin`]: the flag may be taken back meanwhile.
    stopped: AtomicBool,
    readings: Readings,
}

impl Pool {
    /// Makes a pool of `threads` threads, of which the caller's is one; 0 stands for the number of
    /// physical cores.
    pub(crate) fn new(threads: usize, isa: Isa) -> Result<Self, ThreadsError> {
        let threads = self::threads(threads)?;
        let no_threads = |source| ThreadsError::Start { threads, source };
        let crew = Crew::new(threads - 1).map_err(no_threads)?;
        let (crew, cancel) = (Mutex::new(crew), Cancel::new());
        let stopped = AtomicBool::new(false);
        Ok(Self { threads, crew, isa, cancel, stopped, readings: Readings::default() })
    }

    /// Begins work that ends early once `cancel` is set: units that have not begun are then left
    /// out, and what they should have computed is arbitrary.
    pub(crate) fn begin(&mut self, cancel: &Cancel) {
        self.cancel = cancel.clone();
        self.stopped = AtomicBool::new(false);
    }

    /// Whether the work is to end, or has left out units.
    pub(crate) fn is_stopped(&self) -> bool {
        if self.cancel.is_cancelled() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        self.stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Wakes the threads: work is about to come.
    pub(crate) fn wake(&self) {
        if let Some(crew) = self.crew() {
            crew.wake();
        }
    }

    /// Calls `work(i, chunk)` for each `width` values of `data`.
    pub(crate) fn chunks<T: Send>(
        &self,
        data: &mut [T],
        width: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let count = data.len().div_ceil(width);
        self.each(count, data.chunks_mut(width).enumerate(), |(i, chunk)| work(i, chunk));
    }

    /// Calls `work` for each of `count` things.
    pub(crate) fn each<T>(
        &self,
        count: usize,
        things: impl Iterator<Item = T> + Send,
        work: impl Fn(T) + Sync,
    ) {
        let things = Mutex::new(things);
        self.units(count, |_| {
            let next = things.lock().unwrap_or_else(PoisonError::into_inner).next();
            if let Some(thing) = next {
                work(thing);
            }
        });
    }

    /// Calls `work` for each value of `data`, even if what comes before was stopped meanwhile.
    pub(crate) fn always<T: Send>(&self, data: &mut [T], work: impl Fn(&mut T) + Sync) {
        let count = data.len();
        let values = Mutex::new(data.iter_mut());
        self.run(count, |_| {
            let next = values.lock().unwrap_or_else(PoisonError::into_inner).next();
            next.into_iter().for_each(&work);
        });
    }

    /// Calls `work(i)` for each `i` below `count`, or for fewer where the work is stopped.
    fn units(&self, count: usize, work: impl Fn(usize) + Sync) {
        let work = |i| {
            if !self.is_stopped() {
                work(i);
            }
        };
        self.run(count, work);
    }

    fn run(&self, count: usize, work: impl Fn(usize) + Sync) {
        if self.threads == 1 || count <= 1 {
            return (0..count).for_each(work);
        }
        match self.crew() {
            Some(mut crew) => crew.run(count, &work),
            None => (0..count).for_each(work),
        }
    }

    /// The crew, or none if the caller is itself a unit of the crew's work.
    fn crew(&self) -> Option<MutexGuard<'_, Crew>> {
        match self.crew.try_lock() {
            Ok(crew) => Some(crew),
            Err(TryLockError::Poisoned(crew)) => Some(crew.into_inner()), // by a unit's panic
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Multiplies several matrices with the same input:
    /// `out[token][row] = Σ w[row][k] · x[token][k]`.
    ///
    /// The work is cut into units of [`UNIT_GROUPS`] groups of rows, fewer for small matrices.
    /// Where F32 products take several tokens together, units are never smaller: the order in which
    /// `gemm` adds depends on the number of rows, too.
    pub(crate) fn matmul<const N: usize>(&self, x: &Activations<'_>, products: [Product<'_>; N]) {
        let is_fixed = x.together && products.iter().any(|p| p.weights.format() == Format::F32);
        let unit = match is_fixed {
            true => UNIT_GROUPS,
            false => self.unit_groups(products.iter().map(|p| p.weights.groups()).sum()),
        };
        let products = products.map(|p| {
            let have = p.out.len();
            let rows = p.weights.rows();
            assert_eq!(have, x.tokens * rows, "room for {have} products of {}x{rows}", x.tokens);
            (p.weights, Scatter::new(p.out))
        });
        let count = products.iter().map(|(w, _)| w.groups().div_ceil(unit)).sum();
        let all = Products::new(x.tokens, products.iter().map(|(w, _)| *w));
        self.units_of(all, count, |mut i, streams| {
            for (weights, out) in &products {
                let units = weights.groups().div_ceil(unit);
                if i < units {
                    let groups = i * unit..((i + 1) * unit).min(weights.groups());
                    return self.some_rows(x, &weights.in_streams(streams), groups, out);
                }
                i -= units;
            }
        });
    }

    /// Calls `work(i, streams)` for each `i` below `count`, which together are `products`: each
    /// reads its weights in so many streams.
    fn units_of(&self, products: Products, count: usize, work: impl Fn(usize, Streams) + Sync) {
        self.readings.time(self.isa, products, |streams| {
            self.units(count, |i| work(i, streams));
            !self.is_stopped()
        });
    }

    /// How products with few tokens read their weights.
    pub(crate) fn weight_readings(&self) -> Vec<WeightReading> {
        self.readings.report()
    }

    /// The groups of rows in a unit of products of so many groups.
    fn unit_groups(&self, groups: usize) -> usize {
        let mut unit = UNIT_GROUPS;
        while unit > 1 && groups / unit < 2 * self.threads() {
            unit /= 2;
        }
        unit
    }

    /// Computes one unit of a product.
    fn some_rows(
        &self,
        x: &Activations<'_>,
        weights: &Weights<'_>,
        groups: Range<usize>,
        out: &Scatter<'_, f32>,
    ) {
        match x.tokens <= GROUP_COLUMNS {
            true => self.product::<FEW_TILE>(x, weights, groups, out),
            false => self.product::<TILE>(x, weights, groups, out),
        }
    }

    /// Multiplies some groups of rows of a matrix with one vector: those that `groups` names for
    /// each `width` values of `out`, of which they may leave the last ones as they are.
    pub(crate) fn row_groups(
        &self,
        x: &Activations<'_>,
        weights: &Weights<'_>,
        groups: impl Fn(usize) -> Range<usize> + Sync,
        out: &mut [f32],
        width: usize,
    ) {
        let column = x.columns(weights.format(), 0..1);
        self.chunks(out, width, |i, out| {
            let groups = groups(i);
            let values = &mut out[..groups.len() * GROUP_ROWS];
            self.isa.matmul(weights, groups, column, values);
        });
    }

    /// Computes one unit of a product: a range of groups of rows for all tokens, `VALUES` products
    /// at a time.
    fn product<const VALUES: usize>(
        &self,
        x: &Activations<'_>,
        w: &Weights<'_>,
        groups: Range<usize>,
        out: &Scatter<'_, f32>,
    ) {
        let mut tile = [0.0; VALUES];
        let rows = groups.start * GROUP_ROWS..(groups.end * GROUP_ROWS).min(w.rows());
        let height = groups.len() * GROUP_ROWS;
        for tokens in chunks_of_tokens(x.tokens) {
            let tile = &mut tile[..tokens.len() * height];
            self.tile(x, w, groups.clone(), tokens.clone(), tile);
            for (token, values) in tokens.zip(tile.chunks_exact(height)) {
                out.write(token * w.rows() + rows.start, &values[..rows.len()]);
            }
        }
    }

    /// Computes at most [`TILE_TOKENS`] tokens of a unit, `[tokens][rows of the groups]`.
    fn tile(
        &self,
        x: &Activations<'_>,
        w: &Weights<'_>,
        groups: Range<usize>,
        tokens: Range<usize>,
        tile: &mut [f32],
    ) {
        // F32 products go one by one: the order in which `gemm` adds depends on the number of
        // columns, and a prompt must give the same bits however it is cut.
        let step = match w.format() {
            Format::F32 if !x.together => 1,
            Format::F32 => GROUP_COLUMNS,
            _ => TILE_TOKENS,
        };
        let height = groups.len() * GROUP_ROWS;
        for (i, tile) in tile.chunks_mut(step * height).enumerate() {
            let first = tokens.start + i * step;
            let columns = x.columns(w.format(), first..first + tile.len() / height);
            self.isa.matmul(w, groups.clone(), columns, tile);
        }
    }
}

/// One matrix of [`Pool::matmul`], and the room for its product, `[tokens][rows]`.
pub(crate) struct Product<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) out: &'a mut [f32],
}

/// The input of matrix products: the f32 values and, for block formats, their 8-bit form.
pub(crate) struct Activations<'a> {
    /// The f32 values, `[tokens][k]`.
    values: &'a [f32],
    /// The 8-bit form, groups of [`GROUP_COLUMNS`] tokens one after the other; empty if `k` suits
    /// no block format.
    int8: &'a [u32],
    k: usize,
    tokens: usize,
    together: bool,
}

impl<'a> Activations<'a> {
    /// The scratch memory for `tokens` vectors of at most `k` values.
    pub(crate) fn need(k: usize, tokens: usize) -> Need {
        Need::of::<u32>(dwords(k, tokens))
    }

    /// Quantises `values`, which are vectors of `k` values each.
    pub(crate) fn new<'b: 'a>(
        pool: &Pool,
        values: &'a [f32],
        k: usize,
        frame: &mut Frame<'b>,
    ) -> Self {
        let tokens = values.len() / k;
        let int8 = frame.take::<u32>(dwords(k, tokens));
        if !int8.is_empty() {
            pool.chunks(int8, dwords(k, GROUP_COLUMNS), |i, out| {
                let first = i * GROUP_COLUMNS * k;
                let last = (first + GROUP_COLUMNS * k).min(values.len());
                pool.isa.quantize_columns(&values[first..last], k, out);
            });
        }
        Self { values, int8, k, tokens, together: false }
    }

    /// The scratch memory of [`Activations::gated`].
    pub(crate) fn gated_need(k: usize, tokens: usize) -> Need {
        Need::of::<f32>(tokens * k) // the 8-bit form is shorter
    }

    /// Computes `gelu(gate · x) · (up · x)`, in the form that products with weights of `format`
    /// take.
    ///
    /// A unit of work computes the same rows of both products, and quantises the result while it is
    /// in the L1 cache.
    pub(crate) fn gated<'b: 'a>(
        pool: &Pool,
        x: &Activations<'_>,
        [gate, up]: [Weights<'_>; 2],
        format: Format,
        frame: &mut Frame<'b>,
    ) -> Self {
        let (k, tokens) = (gate.rows(), x.tokens);
        let (values, int8) = gated_room(k, tokens, format, frame);
        let outputs = (Scatter::new(&mut *values), Scatter::new(&mut *int8));
        let all = Products::new(tokens, [gate, up].into_iter());
        pool.units_of(all, gate.groups().div_ceil(GATED_GROUPS), |i, streams| {
            let pair = [gate, up].map(|weights| weights.in_streams(streams));
            gated_rows(pool, x, &pair, i, &outputs);
        });
        Self { values, int8, k, tokens, together: false }
    }

    /// Lets F32 products take several tokens at once, for callers that always cut them alike.
    pub(crate) fn together(self) -> Self {
        Self { together: true, ..self }
    }

    /// The tokens of a range, which holds whole groups for block formats.
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

/// The length of the 8-bit form of `tokens` vectors of `k` values.
fn dwords(k: usize, tokens: usize) -> usize {
    if k.is_multiple_of(32) { int8_dwords(k, tokens) } else { 0 }
}

/// Room for what [`Activations::gated`] computes, as f32 or in the 8-bit form.
fn gated_room<'b>(
    k: usize,
    tokens: usize,
    format: Format,
    frame: &mut Frame<'b>,
) -> (&'b mut [f32], &'b mut [u32]) {
    let room = frame.take::<u32>(tokens * k);
    match format.wants_int8() {
        true => (&mut [], &mut room[..dwords(k, tokens)]),
        false => (bytemuck::cast_slice_mut(room), &mut []),
    }
}

/// Computes unit `i` of [`Activations::gated`].
fn gated_rows(
    pool: &Pool,
    x: &Activations<'_>,
    pair: &[Weights<'_>; 2],
    i: usize,
    outputs: &(Scatter<'_, f32>, Scatter<'_, u32>),
) {
    let groups = i * GATED_GROUPS..((i + 1) * GATED_GROUPS).min(pair[0].groups());
    match x.tokens <= GROUP_COLUMNS {
        true => gated_unit::<FEW_TILE>(pool, x, pair, groups, outputs),
        false => gated_unit::<TILE>(pool, x, pair, groups, outputs),
    }
}

/// Computes one unit of [`Activations::gated`]: a range of groups of rows of both products, for all
/// tokens. Writes the result as f32, or in the 8-bit form if that has room.
fn gated_unit<const VALUES: usize>(
    pool: &Pool,
    x: &Activations<'_>,
    [gate, up]: &[Weights<'_>; 2],
    groups: Range<usize>,
    (values, int8): &(Scatter<'_, f32>, Scatter<'_, u32>),
) {
    let (k, height) = (gate.rows(), groups.len() * GROUP_ROWS);
    let rows = groups.start * GROUP_ROWS..(groups.end * GROUP_ROWS).min(k);
    let mut tiles = [[0.0; VALUES]; 2];
    for tokens in chunks_of_tokens(x.tokens) {
        let [g, u] = tiles.each_mut().map(|tile| &mut tile[..tokens.len() * height]);
        pool.tile(x, gate, groups.clone(), tokens.clone(), g);
        pool.tile(x, up, groups.clone(), tokens.clone(), u);
        pool.isa.gelu_mul(g, u);
        if int8.len == 0 {
            for (token, g) in tokens.zip(g.chunks_exact(height)) {
                values.write(token * k + rows.start, &g[..rows.len()]);
            }
            continue;
        }
        let mut blocks = [0; GATED_DWORDS];
        for (i, g) in g.chunks(GROUP_COLUMNS * height).enumerate() {
            let (first, count) = (tokens.start + i * GROUP_COLUMNS, g.len() / height);
            let blocks = &mut blocks[..dwords(height, count)];
            pool.isa.quantize_columns(g, height, blocks);
            int8.write(dwords(k, first) + dwords(rows.start, count), blocks);
        }
    }
}

/// The tokens of a pass, [`TILE_TOKENS`] at a time.
fn chunks_of_tokens(tokens: usize) -> impl Iterator<Item = Range<usize>> {
    (0..tokens).step_by(TILE_TOKENS).map(move |first| first..(first + TILE_TOKENS).min(tokens))
}

/// The output of a product that several threads write. Each thread owns a range of rows, which is
/// no slice, since the rows of one token lie apart from those of the next.
struct Scatter<'a, T> {
    out: *mut T,
    len: usize,
    borrow: marker::PhantomData<&'a mut [T]>,
}

// SAFETY: `Scatter` is a `&mut [T]` that is only written through, and each place is written by
// exactly one unit: a unit of `Pool::matmul` and `Activations::gated` owns a range of rows (of
// blocks of 32 rows, in the 8-bit form) of every token, and these ranges are disjoint. A unit of
// `runs` owns such a range of the tokens of one run, and runs are disjoint, which is checked.
unsafe impl<T: Send> Sync for Scatter<'_, T> {}

impl<'a, T: Copy> Scatter<'a, T> {
    fn new(out: &'a mut [T]) -> Self {
        Self { len: out.len(), out: out.as_mut_ptr(), borrow: marker::PhantomData }
    }

    /// The part of it from `at` on, `len` long.
    fn part(&self, at: usize, len: usize) -> Self {
        assert!(self.holds(at, len), "{len} values at {at} of {}", self.len);
        Self { out: self.out.wrapping_add(at), len, borrow: marker::PhantomData }
    }

    /// Whether `len` values from `at` on lie inside; no sum is formed that could wrap.
    fn holds(&self, at: usize, len: usize) -> bool {
        self.len.checked_sub(at).is_some_and(|rest| len <= rest)
    }

    fn write(&self, at: usize, values: &[T]) {
        let len = values.len();
        assert!(self.holds(at, len), "{len} values at {at} of {}", self.len);
        let out = ptr::slice_from_raw_parts_mut(self.out.wrapping_add(at), len);
        // SAFETY: the assertion says that the range lies inside the borrowed slice, and no other
        // unit writes these places (see `Sync` above), so the reference is unique while it lives.
        unsafe { &mut *out }.copy_from_slice(values);
    }
}

/// The groups of rows in a unit of work: 64 rows of the 12B's longest input are 0.5 MB of Q4_0.
const UNIT_GROUPS: usize = 8;

/// The tokens that one call multiplies: enough that unpacking the weights costs little.
const TILE_TOKENS: usize = 256;

/// The values of a unit for [`TILE_TOKENS`] tokens, and for [`GROUP_COLUMNS`] tokens.
const TILE: usize = TILE_TOKENS * UNIT_GROUPS * GROUP_ROWS;
const FEW_TILE: usize = GROUP_COLUMNS * UNIT_GROUPS * GROUP_ROWS;

/// The groups of rows in a unit of [`Activations::gated`]: whole blocks of the 8-bit form.
const GATED_GROUPS: usize = UNIT_GROUPS;

/// The length of the 8-bit form of such a unit for a group of tokens.
const GATED_DWORDS: usize = UNIT_GROUPS * GROUP_ROWS * 2 * GROUP_COLUMNS;

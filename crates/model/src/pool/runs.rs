//! Products of vectors that are not all multiplied with the same matrices.
//!
//! Vectors that are, follow each other: a *run*. All runs together are one piece of work, so that
//! threads do not wait for each other after each of them, and what a unit computes does not depend
//! on the other runs.

use std::iter;
use std::mem;

use bytemuck::{Pod, Zeroable};
use carat_kernels::{Format, GROUP_COLUMNS, Weights};

use super::{
    Activations, Frame, GATED_GROUPS, Pool, Products, Scatter, dwords, gated_room, gated_rows,
};

/// Vectors that follow each other and are multiplied with the same matrices.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Run {
    /// Which matrices; 64 bits, so that whole runs fill a line of the arena.
    pub(crate) matrix: u64,
    /// The first of the vectors.
    pub(crate) first: u32,
    /// How many there are, at least one.
    pub(crate) count: u32,
}

impl<'a> Activations<'a> {
    /// Fills `values`, vectors of `k` values, by `fill(i, vector)`, and quantises them, each of
    /// `runs` by itself. The scratch memory is [`Activations::need`].
    pub(crate) fn filled<'b: 'a>(
        pool: &Pool,
        values: &'a mut [f32],
        k: usize,
        runs: &[Run],
        fill: impl Fn(usize, &mut [f32]) + Sync,
        frame: &mut Frame<'b>,
    ) -> Self {
        let tokens = values.len() / k;
        assert_in_order(runs, tokens);
        let int8 = frame.take::<u32>(dwords(k, tokens));
        let count = runs.iter().map(|run| (run.count as usize).div_ceil(GROUP_COLUMNS)).sum();
        pool.each(count, groups(runs, k, values, int8), |(first, values, int8)| {
            for (i, vector) in values.chunks_exact_mut(k).enumerate() {
                fill(first + i, vector);
            }
            if !int8.is_empty() {
                pool.isa.quantize_columns(values, k, int8);
            }
        });
        Self { values, int8, k, tokens, together: false }
    }

    /// [`Activations::gated`] for runs: `pair` gives the gate and up matrices of a run, all of the
    /// same shape, with `k` rows.
    pub(crate) fn gated_runs<'b: 'a, 'w>(
        pool: &Pool,
        x: &Activations<'_>,
        runs: &[Run],
        pair: impl Fn(usize) -> [Weights<'w>; 2] + Sync,
        (k, format): (usize, Format),
        frame: &mut Frame<'b>,
    ) -> Self {
        assert_in_order(runs, x.tokens);
        let (values, int8) = gated_room(k, x.tokens, format, frame);
        let (has_values, has_int8) = (!values.is_empty(), !int8.is_empty());
        let outputs = (Scatter::new(&mut *values), Scatter::new(&mut *int8));
        let units = k.div_ceil(GATED_GROUPS * carat_kernels::GROUP_ROWS);
        let all = Products::of_runs(runs, |matrix| pair(matrix).into_iter());
        pool.units_of(all, runs.len() * units, |i, streams| {
            let run = runs[i / units];
            let (first, count) = (run.first as usize, run.count as usize);
            let pair = pair(run.matrix as usize).map(|weights| weights.in_streams(streams));
            assert_eq!(pair.each_ref().map(Weights::rows), [k, k], "rows of gate and up");
            let part = |len: usize| if has_values { len } else { 0 };
            let values = outputs.0.part(part(first * k), part(count * k));
            let part = |len: usize| if has_int8 { dwords(k, len) } else { 0 };
            let int8 = outputs.1.part(part(first), part(count));
            gated_rows(pool, &x.run(run), &pair, i % units, &(values, int8));
        });
        Self { values, int8, k, tokens: x.tokens, together: false }
    }

    /// The vectors of a run.
    fn run(&self, run: Run) -> Activations<'a> {
        let (first, tokens, k) = (run.first as usize, run.count as usize, self.k);
        let values = match self.values.is_empty() {
            true => self.values,
            false => &self.values[first * k..][..tokens * k],
        };
        let int8 = match self.int8.is_empty() {
            true => self.int8,
            false => &self.int8[dwords(k, first)..][..dwords(k, tokens)],
        };
        Activations { values, int8, k, tokens, together: self.together }
    }
}

impl Pool {
    /// [`Pool::matmul`] for runs: `weights` gives the matrix of a run, all of the same shape.
    pub(crate) fn matmul_runs<'w>(
        &self,
        x: &Activations<'_>,
        runs: &[Run],
        weights: impl Fn(usize) -> Weights<'w> + Sync,
        out: &mut [f32],
    ) {
        assert_in_order(runs, x.tokens);
        let Some(first) = runs.first() else { return };
        let shape = weights(first.matrix as usize);
        let (rows, groups, have) = (shape.rows(), shape.groups(), out.len());
        assert_eq!(have, x.tokens * rows, "room for {have} products of {}x{rows}", x.tokens);
        let out = Scatter::new(out);
        let unit = self.unit_groups(runs.len() * groups);
        let units = groups.div_ceil(unit);
        let all = Products::of_runs(runs, |matrix| iter::once(weights(matrix)));
        self.units_of(all, runs.len() * units, |i, streams| {
            let (run, first) = (runs[i / units], i % units * unit);
            let weights = weights(run.matrix as usize).in_streams(streams);
            assert_eq!(weights.rows(), rows, "rows of a matrix");
            let out = out.part(run.first as usize * rows, run.count as usize * rows);
            self.some_rows(&x.run(run), &weights, first..(first + unit).min(groups), &out);
        });
    }
}

/// The vectors of all runs, up to [`GROUP_COLUMNS`] at a time: the number of the first, and room
/// for them as f32 and in the 8-bit form.
fn groups<'a>(
    runs: &[Run],
    k: usize,
    mut values: &'a mut [f32],
    mut int8: &'a mut [u32],
) -> impl Iterator<Item = (usize, &'a mut [f32], &'a mut [u32])> + Send {
    let counts = runs.iter().flat_map(|run| {
        let (first, count) = (run.first as usize, run.count as usize);
        let starts = (0..count).step_by(GROUP_COLUMNS);
        starts.map(move |start| (first + start, GROUP_COLUMNS.min(count - start)))
    });
    let has_int8 = !int8.is_empty();
    let mut counts = counts.into_iter();
    iter::from_fn(move || {
        let (first, count) = counts.next()?;
        let (group, rest) = mem::take(&mut values).split_at_mut(count * k);
        values = rest;
        let len = if has_int8 { dwords(k, count) } else { 0 };
        let (group_int8, rest) = mem::take(&mut int8).split_at_mut(len);
        int8 = rest;
        Some((first, group, group_int8))
    })
}

/// Runs must have all vectors, in order.
fn assert_in_order(runs: &[Run], tokens: usize) {
    let end = runs
        .iter()
        .try_fold(0, |at, run| (run.first == at && run.count > 0).then_some(at + run.count));
    assert_eq!(end.map(|end| end as usize), Some(tokens), "runs of {tokens} vectors");
}

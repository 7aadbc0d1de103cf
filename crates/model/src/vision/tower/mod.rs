//! The vision encoder of E2B, E4B, 26B-A4B and 31B (`gemma4v`).
//!
//! ```text
//! x = W p + x_table[column] + y_table[row]           p = 2 · pixels of a patch − 1
//! each layer:
//!   x += RMSNorm(Wo attention(RMSNorm(x)))           every patch sees every patch
//!   x += RMSNorm(Wdown (gelu(Wgate m) · (Wup m)))    m = RMSNorm(x)
//! y = √d · mean of the patches of a token;  y = (y − std_bias) · std_scale, where there are these
//! row = P RMSNorm(y)
//! ```
//!
//! A token is a square of three by three patches. All but attention goes over the patches in
//! batches, so that beside attention only the residual stream has a row for each of them.

mod attention;
mod layer;
mod load;

use std::ops::ControlFlow;

use super::{Picture, VisionError};
use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::{Activations, Pool, Product};
use crate::tower::{Linear, Rows};
use crate::weights::Matrix;
use attention::{Heads, Turns};
use layer::Layer;
pub(crate) use load::Shape;

/// The encoder. `D` is the length of a patch's vector, `H` that of the decoder's rows.
#[derive(Debug)]
pub(crate) struct Tower {
    shape: Shape,
    /// What each of the 256 values of red, green and blue is to the encoder.
    colours: Box<[[f32; 256]; 3]>,
    /// `[D, patch values]`.
    patch: Matrix,
    /// `[columns then rows][positions][D]`.
    positions: Vec<f32>,
    layers: Vec<Layer>,
    /// What is taken off a token's values, and what they are multiplied by; `D` values each.
    standard: Option<[Vec<f32>; 2]>,
    /// `[H, D]`.
    projection: Linear,
    norm_eps: f32,
}

/// The patches of a picture.
#[derive(Clone, Copy, Debug)]
struct Grid {
    columns: usize,
    rows: usize,
}

impl Grid {
    fn patches(self) -> usize {
        self.columns * self.rows
    }
}

impl Tower {
    /// Scratch of [`Tower::embed`] for a picture of `tokens` tokens.
    pub(crate) fn need(shape: &Shape, tokens: usize) -> Need {
        let patches = tokens * shape.side * shape.side;
        let stream = Need::of::<f32>(patches * shape.length);
        let batch = patches.min(BATCH);
        let values = shape.patch_values();
        let cut = Need::of::<f32>(batch * values).and(Activations::need(values, batch));
        let turns = Turns::need(shape, tokens * shape.side);
        let layers = Heads::need(shape, patches).and(layer::need(shape, batch));
        let batch = tokens.min(BATCH);
        let pooled = Need::of::<f32>(batch * shape.length);
        let pooled = pooled.and(Linear::need(shape.length, batch));
        stream.and(cut.or(turns.and(layers)).or(pooled))
    }

    /// Fills `out`, `[tokens, H]`, with the embeddings of a picture's tokens, row by row. Tells
    /// `progress` after each layer how many of all are done. Breaks off, with `out` arbitrary, if
    /// `progress` does or the work is stopped.
    ///
    /// # Errors
    /// If the picture has more columns or rows of patches than the encoder has positions.
    pub(crate) fn embed(
        &self,
        pool: &Pool,
        picture: &Picture,
        out: &mut [f32],
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
        mut frame: Frame<'_>,
    ) -> Result<ControlFlow<()>> {
        let (side, positions) = (self.shape.side, self.shape.positions);
        let grid = Grid { columns: picture.columns() * side, rows: picture.rows() * side };
        let Grid { columns, rows } = grid;
        if columns > positions || rows > positions {
            return Err(VisionError::Positions { columns, rows, positions }.into());
        }
        let x = frame.take(grid.patches() * self.shape.length); // [patches, D]
        self.cut(pool, picture, grid, x, frame.nested());
        let encoded = self.encode(pool, grid, x, progress, frame.nested());
        if encoded.is_continue() {
            self.finish(pool, grid, x, out, frame);
        }
        Ok(encoded)
    }

    /// Cuts the picture into patches and embeds each, with its position.
    fn cut(&self, pool: &Pool, picture: &Picture, grid: Grid, x: &mut [f32], mut frame: Frame<'_>) {
        let (length, values) = (self.shape.length, self.shape.patch_values());
        for (i, x) in x.chunks_mut(BATCH * length).enumerate() {
            let (first, count) = (i * BATCH, x.len() / length);
            let mut frame = frame.nested();
            let patches = frame.take(count * values); // [patches, values]
            pool.chunks(patches, values, |p, patch| {
                let at = ((first + p) % grid.columns, (first + p) / grid.columns);
                let value = |channel: usize, value| self.colours[channel][usize::from(value)];
                picture.patch(self.shape.patch, at, patch, value);
            });
            let patches = Activations::new(pool, patches, values, &mut frame).together();
            pool.matmul(&patches, [Product { weights: self.patch.view(), out: &mut *x }]);
            let (by_column, by_row) = self.positions.split_at(self.shape.positions * length);
            pool.chunks(x, length, |p, x| {
                let (row, column) = ((first + p) / grid.columns, (first + p) % grid.columns);
                pool.isa().add(x, &by_column[column * length..][..length]);
                pool.isa().add(x, &by_row[row * length..][..length]);
            });
        }
    }

    /// Runs the layers.
    fn encode(
        &self,
        pool: &Pool,
        grid: Grid,
        x: &mut [f32],
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
        mut frame: Frame<'_>,
    ) -> ControlFlow<()> {
        let turns = Turns::new(&self.shape, grid, &mut frame);
        let mut heads = Heads::new(&self.shape, grid.patches(), &mut frame);
        for (i, layer) in self.layers.iter().enumerate() {
            layer.run(pool, &self.shape, self.norm_eps, &turns, &mut heads, x, frame.nested());
            if pool.is_stopped() {
                return ControlFlow::Break(());
            }
            progress(i + 1, self.layers.len())?;
        }
        ControlFlow::Continue(())
    }

    /// Makes tokens of the patches, and rows of the decoder of these.
    fn finish(&self, pool: &Pool, grid: Grid, x: &[f32], out: &mut [f32], mut frame: Frame<'_>) {
        let (length, side, isa) = (self.shape.length, self.shape.side, pool.isa());
        let columns = grid.columns / side;
        let hidden = out.len() / (columns * (grid.rows / side));
        let factor = (length as f32).sqrt() / (side * side) as f32;
        for (i, out) in out.chunks_mut(BATCH * hidden).enumerate() {
            let (first, count) = (i * BATCH, out.len() / hidden);
            let mut frame = frame.nested();
            let y = frame.take(count * length); // [tokens, D]
            pool.chunks(y, length, |t, y| {
                let (row, column) = ((first + t) / columns, (first + t) % columns);
                y.fill(0.0);
                for at in (0..side * side).map(|i| (i / side, i % side)) {
                    let patch = (row * side + at.0) * grid.columns + column * side + at.1;
                    isa.add(y, &x[patch * length..][..length]);
                }
                isa.scale(y, factor);
                if let Some([bias, scale]) = &self.standard {
                    y.iter_mut().zip(bias).for_each(|(y, bias)| *y -= bias);
                    isa.mul(y, scale);
                }
                isa.rms_norm_in_place(y, None, self.norm_eps);
            });
            self.projection.apply(pool, Rows::new(y, length).together(), out, frame);
        }
    }
}

/// Patches, and tokens, that go through products together.
const BATCH: usize = 256;

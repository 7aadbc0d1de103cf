//! Patches without an encoder, as the 12B has them (`gemma4uv`).
//!
//! ```text
//! p = pixels of a 48x48 patch / 255, all red, then green, then blue
//! y = LN3(LN2(W LN1(p) + b) + x_table[column] + y_table[row])
//! row = P RMSNorm(y)
//! ```
//!
//! Patches do not see each other here, only in the decoder.

use super::{PATCH_SIDE, Picture, VisionError};
use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::{Activations, Pool, Product};
use crate::projector::ProjectorFile;
use crate::weights::Matrix;

/// Values of a patch.
const PATCH: usize = PATCH_SIDE * PATCH_SIDE * 3;

/// The weights between patches and the decoder. `E` is the embedding length, `H` the decoder's.
#[derive(Debug)]
pub(crate) struct Unified {
    /// `[E, PATCH]`.
    patch: Matrix,
    patch_bias: Vec<f32>,
    /// Of the patch, of its embedding, and of the sum with its position.
    norms: [LayerNorm; 3],
    /// `[columns then rows][positions][E]`.
    positions: Vec<f32>,
    /// `[H, E]`.
    projection: Matrix,
    norm_eps: f32,
}

#[derive(Debug)]
struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Unified {
    /// Reads the vision part of a projector file for a decoder of `hidden` values.
    ///
    /// # Errors
    /// If a tensor or key is missing or of the wrong shape.
    pub(crate) fn load(file: &ProjectorFile<'_>, hidden: usize) -> Result<Self> {
        file.expect_uint("clip.vision.patch_size", PATCH_SIDE as u64 / 3)?;
        let length = file.rows("v.patch_embd.weight")?;
        let positions = file.rows("v.position_embd.weight")?;
        let norm = |i: usize, length| -> Result<LayerNorm> {
            Ok(LayerNorm {
                weight: file.vector(&format!("v.patch_norm.{i}.weight"), &[length])?,
                bias: file.vector(&format!("v.patch_norm.{i}.bias"), &[length])?,
            })
        };
        let norms = [norm(1, PATCH)?, norm(2, length)?, norm(3, length)?];
        Ok(Self {
            norms,
            patch: file.matrix("v.patch_embd.weight", PATCH, length)?,
            patch_bias: file.vector("v.patch_embd.bias", &[length])?,
            positions: file.vector("v.position_embd.weight", &[length, positions, 2])?,
            projection: file.projection("mm.input_projection.weight", length, hidden)?,
            norm_eps: file.float("clip.vision.attention.layer_norm_epsilon")?,
        })
    }

    fn length(&self) -> usize {
        self.patch_bias.len()
    }

    /// Columns and rows of patches that have a position.
    fn positions(&self) -> usize {
        self.positions.len() / self.length() / 2
    }

    /// Scratch of [`Unified::embed`] where the embedding of a patch has `length` values.
    pub(crate) fn need(length: usize) -> Need {
        let (patches, embedded) = (BATCH * PATCH, BATCH * length);
        let product = |k| Activations::need(k, BATCH);
        let inputs = product(PATCH).or(product(length));
        Need::of::<f32>(patches).and(Need::of::<f32>(embedded)).and(inputs)
    }

    /// Fills `out`, `[tokens, hidden]`, with the embeddings of a picture's patches, row by row.
    ///
    /// # Errors
    /// If the picture has more columns or rows than the model has positions.
    pub(crate) fn embed(
        &self,
        pool: &Pool,
        picture: &Picture,
        out: &mut [f32],
        mut frame: Frame<'_>,
    ) -> Result<()> {
        let (columns, rows, positions) = (picture.columns(), picture.rows(), self.positions());
        if columns > positions || rows > positions {
            return Err(VisionError::Positions { columns, rows, positions }.into());
        }
        let hidden = out.len() / (columns * rows);
        let (isa, length) = (pool.isa(), self.length());
        let [norm_1, norm_2, norm_3] = &self.norms;
        for (i, out) in out.chunks_mut(BATCH * hidden).enumerate() {
            let (first, count) = (i * BATCH, out.len() / hidden);
            let mut frame = frame.nested();
            let patches = frame.take(count * PATCH); // [patches, PATCH]
            let y = frame.take(count * length); // [patches, length]
            pool.chunks(patches, PATCH, |p, patch| {
                let at = ((first + p) % columns, (first + p) / columns);
                picture.patch(PATCH_SIDE, at, patch, |_, value| f32::from(value) / 255.0);
                isa.layer_norm_in_place(patch, &norm_1.weight, &norm_1.bias, LAYER_NORM_EPS);
            });
            {
                let mut frame = frame.nested();
                let patches = Activations::new(pool, patches, PATCH, &mut frame).together();
                pool.matmul(&patches, [Product { weights: self.patch.view(), out: &mut *y }]);
            }
            pool.chunks(y, length, |p, y| {
                let (row, column) = ((first + p) / columns, (first + p) % columns);
                isa.add(y, &self.patch_bias);
                isa.layer_norm_in_place(y, &norm_2.weight, &norm_2.bias, LAYER_NORM_EPS);
                isa.add(y, &self.positions[column * length..][..length]);
                isa.add(y, &self.positions[(positions + row) * length..][..length]);
                isa.layer_norm_in_place(y, &norm_3.weight, &norm_3.bias, LAYER_NORM_EPS);
                isa.rms_norm_in_place(y, None, self.norm_eps);
            });
            let y = Activations::new(pool, y, length, &mut frame).together();
            pool.matmul(&y, [Product { weights: self.projection.view(), out }]);
        }
        Ok(())
    }
}

/// Epsilon of the three layer norms; the architecture fixes it.
const LAYER_NORM_EPS: f32 = 1e-5;

/// Patches embedded at a time: 32 of them are 0.9 MB, and the matrix is read once for all.
const BATCH: usize = 32;

//! What the encoders of pictures and of sound share: products with bounds, and norms of rows.
//!
//! ```text
//! y = clamp(W clamp(x, input_min, input_max), output_min, output_max)
//! ```
//!
//! The bounds belong to the matrix, E2B and E4B have them; without bounds `y = W x`.

use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::{Activations, Pool, Product};
use crate::projector::{ProjectorFile, bounds};
use crate::weights::Matrix;

/// A matrix and the bounds of its input and output.
#[derive(Debug)]
pub(crate) struct Linear {
    matrix: Matrix,
    input: Option<[f32; 2]>,
    output: Option<[f32; 2]>,
}

impl Linear {
    /// The matrix `name.weight` of `cols` inputs and `rows` outputs, in any format, with the bounds
    /// `name.input_min`, `name.input_max`, `name.output_min` and `name.output_max`.
    ///
    /// # Errors
    /// If it is missing or of another shape, or a bound is no number or its opposite is beyond it.
    pub(crate) fn load(
        file: &ProjectorFile<'_>,
        name: &str,
        cols: usize,
        rows: usize,
    ) -> Result<Self> {
        Self::new(file, name, file.matrix(&format!("{name}.weight"), cols, rows)?)
    }

    /// [`Linear::load`] of the matrix whose outputs are rows of a decoder of `hidden` values.
    ///
    /// # Errors
    /// As [`Linear::load`], and if the decoder's rows are of another length.
    pub(crate) fn projection(
        file: &ProjectorFile<'_>,
        name: &str,
        cols: usize,
        hidden: usize,
    ) -> Result<Self> {
        Self::new(file, name, file.projection(&format!("{name}.weight"), cols, hidden)?)
    }

    fn new(file: &ProjectorFile<'_>, name: &str, matrix: Matrix) -> Result<Self> {
        let input = bounds(file, &format!("{name}.input"))?;
        let output = bounds(file, &format!("{name}.output"))?;
        Ok(Self { matrix, input, output })
    }

    /// Scratch of [`Linear::apply`] and [`apply_all`] for `rows` rows of at most `cols` values.
    pub(crate) fn need(cols: usize, rows: usize) -> Need {
        Need::of::<f32>(rows * cols).and(Activations::need(cols, rows))
    }

    /// Fills `out`, `[rows, outputs]`, with the products of all rows.
    pub(crate) fn apply(&self, pool: &Pool, rows: Rows<'_>, out: &mut [f32], frame: Frame<'_>) {
        apply_all(pool, rows, [(self, out)], frame);
    }

    /// Whether input and output are as the matrix has them.
    pub(crate) fn is_plain(&self) -> bool {
        self.input.is_none() && self.output.is_none()
    }

    /// The matrix without its bounds.
    pub(crate) fn matrix(&self) -> &Matrix {
        &self.matrix
    }
}

/// Rows that go through matrices, `[rows, width]`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    values: &'a [f32],
    width: usize,
    together: bool,
}

impl<'a> Rows<'a> {
    /// Rows whose products have the same bits however many rows there are.
    pub(crate) fn new(values: &'a [f32], width: usize) -> Self {
        assert!(values.len().is_multiple_of(width), "{} in rows of {width}", values.len());
        Self { values, width, together: false }
    }

    /// For callers that always cut their rows alike: F32 products take several rows at once.
    pub(crate) fn together(self) -> Self {
        Self { together: true, ..self }
    }
}

/// [`Linear::apply`] of several matrices to the same rows.
pub(crate) fn apply_all<const N: usize>(
    pool: &Pool,
    rows: Rows<'_>,
    products: [(&Linear, &mut [f32]); N],
    mut frame: Frame<'_>,
) {
    let is_alike = products.windows(2).all(|pair| pair[0].0.input == pair[1].0.input);
    if is_alike {
        return apply_alike(pool, rows, products, frame);
    }
    for product in products {
        apply_alike(pool, rows, [product], frame.nested());
    }
}

/// [`apply_all`] where all have the same bounds of their input.
fn apply_alike<const N: usize>(
    pool: &Pool,
    rows: Rows<'_>,
    products: [(&Linear, &mut [f32]); N],
    mut frame: Frame<'_>,
) {
    let Some((Linear { input, .. }, _)) = products.first() else { return };
    let mut values = rows.values;
    if let Some([min, max]) = *input {
        let held = frame.take::<f32>(values.len());
        pool.chunks(held, rows.width, |i, held| {
            held.copy_from_slice(&values[i * rows.width..][..rows.width]);
            pool.isa().clamp(held, min, max);
        });
        values = held;
    }
    let x = Activations::new(pool, values, rows.width, &mut frame);
    let x = if rows.together { x.together() } else { x };
    let mut products = products;
    let all = products.each_mut();
    pool.matmul(&x, all.map(|(linear, out)| Product { weights: linear.matrix.view(), out }));
    for (linear, out) in products {
        if let Some([min, max]) = linear.output {
            pool.chunks(out, linear.matrix.view().rows(), |_, out| pool.isa().clamp(out, min, max));
        }
    }
}

/// `out = RMSNorm(x)`, row by row of `width` values.
pub(crate) fn norm(
    pool: &Pool,
    out: &mut [f32],
    x: &[f32],
    width: usize,
    weight: Option<&[f32]>,
    eps: f32,
) {
    pool.chunks(out, width, |i, out| {
        pool.isa().rms_norm(out, &x[i * width..][..width], weight, eps);
    });
}

/// `x += factor · RMSNorm(h)`, row by row of `width` values; changes `h`.
pub(crate) fn add_normed(
    pool: &Pool,
    x: &mut [f32],
    h: &mut [f32],
    width: usize,
    (weight, eps): (&[f32], f32),
    factor: f32,
) {
    let isa = pool.isa();
    pool.chunks(h, width, |_, h| {
        isa.rms_norm_in_place(h, Some(weight), eps);
        if factor != 1.0 {
            isa.scale(h, factor);
        }
    });
    pool.chunks(x, width, |i, x| isa.add(x, &h[i * width..][..width]));
}

//! The light convolution: gates, a convolution of each value with those of the tokens before, and
//! back.
//!
//! ```text
//! [a, b] = V RMSNorm(x)
//! g      = a · sigmoid(b)
//! c[t]   = Σ_k taps[k] · g[t − (taps − 1) + k]      value by value, 0 before the first token
//! x     += W SiLU(RMSNorm(c))
//! ```

use super::{BLOCK, ConformerShape, EPS};
use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::Pool;
use crate::projector::ProjectorFile;
use crate::tower::{self, Linear, Rows};

#[derive(Debug)]
pub(super) struct Convolution {
    norm: Vec<f32>,
    /// `[2 D, D]`.
    open: Linear,
    /// `[taps][D]`.
    taps: Vec<f32>,
    inner_norm: Vec<f32>,
    /// `[D, D]`.
    close: Linear,
}

impl Convolution {
    pub(super) fn load(
        file: &ProjectorFile<'_>,
        shape: ConformerShape,
        name: impl Fn(&str) -> String,
    ) -> Result<Self> {
        let ConformerShape { width, taps: count, .. } = shape;
        let norm = |part: &str| file.vector(&name(part), &[width]);
        let by_value = file.vector(&name("conv_dw.weight"), &[count, width])?;
        let mut taps = vec![0.0; count * width];
        for (value, weights) in by_value.chunks_exact(count).enumerate() {
            for (k, weight) in weights.iter().enumerate() {
                taps[k * width + value] = *weight;
            }
        }
        Ok(Self {
            // The converter's names are crossed: `conv_norm` comes before all, `norm_conv` after
            // the convolution.
            norm: norm("conv_norm.weight")?,
            open: Linear::load(file, &name("conv_pw1"), width, 2 * width)?,
            taps,
            inner_norm: norm("norm_conv.weight")?,
            close: Linear::load(file, &name("conv_pw2"), width, width)?,
        })
    }

    pub(super) fn need(shape: ConformerShape) -> Need {
        let ConformerShape { width, taps, .. } = shape;
        let rows = |count: usize| Need::of::<f32>(count * width);
        rows(BLOCK).and(rows(2 * BLOCK)).and(rows(BLOCK + taps - 1)).and(Linear::need(width, BLOCK))
    }

    /// `past` has the gated inputs of the tokens before, and then of the last of these.
    pub(super) fn run(&self, pool: &Pool, x: &mut [f32], past: &mut [f32], mut frame: Frame<'_>) {
        let width = self.norm.len();
        let isa = pool.isa();
        let h = frame.take::<f32>(x.len());
        let wide = frame.take::<f32>(2 * x.len());
        let gated = frame.take::<f32>(past.len() + x.len());
        tower::norm(pool, h, x, width, Some(&self.norm), EPS);
        self.open.apply(pool, Rows::new(h, width), wide, frame.nested());
        gated[..past.len()].copy_from_slice(past);
        pool.chunks(&mut gated[past.len()..], width, |t, gated| {
            let (values, gates) = wide[2 * t * width..][..2 * width].split_at(width);
            gated.copy_from_slice(values);
            isa.sigmoid_mul(gated, gates);
        });
        past.copy_from_slice(&gated[x.len()..]);
        let gated = &*gated;
        pool.chunks(h, width, |t, h| {
            h.fill(0.0);
            let seen = gated[t * width..].chunks_exact(width);
            for (taps, gated) in self.taps.chunks_exact(width).zip(seen) {
                for ((h, tap), gated) in h.iter_mut().zip(taps).zip(gated) {
                    *h += tap * gated;
                }
            }
            isa.rms_norm_in_place(h, Some(&self.inner_norm), EPS);
            isa.silu(h);
        });
        let out = &mut wide[..x.len()];
        self.close.apply(pool, Rows::new(h, width), out, frame);
        let out = &*out;
        pool.chunks(x, width, |t, x| isa.add(x, &out[t * width..][..width]));
    }
}

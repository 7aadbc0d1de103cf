//! A feed-forward network, half of which is added: `x += ½ RMSNorm(W SiLU(V RMSNorm(x)))`.

use super::{BLOCK, ConformerShape, EPS};
use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::Pool;
use crate::projector::ProjectorFile;
use crate::tower::{self, Linear, Rows};

#[derive(Debug)]
pub(super) struct FeedForward {
    norm: Vec<f32>,
    /// `[ffn, D]`.
    up: Linear,
    /// `[D, ffn]`.
    down: Linear,
    post_norm: Vec<f32>,
    ffn: usize,
}

impl FeedForward {
    /// The first network of a layer has no `suffix` to its names, the second one has `_1`.
    pub(super) fn load(
        file: &ProjectorFile<'_>,
        shape: ConformerShape,
        name: impl Fn(&str) -> String,
        suffix: &str,
    ) -> Result<Self> {
        let ConformerShape { width, ffn, .. } = shape;
        let name = |part: &str| name(&format!("{part}{suffix}"));
        let norm = |part: &str| file.vector(&format!("{}.weight", name(part)), &[width]);
        Ok(Self {
            norm: norm("ffn_norm")?,
            up: Linear::load(file, &name("ffn_up"), width, ffn)?,
            down: Linear::load(file, &name("ffn_down"), ffn, width)?,
            post_norm: norm("ffn_post_norm")?,
            ffn,
        })
    }

    pub(super) fn need(shape: ConformerShape) -> Need {
        let ConformerShape { width, ffn, .. } = shape;
        let product = Linear::need(width, BLOCK).or(Linear::need(ffn, BLOCK));
        Need::of::<f32>(BLOCK * width).and(Need::of::<f32>(BLOCK * ffn)).and(product)
    }

    pub(super) fn run(&self, pool: &Pool, x: &mut [f32], mut frame: Frame<'_>) {
        let width = self.norm.len();
        let h = frame.take::<f32>(x.len());
        let wide = frame.take::<f32>(x.len() / width * self.ffn);
        tower::norm(pool, h, x, width, Some(&self.norm), EPS);
        self.up.apply(pool, Rows::new(h, width), wide, frame.nested());
        pool.chunks(wide, self.ffn, |_, wide| pool.isa().silu(wide));
        self.down.apply(pool, Rows::new(wide, self.ffn), h, frame);
        tower::add_normed(pool, x, h, width, (&self.post_norm, EPS), 0.5);
    }
}

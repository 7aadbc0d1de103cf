//! Attention to the tokens just before, by what they are and by how far back they are.
//!
//! ```text
//! h        = RMSNorm(x)
//! q, k, v  = Wq h, Wk h, Wv h                        q times s[i] / (√head · ln 2)
//! score(δ) = 50 tanh((k[t − δ] · q · ln(1 + e) / ln 2 + r[δ] · q) / 50)      δ = 0 ..= 11
//! x       += RMSNorm(O Σ_δ softmax(score)(δ) · v[t − δ])
//! ```
//!
//! `s` scales each value of a head; files have it after its softplus. The distances have keys of
//! their own: `r[δ] = Wr [sin(δ / τ), cos(δ / τ)]`, with timescales `τ` in geometric progression
//! from 1 to 10000 (Dai et al. 2019, appendix B). They are computed once, when the file is read.

use std::f64::consts::LN_2;

use super::{BLOCK, ConformerShape, EPS};
use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::Pool;
use crate::projector::ProjectorFile;
use crate::tower::{self, Linear, Rows};

/// The keys that a token sees, its own among them.
///
/// The references differ. transformers and llama.cpp admit distances from 0 to 11. Google's JAX
/// code, which trained the weights, admits 12 as well, as the model's settings
/// (`attention_context_left` 13, a table of 13 distances) say. This engine does as transformers
/// does; with 13 here it does as JAX does, and nothing else changes.
pub(super) const KEYS: usize = 12;

/// The matrix that makes keys of distances.
pub(super) const DISTANCES: &str = "attn_k_rel.weight";

/// The tokens before one that it sees.
pub(super) const PAST: usize = KEYS - 1;

#[derive(Debug)]
pub(super) struct Attention {
    norm: Vec<f32>,
    q: Linear,
    k: Linear,
    v: Linear,
    /// What each value of a head of a query is multiplied with.
    q_scale: Vec<f32>,
    /// Keys of the distances, `[heads][KEYS][head]`, the greatest distance first.
    distances: Vec<f32>,
    out: Linear,
    post_norm: Vec<f32>,
}

impl Attention {
    pub(super) fn load(
        file: &ProjectorFile<'_>,
        shape: ConformerShape,
        name: impl Fn(&str) -> String,
    ) -> Result<Self> {
        let width = shape.width;
        let vector = |part: &str, len| file.vector(&name(part), &[len]);
        let linear = |part: &str| Linear::load(file, &name(part), width, width);
        let matrix = file.vector(&name(DISTANCES), &[width, width])?;
        let factor = 1.0 / ((shape.head() as f64).sqrt() * LN_2);
        let scaled = |s: f32| (f64::from(s) * factor) as f32;
        let scale = vector("per_dim_scale.weight", shape.head())?;
        Ok(Self {
            norm: vector("attn_pre_norm.weight", width)?,
            q: linear("attn_q")?,
            k: linear("attn_k")?,
            v: linear("attn_v")?,
            q_scale: scale.into_iter().map(scaled).collect(),
            distances: distances(&matrix, shape),
            out: linear("attn_out")?,
            post_norm: vector("attn_post_norm.weight", width)?,
        })
    }

    pub(super) fn need(shape: ConformerShape) -> Need {
        let rows = |count: usize| Need::of::<f32>(count * shape.width);
        let heads = rows(BLOCK + PAST);
        let product = Linear::need(shape.width, BLOCK);
        let by_rows = rows(BLOCK).and(rows(BLOCK)).and(product);
        rows(BLOCK).and(rows(BLOCK)).and(heads).and(heads).and(by_rows)
    }

    /// `past` has how many tokens before have keys and values, and these; then those of the last of
    /// these tokens.
    pub(super) fn run(
        &self,
        pool: &Pool,
        x: &mut [f32],
        past: (usize, &mut [f32], &mut [f32]),
        mut frame: Frame<'_>,
    ) {
        let (width, tokens) = (self.norm.len(), x.len() / self.norm.len());
        let (before, past_keys, past_values) = past;
        let h = frame.take::<f32>(x.len());
        let q = frame.take::<f32>(x.len());
        let keys = frame.take::<f32>((PAST + tokens) * width);
        let values = frame.take::<f32>((PAST + tokens) * width);
        tower::norm(pool, h, x, width, Some(&self.norm), EPS);
        {
            let mut frame = frame.nested();
            let k = frame.take::<f32>(x.len());
            let v = frame.take::<f32>(x.len());
            let products = [(&self.q, &mut *q), (&self.k, &mut *k), (&self.v, &mut *v)];
            tower::apply_all(pool, Rows::new(h, width), products, frame);
            self.by_heads(pool, k, past_keys, keys);
            self.by_heads(pool, v, past_values, values);
        }
        pool.chunks(q, self.q_scale.len(), |_, q| pool.isa().mul(q, &self.q_scale));
        let (q, keys, values) = (&*q, &*keys, &*values);
        pool.chunks(h, width, |t, h| {
            self.token(pool, (t, before), [&q[t * width..][..width], keys, values], h);
        });
        let out = frame.take::<f32>(x.len());
        self.out.apply(pool, Rows::new(h, width), out, frame);
        tower::add_normed(pool, x, out, width, (&self.post_norm, EPS), 1.0);
    }

    /// Turns rows of all heads into `[heads][PAST + tokens][head]`, the past of each head first,
    /// and the last ones into the past of what follows.
    fn by_heads(&self, pool: &Pool, rows: &[f32], past: &mut [f32], out: &mut [f32]) {
        let (width, head) = (self.norm.len(), self.q_scale.len());
        let kept = PAST * head;
        let stride = kept + rows.len() / width * head;
        let before = &*past;
        pool.chunks(out, stride, |i, out| {
            let (old, new) = out.split_at_mut(kept);
            old.copy_from_slice(&before[i * kept..][..kept]);
            for (out, row) in new.chunks_exact_mut(head).zip(rows.chunks_exact(width)) {
                out.copy_from_slice(&row[i * head..][..head]);
            }
        });
        for (past, out) in past.chunks_exact_mut(kept).zip(out.chunks_exact(stride)) {
            past.copy_from_slice(&out[stride - kept..]);
        }
    }

    /// What token `t` of a block sees, for all heads; `before` tokens precede the block.
    fn token(
        &self,
        pool: &Pool,
        (t, before): (usize, usize),
        [q, keys, values]: [&[f32]; 3],
        out: &mut [f32],
    ) {
        let (isa, head) = (pool.isa(), self.q_scale.len());
        let stride = keys.len() / (out.len() / head);
        let seen = (before + t).min(PAST) + 1;
        for (i, out) in out.chunks_exact_mut(head).enumerate() {
            let q = &q[i * head..][..head];
            let first = i * stride + (PAST + t + 1 - seen) * head;
            let (keys, values) = (&keys[first..][..seen * head], &values[first..][..seen * head]);
            let distances = &self.distances[((i + 1) * KEYS - seen) * head..][..seen * head];
            let (mut scores, mut far) = ([0.0; KEYS], [0.0; KEYS]);
            let (scores, far) = (&mut scores[..seen], &mut far[..seen]);
            isa.attention_scores(scores, seen, &[q], keys, head);
            isa.attention_scores(far, seen, &[q], distances, head);
            for (score, far) in scores.iter_mut().zip(far) {
                *score = *score * K_SCALE + *far;
            }
            isa.softcap(scores, CAP);
            let max = isa.max(scores);
            let sum = isa.exp_sub_sum(scores, max);
            out.fill(0.0);
            isa.attention_values(out, scores, seen, values, head);
            isa.scale(out, 1.0 / sum);
        }
    }
}

/// The keys of the distances from the greatest to 0, `[heads][KEYS][head]`; `matrix` is
/// `[width, width]`.
fn distances(matrix: &[f32], shape: ConformerShape) -> Vec<f32> {
    let (width, half, head) = (shape.width, shape.width / 2, shape.head());
    let step = TIMESCALE_MAX.ln() / (half.max(2) - 1) as f64;
    let place = |i: usize| -> [f64; KEYS] {
        let speed = (-step * (i % half) as f64).exp();
        let angle = |key: usize| (PAST - key) as f64 * speed;
        std::array::from_fn(|key| if i < half { angle(key).sin() } else { angle(key).cos() })
    };
    let places: Vec<[f64; KEYS]> = (0..width).map(place).collect();
    let mut out = vec![0.0; KEYS * width];
    for (row, weights) in matrix.chunks_exact(width).enumerate() {
        let mut sums = [0.0; KEYS];
        for (weight, place) in weights.iter().zip(&places) {
            for (sum, place) in sums.iter_mut().zip(place) {
                *sum += f64::from(*weight) * place;
            }
        }
        for (key, sum) in sums.into_iter().enumerate() {
            out[(row / head * KEYS + key) * head + row % head] = sum as f32;
        }
    }
    out
}

/// `ln(1 + e) / ln 2`: the softplus of 1 over that of 0.
const K_SCALE: f32 = 1.894_636_2;

/// Scores stay within this.
const CAP: f32 = 50.0;

/// The greatest timescale of a distance; the least is 1.
const TIMESCALE_MAX: f64 = 1e4;

//! A forward pass written for reading, in f64, whole sequences at a time.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod drafter;
pub(crate) mod experts;
pub(crate) mod made;

use std::collections::HashMap;

use carat_gguf::Gguf;
use carat_kernels::{Format, dequantize};

/// A model's shape, as the naive pass needs it.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) gemma4: bool,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) window: usize,
    /// True for layers that slide.
    pub(crate) sliding: Vec<bool>,
    /// Key heads, head length, RoPE base and turning pairs of sliding and of full layers.
    pub(crate) kinds: [Kind; 2],
    pub(crate) ffn: Vec<usize>,
    /// Full layers have no values of their own.
    pub(crate) share_k: bool,
    /// RoPE of full layers is this many times slower.
    pub(crate) scaling: f64,
    pub(crate) cap: f64,
    /// Format of the matrices.
    pub(crate) format: Format,
    /// So many last layers read the keys and values of earlier ones.
    pub(crate) shared: usize,
    /// Length of the vector that each layer has for a token.
    pub(crate) per_layer: usize,
    /// The experts of every layer.
    pub(crate) experts: Option<experts::Moe>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) base: f64,
    pub(crate) pairs: usize,
}

impl Shape {
    /// The shape of the reference kit.
    pub(crate) fn tiny_s() -> Self {
        Self {
            gemma4: true,
            hidden: 64,
            heads: 2,
            window: 8,
            sliding: vec![true, true, false],
            kinds: [
                Kind { kv_heads: 2, head_dim: 32, base: 1e4, pairs: 16 },
                Kind { kv_heads: 1, head_dim: 64, base: 1e6, pairs: 8 },
            ],
            ffn: vec![128; 3],
            share_k: true,
            scaling: 1.0,
            cap: 30.0,
            format: Format::F32,
            shared: 0,
            per_layer: 0,
            experts: None,
        }
    }

    /// A small E series: sizes that are no multiple of anything, wide last layers.
    pub(crate) fn eseries() -> Self {
        Self {
            hidden: 70,
            heads: 4,
            window: 5,
            sliding: vec![true, false, true, true, false, true, false, true],
            kinds: [
                Kind { kv_heads: 2, head_dim: 10, base: 1e4, pairs: 5 },
                Kind { kv_heads: 1, head_dim: 26, base: 1e6, pairs: 3 },
            ],
            ffn: vec![40, 57, 24, 33, 80, 90, 81, 77],
            share_k: false,
            shared: 4,
            per_layer: 9,
            ..Self::tiny_s()
        }
    }

    /// Another one, whose matrices are in a block format.
    pub(crate) fn eseries_in_blocks() -> Self {
        Self {
            hidden: 64,
            kinds: [
                Kind { kv_heads: 2, head_dim: 32, base: 1e4, pairs: 16 },
                Kind { kv_heads: 1, head_dim: 64, base: 1e6, pairs: 8 },
            ],
            ffn: [[64; 4], [128; 4]].concat(),
            per_layer: 32,
            format: Format::Q8_0,
            ..Self::eseries()
        }
    }

    /// The layers with keys and values of their own.
    pub(crate) fn own(&self) -> usize {
        self.sliding.len() - self.shared
    }

    /// The attention heads of layer `i`.
    fn kind(&self, i: usize) -> Kind {
        self.kinds[usize::from(!self.sliding[i])]
    }
}

/// Vectors of heads, `[positions][heads][head_dim]`.
type Heads = Vec<Vec<Vec<f64>>>;

/// What later layers read beside the rows.
struct Shared {
    /// Keys and values of the layers so far that have their own.
    kv: Vec<(Heads, Heads)>,
    /// The vectors of all layers, `[positions][layers · per_layer]`; empty without any.
    per_layer: Vec<Vec<f64>>,
}

/// The forward pass of the facts page, sections 2 and 11, whole sequences at a time.
pub(crate) struct Naive {
    shape: Shape,
    tensors: HashMap<String, Vec<f64>>,
}

impl Naive {
    pub(crate) fn new(shape: Shape, gguf: &Gguf<'_>) -> Self {
        let read = |t: &carat_gguf::Tensor<'_>| {
            let format = Format::from_ggml_id(t.tensor_type.id()).expect("a format");
            let mut values = vec![0.0; t.shape.elements() as usize];
            dequantize(format, t.data, &mut values);
            (t.name.to_owned(), values.into_iter().map(f64::from).collect())
        };
        Self { shape, tensors: gguf.tensors().iter().map(read).collect() }
    }

    fn get(&self, layer: usize, name: &str) -> &[f64] {
        &self.tensors[&format!("blk.{layer}.{name}.weight")]
    }

    /// The logits after every token.
    pub(crate) fn logits(&self, ids: &[u32]) -> Vec<Vec<f32>> {
        self.logits_after(ids, |_| true)
    }

    /// The logits after the tokens whose positions are `wanted`, in order. The last layer computes
    /// no other rows, so one layer takes time in proportion to the length of `ids`.
    pub(crate) fn logits_after(
        &self,
        ids: &[u32],
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<Vec<f32>> {
        self.logits_of(ids.iter().map(|id| self.embed(*id)).collect(), ids, wanted)
    }

    /// The same of embedded rows, some of which may be those of media. `ids` say whose per-layer
    /// embeddings they have.
    pub(crate) fn logits_of(
        &self,
        mut x: Vec<Vec<f64>>,
        ids: &[u32],
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<Vec<f32>> {
        let embedding = &self.tensors["token_embd.weight"];
        let layers = self.shape.sliding.len();
        let mut shared = self.shared(ids, &x);
        for layer in 0..layers {
            let rows = (0..ids.len()).filter(|at| layer + 1 < layers || wanted(*at));
            x = self.layer(layer, &x, rows.collect(), &mut shared);
        }
        let output = |x: &Vec<f64>| {
            let logits =
                self.multiply(embedding, &norm(x, Some(&self.tensors["output_norm.weight"])));
            let cap = self.shape.cap;
            let capped = |z: f64| if cap > 0.0 { cap * (z / cap).tanh() } else { z };
            logits.into_iter().map(|z| capped(z) as f32).collect()
        };
        x.iter().map(output).collect()
    }

    pub(crate) fn embed(&self, id: u32) -> Vec<f64> {
        let hidden = self.shape.hidden;
        let row = &self.tensors["token_embd.weight"][id as usize * hidden..][..hidden];
        row.iter().map(|x| x * (hidden as f64).sqrt()).collect()
    }

    /// What layers read beside the embedded rows `x` of `ids`, before the first one.
    fn shared(&self, ids: &[u32], x: &[Vec<f64>]) -> Shared {
        let len = self.shape.per_layer;
        let vectors = |(id, x): (&u32, &Vec<f64>)| -> Vec<f64> {
            let width = len * self.shape.sliding.len();
            let row = &self.tensors["per_layer_token_embd.weight"][*id as usize * width..][..width];
            let context = self.multiply(&self.tensors["per_layer_model_proj.weight"], x);
            let root = (self.shape.hidden as f64).sqrt();
            let context: Vec<f64> = context.iter().map(|c| c / root).collect();
            let weight = Some(&self.tensors["per_layer_proj_norm.weight"][..]);
            let normed = context.chunks(len).flat_map(|c| norm(c, weight));
            let both = normed.zip(row).map(|(c, t)| (c + t * (len as f64).sqrt()) / 2f64.sqrt());
            both.collect()
        };
        let per_layer = match len {
            0 => Vec::new(),
            _ => ids.iter().zip(x).map(vectors).collect(),
        };
        Shared { kv: Vec::new(), per_layer }
    }

    fn multiply(&self, w: &[f64], x: &[f64]) -> Vec<f64> {
        let x = if self.shape.format.wants_int8() { &round(x) } else { x };
        w.chunks(x.len()).map(|row| dot(row, x)).collect()
    }

    /// The layer's output at the positions `rows`.
    fn layer(
        &self,
        i: usize,
        x: &[Vec<f64>],
        rows: Vec<usize>,
        shared: &mut Shared,
    ) -> Vec<Vec<f64>> {
        let w = |name| self.get(i, name);
        let attended = self.attention(i, x, &rows, shared);
        let mut out: Vec<Vec<f64>> = rows.iter().map(|at| x[*at].clone()).collect();
        for ((x, a), at) in out.iter_mut().zip(attended).zip(rows) {
            add(x, &norm(&a, Some(w("post_attention_norm"))));
            let m = norm(x, Some(w("ffn_norm")));
            let (gate, up) = (self.multiply(w("ffn_gate"), &m), self.multiply(w("ffn_up"), &m));
            let gated: Vec<f64> = gate.iter().zip(up).map(|(g, u)| gelu(*g) * u).collect();
            let mut out = self.multiply(w("ffn_down"), &gated);
            if let Some(moe) = self.shape.experts {
                out = self.with_experts(i, moe, x, &out);
            }
            add(x, &norm(&out, Some(w("post_ffw_norm"))));
            if self.shape.per_layer > 0 {
                let len = self.shape.per_layer;
                let vector = &shared.per_layer[at][i * len..][..len];
                let gate = self.multiply(w("inp_gate"), x);
                let gated: Vec<f64> = gate.iter().zip(vector).map(|(g, p)| gelu(*g) * p).collect();
                add(x, &norm(&self.multiply(w("proj"), &gated), Some(w("post_norm"))));
            }
            if self.shape.gemma4 {
                let scale = w("layer_output_scale")[0];
                x.iter_mut().for_each(|x| *x *= scale);
            }
        }
        out
    }

    /// RoPE of a head of layer `i`.
    fn turn(&self, i: usize, head: &[f64], at: usize) -> Vec<f64> {
        let slower = if self.shape.sliding[i] { 1.0 } else { self.shape.scaling };
        rope(head, at as f64 / slower, self.shape.kind(i))
    }

    /// The keys and values of layer `i`, `[positions][heads][head_dim]` each.
    fn keys_and_values(&self, i: usize, x: &[Vec<f64>]) -> (Heads, Heads) {
        let (shape, w) = (&self.shape, |name| self.get(i, name));
        let d = shape.kind(i).head_dim;
        let heads = |x: Vec<f64>, weight| -> Vec<Vec<f64>> {
            x.chunks(d).map(|head| norm(head, weight)).collect()
        };
        let (mut ks, mut vs) = (Vec::new(), Vec::new());
        for (at, x) in x.iter().enumerate() {
            let a = norm(x, Some(w("attn_norm")));
            let k = self.multiply(w("attn_k"), &a);
            let own_v = shape.sliding[i] || !shape.share_k;
            let v = if own_v { self.multiply(w("attn_v"), &a) } else { k.clone() };
            let keys = heads(k, Some(w("attn_k_norm")));
            ks.push(keys.iter().map(|head| self.turn(i, head, at)).collect::<Vec<_>>());
            let plain = |v: Vec<f64>| v.chunks(d).map(<[f64]>::to_vec).collect();
            vs.push(if shape.gemma4 { heads(v, None) } else { plain(v) });
        }
        (ks, vs)
    }

    fn attention(
        &self,
        i: usize,
        x: &[Vec<f64>],
        rows: &[usize],
        shared: &mut Shared,
    ) -> Vec<Vec<f64>> {
        let (shape, w) = (&self.shape, |name| self.get(i, name));
        let sliding = shape.sliding[i];
        let kind = shape.kind(i);
        let d = kind.head_dim;
        if i < shape.own() {
            shared.kv.push(self.keys_and_values(i, x));
        }
        // An own layer is the last one of its kind so far.
        let source = (0..shared.kv.len()).rfind(|own| shape.sliding[*own] == sliding);
        let (ks, vs) = &shared.kv[source.expect("a layer of this kind")];
        let query = |(at, x): (usize, &Vec<f64>)| -> Vec<Vec<f64>> {
            let q = self.multiply(w("attn_q"), &norm(x, Some(w("attn_norm"))));
            let heads = q.chunks(d).map(|head| norm(head, Some(w("attn_q_norm"))));
            heads.map(|head| self.turn(i, &head, at)).collect()
        };
        let qs: Vec<_> = x.iter().enumerate().map(query).collect();
        // Gemma 3 27B scales by what a head would have of the residual stream.
        let is_27b = shape.sliding.len() == 62;
        let square = if is_27b { shape.hidden / shape.heads } else { d };
        let scale = if shape.gemma4 { 1.0 } else { 1.0 / (square as f64).sqrt() };
        let attend = |at: &usize| {
            let (at, q) = (*at, &qs[*at]);
            let first = if sliding { (at + 1).saturating_sub(shape.window) } else { 0 };
            let head = |(h, q): (usize, &Vec<f64>)| {
                let kv = h * kind.kv_heads / shape.heads;
                let score = |t: usize| (scale * dot(q, &ks[t][kv])).exp();
                let scores: Vec<f64> = (first..=at).map(score).collect();
                let sum: f64 = scores.iter().sum();
                let mut out = vec![0.0; d];
                for (t, p) in (first..=at).zip(&scores) {
                    out.iter_mut().zip(&vs[t][kv]).for_each(|(out, v)| *out += p / sum * v);
                }
                out
            };
            let out: Vec<f64> = q.iter().enumerate().flat_map(head).collect();
            self.multiply(w("attn_output"), &out)
        };
        rows.iter().map(attend).collect()
    }
}

fn norm(x: &[f64], weight: Option<&[f64]>) -> Vec<f64> {
    let factor = 1.0 / (dot(x, x) / x.len() as f64 + 1e-6).sqrt();
    x.iter().enumerate().map(|(i, x)| x * factor * weight.map_or(1.0, |w| w[i])).collect()
}

/// 8-bit steps of each 32 values, the greatest of which is 127 steps.
fn round(x: &[f64]) -> Vec<f64> {
    let block = |x: &[f64]| {
        let step = x.iter().fold(0.0f64, |max, x| max.max(x.abs())) / 127.0;
        x.iter().map(|x| step * (x / step).round_ties_even()).collect::<Vec<_>>()
    };
    x.chunks(32).flat_map(block).collect()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn gelu(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + u.tanh())
}

fn rope(head: &[f64], position: f64, kind: Kind) -> Vec<f64> {
    let half = head.len() / 2;
    let mut out = head.to_vec();
    for i in 0..kind.pairs {
        let angle = position * kind.base.powf(-2.0 * i as f64 / head.len() as f64);
        let (sin, cos) = angle.sin_cos();
        out[i] = head[i] * cos - head[half + i] * sin;
        out[half + i] = head[half + i] * cos + head[i] * sin;
    }
    out
}

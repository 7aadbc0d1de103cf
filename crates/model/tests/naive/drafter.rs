//! A drafter written for reading, in f64, beside the naive pass of its model, and files of any
//! shape and layout with random weights.

use std::collections::HashMap;

use carat_gguf::{Endian, Gguf, Source, TensorType, Writer};
use carat_kernels::{Format, dequantize};

use super::made::{Dialect, Random, divisors, matrix, vector, vocabulary};
use super::{Heads, Naive, Shape, add, dot, gelu, norm, rope, round};
use crate::common::file;

/// A drafter's shape beside that of its model.
#[derive(Clone, Debug)]
pub(crate) struct DraftShape {
    pub(crate) hidden: usize,
    /// True for layers that slide.
    pub(crate) sliding: Vec<bool>,
    pub(crate) heads: Vec<usize>,
    pub(crate) ffn: Vec<usize>,
    pub(crate) format: Format,
    pub(crate) layout: Layout,
    /// Clusters of an ordered head, and how many are looked at.
    pub(crate) clusters: Option<(usize, usize)>,
}

/// Whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// llama.cpp.
    Main,
    /// ik_llama.cpp's own.
    Ik,
    /// What ik_llama.cpp reads of an ordered head in files of the main line.
    IkMain,
}

/// What an ordered head's map says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    /// Tokens cluster by cluster.
    Tokens,
    /// The cluster of each token.
    Clusters,
}

impl Layout {
    pub(crate) fn architecture(self) -> &'static str {
        if self == Self::Ik { "gemma4_mtp" } else { "gemma4-assistant" }
    }

    fn map(self) -> Map {
        if self == Self::Ik { Map::Clusters } else { Map::Tokens }
    }

    fn names(self) -> [&'static str; 4] {
        match self {
            Self::Main => [
                "nextn.pre_projection.weight",
                "nextn.post_projection.weight",
                "masked_embd_centroids.weight",
                "masked_embd_ordering",
            ],
            Self::Ik => [
                "mtp_pre_proj.weight",
                "mtp_post_proj.weight",
                "mtp_centroids.weight",
                "mtp_token_ordering.weight",
            ],
            Self::IkMain => [
                "nextn.pre_projection.weight",
                "nextn.post_projection.weight",
                "mtp.centroids.weight",
                "mtp.token_ordering.weight",
            ],
        }
    }
}

/// A drafting round of the facts page, section 2.
pub(crate) struct NaiveDrafter<'a> {
    target: &'a Naive,
    shape: DraftShape,
    tensors: HashMap<String, Vec<f64>>,
    /// Tokens cluster by cluster.
    order: Vec<u32>,
}

/// What the model left: its last row after the last norm, and for sliding and for full layers the
/// keys and values of the last one.
pub(crate) struct Memory {
    pub(crate) hidden: Vec<f64>,
    kv: [Option<(Heads, Heads)>; 2],
}

impl Naive {
    /// What a drafter needs after `ids`.
    pub(crate) fn memory(&self, ids: &[u32]) -> Memory {
        let mut x: Vec<Vec<f64>> = ids.iter().map(|id| self.embed(*id)).collect();
        let mut shared = self.shared(ids, &x);
        for layer in 0..self.shape.sliding.len() {
            x = self.layer(layer, &x, (0..ids.len()).collect(), &mut shared);
        }
        let mut kv = [None, None];
        for (layer, of_layer) in shared.kv.into_iter().enumerate() {
            kv[usize::from(!self.shape.sliding[layer])] = Some(of_layer); // the last one stays
        }
        let last = x.last().expect("some ids");
        Memory { hidden: norm(last, Some(&self.tensors["output_norm.weight"])), kv }
    }
}

impl<'a> NaiveDrafter<'a> {
    pub(crate) fn new(target: &'a Naive, shape: DraftShape, gguf: &Gguf<'_>) -> Self {
        let mut tensors = HashMap::new();
        for t in gguf.tensors().iter().filter(|t| t.tensor_type != TensorType::I32) {
            let format = Format::from_ggml_id(t.tensor_type.id()).expect("a format");
            let mut values = vec![0.0; t.shape.elements() as usize];
            dequantize(format, t.data, &mut values);
            let values: Vec<_> = values.into_iter().map(f64::from).collect();
            tensors.insert(t.name.to_owned(), values);
        }
        let order = order(shape.clusters.map_or(1, |(count, _)| count));
        Self { target, shape, tensors, order }
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.tensors[name]
    }

    fn multiply(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let x = if self.shape.format.wants_int8() { &round(x) } else { x };
        self.get(name).chunks(x.len()).map(|row| dot(row, x)).collect()
    }

    /// Logits and the next hidden row after `token` at position `at`.
    pub(crate) fn step(
        &self,
        memory: &Memory,
        token: u32,
        hidden: &[f64],
        at: usize,
    ) -> (Vec<f32>, Vec<f64>) {
        let [pre, post, ..] = self.shape.layout.names();
        let joined = [self.target.embed(token), hidden.to_vec()].concat();
        let mut u = self.multiply(pre, &joined);
        for layer in 0..self.shape.sliding.len() {
            self.layer(memory, layer, &mut u, at);
        }
        let y = norm(&u, Some(self.get("output_norm.weight")));
        (self.logits(&y), self.multiply(post, &y))
    }

    fn layer(&self, memory: &Memory, i: usize, u: &mut [f64], at: usize) {
        let name = |name: &str| format!("blk.{i}.{name}.weight");
        let w = |part: &str| Some(self.get(&name(part)));
        let attended = self.attention(memory, i, &norm(u, w("attn_norm")), at);
        add(u, &norm(&self.multiply(&name("attn_output"), &attended), w("post_attention_norm")));
        let m = norm(u, w("ffn_norm"));
        let (gate, up) = (self.multiply(&name("ffn_gate"), &m), self.multiply(&name("ffn_up"), &m));
        let gated: Vec<f64> = gate.iter().zip(up).map(|(g, u)| gelu(*g) * u).collect();
        add(u, &norm(&self.multiply(&name("ffn_down"), &gated), w("post_ffw_norm")));
        let scale = self.get(&name("layer_output_scale"))[0];
        u.iter_mut().for_each(|u| *u *= scale);
    }

    fn attention(&self, memory: &Memory, i: usize, n: &[f64], at: usize) -> Vec<f64> {
        let sliding = self.shape.sliding[i];
        let kind = self.target.shape.kinds[usize::from(!sliding)];
        let (keys, values) = memory.kv[usize::from(!sliding)].as_ref().expect("such a layer");
        let first = if sliding { (at + 1).saturating_sub(self.target.shape.window) } else { 0 };
        let q = self.multiply(&format!("blk.{i}.attn_q.weight"), n);
        let q_norm = self.get(&format!("blk.{i}.attn_q_norm.weight"));
        let head = |(h, q): (usize, &[f64])| {
            let q = rope(&norm(q, Some(q_norm)), at as f64, kind);
            let kv = h * kind.kv_heads / self.shape.heads[i];
            let scores: Vec<f64> = (first..at).map(|t| dot(&q, &keys[t][kv]).exp()).collect();
            let sum: f64 = scores.iter().sum();
            let mut out = vec![0.0; kind.head_dim];
            for (t, p) in (first..at).zip(&scores) {
                out.iter_mut().zip(&values[t][kv]).for_each(|(out, v)| *out += p / sum * v);
            }
            out
        };
        q.chunks(kind.head_dim).enumerate().flat_map(head).collect()
    }

    fn logits(&self, y: &[f64]) -> Vec<f32> {
        let dense = self.multiply("token_embd.weight", y);
        let Some((count, used)) = self.shape.clusters else {
            return dense.into_iter().map(|x| x as f32).collect();
        };
        let scores = self.multiply(self.shape.layout.names()[2], y);
        let mut best: Vec<usize> = (0..count).collect();
        best.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let size = dense.len() / count;
        let tokens = best[..used].iter().flat_map(|c| &self.order[c * size..(c + 1) * size]);
        let tokens: Vec<usize> = tokens.map(|token| *token as usize).collect();
        let least = tokens.iter().map(|token| dense[*token]).fold(f64::INFINITY, f64::min);
        let mut logits = vec![(least - 1.0) as f32; dense.len()];
        tokens.iter().for_each(|token| logits[*token] = dense[*token] as f32);
        logits
    }
}

/// The tokens of the vocabulary cluster by cluster, those of a cluster in ascending order.
fn order(clusters: usize) -> Vec<u32> {
    let cluster = |token: u32| (token * 7 + 3) % clusters as u32;
    let mut order: Vec<u32> = (0..VOCAB).collect();
    order.sort_by_key(|token| (cluster(*token), *token));
    order
}

/// The file of a drafter with random weights for a model of the shape `target`.
pub(crate) fn bytes(shape: &DraftShape, target: &Shape) -> Vec<u8> {
    let mut w = metadata(shape, target);
    let mut random = Random(2);
    let (format, hidden) = (shape.format, shape.hidden);
    let [pre, post, centroids, map] = shape.layout.names();
    w = matrix(w, &mut random, format, "token_embd.weight", hidden, VOCAB as usize);
    w = vector(w, &mut random, "output_norm.weight", hidden);
    w = matrix(w, &mut random, format, pre, 2 * target.hidden, hidden);
    w = matrix(w, &mut random, format, post, hidden, target.hidden);
    if shape.sliding.contains(&false) {
        w = divisors(w, target.kinds[1]);
    }
    if let Some((count, _)) = shape.clusters {
        w = matrix(w, &mut random, format, centroids, hidden, count);
        let order = order(count);
        let size = order.len() / count;
        let mut values = order.clone();
        if shape.layout.map() == Map::Clusters {
            order
                .iter()
                .zip(0..)
                .for_each(|(token, at)| values[*token as usize] = at / size as u32);
        }
        let values = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        w = w.tensor(map, TensorType::I32, &[u64::from(VOCAB)], values);
    }
    for (i, sliding) in shape.sliding.iter().enumerate() {
        let kind = target.kinds[usize::from(!sliding)];
        let query = shape.heads[i] * kind.head_dim;
        for (name, cols, rows) in [
            ("attn_q", hidden, query),
            ("attn_output", query, hidden),
            ("ffn_gate", hidden, shape.ffn[i]),
            ("ffn_up", hidden, shape.ffn[i]),
            ("ffn_down", shape.ffn[i], hidden),
        ] {
            let name = format!("blk.{i}.{name}.weight");
            w = matrix(w, &mut random, format, &name, cols, rows);
        }
        let norms = ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"];
        let norms = norms.map(|name| (name, hidden));
        for (name, len) in
            norms.into_iter().chain([("attn_q_norm", kind.head_dim), ("layer_output_scale", 1)])
        {
            w = vector(w, &mut random, &format!("blk.{i}.{name}.weight"), len);
        }
    }
    w.to_bytes().expect("a file")
}

fn metadata(shape: &DraftShape, target: &Shape) -> Writer<'static> {
    let source = Source::open(&file("f32")).expect("tiny-s");
    let tiny_s = source.parse().expect("tiny-s parses");
    let key = |key: &str| format!("{}.{key}", shape.layout.architecture());
    let u32 = |n: usize| u32::try_from(n).expect("a small number");
    let u32s = |list: &[usize]| list.iter().map(|n| u32(*n)).collect::<Vec<_>>();
    let [sliding, full] = target.kinds;
    let layers = u32(shape.sliding.len());
    let kv_heads = |sliding: &bool| u32(target.kinds[usize::from(!sliding)].kv_heads);
    let mut w = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", shape.layout.architecture())
        .metadata(key("block_count"), layers)
        .metadata(key("context_length"), 4096u32)
        .metadata(key("embedding_length"), u32(shape.hidden))
        .metadata(key("feed_forward_length"), u32s(&shape.ffn))
        .metadata(key("attention.head_count"), u32s(&shape.heads))
        .metadata(
            key("attention.head_count_kv"),
            shape.sliding.iter().map(kv_heads).collect::<Vec<_>>(),
        )
        .metadata(key("attention.key_length"), u32(full.head_dim))
        .metadata(key("attention.value_length"), u32(full.head_dim))
        .metadata(key("attention.key_length_swa"), u32(sliding.head_dim))
        .metadata(key("attention.value_length_swa"), u32(sliding.head_dim))
        .metadata(key("attention.sliding_window"), u32(target.window))
        .metadata(key("attention.sliding_window_pattern"), shape.sliding.clone())
        .metadata(key("attention.shared_kv_layers"), layers)
        .metadata(key("attention.layer_norm_rms_epsilon"), 1e-6f32)
        .metadata(key("embedding_length_per_layer_input"), 0u32)
        .metadata(key("rope.freq_base"), full.base as f32)
        .metadata(key("rope.freq_base_swa"), sliding.base as f32)
        .metadata(key("rope.dimension_count"), u32(full.head_dim))
        .metadata(key("rope.dimension_count_swa"), u32(sliding.head_dim))
        .metadata(key("final_logit_softcapping"), 30f32);
    w = match shape.layout {
        Layout::Main | Layout::IkMain => w
            .metadata(key("embedding_length_out"), u32(target.hidden))
            .metadata(key("nextn_predict_layers"), layers),
        Layout::Ik => w
            .metadata(key("backbone_embedding_length"), u32(target.hidden))
            .metadata(key("use_ordered_embeddings"), shape.clusters.is_some()),
    };
    if let Some((count, used)) = shape.clusters {
        let count_key = if shape.layout == Layout::Ik { "centroid_count" } else { "n_centroids" };
        if shape.layout != Layout::Main {
            w = w.metadata(key(count_key), u32(count));
        }
        w = w.metadata(key("centroid_top_k"), u32(used));
    }
    vocabulary(w, &tiny_s, Dialect::LlamaCpp)
}

/// Tokens of tiny-s.
const VOCAB: u32 = 512;

//! The tensors of a drafter file. This is the only place that knows their names.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use carat_gguf::{Gguf, Shape, Tensor, TensorType};
use carat_kernels::Format;
use rayon::ThreadPool;

use super::drafter::Clusters;
use crate::config::Config;
use crate::config::drafter::{DrafterConfig, POST_PROJECTION};
use crate::error::Result;
use crate::model_file::ModelFileError;
use crate::weights::{self, Matrix, ROPE_DIVISORS, layer_name, shape};

/// The weights that a drafting step reads. Matrices are `[outputs, inputs]`.
#[derive(Debug)]
pub(crate) struct DrafterWeights {
    /// From the model's embedding and hidden row to the drafter's residual stream.
    pub(crate) pre: Matrix,
    /// From the drafter's last row to what stands for the model's hidden row.
    pub(crate) post: Matrix,
    /// The output head, whose rows stand cluster by cluster where it is ordered.
    pub(crate) head: Matrix,
    pub(crate) ordered: Option<Ordered>,
    pub(crate) output_norm: Vec<f32>,
    pub(crate) rope_divisors: Option<Vec<f32>>,
    pub(crate) layers: Vec<DrafterLayer>,
}

/// What an ordered head has besides its rows.
#[derive(Debug)]
pub(crate) struct Ordered {
    /// A row for each cluster.
    pub(crate) centroids: Matrix,
    /// The token of each row of the head.
    pub(crate) tokens: Vec<u32>,
}

/// The weights of one layer, which has queries alone.
#[derive(Debug)]
pub(crate) struct DrafterLayer {
    pub(crate) attn_norm: Vec<f32>,
    pub(crate) q: Matrix,
    pub(crate) q_norm: Vec<f32>,
    pub(crate) attn_output: Matrix,
    pub(crate) post_attention_norm: Vec<f32>,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
    pub(crate) post_ffw_norm: Vec<f32>,
    pub(crate) output_scale: f32,
}

/// The tokens of an ordered head, cluster by cluster.
pub(super) struct Order {
    tokens: Vec<u32>,
    /// The name of the tensor with a row for each cluster.
    centroids: &'static str,
    pub(super) clusters: Clusters,
    /// Bytes that centroids and tokens take in memory.
    pub(super) bytes: u64,
}

/// Compares the tensors of a file with its metadata, and returns the bytes that the weights will
/// take in memory, without those of an ordered head.
///
/// # Errors
/// If a tensor is missing, unknown, of the wrong shape, or in a format without a kernel.
pub(super) fn check(gguf: &Gguf<'_>, config: &Config, target_hidden: usize) -> Result<u64> {
    let wanted = tensors(gguf, config, target_hidden);
    if let (true, Some((name, _))) = (gguf.tensors().is_empty(), wanted.first()) {
        return Err(ModelFileError::NoTensors { name: name.clone() }.into());
    }
    let mut bytes = 0;
    for (name, shape) in &wanted {
        bytes += weights::check_shape(gguf, name, *shape)?;
    }
    let mut known: HashSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    // The divisors are there for nothing without full layers; the others serve an ordered head or
    // are left aside.
    known.extend(CENTROIDS.into_iter().chain(ORDERING).chain([ROPE_DIVISORS]));
    match gguf.tensors().iter().find(|tensor| !known.contains(tensor.name)) {
        Some(tensor) => Err(ModelFileError::UnknownTensor { name: tensor.name.to_owned() }.into()),
        None => Ok(bytes),
    }
}

/// The tensors that a drafter has, with their shapes.
fn tensors(gguf: &Gguf<'_>, config: &Config, target_hidden: usize) -> Vec<(String, Shape)> {
    let hidden = config.hidden;
    let mut all = vec![
        (HEAD.to_owned(), shape(&[hidden, config.vocab])),
        (OUTPUT_NORM.to_owned(), shape(&[hidden])),
        (present(gguf, &PRE_PROJECTION).to_owned(), shape(&[2 * target_hidden, hidden])),
        (present(gguf, &POST_PROJECTION).to_owned(), shape(&[hidden, target_hidden])),
    ];
    all.extend(weights::rope_divisors_tensor(gguf, config));
    for (i, layer) in config.layers.iter().enumerate() {
        let query = layer.query_len();
        let mut add = |name, dims: &[usize]| all.push((layer_name(i, name), shape(dims)));
        add("attn_norm", &[hidden]);
        add("attn_q", &[hidden, query]);
        add("attn_q_norm", &[layer.head_dim]);
        add("attn_output", &[query, hidden]);
        add("post_attention_norm", &[hidden]);
        add("ffn_norm", &[hidden]);
        add("ffn_gate", &[hidden, layer.ffn]);
        add("ffn_up", &[hidden, layer.ffn]);
        add("ffn_down", &[layer.ffn, hidden]);
        add("post_ffw_norm", &[hidden]);
        add("layer_output_scale", &[1]);
    }
    all
}

/// The name that a file has for a tensor, or the first one where it has none.
fn present(gguf: &Gguf<'_>, names: &[&'static str]) -> &'static str {
    let found = names.iter().find(|name| gguf.tensor(name).is_some());
    found.or(names.first()).copied().unwrap_or_default()
}

/// The order of the head, if the file has what an ordered one needs. Anything that is not
/// understood leaves the dense head, which gives the same tokens and only takes longer.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn order(gguf: &Gguf<'_>, config: &DrafterConfig) -> Result<Option<Order>> {
    let centroids = present(gguf, &CENTROIDS);
    let tensors = (gguf.tensor(centroids), gguf.tensor(present(gguf, &ORDERING)));
    let (Some(rows), Some(map)) = tensors else { return Ok(None) };
    let is_known = Format::from_ggml_id(rows.tensor_type.id()).is_some();
    let [cols, count] = rows.shape[..] else { return Ok(None) };
    let stated = config.clusters.is_none_or(|stated| stated == count);
    if !config.has_ordered_head || !is_known || !stated || cols != config.hidden as u64 {
        return Ok(None);
    }
    let Some(map) = read_map(gguf, map, config.vocab)? else { return Ok(None) };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let Some(tokens) = by_cluster(map, count) else { return Ok(None) };
    let used = config.clusters_used.min(count);
    let clusters = Clusters { count, used, tokens: tokens.len() / count };
    let bytes = weights::bytes_in_memory(rows)? + size_of_val(&*tokens) as u64;
    Ok(Some(Order { tokens, centroids, clusters, bytes }))
}

/// The values of a map with an entry for each token, if they are integers.
fn read_map(gguf: &Gguf<'_>, map: &Tensor<'_>, vocab: usize) -> Result<Option<Vec<u32>>> {
    if map.shape.elements() != vocab as u64 {
        return Ok(None);
    }
    let mut data = vec![0; map.data.len()];
    gguf.read(map, 0, &mut data)?;
    let words = || data.as_chunks::<4>().0.iter();
    Ok(match map.tensor_type {
        TensorType::I32 => words().map(|b| u32::try_from(i32::from_le_bytes(*b)).ok()).collect(),
        TensorType::I64 => {
            let longs = data.as_chunks::<8>().0.iter();
            longs.map(|b| u32::try_from(i64::from_le_bytes(*b)).ok()).collect()
        }
        TensorType::F32 => {
            let whole = |b: &[u8; 4]| {
                let x = f32::from_le_bytes(*b);
                (x.fract() == 0.0 && (0.0..16_777_216.0).contains(&x)).then_some(x as u32)
            };
            words().map(whole).collect()
        }
        _ => None,
    })
}

/// The tokens cluster by cluster, from a map that is either that list itself (a permutation of all
/// tokens) or says of each token which of `clusters` it belongs to, all of the same size. Where
/// each token is a cluster of its own the two cannot be told apart.
fn by_cluster(map: Vec<u32>, clusters: usize) -> Option<Vec<u32>> {
    if clusters < 2 || clusters >= map.len() || !map.len().is_multiple_of(clusters) {
        return None;
    }
    let size = map.len() / clusters;
    if map.iter().all(|cluster| (*cluster as usize) < clusters) {
        let mut ends: Vec<usize> = (0..clusters).map(|cluster| cluster * size).collect();
        let mut tokens = vec![0; map.len()];
        for (token, cluster) in (0..).zip(map) {
            let (cluster, end) = (cluster as usize, &mut ends[cluster as usize]);
            if *end == (cluster + 1) * size {
                return None;
            }
            tokens[*end] = token;
            *end += 1;
        }
        return Some(tokens);
    }
    let mut seen = vec![false; map.len()];
    let is_new = |token: &u32| {
        seen.get_mut(*token as usize).is_some_and(|seen| !std::mem::replace(seen, true))
    };
    map.iter().all(is_new).then_some(map)
}

impl DrafterWeights {
    /// Loads all tensors of a file that [`check`] has seen.
    ///
    /// # Errors
    /// If the file cannot be read, a norm holds what is no number, there is no memory, or
    /// `progress` breaks off.
    pub(super) fn load(
        gguf: &Gguf<'_>,
        config: &Config,
        order: Option<Order>,
        pool: &ThreadPool,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Self> {
        let [pre, post] = [&PRE_PROJECTION, &POST_PROJECTION].map(|names| present(gguf, names));
        let mut names = vec![pre.to_owned(), post.to_owned()];
        for i in 0..config.layers.len() {
            names.extend(LAYER_MATRICES.map(|name| layer_name(i, name)));
        }
        names.push(order.as_ref().map_or(HEAD, |order| order.centroids).to_owned());
        let mut matrices = weights::matrices(gguf, &names, pool, progress)?;
        let layers = (0..config.layers.len()).map(|i| layer(gguf, i, &mut matrices));
        let layers = layers.collect::<Result<_>>()?;
        let mut matrix = |name| take(&mut matrices, name);
        let (head, ordered) = match order {
            None => (matrix(HEAD)?, None),
            Some(Order { tokens, centroids, .. }) => {
                let head = weights::reordered(gguf, HEAD, &tokens, pool)?;
                (head, Some(Ordered { centroids: matrix(centroids)?, tokens }))
            }
        };
        Ok(Self {
            pre: matrix(pre)?,
            post: matrix(post)?,
            head,
            ordered,
            output_norm: weights::vector(gguf, OUTPUT_NORM)?,
            rope_divisors: weights::rope_divisors(gguf, config)?,
            layers,
        })
    }
}

fn layer(
    gguf: &Gguf<'_>,
    i: usize,
    matrices: &mut HashMap<String, Matrix>,
) -> Result<DrafterLayer> {
    let vector = |name| weights::vector(gguf, &layer_name(i, name));
    let mut matrix = |name| take(matrices, &layer_name(i, name));
    Ok(DrafterLayer {
        attn_norm: vector("attn_norm")?,
        q: matrix("attn_q")?,
        q_norm: vector("attn_q_norm")?,
        attn_output: matrix("attn_output")?,
        post_attention_norm: vector("post_attention_norm")?,
        ffn_norm: vector("ffn_norm")?,
        gate: matrix("ffn_gate")?,
        up: matrix("ffn_up")?,
        down: matrix("ffn_down")?,
        post_ffw_norm: vector("post_ffw_norm")?,
        output_scale: vector("layer_output_scale")?[0],
    })
}

fn take(matrices: &mut HashMap<String, Matrix>, name: &str) -> Result<Matrix> {
    matrices.remove(name).ok_or_else(|| weights::missing(name))
}

const HEAD: &str = "token_embd.weight";
const OUTPUT_NORM: &str = "output_norm.weight";

/// The names of other tensors in each layout; the second is that of ik_llama.cpp's `gemma4_mtp`,
/// the third what it reads in files of the main line's architecture.
const PRE_PROJECTION: [&str; 2] = ["nextn.pre_projection.weight", "mtp_pre_proj.weight"];
const CENTROIDS: [&str; 3] =
    ["masked_embd_centroids.weight", "mtp_centroids.weight", "mtp.centroids.weight"];
const ORDERING: [&str; 4] = [
    "masked_embd_ordering",
    "mtp_token_ordering.weight",
    "mtp.token_ordering.weight",
    "masked_embd_ordering.weight",
];

const LAYER_MATRICES: [&str; 5] = ["attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_maps_are_told_apart() {
        let list = vec![5, 0, 3, 1, 4, 2]; // clusters of 2 tokens: 5 0, 3 1, 4 2
        assert_eq!(by_cluster(list.clone(), 3), Some(list.clone()));
        let clusters = vec![0, 1, 2, 1, 2, 0]; // the same, said of each token
        assert_eq!(by_cluster(clusters, 3), Some(vec![0, 5, 1, 3, 2, 4]));
    }

    #[test]
    fn anything_else_is_no_map() {
        for (map, clusters) in [
            (vec![0, 1, 2, 1, 1, 0], 3), // a cluster of three tokens
            (vec![5, 0, 3, 1, 4, 4], 3), // a token twice
            (vec![6, 0, 3, 1, 4, 2], 3), // no such token
            (vec![5, 0, 3, 1, 4, 2], 4), // no whole clusters
            (vec![1, 0], 2),             // either of both
            (vec![0, 0], 1),
            (vec![0, 1], 0),
            (vec![], 2),
            (vec![0, 1], usize::MAX),
        ] {
            assert_eq!(by_cluster(map.clone(), clusters), None, "{map:?} {clusters}");
        }
    }
}

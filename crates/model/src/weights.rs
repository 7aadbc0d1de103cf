//! Loads the tensors of a model file. This is the only place that knows their names.
//!
//! First [`check`] compares the tensors of the file with what the metadata promises. Then matrices
//! are repacked into an [`image`] in the kernels' eight-row container, and small vectors are read
//! as f32. One matrix stays where it is: the [`table`] of the per-layer embeddings.

mod cache;
mod experts;
mod image;
mod mapped;
mod paging;
#[cfg(unix)]
mod readahead;
mod table;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use carat_gguf::{Endian, Gguf, Shape, Tensor};
use carat_kernels::{Format, dequantize, packed_bytes};
use rayon::ThreadPool;

use crate::config::{Config, KvSource, LayerConfig, LayerKind};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::model_file::ModelFileError;
use crate::pages::zeros;
use crate::text::rope;
pub use cache::CacheError;
pub(crate) use experts::{ExpertWeights, bytes as expert_bytes};
use experts::{is_router, stacked};
pub(crate) use image::{Matrix, of_values, reordered};
use image::{Plan, Repacking};
pub(crate) use table::Table;

/// The weights that a forward pass reads.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) embedding: Matrix,
    /// The output head; `None` where the embedding serves as one.
    pub(crate) output: Option<Matrix>,
    pub(crate) output_norm: Vec<f32>,
    /// The divisors of the full layers' RoPE frequencies, `head_dim / 2` values.
    pub(crate) rope_divisors: Option<Vec<f32>>,
    /// What all layers share of the per-layer embeddings, where the architecture has some.
    pub(crate) per_layer: Option<PerLayer>,
    pub(crate) layers: Vec<Layer>,
}

/// What makes the vectors that each layer has for a token, `[layers, per_layer]`.
#[derive(Debug)]
pub(crate) struct PerLayer {
    /// A row for each token.
    pub(crate) table: Table,
    /// `[layers · per_layer, hidden]`.
    pub(crate) model_proj: Matrix,
    /// `[per_layer]`.
    pub(crate) proj_norm: Vec<f32>,
}

/// What a layer does with its vector for a token.
#[derive(Debug)]
pub(crate) struct PerLayerStep {
    /// `[per_layer, hidden]`.
    pub(crate) gate: Matrix,
    /// `[hidden, per_layer]`.
    pub(crate) proj: Matrix,
    pub(crate) post_norm: Vec<f32>,
}

/// The weights of one layer. Matrices are `[outputs, inputs]`.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attn_norm: Vec<f32>,
    pub(crate) q: Matrix,
    /// The key projection; `None` where the layer reads the keys and values of another one.
    pub(crate) k: Option<Matrix>,
    /// The value projection; `None` where values come from the key projection, or without keys.
    pub(crate) v: Option<Matrix>,
    pub(crate) attn_output: Matrix,
    pub(crate) q_norm: Vec<f32>,
    /// Empty where the layer has no keys of its own.
    pub(crate) k_norm: Vec<f32>,
    pub(crate) post_attention_norm: Vec<f32>,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
    pub(crate) post_ffw_norm: Vec<f32>,
    /// The last step, where the architecture has per-layer embeddings.
    pub(crate) per_layer: Option<PerLayerStep>,
    /// What works beside gate, up and down, if the layer has experts.
    pub(crate) experts: Option<ExpertWeights>,
    /// The factor of the residual stream after the layer; 1 where the architecture has none.
    pub(crate) output_scale: f32,
}

impl Layer {
    /// What a token reads of layer `i`.
    fn decoding(&self, i: usize) -> impl Iterator<Item = &[u8]> {
        let Self { q, k, v, attn_output, gate, up, down, per_layer, .. } = self;
        let attention = [q].into_iter().chain(k).chain(v).chain([attn_output]);
        let matrices = attention.chain([gate, up, down]).map(Matrix::bytes);
        let experts = self.experts.iter().flat_map(move |experts| experts.decoding(i));
        let step = per_layer.iter().flat_map(|step| [&step.gate, &step.proj]).map(Matrix::bytes);
        matrices.chain(experts).chain(step)
    }
}

impl Weights {
    /// The output head.
    pub(crate) fn head(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Whether the matrices are those that were opened; asked before and after a pass reads them.
    ///
    /// # Errors
    /// If they lie in a cache file that was changed since, or the file system does not answer.
    pub(crate) fn check(&self) -> Result<()> {
        self.embedding.check()
    }

    /// The matrices that a decoded token is multiplied with, in this order. Of experts there are as
    /// many as a token is sent through, in every layer others: which ones is decided by the token.
    pub(crate) fn decoding(&self) -> impl Iterator<Item = &[u8]> {
        let per_layer = self.per_layer.iter().map(|per_layer| per_layer.model_proj.bytes());
        let layers = self.layers.iter().enumerate();
        let layers = layers.flat_map(|(i, layer)| layer.decoding(i));
        per_layer.chain(layers).chain([self.head().bytes()])
    }

    /// Loads all tensors of a file.
    ///
    /// # Errors
    /// Those of [`check`], no memory, a cache file that cannot be used, or a wish of the progress
    /// to stop.
    pub(crate) fn load(gguf: &Gguf<'_>, config: &Config, loading: Loading<'_>) -> Result<Loaded> {
        check(gguf, config)?;
        let is_packed = |(name, shape): &(String, Shape)| shape.len() > 1 && !is_router(name);
        let matrices = tensors(gguf, config).into_iter().filter(is_packed);
        let plan = Plan::new(gguf, matrices.map(|(name, _)| name))?;
        let Loading { pool, progress, cache, verify_cache, memory } = loading;
        let mut repacking = Repacking { pool, progress };
        let (image, identity, cache_refused) = match cache {
            Some(path) => {
                let opened = cache::open_or_write(&plan, path, verify_cache, &mut repacking)?;
                (opened.image, opened.identity, opened.refused)
            }
            None => (plan.load(&mut repacking)?, None, None),
        };
        let matrices = plan.matrices(image).collect();
        let mut loader = Loader { gguf, matrices };
        let weights = Self {
            embedding: loader.matrix("token_embd.weight")?,
            output: loader.matrices.remove("output.weight"),
            output_norm: vector(gguf, "output_norm.weight")?,
            rope_divisors: rope_divisors(gguf, config)?,
            per_layer: loader.per_layer(config, memory)?,
            layers: (0..config.layers.len())
                .map(|i| loader.layer(i, config))
                .collect::<Result<_>>()?,
        };
        Ok(Loaded { weights, identity, cache_refused })
    }
}

/// The weights, and what was learnt on the way.
pub(crate) struct Loaded {
    pub(crate) weights: Weights,
    /// Of the model, if the cache file knows it.
    pub(crate) identity: Option<Identity>,
    /// Why a cache file was not used.
    pub(crate) cache_refused: Option<CacheError>,
}

/// The settings for loading.
pub(crate) struct Loading<'a> {
    pub(crate) pool: &'a ThreadPool,
    /// Is called with the bytes read so far and the bytes to read in all; may break off.
    pub(crate) progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    /// The path of the cache file.
    pub(crate) cache: Option<&'a Path>,
    /// Whether all of it is compared.
    pub(crate) verify_cache: bool,
    /// The bytes of the model, if it is in memory.
    pub(crate) memory: Option<&'static [u8]>,
}

/// Loads the matrix called `name`, whose shape [`check_shape`] has compared.
pub(crate) fn matrix(gguf: &Gguf<'_>, name: &str, pool: &ThreadPool) -> Result<Matrix> {
    let plan = Plan::new(gguf, [name])?;
    let progress = &mut |_, _| ControlFlow::Continue(());
    let image = plan.load(&mut Repacking { pool, progress })?;
    let matrix = plan.matrices(image).next();
    matrix.map(|(_, matrix)| matrix).ok_or_else(|| missing(name))
}

/// Loads the matrices called `names`, whose shapes [`check_shape`] has compared, into one block.
/// `progress` is told as in [`Loading`].
pub(crate) fn matrices(
    gguf: &Gguf<'_>,
    names: &[String],
    pool: &ThreadPool,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<HashMap<String, Matrix>> {
    let plan = Plan::new(gguf, names)?;
    let image = plan.load(&mut Repacking { pool, progress })?;
    Ok(plan.matrices(image).map(|(name, matrix)| (name.to_owned(), matrix)).collect())
}

/// Reads all values of the tensor called `name` as f32.
///
/// # Errors
/// If there is no such tensor, or one of its values is NaN or infinite: norms, scales and biases
/// would spread it over all that follows.
pub(crate) fn vector(gguf: &Gguf<'_>, name: &str) -> Result<Vec<f32>> {
    let values = values(gguf, find(gguf, name)?)?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(ModelFileError::Value {
            key: format!("value {at} of tensor {name}"),
            found: values[at].to_string(),
            wanted: "a finite number (the file is damaged: fetch or convert it again)".to_owned(),
        }
        .into()),
        None => Ok(values),
    }
}

/// Reads all values of a tensor as f32, numbers or not.
pub(crate) fn values(gguf: &Gguf<'_>, tensor: &Tensor<'_>) -> Result<Vec<f32>> {
    let mut data = zeros("weights", tensor.data.len())?;
    gguf.read(tensor, 0, &mut data)?;
    let mut values = zeros("weights", tensor.shape.elements() as usize)?;
    dequantize(format(tensor)?, &data, &mut values);
    Ok(values)
}

/// Compares the tensors of a file with its metadata, and returns the bytes that the weights will
/// take in memory.
///
/// # Errors
/// If a tensor is missing, unknown, of the wrong shape, or in a format without a kernel.
pub(crate) fn check(gguf: &Gguf<'_>, config: &Config) -> Result<u64> {
    check_endian(gguf)?;
    let wanted = tensors(gguf, config);
    if let (true, Some((name, _))) = (gguf.tensors().is_empty(), wanted.first()) {
        return Err(ModelFileError::NoTensors { name: name.clone() }.into());
    }
    let mut bytes = 0;
    for (name, shape) in &wanted {
        bytes += check_shape(gguf, name, *shape)?;
    }
    check_table(gguf, config)?;
    let unused = unused_tensors(config);
    let mut known: HashSet<&str> =
        wanted.iter().map(|(name, _)| name).chain(&unused).map(String::as_str).collect();
    if config.per_layer > 0 {
        known.insert(TABLE);
    }
    if config.is_gemma4() {
        // Without full layers it is there for nothing.
        known.insert(ROPE_DIVISORS);
    }
    let stray = |t: &&Tensor<'_>| !is_of_another_part(t) && !known.contains(t.name);
    match gguf.tensors().iter().find(stray) {
        Some(tensor) => Err(ModelFileError::UnknownTensor { name: tensor.name.to_owned() }.into()),
        None => Ok(bytes),
    }
}

/// The bytes of the tensor that is read from the file row by row; 0 where there is none.
pub(crate) fn table_bytes(gguf: &Gguf<'_>, config: &Config) -> u64 {
    let table = gguf.tensor(TABLE).filter(|_| config.per_layer > 0);
    table.map_or(0, |table| table.data.len() as u64)
}

/// Compares the table of the per-layer embeddings with the shape that it must have.
fn check_table(gguf: &Gguf<'_>, config: &Config) -> Result<()> {
    if config.per_layer > 0 {
        check_shape(gguf, TABLE, shape(&[config.per_layer_len(), config.vocab]))?;
    }
    Ok(())
}

/// Tensors that converters write for layers which read the keys and values of others, and which
/// nothing reads.
fn unused_tensors(config: &Config) -> Vec<String> {
    let shared = |(_, layer): &(usize, &LayerConfig)| layer.kv != KvSource::Own;
    let layers = config.layers.iter().enumerate().filter(shared);
    layers
        .flat_map(|(i, _)| ["attn_k", "attn_v", "attn_k_norm"].map(|name| layer_name(i, name)))
        .collect()
}

/// How many of the vocabulary's `tokens` the model knows: as many as the embedding has rows. Files
/// of Gemma 3 that Ollama made list a few more, for pictures, which have none.
pub(crate) fn vocab(gguf: &Gguf<'_>, tokens: usize) -> usize {
    let is_gemma3 =
        matches!(gguf.metadata().opt_string("general.architecture"), Ok(Some("gemma3")));
    let embedding = gguf.tensor("token_embd.weight").filter(|_| is_gemma3);
    let rows = embedding.map_or(tokens, |embedding| embedding.shape.rows() as usize);
    if rows < tokens && tokens - rows <= TOKENS_WITHOUT_ROW_MAX { rows } else { tokens }
}

/// Whether a tensor is for pictures or sound. Files that Ollama made hold those beside the text
/// model; here they come from a projector file.
pub(crate) fn is_of_another_part(tensor: &Tensor<'_>) -> bool {
    ["v.", "a.", "mm."].iter().any(|part| tensor.name.starts_with(part))
}

/// Refuses files whose numbers are in the other byte order.
pub(crate) fn check_endian(gguf: &Gguf<'_>) -> Result<()> {
    if gguf.endian() == Endian::Big { Err(ModelFileError::BigEndian.into()) } else { Ok(()) }
}

/// Compares one tensor with the shape that it must have, and returns the bytes that it will take in
/// memory.
pub(crate) fn check_shape(gguf: &Gguf<'_>, name: &str, wanted: Shape) -> Result<u64> {
    let tensor = find(gguf, name)?;
    let found = tensor.shape;
    if !same_shape(&found, &wanted) {
        return Err(ModelFileError::TensorShape { name: name.to_owned(), found, wanted }.into());
    }
    bytes_in_memory(tensor)
}

/// The bytes that a tensor will take in memory, where matrices are repacked and vectors are f32.
pub(crate) fn bytes_in_memory(tensor: &Tensor<'_>) -> Result<u64> {
    let (format, shape, count) = (format(tensor)?, tensor.shape, stacked(tensor));
    let is_matrix = count > 1 || matches!(shape[..], [_, rows] if rows > 1);
    Ok(match is_matrix && !is_router(tensor.name) {
        true => {
            let rows = shape.rows() as usize / count;
            (count * packed_bytes(format, rows, shape.cols() as usize)) as u64
        }
        false => shape.elements() * size_of::<f32>() as u64,
    })
}

/// The number of rows of the tensor called `name`: its second dimension.
pub(crate) fn rows(gguf: &Gguf<'_>, name: &str) -> Result<usize> {
    Ok(find(gguf, name)?.shape.get(1).map_or(1, |rows| *rows as usize))
}

/// The tensors that the architecture has, with their shapes.
fn tensors(gguf: &Gguf<'_>, config: &Config) -> Vec<(String, Shape)> {
    let hidden = config.hidden;
    let mut all = vec![
        ("token_embd.weight".to_owned(), shape(&[hidden, config.vocab])),
        ("output_norm.weight".to_owned(), shape(&[hidden])),
    ];
    if gguf.tensor("output.weight").is_some() {
        all.push(("output.weight".to_owned(), shape(&[hidden, config.vocab])));
    }
    all.extend(rope_divisors_tensor(gguf, config));
    if config.per_layer > 0 {
        all.push((MODEL_PROJ.to_owned(), shape(&[hidden, config.per_layer_len()])));
        all.push((PROJ_NORM.to_owned(), shape(&[config.per_layer])));
    }
    let share_k = full_layers_share_k(gguf, config);
    let scaled = layers_are_scaled(gguf, config);
    for (i, layer) in config.layers.iter().enumerate() {
        let (query, key) = (layer.query_len(), layer.key_len());
        let mut add = |name, dims: &[usize]| all.push((layer_name(i, name), shape(dims)));
        add("attn_norm", &[hidden]);
        add("attn_q", &[hidden, query]);
        if layer.kv == KvSource::Own {
            add("attn_k", &[hidden, key]);
            add("attn_k_norm", &[layer.head_dim]);
            if layer.kind == LayerKind::Sliding || !share_k {
                add("attn_v", &[hidden, key]);
            }
        }
        add("attn_output", &[query, hidden]);
        add("attn_q_norm", &[layer.head_dim]);
        add("post_attention_norm", &[hidden]);
        add("ffn_norm", &[hidden]);
        add("ffn_gate", &[hidden, layer.ffn]);
        add("ffn_up", &[hidden, layer.ffn]);
        add("ffn_down", &[layer.ffn, hidden]);
        add("post_ffw_norm", &[hidden]);
        if config.per_layer > 0 {
            add("inp_gate", &[hidden, config.per_layer]);
            add("proj", &[config.per_layer, hidden]);
            add("post_norm", &[hidden]);
        }
        if scaled {
            add("layer_output_scale", &[1]);
        }
        if let Some(experts) = layer.experts {
            all.extend(experts::tensors(gguf, i, hidden, experts));
        }
    }
    all
}

/// The tensor of the divisors of RoPE frequencies, where full layers need it or the file has it.
pub(crate) fn rope_divisors_tensor(gguf: &Gguf<'_>, config: &Config) -> Option<(String, Shape)> {
    let full = config.layers.iter().find(|l| l.kind == LayerKind::Full)?;
    let is_wanted = needs_rope_divisors(config) || has_rope_divisors(gguf, config);
    is_wanted.then(|| (ROPE_DIVISORS.to_owned(), shape(&[full.head_dim / 2])))
}

pub(crate) fn shape(dims: &[usize]) -> Shape {
    let mut as_u64 = [1; 4];
    for (out, dim) in as_u64.iter_mut().zip(dims) {
        *out = *dim as u64;
    }
    Shape::new(&as_u64[..dims.len()]).expect("`Config` has no size of 0 and none above 2^25")
}

/// Whether full layers have no value projection: in Gemma 4, if none of them has one that has keys
/// of its own.
fn full_layers_share_k(gguf: &Gguf<'_>, config: &Config) -> bool {
    let has_v = |i| gguf.tensor(&layer_name(i, "attn_v")).is_some();
    let mut layers = config.own_layers().iter().enumerate();
    config.is_gemma4() && !layers.any(|(i, l)| l.kind == LayerKind::Full && has_v(i))
}

/// Whether layers end with a scale: in Gemma 4, if any of them has one (llama.cpp takes a missing
/// one for 1).
fn layers_are_scaled(gguf: &Gguf<'_>, config: &Config) -> bool {
    let has = |i| gguf.tensor(&layer_name(i, "layer_output_scale")).is_some();
    config.is_gemma4() && (0..config.layers.len()).any(has)
}

/// Whether nothing but divisors can say which pairs of full layers turn: in Gemma 4 it is a part of
/// them, and `rope.dimension_count` is the whole head in the files of llama.cpp's converter.
fn needs_rope_divisors(config: &Config) -> bool {
    let full = config.layers.iter().find(|l| l.kind == LayerKind::Full);
    config.is_gemma4() && full.is_some_and(|full| config.rope_full.pairs == full.head_dim / 2)
}

fn has_rope_divisors(gguf: &Gguf<'_>, config: &Config) -> bool {
    config.is_gemma4() && gguf.tensor(ROPE_DIVISORS).is_some()
}

/// The divisors of the full layers' RoPE frequencies, if the file has some and full layers.
///
/// # Errors
/// If one of them is not positive.
pub(crate) fn rope_divisors(gguf: &Gguf<'_>, config: &Config) -> Result<Option<Vec<f32>>> {
    let full = config.layers.iter().any(|l| l.kind == LayerKind::Full);
    if !full || !has_rope_divisors(gguf, config) {
        return Ok(None);
    }
    let divisors = vector(gguf, ROPE_DIVISORS)?;
    match divisors.iter().find(|d| d.is_nan() || **d <= 0.0) {
        Some(found) => Err(ModelFileError::Value {
            key: ROPE_DIVISORS.to_owned(),
            found: found.to_string(),
            wanted: "a positive divisor".to_owned(),
        }
        .into()),
        None => Ok(Some(divisors)),
    }
}

/// The pairs of a full layer's keys that turn, where these keys are values times weights but for
/// RoPE; none where they are not, or where all pairs turn.
pub(crate) fn turning_pairs(gguf: &Gguf<'_>, config: &Config) -> Result<Option<usize>> {
    let full = config.layers.iter().find(|l| l.kind == LayerKind::Full);
    let Some(full) = full.filter(|_| full_layers_share_k(gguf, config)) else { return Ok(None) };
    let divisors = rope_divisors(gguf, config)?;
    let frequencies = rope::frequencies(config.rope_full, full.head_dim, divisors.as_deref());
    let turning = frequencies.iter().rposition(|f| *f > TURNING_MIN).map_or(0, |last| last + 1);
    Ok(Some(turning).filter(|pairs| (1..full.head_dim / 2).contains(pairs)))
}

pub(crate) fn layer_name(i: usize, name: &str) -> String {
    format!("blk.{i}.{name}.weight")
}

pub(crate) fn find<'g, 'a>(gguf: &'g Gguf<'a>, name: &str) -> Result<&'g Tensor<'a>> {
    gguf.tensor(name).ok_or_else(|| missing(name))
}

pub(crate) fn missing(name: &str) -> Error {
    ModelFileError::MissingTensor { name: name.to_owned() }.into()
}

fn format(tensor: &Tensor<'_>) -> Result<Format> {
    let unknown = || ModelFileError::TensorType {
        name: tensor.name.to_owned(),
        found: tensor.tensor_type.name(),
        supported: Format::ALL.iter().map(|f| f.name()).collect::<Vec<_>>().join(", "),
    };
    Ok(Format::from_ggml_id(tensor.tensor_type.id()).ok_or_else(unknown)?)
}

/// Trailing dimensions of 1 do not count.
fn same_shape(a: &[u64], b: &[u64]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long[..short.len()] == *short && long[short.len()..].iter().all(|n| *n == 1)
}

/// Builds the layers from the matrices of the finished image.
struct Loader<'a> {
    gguf: &'a Gguf<'a>,
    matrices: HashMap<&'a str, Matrix>,
}

impl Loader<'_> {
    fn layer(&mut self, i: usize, config: &Config) -> Result<Layer> {
        let name = |name| layer_name(i, name);
        let own = config.layers[i].kv == KvSource::Own;
        Ok(Layer {
            attn_norm: vector(self.gguf, &name("attn_norm"))?,
            q: self.matrix(&name("attn_q"))?,
            k: own.then(|| self.matrix(&name("attn_k"))).transpose()?,
            v: self.matrices.remove(&*name("attn_v")),
            attn_output: self.matrix(&name("attn_output"))?,
            q_norm: vector(self.gguf, &name("attn_q_norm"))?,
            k_norm: match own {
                true => vector(self.gguf, &name("attn_k_norm"))?,
                false => Vec::new(),
            },
            post_attention_norm: vector(self.gguf, &name("post_attention_norm"))?,
            ffn_norm: vector(self.gguf, &name("ffn_norm"))?,
            gate: self.matrix(&name("ffn_gate"))?,
            up: self.matrix(&name("ffn_up"))?,
            down: self.matrix(&name("ffn_down"))?,
            post_ffw_norm: vector(self.gguf, &name("post_ffw_norm"))?,
            per_layer: (config.per_layer > 0).then(|| self.per_layer_step(i)).transpose()?,
            experts: match config.layers[i].experts {
                Some(experts) => Some(self.experts(i, experts)?),
                None => None,
            },
            output_scale: match layers_are_scaled(self.gguf, config) {
                true => vector(self.gguf, &name("layer_output_scale"))?[0],
                false => 1.0,
            },
        })
    }

    fn per_layer_step(&mut self, i: usize) -> Result<PerLayerStep> {
        let name = |name| layer_name(i, name);
        Ok(PerLayerStep {
            gate: self.matrix(&name("inp_gate"))?,
            proj: self.matrix(&name("proj"))?,
            post_norm: vector(self.gguf, &name("post_norm"))?,
        })
    }

    fn per_layer(
        &mut self,
        config: &Config,
        memory: Option<&'static [u8]>,
    ) -> Result<Option<PerLayer>> {
        if config.per_layer == 0 {
            return Ok(None);
        }
        let tensor = find(self.gguf, TABLE)?;
        Ok(Some(PerLayer {
            table: Table::new(self.gguf, tensor, format(tensor)?, memory)?,
            model_proj: self.matrix(MODEL_PROJ)?,
            proj_norm: vector(self.gguf, PROJ_NORM)?,
        }))
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix> {
        self.matrices.remove(name).ok_or_else(|| missing(name))
    }
}

/// More tokens without a row are a fault of the file.
const TOKENS_WITHOUT_ROW_MAX: usize = 64;

/// Factors of proportional RoPE: 1 for pairs that turn, 1e30 for the others.
pub(crate) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// What all layers share of the per-layer embeddings.
const TABLE: &str = "per_layer_token_embd.weight";
const MODEL_PROJ: &str = "per_layer_model_proj.weight";
const PROJ_NORM: &str = "per_layer_proj_norm.weight";

/// A pair of a lower frequency stands still: at the last position of the longest context it has
/// turned by less than any f32 shows.
const TURNING_MIN: f32 = 1e-20;

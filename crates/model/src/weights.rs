//! Loads the tensors of a model file. This is the only place that knows their names.
//!
//! First [`check`] compares the tensors of the file with what the metadata promises. Then matrices
//! are repacked into an [`image`] in the kernels' eight-row container, and small vectors are read
//! as f32.

mod cache;
mod image;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use carat_gguf::{Endian, Gguf, Shape, Tensor};
use carat_kernels::{Format, dequantize, packed_bytes};
use rayon::ThreadPool;

use crate::config::{Config, LayerKind};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::model_file::ModelFileError;
use crate::text::rope;
pub use cache::CacheError;
pub(crate) use image::{Matrix, reordered};
use image::{Plan, Repacking};

/// The weights that a forward pass reads.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) embedding: Matrix,
    /// The output head; `None` where the embedding serves as one.
    pub(crate) output: Option<Matrix>,
    pub(crate) output_norm: Vec<f32>,
    /// The divisors of the full layers' RoPE frequencies, `head_dim / 2` values.
    pub(crate) rope_divisors: Option<Vec<f32>>,
    pub(crate) layers: Vec<Layer>,
}

/// The weights of one layer. Matrices are `[outputs, inputs]`.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attn_norm: Vec<f32>,
    pub(crate) q: Matrix,
    pub(crate) k: Matrix,
    /// The value projection; `None` where values come from the key projection.
    pub(crate) v: Option<Matrix>,
    pub(crate) attn_output: Matrix,
    pub(crate) q_norm: Vec<f32>,
    pub(crate) k_norm: Vec<f32>,
    pub(crate) post_attention_norm: Vec<f32>,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
    pub(crate) post_ffw_norm: Vec<f32>,
    /// The factor of the residual stream after the layer; 1 where the architecture has none.
    pub(crate) output_scale: f32,
}

impl Layer {
    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let Self { q, k, v, attn_output, gate, up, down, .. } = self;
        [q, k].into_iter().chain(v).chain([attn_output, gate, up, down])
    }
}

impl Weights {
    /// The output head.
    pub(crate) fn head(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// The matrices that a decoded token is multiplied with, in this order.
    pub(crate) fn decoding(&self) -> impl Iterator<Item = &Matrix> {
        self.layers.iter().flat_map(Layer::matrices).chain([self.head()])
    }

    /// Loads all tensors of a file.
    ///
    /// # Errors
    /// Those of [`check`], no memory, a cache file that cannot be used, or a wish of the progress
    /// to stop.
    pub(crate) fn load(gguf: &Gguf<'_>, config: &Config, loading: Loading<'_>) -> Result<Loaded> {
        check(gguf, config)?;
        let matrices = tensors(gguf, config).into_iter().filter(|(_, shape)| shape.len() > 1);
        let plan = Plan::new(gguf, matrices.map(|(name, _)| name))?;
        let Loading { pool, progress, cache, verify_cache } = loading;
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
    let tensor = find(gguf, name)?;
    let mut data = vec![0; tensor.data.len()];
    gguf.read(tensor, 0, &mut data)?;
    let mut values = vec![0.0; tensor.shape.elements() as usize];
    dequantize(format(tensor)?, &data, &mut values);
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
    let mut known: HashSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
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
    let (format, shape) = (format(tensor)?, tensor.shape);
    let is_matrix = matches!(shape[..], [_, rows] if rows > 1);
    Ok(match is_matrix {
        true => packed_bytes(format, shape.rows() as usize, shape.cols() as usize) as u64,
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
    let share_k = full_layers_share_k(gguf, config);
    let scaled = layers_are_scaled(gguf, config);
    for (i, layer) in config.layers.iter().enumerate() {
        let (query, key) = (layer.query_len(), layer.key_len());
        let mut add = |name, dims: &[usize]| all.push((layer_name(i, name), shape(dims)));
        add("attn_norm", &[hidden]);
        add("attn_q", &[hidden, query]);
        add("attn_k", &[hidden, key]);
        if layer.kind == LayerKind::Sliding || !share_k {
            add("attn_v", &[hidden, key]);
        }
        add("attn_output", &[query, hidden]);
        add("attn_q_norm", &[layer.head_dim]);
        add("attn_k_norm", &[layer.head_dim]);
        add("post_attention_norm", &[hidden]);
        add("ffn_norm", &[hidden]);
        add("ffn_gate", &[hidden, layer.ffn]);
        add("ffn_up", &[hidden, layer.ffn]);
        add("ffn_down", &[layer.ffn, hidden]);
        add("post_ffw_norm", &[hidden]);
        if scaled {
            add("layer_output_scale", &[1]);
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

/// Whether full layers have no value projection: in Gemma 4, if none of them has one.
fn full_layers_share_k(gguf: &Gguf<'_>, config: &Config) -> bool {
    let has_v = |i| gguf.tensor(&layer_name(i, "attn_v")).is_some();
    let mut layers = config.layers.iter().enumerate();
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
        Ok(Layer {
            attn_norm: vector(self.gguf, &name("attn_norm"))?,
            q: self.matrix(&name("attn_q"))?,
            k: self.matrix(&name("attn_k"))?,
            v: self.matrices.remove(&*name("attn_v")),
            attn_output: self.matrix(&name("attn_output"))?,
            q_norm: vector(self.gguf, &name("attn_q_norm"))?,
            k_norm: vector(self.gguf, &name("attn_k_norm"))?,
            post_attention_norm: vector(self.gguf, &name("post_attention_norm"))?,
            ffn_norm: vector(self.gguf, &name("ffn_norm"))?,
            gate: self.matrix(&name("ffn_gate"))?,
            up: self.matrix(&name("ffn_up"))?,
            down: self.matrix(&name("ffn_down"))?,
            post_ffw_norm: vector(self.gguf, &name("post_ffw_norm"))?,
            output_scale: match layers_are_scaled(self.gguf, config) {
                true => vector(self.gguf, &name("layer_output_scale"))?[0],
                false => 1.0,
            },
        })
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix> {
        self.matrices.remove(name).ok_or_else(|| missing(name))
    }
}

/// More tokens without a row are a fault of the file.
const TOKENS_WITHOUT_ROW_MAX: usize = 64;

/// Factors of proportional RoPE: 1 for pairs that turn, 1e30 for the others.
pub(crate) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// A pair of a lower frequency stands still: at the last position of the longest context it has
/// turned by less than any f32 shows.
const TURNING_MIN: f32 = 1e-20;

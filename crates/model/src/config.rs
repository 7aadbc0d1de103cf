//! Metadata becomes a [`Config`]: every number that the forward pass needs, none guessed.
//!
//! A key that is missing is an error that names it, except where the architecture itself fixes the
//! value: Gemma 3 files do not write the layer pattern nor the sliding layers' RoPE base, and files
//! that Ollama made leave out more. Such values are constants below, each with its source.
//!
//! No key under the architecture's prefix is ignored in silence. One that is not read
//!
//! * belongs to another part of the file (`vision.`, `audio.`, `mm.`) or only informs, or
//! * says that something is absent (0, false, `none`, nothing; 1 for a scale or a factor), or
//! * is refused, where its name says that it changes the computation (`attention.`, `rope.`, and
//!   words such as `scale` or `norm`), or
//! * is listed in [`Config::ignored_keys`]: what a later converter may add about a model.

pub(crate) mod drafter;
mod experts;
mod keys;
mod names;
mod other;

use std::borrow::Cow;

use carat_gguf::{Gguf, Metadata};

use crate::model_file::ModelFileError;
use crate::weights;
pub use experts::Experts;
use keys::Keys;

/// A family of models that share a computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Architecture {
    /// Gemma 4: 12B ("unified"), 26B-A4B and 31B.
    Gemma4,
    /// Gemma 3, text only.
    Gemma3,
}

/// What a layer's attention sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum LayerKind {
    /// The last [`Config::window`] positions.
    Sliding,
    /// The whole context.
    Full,
}

/// The shape of a text decoder. All lengths are numbers of f32 values unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Length of the residual stream.
    pub hidden: usize,
    /// Most tokens that the model was trained for.
    pub context: usize,
    /// Positions that a sliding layer sees, the query's own included.
    pub window: usize,
    /// Added to the mean square in every RMSNorm.
    pub norm_eps: f32,
    /// Logits are `cap · tanh(logits / cap)` where there is a cap.
    pub softcap: Option<f32>,
    /// Attention scores are multiplied by this.
    pub attention_scale: f32,
    /// RoPE of the sliding layers.
    pub rope_sliding: Rope,
    /// RoPE of the full layers.
    pub rope_full: Rope,
    /// The layers, first to last. Those without keys and values of their own come last.
    pub layers: Vec<LayerConfig>,
    /// Length of the vector that each layer has for every token beside the embedding (Gemma 4 E2B
    /// and E4B); 0 where there is none.
    pub per_layer: usize,
    /// Keys of the architecture that were not read and are not known, with their prefix.
    pub ignored_keys: Vec<String>,
}

/// The shape of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LayerConfig {
    /// What its attention sees.
    pub kind: LayerKind,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Length of a head; even.
    pub head_dim: usize,
    /// Length of the feed-forward hidden vector.
    pub ffn: usize,
    /// The experts that work beside the feed-forward network, if there are some.
    pub experts: Option<Experts>,
    /// Whose keys and values its attention reads.
    pub kv: KvSource,
}

/// Whose keys and values the attention of a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum KvSource {
    /// The layer's own.
    Own,
    /// Those of this layer, counted from 0: the last one of the same kind that has its own
    /// (Gemma 4 E2B and E4B).
    Of(usize),
}

/// Rotary position embedding of one kind of layer.
///
/// Pair `i` of `head_dim / 2` turns by `position · base^(−2i / head_dim) / divisor`; pairs from
/// `pairs` on do not turn ("proportional" RoPE: the spacing is that of the whole head).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub base: f32,
    /// Number of pairs that turn.
    pub pairs: usize,
    /// Linear position scaling; 1 for none.
    pub divisor: f32,
}

impl Config {
    /// Reads the shape of the model in a file.
    ///
    /// # Errors
    /// Those of [`Config::from_metadata`]. Tensors are not compared with the shape yet.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self> {
        let config = Self::from_metadata(gguf.metadata())?;
        Ok(Self { vocab: weights::vocab(gguf, config.vocab), ..config })
    }

    /// Reads the shape from a file's metadata.
    ///
    /// # Errors
    /// If the architecture is not supported, or a key is missing, of the wrong type, absurd, or
    /// asks for a computation that this engine does not know.
    pub fn from_metadata(metadata: &Metadata<'_>) -> Result<Self> {
        let (architecture, name) = match other::architecture(metadata)? {
            "gemma4" => (Architecture::Gemma4, "gemma4"),
            "gemma3" => (Architecture::Gemma3, "gemma3"),
            found => return Err(other::refused(found)),
        };
        let keys = Keys::new(metadata, name);
        let config = match architecture {
            Architecture::Gemma4 => gemma4(&keys),
            Architecture::Gemma3 => gemma3(&keys),
        }?;
        Ok(Self { ignored_keys: keys.ignored()?, ..config })
    }

    /// What people call the model, such as `Gemma 4 E4B`; of a size that is not known the name of
    /// the family alone.
    pub fn name(&self) -> Cow<'static, str> {
        names::of(self)
    }

    /// The experts of the first layer that has some.
    pub fn experts(&self) -> Option<Experts> {
        self.layers.iter().find_map(|layer| layer.experts)
    }

    /// RoPE of a kind of layer.
    pub(crate) fn rope(&self, kind: LayerKind) -> Rope {
        match kind {
            LayerKind::Sliding => self.rope_sliding,
            LayerKind::Full => self.rope_full,
        }
    }

    /// The layers with keys and values of their own, which are the first ones.
    pub(crate) fn own_layers(&self) -> &[LayerConfig] {
        let own = self.layers.iter().take_while(|layer| layer.kv == KvSource::Own);
        &self.layers[..own.count()]
    }

    /// Whether the tokens of a picture see each other on sliding layers: not in the E series, where
    /// they are read as words are (transformers, `use_bidirectional_attention` of
    /// `Gemma4TextConfig`).
    pub(crate) fn pictures_see_themselves(&self) -> bool {
        self.per_layer == 0
    }

    /// Length of the vectors that all layers have for a token.
    pub(crate) fn per_layer_len(&self) -> usize {
        self.layers.len() * self.per_layer
    }

    /// Whether values pass an RMSNorm and layers end with a scale (Gemma 4).
    pub(crate) fn is_gemma4(&self) -> bool {
        self.architecture == Architecture::Gemma4
    }
}

impl LayerConfig {
    /// Length of all query heads together.
    pub(crate) fn query_len(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Length of all key heads together.
    pub(crate) fn key_len(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Query heads that share a key head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

fn gemma4(keys: &Keys<'_>) -> Result<Config> {
    let count = keys.uint("block_count", LAYERS_MAX)?;
    let pattern = "attention.sliding_window_pattern";
    let kinds = keys.pattern(pattern, count)?.ok_or_else(|| keys.missing(pattern))?;
    let full_dim = keys.head_dim("attention.key_length", "attention.value_length")?;
    let sliding_dim = keys.head_dim("attention.key_length_swa", "attention.value_length_swa")?;
    let layers = keys.layers(&kinds, |kind| match kind {
        LayerKind::Sliding => sliding_dim,
        LayerKind::Full => full_dim,
    })?;
    let layers = experts::with_experts(keys, keys.shared_kv(layers)?)?;
    keys.no_attention_cap()?;
    keys.no_scaling()?;
    let sliding_base = keys.opt_positive("rope.freq_base_swa")?.unwrap_or(SLIDING_BASE);
    Ok(Config {
        architecture: Architecture::Gemma4,
        vocab: keys.vocab()?,
        hidden: keys.uint("embedding_length", WIDTH_MAX)?,
        context: keys.uint("context_length", CONTEXT_MAX)?,
        window: keys.uint("attention.sliding_window", CONTEXT_MAX)?,
        norm_eps: keys.positive("attention.layer_norm_rms_epsilon")?,
        softcap: keys.softcap()?,
        attention_scale: keys.opt_positive("attention.scale")?.unwrap_or(1.0),
        rope_sliding: keys.rope(sliding_base, "rope.dimension_count_swa", sliding_dim)?,
        rope_full: keys.rope(keys.positive("rope.freq_base")?, "rope.dimension_count", full_dim)?,
        layers,
        per_layer: keys.per_layer_input()?,
        ignored_keys: Vec::new(),
    })
}

fn gemma3(keys: &Keys<'_>) -> Result<Config> {
    let count = keys.uint("block_count", LAYERS_MAX)?;
    let context = keys.uint("context_length", CONTEXT_MAX)?;
    // Without a window every layer is a full one (llama.cpp, `LLM_ARCH_GEMMA3`).
    let window = match keys.opt_uint("attention.sliding_window")? {
        None | Some(0) => None,
        Some(_) => Some(keys.uint("attention.sliding_window", CONTEXT_MAX)?),
    };
    let every_sixth = |i| match (i % FULL_EVERY == FULL_EVERY - 1, window) {
        (false, Some(_)) => LayerKind::Sliding,
        _ => LayerKind::Full,
    };
    let by_architecture = || (0..count).map(every_sixth).collect();
    let kinds = keys.pattern("attention.sliding_window_pattern", count)?;
    let kinds = kinds.filter(|_| window.is_some()).unwrap_or_else(by_architecture);
    let dim = keys.head_dim("attention.key_length", "attention.value_length")?;
    let layers = keys.layers(&kinds, |_| dim)?;
    let hidden = keys.uint("embedding_length", WIDTH_MAX)?;
    keys.no_attention_cap()?;
    keys.whole_rope("rope.dimension_count", dim)?;

    let local = keys.opt_positive("rope.local.freq_base")?;
    let global = keys.opt_positive("rope.global.freq_base")?;
    let base = keys.opt_positive("rope.freq_base")?;
    let size = Gemma3Size::of(count);
    let is_ollamas = base.is_none() || local.is_some() || global.is_some();
    let scaling = keys.linear_scaling()?;
    let divisor = scaling.unwrap_or(if is_ollamas { size.rope_divisor() } else { 1.0 });
    let softcap = keys.softcap()?.filter(|_| !(is_ollamas && size == Gemma3Size::B1));
    let scale = match size {
        Gemma3Size::B27 => 1.0 / ((hidden / layers[0].heads) as f32).sqrt(),
        _ => 1.0 / (dim as f32).sqrt(),
    };
    let pairs = dim / 2;
    let sliding_base = keys.opt_positive("rope.freq_base_swa")?.or(local).unwrap_or(SLIDING_BASE);
    Ok(Config {
        architecture: Architecture::Gemma3,
        vocab: keys.vocab()?,
        hidden,
        context,
        window: window.unwrap_or(context),
        norm_eps: keys.opt_positive("attention.layer_norm_rms_epsilon")?.unwrap_or(NORM_EPS),
        softcap,
        attention_scale: keys.opt_positive("attention.scale")?.unwrap_or(scale),
        rope_sliding: Rope { base: sliding_base, pairs, divisor: 1.0 },
        rope_full: Rope { base: base.or(global).unwrap_or(FULL_BASE), pairs, divisor },
        layers,
        per_layer: 0,
        ignored_keys: Vec::new(),
    })
}

/// The sizes of Gemma 3, which differ in what files leave out. A size is known by its number of
/// layers, as in llama.cpp (`LLM_ARCH_GEMMA3`) and Ollama (`gemma3/model_text.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gemma3Size {
    M270,
    B1,
    B4,
    B12,
    B27,
    Unknown,
}

impl Gemma3Size {
    fn of(layers: usize) -> Self {
        match layers {
            18 => Self::M270,
            26 => Self::B1,
            34 => Self::B4,
            48 => Self::B12,
            62 => Self::B27,
            _ => Self::Unknown,
        }
    }

    /// Linear position scaling of full layers, which Ollama's files leave out (Gemma 3 report,
    /// section 3: models of more than 1B reach 128 K tokens by a factor of 8).
    fn rope_divisor(self) -> f32 {
        match self {
            Self::B4 | Self::B12 | Self::B27 => 8.0,
            Self::M270 | Self::B1 | Self::Unknown => 1.0,
        }
    }
}

type Result<T> = std::result::Result<T, ModelFileError>;

/// Gemma 3 report, section 2: five sliding layers for every full one.
const FULL_EVERY: usize = 6;

/// RoPE base of sliding layers in Gemma 3 and 4, and of full layers where Ollama's files of Gemma 3
/// leave it out (transformers, `rope_local_base_freq` and `rope_theta` of `Gemma3TextConfig`).
const SLIDING_BASE: f32 = 1e4;
const FULL_BASE: f32 = 1e6;

/// `rms_norm_eps` of every Gemma 3 (transformers, `Gemma3TextConfig`).
const NORM_EPS: f32 = 1e-6;

/// Far above any model and low enough that no product of two sizes overflows.
pub(crate) const LAYERS_MAX: usize = 1 << 12;
pub(crate) const HEADS_MAX: usize = 1 << 12;
pub(crate) const WIDTH_MAX: usize = 1 << 24;
const PER_LAYER_MAX: usize = 1 << 14;
pub(crate) const EXPERTS_MAX: usize = 1 << 12;

/// Positions are exact in f32 up to here.
pub(crate) const CONTEXT_MAX: usize = 1 << 24;

/// Attention keeps a tile of at least one head on the stack (`text::attention`).
pub(crate) const HEAD_DIM_MAX: usize = 8192;

/// Attention keeps one maximum and one sum for each of these on the stack.
pub(crate) const GROUP_MAX: usize = 256;

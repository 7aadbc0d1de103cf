//! Metadata becomes a [`Config`]: every number that the forward pass needs, none guessed.
//!
//! A key that is missing is an error that names it, except where the architecture itself fixes the
//! value: Gemma 3 files do not write the layer pattern nor the sliding layers' RoPE base.

use carat_gguf::{Metadata, Value};

use crate::model_file::ModelFileError as Error;

type Result<T> = std::result::Result<T, Error>;

/// A family of models that share a computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Gemma 4 "unified".
    Gemma4,
    /// Gemma 3, text only.
    Gemma3,
}

/// What a layer's attention sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// The last [`Config::window`] positions.
    Sliding,
    /// The whole context.
    Full,
}

/// The shape of a text decoder. All lengths are numbers of f32 values unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
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
    /// The layers, first to last.
    pub layers: Vec<LayerConfig>,
}

/// The shape of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// Rotary position embedding of one kind of layer.
///
/// Pair `i` of `head_dim / 2` turns by `position · base^(−2i / head_dim) / divisor`; pairs from
/// `pairs` on do not turn ("proportional" RoPE: the spacing is that of the whole head).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub base: f32,
    /// Number of pairs that turn.
    pub pairs: usize,
    /// Linear position scaling; 1 for none.
    pub divisor: f32,
}

impl Config {
    /// Reads the shape from a file's metadata.
    ///
    /// # Errors
    /// If the architecture is not supported, or a key is missing, of the wrong type or absurd.
    pub fn from_metadata(metadata: &Metadata<'_>) -> Result<Self> {
        let (architecture, name) = match metadata.string("general.architecture")? {
            "gemma4" => (Architecture::Gemma4, "gemma4"),
            "gemma3" => (Architecture::Gemma3, "gemma3"),
            found => return Err(Error::Architecture { found: found.to_owned() }),
        };
        let keys = Keys { metadata, architecture: name };
        match architecture {
            Architecture::Gemma4 => gemma4(&keys),
            Architecture::Gemma3 => gemma3(&keys),
        }
    }

    /// RoPE of a kind of layer.
    pub(crate) fn rope(&self, kind: LayerKind) -> Rope {
        match kind {
            LayerKind::Sliding => self.rope_sliding,
            LayerKind::Full => self.rope_full,
        }
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
    keys.want_zero(
        "attention.shared_kv_layers",
        "layers without keys and values of their own belong to the small Gemma 4 models",
    )?;
    keys.want_zero(
        "embedding_length_per_layer_input",
        "per-layer input embeddings belong to the small Gemma 4 models",
    )?;
    if keys.metadata.opt_uint(&keys.key("expert_count"))?.is_some_and(|n| n > 0) {
        let what = format!("a mixture of experts ({})", keys.key("expert_count"));
        return Err(Error::Unsupported { what, hint: "only dense models are computed" });
    }
    let count = keys.uint("block_count", LAYERS_MAX)?;
    let kinds = keys.pattern("attention.sliding_window_pattern", count)?.ok_or_else(|| {
        let key = keys.key("attention.sliding_window_pattern");
        Error::Gguf(carat_gguf::Error::MissingKey { key })
    })?;
    let full_dim = keys.head_dim("attention.key_length", "attention.value_length")?;
    let sliding_dim = keys.head_dim("attention.key_length_swa", "attention.value_length_swa")?;
    let layers = keys.layers(&kinds, |kind| match kind {
        LayerKind::Sliding => sliding_dim,
        LayerKind::Full => full_dim,
    })?;
    let softcap = keys.float("final_logit_softcapping")?;
    Ok(Config {
        architecture: Architecture::Gemma4,
        vocab: keys.vocab()?,
        hidden: keys.uint("embedding_length", WIDTH_MAX)?,
        context: keys.uint("context_length", CONTEXT_MAX)?,
        window: keys.uint("attention.sliding_window", CONTEXT_MAX)?,
        norm_eps: keys.positive("attention.layer_norm_rms_epsilon")?,
        softcap: keys.softcap(Some(softcap))?,
        attention_scale: 1.0,
        rope_sliding: keys.rope("rope.freq_base_swa", "rope.dimension_count_swa", sliding_dim)?,
        rope_full: keys.rope("rope.freq_base", "rope.dimension_count", full_dim)?,
        layers,
    })
}

fn gemma3(keys: &Keys<'_>) -> Result<Config> {
    let count = keys.uint("block_count", LAYERS_MAX)?;
    // Gemma 3 report, section 2: five local layers for every global one.
    let every_sixth = |i| if i % 6 == 5 { LayerKind::Full } else { LayerKind::Sliding };
    let kinds = keys
        .pattern("attention.sliding_window_pattern", count)?
        .unwrap_or_else(|| (0..count).map(every_sixth).collect());
    let dim = keys.head_dim("attention.key_length", "attention.value_length")?;
    let attn_softcap = keys.opt_float("attn_logit_softcapping")?.unwrap_or(0.0);
    if attn_softcap != 0.0 {
        let what = format!("a cap on attention scores ({})", keys.key("attn_logit_softcapping"));
        return Err(Error::Unsupported { what, hint: "Gemma 3 has none, Gemma 2 had" });
    }
    let base = keys.opt_positive("rope.freq_base_swa")?.unwrap_or(10_000.0);
    let scale = keys.opt_positive("attention.scale")?.unwrap_or(1.0 / (dim as f32).sqrt());
    Ok(Config {
        architecture: Architecture::Gemma3,
        vocab: keys.vocab()?,
        hidden: keys.uint("embedding_length", WIDTH_MAX)?,
        context: keys.uint("context_length", CONTEXT_MAX)?,
        window: keys.uint("attention.sliding_window", CONTEXT_MAX)?,
        norm_eps: keys.positive("attention.layer_norm_rms_epsilon")?,
        softcap: keys.softcap(keys.opt_float("final_logit_softcapping")?)?,
        attention_scale: scale,
        rope_sliding: Rope { base, pairs: dim / 2, divisor: 1.0 },
        rope_full: Rope {
            base: keys.positive("rope.freq_base")?,
            pairs: dim / 2,
            divisor: keys.linear_scaling()?,
        },
        layers: keys.layers(&kinds, |_| dim)?,
    })
}

/// The metadata with the architecture's prefix put before every key.
struct Keys<'a> {
    metadata: &'a Metadata<'a>,
    architecture: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn wrong<T>(&self, name: &str, found: impl ToString, wanted: impl ToString) -> Result<T> {
        let (found, wanted) = (found.to_string(), wanted.to_string());
        Err(Error::Value { key: self.key(name), found, wanted })
    }

    /// A count from 1 to `max`.
    fn uint(&self, name: &str, max: usize) -> Result<usize> {
        self.in_range(name, self.metadata.uint(&self.key(name))?, max)
    }

    fn in_range(&self, name: &str, found: u64, max: usize) -> Result<usize> {
        match usize::try_from(found) {
            Ok(n) if (1..=max).contains(&n) => Ok(n),
            _ => self.wrong(name, found, format!("1 to {max}")),
        }
    }

    fn want_zero(&self, name: &str, hint: &'static str) -> Result<()> {
        match self.metadata.uint(&self.key(name))? {
            0 => Ok(()),
            n => Err(Error::Unsupported { what: format!("{} {n}", self.key(name)), hint }),
        }
    }

    fn float(&self, name: &str) -> Result<f32> {
        Ok(self.metadata.float(&self.key(name))? as f32)
    }

    fn opt_float(&self, name: &str) -> Result<Option<f32>> {
        Ok(self.metadata.opt_float(&self.key(name))?.map(|x| x as f32))
    }

    fn positive(&self, name: &str) -> Result<f32> {
        self.checked_positive(name, self.float(name)?)
    }

    fn opt_positive(&self, name: &str) -> Result<Option<f32>> {
        self.opt_float(name)?.map(|x| self.checked_positive(name, x)).transpose()
    }

    fn checked_positive(&self, name: &str, found: f32) -> Result<f32> {
        if found.is_finite() && found > 0.0 {
            return Ok(found);
        }
        self.wrong(name, found, "a positive number")
    }

    /// 0 in the file means that there is no cap.
    fn softcap(&self, found: Option<f32>) -> Result<Option<f32>> {
        match found {
            None | Some(0.0) => Ok(None),
            Some(cap) => self.checked_positive("final_logit_softcapping", cap).map(Some),
        }
    }

    /// The vocabulary's size is the number of its tokens.
    fn vocab(&self) -> Result<usize> {
        let key = "tokenizer.ggml.tokens";
        match self.metadata.array(key)?.len() {
            n @ 1..=WIDTH_MAX => Ok(n),
            n => Err(Error::Value {
                key: key.to_owned(),
                found: format!("an array of {n}"),
                wanted: format!("1 to {WIDTH_MAX} tokens"),
            }),
        }
    }

    /// Keys and values have the same length in every Gemma.
    fn head_dim(&self, key_length: &str, value_length: &str) -> Result<usize> {
        let dim = self.uint(key_length, HEAD_DIM_MAX)?;
        if !dim.is_multiple_of(2) {
            return self.wrong(key_length, dim, "an even number");
        }
        let value = self.metadata.uint(&self.key(value_length))?;
        if value != dim as u64 {
            return self.wrong(value_length, value, format!("{dim}, the length of keys,"));
        }
        Ok(dim)
    }

    fn rope(&self, base: &str, dimensions: &str, head_dim: usize) -> Result<Rope> {
        let turning = self.uint(dimensions, head_dim)?;
        if !turning.is_multiple_of(2) {
            return self.wrong(dimensions, turning, "an even number");
        }
        Ok(Rope { base: self.positive(base)?, pairs: turning / 2, divisor: 1.0 })
    }

    fn linear_scaling(&self) -> Result<f32> {
        let name = "rope.scaling.type";
        let factor = self.opt_positive("rope.scaling.factor")?;
        match (self.metadata.opt_string(&self.key(name))?, factor) {
            (None | Some("none"), None) | (Some("none"), Some(_)) => Ok(1.0),
            (None | Some("linear"), Some(factor)) => Ok(factor),
            (Some("linear"), None) => self.positive("rope.scaling.factor"),
            (Some(found), _) => self.wrong(name, found, "linear or none"),
        }
    }

    /// The kind of each layer: booleans that say which layers slide, or one number `n` that makes
    /// every `n`th layer full.
    fn pattern(&self, name: &str, count: usize) -> Result<Option<Vec<LayerKind>>> {
        let kind = |sliding| if sliding { LayerKind::Sliding } else { LayerKind::Full };
        let key = self.key(name);
        match self.metadata.get(&key) {
            None => Ok(None),
            Some(Value::Array(_)) => {
                let kinds = self.metadata.bools(&key)?;
                if kinds.len() != count {
                    return self.wrong(name, kinds.len(), format!("an array of {count} layers"));
                }
                Ok(Some(kinds.map(kind).collect()))
            }
            Some(_) => {
                let period = self.uint(name, LAYERS_MAX)?;
                Ok(Some((1..=count).map(|i| kind(!i.is_multiple_of(period))).collect()))
            }
        }
    }

    /// One number for all layers or an array with one for each.
    fn per_layer(&self, name: &str, count: usize, max: usize) -> Result<Vec<usize>> {
        let key = self.key(name);
        if !matches!(self.metadata.get(&key), Some(Value::Array(_))) {
            return Ok(vec![self.uint(name, max)?; count]);
        }
        let values = self.metadata.uints(&key)?;
        if values.len() != count {
            let found = format!("an array of {}", values.len());
            return self.wrong(name, found, format!("one number or {count} of them"));
        }
        values.map(|found| self.in_range(name, found, max)).collect()
    }

    fn layers(
        &self,
        kinds: &[LayerKind],
        head_dim: impl Fn(LayerKind) -> usize,
    ) -> Result<Vec<LayerConfig>> {
        let heads = self.per_layer("attention.head_count", kinds.len(), HEADS_MAX)?;
        let kv_heads = self.per_layer("attention.head_count_kv", kinds.len(), HEADS_MAX)?;
        let ffn = self.per_layer("feed_forward_length", kinds.len(), WIDTH_MAX)?;
        let layer = |i: usize| {
            let (kind, heads, kv_heads) = (kinds[i], heads[i], kv_heads[i]);
            let (name, most) = ("attention.head_count", kv_heads * GROUP_MAX);
            if !heads.is_multiple_of(kv_heads) {
                let wanted = format!("a multiple of head_count_kv {kv_heads} in layer {i}");
                return self.wrong(name, heads, wanted);
            }
            if heads > most {
                let wanted = format!("at most {most} for head_count_kv {kv_heads} in layer {i}");
                return self.wrong(name, heads, wanted);
            }
            Ok(LayerConfig { kind, heads, kv_heads, head_dim: head_dim(kind), ffn: ffn[i] })
        };
        (0..kinds.len()).map(layer).collect()
    }
}

/// Far above any model and low enough that no product of two sizes overflows.
const LAYERS_MAX: usize = 1 << 12;
const HEADS_MAX: usize = 1 << 12;
const WIDTH_MAX: usize = 1 << 24;

/// Positions are exact in f32 up to here.
const CONTEXT_MAX: usize = 1 << 24;

/// Attention keeps a tile of at least one head on the stack (`text::attention`).
pub(crate) const HEAD_DIM_MAX: usize = 8192;

/// Attention keeps one maximum and one sum for each of these on the stack.
pub(crate) const GROUP_MAX: usize = 256;

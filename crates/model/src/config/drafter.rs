//! Metadata of a drafter file becomes a [`DrafterConfig`].
//!
//! A drafter is a small network that guesses the next tokens of one model. It has no keys and
//! values of its own: its layers read those of the model's last sliding and last full layer.
//! Two layouts are known, main-line llama.cpp's (`gemma4-assistant`) and that of ik_llama.cpp
//! (`gemma4_mtp`), which differ in names only.

use carat_gguf::Gguf;

use super::keys::Keys;
use super::other::{self, DRAFTERS};
use super::{
    Architecture, CONTEXT_MAX, Config, GROUP_MAX, LAYERS_MAX, LayerConfig, LayerKind, Result, Rope,
    SLIDING_BASE, WIDTH_MAX,
};
use crate::model_file::ModelFileError;

/// The shape of a drafter. All lengths are numbers of f32 values unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DrafterConfig {
    /// Tokens in the vocabulary, which is the model's.
    pub vocab: usize,
    /// Length of the drafter's residual stream.
    pub hidden: usize,
    /// Length of the residual stream of the model that it drafts for.
    pub target_hidden: usize,
    /// Positions that a sliding layer of the model sees; `None` where the file does not say.
    pub window: Option<usize>,
    /// Added to the mean square in every RMSNorm.
    pub norm_eps: f32,
    /// Attention scores are multiplied by this.
    pub attention_scale: f32,
    /// RoPE of the sliding layers.
    pub rope_sliding: Rope,
    /// RoPE of the full layers.
    pub rope_full: Rope,
    /// The layers, first to last. Key heads are those that the file says the model has.
    pub layers: Vec<LayerConfig>,
    /// Whether the file allows its output head to look at the best clusters of tokens alone.
    pub has_ordered_head: bool,
    /// The number of clusters that the file states.
    pub clusters: Option<u64>,
    /// How many clusters are looked at.
    pub clusters_used: usize,
    /// Keys of the architecture that were not read and are not known, with their prefix.
    pub ignored_keys: Vec<String>,
}

impl DrafterConfig {
    /// Whether `general.architecture` is the name of a drafter of Gemma 4, in one of the layouts.
    pub fn is_architecture(name: &str) -> bool {
        DRAFTERS.contains(&name)
    }

    /// Reads the shape of the drafter in a file. Tensors are not compared with it yet, but for the
    /// two whose sizes no key of every layout states.
    ///
    /// # Errors
    /// If the file is no drafter of Gemma 4, or a key is missing, of the wrong type, absurd, or
    /// asks for a computation that this engine does not know.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self> {
        let metadata = gguf.metadata();
        let found = other::architecture(metadata)?;
        let Some(name) = DRAFTERS.iter().find(|name| **name == found) else {
            return Err(other::not_a_drafter(found));
        };
        let keys = Keys::new(metadata, name);
        let rows = |names: &[&str]| {
            let tensor = names.iter().find_map(|name| gguf.tensor(name));
            tensor.map(|tensor| tensor.shape.rows())
        };
        let config = read(&keys, rows(&["token_embd.weight"]), rows(&POST_PROJECTION))?;
        Ok(Self { ignored_keys: keys.ignored()?, ..config })
    }

    /// The drafter as a decoder that stands beside `target`, whose keys and values it reads.
    ///
    /// # Errors
    /// If it was made for another model.
    pub(crate) fn fit(&self, target: &Config) -> Result<Config> {
        if !target.is_gemma4() {
            return mismatch("of the family", "Gemma 4", "another one");
        }
        let same = |what, found: usize, wanted: usize| match found == wanted {
            true => Ok(()),
            false => mismatch(what, &found.to_string(), &wanted.to_string()),
        };
        same("of width", self.target_hidden, target.hidden)?;
        same("with a vocabulary of", self.vocab, target.vocab)?;
        let layer = |(i, layer): (usize, &LayerConfig)| -> Result<LayerConfig> {
            let kind = layer.kind;
            let Some(source) = target.layers.iter().rfind(|l| l.kind == kind) else {
                let what = if kind == LayerKind::Full { "full layers" } else { "sliding layers" };
                return mismatch("with", what, "none of them");
            };
            if kind == LayerKind::Sliding {
                same("with a window of", self.window.unwrap_or(target.window), target.window)?;
            }
            same("with heads of length", layer.head_dim, source.head_dim)?;
            let (heads, kv_heads) = (layer.heads, source.kv_heads);
            if !heads.is_multiple_of(kv_heads) || heads > kv_heads * GROUP_MAX {
                return Err(ModelFileError::Value {
                    key: format!("attention.head_count of layer {i}"),
                    found: heads.to_string(),
                    wanted: format!(
                        "a multiple of the model's {kv_heads} key heads, at most {GROUP_MAX} times \
                         as many,"
                    ),
                });
            }
            Ok(LayerConfig { kv_heads, ..*layer })
        };
        Ok(Config {
            architecture: Architecture::Gemma4,
            vocab: self.vocab,
            hidden: self.hidden,
            context: target.context,
            window: target.window,
            norm_eps: self.norm_eps,
            softcap: None,
            attention_scale: self.attention_scale,
            rope_sliding: self.rope_sliding,
            rope_full: self.rope_full,
            layers: self.layers.iter().enumerate().map(layer).collect::<Result<_>>()?,
            per_layer: 0,
            ignored_keys: Vec::new(),
        })
    }
}

/// Reads all keys. `vocab` and `target_hidden` are the rows of the output head and of what leads
/// back to the model, if there are such tensors.
fn read(keys: &Keys<'_>, vocab: Option<u64>, target_hidden: Option<u64>) -> Result<DrafterConfig> {
    let count = keys.uint("block_count", LAYERS_MAX)?;
    refuse_other_computations(keys, count)?;
    let pattern = "attention.sliding_window_pattern";
    let kinds = keys.pattern(pattern, count)?.ok_or_else(|| keys.missing(pattern))?;
    // A length that no layer has may be left out.
    let head_dim = |kind, key: [&str; 2]| match kinds.contains(&kind) {
        true => keys.head_dim(key[0], key[1]),
        false => key.iter().try_for_each(|key| keys.opt_uint(key).map(drop)).map(|()| 2),
    };
    let full = ["attention.key_length", "attention.value_length"];
    let sliding = ["attention.key_length_swa", "attention.value_length_swa"];
    let (full_dim, sliding_dim) =
        (head_dim(LayerKind::Full, full)?, head_dim(LayerKind::Sliding, sliding)?);
    let layers = keys.layers(&kinds, |kind| match kind {
        LayerKind::Sliding => sliding_dim,
        LayerKind::Full => full_dim,
    })?;
    let rope = |base, kind, dimensions, head_dim| match kinds.contains(&kind) {
        true => keys.rope(base, dimensions, head_dim),
        false => keys.opt_uint(dimensions).map(|_| Rope { base, pairs: 1, divisor: 1.0 }),
    };
    let full_base = match kinds.contains(&LayerKind::Full) {
        true => keys.positive("rope.freq_base")?,
        false => keys.opt_positive("rope.freq_base")?.unwrap_or(SLIDING_BASE),
    };
    let sliding_base = keys.opt_positive("rope.freq_base_swa")?.unwrap_or(SLIDING_BASE);
    let vocab = match vocab {
        Some(rows) => keys.size("token_embd.weight", rows, WIDTH_MAX)?,
        None => keys.vocab()?,
    };
    let (has_ordered_head, clusters, clusters_used) = head(keys)?;
    Ok(DrafterConfig {
        vocab,
        hidden: keys.uint("embedding_length", WIDTH_MAX)?,
        target_hidden: keys.target_hidden(target_hidden)?,
        window: keys.opt_count("attention.sliding_window", CONTEXT_MAX)?,
        norm_eps: keys.positive("attention.layer_norm_rms_epsilon")?,
        attention_scale: keys.opt_positive("attention.scale")?.unwrap_or(1.0),
        rope_sliding: rope(
            sliding_base,
            LayerKind::Sliding,
            "rope.dimension_count_swa",
            sliding_dim,
        )?,
        rope_full: rope(full_base, LayerKind::Full, "rope.dimension_count", full_dim)?,
        layers,
        has_ordered_head,
        clusters,
        clusters_used,
        ignored_keys: Vec::new(),
    })
}

/// Refuses what no drafter of Gemma 4 has, and passes over what changes nothing in one.
fn refuse_other_computations(keys: &Keys<'_>, count: usize) -> Result<()> {
    for key in ["embedding_length_per_layer_input", "expert_count"] {
        if let Some(found @ 1..) = keys.opt_uint(key)? {
            return keys.wrong(key, found, "0, as in every drafter of Gemma 4,");
        }
    }
    // Every layer reads the model's keys and values.
    for key in ["attention.shared_kv_layers", "nextn_predict_layers"] {
        match keys.opt_uint(key)? {
            None | Some(0) => {}
            Some(found) if found == count as u64 => {}
            Some(found) => {
                return keys.wrong(key, found, format!("{count}, the number of layers,"));
            }
        }
    }
    keys.opt_uint("context_length")?;
    keys.softcap()?; // converters copy the model's; a drafter's logits are not capped
    keys.no_attention_cap()?;
    keys.no_scaling()
}

/// What the keys say of the ordered head: whether it may be used, its clusters, and how many of
/// them are looked at.
fn head(keys: &Keys<'_>) -> Result<(bool, Option<u64>, usize)> {
    let mut clusters = None;
    for key in ["centroid_count", "n_centroids", "num_centroids"] {
        clusters = clusters.or(keys.opt_uint(key)?);
    }
    let mut used = None;
    for key in ["centroid_top_k", "centroid_intermediate_top_k"] {
        used = used.or(keys.opt_uint(key)?);
    }
    let allowed = keys.opt_boolean("use_ordered_embeddings")?.unwrap_or(true);
    let used = used.map_or(CLUSTERS_USED, |used| usize::try_from(used).unwrap_or(usize::MAX));
    Ok((allowed && used > 0, clusters, used))
}

fn mismatch<T>(what: &'static str, found: &str, wanted: &str) -> Result<T> {
    let (found, wanted) = (found.to_owned(), wanted.to_owned());
    Err(ModelFileError::DrafterMismatch { what, found, wanted })
}

/// The names of the matrix whose output stands for the model's hidden row, in each layout.
pub(crate) const POST_PROJECTION: [&str; 2] =
    ["nextn.post_projection.weight", "mtp_post_proj.weight"];

/// Clusters that are looked at where the file does not say (transformers,
/// `centroid_intermediate_top_k` of `Gemma4AssistantConfig`).
const CLUSTERS_USED: usize = 32;

//! The metadata of one architecture, read key by key, and an account of what was not read.

use std::cell::RefCell;
use std::collections::HashSet;

use carat_gguf::{Metadata, Value};

use super::{
    GROUP_MAX, HEAD_DIM_MAX, HEADS_MAX, KvSource, LAYERS_MAX, LayerConfig, LayerKind,
    PER_LAYER_MAX, Result, Rope, WIDTH_MAX,
};
use crate::model_file::ModelFileError;
use crate::words::head;

/// The metadata with the architecture's prefix put before every key.
pub(super) struct Keys<'a> {
    metadata: &'a Metadata<'a>,
    architecture: &'static str,
    /// The keys that were asked for.
    read: RefCell<HashSet<String>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(metadata: &'a Metadata<'a>, architecture: &'static str) -> Self {
        Self { metadata, architecture, read: RefCell::default() }
    }

    fn key(&self, name: &str) -> String {
        let key = format!("{}.{name}", self.architecture);
        self.read.borrow_mut().insert(key.clone());
        key
    }

    pub(super) fn wrong<T>(
        &self,
        name: &str,
        found: impl ToString,
        wanted: impl ToString,
    ) -> Result<T> {
        let (found, wanted) = (found.to_string(), wanted.to_string());
        Err(ModelFileError::Value { key: self.key(name), found, wanted })
    }

    /// The error for a key that is not there.
    pub(super) fn missing(&self, name: &str) -> ModelFileError {
        carat_gguf::Error::MissingKey { key: self.key(name) }.into()
    }

    /// A count from 1 to `max`.
    pub(super) fn uint(&self, name: &str, max: usize) -> Result<usize> {
        self.in_range(name, self.metadata.uint(&self.key(name))?, max)
    }

    pub(super) fn opt_uint(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.metadata.opt_uint(&self.key(name))?)
    }

    /// A count from 1 to `max`, if it is there.
    pub(super) fn opt_count(&self, name: &str, max: usize) -> Result<Option<usize>> {
        self.opt_uint(name)?.map(|found| self.in_range(name, found, max)).transpose()
    }

    pub(super) fn opt_boolean(&self, name: &str) -> Result<Option<bool>> {
        Ok(self.metadata.opt_boolean(&self.key(name))?)
    }

    /// The rows of the tensor called `tensor`, from 1 to `max`.
    pub(super) fn size(&self, tensor: &str, rows: u64, max: usize) -> Result<usize> {
        match usize::try_from(rows) {
            Ok(n) if (1..=max).contains(&n) => Ok(n),
            _ => Err(ModelFileError::Value {
                key: format!("the number of rows of {tensor}"),
                found: rows.to_string(),
                wanted: format!("1 to {max}"),
            }),
        }
    }

    /// The width of the model that a drafter was made for, by the names that layouts have for it;
    /// without any, as many as there are `rows` in the matrix that leads back to it.
    pub(super) fn target_hidden(&self, rows: Option<u64>) -> Result<usize> {
        let mut stated = None;
        for name in ["embedding_length_out", "backbone_embedding_length", "backbone_hidden_size"] {
            stated = stated.or(self.opt_count(name, WIDTH_MAX)?);
        }
        match (stated, rows) {
            (Some(stated), _) => Ok(stated),
            (None, Some(rows)) => self.size("the post projection", rows, WIDTH_MAX),
            (None, None) => Err(self.missing("embedding_length_out")),
        }
    }

    fn in_range(&self, name: &str, found: u64, max: usize) -> Result<usize> {
        match usize::try_from(found) {
            Ok(n) if (1..=max).contains(&n) => Ok(n),
            _ => self.wrong(name, found, format!("1 to {max}")),
        }
    }

    pub(super) fn opt_float(&self, name: &str) -> Result<Option<f32>> {
        Ok(self.metadata.opt_float(&self.key(name))?.map(|x| x as f32))
    }

    pub(super) fn positive(&self, name: &str) -> Result<f32> {
        self.opt_positive(name)?.ok_or_else(|| self.missing(name))
    }

    pub(super) fn opt_positive(&self, name: &str) -> Result<Option<f32>> {
        self.opt_float(name)?.map(|x| self.checked_positive(name, x)).transpose()
    }

    fn checked_positive(&self, name: &str, found: f32) -> Result<f32> {
        if found.is_finite() && found > 0.0 {
            return Ok(found);
        }
        self.wrong(name, found, "a positive number")
    }

    /// The cap of the logits; 0 in the file means that there is none.
    pub(super) fn softcap(&self) -> Result<Option<f32>> {
        let name = "final_logit_softcapping";
        match self.opt_float(name)? {
            None | Some(0.0) => Ok(None),
            Some(cap) => self.checked_positive(name, cap).map(Some),
        }
    }

    /// Refuses a cap on attention scores.
    pub(super) fn no_attention_cap(&self) -> Result<()> {
        let name = "attn_logit_softcapping";
        match self.opt_float(name)? {
            None | Some(0.0) => Ok(()),
            Some(_) => Err(ModelFileError::Unsupported {
                what: format!("a cap on attention scores ({})", self.key(name)),
                hint: "Gemma 2 had one, Gemma 3 and 4 have none",
            }),
        }
    }

    /// The vocabulary's size is the number of its tokens.
    pub(super) fn vocab(&self) -> Result<usize> {
        let key = "tokenizer.ggml.tokens";
        match self.metadata.array(key)?.len() {
            n @ 1..=WIDTH_MAX => Ok(n),
            n => Err(ModelFileError::Value {
                key: key.to_owned(),
                found: format!("an array of {n}"),
                wanted: format!("1 to {WIDTH_MAX} tokens"),
            }),
        }
    }

    /// Keys and values have the same length in every Gemma.
    pub(super) fn head_dim(&self, key_length: &str, value_length: &str) -> Result<usize> {
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

    /// RoPE of which the key `dimensions` says how many dimensions turn, all if it is missing.
    pub(super) fn rope(&self, base: f32, dimensions: &str, head_dim: usize) -> Result<Rope> {
        let turning = match self.opt_uint(dimensions)? {
            None => head_dim,
            Some(found) => self.in_range(dimensions, found, head_dim)?,
        };
        if !turning.is_multiple_of(2) {
            return self.wrong(dimensions, turning, "an even number");
        }
        Ok(Rope { base, pairs: turning / 2, divisor: 1.0 })
    }

    /// Refuses RoPE that turns a part of the head.
    pub(super) fn whole_rope(&self, dimensions: &str, head_dim: usize) -> Result<()> {
        match self.opt_uint(dimensions)? {
            Some(found) if found != head_dim as u64 => {
                self.wrong(dimensions, found, format!("{head_dim}, the length of a head,"))
            }
            _ => Ok(()),
        }
    }

    /// Linear position scaling, if the file says something about it; 1 stands for none. A factor
    /// without a type is linear, and a type without a factor does not scale (llama.cpp,
    /// `load_hparams`).
    pub(super) fn linear_scaling(&self) -> Result<Option<f32>> {
        let name = "rope.scaling.type";
        let kind = self.metadata.opt_string(&self.key(name))?;
        let factor = match self.opt_float("rope.scaling.factor")? {
            None => self.opt_float("rope.scale_linear")?,
            found => found,
        };
        if !matches!(kind, None | Some("linear" | "none")) {
            return self.wrong(name, kind.unwrap_or_default(), "linear or none");
        }
        match factor {
            _ if kind == Some("none") => Ok(Some(1.0)),
            None => Ok(kind.map(|_| 1.0)),
            Some(0.0) => Ok(Some(1.0)),
            Some(factor) => self.checked_positive("rope.scaling.factor", factor).map(Some),
        }
    }

    /// Refuses RoPE that is scaled, which no Gemma 4 has.
    pub(super) fn no_scaling(&self) -> Result<()> {
        match self.linear_scaling()? {
            Some(divisor) if divisor != 1.0 => Err(ModelFileError::Unsupported {
                what: format!("scaled RoPE of Gemma 4 ({})", self.scaling()),
                hint: "no such model is known, use a file without it",
            }),
            _ => Ok(()),
        }
    }

    /// The keys of [`Self::linear_scaling`] that are there, for a message.
    fn scaling(&self) -> String {
        let there = ["rope.scaling.type", "rope.scaling.factor", "rope.scale_linear"];
        let there = there.iter().filter_map(|name| {
            let key = self.key(name);
            self.metadata.get(&key).map(|value| format!("{key} {}", shown(value)))
        });
        there.collect::<Vec<_>>().join(", ")
    }

    /// The kind of each layer: for each whether it slides, as booleans or numbers, or one number
    /// `n` that makes every `n`th layer full.
    pub(super) fn pattern(&self, name: &str, count: usize) -> Result<Option<Vec<LayerKind>>> {
        let kind = |sliding| if sliding { LayerKind::Sliding } else { LayerKind::Full };
        let key = self.key(name);
        match self.metadata.get(&key) {
            None => Ok(None),
            Some(Value::Bool(sliding)) => Ok(Some(vec![kind(*sliding); count])),
            Some(Value::Array(array)) => {
                let kinds: Vec<_> = match array.ints() {
                    Some(numbers) => numbers.map(|n| kind(n != 0)).collect(),
                    None => self.metadata.bools(&key)?.map(kind).collect(),
                };
                if kinds.len() != count {
                    return self.wrong(name, kinds.len(), format!("an array of {count} layers"));
                }
                Ok(Some(kinds))
            }
            Some(_) => {
                let period = self.uint(name, LAYERS_MAX)?;
                Ok(Some((1..=count).map(|i| kind(!i.is_multiple_of(period))).collect()))
            }
        }
    }

    /// One number for all layers or an array with one for each.
    fn per_layer(&self, name: &str, count: usize, max: usize) -> Result<Vec<usize>> {
        let numbers = self.numbers(name, count)?.into_iter();
        numbers.map(|found| self.in_range(name, found, max)).collect()
    }

    /// [`Self::per_layer`] where 0 says that a layer has no such thing.
    pub(super) fn per_layer_or_none(
        &self,
        name: &str,
        count: usize,
        max: usize,
    ) -> Result<Vec<usize>> {
        let number = |found| if found == 0 { Ok(0) } else { self.in_range(name, found, max) };
        self.numbers(name, count)?.into_iter().map(number).collect()
    }

    /// One number as often as there are layers, or an array of as many.
    fn numbers(&self, name: &str, count: usize) -> Result<Vec<u64>> {
        let key = self.key(name);
        if !matches!(self.metadata.get(&key), Some(Value::Array(_))) {
            return Ok(vec![self.metadata.uint(&key)?; count]);
        }
        let values = self.metadata.uints(&key)?;
        if values.len() != count {
            let found = format!("an array of {}", values.len());
            return self.wrong(name, found, format!("one number or {count} of them"));
        }
        Ok(values.collect())
    }

    pub(super) fn layers(
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
            let (head_dim, ffn) = (head_dim(kind), ffn[i]);
            let (kv, experts) = (KvSource::Own, None);
            Ok(LayerConfig { kind, heads, kv_heads, head_dim, ffn, experts, kv })
        };
        (0..kinds.len()).map(layer).collect()
    }

    /// The layers, of which so many at the end as the file says read the keys and values of the
    /// last one of their kind before them.
    pub(super) fn shared_kv(&self, mut layers: Vec<LayerConfig>) -> Result<Vec<LayerConfig>> {
        let (name, count) = ("attention.shared_kv_layers", layers.len());
        let shared = self.opt_uint(name)?.unwrap_or(0);
        let Some(own) = usize::try_from(shared).ok().and_then(|shared| count.checked_sub(shared))
        else {
            return self.wrong(name, shared, format!("at most {count}, the number of layers,"));
        };
        let (own, others) = layers.split_at_mut(own);
        for (i, layer) in others.iter_mut().enumerate() {
            let at = own.len() + i;
            let Some(source) = own.iter().rposition(|own| own.kind == layer.kind) else {
                let kind = match layer.kind {
                    LayerKind::Sliding => "sliding",
                    LayerKind::Full => "full",
                };
                let wanted = format!("a {kind} layer with keys of its own before layer {at}");
                return self.wrong(name, shared, wanted);
            };
            let heads = own[source].kv_heads;
            if layer.kv_heads != heads {
                let found = format!("{} in layer {at}", layer.kv_heads);
                let wanted = format!("{heads}, as in layer {source} whose keys it reads,");
                return self.wrong("attention.head_count_kv", found, wanted);
            }
            layer.kv = KvSource::Of(source);
        }
        Ok(layers)
    }

    /// The length of the vector that each layer has for a token; 0 for none.
    pub(super) fn per_layer_input(&self) -> Result<usize> {
        let name = "embedding_length_per_layer_input";
        match self.opt_uint(name)? {
            None | Some(0) => Ok(0),
            Some(found) => self.in_range(name, found, PER_LAYER_MAX),
        }
    }

    /// The keys that were not read and that nothing is known of.
    ///
    /// # Errors
    /// If one of them may change the computation.
    pub(super) fn ignored(&self) -> Result<Vec<String>> {
        if self.metadata.opt_boolean(&self.key("attention.causal"))? == Some(false) {
            let what = format!("attention in both directions ({})", self.key("attention.causal"));
            let hint = "it belongs to models that embed text";
            return Err(ModelFileError::Unsupported { what, hint });
        }
        let prefix = format!("{}.", self.architecture);
        let mut ignored = Vec::new();
        for (key, value) in self.metadata.iter() {
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            let is_known = OTHER_PARTS.iter().any(|part| name.starts_with(part))
                || INFORMATION.contains(&name)
                || self.read.borrow().contains(key);
            if is_known || says_absent(name, value) {
                continue;
            }
            if changes_the_computation(name) {
                let (key, found) = (head(key), shown(value));
                return Err(ModelFileError::UnknownKey { key, found });
            }
            ignored.push(key.to_owned());
        }
        Ok(ignored)
    }
}

/// Whether the value says that what the key stands for is not there.
fn says_absent(name: &str, value: &Value<'_>) -> bool {
    let factor = name.ends_with("scale") || name.ends_with("factor");
    let absent = |x: f64| x == 0.0 || (factor && x == 1.0);
    match value {
        Value::Bool(on) => !on,
        Value::String(text) => text.is_empty() || *text == "none",
        Value::Array(array) => {
            array.is_empty() || array.ints().is_some_and(|mut numbers| numbers.all(|n| n == 0))
        }
        number => {
            number.as_float().or_else(|| number.as_int().map(|n| n as f64)).is_some_and(absent)
        }
    }
}

fn changes_the_computation(name: &str) -> bool {
    name.starts_with("attention.")
        || name.starts_with("rope.")
        || COMPUTATION.iter().any(|word| name.contains(word))
}

/// A value in a message, without its type and cut to a readable length.
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => head(text).chars().flat_map(char::escape_debug).collect(),
        Value::F32(x) => x.to_string(),
        Value::F64(x) => x.to_string(),
        Value::Bool(on) => on.to_string(),
        other => other.as_int().map_or_else(|| other.to_string(), |n| n.to_string()),
    }
}

/// What other parts of the model are described by.
const OTHER_PARTS: [&str; 3] = ["vision.", "audio.", "mm."];

/// Keys that change nothing: about the file or its training, or of use only with values of other
/// keys that are refused (`expert_count`, `rope.scaling.type`).
const INFORMATION: [&str; 15] = [
    "vocab_size",
    "attention.layer_norm_epsilon",
    "expert_used_count",
    "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
    "expert_shared_count",
    "expert_weights_scale",
    "expert_weights_norm",
    "expert_gating_func",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scaling.extrapolation_factor",
    "rope.scaling.beta_fast",
    "rope.scaling.beta_slow",
    "rope.scaling.yarn_log_multiplier",
];

/// Words of keys that change a computation in some architecture of llama.cpp's `llama-arch.cpp`.
const COMPUTATION: [&str; 12] = [
    "scale",
    "softcap",
    "norm",
    "activation",
    "expert",
    "bias",
    "residual",
    "window",
    "altup",
    "nextn",
    "swiglu",
    "ssm.",
];

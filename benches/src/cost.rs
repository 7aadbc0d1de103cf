//! What a token costs by arithmetic alone: bytes to read and multiplications to do.
//!
//! Only matrices count. Attention over the cache is left out, so shares of the roof fall with depth
//! although the machine works as hard.

use std::cmp::Reverse;

use carat::{Config, KvSource};
use carat_gguf::{Gguf, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// A model's size and the cost of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Weights in all tensors.
    pub parameters: u64,
    /// Bytes of the matrices that a decoded token is multiplied with: all layers and the head. Of
    /// experts those that a token is sent through.
    pub decode_bytes: u64,
    /// Multiplications and additions of a decoded token.
    pub decode_macs: u64,
    /// Those of a token of a prompt: without the head, and where last layers read the keys of
    /// others without all that follows the last keys. Only the last token of a chunk passes these.
    pub prefill_macs: u64,
}

impl Cost {
    /// Counts the tensors of a text model.
    pub fn of(gguf: &Gguf<'_>) -> Self {
        let head = head_of(gguf);
        let (own, all) = layers(gguf);
        let (used, experts) = experts_of(gguf).unwrap_or((1, 1));
        let mut cost = Self::default();
        for tensor in gguf.tensors() {
            let (bytes, weights) = (tensor.data.len() as u64, tensor.shape.elements());
            cost.bytes += bytes;
            cost.parameters += weights;
            let is_keys =
                ["attn_k.weight", "attn_v.weight"].iter().any(|n| tensor.name.ends_with(n));
            let layer = layer_of(tensor).filter(|_| tensor.shape.rows() > 1);
            // Keys and values of layers that read those of others may be in the file.
            let layer = layer.filter(|layer| *layer < own || !is_keys);
            let of_prompt = |layer: usize| own == all || layer + 1 < own || is_keys;
            let is_shared = tensor.name == "per_layer_model_proj.weight";
            let is_experts = tensor.name.ends_with("_exps.weight");
            let read = |all: u64| if is_experts { all / experts * used } else { all };
            if layer.is_some() || is_shared || tensor.name == head {
                cost.decode_bytes += read(bytes);
                cost.decode_macs += read(weights);
            }
            if is_shared || layer.is_some_and(of_prompt) {
                cost.prefill_macs += read(weights);
            }
        }
        cost
    }
}

/// Name of a model for people: architecture, parameters, and how its matrices are stored: the types
/// in its layers, most bytes first, and that of the head where it is another than the first.
/// `gemma4 11.9B Q4_0 + Q6_K head`, `gemma3 268M Q4_K/Q6_K + Q8_0 head`.
pub fn model_type(gguf: &Gguf<'_>) -> String {
    let architecture = gguf.metadata().string("general.architecture").unwrap_or("unknown");
    let parameters: u64 = gguf.tensors().iter().map(|t| t.shape.elements()).sum();
    let size = match parameters {
        0..1_000_000_000 => format!("{:.0}M", parameters as f64 / 1e6),
        _ => format!("{:.1}B", parameters as f64 / 1e9),
    };
    format!("{} {size} {}", crate::text::printable(architecture, 40), mix(gguf))
}

/// The types of the matrices.
fn mix(gguf: &Gguf<'_>) -> String {
    let mut types: Vec<(TensorType, u64)> = Vec::new();
    for tensor in gguf.tensors().iter().filter(|t| t.name.starts_with("blk.")) {
        let bytes = if tensor.shape.rows() > 1 { tensor.data.len() as u64 } else { 0 };
        match types.iter_mut().find(|(t, _)| *t == tensor.tensor_type) {
            Some((_, sum)) => *sum += bytes,
            None => types.push((tensor.tensor_type, bytes)),
        }
    }
    types.retain(|(_, bytes)| *bytes > 0);
    types.sort_by_key(|(_, bytes)| Reverse(*bytes));
    let head = gguf.tensor(head_of(gguf)).map(|tensor| tensor.tensor_type);
    let names: Vec<_> = types.iter().map(|(t, _)| t.name()).collect();
    match (types.first(), head) {
        (None, None) => "empty".to_owned(),
        (None, Some(head)) => head.name().to_owned(),
        (Some((first, _)), Some(head)) if *first != head => {
            format!("{} + {} head", names.join("/"), head.name())
        }
        _ => names.join("/"),
    }
}

/// How many experts a token is sent through, and how many there are.
fn experts_of(gguf: &Gguf<'_>) -> Option<(u64, u64)> {
    let metadata = gguf.metadata();
    let architecture = metadata.string("general.architecture").ok()?;
    let number = |key: &str| metadata.uint(&format!("{architecture}.{key}")).ok();
    let (used, count) = (number("expert_used_count")?, number("expert_count")?);
    (1..=count).contains(&used).then_some((used, count))
}

/// How many layers have keys and values of their own, which are the first ones, and how many there
/// are; the same number where the file does not tell.
fn layers(gguf: &Gguf<'_>) -> (usize, usize) {
    let count = |config: Config| {
        let own = config.layers.iter().filter(|layer| layer.kv == KvSource::Own);
        (own.count(), config.layers.len())
    };
    Config::from_gguf(gguf).map_or((usize::MAX, usize::MAX), count)
}

/// The layer of a tensor, counted from 0.
fn layer_of(tensor: &Tensor<'_>) -> Option<usize> {
    let (layer, _) = tensor.name.strip_prefix("blk.")?.split_once('.')?;
    layer.parse().ok()
}

/// The matrix that gives logits.
fn head_of(gguf: &Gguf<'_>) -> &'static str {
    match gguf.tensor("output.weight") {
        Some(_) => "output.weight",
        None => "token_embd.weight",
    }
}

#[cfg(test)]
mod tests {
    use carat_gguf::{Endian, Writer};

    use super::*;

    fn file(head: bool) -> Vec<u8> {
        let mut writer = Writer::new(Endian::Little, 3)
            .metadata("general.architecture", "gemma4")
            .tensor("token_embd.weight", TensorType::Q8_0, &[32, 5], vec![0; 170])
            .tensor("output_norm.weight", TensorType::F32, &[32], vec![0; 128])
            .tensor("blk.0.attn_norm.weight", TensorType::F32, &[32], vec![0; 128])
            .tensor("blk.0.attn_q.weight", TensorType::Q4_0, &[32, 3], vec![0; 54]);
        if head {
            writer = writer.tensor("output.weight", TensorType::F16, &[32, 5], vec![0; 320]);
        }
        writer.to_bytes().expect("a valid file")
    }

    #[test]
    fn costs_by_hand() {
        let bytes = file(false);
        let gguf = Gguf::parse(&bytes).expect("what was written");
        let wanted = Cost {
            bytes: 170 + 128 + 128 + 54,
            parameters: 160 + 32 + 32 + 96,
            decode_bytes: 170 + 54,
            decode_macs: 160 + 96,
            prefill_macs: 96,
        };
        assert_eq!(Cost::of(&gguf), wanted);
        assert_eq!(model_type(&gguf), "gemma4 0M Q4_0 + Q8_0 head");
    }

    #[test]
    fn a_head_of_its_own_replaces_the_embedding() {
        let bytes = file(true);
        let gguf = Gguf::parse(&bytes).expect("what was written");
        assert_eq!(model_type(&gguf), "gemma4 0M Q4_0 + F16 head");
        let cost = Cost::of(&gguf);
        assert_eq!((cost.decode_bytes, cost.decode_macs), (320 + 54, 160 + 96));
    }

    /// Two of five experts: of 5 · 3 rows of 18 bytes six.
    #[test]
    fn a_token_reads_the_experts_it_is_sent_through() {
        let experts = |used: u32| {
            let writer = Writer::new(Endian::Little, 3)
                .metadata("general.architecture", "gemma4")
                .metadata("gemma4.expert_count", 5u32)
                .metadata("gemma4.expert_used_count", used)
                .tensor("token_embd.weight", TensorType::Q8_0, &[32, 5], vec![0; 170])
                .tensor("blk.0.ffn_gate_inp.weight", TensorType::F32, &[32, 5], vec![0; 640])
                .tensor("blk.0.ffn_up_exps.weight", TensorType::Q4_0, &[32, 3, 5], vec![0; 270]);
            let bytes = writer.to_bytes().expect("a file");
            Cost::of(&Gguf::parse(&bytes).expect("what was written"))
        };
        let wanted = Cost {
            bytes: 170 + 640 + 270,
            parameters: 160 + 160 + 480,
            decode_bytes: 170 + 640 + 6 * 18,
            decode_macs: 160 + 160 + 6 * 32,
            prefill_macs: 160 + 6 * 32,
        };
        assert_eq!(experts(2), wanted);
        // Numbers that make no sense leave all of them.
        assert_eq!(experts(6).decode_bytes, 170 + 640 + 270);
    }

    #[test]
    fn all_types_of_the_layers_are_named() {
        let writer = Writer::new(Endian::Little, 3)
            .metadata("general.architecture", "gemma3")
            .tensor("token_embd.weight", TensorType::Q8_0, &[32, 2], vec![0; 68])
            .tensor("blk.0.attn_k.weight", TensorType::Q8_0, &[32, 2], vec![0; 68])
            .tensor("blk.0.attn_q.weight", TensorType::Q4_0, &[32, 4], vec![0; 72]);
        let bytes = writer.to_bytes().expect("a valid file");
        let name = model_type(&Gguf::parse(&bytes).expect("what was written"));
        assert_eq!(name, "gemma3 0M Q4_0/Q8_0 + Q8_0 head");
    }
}

//! The keys of a mixture of experts: a layer's feed-forward part has many small networks, of which
//! each token is sent through a few.

use super::keys::Keys;
use super::{EXPERTS_MAX, LayerConfig, Result, WIDTH_MAX};

/// The experts of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// How many of them a token is sent through, from 1 to `count`.
    pub used: usize,
    /// Length of the hidden vector of each.
    pub width: usize,
}

/// Adds to the layers what the file says about experts. A layer whose expert length is 0 has none.
///
/// # Errors
/// If a number is missing or absurd, or the file asks for another kind of router.
pub(super) fn with_experts(keys: &Keys<'_>, layers: Vec<LayerConfig>) -> Result<Vec<LayerConfig>> {
    if matches!(keys.opt_uint("expert_count")?, None | Some(0)) {
        return Ok(layers);
    }
    let count = keys.uint("expert_count", EXPERTS_MAX)?;
    let used = keys.uint("expert_used_count", count)?;
    let widths = keys.per_layer_or_none("expert_feed_forward_length", layers.len(), WIDTH_MAX)?;
    if widths.iter().all(|width| *width == 0) {
        return keys.wrong("expert_feed_forward_length", 0, format!("1 to {WIDTH_MAX}"));
    }
    only_softmax(keys)?;
    let with = |(layer, width): (LayerConfig, usize)| {
        let experts = (width > 0).then_some(Experts { count, used, width });
        LayerConfig { experts, ..layer }
    };
    Ok(layers.into_iter().zip(widths).map(with).collect())
}

/// Refuses routers that weigh otherwise than Gemma 4's: a softmax over all experts, of which those
/// of a token are brought to a sum of 1.
fn only_softmax(keys: &Keys<'_>) -> Result<()> {
    match keys.opt_uint("expert_gating_func")? {
        None | Some(0 | SOFTMAX) => {}
        Some(found) => return keys.wrong("expert_gating_func", found, "1, which is softmax,"),
    }
    if keys.opt_boolean("expert_weights_norm")? == Some(false) {
        return keys.wrong("expert_weights_norm", false, "true");
    }
    match keys.opt_float("expert_weights_scale")? {
        None | Some(0.0 | 1.0) => Ok(()),
        Some(found) => keys.wrong("expert_weights_scale", found, "1"),
    }
}

/// What llama.cpp's `llama_expert_gating_func_type` calls softmax.
const SOFTMAX: u64 = 1;

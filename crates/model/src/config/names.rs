//! What people call the models. No key of a file says it, so sizes are known by their number of
//! layers, as in llama.cpp (`LLM_ARCH_GEMMA3` and `LLM_ARCH_GEMMA4`).

use super::{Architecture, Config};

/// The name of a model.
pub(super) fn of(config: &Config) -> &'static str {
    let layers = config.layers.len();
    match (config.architecture, layers, config.experts().is_some()) {
        (Architecture::Gemma4, 30, true) => "Gemma 4 26B-A4B",
        (Architecture::Gemma4, _, true) => "a Gemma 4 with a mixture of experts",
        (Architecture::Gemma4, 48, _) => "Gemma 4 12B",
        (Architecture::Gemma4, 60, _) => "Gemma 4 31B",
        (Architecture::Gemma4, ..) => gemma4_e(layers).unwrap_or("a Gemma 4"),
        (Architecture::Gemma3, 18, _) => "Gemma 3 270M",
        (Architecture::Gemma3, 26, _) => "Gemma 3 1B",
        (Architecture::Gemma3, 34, _) => "Gemma 3 4B",
        (Architecture::Gemma3, 48, _) => "Gemma 3 12B",
        (Architecture::Gemma3, 62, _) => "Gemma 3 27B",
        (Architecture::Gemma3, ..) => "a Gemma 3",
    }
}

/// The name of a model of the E series.
pub(super) fn gemma4_e(layers: usize) -> Option<&'static str> {
    match layers {
        35 => Some("Gemma 4 E2B"),
        42 => Some("Gemma 4 E4B"),
        _ => None,
    }
}

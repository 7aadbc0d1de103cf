//! What people call the models. No key of a file says it, so sizes are known by their number of
//! layers, as in llama.cpp (`LLM_ARCH_GEMMA3` and `LLM_ARCH_GEMMA4`).

use std::borrow::Cow;

use super::{Architecture, Config};

/// The name of a model.
pub(super) fn of(config: &Config) -> Cow<'static, str> {
    let layers = config.layers.len();
    let name = match (config.architecture, layers, config.per_layer > 0) {
        (Architecture::Gemma4, 35, true) => "Gemma 4 E2B",
        (Architecture::Gemma4, 42, true) => "Gemma 4 E4B",
        (Architecture::Gemma4, _, true) => {
            return format!("Gemma 4 E-series of {layers} layers").into();
        }
        (Architecture::Gemma4, 48, _) => "Gemma 4 12B",
        (Architecture::Gemma4, 60, _) => "Gemma 4 31B",
        (Architecture::Gemma4, ..) => "a Gemma 4",
        (Architecture::Gemma3, 18, _) => "Gemma 3 270M",
        (Architecture::Gemma3, 26, _) => "Gemma 3 1B",
        (Architecture::Gemma3, 34, _) => "Gemma 3 4B",
        (Architecture::Gemma3, 48, _) => "Gemma 3 12B",
        (Architecture::Gemma3, 62, _) => "Gemma 3 27B",
        (Architecture::Gemma3, ..) => "a Gemma 3",
    };
    name.into()
}

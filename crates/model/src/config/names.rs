//! What people call the models. No key of a file says it, so sizes are known by their number of
//! layers, as in llama.cpp (`LLM_ARCH_GEMMA3` and `LLM_ARCH_GEMMA4`).

use std::borrow::Cow;

use super::{Architecture, Config};

/// The name of a model.
pub(super) fn of(config: &Config) -> Cow<'static, str> {
    let layers = config.layers.len();
    let (is_e_series, has_experts) = (config.per_layer > 0, config.experts().is_some());
    let name = match (config.architecture, layers) {
        (Architecture::Gemma4, 35) if is_e_series => "Gemma 4 E2B",
        (Architecture::Gemma4, 42) if is_e_series => "Gemma 4 E4B",
        (Architecture::Gemma4, _) if is_e_series => {
            return format!("Gemma 4 E-series of {layers} layers").into();
        }
        (Architecture::Gemma4, 30) if has_experts => "Gemma 4 26B-A4B",
        (Architecture::Gemma4, _) if has_experts => "a Gemma 4 with a mixture of experts",
        (Architecture::Gemma4, 48) => "Gemma 4 12B",
        (Architecture::Gemma4, 60) => "Gemma 4 31B",
        (Architecture::Gemma4, _) => "a Gemma 4",
        (Architecture::Gemma3, 18) => "Gemma 3 270M",
        (Architecture::Gemma3, 26) => "Gemma 3 1B",
        (Architecture::Gemma3, 34) => "Gemma 3 4B",
        (Architecture::Gemma3, 48) => "Gemma 3 12B",
        (Architecture::Gemma3, 62) => "Gemma 3 27B",
        (Architecture::Gemma3, _) => "a Gemma 3",
    };
    name.into()
}

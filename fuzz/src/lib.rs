//! The fuzz targets as plain functions, and the seeds they start from.
//!
//! A target takes any bytes and panics when an assertion of its own fails. libFuzzer calls it from
//! `fuzz_targets/`, and `tests/replay.rs` calls it over every seed on stable Rust, so that each
//! `.ci/run` replays what was found before.
//!
//! `README.md` says how to fuzz one. An input that failed becomes a seed: copy it to
//! `seeds/<target>/` and name it after its flaw.

pub mod blocks;
pub mod call;
pub mod film;
pub mod gguf;
pub mod grammar;
pub mod jpeg;
mod kit;
mod made;
pub mod messages;
pub mod model;
pub mod picture;
pub mod request;
pub mod resample;
mod said;
pub mod session;
pub mod sound;
pub mod template;
pub mod tokenizer;

/// A fuzz target by name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its module, its function and its folder under `seeds/`.
    pub name: &'static str,
    /// Runs it over one input; panics where an assertion fails. Tells whether the input was taken
    /// for what the target reads, rather than refused.
    pub run: fn(&[u8]) -> bool,
    /// The seeds that code makes; `make-seeds` writes them to `seeds/<name>/`.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 21] = [
    Target { name: "gguf", run: gguf::gguf, seeds: gguf::gguf_seeds },
    Target { name: "tokenizer", run: tokenizer::tokenizer, seeds: tokenizer::tokenizer_seeds },
    Target { name: "template", run: template::template, seeds: template::template_seeds },
    Target { name: "blocks", run: blocks::blocks, seeds: blocks::blocks_seeds },
    Target { name: "tiff", run: picture::tiff, seeds: picture::tiff_seeds },
    Target { name: "bitmap", run: picture::bitmap, seeds: picture::bitmap_seeds },
    Target { name: "wav", run: sound::wav, seeds: sound::wav_seeds },
    Target { name: "mp4", run: sound::mp4, seeds: sound::mp4_seeds },
    Target { name: "jpeg", run: jpeg::jpeg, seeds: jpeg::jpeg_seeds },
    Target { name: "picture", run: picture::picture, seeds: picture::picture_seeds },
    Target { name: "film", run: film::film, seeds: film::film_seeds },
    Target { name: "sound", run: sound::sound, seeds: sound::sound_seeds },
    Target { name: "resample", run: resample::resample, seeds: resample::resample_seeds },
    Target { name: "messages", run: messages::messages, seeds: messages::messages_seeds },
    Target { name: "call", run: call::call, seeds: call::call_seeds },
    Target { name: "grammar", run: grammar::grammar, seeds: grammar::grammar_seeds },
    Target { name: "request", run: request::request, seeds: request::request_seeds },
    Target { name: "model", run: model::model, seeds: model::model_seeds },
    Target { name: "projector", run: model::projector, seeds: model::projector_seeds },
    Target { name: "drafter", run: model::drafter, seeds: model::drafter_seeds },
    Target { name: "session", run: session::session, seeds: session::session_seeds },
];

/// The file name of the seed that code makes at `index`; seeds that were found have other names.
pub fn made_seed_name(index: usize) -> String {
    format!("made-{index:02}")
}

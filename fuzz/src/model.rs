//! Whole models, projectors and drafters: any bytes are refused with a sentence, or are a model
//! that evaluates tokens, twice to the same bits.
//!
//! An input is a file up to its tensors' data, which the target makes: numbers of a moderate size
//! in every format. So inputs are small, and what is changed in them is what a reader believes.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use carat::vision::{Budget, Picture};
use carat::{
    DraftConfig, Error, Input, Isa, KvType, Model, OpenOptions, Part, Sampler, SamplerConfig,
    Session, SessionConfig, TokenId,
};
use carat_gguf::{Gguf, Writer};

use crate::{kit, made, said};

/// Opens the model in `data`, and says three tokens to it.
pub fn model(data: &[u8]) -> bool {
    model_says(data).is_some()
}

fn model_says(data: &[u8]) -> Option<()> {
    let file = File::new("model", data)?;
    let options = OpenOptions { threads: 1, max_memory: Some(MEMORY_MAX), ..Default::default() };
    let model = taken(Model::open_with(&file.0, options))?;
    let mut bits = [Vec::new(), Vec::new()];
    for bits in &mut bits {
        let mut session = taken(Session::new(&model, settings(&model)))?;
        let vocab = model.config().vocab;
        let ids: Vec<TokenId> = (0..3).map(|i| (i * 5 + 1) % vocab as TokenId).collect();
        taken(session.push(Input::Tokens(&ids)))?;
        let logits = taken(session.logits())?;
        assert_eq!(logits.len(), vocab);
        *bits = logits.iter().map(|x| x.to_bits()).collect();
        generate(&mut session, 2);
    }
    assert!(bits[0] == bits[1], "the same tokens have other logits");
    Some(())
}

/// Opens the projector in `data` with the kit's model, which looks and listens with it.
pub fn projector(data: &[u8]) -> bool {
    projector_says(data).is_some()
}

fn projector_says(data: &[u8]) -> Option<()> {
    let file = File::new("projector", data)?;
    let text = kit::file("tiny-s/text-q4_0");
    let options = OpenOptions {
        threads: 1,
        projector: Some(&file.0),
        max_memory: Some(MEMORY_MAX),
        ..Default::default()
    };
    let model = taken(Model::open_with(text, options))?;
    let mut session = taken(Session::new(&model, settings(&model)))?;
    let pixels: Vec<u8> = (0..96 * 48 * 3).map(|i| (i * 7 % 253) as u8).collect();
    let picture = Picture::from_rgb(96, 48, &pixels, Budget::ALL[0]).expect("a small picture");
    let sound: Vec<f32> = (0..2000).map(|i| (i as f32 * 0.1).sin() * 0.3).collect();
    let media = [session.embed_picture(&picture), session.embed_samples(&sound)];
    let mut is_used = false;
    for medium in media {
        let Some(medium) = taken(medium) else { continue };
        let parts = [Part::Medium(&medium)];
        is_used |= taken(session.push(Input::Parts(&parts))).is_some();
    }
    is_used.then_some(())
}

/// Opens the drafter in `data` with the kit's model, whose tokens it may only guess.
pub fn drafter(data: &[u8]) -> bool {
    drafter_says(data).is_some()
}

fn drafter_says(data: &[u8]) -> Option<()> {
    let file = File::new("drafter", data)?;
    let text = kit::file("tiny-s/text-q4_0");
    let options = OpenOptions {
        threads: 1,
        drafter: Some(&file.0),
        max_memory: Some(MEMORY_MAX),
        ..Default::default()
    };
    let model = taken(Model::open_with(text, options))?;
    assert!(model.drafts());
    let said_by = |most: usize| {
        let draft = DraftConfig { most, adaptive: false };
        let mut session = taken(Session::new(&model, SessionConfig { draft, ..settings(&model) }))?;
        session.push(Input::Tokens(&[300, 301, 302])).expect("the kit's model takes tokens");
        generate(&mut session, 6)
    };
    let (with, without) = (said_by(3), said_by(0));
    assert_eq!(with?, without?, "guesses changed what is said");
    Some(())
}

/// The likeliest tokens after what was pushed; `None` where an error ends them.
fn generate(session: &mut Session, count: usize) -> Option<Vec<TokenId>> {
    let vocab = session.model().config().vocab;
    let greedy = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
    let mut sampler = Sampler::new(greedy, vocab).expect("the likeliest token");
    let mut ids = Vec::new();
    for id in session.generate(&mut sampler).take(count) {
        let id = taken(id)?;
        assert!((id as usize) < vocab);
        ids.push(id);
    }
    Some(ids)
}

fn settings(model: &Model) -> SessionConfig {
    SessionConfig {
        context: model.config().context.min(64),
        threads: 1,
        prefill_chunk: 8,
        rollback: 3,
        kv: KvType::F16,
        isa: Isa::best(),
        ..Default::default()
    }
}

fn taken<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                said::is_a_sentence(&error);
                cause = error.source();
            }
            None
        }
    }
}

/// A file that is gone with this. It lies in the folder of temporary files, where it does little
/// harm if the process ends within a run.
struct File(PathBuf);

impl File {
    /// The input with data for its tensors; `None` if it does not begin like a model file.
    fn new(name: &str, data: &[u8]) -> Option<Self> {
        data.starts_with(b"GGUF").then_some(())?;
        let path = env::temp_dir().join(format!("carat-fuzz-{}-{name}.gguf", process::id()));
        let mut file = data.to_vec();
        let mut state = 1u32;
        file.extend((0..DATA_BYTES).map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes
            let byte = (state >> 24) as u8;
            // Every second byte is the upper one of a number with an exponent around 0. None is
            // negative, as divisors of frequencies may not be.
            if i % 2 == 1 { byte & 0x03 | 0x38 } else { byte }
        }));
        fs::write(&path, file).expect("room for a small file");
        Some(Self(path))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A 12B, an E series, a mixture of experts and a Gemma 3, each a few kilobytes.
pub fn model_seeds() -> Vec<Vec<u8>> {
    made::models().into_iter().map(|writer| head(&writer)).collect()
}

/// Small ones without and with encoders.
pub fn projector_seeds() -> Vec<Vec<u8>> {
    made::projectors().into_iter().map(|writer| head(&writer)).collect()
}

/// The kit's drafter.
pub fn drafter_seeds() -> Vec<Vec<u8>> {
    vec![head_of_file(&kit::file("tiny-s-drafter/drafter-q8_0"))]
}

fn head_of_file(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("a file of the kit");
    let gguf = Gguf::parse(&bytes).expect("a file of the kit");
    let mut writer = Writer::new(gguf.endian(), gguf.version());
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| *key != TEMPLATE) {
        writer = writer.metadata(key, *value);
    }
    for t in gguf.tensors() {
        writer = writer.tensor(t.name, t.tensor_type, &t.shape, t.data);
    }
    head(&writer)
}

/// A file up to the data of its tensors.
fn head(writer: &Writer<'_>) -> Vec<u8> {
    let bytes = writer.to_bytes().expect("a seed is valid");
    let gguf = Gguf::parse(&bytes).expect("a seed is valid");
    let data = gguf.tensors().iter().map(|t| t.data.as_ptr() as usize).min();
    let at = data.map_or(bytes.len(), |data| data - bytes.as_ptr() as usize);
    bytes[..at].to_vec()
}

/// Long, and no part of what is tried here.
const TEMPLATE: &str = "tokenizer.chat_template";

/// More than the tensors of every seed have.
const DATA_BYTES: usize = 256 << 10;

/// Inputs of kilobytes whose weights take more are refused.
const MEMORY_MAX: u64 = 64 << 20;

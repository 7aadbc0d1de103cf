//! Texts, probabilities and caches are the same with drafts and without, over runs that are drawn at
//! random: wherever drafts come from, whatever is done between them, alone and in batches, in
//! answers of every kind.

mod common;
mod drafting;
mod saved;
#[path = "drafting/steps.rs"]
mod steps;

use std::path::{Path, PathBuf};

use carat::{Model, OpenOptions};
use common::{file, kit};
use steps::Run;

/// The kit with its senses and a drafter.
fn model(quant: &str) -> Model {
    let projector = kit().join("mmproj-f32.gguf");
    let drafter = kit().join("../tiny-s-drafter/drafter-q8_0.gguf");
    let options =
        OpenOptions { projector: Some(&projector), drafter: Some(&drafter), ..Default::default() };
    Model::open_with(file(quant), options).expect("a model")
}

fn sessions(seeds: std::ops::Range<u64>) {
    let models = ["q4_0", "q8_0", "f32"].map(model);
    let (mut drafted, mut accepted) = (0, 0);
    for seed in seeds.clone() {
        let model = &models[seed as usize % 3];
        let stats = Run { model, has_senses: true, seed, count: 14 }.check();
        (drafted, accepted) = (drafted + stats.0, accepted + stats.1);
    }
    println!("{drafted} tokens drafted, {accepted} accepted");
    let runs = (seeds.end - seeds.start) as usize;
    assert!(drafted > 20 * runs && accepted > 5 * runs, "{drafted} and {accepted}");
}

#[test]
fn sessions_are_the_same() {
    sessions(0..120);
}

#[test]
#[ignore = "takes minutes"]
fn thousands_of_sessions_are_the_same() {
    sessions(1000..4000);
}

//! What the benchmarks share: how things are measured, what a result is, and how it is shown.
//!
//! [`Roof`] is what the machine can do at most, [`measure`] what the engine does with a model,
//! [`Results`] both with all that is needed to compare them, [`report`] their tables and charts.
//! [`protocol`] is the same with nothing left to choose, so that machines can be compared.
//! [`synthetic`] writes models of random weights, so that nobody needs a download to measure.
//! `carat bench` is a thin shell around this; `benches/kernels.rs` and `bin/instructions.rs`
//! measure single kernels.

pub mod cost;
pub mod draft;
pub mod machine;
mod matrix;
pub mod measure;
pub mod protocol;
pub mod random;
pub mod report;
mod results;
pub mod roof;
pub mod stats;
pub mod synthetic;
pub mod text;

pub use matrix::{Activations, Matrix, PROMPT_COLUMNS};
pub use results::{Kind, MemoryPoint, ModelFacts, Results, Skipped, Test};
pub use roof::{Roof, RoofOptions, read};

/// The README's example, compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The commit that was built, `unknown` outside of a repository.
pub const COMMIT: &str = match option_env!("CARAT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

//! The protocol: what `carat bench --protocol 1` measures, so that machines can be compared.
//!
//! Everything that could be chosen is fixed: token ids ([`ids`]), lengths, depths, repetitions. A
//! [`Record`] says what was found on which machine with which program and which model, and what
//! else the machine did meanwhile ([`Conditions`]). [`marks()`] turns the latter into sentences for
//! readers, by fixed bounds, so that [`check()`] can tell whether a file has those that it must
//! have. [`gate`] asks whether the answers are right.
//!
//! `benches/README.md` is the specification; a change of what is measured is another version.

pub mod check;
mod conditions;
mod energy;
pub mod gate;
mod marks;
mod record;
mod run;
pub(crate) mod summary;
mod system;

use std::time::Duration;

use carat::Model;

pub use check::check;
pub use conditions::{Conditions, Monitor, WATCH_SECONDS};
pub use gate::{Gate, Reference, Row};
pub use marks::{marks, refusals};
pub use record::{Kind, Mark, NamedModel, Program, Record, Settings, Sustained, Timing};
pub use run::{Job, estimate, run};
pub use summary::summary;
pub use system::{Cache, System};

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// How much of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens in the session before decoding.
    pub depths: [usize; 3],
    /// Tokens that are decoded in a sample.
    pub generate: usize,
    /// Tokens of a turn of text, BOS included.
    pub text: usize,
    /// Tokens of the question after a picture or a sound.
    pub question: usize,
    /// Samples of each test but the starts.
    pub repetitions: usize,
    /// Second starts.
    pub starts: usize,
    /// How long decoding is sustained.
    pub sustained: Duration,
}

impl Plan {
    /// Version 1.
    pub const FULL: Self = Self {
        prompt: 512,
        depths: [0, 4096, 16_384],
        generate: 32,
        text: 128,
        question: 16,
        repetitions: 5,
        starts: 3,
        sustained: Duration::from_secs(600),
    };

    /// Everything once or twice and small, to see that it works.
    pub const QUICK: Self = Self {
        prompt: 48,
        depths: [0, 64, 256],
        generate: 4,
        text: 16,
        question: 4,
        repetitions: 3,
        starts: 1,
        sustained: Duration::from_secs(2),
    };

    /// The plan of a record.
    pub fn of(record: &Record) -> &'static Self {
        if record.quick { &Self::QUICK } else { &Self::FULL }
    }

    /// The tokens that a session must hold for decoding at a depth.
    pub fn context(&self, depth: usize) -> usize {
        depth + self.generate + 1
    }

    /// The names of all tests, in the order in which they run.
    pub fn names(&self) -> Vec<String> {
        let decode = self.depths.iter().map(|depth| format!("decode {depth}"));
        let first = ["start first".to_owned(), format!("prompt {}", self.prompt)];
        let turns = ["turn text", "turn picture", "turn sound", "start second"].map(str::to_owned);
        first.into_iter().chain(decode).chain(turns).collect()
    }
}

/// The tokens of all prompts: BOS if there is one, and then ordinary ones. Candidate `j`, counted
/// from 1, is `(j · 2654435761 mod 2³²) · vocab / 2³²`, rounded down; special tokens are passed
/// over. (2654435761 is Knuth's multiplier, 2³² by the golden ratio: neighbours lie far apart.)
///
/// A vocabulary of special tokens alone has none of them, and its smallest id stands for all.
pub fn ids(model: &Model, count: usize) -> Vec<u32> {
    let (vocab, tokenizer) = (model.config().vocab, model.tokenizer());
    let bos = tokenizer.bos().filter(|_| count > 0);
    let rest = count - bos.iter().len();
    let tries = 64 * (rest as u64 + 1);
    let candidates = (1..=tries).map(|j| candidate(j, vocab));
    let mut ids: Vec<u32> = bos.into_iter().collect();
    ids.extend(candidates.filter(|id| !tokenizer.is_special(*id)).take(rest));
    ids.resize(count, 0);
    ids
}

fn candidate(j: u64, vocab: usize) -> u32 {
    let spread = j.wrapping_mul(2_654_435_761) & 0xffff_ffff;
    ((spread * vocab as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_by_hand() {
        // 2654435761 / 2³² is 0.6180..., twice that less 1 is 0.2360..., and so on.
        assert_eq!([1, 2, 3].map(|j| candidate(j, 1000)), [618, 236, 854]);
        assert_eq!(candidate(1, 262_144), 162_013);
    }

    #[test]
    fn the_plan_names_every_test_once() {
        let names = Plan::FULL.names();
        let wanted = ["start first", "prompt 512", "decode 0", "decode 4096", "decode 16384"];
        assert_eq!(names[..5], wanted);
        assert_eq!(names[5..], ["turn text", "turn picture", "turn sound", "start second"]);
    }
}

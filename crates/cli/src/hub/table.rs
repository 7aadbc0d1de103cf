//! The names that carat gives models, and the files that they stand for: a new model is a new row.
//!
//! Where the names come from (looked up in November 2026):
//! - Models and projectors of `12b`, `26b`, `31b`, `e4b` and `e2b` are Google's own, named and
//!   sized as in its repositories `google/gemma-4-*-it-qat-q4_0-gguf`.
//! - `12b-q8` is of ggml-org, the makers of the format, with their own projector and drafter.
//! - Google has no GGUF files of the drafters that were trained with the QAT models. Those are
//!   Unsloth's conversions, under the name that its repositories give the one to use.
//!
//! Sizes are what the owners said then, some of them rounded. They are for messages alone: what is
//! fetched has the size and the hash that the Hub says. Where a repository has no such file any
//! more, the error lists those that it has.

/// A name and what it stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// What a person types. The drafter's name is this with `-draft` added.
    pub(crate) name: &'static str,
    /// The model in a few words.
    pub(crate) about: &'static str,
    pub(crate) model: Entry,
    pub(crate) projector: Option<Entry>,
    pub(crate) drafter: Option<Entry>,
}

/// A file of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) repo: &'static str,
    /// The first part of a split file stands for all.
    pub(crate) file: &'static str,
    /// About as many bytes.
    pub(crate) bytes: u64,
}

const fn entry(repo: &'static str, file: &'static str, bytes: u64) -> Option<Entry> {
    Some(Entry { repo, file, bytes })
}

/// The model that is recommended first.
pub(crate) const FIRST: &Row = &ROWS[0];

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "12b",
        about: "Gemma 4 12B, Google's QAT in Q4_0",
        model: Entry {
            repo: "google/gemma-4-12B-it-qat-q4_0-gguf",
            file: "gemma-4-12b-it-qat-q4_0.gguf",
            bytes: 6_975_877_728,
        },
        projector: entry(
            "google/gemma-4-12B-it-qat-q4_0-gguf",
            "mmproj-gemma-4-12b-it-qat-q4_0.gguf",
            175_115_264,
        ),
        drafter: entry("unsloth/gemma-4-12B-it-qat-GGUF", "mtp-gemma-4-12B-it.gguf", 254_000_000),
    },
    Row {
        name: "12b-q8",
        about: "Gemma 4 12B in Q8_0",
        model: Entry {
            repo: "ggml-org/gemma-4-12B-it-GGUF",
            file: "gemma-4-12B-it-Q8_0.gguf",
            bytes: 12_700_000_000,
        },
        projector: entry(
            "ggml-org/gemma-4-12B-it-GGUF",
            "mmproj-gemma-4-12B-it-Q8_0.gguf",
            151_000_000,
        ),
        drafter: entry("ggml-org/gemma-4-12B-it-GGUF", "mtp-gemma-4-12B-it-Q8_0.gguf", 465_109_152),
    },
    Row {
        name: "26b",
        about: "Gemma 4 26B-A4B, Google's QAT in Q4_0",
        model: Entry {
            repo: "google/gemma-4-26B-A4B-it-qat-q4_0-gguf",
            file: "gemma-4-26B_q4_0-it.gguf",
            bytes: 14_439_363_584,
        },
        projector: entry(
            "google/gemma-4-26B-A4B-it-qat-q4_0-gguf",
            "gemma-4-26B-it-mmproj.gguf",
            1_194_828_160,
        ),
        drafter: entry(
            "unsloth/gemma-4-26B-A4B-it-qat-GGUF",
            "mtp-gemma-4-26B-A4B-it.gguf",
            250_000_000,
        ),
    },
    Row {
        name: "31b",
        about: "Gemma 4 31B, Google's QAT in Q4_0",
        model: Entry {
            repo: "google/gemma-4-31B-it-qat-q4_0-gguf",
            file: "gemma-4-31B_q4_0-it.gguf",
            bytes: 17_651_001_568,
        },
        projector: entry(
            "google/gemma-4-31B-it-qat-q4_0-gguf",
            "gemma-4-31B-it-mmproj.gguf",
            1_200_000_000,
        ),
        drafter: entry("unsloth/gemma-4-31B-it-qat-GGUF", "mtp-gemma-4-31B-it.gguf", 260_000_000),
    },
    Row {
        name: "e4b",
        about: "Gemma 4 E4B, Google's QAT in Q4_0",
        model: Entry {
            repo: "google/gemma-4-E4B-it-qat-q4_0-gguf",
            file: "gemma-4-E4B_q4_0-it.gguf",
            bytes: 5_154_941_280,
        },
        projector: entry(
            "google/gemma-4-E4B-it-qat-q4_0-gguf",
            "gemma-4-E4B-it-mmproj.gguf",
            991_552_256,
        ),
        drafter: entry("unsloth/gemma-4-E4B-it-qat-GGUF", "mtp-gemma-4-E4B-it.gguf", 60_000_000),
    },
    Row {
        name: "e2b",
        about: "Gemma 4 E2B, Google's QAT in Q4_0",
        model: Entry {
            repo: "google/gemma-4-E2B-it-qat-q4_0-gguf",
            file: "gemma-4-E2B_q4_0-it.gguf",
            bytes: 3_349_516_256,
        },
        projector: entry(
            "google/gemma-4-E2B-it-qat-q4_0-gguf",
            "gemma-4-E2B-it-mmproj.gguf",
            986_833_664,
        ),
        drafter: entry("unsloth/gemma-4-E2B-it-qat-GGUF", "mtp-gemma-4-E2B-it.gguf", 60_000_000),
    },
];

impl Row {
    /// About as many bytes as the model and its projector have.
    pub(crate) fn bytes(&self) -> u64 {
        self.model.bytes + self.projector.as_ref().map_or(0, |projector| projector.bytes)
    }

    /// The row whose model is this file.
    pub(crate) fn of_file(repo: &str, file: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| (row.model.repo, row.model.file) == (repo, file))
    }
}

/// All names, as a sentence lists them.
pub(crate) fn names() -> String {
    ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::name::{Repo, is_plain_path};

    #[test]
    fn every_row_is_well_formed_and_named_once() {
        for (at, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..at].iter().all(|other| other.name != row.name), "{} twice", row.name);
            assert!(!row.name.ends_with("-draft") && !row.name.contains('/'), "{}", row.name);
            for entry in [Some(&row.model), row.projector.as_ref(), row.drafter.as_ref()] {
                let Some(entry) = entry else { continue };
                assert!(Repo::parse(entry.repo).is_some(), "{}", entry.repo);
                assert!(is_plain_path(entry.file) && entry.file.ends_with(".gguf"));
            }
        }
        assert_eq!(FIRST.name, "12b");
    }
}

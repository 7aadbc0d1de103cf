//! The gallery in the program: pictures, recordings, and what is asked about them.
//!
//! `gallery.json` is a list of `{"files": [..], "question": "..", "expected": ".."}`. The files lie
//! beside it; what they are is told by the ends of their names.

use std::path::Path;

use anyhow::{Context, Result, bail};
use carat::audio::Clip;
use carat::vision::{Budget, Picture};
use serde::{Deserialize, Serialize};

use crate::media::Read;

/// Something to show the model, and what it should say.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    /// Pictures and recordings, in the order in which they are shown; none for a question alone.
    pub(super) files: Vec<String>,
    pub(super) question: String,
    pub(super) expected: String,
}

/// A file of the gallery.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Picture,
    Sound,
}

/// All items, in the order of the list.
pub(super) fn items() -> Result<Vec<Item>> {
    serde_json::from_slice(bytes(LIST)?.1).with_context(|| format!("cannot use {LIST}"))
}

impl Item {
    /// The files of the item.
    pub(super) fn files(&self) -> Result<Vec<File>> {
        self.files.iter().map(|name| file(name)).collect()
    }

    /// Whether an answer is the expected one. Neither case nor punctuation around words counts.
    pub(super) fn is_right(&self, answer: &str) -> bool {
        plain(answer) == plain(&self.expected)
    }
}

impl File {
    /// What the model is shown.
    pub(super) fn read(&self, budget: Budget) -> Result<Read> {
        let cannot = || format!("cannot read {} of the gallery", self.name);
        Ok(match self.kind {
            Kind::Picture => Read::Image(Picture::decode(self.bytes, budget).with_context(cannot)?),
            Kind::Sound => Read::Audio(Clip::decode(self.bytes).with_context(cannot)?),
        })
    }
}

fn file(name: &str) -> Result<File> {
    let (name, bytes) = bytes(name)?;
    let end = Path::new(name).extension().and_then(|end| end.to_str());
    let kind = match end {
        Some("png" | "jpg" | "jpeg" | "webp" | "gif" | "bmp") => Kind::Picture,
        Some("wav" | "flac" | "opus" | "ogg" | "mp3") => Kind::Sound,
        _ => bail!("{name} of the gallery is neither a picture nor a recording: rename it"),
    };
    Ok(File { name, bytes, kind })
}

fn bytes(name: &str) -> Result<(&'static str, &'static [u8])> {
    match FILES.iter().find(|(found, _)| *found == name) {
        Some(file) => Ok(*file),
        None => bail!("{name} is not in the gallery: put it beside {LIST} and build again"),
    }
}

/// The words of an answer in small letters, without punctuation around them.
fn plain(answer: &str) -> Vec<String> {
    let trimmed = |word: &str| {
        word.trim_matches(|c: char| c.is_ascii_punctuation() && c != '-').to_lowercase()
    };
    answer.split_whitespace().map(trimmed).filter(|word| !word.is_empty()).collect()
}

/// Everything in the folder, by name.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/gallery.rs"));

const LIST: &str = "gallery.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_list_can_be_read_and_no_other_lies_beside_it() {
        let items = items().expect("the list is well-formed");
        assert!(items.len() >= 10, "{}", items.len());
        let mut named = vec![LIST.to_owned()];
        for item in &items {
            assert!(!item.question.is_empty() && !plain(&item.expected).is_empty(), "{item:?}");
            for file in item.files().expect("the files are there") {
                file.read(Budget::try_from(280).expect("a budget")).expect("it can be read");
                named.push(file.name.to_owned());
            }
        }
        for (name, bytes) in FILES {
            assert!(named.iter().any(|named| named == name), "{name} is not asked about");
            assert!(bytes.len() < 200_000, "{name} is large");
        }
    }

    #[test]
    fn an_answer_is_compared_word_by_word() {
        let item = |expected: &str| Item {
            files: Vec::new(),
            question: String::new(),
            expected: expected.to_owned(),
        };
        for (expected, answer) in [
            ("top right", "Top right."),
            ("3", " 3\n"),
            ("yes", "Yes!"),
            ("4 7 1", "4 7 1"),
            ("-5", "-5."),
        ] {
            assert!(item(expected).is_right(answer), "{answer:?}");
        }
        for (expected, answer) in
            [("3", "33"), ("471", "4 7 1"), ("-5", "5"), ("yes", ""), ("3", "3 circles")]
        {
            assert!(!item(expected).is_right(answer), "{answer:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_of_no_kind_is_named() {
        let error = file("nowhere.png").expect_err("it is not there").to_string();
        assert!(error.contains("nowhere.png"), "{error}");
        let error = file(LIST).expect_err("it is no picture").to_string();
        assert!(error.contains("neither a picture nor a recording"), "{error}");
    }
}

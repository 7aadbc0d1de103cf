//! Which files of a repository are meant where none is named. Nothing but names is known of them
//! before they are fetched.

use crate::hub::table::Row;

/// What a GGUF file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Model,
    Projector,
    /// The small model that guesses what the large one will say.
    Drafter,
}

/// `None` for what is no GGUF file, or one of statistics.
pub(crate) fn kind(file: &str) -> Option<Kind> {
    let path = file.to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.strip_suffix(".gguf")?;
    let has = |word: &str| words(stem).any(|found| found == word);
    if has("imatrix") {
        return None;
    }
    let is_drafter = has("mtp") || has("draft") || has("drafter") || has("assistant");
    Some(match () {
        () if stem.contains("mmproj") => Kind::Projector,
        () if is_drafter || path.starts_with("mtp/") => Kind::Drafter,
        () => Kind::Model,
    })
}

/// The model to take of a repository: the first kind of quantisation that it has, in the order of
/// how well it answers for its size, or its only model. `word` is what must be in the name, if
/// anything must.
///
/// # Errors
/// With the models to choose from, if none is to be preferred.
pub(crate) fn model<'a>(
    repo: &str,
    files: &'a [String],
    word: Option<&str>,
) -> Result<&'a str, Vec<&'a str>> {
    let models = files.iter().map(String::as_str).filter(|file| {
        kind(file) == Some(Kind::Model) && part_of(file).is_none_or(|(_, part, _)| part == 1)
    });
    let all: Vec<_> = models.collect();
    let lower = word.map(str::to_ascii_lowercase);
    let has_word = |file: &&str| lower.as_ref().is_none_or(|word| has_words(file, word));
    let meant: Vec<_> = all.iter().copied().filter(has_word).collect();
    if let [one] = meant[..] {
        return Ok(one);
    }
    // The whole of the word is nearer than a name that goes on after it.
    let ends = |file: &&str| lower.as_ref().is_some_and(|word| stem(file).ends_with(word.as_str()));
    if let [one] = meant.iter().copied().filter(ends).collect::<Vec<_>>()[..] {
        return Ok(one);
    }
    let is_qat = |file: &str| has_words(file, "qat") || has_words(repo, "qat");
    let preferred = ORDER.iter().find_map(|(word, only_qat)| {
        let fits = |file: &&str| has_words(file, word) && (!only_qat || is_qat(file));
        // Of several, the one with the shortest name has the fewest things that are special.
        meant.iter().copied().filter(fits).min_by_key(|file| (file.len(), *file))
    });
    preferred.ok_or(if meant.is_empty() { all } else { meant })
}

/// The projector of a repository that belongs to its model `file`.
pub(crate) fn projector<'a>(repo: &str, file: &str, files: &'a [String]) -> Option<&'a str> {
    let named = Row::of_file(repo, file).and_then(|row| row.projector.as_ref());
    let found = |kind_wanted: Kind| {
        files.iter().map(String::as_str).filter(move |file| kind(file) == Some(kind_wanted))
    };
    let projectors: Vec<_> = found(Kind::Projector).collect();
    let named = named.filter(|named| named.repo == repo);
    if let Some(named) = named.and_then(|named| projectors.iter().find(|file| **file == named.file))
    {
        return Some(named);
    }
    let best = PROJECTOR_ORDER.iter().find_map(|word| {
        let fits = |file: &&str| has_words(file, word);
        projectors.iter().copied().filter(fits).min_by_key(|file| (file.len(), *file))
    });
    best.or(projectors.first().copied())
}

/// All files of the split one that `file` is a part of, or `file` alone.
pub(crate) fn parts(file: &str) -> Vec<String> {
    match part_of(file) {
        Some((stem, _, of)) => {
            (1..=of).map(|part| format!("{stem}-{part:05}-of-{of:05}.gguf")).collect()
        }
        None => vec![file.to_owned()],
    }
}

/// The name without its end, the part and the number of parts of `name-00001-of-00003.gguf`.
fn part_of(file: &str) -> Option<(&str, u32, u32)> {
    let stem = file.strip_suffix(".gguf")?;
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (name, part) = rest.rsplit_once('-')?;
    let number = |text: &str| {
        let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (part, of) = (number(part)?, number(of)?);
    (1..=of).contains(&part).then_some((name, part, of)).filter(|_| of <= MOST_PARTS)
}

/// The last part of a name without what says that it is GGUF, or which part of a split file.
fn stem(file: &str) -> String {
    let name = part_of(file).map_or(file, |(name, ..)| name);
    let name = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    name.strip_suffix(".gguf").unwrap_or(&name).to_owned()
}

fn has_words(file: &str, wanted: &str) -> bool {
    let stem = stem(file);
    stem.match_indices(wanted).any(|(at, _)| {
        let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
        is_edge(stem[..at].chars().next_back()) && is_edge(stem[at + wanted.len()..].chars().next())
    })
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
}

/// Words of quantisations, and whether one is meant of QAT models only.
const ORDER: &[(&str, bool)] = &[
    ("q4_0", true),
    ("q4_k_m", false),
    ("q8_0", false),
    ("q4_0", false),
    ("q4_k_xl", false),
    ("q5_k_m", false),
    ("q6_k", false),
];

/// The formats in which projectors are exact, then the smaller ones.
const PROJECTOR_ORDER: &[&str] = &["bf16", "f16", "f32", "q8_0"];

/// More parts than any file has.
const MOST_PARTS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(files: &[&str]) -> Vec<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    #[test]
    fn kinds_are_told_by_name() {
        for (file, wanted) in [
            ("gemma-4-12b-it-qat-q4_0.gguf", Some(Kind::Model)),
            ("mmproj-BF16.gguf", Some(Kind::Projector)),
            ("gemma-4-26B-it-mmproj.gguf", Some(Kind::Projector)),
            ("mtp-gemma-4-12B-it.gguf", Some(Kind::Drafter)),
            ("MTP/gemma-4-12B-it-Q8_0-MTP.gguf", Some(Kind::Drafter)),
            ("gemma-4-12B-it-assistant-Q8_0.gguf", Some(Kind::Drafter)),
            ("imatrix_unsloth.gguf", None),
            ("README.md", None),
        ] {
            assert_eq!(kind(file), wanted, "{file}");
        }
    }

    #[test]
    fn the_quantisation_is_the_first_in_order() {
        let files = owned(&[
            "mmproj-x-Q8_0.gguf",
            "mtp-x-Q8_0.gguf",
            "x-BF16.gguf",
            "x-Q4_0.gguf",
            "x-Q4_K_M.gguf",
            "x-Q8_0.gguf",
        ]);
        assert_eq!(model("a/x-GGUF", &files, None), Ok("x-Q4_K_M.gguf"));
        assert_eq!(model("a/x-qat-GGUF", &files, None), Ok("x-Q4_0.gguf"));
        assert_eq!(model("a/x-GGUF", &files, Some("Q8_0")), Ok("x-Q8_0.gguf"));
        assert_eq!(model("a/x-GGUF", &files, Some("bf16")), Ok("x-BF16.gguf"));
        let all = vec!["x-BF16.gguf", "x-Q4_0.gguf", "x-Q4_K_M.gguf", "x-Q8_0.gguf"];
        assert_eq!(model("a/x-GGUF", &files, Some("Q2_K")), Err(all));
        let official = owned(&["gemma-4-26B-it-mmproj.gguf", "gemma-4-26B_q4_0-it.gguf"]);
        let repo = "google/gemma-4-26B-A4B-it-qat-q4_0-gguf";
        assert_eq!(model(repo, &official, None), Ok("gemma-4-26B_q4_0-it.gguf"));
        assert_eq!(model("a/b", &owned(&["odd.gguf"]), None), Ok("odd.gguf"));
        assert_eq!(
            model("a/b", &owned(&["o.gguf", "p.gguf"]), None),
            Err(vec!["o.gguf", "p.gguf"])
        );
        assert_eq!(model("a/b", &owned(&["README.md"]), None), Err(vec![]));
        let near = owned(&["x-Q4_K_M.gguf", "x-Q4_K_M-long.gguf"]);
        assert_eq!(model("a/b", &near, Some("q4_k_m")), Ok("x-Q4_K_M.gguf"));
    }

    #[test]
    fn split_files_are_one_model() {
        let files = owned(&["q/x-Q8_0-00002-of-00002.gguf", "q/x-Q8_0-00001-of-00002.gguf"]);
        let first = "q/x-Q8_0-00001-of-00002.gguf";
        assert_eq!(model("a/b", &files, None), Ok(first));
        assert_eq!(parts(&files[0]), [first, "q/x-Q8_0-00002-of-00002.gguf"]);
        assert_eq!(parts("x.gguf"), ["x.gguf"]);
        for odd in ["x-00003-of-00002.gguf", "x-1-of-2.gguf", "x-00001-of-99999.gguf"] {
            assert_eq!(parts(odd), [odd]);
        }
    }

    #[test]
    fn the_projector_is_the_models_own_or_the_most_exact() {
        let files = owned(&["mmproj-F32.gguf", "mmproj-BF16.gguf", "x.gguf"]);
        assert_eq!(projector("a/b", "x.gguf", &files), Some("mmproj-BF16.gguf"));
        assert_eq!(projector("a/b", "x.gguf", &owned(&["x.gguf"])), None);
        let row = crate::hub::table::FIRST;
        let own = row.projector.as_ref().expect("it has one");
        let files = owned(&["mmproj-bf16.gguf", own.file]);
        assert_eq!(projector(row.model.repo, row.model.file, &files), Some(own.file));
    }
}

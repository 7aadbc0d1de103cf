//! What a model is called: a name of the table, `owner/repo` or `owner/repo:file`. And what a name
//! from elsewhere must be like before it becomes a path.

use crate::hub::table::{ROWS, Row};

/// What a person named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A row of the table.
    Row(&'static Row),
    /// The drafter of a row.
    Drafter(&'static Row),
    /// A repository of the Hub, and in it a file or a word of its name such as `Q8_0`.
    Repo(Repo, Option<String>),
}

impl Name {
    /// `None` if the text can only be a path, or nothing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let row = |name: &str| ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(name));
        if let Some(row) = row(text) {
            return Some(Self::Row(row));
        }
        let draft = text.strip_suffix("-draft").and_then(row);
        if let Some(row) = draft.filter(|row| row.drafter.is_some()) {
            return Some(Self::Drafter(row));
        }
        // As addresses are copied from a browser, and as other programs name the Hub.
        let text = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        let (repo, file) = match text.split_once(':') {
            Some((repo, file)) => (repo, Some(file)),
            None => (text, None),
        };
        // A file in a folder is more likely than a repository of such a name.
        if file.is_none() && repo.to_ascii_lowercase().ends_with(".gguf") {
            return None;
        }
        if file.is_some_and(|file| !is_plain_path(file)) {
            return None;
        }
        Some(Self::Repo(Repo::parse(repo)?, file.map(str::to_owned)))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Row(row) => f.write_str(row.name),
            Self::Drafter(row) => write!(f, "{}-draft", row.name),
            Self::Repo(repo, None) => f.write_str(repo.as_str()),
            Self::Repo(repo, Some(file)) => write!(f, "{}:{file}", repo.as_str()),
        }
    }
}

/// A repository: `owner/name`, by the Hub's rules for both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Repo(String);

impl Repo {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (owner, name) = text.split_once('/')?;
        let is_fine = |part: &str| {
            let is_meant = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty()
                && part.chars().all(is_meant)
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
        };
        let is_repo = is_fine(owner) && is_fine(name) && text.len() <= LONGEST_REPO;
        // Two dashes stand between the parts of a folder's name.
        let is_repo = is_repo && !text.contains("--") && !text.contains("..");
        (is_repo && !name.ends_with(".git")).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its folder in the cache.
    pub(crate) fn folder(&self) -> String {
        format!("{FOLDER}{}", self.0.replace('/', "--"))
    }

    /// The repository that a folder of the cache is for.
    pub(crate) fn of_folder(folder: &str) -> Option<Self> {
        Self::parse(&folder.strip_prefix(FOLDER)?.replace("--", "/"))
    }
}

/// Whether a name may become a path below a folder: parts between slashes that go nowhere else and
/// that this system can have as a file.
pub(crate) fn is_plain_path(name: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty()
            && part.len() <= LONGEST_PART
            && part != "."
            && part != ".."
            && !part.chars().any(|c| c.is_control() || c == '\\')
            && (!cfg!(windows) || is_plain_on_windows(part))
    };
    name.len() <= LONGEST_PATH && name.split('/').all(is_plain)
}

/// Windows takes more characters for something else, and drops some at the end.
fn is_plain_on_windows(part: &str) -> bool {
    !part.ends_with(['.', ' ']) && !part.contains([':', '*', '?', '"', '<', '>', '|'])
}

/// Whether a word of a server may be the name of a file in the cache: an ETag or a commit.
pub(crate) fn is_plain_word(word: &str) -> bool {
    let is_meant = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !word.is_empty() && word.len() <= LONGEST_WORD && word.chars().all(is_meant)
}

const PREFIXES: [&str; 3] = ["https://huggingface.co/", "huggingface.co/", "hf.co/"];
const FOLDER: &str = "models--";
const LONGEST_REPO: usize = 96;
const LONGEST_PART: usize = 200;
const LONGEST_PATH: usize = 400;
const LONGEST_WORD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        assert!(matches!(Name::parse("12b"), Some(Name::Row(row)) if row.name == "12b"));
        assert!(matches!(Name::parse("12B"), Some(Name::Row(_))));
        assert!(matches!(Name::parse("12b-draft"), Some(Name::Drafter(_))));
        let repo = |text| Repo::parse(text).expect("a repository");
        let wanted = Name::Repo(repo("a/b.c"), None);
        assert_eq!(Name::parse("a/b.c"), Some(wanted));
        let wanted = Name::Repo(repo("a/b"), Some("x/y z.gguf".to_owned()));
        assert_eq!(Name::parse("a/b:x/y z.gguf"), Some(wanted));
        for long in ["https://huggingface.co/a/b.c", "hf.co/a/b.c"] {
            assert_eq!(Name::parse(long), Name::parse("a/b.c"));
        }
        let paths = [
            "https://huggingface.co",
            "a.gguf",
            "models/a.gguf",
            "./a",
            "/a/b",
            "a/b/c",
            "a/b:../c",
            "a/b:/c",
            "a/b:",
            "~/a",
        ];
        for path in paths {
            assert_eq!(Name::parse(path), None, "{path}");
        }
        for name in ["12b", "e4b-draft", "a/b", "a/b:c.gguf"] {
            assert_eq!(Name::parse(name).expect("a name").to_string(), name);
        }
    }

    #[test]
    fn repositories_are_the_hubs() {
        for good in ["a/b", "ggml-org/gemma-4-12B-it-GGUF", "a_b/c.d"] {
            let repo = Repo::parse(good).expect(good);
            assert_eq!(Repo::of_folder(&repo.folder()), Some(repo));
        }
        for bad in ["a", "a/", "/b", "a/b/c", "a--b/c", "a/..", "../b", "a/b.git", "a/b c", "-a/b"]
        {
            assert_eq!(Repo::parse(bad), None, "{bad}");
        }
        assert_eq!(Repo::parse(&format!("a/{}", "b".repeat(95))), None);
        assert_eq!(Repo::of_folder("datasets--a--b"), None);
        assert_eq!(Repo::of_folder("models--a"), None);
    }

    #[test]
    fn nothing_leads_out_of_a_folder() {
        for good in ["a.gguf", "Q8_0/a b (1)#%ü.gguf", "...a"] {
            assert!(is_plain_path(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a\\b", "a\nb", "a\0"] {
            assert!(!is_plain_path(bad), "{bad:?}");
        }
        for odd in ["C:a", "a.", "a ", "a?", "con|"] {
            assert_eq!(is_plain_path(odd), !cfg!(windows), "{odd:?}");
            assert!(!is_plain_on_windows(odd), "{odd:?}");
        }
        assert!(is_plain_word("0aF-_9") && !is_plain_word("") && !is_plain_word("a.b"));
        assert!(!is_plain_word("../x") && !is_plain_word(&"a".repeat(129)));
    }
}

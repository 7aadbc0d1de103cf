//! The cache that all programs of the Hub share, and its layout:
//!
//! ```text
//! models--OWNER--NAME/refs/main                     the commit of a branch
//! models--OWNER--NAME/blobs/ETAG                    the bytes of a file
//! models--OWNER--NAME/blobs/ETAG.incomplete         as many of them as came so far
//! models--OWNER--NAME/snapshots/COMMIT/FILE         a link to the blob, or the file itself
//! .locks/models--OWNER--NAME/ETAG.lock              locked by who writes the blob
//! ```
//!
//! The layout is that of `huggingface_hub` (its documentation, "Understand caching"). On a file
//! system without symbolic links the file lies in the snapshot itself.

use std::cmp::Reverse;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use crate::hub::environment;
use crate::hub::name::{Repo, is_plain_word};

/// The cache of this user.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// A GGUF file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) commit: String,
    /// Its name in the repository, with slashes.
    pub(crate) file: String,
    /// Where it lies, or the link to it.
    pub(crate) path: PathBuf,
}

impl Cache {
    pub(crate) fn of_environment() -> Result<Self> {
        Ok(Self { root: environment::cache_folder()? })
    }

    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a repository.
    pub(crate) fn folder(&self, repo: &Repo) -> PathBuf {
        self.root.join(repo.folder())
    }

    pub(crate) fn blobs(&self, repo: &Repo) -> PathBuf {
        self.folder(repo).join("blobs")
    }

    pub(crate) fn snapshots(&self, repo: &Repo) -> PathBuf {
        self.folder(repo).join("snapshots")
    }

    /// The folder of the locks of a repository.
    pub(crate) fn locks(&self, repo: &Repo) -> PathBuf {
        self.root.join(".locks").join(repo.folder())
    }

    /// The repositories of models, by name.
    pub(crate) fn repos(&self) -> Vec<Repo> {
        let folders = entries(&self.root).into_iter().filter(|entry| is_folder(&entry.path()));
        let name = |entry: DirEntry| Repo::of_folder(entry.file_name().to_str()?);
        let mut repos: Vec<_> = folders.filter_map(name).collect();
        repos.sort();
        repos
    }

    /// The GGUF files of all snapshots: those of the main branch first, then those of the newest
    /// snapshot. A link to nothing is left out.
    pub(crate) fn files(&self, repo: &Repo) -> Vec<Snapshot> {
        self.all_files(repo).into_iter().filter(|file| file.path.is_file()).collect()
    }

    /// The same with links to nothing.
    pub(crate) fn all_files(&self, repo: &Repo) -> Vec<Snapshot> {
        let main = fs::read_to_string(self.folder(repo).join("refs").join("main")).ok();
        let main = main.map(|commit| commit.trim().to_owned());
        let snapshots = entries(&self.snapshots(repo)).into_iter();
        let snapshots = snapshots.filter(|entry| is_folder(&entry.path()));
        let mut commits: Vec<_> = snapshots
            .filter_map(|entry| {
                let commit = entry.file_name().into_string().ok()?;
                let made = entry.metadata().and_then(|found| found.modified());
                let made = made.unwrap_or(SystemTime::UNIX_EPOCH);
                is_plain_word(&commit).then_some((commit, made))
            })
            .collect();
        commits.sort_by_key(|(commit, made)| (Some(commit) != main.as_ref(), Reverse(*made)));
        let mut files = Vec::new();
        for (commit, _) in commits {
            let folder = self.snapshots(repo).join(&commit);
            walk(&folder, "", DEPTH, &mut |file, path| {
                if file.to_ascii_lowercase().ends_with(".gguf") {
                    files.push(Snapshot { commit: commit.clone(), file, path });
                }
            });
        }
        files
    }

    /// Files of a repository that are not yet whole, and how many bytes each has.
    pub(crate) fn unfinished(&self, repo: &Repo) -> Vec<(PathBuf, u64)> {
        let blobs = entries(&self.blobs(repo)).into_iter();
        let parts = blobs
            .filter(|entry| entry.file_name().as_encoded_bytes().ends_with(UNFINISHED.as_bytes()));
        parts
            .filter_map(|entry| {
                let found = fs::symlink_metadata(entry.path()).ok()?;
                found.is_file().then(|| (entry.path(), found.len()))
            })
            .collect()
    }

    /// The repository, the commit and the name of a file that lies in a snapshot of this cache.
    pub(crate) fn place_of(&self, path: &Path) -> Option<(Repo, Snapshot)> {
        let mut parts = path.strip_prefix(&self.root).ok()?.components();
        let mut next = || parts.next()?.as_os_str().to_str();
        let repo = Repo::of_folder(next()?)?;
        if next()? != "snapshots" {
            return None;
        }
        let commit = next()?.to_owned();
        let rest: Option<Vec<_>> = parts.map(|part| part.as_os_str().to_str()).collect();
        let file = rest?.join("/");
        Some((repo, Snapshot { commit, file, path: path.to_owned() }))
    }
}

/// Calls `found` with every file below a folder, in the order of names. Links to folders are
/// not followed: they may lead out of the cache.
pub(crate) fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut impl FnMut(String, PathBuf),
) {
    let mut inside = entries(folder);
    inside.sort_by_key(DirEntry::file_name);
    for entry in inside {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        let file = format!("{prefix}{name}");
        if is_folder(&path) {
            if depth > 0 {
                walk(&path, &format!("{file}/"), depth - 1, found);
            }
        } else {
            found(file, path);
        }
    }
}

/// What lies in a folder; nothing if there is none.
pub(crate) fn entries(folder: &Path) -> Vec<DirEntry> {
    folder.read_dir().into_iter().flatten().flatten().collect()
}

/// Whether a folder lies there, and no link to one.
pub(crate) fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// How the name of a blob that is not yet whole ends.
pub(crate) const UNFINISHED: &str = ".incomplete";

/// As many folders inside each other as are looked into: more than any repository has.
pub(crate) const DEPTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_main_branch_come_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let (cache, repo) = (Cache::at(folder.path()), Repo::parse("a/b").expect("a repository"));
        let write = |path: &str, text: &str| {
            let path = cache.folder(&repo).join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("room");
            fs::write(path, text).expect("room");
        };
        write("snapshots/aaa/x.gguf", "old");
        write("snapshots/bbb/sub/y.GGUF", "new");
        write("snapshots/bbb/readme.md", "");
        write("refs/main", "aaa\n");
        write("blobs/e.incomplete", "half");
        fs::create_dir_all(folder.path().join("models--nothing")).expect("room");
        fs::create_dir_all(folder.path().join("datasets--a--b")).expect("room");
        assert_eq!(cache.repos(), std::slice::from_ref(&repo));
        let files = cache.files(&repo);
        let names: Vec<_> = files.iter().map(|f| (f.commit.as_str(), f.file.as_str())).collect();
        assert_eq!(names, [("aaa", "x.gguf"), ("bbb", "sub/y.GGUF")]);
        assert_eq!(cache.place_of(&files[1].path), Some((repo.clone(), files[1].clone())));
        assert_eq!(cache.place_of(&cache.blobs(&repo).join("e")), None);
        let parts: Vec<_> = cache.unfinished(&repo).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(parts, [4]);
    }
}

//! The models in the cache that carat knows, whoever fetched them.

use std::path::{Path, PathBuf};

use carat::Config;
use carat_gguf::Source;

use crate::hub::cache::{Cache, Snapshot};
use crate::hub::choose::{self, Kind};
use crate::hub::name::{Name, Repo};
use crate::hub::table::Row;
use crate::sentence;

/// A model in the cache.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// The shortest name that means it.
    pub(crate) name: String,
    pub(crate) repo: Repo,
    pub(crate) file: String,
    /// Its file, or the first one of several.
    pub(crate) path: PathBuf,
    /// The size of all its files.
    pub(crate) bytes: u64,
    pub(crate) projector: Option<PathBuf>,
    pub(crate) drafter: Option<PathBuf>,
    /// Why this version cannot run it, if it cannot.
    pub(crate) problem: Option<String>,
}

/// The models of the Gemma family in the cache.
pub(crate) fn pulled(cache: &Cache) -> Vec<Pulled> {
    let mut all = Vec::new();
    for repo in cache.repos() {
        for file in models_of(cache, &repo) {
            if let Some(problem) = problem(&file.path) {
                all.push(describe(cache, &repo, file, problem));
            }
        }
    }
    all
}

/// The models of a repository, each where it is newest and without the parts after the first.
pub(crate) fn models_of(cache: &Cache, repo: &Repo) -> Vec<Snapshot> {
    let mut models: Vec<Snapshot> = Vec::new();
    for file in cache.files(repo) {
        let parts = choose::parts(&file.file);
        let is_whole = parts.iter().all(|part| beside(&file, part).is_file());
        let is_known = models.iter().any(|known| known.file == file.file);
        let is_model = choose::kind(&file.file) == Some(Kind::Model);
        if is_model && parts[0] == file.file && is_whole && !is_known {
            models.push(file);
        }
    }
    models
}

/// The path of another file of the same snapshot.
fn beside(file: &Snapshot, other: &str) -> PathBuf {
    let depth = file.file.split('/').count();
    let root = file.path.ancestors().nth(depth).unwrap_or(&file.path);
    root.join(other)
}

fn describe(cache: &Cache, repo: &Repo, file: Snapshot, problem: Option<String>) -> Pulled {
    let name = match Row::of_file(repo.as_str(), &file.file) {
        Some(row) => Name::Row(row),
        None => Name::Repo(repo.clone(), Some(file.file.clone())),
    };
    let size = |part: &String| beside(&file, part).metadata().map_or(0, |found| found.len());
    Pulled {
        name: name.to_string(),
        repo: repo.clone(),
        bytes: choose::parts(&file.file).iter().map(size).sum(),
        projector: projector(cache, &file.path),
        drafter: drafter(cache, &file.path),
        file: file.file,
        path: file.path,
        problem,
    }
}

/// What keeps a file from being run: `None` if it is no text model of the family at all.
fn problem(path: &Path) -> Option<Option<String>> {
    let source = Source::open(path).ok()?;
    let gguf = source.parse().ok()?;
    let architecture = gguf.metadata().opt_string("general.architecture").ok().flatten()?;
    if !matches!(architecture, "gemma3" | "gemma4") {
        return None;
    }
    Some(Config::from_gguf(&gguf).err().map(|e| sentence(&e)))
}

/// The projector of a model in the cache: that of the same snapshot, or else of the newest one.
pub(crate) fn projector(cache: &Cache, model: &Path) -> Option<PathBuf> {
    let (repo, place) = cache.place_of(model)?;
    let files = cache.files(&repo);
    let (same, others): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.commit == place.commit);
    [same, others].into_iter().find_map(|files| {
        let names: Vec<_> = files.iter().map(|file| file.file.clone()).collect();
        let chosen = choose::projector(repo.as_str(), &place.file, &names)?;
        files.iter().find(|file| file.file == chosen).map(|file| file.path.clone())
    })
}

/// The drafter of a model in the cache: the one that the table names, or else the only one of the
/// same snapshot.
pub(crate) fn drafter(cache: &Cache, model: &Path) -> Option<PathBuf> {
    let (repo, place) = cache.place_of(model)?;
    let row = Row::of_file(repo.as_str(), &place.file);
    if let Some(entry) = row.and_then(|row| row.drafter.as_ref()) {
        return file(cache, &Repo::parse(entry.repo)?, entry.file);
    }
    let files = cache.files(&repo);
    let mut drafters = files.into_iter().filter(|file| {
        file.commit == place.commit && choose::kind(&file.file) == Some(Kind::Drafter)
    });
    drafters.next().filter(|_| drafters.next().is_none()).map(|file| file.path)
}

/// A file of a repository, where it is newest.
pub(crate) fn file(cache: &Cache, repo: &Repo, file: &str) -> Option<PathBuf> {
    cache.files(repo).into_iter().find(|found| found.file == file).map(|found| found.path)
}

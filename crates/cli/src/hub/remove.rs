//! `carat remove`: takes models out of the cache, and nothing that others still use.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::hub::args::RemoveArgs;
use crate::hub::cache::{Cache, DEPTH, entries, is_folder, walk};
use crate::hub::choose::{self, Kind};
use crate::hub::name::{Name, Repo};
use crate::hub::resolve::{find, not_pulled};
use crate::text::{bytes, say};

pub(crate) fn remove(args: &RemoveArgs) -> Result<()> {
    let cache = Cache::of_environment()?;
    let Some(name) = Name::parse(&args.model) else {
        bail!(crate::Usage(format!(
            "{} is no name of a model: `carat list` shows those in the cache",
            args.model
        )))
    };
    let (repo, files) = meant(&cache, &name)?;
    if is_in_use(&cache, &repo) {
        bail!("another process is fetching files of {}: wait for it or end it", repo.as_str());
    }
    let plan = Plan::new(&cache, &repo, &files);
    if plan.links.is_empty() && plan.whole.is_none() {
        bail!(not_pulled(&cache, &name));
    }
    if !args.yes && !is_agreed(&name, &plan)? {
        say!("nothing was removed");
        return Ok(());
    }
    plan.carry_out().with_context(|| format!("cannot remove all of {name}"))?;
    say!("removed {name} ({})", bytes(plan.bytes));
    Ok(())
}

/// The repository of a name, and the files of it that go.
fn meant(cache: &Cache, name: &Name) -> Result<(Repo, BTreeSet<String>)> {
    let all = |repo: &Repo| cache.all_files(repo).into_iter().map(|file| file.file);
    if let Name::Repo(repo, None) = name {
        return Ok((repo.clone(), all(repo).collect()));
    }
    let path = match (find(cache, name), name) {
        (Ok(path), _) => path,
        // What came of a model that is not yet whole has no name.
        (Err(_), Name::Row(row)) => {
            let repo = Repo::parse(row.model.repo).context("the table names a repository")?;
            return Ok((repo, BTreeSet::new()));
        }
        (Err(e), _) => return Err(e),
    };
    let (repo, place) = cache.place_of(&path).context("the model lies outside the cache")?;
    let mut files: BTreeSet<_> = choose::parts(&place.file).into_iter().collect();
    let is_left = |kind: Kind| {
        all(&repo).any(|file| choose::kind(&file) == Some(kind) && !files.contains(&file))
    };
    // A projector without a model is of no use.
    if choose::kind(&place.file) == Some(Kind::Model) && !is_left(Kind::Model) {
        files.extend(all(&repo).filter(|file| choose::kind(file) == Some(Kind::Projector)));
    }
    Ok((repo, files))
}

/// What goes.
struct Plan {
    /// Files and links of snapshots, and cache files of repacked weights beside them.
    links: Vec<PathBuf>,
    /// Blobs that nothing else uses.
    blobs: Vec<PathBuf>,
    /// The folders of snapshots, for those that are empty then.
    snapshots: PathBuf,
    /// The folder of the repository, if nothing of it is left.
    whole: Option<PathBuf>,
    bytes: u64,
}

impl Plan {
    fn new(cache: &Cache, repo: &Repo, files: &BTreeSet<String>) -> Self {
        let (folder, snapshots) = (cache.folder(repo), cache.snapshots(repo));
        let (mut links, mut used, mut kept) = (Vec::new(), BTreeSet::new(), 0);
        for commit in entries(&snapshots).into_iter().filter(|entry| is_folder(&entry.path())) {
            walk(&commit.path(), "", DEPTH, &mut |file, path| {
                let model = file.strip_suffix(".cache").unwrap_or(&file);
                if files.contains(model) {
                    links.push(path);
                } else {
                    kept += 1;
                    used.extend(blob_of(&path));
                }
            });
        }
        let goes: BTreeSet<_> = links.iter().filter_map(|path| blob_of(path)).collect();
        let blobs = cache.blobs(repo);
        let blobs: Vec<_> = goes.difference(&used).map(|name| blobs.join(name)).collect();
        let whole = (kept == 0 && is_folder(&folder)).then(|| folder.clone());
        let size = |path: &PathBuf| {
            fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).map_or(0, |f| f.len())
        };
        let mut bytes: u64 = links.iter().chain(&blobs).map(size).sum();
        if whole.is_some() {
            bytes += cache.unfinished(repo).iter().map(|(_, bytes)| bytes).sum::<u64>();
        }
        Self { links, blobs, snapshots, whole, bytes }
    }

    fn carry_out(&self) -> io::Result<()> {
        for path in self.links.iter().chain(&self.blobs) {
            gone(fs::remove_file(path))?;
        }
        // A folder with something in it stays, and says so by an error.
        for link in &self.links {
            for folder in link.ancestors().skip(1).take_while(|path| *path != self.snapshots) {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
        }
        self.whole.as_ref().map_or(Ok(()), |folder| gone(fs::remove_dir_all(folder)))
    }
}

/// What is not there needs no removing.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The name of the blob that a link of a snapshot leads to. A link to elsewhere has none.
fn blob_of(link: &Path) -> Option<OsString> {
    let target = fs::read_link(link).ok()?;
    let mut parts = target.components().rev();
    let name = parts.next()?.as_os_str().to_owned();
    (parts.next()?.as_os_str() == "blobs").then_some(name)
}

/// Whether another process holds a lock of the repository.
fn is_in_use(cache: &Cache, repo: &Repo) -> bool {
    entries(&cache.locks(repo)).iter().any(|entry| {
        let file = File::open(entry.path());
        file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    })
}

fn is_agreed(name: &Name, plan: &Plan) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!(crate::Usage(format!("nobody can be asked about removing {name}: say --yes")));
    }
    let mut err = io::stderr();
    // A question that nobody can read gets no yes.
    let _ = write!(err, "remove {name} ({})? [y/N] ", bytes(plan.bytes)).and_then(|()| err.flush());
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("room");
        fs::write(path, text).expect("room");
    }

    fn link(cache: &Cache, repo: &Repo, commit: &str, file: &str, target: &str) {
        let path = cache.snapshots(repo).join(commit).join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("room");
        symlink(target, path).expect("links are there");
    }

    #[test]
    fn what_others_use_stays_and_so_does_all_outside() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(&folder.path().join("hub"));
        let repo = Repo::parse("a/b").expect("a repository");
        let blob = |name: &str| cache.blobs(&repo).join(name);
        for (name, text) in [("one", "1"), ("two", "22"), ("both", "333")] {
            write(&blob(name), text);
        }
        let outside = folder.path().join("outside.gguf");
        write(&outside, "mine");
        link(&cache, &repo, "c1", "x-Q8_0.gguf", "../../blobs/one");
        link(&cache, &repo, "c1", "y-Q4_0.gguf", "../../blobs/both");
        link(&cache, &repo, "c2", "y-Q4_0.gguf", "../../blobs/both");
        link(&cache, &repo, "c2", "z-Q4_0.gguf", outside.to_str().expect("UTF-8"));
        link(&cache, &repo, "c2", "mmproj-F16.gguf", "../../blobs/two");
        let name = Name::parse("a/b:x-Q8_0.gguf").expect("a name");
        let (_, files) = meant(&cache, &name).expect("it is there");
        assert_eq!(files.iter().collect::<Vec<_>>(), ["x-Q8_0.gguf"]);
        let plan = Plan::new(&cache, &repo, &files);
        assert_eq!((plan.bytes, plan.whole.is_none()), (1, true));
        plan.carry_out().expect("it can be removed");
        assert!(!blob("one").exists() && blob("two").exists() && blob("both").exists());

        let only_first = BTreeSet::from(["y-Q4_0.gguf".to_owned()]);
        let plan = Plan::new(&cache, &repo, &only_first);
        assert_eq!(plan.blobs, [blob("both")]);
        // Another file with the same bytes.
        link(&cache, &repo, "c1", "w-Q4_0.gguf", "../../blobs/both");
        let plan = Plan::new(&cache, &repo, &only_first);
        assert_eq!((plan.links.len(), plan.blobs.len(), plan.bytes), (2, 0, 0));
        let (_, files) = meant(&cache, &Name::parse("a/b").expect("a name")).expect("all of it");
        let plan = Plan::new(&cache, &repo, &files);
        assert_eq!((plan.bytes, plan.links.len()), (5, 5));
        plan.carry_out().expect("it can be removed");
        assert!(!cache.folder(&repo).exists());
        assert_eq!(fs::read(&outside).expect("it stays"), b"mine");
    }
}

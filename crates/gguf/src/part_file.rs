//! Files in the making: as large as models, and never left behind.
//!
//! A file that takes a while to be written lies beside its place as `NAME.PID-N.carat.part` until
//! it is whole. Whoever writes it holds a lock on it, which the system takes back however the
//! process ends. So a part without a lock is an orphan, and the next one who writes to the same
//! place removes it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{mem, process};

/// A file that is being written, or one that is needed only as long as this lives: it is removed
/// when this is dropped, with all files beside it whose names begin with its own and a dot.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    path: PathBuf,
}

impl PartFile {
    /// A new file for what is to lie at `place`, with the permissions that new files get. Orphans
    /// of the same place are removed first.
    ///
    /// # Errors
    /// If no file can be made in that folder.
    pub fn create(place: &Path) -> io::Result<Self> {
        Self::remove_orphans(place);
        for n in 0..TRIES {
            let mut name = place.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}-{n}{SUFFIX}", process::id()));
            let path = folder(place).join(name);
            // Whoever ends the process now waits until the file can be removed.
            let mut unfinished = unfinished();
            let new = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            let file = match new {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            unfinished.push(path.clone());
            if is_locked(&file, &path) {
                return Ok(Self { file, path });
            }
            unfinished.pop();
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "too many unfinished files lie beside it"))
    }

    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, in the place of a file that has it. It stays open until this is
    /// dropped and is not removed then.
    ///
    /// # Errors
    /// If the system refuses; the file is removed.
    pub fn persist(mut self, place: &Path) -> io::Result<()> {
        let mut unfinished = unfinished();
        fs::rename(&self.path, place)?;
        unfinished.retain(|path| *path != self.path);
        self.path = PathBuf::new();
        Ok(())
    }

    /// [`PartFile::persist`] of a file that a loss of power must not take: what was written to it
    /// and its name are on the disk when this returns. A file that has the name stays until then.
    ///
    /// # Errors
    /// If the system refuses; the file is removed, unless it has its name already.
    pub fn persist_synced(self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        self.persist(place)?;
        sync_folder(folder(place))
    }

    /// Lets others read the file where a lock keeps them from it (Windows).
    ///
    /// # Errors
    /// If the system refuses.
    pub fn share(&self) -> io::Result<()> {
        #[cfg(windows)]
        {
            self.file.unlock()?;
            self.file.lock_shared()?;
        }
        Ok(())
    }

    /// Removes the unfinished files of `place` that no process writes, as far as the system allows.
    pub fn remove_orphans(place: &Path) {
        for path in beside(place, place.file_name().unwrap_or_default()) {
            if is_part_of(&path, place) && is_orphan(&path) {
                remove(&path);
            }
        }
    }

    /// Removes all unfinished files of this process. Threads that write them, or want to, wait for
    /// ever after: this is for whoever ends the process, as a signal demands.
    pub fn abandon_all() {
        let mut unfinished = unfinished();
        mem::take(&mut *unfinished).iter().for_each(|path| remove(path));
        mem::forget(unfinished);
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        let mut unfinished = unfinished();
        unfinished.retain(|path| *path != self.path);
        remove(&self.path);
    }
}

/// Takes the lock of a new file. False if somebody took the file for an orphan before.
fn is_locked(file: &File, path: &Path) -> bool {
    match file.try_lock() {
        Ok(()) => is_at(file, path),
        Err(TryLockError::WouldBlock) => false,
        // A file system without locks: nobody can take the file for an orphan.
        Err(TryLockError::Error(_)) => true,
    }
}

/// Whether the file is still the one at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |found: fs::Metadata| (found.dev(), found.ino());
    let found = (file.metadata().map(number), fs::symlink_metadata(path).map(number));
    matches!(found, (Ok(a), Ok(b)) if a == b)
}

/// A file that is open keeps its name here.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Whether nobody holds the lock of a file.
fn is_orphan(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let file = OpenOptions::new().read(true).write(true).open(path);
    is_file && file.is_ok_and(|file| file.try_lock().is_ok())
}

/// Removes a part and what lies beside it under its name: first that, so that nothing is left
/// without its part.
fn remove(path: &Path) {
    // Whoever cleans up can do no more than try.
    for file in beside(path, path.file_name().unwrap_or_default()) {
        let _ = fs::remove_file(file);
    }
    let _ = fs::remove_file(path);
}

/// The files beside `path` whose names are `name`, a dot and something more.
fn beside(path: &Path, name: &OsStr) -> Vec<PathBuf> {
    let prefix = [name.as_encoded_bytes(), b"."].concat();
    let entries = folder(path).read_dir().into_iter().flatten().flatten();
    let is_meant = |name: &OsStr| name.as_encoded_bytes().starts_with(&prefix);
    entries.filter(|e| is_meant(&e.file_name())).map(|e| e.path()).collect()
}

/// Whether the name of the file is one that [`PartFile::create`] gives for `place`.
fn is_part_of(path: &Path, place: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
    let numbers = |path| {
        let name = name(path);
        let rest = name.strip_suffix(SUFFIX.as_bytes())?.to_vec();
        let at = rest.iter().rposition(|byte| *byte == b'.')?;
        Some((rest[..at].to_vec(), rest[at + 1..].to_vec()))
    };
    numbers(path).is_some_and(|(of, numbers)| {
        let mut parts = numbers.split(|byte| *byte == b'-');
        let is_number = |part: Option<&[u8]>| {
            part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
        };
        of == name(place)
            && is_number(parts.next())
            && is_number(parts.next())
            && parts.next().is_none()
    })
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Puts the names in a folder on the disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // A file system whose folders cannot be synced keeps their order by itself.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

/// Folders cannot be opened here, and names are kept in a journal.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files that this process would leave behind if it ended now.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

const SUFFIX: &str = ".carat.part";

/// More files than one process writes for one place.
const TRIES: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_part_gets_its_name_or_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("x.cache");
        let part = PartFile::create(&place).expect("a part");
        fs::write(part.path().with_extension("part.cache"), "").expect("a file beside it");
        assert_eq!(names(folder.path()).len(), 2);
        drop(part);
        assert_eq!(names(folder.path()), [""; 0]);

        fs::write(&place, "before").expect("a file");
        PartFile::create(&place).expect("a part").persist(&place).expect("a name");
        assert_eq!(names(folder.path()), ["x.cache"]);
        assert_eq!(fs::read(&place).expect("a file"), b"");

        let part = PartFile::create(&place).expect("a part");
        fs::write(part.path(), "after").expect("room");
        part.persist_synced(&place).expect("a name");
        assert_eq!(names(folder.path()), ["x.cache"]);
        assert_eq!(fs::read(&place).expect("a file"), b"after");
        let part = PartFile::create(&place).expect("a part");
        part.persist_synced(&folder.path().join("none/x")).expect_err("no such folder");
        assert_eq!(names(folder.path()), ["x.cache"]);
    }

    #[test]
    fn orphans_of_the_same_place_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("x.cache");
        let held = PartFile::create(&place).expect("a part");
        let others = [
            "x.cache.1-2.part",
            "x.cache.1-2-3.carat.part",
            "x.cache.notes.carat.part",
            "x.cache.1-.carat.part",
            "xx.cache.1-2.carat.part",
            "x.cache.gguf.1-2.carat.part",
            "x.cache",
        ];
        let orphans = ["x.cache.1-2.carat.part", "x.cache.1-2.carat.part.cache"];
        for name in others.iter().chain(&orphans) {
            fs::write(folder.path().join(name), "").expect("a file");
        }
        let second = PartFile::create(&place).expect("a part");
        let mut left = names(folder.path());
        for part in [&held, &second] {
            let name = part.path().file_name().expect("a name").to_string_lossy();
            left.retain(|found| *found != name);
        }
        let mut wanted = others.map(str::to_owned);
        wanted.sort();
        assert_eq!(left, wanted);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("x");
        PartFile::create(&place).expect("a part").persist(&place).expect("a name");
        let other = folder.path().join("y");
        fs::write(&other, "").expect("a file");
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode();
        assert_eq!(mode(&place), mode(&other));
    }
}

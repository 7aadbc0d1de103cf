//! The lock on a blob: one process writes it, the others wait. It is the lock file of the Python
//! library, so that both wait for each other.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// A lock that is given back when this is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held")] Option<File>);

impl Lock {
    /// Waits for the lock. `waits` is called once if another process has it.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub(super) fn wait(path: &Path, waits: impl FnOnce()) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut waits = Some(waits);
        loop {
            let mut open = OpenOptions::new();
            let file = open.read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => return Ok(Self(Some(file))),
                // Whoever had it removed the file: there is a new one, or none.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                // A file system without locks: the hash will tell if two wrote at once.
                Err(TryLockError::Error(_)) => return Ok(Self(None)),
            }
            if let Some(waits) = waits.take() {
                waits();
            }
            sleep(POLL);
        }
    }
}

/// Whether the file is still the one at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |found: fs::Metadata| (found.dev(), found.ino());
    let found = (file.metadata().map(number), fs::metadata(path).map(number));
    matches!(found, (Ok(a), Ok(b)) if a == b)
}

/// A file that is open keeps its name here.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

const POLL: Duration = Duration::from_millis(200);

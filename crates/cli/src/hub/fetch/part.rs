//! The bytes of a file that came so far.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// An unfinished blob: it stays where it is however the process ends, and goes on from there.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
    bytes: u64,
    hash: Sha256,
    /// Whether some of it came in an earlier run, of which nothing but the bytes is known.
    pub(super) is_old: bool,
}

impl Part {
    /// The part at `path`, which is made if it is not there. One with more than `most` bytes is
    /// begun anew. `progress` is told how many bytes of it were read for their hash.
    ///
    /// # Errors
    /// If it cannot be written or read.
    pub(super) fn open(path: &Path, most: u64, progress: impl Fn(u64)) -> io::Result<Self> {
        // Nothing is ever written through a link.
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            fs::remove_file(path)?;
        }
        let mut open = OpenOptions::new();
        let file = open.read(true).write(true).create(true).truncate(false).open(path)?;
        let mut part =
            Self { file, path: path.to_owned(), bytes: 0, hash: Sha256::new(), is_old: false };
        if part.file.metadata()?.len() > most {
            part.restart()?;
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = match part.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            part.hash.update(&buffer[..n]);
            part.bytes += n as u64;
            progress(part.bytes);
        }
        part.is_old = part.bytes > 0;
        Ok(part)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds what came.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Forgets all of it.
    ///
    /// # Errors
    /// If the file cannot be emptied.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.bytes, self.hash, self.is_old) = (0, Sha256::new(), false);
        Ok(())
    }

    /// The SHA-256 of all of it, in hexadecimal digits.
    pub(super) fn sha256(&self) -> String {
        self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Gives it its name, in the place of what has it, once it is on the disk.
    ///
    /// # Errors
    /// If the system refuses; the part stays then.
    pub(super) fn persist(self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        drop(self.file);
        fs::rename(&self.path, place)
    }

    /// Removes it.
    pub(super) fn discard(self) {
        drop(self.file);
        // What cannot be removed is begun anew the next time, since its hash is wrong.
        let _ = fs::remove_file(&self.path);
    }
}

const BUFFER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_on_with_the_hash_of_the_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.incomplete");
        let mut part = Part::open(&path, 3, |_| {}).expect("room");
        part.write(b"ab").expect("room");
        drop(part);
        let mut part = Part::open(&path, 3, |_| {}).expect("it is there");
        assert_eq!((part.bytes(), part.is_old), (2, true));
        part.write(b"c").expect("room");
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(part.sha256(), abc);
        part.persist(&folder.path().join("x")).expect("room");
        assert_eq!(fs::read(folder.path().join("x")).expect("a file"), b"abc");

        fs::write(&path, "too long").expect("room");
        let part = Part::open(&path, 3, |_| {}).expect("it is there");
        assert_eq!((part.bytes(), part.is_old), (0, false));
        part.discard();
        assert!(!path.exists());
    }
}

//! Where a blob is found: the link of its snapshot and the reference to the commit.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use carat_gguf::PartFile;

/// Puts a link to a blob into a snapshot. Where there are no links, the blob is moved there if it
/// `is_new`, and copied if others may use it.
///
/// # Errors
/// If neither can be done.
pub(super) fn link(blob: &Path, pointer: &Path, is_new: bool) -> io::Result<()> {
    link_by(symlink, blob, pointer, is_new)
}

fn link_by(
    symlink: fn(&Path, &Path) -> io::Result<()>,
    blob: &Path,
    pointer: &Path,
    is_new: bool,
) -> io::Result<()> {
    if let Some(folder) = pointer.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(pointer) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let target = relative(blob, pointer).unwrap_or_else(|| blob.to_owned());
    if symlink(&target, pointer).is_ok() {
        return Ok(());
    }
    if is_new {
        return fs::rename(blob, pointer);
    }
    // A copy gets its name when it is whole.
    let part = PartFile::create(pointer)?;
    io::copy(&mut fs::File::open(blob)?, &mut part.file())?;
    part.persist_synced(pointer)
}

/// Notes the commit of a branch or a tag. A commit needs no note.
///
/// # Errors
/// If it cannot be written.
pub(super) fn refer(folder: &Path, revision: &str, commit: &str) -> io::Result<()> {
    let path = folder.join("refs").join(revision);
    let is_noted = fs::read_to_string(&path).is_ok_and(|noted| noted == commit);
    if revision == commit || is_noted {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let part = PartFile::create(&path)?;
    part.file().write_all(commit.as_bytes())?;
    part.persist_synced(&path)
}

/// Tells programs that make backups that they may leave the cache out.
pub(super) fn tag(root: &Path) {
    let path = root.join("CACHEDIR.TAG");
    if !path.exists() {
        // It is a courtesy.
        let _ = fs::write(path, CACHEDIR_TAG);
    }
}

/// The way from the folder of `pointer` to `blob`, if they share a folder above.
fn relative(blob: &Path, pointer: &Path) -> Option<PathBuf> {
    let (from, to): (Vec<_>, Vec<_>) =
        (pointer.parent()?.components().collect(), blob.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(PathBuf::from(".."), from.len() - shared);
    (shared > 0).then(|| {
        up.chain(to[shared..].iter().map(|part| PathBuf::from(part.as_os_str()))).collect()
    })
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The words that the standard asks for (<https://bford.info/cachedir/>).
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                            # Models of the Hugging Face Hub, which can be fetched again.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_lead_to_the_blob() {
        let way = |pointer: &str| relative(Path::new("/c/m/blobs/e"), Path::new(pointer));
        assert_eq!(way("/c/m/snapshots/h/x.gguf"), Some("../../blobs/e".into()));
        assert_eq!(way("/c/m/snapshots/h/a/b/x.gguf"), Some("../../../../blobs/e".into()));
        let folder = tempfile::tempdir().expect("a folder");
        let (blob, pointer) =
            (folder.path().join("blobs/e"), folder.path().join("snapshots/h/s/x"));
        fs::create_dir_all(blob.parent().expect("a folder")).expect("room");
        fs::write(&blob, "bytes").expect("room");
        for _ in 0..2 {
            link(&blob, &pointer, false).expect("it can be made");
            assert_eq!(fs::read(&pointer).expect("a file"), b"bytes");
        }
        refer(folder.path(), "refs/pr/1", "abc").expect("room");
        let noted = fs::read(folder.path().join("refs/refs/pr/1")).expect("a note");
        assert_eq!(noted, b"abc");
        refer(folder.path(), "abc", "abc").expect("nothing to do");
        assert!(!folder.path().join("refs/abc").exists());
    }
    #[test]
    fn without_links_a_new_blob_is_moved_and_an_old_one_copied() {
        let folder = tempfile::tempdir().expect("a folder");
        let (blob, pointer) = (folder.path().join("blobs/e"), folder.path().join("snapshots/h/x"));
        fs::create_dir_all(blob.parent().expect("a folder")).expect("room");
        let refuse = |_: &Path, _: &Path| Err(io::ErrorKind::Unsupported.into());
        for is_new in [false, true] {
            fs::write(&blob, "bytes").expect("room");
            link_by(refuse, &blob, &pointer, is_new).expect("it can be put there");
            assert_eq!(fs::read(&pointer).expect("a file"), b"bytes");
            assert!(fs::symlink_metadata(&pointer).expect("a file").is_file());
            assert_eq!(blob.exists(), !is_new);
        }
        let inside = pointer.parent().expect("a folder").read_dir().expect("a folder");
        assert_eq!(inside.count(), 1, "nothing else is left");
    }
}

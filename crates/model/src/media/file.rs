//! Opening the files of pictures, sound and video.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Opens a regular file. A named pipe would make the caller wait for a writer, and a device may
/// never end.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder, name a file in it"));
    }
    if !kind.is_file() {
        let why = "it is a pipe or a device, a file is wanted: copy what it gives into a file";
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    File::open(path)
}

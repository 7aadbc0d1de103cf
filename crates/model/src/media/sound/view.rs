//! A file as its demuxer should see it: pieces of the file, and other bytes in between.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use symphonia::core::io::MediaSource;

/// What a stretch of a [`View`] consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// These bytes of the file.
    File(Range<u64>),
    /// Bytes that are not in the file.
    Bytes(Vec<u8>),
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Piece::File(range) => range.end.saturating_sub(range.start),
            Piece::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// The pieces one after another.
pub(crate) struct View<S> {
    source: S,
    pieces: Vec<Piece>,
    at: u64,
}

impl<S: Read + Seek> View<S> {
    pub(crate) fn new(source: S, pieces: Vec<Piece>) -> View<S> {
        View { source, pieces, at: 0 }
    }

    fn length(&self) -> u64 {
        self.pieces.iter().map(Piece::length).sum()
    }
}

impl<S: Read + Seek> Read for View<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut start = 0;
        for piece in &self.pieces {
            let within = self.at - start;
            let left = piece.length().saturating_sub(within);
            if left == 0 {
                start += piece.length();
                continue;
            }
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = match piece {
                Piece::File(range) => {
                    self.source.seek(SeekFrom::Start(range.start + within))?;
                    self.source.read(&mut buffer[..wanted])?
                }
                Piece::Bytes(bytes) => {
                    let from = usize::try_from(within).unwrap_or(usize::MAX);
                    buffer[..wanted].copy_from_slice(&bytes[from..from + wanted]);
                    wanted
                }
            };
            self.at += read as u64;
            return Ok(read);
        }
        Ok(0)
    }
}

impl<S: Read + Seek> Seek for View<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.length(), by),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start");
        self.at = from.checked_add_signed(by).ok_or_else(outside)?.min(self.length());
        Ok(self.at)
    }
}

impl<S: Read + Seek + Send + Sync> MediaSource for View<S> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_read_as_one_file() {
        let bytes = |text: &str| Piece::Bytes(text.as_bytes().to_vec());
        let pieces = vec![bytes("ab"), Piece::File(3..6), bytes(""), Piece::File(0..1), bytes("z")];
        let mut view = View::new(io::Cursor::new(b"0123456789"), pieces);
        let mut all = String::new();
        view.read_to_string(&mut all).unwrap();
        assert_eq!((all.as_str(), view.byte_len()), ("ab3450z", Some(7)));
        for at in 0..=7 {
            let mut rest = String::new();
            view.seek(SeekFrom::Start(at as u64)).unwrap();
            view.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, all[at..]);
        }
        assert_eq!(view.seek(SeekFrom::End(-2)).unwrap(), 5);
        assert_eq!(view.seek(SeekFrom::Current(-5)).unwrap(), 0);
        assert!(view.seek(SeekFrom::Current(-1)).is_err());
    }
}

//! CAF files with padding after the table of packets or at the end, which the demuxer takes for
//! chunks.
//!
//! Programs reserve room for the table before they know its length; the chunk's size says where
//! the next one begins (Apple's "Core Audio Format specification", packet table chunk).

use std::io::{self, Read, Seek, SeekFrom};

use super::pcm::number;
use super::view::Piece;

/// The file without padding.
pub(crate) fn pieces(file: &mut (impl Read + Seek)) -> io::Result<Vec<Piece>> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let (mut at, mut numbers) = (8, 0);
    let mut padding = None;
    for _ in 0..CHUNKS_MAX {
        let head = read(file, at, 12)?;
        if head.len() < 12 {
            // What is too short for a chunk fills up the last one.
            end = end.min(at);
            break;
        }
        let size = number(&head[4..], true);
        let Some(next) = (at + 12).checked_add(size).filter(|&next| next <= end) else { break };
        match &head[..4] {
            b"desc" => {
                // Sizes and lengths of packets stand in the table where they are not all alike.
                let sizes = read(file, at + 12 + 16, 8)?;
                numbers = sizes.chunks_exact(4).filter(|size| number(size, true) == 0).count();
            }
            b"pakt" => {
                let table = read(file, at + 12, size.min(TABLE_MAX))?;
                let packets = table.get(..8).map_or(0, |bytes| number(bytes, true));
                let used = table_size(&table, packets.saturating_mul(numbers as u64));
                let unused = at + 12 + used as u64..next;
                if table.len() as u64 == size && !unused.is_empty() {
                    padding = Some(unused);
                }
            }
            _ => {}
        }
        at = next;
    }
    Ok(match padding {
        Some(padding) => vec![Piece::File(0..padding.start), Piece::File(padding.end..end)],
        None => vec![Piece::File(0..end)],
    })
}

/// Bytes of the header and of so many numbers, whose last bytes have their high bit clear.
fn table_size(table: &[u8], numbers: u64) -> usize {
    let numbers = usize::try_from(numbers).unwrap_or(usize::MAX);
    let body = table.get(HEADER..).unwrap_or_default();
    let mut last_bytes = body.iter().enumerate().filter(|(_, byte)| *byte & 128 == 0);
    match numbers.checked_sub(1) {
        None => HEADER,
        Some(before) => last_bytes.nth(before).map_or(table.len(), |(at, _)| HEADER + at + 1),
    }
}

/// At most `size` bytes from `at`.
fn read(file: &mut (impl Read + Seek), at: u64, size: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of the table before its numbers.
const HEADER: usize = 24;

/// The table of a day of packets is smaller.
const TABLE_MAX: u64 = 64 << 20;

/// No file has more chunks before its table, short of one made to keep a reader busy.
const CHUNKS_MAX: usize = 4096;

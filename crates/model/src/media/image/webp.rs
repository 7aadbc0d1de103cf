//! The first picture of an animated WebP file, as a file of its own.
//!
//! The library blends it with a background. The reference takes its colours as they are stored, and
//! black around it.

/// A picture in an animation.
pub(super) struct First {
    /// A still WebP file.
    pub(super) file: Vec<u8>,
    /// Left and upper edge, width and height on the screen.
    pub(super) place: [u32; 4],
    /// Width and height of the screen.
    pub(super) screen: (u32, u32),
}

impl First {
    /// The first picture; `None` of a file that does not move (WebP container specification).
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(12..)?;
        let mut screen = None;
        loop {
            let (kind, body, after) = chunk(rest)?;
            match (kind, screen) {
                (b"VP8X", _) if body.first()? & ANIMATED != 0 => {
                    screen = Some((short(body, 4)? + 1, short(body, 7)? + 1));
                }
                (b"VP8X" | b"VP8 " | b"VP8L", _) => return None,
                (b"ANMF", Some(screen)) => {
                    let [left, top] = [short(body, 0)?, short(body, 3)?].map(|value| 2 * value);
                    let place = [left, top, short(body, 6)? + 1, short(body, 9)? + 1];
                    return Some(Self { file: still(body.get(16..)?, place)?, place, screen });
                }
                _ => {}
            }
            rest = after;
        }
    }

    /// The whole screen, RGB, from the pixels of the picture; `None` if it does not fit.
    pub(super) fn on_screen(&self, pixels: Vec<u8>, mut screen: Vec<u8>) -> Option<Vec<u8>> {
        let [left, top, across, down] = self.place.map(|value| value as usize);
        let width = 3 * self.screen.0 as usize;
        if left + across > self.screen.0 as usize || top + down > self.screen.1 as usize {
            return None;
        }
        for (row, pixels) in pixels.chunks_exact(3 * across).enumerate() {
            screen[(top + row) * width + 3 * left..][..3 * across].copy_from_slice(pixels);
        }
        Some(screen)
    }
}

/// Exif and XMP of a file.
pub(super) fn metadata(bytes: &[u8]) -> (Option<&[u8]>, Option<&[u8]>) {
    let (mut exif, mut xmp) = (None, None);
    let mut rest = bytes.get(12..).unwrap_or_default();
    while let Some((kind, body, after)) = chunk(rest) {
        match kind {
            b"EXIF" if exif.is_none() => exif = Some(body),
            b"XMP " if xmp.is_none() => xmp = Some(body),
            _ => {}
        }
        rest = after;
    }
    (exif, xmp)
}

/// A file of one picture's chunks.
fn still(mut chunks: &[u8], [_, _, across, down]: [u32; 4]) -> Option<Vec<u8>> {
    let mut body = b"WEBP".to_vec();
    let mut append = |kind: &[u8; 4], data: &[u8]| {
        body.extend(kind);
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(data);
        body.resize(body.len().next_multiple_of(2), 0);
    };
    let mut is_first = true;
    loop {
        let (kind, data, after) = chunk(chunks)?;
        if is_first && kind == b"ALPH" {
            let sides = [across - 1, down - 1].map(u32::to_le_bytes);
            let header = [&[WITH_ALPHA, 0, 0, 0], &sides[0][..3], &sides[1][..3]].concat();
            append(b"VP8X", &header);
        }
        append(kind, data);
        if kind == b"VP8 " || kind == b"VP8L" {
            break;
        }
        (is_first, chunks) = (false, after);
    }
    let length = (body.len() as u32).to_le_bytes();
    Some([b"RIFF", &length[..], &body].concat())
}

/// The first chunk: kind, body, and what follows it.
fn chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let body = rest.get(..length)?;
    Some((kind, body, rest.get(length.next_multiple_of(2)..).unwrap_or_default()))
}

/// Three bytes as a number.
fn short(bytes: &[u8], at: usize) -> Option<u32> {
    let &[a, b, c] = bytes.get(at..at + 3)? else { return None };
    Some(u32::from_le_bytes([a, b, c, 0]))
}

/// Flags of the VP8X chunk.
const ANIMATED: u8 = 0x02;
const WITH_ALPHA: u8 = 0x10;

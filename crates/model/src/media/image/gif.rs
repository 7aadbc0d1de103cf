//! GIF pictures: the first frame on its screen, as the reference renders it.
//!
//! The screen grows until it holds the frame. What the frame leaves free has its transparent color
//! or else the first one of its palette; without a palette the numbers of the colors are grays.

use weezl::{BitOrder, decode::Decoder};

use super::ImageError;
use super::decode::{self, Rgb};
use crate::media::pixels::check_sides;

/// Decodes the first frame (GIF89a specification, sections 18 to 24).
pub(super) fn decode(bytes: &[u8], bytes_max: u64) -> Result<Rgb, ImageError> {
    let frame = Frame::find(bytes).ok_or_else(truncated)?;
    let [left, top, across, down] = frame.place.map(u32::from);
    let width = u32::from(frame.screen[0]).max(left + across);
    let height = u32::from(frame.screen[1]).max(top + down);
    check_sides(width, height)?;
    if across == 0 || down == 0 {
        return Err(damaged("a frame without pixels"));
    }
    let indices = frame.indices(bytes_max)?;
    let palette = frame.colors();
    let (width, height) = (width as usize, height as usize);
    let background = palette[usize::from(frame.transparent.unwrap_or(0))];
    let mut pixels = decode::buffer(3 * width as u64 * height as u64)?;
    pixels.as_chunks_mut::<3>().0.fill(background);
    let [left, top, across, down] = frame.place.map(usize::from);
    for (row, y) in indices.chunks_exact(across).zip(rows(down, frame.is_interlaced)) {
        let out = &mut pixels[3 * ((top + y) * width + left)..][..3 * across];
        for (out, &index) in out.as_chunks_mut::<3>().0.iter_mut().zip(row) {
            *out = palette[usize::from(index)];
        }
    }
    Ok(Rgb { width: width as u32, height: height as u32, pixels })
}

/// The first frame, not yet decoded.
struct Frame<'a> {
    /// Width and height of the screen.
    screen: [u16; 2],
    /// The frame's left and upper edge, width and height.
    place: [u16; 4],
    transparent: Option<u8>,
    /// The frame's own palette and the file's; empty where there is none.
    palettes: [&'a [u8]; 2],
    is_interlaced: bool,
    /// The size of its codes and the chain of blocks that hold them.
    data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the blocks of a file up to its first frame; `None` where it breaks off before.
    fn find(bytes: &'a [u8]) -> Option<Self> {
        let (_, rest) = bytes.split_at_checked(6)?;
        let (screen, rest) = rest.split_at_checked(7)?;
        let short = |at: usize, from: &[u8]| u16::from_le_bytes([from[at], from[at + 1]]);
        let (global, mut rest) = palette(screen[4], rest)?;
        let mut transparent = None;
        loop {
            match rest {
                [EXTENSION, kind, data @ ..] => {
                    if let (GRAPHIC_CONTROL, [length, flags, _, _, color, ..]) = (*kind, data)
                        && *length >= 4
                        && flags & 1 == 1
                    {
                        transparent = Some(*color);
                    }
                    let (last, after) = blocks(data).last()?;
                    rest = last.is_empty().then_some(after)?;
                }
                [FRAME, data @ ..] => {
                    let (head, data) = data.split_at_checked(9)?;
                    let (local, data) = palette(head[8], data)?;
                    return Some(Self {
                        screen: [0, 2].map(|at| short(at, screen)),
                        place: [0, 2, 4, 6].map(|at| short(at, head)),
                        transparent,
                        palettes: [local, global],
                        is_interlaced: head[8] & 0x40 != 0,
                        data,
                    });
                }
                [END, ..] => return None,
                // What is between blocks is skipped, as elsewhere.
                [_, after @ ..] => rest = after,
                [] => return None,
            }
        }
    }

    /// The numbers of the frame's colors, in the order of its rows in the file.
    fn indices(&self, bytes_max: u64) -> Result<Vec<u8>, ImageError> {
        let (&bits, chain) = self.data.split_first().ok_or_else(truncated)?;
        if bits > CODE_BITS_MAX {
            return Err(damaged("codes of more than 12 bits"));
        }
        let bytes = u64::from(self.place[2]) * u64::from(self.place[3]);
        if bytes > bytes_max {
            return Err(ImageError::Memory { bytes });
        }
        let mut out = decode::buffer(bytes)?;
        let mut decoder = Decoder::new(BitOrder::Lsb, bits);
        let mut written = 0;
        for (mut block, _) in blocks(chain) {
            // Colors may still come when a block is used up.
            loop {
                let step = decoder.decode_bytes(block, &mut out[written..]);
                block = &block[step.consumed_in..];
                written += step.consumed_out;
                if written == out.len() {
                    return Ok(out);
                }
                if step.status.is_err() {
                    return Err(damaged("an LZW code that does not exist"));
                }
                if step.consumed_in + step.consumed_out == 0 {
                    break;
                }
            }
        }
        Err(truncated())
    }

    /// The colors by their numbers: those of the first palette that is no ramp of grays, black
    /// beyond it, or else that ramp.
    fn colors(&self) -> [[u8; 3]; 256] {
        let is_ramp =
            |palette: &[u8]| (0..=255).zip(palette.as_chunks().0).all(|(i, &c)| c == [i; 3]);
        let Some(palette) = self.palettes.iter().find(|palette| !is_ramp(palette)) else {
            return std::array::from_fn(|gray| [gray as u8; 3]);
        };
        let mut colors = [[0; 3]; 256];
        for (color, &stored) in colors.iter_mut().zip(palette.as_chunks().0) {
            *color = stored;
        }
        colors
    }
}

/// The rows of a picture in the order of the file (section 22, appendix E).
fn rows(height: usize, is_interlaced: bool) -> Box<dyn Iterator<Item = usize>> {
    if !is_interlaced {
        return Box::new(0..height);
    }
    let passes = [(0, 8), (4, 8), (2, 4), (1, 2)];
    Box::new(passes.into_iter().flat_map(move |(first, step)| (first..height).step_by(step)))
}

/// The palette that `flags` announce, and what follows it.
fn palette(flags: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colors = if flags & 0x80 == 0 { 0 } else { 2 << (flags & 7) };
    bytes.split_at_checked(3 * colors)
}

/// The blocks of a chain, each with its length in front, and what follows each: the last one is
/// empty, and ends the chain. It ends before a block that is cut short.
fn blocks(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut is_over = false;
    std::iter::from_fn(move || {
        let (&length, rest) = bytes.split_first().filter(|_| !is_over)?;
        let (block, rest) = rest.split_at_checked(length.into())?;
        (bytes, is_over) = (rest, length == 0);
        Some((block, rest))
    })
}

fn truncated() -> ImageError {
    ImageError::Truncated { format: "GIF" }
}

fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { format: "GIF", source: what.into() }
}

const EXTENSION: u8 = 0x21;
const GRAPHIC_CONTROL: u8 = 0xf9;
const FRAME: u8 = 0x2c;
const END: u8 = 0x3b;
/// The size of codes that name a color alone; all others have at least one bit more.
const CODE_BITS_MAX: u8 = 11;

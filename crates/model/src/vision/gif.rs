//! What the first frame of a GIF file leaves free: the decoder makes it transparent, the reference
//! fills it with the frame's transparent colour or else the first one of its palette.

/// Fills what the first frame does not cover of `pixels`, RGB rows of `width` pixels.
pub(super) fn fill(bytes: &[u8], width: usize, pixels: &mut [u8]) {
    let Some(First { place: [left, top, across, down], color }) = First::of(bytes) else { return };
    let covers =
        |x: usize, y: usize| (left..left + across).contains(&x) && (top..top + down).contains(&y);
    for (i, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        if !covers(i % width, i / width) {
            *pixel = color;
        }
    }
}

/// The first frame: its left and upper edge, width and height, and the colour around it.
#[derive(Debug, PartialEq, Eq)]
struct First {
    place: [usize; 4],
    color: [u8; 3],
}

impl First {
    /// Reads the blocks of a GIF file up to its first frame (GIF89a specification, sections 18 to
    /// 24); `None` where it breaks off or has no palette.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_at_checked(6)?;
        let (screen, rest) = rest.split_at_checked(7)?;
        let (global, mut rest) = palette(screen[4], rest)?;
        let mut transparent = 0;
        loop {
            match rest {
                [EXTENSION, kind, data @ ..] => {
                    if let (GRAPHIC_CONTROL, [4, flags, _, _, color, ..]) = (*kind, data) {
                        transparent = if flags & 1 == 1 { usize::from(*color) } else { 0 };
                    }
                    rest = behind(data)?;
                }
                [FRAME, a, b, c, d, e, f, g, h, flags, data @ ..] => {
                    let short =
                        |low: &u8, high: &u8| usize::from(u16::from_le_bytes([*low, *high]));
                    let place = [short(a, b), short(c, d), short(e, f), short(g, h)];
                    let (local, _) = palette(*flags, data)?;
                    let colors = if local.is_empty() { global } else { local };
                    let color = *colors.as_chunks().0.get(transparent)?;
                    return Some(Self { place, color });
                }
                _ => return None,
            }
        }
    }
}

/// The palette that `flags` announce, and what follows it.
fn palette(flags: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colors = if flags & 0x80 == 0 { 0 } else { 2 << (flags & 7) };
    bytes.split_at_checked(3 * colors)
}

/// What follows a chain of blocks, each with its length in front.
fn behind(mut blocks: &[u8]) -> Option<&[u8]> {
    loop {
        let (length, rest) = blocks.split_first()?;
        blocks = rest.get(usize::from(*length)..)?;
        if *length == 0 {
            return Some(blocks);
        }
    }
}

const EXTENSION: u8 = 0x21;
const GRAPHIC_CONTROL: u8 = 0xf9;
const FRAME: u8 = 0x2c;

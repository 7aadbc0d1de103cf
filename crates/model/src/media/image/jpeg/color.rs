//! From planes of samples, some smaller than the picture, to RGB.
//!
//! Chroma of half width or height is widened with a triangle filter: three quarters of the nearest
//! sample, one quarter of the next, the sum rounded once, up and down in turn so that the mean is
//! kept. This and the 16-bit constants of the colour matrix are the reference's, bit for bit.

use super::{Component, JpegError};

/// What the components of a picture mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::media::image::jpeg) enum Space {
    Gray,
    YCbCr,
    Rgb,
    /// Inverted cyan, magenta, yellow and black, as Adobe writes them and the reference assumes.
    Cmyk,
    /// The same with the first three as YCbCr.
    Ycck,
}

/// Writes the picture as RGB rows.
pub(in crate::media::image::jpeg) fn to_rgb(
    components: &[Component],
    space: Space,
    width: usize,
    height: usize,
) -> Result<Vec<u8>, JpegError> {
    let largest = (
        components.iter().map(|c| c.across).max().unwrap_or(1),
        components.iter().map(|c| c.down).max().unwrap_or(1),
    );
    let ways: Vec<Way> =
        components.iter().map(|c| Way::of(c, largest)).collect::<Result<_, _>>()?;
    let mut rows: Vec<Vec<u8>> = ways.iter().map(|_| Vec::new()).collect();
    let bytes = 3 * width * height;
    let none = |()| JpegError::Memory(bytes as u64);
    let mut out: Vec<u8> = bytemuck::allocation::try_zeroed_vec(bytes).map_err(none)?;
    for (y, out) in out.chunks_exact_mut(3 * width).enumerate() {
        for ((component, way), row) in components.iter().zip(&ways).zip(&mut rows) {
            row.clear();
            way.widen(component, y, row);
        }
        let pixels = out.as_chunks_mut().0.iter_mut();
        match (space, &rows[..]) {
            (Space::Gray, [y, ..]) => pixels.zip(y).for_each(|(out, &y)| *out = [y; 3]),
            (Space::YCbCr, [y, cb, cr, ..]) => {
                let samples = y.iter().zip(cb).zip(cr);
                pixels.zip(samples).for_each(|(out, ((&y, &cb), &cr))| *out = ycc(y, cb, cr));
            }
            (Space::Rgb, [r, g, b, ..]) => {
                let samples = r.iter().zip(g).zip(b);
                pixels.zip(samples).for_each(|(out, ((&r, &g), &b))| *out = [r, g, b]);
            }
            (Space::Cmyk | Space::Ycck, [c, m, y, k, ..]) => {
                let samples = c.iter().zip(m).zip(y).zip(k);
                for (out, (((&c, &m), &y), &k)) in pixels.zip(samples) {
                    let inks = if space == Space::Ycck {
                        ycc(c, m, y).map(|value| 255 - value)
                    } else {
                        [c, m, y]
                    };
                    *out = inks.map(|ink| inked(255 - ink, k));
                }
            }
            _ => return Err(JpegError::Damaged("fewer components than the colours need")),
        }
    }
    Ok(out)
}

/// YCbCr of ITU-T T.871 (JFIF) to RGB, with constants of 16 fraction bits.
pub(in crate::media::image) fn ycc(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let r = y + ((91_881 * cr + HALF) >> 16); // 1.40200
    let g = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16); // 0.34414, 0.71414
    let b = y + ((116_130 * cb + HALF) >> 16); // 1.77200
    [r, g, b].map(|value| value.clamp(0, 255) as u8)
}

/// The light that an ink and black leave: white less black, less its share of the ink.
/// `white` is 255 less the black.
pub(in crate::media::image) fn inked(ink: u8, white: u8) -> u8 {
    let product = u32::from(ink) * u32::from(white) + 128;
    white.saturating_sub((((product >> 8) + product) >> 8) as u8)
}

/// How a component is brought to the picture's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Each sample repeated, so many times across and down.
    Repeat(usize, usize),
    /// The triangle filter across.
    Across,
    /// The triangle filter down.
    Down,
    /// The triangle filter across and down, rounded once.
    Both,
}

impl Way {
    fn of(component: &Component, largest: (usize, usize)) -> Result<Self, JpegError> {
        let (across, down) = (largest.0 / component.across, largest.1 / component.down);
        if across * component.across != largest.0 || down * component.down != largest.1 {
            return Err(JpegError::Variant("sampling factors that do not divide each other"));
        }
        Ok(match (across, down) {
            (2, 1) if component.width > 2 => Self::Across,
            (2, 2) if component.width > 2 => Self::Both,
            (1, 2) => Self::Down,
            (across, down) => Self::Repeat(across, down),
        })
    }

    /// Appends row `y` of the picture, at least as many samples as the picture is wide.
    fn widen(self, component: &Component, y: usize, out: &mut Vec<u8>) {
        // The nearer of two rows is the one that holds row `y`; the edge is its own neighbour.
        let last = component.height - 1;
        let next = if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { y / 2 + 1 };
        let pair = || (component.row((y / 2).min(last)), component.row(next.min(last)));
        match self {
            Self::Repeat(1, 1) => out.extend_from_slice(component.row(y.min(last))),
            Self::Repeat(across, down) => {
                let row = component.row((y / down).min(last));
                row.iter().for_each(|&sample| out.extend(std::iter::repeat_n(sample, across)));
            }
            Self::Across => {
                let row = component.row(y.min(last)).iter().map(|&sample| u16::from(sample));
                triangle(row, 2, [1, 2], out);
            }
            Self::Down => {
                let (near, far) = pair();
                let round = if y.is_multiple_of(2) { 1 } else { 2 };
                let mix =
                    |(&near, &far)| ((3 * u16::from(near) + u16::from(far) + round) >> 2) as u8;
                out.extend(near.iter().zip(far).map(mix));
            }
            Self::Both => {
                let (near, far) = pair();
                let mix = |(&near, &far)| 3 * u16::from(near) + u16::from(far);
                triangle(near.iter().zip(far).map(mix), 4, [8, 7], out);
            }
        }
    }
}

/// Doubles a row of at least two values: to the left and to the right of each, three parts of it
/// and one of its neighbour, `round` added and `shift` bits dropped; the ends are their own
/// neighbours.
fn triangle(
    row: impl Iterator<Item = u16> + Clone,
    shift: u32,
    round: [u16; 2],
    out: &mut Vec<u8>,
) {
    let before = row.clone().take(1).chain(row.clone());
    let end = row.clone().last();
    let after = row.clone().skip(1).chain(end);
    for ((before, value), after) in before.zip(row).zip(after) {
        let left = (3 * value + before + round[0]) >> shift;
        let right = (3 * value + after + round[1]) >> shift;
        out.extend([left as u8, right as u8]);
    }
}

/// One half with 16 fraction bits.
const HALF: i32 = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triangle_filter_rounds_once() {
        let chroma = Component::of_samples(1, 1, &[&[0, 100, 255], &[8, 20, 30]]);
        let widened = |largest, y| {
            let mut row = Vec::new();
            Way::of(&chroma, largest).unwrap().widen(&chroma, y, &mut row);
            row
        };
        // By hand: quarters, rounded down at .5 to the left and up to the right.
        assert_eq!(widened((2, 1), 0), [0, 25, 75, 139, 216, 255]);
        assert_eq!(widened((1, 2), 0), [0, 100, 255]);
        assert_eq!(widened((1, 2), 1), [2, 80, 199]);
        assert_eq!(widened((1, 2), 3), [8, 20, 30]);
        // Sixteenths of (3 a + b): columns 8, 320, 795; the second result is at exactly 21.5.
        assert_eq!(widened((2, 2), 1), [2, 21, 61, 110, 169, 199]);
        assert_eq!(widened((4, 1), 0)[..5], [0, 0, 0, 0, 100]);
    }

    #[test]
    fn colours_of_the_standard() {
        assert_eq!(ycc(128, 128, 128), [128; 3]);
        assert_eq!(ycc(76, 85, 255), [254, 0, 0]);
        assert_eq!(ycc(255, 128, 128), [255; 3]);
        assert_eq!(
            (inked(0, 255), inked(255, 255), inked(0, 0), inked(128, 200)),
            (255, 0, 0, 100)
        );
    }

    #[test]
    fn odd_sampling_is_refused() {
        assert!(matches!(
            Way::of(&Component::of_samples(2, 1, &[&[0; 3]]), (3, 1)),
            Err(JpegError::Variant(_))
        ));
    }
}

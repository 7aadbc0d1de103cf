//! Luma and chroma to RGB.

use super::super::ImageError;
use super::compression::Compression;
use super::directory::Directory;
use super::layout::Layout;

/// How luma and chroma become RGB. The reference has two ways of its own: one for pictures that are
/// stored as they are, and its TIFF library's for all others.
pub(super) enum Chroma {
    Plain,
    Tables(Box<Tables>),
}

/// The parts of the colors that each value of luma and chroma contributes; those of green have 16
/// fraction bits.
pub(super) struct Tables {
    y: [i32; 256],
    red: [i32; 256],
    green: [[i32; 256]; 2],
    blue: [i32; 256],
}

impl Chroma {
    pub(super) fn of(directory: &Directory<'_>, layout: &Layout) -> Result<Self, ImageError> {
        let is_plain = layout.compression == Compression::None && layout.subsampling == (1, 1);
        if is_plain {
            return Ok(Self::Plain);
        }
        let weights = directory.floats(COEFFICIENTS)?.filter(|values| values.len() >= 3);
        let weights = weights.unwrap_or_else(|| vec![0.299, 0.587, 0.114]);
        let range = directory.floats(REFERENCE)?.filter(|values| values.len() >= 6);
        let range = range.unwrap_or_else(|| vec![0.0, 255.0, 128.0, 255.0, 128.0, 255.0]);
        Ok(Self::Tables(Box::new(Tables::new(&weights, &range))))
    }

    pub(super) fn rgb(&self, [y, cb, cr]: [u8; 3]) -> [u8; 3] {
        match self {
            Self::Plain => plain(y, cb, cr),
            Self::Tables(t) => {
                let (y, cb, cr) = (t.y[usize::from(y)], usize::from(cb), usize::from(cr));
                let green = (t.green[0][cb] + t.green[1][cr]) >> 16;
                [y + t.red[cr], y + green, y + t.blue[cb]].map(|part| part.clamp(0, 255) as u8)
            }
        }
    }
}

impl Tables {
    /// TIFF 6.0, section 21: `weights` are the shares of red, green and blue in luma, `range` the
    /// codes of the least and the greatest luma, and of no and the greatest chroma, twice.
    fn new(weights: &[f32], range: &[f32]) -> Self {
        let fixed = |value: f32| (f64::from(value.clamp(0.0, 2.0)) * 65_536.0 + 0.5) as i32;
        let [red, green, blue] = [weights[0], weights[1], weights[2]];
        let (to_red, to_blue) = (2.0 - 2.0 * red, 2.0 - 2.0 * blue);
        let red_of_green = fixed(red * to_red / green);
        let blue_of_green = fixed(blue * to_blue / green);
        let (to_red, to_blue) = (fixed(to_red), fixed(to_blue));
        let value = |code: i32, least: f32, greatest: f32, full: f32, bound: f32| {
            let span = if greatest == least { 1.0 } else { greatest - least };
            // The least code counts as a whole number.
            let value = code.saturating_sub(least as i32) as f32 * full / span;
            value.clamp(-bound, bound) as i32
        };
        let mut tables = Self { y: [0; 256], red: [0; 256], green: [[0; 256]; 2], blue: [0; 256] };
        for (i, code) in (0..256).zip(-128..128) {
            let cb = value(code, range[2] - 128.0, range[3] - 128.0, 127.0, 4096.0);
            let cr = value(code, range[4] - 128.0, range[5] - 128.0, 127.0, 4096.0);
            tables.y[i] = value(code + 128, range[0], range[1], 255.0, 8192.0);
            tables.red[i] = (to_red * cr + HALF) >> 16;
            tables.blue[i] = (to_blue * cb + HALF) >> 16;
            tables.green[0][i] = HALF - blue_of_green * cb;
            tables.green[1][i] = -red_of_green * cr;
        }
        tables
    }
}

/// YCbCr of ITU-T T.871 to RGB as the reference does it outside JPEG: each product has six fraction
/// bits, and one half more before it is cut towards zero.
fn plain(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let times = |factor: f64, value: u8| (factor * 64.0 * (f64::from(value) - 128.0) + 0.5) as i32;
    let r = times(1.402, cr);
    let g = times(-0.34414, cb) + times(-0.71414, cr);
    let b = times(1.772, cb);
    [r, g, b].map(|part| (i32::from(y) + (part >> 6)).clamp(0, 255) as u8)
}

const HALF: i32 = 1 << 15;
const COEFFICIENTS: u16 = 529;
const REFERENCE: u16 = 532;

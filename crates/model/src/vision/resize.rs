//! Bicubic, antialiased resizing of 8-bit pictures: the model was trained on what torchvision
//! makes, so every rounding of it counts.
//!
//! torchvision resizes the width first and rounds to 8 bits, then the height, and rounds again:
//!
//! ```text
//! scale = in / out,  s = max(scale, 1),  centre = scale (i + 1/2)
//! w[j]  = cubic((j + 1/2 - centre) / s), normalised to sum 1       a = -1/2
//! q[j]  = round(w[j] 2^p)                                          p: the largest with q in i16
//! out[i] = clamp((sum q[j] in[j] + 2^(p-1)) >> p, 0, 255)
//! ```
//!
//! `fast_image_resize` has this arithmetic, but one call resizes the height first: where the first
//! pass overshoots and is clipped, the order shows. Hence two calls, one for each side.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

/// Resizes `pixels` (RGB, row-major, `from` = (width, height)) to `to` = (width, height).
///
/// # Panics
///
/// If `pixels` is not `from` in size or a side is 0.
pub(super) fn resize(pixels: &[u8], from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    let mut resizer = Resizer::new();
    let wide = (from.0 != to.0).then(|| pass(&mut resizer, pixels, from, (to.0, from.1)));
    if from.1 == to.1 {
        return wide.unwrap_or_else(|| pixels.to_vec());
    }
    pass(&mut resizer, wide.as_deref().unwrap_or(pixels), (to.0, from.1), to)
}

/// Resizes along one side; the other is the same in `from` and `to`.
fn pass(resizer: &mut Resizer, pixels: &[u8], from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    let source = TypedImageRef::<U8x3>::from_buffer(from.0, from.1, pixels)
        .expect("the door checked that the pixels are as many as the sides say");
    let mut pixels = vec![0; 3 * to.0 as usize * to.1 as usize];
    let mut target = TypedImage::<U8x3>::from_buffer(to.0, to.1, &mut pixels)
        .expect("there are three bytes a pixel");
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    // The library's loops are compiled where they are called, for each type of pixels. One that is
    // known here leaves a quarter of them, which were half of this crate's code.
    resizer.resize_typed(&source, &mut target, &options).expect("nothing is cropped");
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cubic of the header.
    fn cubic(x: f64) -> f64 {
        let (x, a) = (x.abs(), -0.5);
        if x < 1.0 {
            ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            (((x - 5.0) * x + 8.0) * x - 4.0) * a
        } else {
            0.0
        }
    }

    /// The header's arithmetic along one line, as it is written there.
    fn line(source: &[u8], out: usize) -> Vec<u8> {
        let scale = source.len() as f64 / out as f64;
        let s = scale.max(1.0);
        let taps: Vec<(usize, Vec<f64>)> = (0..out)
            .map(|i| {
                let centre = scale * (i as f64 + 0.5);
                let first = (centre - 2.0 * s + 0.5).max(0.0) as usize;
                let last = ((centre + 2.0 * s + 0.5) as usize).min(source.len());
                let weights = (first..last).map(|j| cubic((j as f64 + 0.5 - centre) / s));
                let weights: Vec<f64> = weights.collect();
                let sum: f64 = weights.iter().sum();
                (first, weights.iter().map(|w| w / sum).collect())
            })
            .collect();
        let largest = taps.iter().flat_map(|(_, w)| w).fold(0.0f64, |max, &w| max.max(w));
        let fits = |p: &u32| (largest * f64::from(1 << (p + 1)) + 0.5) < f64::from(1 << 15);
        let p = (0..22).take_while(fits).count() as u32;
        let value = |(first, weights): &(usize, Vec<f64>)| {
            let terms = weights.iter().zip(&source[*first..]);
            let round = |w: f64| (w * f64::from(1 << p)).round() as i32;
            let sum: i32 = terms.map(|(&w, &x)| round(w) * i32::from(x)).sum();
            ((sum + (1 << p >> 1)) >> p).clamp(0, 255) as u8
        };
        taps.iter().map(value).collect()
    }

    /// Both passes by `line`.
    fn by_lines(pixels: &[u8], from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
        let (w, h) = (from.0 as usize, from.1 as usize);
        let (cols, rows) = (to.0 as usize, to.1 as usize);
        let mut wide = vec![0; 3 * cols * h];
        let mut out = vec![0; 3 * cols * rows];
        for y in 0..h {
            for c in 0..3 {
                let source: Vec<u8> = (0..w).map(|x| pixels[3 * (w * y + x) + c]).collect();
                let target = if w == cols { source } else { line(&source, cols) };
                (0..cols).for_each(|x| wide[3 * (cols * y + x) + c] = target[x]);
            }
        }
        for i in 0..3 * cols {
            let source: Vec<u8> = (0..h).map(|y| wide[3 * cols * y + i]).collect();
            let target = if h == rows { source } else { line(&source, rows) };
            (0..rows).for_each(|y| out[3 * cols * y + i] = target[y]);
        }
        out
    }

    /// Noise with hard edges: half the values are 0 or 255, so that overshoot clips.
    fn noise(width: u32, height: u32) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ u64::from(width * 31 + height);
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = (state >> 32) as u8;
            [value, if value > 127 { 255 } else { 0 }][(state >> 60) as usize & 1]
        };
        std::iter::repeat_with(next).take(3 * width as usize * height as usize).collect()
    }

    #[test]
    fn every_pixel_is_that_of_the_arithmetic() {
        let cases = [
            ((7, 5), (48, 96)),
            ((60, 40), (48, 48)),
            ((200, 3), (96, 48)),
            ((3, 200), (48, 96)),
            ((1, 1), (96, 48)),
            ((1, 500), (48, 480)),
            ((2000, 1), (480, 48)),
            ((100, 48), (48, 48)),
            ((48, 100), (48, 48)),
            ((131, 97), (144, 96)),
        ];
        for (from, to) in cases {
            let pixels = noise(from.0, from.1);
            let (found, wanted) = (resize(&pixels, from, to), by_lines(&pixels, from, to));
            let differ = found.iter().zip(&wanted).filter(|(a, b)| a != b).count();
            assert_eq!(differ, 0, "{from:?} to {to:?}: of {} values differ", wanted.len());
        }
    }

    #[test]
    fn a_picture_of_the_right_size_is_left_alone() {
        let pixels = noise(48, 96);
        assert_eq!(resize(&pixels, (48, 96), (48, 96)), pixels);
    }
}

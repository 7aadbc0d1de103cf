//! Animated GIF, WebP and PNG files.
//!
//! Which frames are taken depends on how many there are, and the files do not say it in front: an
//! animation is decoded once to count and once to keep, so that memory holds one frame and the
//! taken pictures however long it is.
//!
//! A frame's time is the sum of the times for which those before it are shown.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, Frames, ImageDecoder, ImageFormat, ImageResult};

use super::{VideoConfig, VideoError, sampling};
use crate::media::image::decode;
use crate::media::pixels::check_sides;
use crate::video::Frame;
use crate::vision::Picture;

/// The sampled frames of a picture file; a still picture is its only frame, at time 0.
pub(super) fn frames(bytes: &[u8], config: &VideoConfig) -> Result<Vec<Frame>, VideoError> {
    let format = decode::format(bytes)?;
    let blame = |cause| decode::blame(format, bytes, cause);
    let Some(animation) = animation(bytes, format).map_err(blame)? else {
        let picture = Picture::decode(bytes, config.budget)?;
        return Ok(vec![Frame { index: 0, seconds: 0.0, picture }]);
    };
    let (width, height) = animation.sides;
    check_sides(width, height)?;

    let (mut times, mut shown_ms) = (Vec::new(), 0f64);
    for frame in animation.frames {
        let (numerator, denominator) = frame.map_err(blame)?.delay().numer_denom_ms();
        let delay_ms = f64::from(numerator) / f64::from(denominator);
        times.push(shown_ms / 1000.0);
        shown_ms += if delay_ms > SHORTEST_MS { delay_ms } else { UNSTATED_MS };
        let pixels = times.len() as u64 * u64::from(width) * u64::from(height);
        if pixels > PIXELS_MAX || times.len() > FRAMES_MAX {
            return Err(VideoError::TooLarge { pixels_max: PIXELS_MAX });
        }
    }

    let mut taken = sampling::shown(&times, config.frames_max).into_iter().peekable();
    let mut frames = Vec::new();
    let Some(again) = self::animation(bytes, format).map_err(blame)? else { return Ok(frames) };
    for (index, (frame, seconds)) in (0..).zip(again.frames.zip(times)) {
        if taken.peek().is_none() {
            break;
        }
        if taken.next_if_eq(&index).is_some() {
            let rgba = frame.map_err(blame)?.into_buffer().into_raw();
            let rgb: Vec<u8> =
                rgba.as_chunks().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
            let picture = Picture::from_rgb(width, height, &rgb, config.budget)?;
            frames.push(Frame { index, seconds, picture });
        }
    }
    Ok(frames)
}

/// An animation that is ready to be decoded.
struct Animation<'a> {
    sides: (u32, u32),
    frames: Frames<'a>,
}

/// Opens an animation; `None` if the file is a still picture.
fn animation(bytes: &[u8], format: ImageFormat) -> ImageResult<Option<Animation<'_>>> {
    let (input, limits) = (Cursor::new(bytes), decode::limits());
    Ok(Some(match format {
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(input)?;
            decoder.set_limits(limits)?;
            Animation { sides: decoder.dimensions(), frames: decoder.into_frames() }
        }
        ImageFormat::WebP => {
            let mut decoder = WebPDecoder::new(input)?;
            decoder.set_limits(limits)?;
            if !decoder.has_animation() {
                return Ok(None);
            }
            Animation { sides: decoder.dimensions(), frames: decoder.into_frames() }
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(input, limits)?;
            if !decoder.is_apng()? {
                return Ok(None);
            }
            Animation { sides: decoder.dimensions(), frames: decoder.apng()?.into_frames() }
        }
        _ => return Ok(None),
    }))
}

/// The most pixels that are decoded in one pass over an animation: 4000 frames of 1920 x 1080, a
/// minute or two of work.
const PIXELS_MAX: u64 = 1 << 33;

/// The most frames whose times are kept: a day at 48 in a second.
const FRAMES_MAX: usize = 1 << 22;

/// The longest time that stands for "unstated"; GIF files write 0 or 1/100 s for it.
const SHORTEST_MS: f64 = 10.0;

/// How long a frame is shown that does not say it. ffmpeg's and the browsers' choice.
const UNSTATED_MS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use image::codecs::gif::GifEncoder;
    use image::{Delay, RgbaImage};

    use super::*;

    /// A GIF whose frames are all of one gray, 8 steps brighter each time.
    fn gif(frames: u8, delay_ms: u32) -> Vec<u8> {
        uneven_gif(&vec![delay_ms; usize::from(frames)])
    }

    /// The same with a delay of its own for each frame.
    fn uneven_gif(delays_ms: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new(&mut bytes);
        for (i, &delay_ms) in (0..).zip(delays_ms) {
            let pixels = RgbaImage::from_pixel(6, 4, image::Rgba([8 * i, 8 * i, 8 * i, 255]));
            let delay = Delay::from_numer_denom_ms(delay_ms, 1);
            encoder.encode_frame(image::Frame::from_parts(pixels, 0, 0, delay)).unwrap();
        }
        drop(encoder);
        bytes
    }

    fn seen(bytes: &[u8], frames_max: usize) -> Vec<(f64, u8)> {
        let config = VideoConfig { frames_max, ..Default::default() };
        let frames = frames(bytes, &config).unwrap();
        frames.iter().map(|f| (f.seconds, f.picture.pixels()[0])).collect()
    }

    #[test]
    fn frames_and_times_are_sampled_evenly() {
        assert_eq!(seen(&gif(5, 500), 2), [(0.0, 0), (1.0, 16)]);
        assert_eq!(seen(&gif(3, 250), 32), [(0.0, 0), (0.25, 8), (0.5, 16)]);
    }

    #[test]
    fn a_frame_has_the_time_at_which_it_appears() {
        let gif = uneven_gif(&[100, 200, 3000, 500]);
        assert_eq!(seen(&gif, 32), [(0.0, 0), (0.1, 8), (0.3, 16), (3.3, 24)]);
        assert_eq!(seen(&gif, 2), [(0.0, 0), (0.3, 16)], "what is on show at half of it");
    }

    #[test]
    fn one_frame_is_a_video() {
        assert_eq!(seen(&gif(1, 0), 32), [(0.0, 0)]);
        let mut png = Cursor::new(Vec::new());
        image::GrayImage::from_pixel(3, 3, image::Luma([77]))
            .write_to(&mut png, ImageFormat::Png)
            .unwrap();
        assert_eq!(seen(png.get_ref(), 32), [(0.0, 77)]);
    }

    #[test]
    fn png_files_move_too() {
        let bytes = include_bytes!("../../../tests/data/images/moving.png");
        assert_eq!(seen(bytes, 32), [(0.0, 0), (0.5, 80), (1.0, 160)]);
    }

    #[test]
    fn unstated_delays_are_a_tenth_of_a_second() {
        assert_eq!(seen(&gif(3, 0), 32), [(0.0, 0), (0.1, 8), (0.2, 16)]);
    }

    #[test]
    fn a_damaged_animation_is_an_error() {
        let bytes = gif(3, 100);
        for length in [13, bytes.len() / 2, bytes.len() - 20] {
            let found = frames(&bytes[..length], &VideoConfig::default());
            assert!(matches!(found, Err(VideoError::Image(_))), "{length} bytes: {found:?}");
        }
    }
}

//! Splits a long sound into segments where it is quiet.
//!
//! The model was trained on at most 30 s at once. When a segment grows beyond that, it is cut at
//! the frame boundary between its seconds 20 and 29 that has the least energy in the 160 ms around
//! it, so that the cut falls into a pause between words where there is one. A cut depends on
//! nothing that comes later, so a sound that is still being recorded is cut where the whole
//! recording would be. At least one second follows a cut, since a word alone says little. Every cut
//! is at a multiple of a frame, so only the last frame of the sound is padded.

use std::ops::Range;

use super::FRAME;
use crate::media::samples::RATE;

/// The longest sound in seconds that the model was trained to hear at once.
pub const SEGMENT_SECONDS_MAX: usize = 30;

/// What to do with a clip longer than 30 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum LongClip {
    /// Cut it on quiet points into segments of at most 30 s.
    #[default]
    Split,
    /// Refuse it.
    Refuse,
}

/// A sound longer than the model hears at once, where the caller did not want it split.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "the audio lasts {seconds:.4} s, the model hears at most {limit} s at once: \
     cut it or allow it to be split into segments"
)]
pub struct OverOneSegment {
    /// How long it lasts.
    pub seconds: f64,
    /// How long it may be, in seconds.
    pub limit: usize,
}

/// The number of frames that `samples` samples fill; the last frame is padded with zeros.
pub(crate) fn frames(samples: usize) -> usize {
    samples.div_ceil(FRAME)
}

/// Splits `samples` (16 kHz) into ranges of samples. No range is empty or longer than 30 s, and
/// together they cover the whole.
///
/// # Errors
/// [`OverOneSegment`] if more than one segment is needed and `long` forbids that.
pub(crate) fn segments(
    samples: &[f32],
    long: LongClip,
) -> Result<Vec<Range<usize>>, OverOneSegment> {
    if frames(samples.len()) > SEGMENT_FRAMES_MAX && long == LongClip::Refuse {
        return Err(too_long(samples.len()));
    }
    let mut splitter = Splitter::default();
    let mut found = Vec::new();
    let mut start = 0;
    for frame in samples.chunks(FRAME) {
        splitter.push(frame);
        if let Some(cut) = splitter.cut() {
            splitter.forget(cut);
            let end = start + cut * FRAME;
            found.push(start..end);
            start = end;
        }
    }
    if start < samples.len() {
        found.push(start..samples.len());
    }
    Ok(found)
}

/// The error for a sound of `samples` samples that must not be split.
pub(crate) fn too_long(samples: usize) -> OverOneSegment {
    let seconds = samples as f64 / f64::from(RATE);
    OverOneSegment { seconds, limit: SEGMENT_SECONDS_MAX }
}

/// Finds the cuts of a sound whose frames arrive one by one.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// The energy of each frame of the growing segment.
    energies: Vec<f64>,
}

impl Splitter {
    /// Takes the next frame: [`FRAME`] samples, or fewer at the end of the sound.
    pub(crate) fn push(&mut self, frame: &[f32]) {
        self.energies.push(energy(frame));
    }

    /// The number of frames in the growing segment.
    pub(crate) fn frames(&self) -> usize {
        self.energies.len()
    }

    /// The frame before which the segment is cut, once it is too long; the latest of equally quiet
    /// ones.
    pub(crate) fn cut(&self) -> Option<usize> {
        if self.frames() <= SEGMENT_FRAMES_MAX {
            return None;
        }
        let around = |cut: usize| -> f64 {
            self.energies[cut - CUT_FRAMES / 2..cut + CUT_FRAMES / 2].iter().sum()
        };
        let mut best = (CUT_FRAME_MAX, around(CUT_FRAME_MAX));
        for cut in (CUT_FRAME_MIN..CUT_FRAME_MAX).rev() {
            let energy = around(cut);
            if energy < best.1 {
                best = (cut, energy);
            }
        }
        Some(best.0)
    }

    /// Begins the next segment at frame `cut`.
    pub(crate) fn forget(&mut self, cut: usize) {
        self.energies.drain(..cut);
    }
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum()
}

const SEGMENT_FRAMES_MAX: usize = SEGMENT_SECONDS_MAX * RATE as usize / FRAME;

/// The first and the last frame before which a segment may be cut: at 20 s and at 29 s.
pub(crate) const CUT_FRAME_MIN: usize = 500;
const CUT_FRAME_MAX: usize = 725;

/// The number of frames whose energy decides on a cut: 160 ms, a short pause in speech.
const CUT_FRAMES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// A loud alternating signal with silence in the given frames.
    fn noisy(samples: usize, quiet: &[Range<usize>]) -> Vec<f32> {
        let loud = |i: usize| if i.is_multiple_of(2) { 0.5 } else { -0.5 };
        let silent = |i: usize| quiet.iter().any(|q| q.contains(&(i / FRAME)));
        (0..samples).map(|i| if silent(i) { 0.0 } else { loud(i) }).collect()
    }

    #[test]
    fn frames_round_up() {
        let cases = [(0, 0), (1, 1), (639, 1), (640, 1), (641, 2), (480_000, 750), (480_001, 751)];
        for (samples, wanted) in cases {
            assert_eq!(frames(samples), wanted, "{samples} samples");
        }
    }

    #[test]
    fn thirty_seconds_stay_whole() {
        for samples in [1, 640, 480_000] {
            for long in [LongClip::Split, LongClip::Refuse] {
                let found = segments(&vec![0.1; samples], long).unwrap();
                assert_eq!(found.as_slice(), std::slice::from_ref(&(0..samples)));
            }
        }
    }

    #[test]
    fn one_sample_more_is_refused_or_split() {
        let clip = vec![0.1; 480_001];
        let error = segments(&clip, LongClip::Refuse).unwrap_err().to_string();
        assert!(error.contains("30.0001 s") && error.contains("at most 30 s"), "{error}");
        let found = segments(&clip, LongClip::Split).unwrap();
        assert_eq!(found, [0..725 * FRAME, 725 * FRAME..480_001], "the end keeps a second");
    }

    #[test]
    fn cuts_fall_into_pauses() {
        let clip = noisy(2000 * FRAME - 7, &[600..610, 1300..1304]);
        let found = segments(&clip, LongClip::Split).unwrap();
        assert_eq!(found[0].end, 608 * FRAME, "the latest boundary with 80 ms of silence about it");
        assert_eq!(found[1].end, 1302 * FRAME);
        assert_eq!(found[2].end, clip.len());
    }

    #[test]
    fn pauses_outside_the_window_do_not_count() {
        let clip = noisy(1600 * FRAME, &[100..140, 730..750]);
        assert_eq!(segments(&clip, LongClip::Split).unwrap()[0].end, 725 * FRAME);
    }

    #[test]
    fn segments_cover_everything_once() {
        let mut seed = 7u32;
        for frames_total in [751, 875, 876, 999, 1500, 1501, 4321, 180_000] {
            let level: Vec<f32> = (0..frames_total)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 8) as f32 / (1 << 24) as f32
                })
                .collect();
            let clip: Vec<f32> = (0..frames_total * FRAME - 3).map(|i| level[i / FRAME]).collect();
            let mut at = 0;
            for range in segments(&clip, LongClip::Split).unwrap() {
                assert_eq!(range.start, at);
                assert!(
                    !range.is_empty() && frames(range.len()) <= SEGMENT_FRAMES_MAX,
                    "{range:?}"
                );
                assert!(range.end == clip.len() || range.end.is_multiple_of(FRAME));
                at = range.end;
            }
            assert_eq!(at, clip.len());
        }
    }
}

//! A long sound is split where it is quiet.
//!
//! The model was trained on at most 30 s at once. When a sound grows beyond that, the segment is
//! cut at the frame boundary between its seconds 20 and 29 with the least energy in the 160 ms
//! around it, so that the cut falls into a pause between words where there is one. Nothing that
//! comes later counts, hence a sound that is still being recorded is cut where it would be cut as
//! a whole; and what follows the cut is a second at least, for a word alone says little. Cuts
//! stand at multiples of a frame: only the sound's very last frame is padded.

use std::ops::Range;

use super::{AudioError, FRAME, resample::RATE};

/// What the model hears at once, as it was trained.
pub const SEGMENT_SECONDS_MAX: usize = 30;

/// What to do with a clip longer than 30 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongClip {
    /// Cut it on quiet points into segments of at most 30 s.
    #[default]
    Split,
    /// Refuse it.
    Refuse,
}

/// Number of frames that `samples` samples take, the last one padded with zeros.
pub(crate) fn frames(samples: usize) -> usize {
    samples.div_ceil(FRAME)
}

/// Splits into ranges of samples: none is empty or longer than 30 s, together they are the whole.
///
/// # Errors
/// [`AudioError::OverOneSegment`] where more than one would be needed and `long` forbids it.
pub(crate) fn segments(samples: &[f32], long: LongClip) -> Result<Vec<Range<usize>>, AudioError> {
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

/// The refusal of so many samples.
pub(crate) fn too_long(samples: usize) -> AudioError {
    let seconds = samples as f64 / f64::from(RATE);
    AudioError::OverOneSegment { seconds, limit: SEGMENT_SECONDS_MAX }
}

/// Finds the cuts of a sound whose frames come one by one.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// Of the frames of the segment that is growing.
    energies: Vec<f64>,
}

impl Splitter {
    /// Takes the next frame, of [`FRAME`] samples or, at the end, less.
    pub(crate) fn push(&mut self, frame: &[f32]) {
        self.energies.push(energy(frame));
    }

    /// Frames since the segment began.
    pub(crate) fn frames(&self) -> usize {
        self.energies.len()
    }

    /// The frame before which a segment that has grown too long is cut. Of equally quiet ones the
    /// latest.
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

    /// Begins the next segment at a cut.
    pub(crate) fn forget(&mut self, cut: usize) {
        self.energies.drain(..cut);
    }
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum()
}

const SEGMENT_FRAMES_MAX: usize = SEGMENT_SECONDS_MAX * RATE as usize / FRAME;

/// The first and the last frame before which a segment is cut: 20 s and 29 s.
pub(crate) const CUT_FRAME_MIN: usize = 500;
const CUT_FRAME_MAX: usize = 725;

/// Frames whose energy decides about a cut: 160 ms, the length of a short pause in speech.
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

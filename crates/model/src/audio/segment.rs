//! A long clip is split where it is quiet.
//!
//! The model was trained on at most 30 s at once. A cut is searched in the last 10 s before that
//! limit, at the frame boundary with the least energy in the 160 ms around it, so that it falls
//! into a pause between words where there is one. Cuts stand at multiples of a frame: only the
//! clip's very last frame is padded.

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
    let total = frames(samples.len());
    if total > SEGMENT_FRAMES_MAX && long == LongClip::Refuse {
        let seconds = samples.len() as f64 / f64::from(RATE);
        return Err(AudioError::OverOneSegment { seconds, limit: SEGMENT_SECONDS_MAX });
    }
    let energies: Vec<f64> = samples.chunks(FRAME).map(energy).collect();
    let mut found = Vec::new();
    let mut start = 0;
    while start < total {
        let end = match total - start <= SEGMENT_FRAMES_MAX {
            true => total,
            false => quietest(&energies, start),
        };
        found.push(start * FRAME..samples.len().min(end * FRAME));
        start = end;
    }
    Ok(found)
}

/// The frame before which to cut. Of equally quiet ones the latest, but the end keeps 5 s.
fn quietest(energies: &[f64], start: usize) -> usize {
    let last = (start + SEGMENT_FRAMES_MAX).min(energies.len() - TAIL_FRAMES_MIN);
    let around = |cut: usize| energies[cut - CUT_FRAMES / 2..cut + CUT_FRAMES / 2].iter().sum();
    let mut best = (last, around(last));
    for cut in (start + SEGMENT_FRAMES_MAX - SEARCH_FRAMES..last).rev() {
        let energy: f64 = around(cut);
        if energy < best.1 {
            best = (cut, energy);
        }
    }
    best.0
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum()
}

const SEGMENT_FRAMES_MAX: usize = SEGMENT_SECONDS_MAX * RATE as usize / FRAME;

/// Where a cut is searched: the last 10 s before the limit.
const SEARCH_FRAMES: usize = 250;

/// Frames whose energy decides about a cut: 160 ms, the length of a short pause in speech.
const CUT_FRAMES: usize = 4;

/// What the last segment keeps at least: 5 s, for a word alone says little.
const TAIL_FRAMES_MIN: usize = 125;

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
        assert_eq!(found, [0..626 * FRAME, 626 * FRAME..480_001], "the end keeps 5 s");
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
        let clip = noisy(1600 * FRAME, &[100..140, 760..770]);
        assert_eq!(segments(&clip, LongClip::Split).unwrap()[0].end, 750 * FRAME);
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

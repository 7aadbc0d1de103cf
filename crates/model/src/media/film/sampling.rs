//! Which frames of a film are taken.

use super::VideoError;

/// The frames to take of `total`, ascending: at most `wanted`, spread evenly from the first, each
/// at the floor of its share, as the reference has it.
pub(super) fn indices(total: u64, wanted: usize) -> Vec<u64> {
    let count = u128::from(total).min(wanted as u128);
    (0..count).map(|i| (i * u128::from(total) / count) as u64).collect()
}

/// The frames to take of a film whose frames are shown for differently long, ascending: those on
/// show at at most `wanted` moments spread evenly over the film. `times` are the frames' times in
/// seconds, ascending. Where all frames are shown equally long these are [`indices`], however the
/// container rounds times.
pub(super) fn shown(times: &[f64], wanted: usize) -> Vec<u64> {
    let moments = indices(times.len() as u64, wanted);
    let ends = times.first().zip(times.last());
    let span = ends.map_or(0.0, |(first, last)| last - first);
    if moments.len() == times.len() || span <= 0.0 {
        return moments;
    }
    let distance = span / (times.len() - 1) as f64;
    let on_show = |moment: u64| {
        let at = times[0] + moment as f64 * distance + ROUNDING_SECONDS.min(distance / 4.0);
        times.partition_point(|time| *time <= at) as u64 - 1
    };
    let mut taken: Vec<u64> = moments.into_iter().map(on_show).collect();
    taken.dedup();
    taken
}

/// Refuses rates that make no time of a frame number.
pub(super) fn check_rate(rate: f64) -> Result<(), VideoError> {
    if rate.is_finite() && rate > 0.0 { Ok(()) } else { Err(VideoError::Rate { found: rate }) }
}

/// How far rounding may move times and distances: Matroska and others count milliseconds.
const ROUNDING_SECONDS: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spread_evenly_from_the_first() {
        assert_eq!(indices(10, 4), [0, 2, 5, 7]);
        assert_eq!(indices(33, 32)[..4], [0, 1, 2, 3]);
        assert_eq!(indices(33, 32)[31], 31);
        assert_eq!(indices(900, 32)[..3], [0, 28, 56]);
        assert_eq!(indices(900, 32)[31], 871);
    }

    #[test]
    fn a_short_video_is_taken_whole() {
        assert_eq!(indices(3, 32), [0, 1, 2]);
        assert_eq!(indices(1, 32), [0]);
        assert_eq!(indices(0, 32), [0u64; 0]);
        assert_eq!(indices(5, 0), [0u64; 0]);
    }

    #[test]
    fn the_longest_video_does_not_overflow() {
        assert_eq!(indices(u64::MAX, 2), [0, u64::MAX / 2]);
    }

    /// Moments 0 to 9 of ten frames whose mean distance is a second.
    #[test]
    fn a_frame_that_is_shown_long_is_taken_once() {
        let times = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 4.0, 9.0];
        // Moments 0, 3 and 6, and then 0, 2, 4, 6 and 8.
        assert_eq!(shown(&times, 3), [0, 7, 8]);
        assert_eq!(shown(&times, 5), [0, 7, 8]);
        assert_eq!(shown(&times, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    /// Milliseconds, as Matroska has them, of 24000/1001 frames in a second.
    #[test]
    fn rounded_times_of_an_even_film_change_nothing() {
        for total in [33u64, 100, 1001, 5000] {
            let times: Vec<f64> =
                (0..total).map(|i| (i as f64 * 1001.0 / 24.0).round() / 1000.0 + 1.4).collect();
            assert_eq!(shown(&times, 32), indices(total, 32), "{total} frames");
        }
        assert_eq!(shown(&[2.0; 40], 4), indices(40, 4), "times that say nothing");
        assert_eq!(shown(&[], 4), [0u64; 0]);
    }

    #[test]
    fn rates_that_give_no_time_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(check_rate(rate), Err(VideoError::Rate { .. })), "{rate}");
        }
        assert!(check_rate(29.97).is_ok());
    }
}

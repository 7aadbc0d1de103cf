//! Which frames of a video the model sees, and what is written before each.

use super::VideoError;

/// The frames to take of `total`, ascending: at most `wanted`, spread evenly from the first, each
/// at the floor of its share, as the reference has it.
pub(super) fn indices(total: u64, wanted: usize) -> Vec<u64> {
    let count = u128::from(total).min(wanted as u128);
    (0..count).map(|i| (i * u128::from(total) / count) as u64).collect()
}

/// The time before a frame in the prompt: minutes and seconds, `mm:ss`, both rounded down. Minutes
/// go on after 99, as the reference has no hours; a time before 0 is 0.
pub fn timestamp(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let rest = seconds % 60.0;
    let minutes = (seconds - rest) / 60.0;
    format!("{minutes:02.0}:{:02.0}", rest.floor())
}

/// Refuses rates that make no time of a frame number.
pub(super) fn check_rate(rate: f64) -> Result<(), VideoError> {
    if rate.is_finite() && rate > 0.0 { Ok(()) } else { Err(VideoError::Rate { found: rate }) }
}

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

    #[test]
    fn timestamps_round_down_and_know_no_hours() {
        for (seconds, wanted) in [
            (0.0, "00:00"),
            (0.999, "00:00"),
            (9.5, "00:09"),
            (59.999, "00:59"),
            (60.0, "01:00"),
            (754.4, "12:34"),
            (3_600.0, "60:00"),
            (6_000.0, "100:00"),
            (-1.0, "00:00"),
            (f64::NAN, "00:00"),
        ] {
            assert_eq!(timestamp(seconds), wanted, "{seconds}");
        }
    }

    #[test]
    fn rates_that_give_no_time_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(check_rate(rate), Err(VideoError::Rate { .. })), "{rate}");
        }
        assert!(check_rate(29.97).is_ok());
    }
}

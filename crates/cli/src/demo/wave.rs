//! Recordings in a terminal: how loud each moment is, in blocks of two lines.

/// The two lines of a recording, of so many columns. A column is as high as the loudest sample of
/// its time, measured by the loudest of all.
pub(super) fn drawn(samples: &[f32], columns: usize) -> [String; 2] {
    let loudest = peak(samples);
    let heights = (0..columns).map(|column| {
        let at = |column: usize| samples.len() * column / columns;
        // A column is never without a sample, as long as there is one.
        let end = at(column + 1).max(at(column) + 1).min(samples.len());
        let share = peak(&samples[at(column).min(end)..end]) / loudest.max(f32::MIN_POSITIVE);
        (share * HEIGHT_MAX as f32).round() as usize
    });
    let heights: Vec<_> = heights.collect();
    let line = |bottom: usize| {
        heights.iter().map(|height| BLOCKS[height.saturating_sub(bottom).min(EIGHTHS)]).collect()
    };
    [line(EIGHTHS), line(0)]
}

fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |most, sample| most.max(sample.abs()))
}

/// Blocks of so many eighths.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const EIGHTHS: usize = 8;
const HEIGHT_MAX: usize = 2 * EIGHTHS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_high_as_its_loudest_sample() {
        let samples = [0.0, 0.1, -0.8, 0.2, 0.4, -0.4, 0.0, 0.0];
        // 0.8 is the loudest: 1/8, all, half and nothing of sixteen eighths.
        assert_eq!(drawn(&samples, 4), [" █  ".to_owned(), "▂██ ".to_owned()]);
        assert_eq!(drawn(&[0.05, -0.1], 2), [" █".to_owned(), "██".to_owned()]);
        // 2.56 eighths are nearly three.
        assert_eq!(drawn(&[0.16, 1.0], 2), [" █".to_owned(), "▃█".to_owned()]);
        assert_eq!(drawn(&[0.3, -0.4], 2), ["▄█".to_owned(), "██".to_owned()]);
    }

    #[test]
    fn silence_and_few_samples_are_drawn_as_well() {
        assert_eq!(drawn(&[0.0; 10], 3), ["   ".to_owned(), "   ".to_owned()]);
        assert_eq!(drawn(&[], 2), ["  ".to_owned(), "  ".to_owned()]);
        assert_eq!(drawn(&[0.5], 3), ["███".to_owned(), "███".to_owned()]);
        assert_eq!(drawn(&[0.5, 0.1], 0), [String::new(), String::new()]);
    }
}

//! How long passes take of late: a short one of the last few, so that those that were held up by
//! something else count for nothing.

use super::{COLUMNS_MAX, HELD_UP};

/// Seconds of passes by their number of tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    passes: [Recent; COLUMNS_MAX + 1],
}

impl Times {
    /// A pass over so many tokens took so long.
    pub(super) fn passed(&mut self, tokens: usize, seconds: f64) {
        if !(1..=COLUMNS_MAX).contains(&tokens) || seconds.is_nan() || seconds <= 0.0 {
            return;
        }
        let before = self.passes[tokens].usual();
        // The first one may have been held up: nothing shows it yet.
        let is_first = before.is_none() && self.is_known();
        let most = if is_first { HELD_UP * self.pass(tokens) } else { seconds };
        self.passes[tokens].push(seconds.min(most));
        let Some((old, new)) = before.zip(self.passes[tokens].usual()) else { return };
        if tokens > 1 {
            // Passes of several tokens change together, and some are rarely run: half of a change
            // is believed of them.
            let others = self.passes.iter_mut().enumerate().skip(2).filter(|(i, _)| *i != tokens);
            others.for_each(|(_, other)| other.scale((new / old).sqrt()));
        }
    }

    /// Whether any pass was run.
    fn is_known(&self) -> bool {
        self.passes.iter().any(|recent| recent.count > 0)
    }

    /// The most tokens of a pass that was run, at least 1.
    pub(super) fn longest(&self) -> usize {
        self.passes.iter().rposition(|recent| recent.count > 0).unwrap_or(1)
    }

    /// Seconds of a pass over so many tokens, at least 1; of one that was never run what others
    /// suggest. No token is free, and none takes longer than a pass of its own.
    pub(super) fn pass(&self, tokens: usize) -> f64 {
        let one = self.one();
        let of = |n: usize| self.passes.get(n).and_then(Recent::usual).map(|s| (n, s));
        let more = (tokens..=COLUMNS_MAX).find_map(of);
        let less = (2..=tokens.min(COLUMNS_MAX)).rev().find_map(of);
        let each = |(n, seconds): (usize, f64)| (seconds - one) / (n as f64 - 1.0);
        let seconds = match (less, more) {
            _ if tokens == 1 => one,
            (Some((a, of_a)), Some((b, of_b))) if a < b => {
                of_a + (of_b - of_a) * (tokens - a) as f64 / (b - a) as f64
            }
            (Some(known), _) | (None, Some(known)) => one + each(known) * (tokens as f64 - 1.0),
            (None, None) => one * shape(tokens),
        };
        seconds.clamp(one * (1.0 + STEP_MIN * (tokens as f64 - 1.0)), one * tokens as f64)
    }

    /// Seconds of a pass over one token; without any pass the unit of all times.
    fn one(&self) -> f64 {
        let of = |n: usize| self.passes[n].usual().map(|seconds| seconds / shape(n));
        (1..=COLUMNS_MAX).find_map(of).unwrap_or(1.0)
    }
}

/// The last few times of one thing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    last: [f64; RECENT],
    count: usize,
    usual: f64,
}

impl Recent {
    pub(super) fn push(&mut self, seconds: f64) {
        self.last[self.count % RECENT] = seconds;
        self.count += 1;
        let mut sorted = self.last;
        let known = &mut sorted[..self.count.min(RECENT)];
        known.sort_unstable_by(f64::total_cmp);
        self.usual = known[known.len() / 4];
    }

    /// The second shortest, of up to three the shortest: nothing makes a thing shorter than it is,
    /// and much holds it up.
    pub(super) fn usual(&self) -> Option<f64> {
        (self.count > 0).then_some(self.usual)
    }

    fn scale(&mut self, factor: f64) {
        self.last.iter_mut().chain([&mut self.usual]).for_each(|seconds| *seconds *= factor);
    }
}

/// A pass over so many tokens in passes of one, where weights are read once for all of them and
/// nothing was measured.
fn shape(tokens: usize) -> f64 {
    1.0 + STEP * (tokens as f64 - 1.0)
}

/// How many times are remembered: three of five may be held up.
const RECENT: usize = 5;

/// What another token adds to a pass of one where nothing was measured.
const STEP: f64 = 0.12;

/// What another token adds at least.
const STEP_MIN: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    /// The last five times in order, by hand.
    #[test]
    fn what_was_held_up_does_not_count() {
        let mut recent = Recent::default();
        assert_eq!(recent.usual(), None);
        let times = [9.0, 1.0, 2.0, 30.0, 40.0, 50.0, 60.0, 3.0];
        let wanted = [9.0, 1.0, 1.0, 2.0, 2.0, 2.0, 30.0, 30.0];
        for (seconds, wanted) in times.into_iter().zip(wanted) {
            recent.push(seconds);
            assert_eq!(recent.usual(), Some(wanted), "after {seconds}");
        }
    }

    #[test]
    fn passes_that_were_never_run_lie_on_a_line() {
        let mut times = Times::default();
        let is = |times: &Times, tokens, wanted: f64| {
            let found = times.pass(tokens);
            assert!((found - wanted).abs() < 1e-12, "{tokens}: {found}, not {wanted}");
        };
        is(&times, 3, 1.24); // 1 + 2 · 0.12
        times.passed(1, 2.0);
        is(&times, 3, 2.48);
        times.passed(5, 4.0);
        (1..=8).for_each(|n| is(&times, n, 2.0 + 0.5 * (n as f64 - 1.0)));
        assert_eq!(times.longest(), 5);
        times.passed(2, 90.0); // it was held up for all that is known: 2.5 is usual
        is(&times, 2, 1.5 * 2.5);
        times.passed(3, 0.1);
        is(&times, 3, 2.0 * 1.04); // no token is free
        times.passed(8, 5.0);
        is(&times, 6, 4.0 + 1.0 / 3.0);
        times.passed(4, 100.0);
        (0..5).for_each(|_| times.passed(4, 100.0));
        is(&times, 4, 8.0); // four passes of one
        for (tokens, seconds) in [(0, 1.0), (9, 1.0), (1, 0.0), (1, -1.0), (1, f64::NAN)] {
            times.passed(tokens, seconds);
            is(&times, 1, 2.0);
        }
    }

    /// Passes of several tokens that become four times as long are believed to be twice as long
    /// where they are not run, and passes of one what they were.
    #[test]
    fn half_of_a_change_is_believed_of_others() {
        let mut times = Times::default();
        [(1, 1.0), (3, 1.2), (4, 1.25)].into_iter().for_each(|(n, s)| times.passed(n, s));
        (0..5).for_each(|_| times.passed(4, 5.0));
        let is = |tokens, wanted: f64| assert!((times.pass(tokens) - wanted).abs() < 1e-12);
        is(1, 1.0);
        is(3, 2.4);
        is(4, 4.0);
        assert!((times.passes[4].usual().expect("times") - 5.0).abs() < 1e-12);
    }
}

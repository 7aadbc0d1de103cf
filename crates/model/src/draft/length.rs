//! How many tokens to draft: as many as the measured times and the share of right guesses pay for.
//!
//! A pass over `1 + k` tokens takes `T(1 + k)` and gives `1 + a(k)` tokens, where `a(k)` adds up
//! the shares of passes in which the first, the first two, ... guesses were right (Leviathan,
//! Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding", 2023). The `k`
//! with the fewest seconds a token is chosen, 0 among them. Times and shares are measured all the
//! time and forgotten slowly, since both change: with the text, the length of the conversation, and
//! what else the machine does. Nothing here reads a clock.

use super::DRAFT_MAX;

/// What is known of times and guesses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Length {
    /// Guesses at each place behind the last token, of those whose predecessors were right.
    places: [Place; DRAFT_MAX],
    /// Seconds of a pass by its number of tokens.
    passes: [Option<f64>; COLUMNS_MAX + 1],
    /// Seconds to draft one token.
    draft: f64,
    /// Choices of 0 since one or more tokens were drafted.
    idle: usize,
    /// Choices since a pass was left without drafts to learn what that takes, and how many were.
    since_plain: usize,
    plain: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    right: f64,
    tried: f64,
}

impl Length {
    /// Forgets what is known of guesses: others make them from now on.
    pub(crate) fn begin(&mut self) {
        *self = Self { passes: self.passes, plain: self.plain, ..Self::default() };
    }

    /// How many tokens to draft, at most `most`, for a session with `pending` tokens to evaluate,
    /// one of `talks` that say one token at a time together.
    pub(crate) fn choose(&mut self, talks: usize, pending: usize, most: usize) -> usize {
        let most = most.min(DRAFT_MAX);
        self.since_plain += 1;
        if pending > 1 {
            return self.best(talks, pending, most); // certain tokens: no pass to learn from
        }
        if self.plain < PLAIN_FIRST || self.since_plain > PLAIN_EVERY {
            (self.since_plain, self.plain) = (0, self.plain + 1);
            return 0;
        }
        let best = self.best(talks, pending, most);
        let has_room = most > 0 && 2 * talks <= COLUMNS_MAX;
        if best == 0 && has_room {
            self.idle += 1;
            return usize::from(self.idle > self.probe_every(talks));
        }
        best
    }

    /// A pass over so many tokens took so long.
    pub(crate) fn passed(&mut self, tokens: usize, seconds: f64) {
        if !(1..=COLUMNS_MAX).contains(&tokens) || seconds <= 0.0 {
            return;
        }
        let Some(old) = self.passes[tokens] else {
            // The first time may be one that was held up, which the others show.
            let is_known = self.passes.iter().any(Option::is_some);
            let most = if is_known { HELD_UP * self.pass(tokens) } else { seconds };
            self.passes[tokens] = Some(seconds.min(most));
            return;
        };
        // What was held up does not count for all that it took, and what was fast was not.
        let weight = if seconds < old { NEW_AND_FAST } else { NEW };
        let change = 1.0 + weight * (seconds.min(HELD_UP * old) / old - 1.0);
        self.passes[tokens] = Some(old * change);
        if tokens > 1 {
            // Others of several tokens are likely to have changed, too, and some are rarely run.
            let others = self.passes.iter_mut().enumerate().skip(2).filter(|(i, _)| *i != tokens);
            others.for_each(|(_, other)| *other = other.map(|s| s * (1.0 + (change - 1.0) / 2.0)));
        }
    }

    /// To draft so many tokens took so long.
    pub(crate) fn drafted(&mut self, tokens: usize, seconds: f64) {
        if tokens > 0 {
            self.idle = 0;
            let each = seconds / tokens as f64;
            let known = self.draft > 0.0; // the first time counts whole: a drafter's is no trifle
            self.draft += if known { NEW * (each - self.draft) } else { each };
        }
    }

    /// The guess at place `place` behind the last token was right or wrong; those before were
    /// right.
    pub(crate) fn decided(&mut self, place: usize, is_right: bool) {
        if let Some(place) = self.places.get_mut(place) {
            place.right = place.right * KEPT + f64::from(u8::from(is_right));
            place.tried = place.tried * KEPT + 1.0;
        }
    }

    /// The number of drafts with the fewest seconds a token; 0 unless others are clearly better.
    fn best(&self, talks: usize, pending: usize, most: usize) -> usize {
        // Long passes are tried after shorter ones, since they may be dear.
        let longest = self.passes.iter().rposition(Option::is_some).unwrap_or(1).max(pending);
        let most = most.min(2 * longest - pending);
        let plain = self.seconds(talks, pending, 0);
        let mut best = (0, plain / MARGIN);
        for drafts in (1..=most).take_while(|k| talks * (pending + k) <= COLUMNS_MAX) {
            let seconds = self.seconds(talks, pending, drafts);
            if seconds < best.1 {
                best = (drafts, seconds);
            }
        }
        best.0
    }

    /// Seconds for one token of each talk with `drafts` drafts.
    ///
    /// A talk that has a verified token left takes no part in a pass. So `q`, the share of tokens
    /// that need a pass, is that of one talk alone, and of several talks `j` need one at once with
    /// the probability of `j` out of so many.
    fn seconds(&self, talks: usize, pending: usize, drafts: usize) -> f64 {
        let share = 1.0 / (1.0 + self.accepted(drafts));
        // Times may be out by more than a token takes: no token is free.
        let one = self.pass(1);
        let least = |tokens: usize| one * (1.0 + STEP_MIN * (tokens as f64 - 1.0));
        let certain = self.pass(pending).max(least(pending)) - one;
        let pass = |count: usize| match count {
            0 => 0.0,
            count => {
                let drafting = (count * drafts) as f64 * self.draft;
                let tokens = count * (pending + drafts);
                self.pass(tokens).max(least(tokens)) - certain + drafting
            }
        };
        let mut ways = 1.0;
        (0..=talks)
            .map(|count| {
                let (some, others) = (count as i32, (talks - count) as i32);
                let chance = ways * share.powi(some) * (1.0 - share).powi(others);
                ways *= (talks - count) as f64 / (count + 1) as f64;
                chance * pass(count)
            })
            .sum()
    }

    /// How many of so many drafts are right on average.
    fn accepted(&self, drafts: usize) -> f64 {
        let (mut before, mut all, mut sum) = (FIRST_SHARE, 1.0, 0.0);
        for place in &self.places[..drafts] {
            // A place that is hardly known is as good as the one before.
            before = (place.right + BELIEF * before) / (place.tried + BELIEF);
            all *= before;
            sum += all;
        }
        sum
    }

    /// Seconds of a pass over so many tokens; of passes that were never run what others suggest.
    fn pass(&self, tokens: usize) -> f64 {
        let known = |tokens: usize| self.passes.get(tokens).copied().flatten().map(|s| (tokens, s));
        let shape = |tokens: usize| 1.0 + STEP * (tokens as f64 - 1.0);
        let less = (1..=tokens.min(COLUMNS_MAX)).rev().find_map(known);
        let more = (tokens..=COLUMNS_MAX).find_map(known);
        match (less, more) {
            (Some((a, of_a)), Some((b, of_b))) if a < b => {
                of_a + (of_b - of_a) * (tokens - a) as f64 / (b - a) as f64
            }
            (Some((a, seconds)), _) | (None, Some((a, seconds))) => {
                seconds * shape(tokens) / shape(a)
            }
            (None, None) => shape(tokens),
        }
    }

    /// How many choices of 0 pay for one guess that is wrong.
    fn probe_every(&self, talks: usize) -> usize {
        let loss = (self.pass(talks + 1) + self.draft) / self.pass(talks) - 1.0;
        ((loss / PROBE_SHARE) as usize).clamp(PROBE_MIN, PROBE_MAX)
    }
}

/// The most tokens of a pass whose time is known.
const COLUMNS_MAX: usize = DRAFT_MAX + 1;

/// The weight of a new time, and of one that is shorter than usual.
const NEW: f64 = 0.25;
const NEW_AND_FAST: f64 = 0.4;

/// How many times as long as usual a pass may seem to take.
const HELD_UP: f64 = 3.0;

/// What is left of a guess's weight after the next one: the last seven or so count.
const KEPT: f64 = 0.85;

/// The share of right guesses before there were any, and how many guesses that is worth.
const FIRST_SHARE: f64 = 0.5;
const BELIEF: f64 = 0.5;

/// What another token adds to a pass of one where nothing was measured.
const STEP: f64 = 0.12;

/// What another token adds at least.
const STEP_MIN: f64 = 0.03;

/// Drafting must be better by this factor than not to draft.
const MARGIN: f64 = 1.02;

/// Passes at the beginning that are left without drafts, and how often one is later.
const PLAIN_FIRST: usize = 2;
const PLAIN_EVERY: usize = 64;

/// The share of time that guesses may cost which are made only to learn whether they are right.
const PROBE_SHARE: f64 = 0.01;
const PROBE_MIN: usize = 16;
const PROBE_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine: seconds of a pass and to draft a token, in parts of a plain pass.
    #[derive(Clone, Copy, Debug)]
    struct Machine {
        step: f64,
        draft: f64,
        /// The share of passes that take two and a half times as long.
        held_up: f64,
    }

    impl Machine {
        fn pass(self, tokens: usize) -> f64 {
            1.0 + self.step * (tokens as f64 - 1.0)
        }

        /// Seconds a token with `drafts` drafts of which each is right with probability `right`
        /// where those before were: from the definition.
        fn best(self, right: f64, drafts: usize) -> f64 {
            let tokens: f64 = (0..=drafts).map(|i| right.powi(i as i32)).sum();
            (self.pass(1 + drafts) + self.draft * drafts as f64) / tokens
        }
    }

    struct Random(u64);

    impl Random {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    /// Says `tokens` tokens; returns the seconds that took.
    fn talk(
        length: &mut Length,
        machine: Machine,
        right: f64,
        tokens: usize,
        random: &mut Random,
    ) -> f64 {
        let (mut said, mut seconds) = (0, 0.0);
        while said < tokens {
            let drafts = length.choose(1, 1, DRAFT_MAX);
            assert!(drafts <= DRAFT_MAX);
            let is_held_up = random.unit() < machine.held_up;
            let noise = 0.97 + 0.06 * random.unit() + if is_held_up { 1.5 } else { 0.0 };
            let pass = machine.pass(1 + drafts) * noise;
            length.drafted(drafts, machine.draft * drafts as f64);
            length.passed(1 + drafts, pass);
            seconds += pass + machine.draft * drafts as f64;
            said += 1;
            for place in 0..drafts {
                let is_right = random.unit() < right;
                length.decided(place, is_right);
                if !is_right {
                    break;
                }
                said += 1;
            }
        }
        seconds * tokens as f64 / said as f64
    }

    const MACHINES: [Machine; 5] = [
        Machine { step: 0.02, draft: 0.0, held_up: 0.0 },
        Machine { step: 0.1, draft: 0.0, held_up: 0.0 },
        Machine { step: 0.12, draft: 0.05, held_up: 0.0 },
        Machine { step: 0.3, draft: 0.05, held_up: 0.0 },
        Machine { step: 0.9, draft: 0.1, held_up: 0.0 },
    ];

    /// Where everything is wrong it costs at most 3 %, in short texts too, and it comes near the
    /// best fixed length where something is right.
    #[test]
    fn it_is_near_the_best_length_and_never_far_behind_none() {
        for machine in MACHINES {
            for right in [0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0] {
                for tokens in [128, 2000] {
                    let mut total = 0.0;
                    for seed in 0..20 {
                        let random = &mut Random(seed);
                        total += talk(&mut Length::default(), machine, right, tokens, random);
                    }
                    let seconds = total / (20 * tokens) as f64;
                    let what = format!("{machine:?}, {right} right, {tokens} tokens: {seconds}");
                    assert!(seconds <= 1.0 / 0.97, "{what}");
                    let best = (0..=DRAFT_MAX).map(|k| machine.best(right, k));
                    let best = best.fold(f64::INFINITY, f64::min);
                    assert!(seconds <= best * 1.2, "{what}, at best {best}");
                }
            }
        }
    }

    /// Text that becomes predictable is found, and so is the contrary.
    #[test]
    fn it_follows_the_text() {
        let machine = Machine { step: 0.12, draft: 0.02, held_up: 0.0 };
        let (mut length, mut random) = (Length::default(), Random(5));
        talk(&mut length, machine, 0.0, 500, &mut random);
        let seconds = talk(&mut length, machine, 0.95, 500, &mut random) / 500.0;
        assert!(seconds < 0.5, "{seconds}");
        let seconds = talk(&mut length, machine, 0.0, 500, &mut random) / 500.0;
        assert!(seconds < 1.0 / 0.97, "{seconds}");
    }

    /// A machine that does something else, too: a tenth of all passes takes two and a half times as
    /// long, so that a token takes 1.15 without drafts.
    #[test]
    fn it_bears_noise() {
        let machine = Machine { step: 0.12, draft: 0.02, held_up: 0.1 };
        for (right, most) in [(0.0, 1.0 / 0.97), (0.7, 0.8), (0.85, 0.65), (1.0, 0.45)] {
            let run = |seed| talk(&mut Length::default(), machine, right, 500, &mut Random(seed));
            let seconds = (0..100).map(run).sum::<f64>() / (100.0 * 500.0) / 1.15;
            assert!(seconds < most, "{right} right: {seconds}");
        }
    }

    /// A machine that becomes slow for several tokens, as hot ones do, is found out.
    #[test]
    fn it_follows_the_machine() {
        let (mut length, mut random) = (Length::default(), Random(6));
        talk(&mut length, Machine { step: 0.05, draft: 0.0, held_up: 0.0 }, 0.5, 500, &mut random);
        let slow = Machine { step: 1.2, draft: 0.0, held_up: 0.0 };
        let seconds = talk(&mut length, slow, 0.5, 500, &mut random) / 500.0;
        assert!(seconds < 1.0 / 0.97, "{seconds}");
    }

    /// Two talks whose guesses are right half of the time: with `q` of the tokens of each needing a
    /// pass, a call costs `2 q (1 - q) T(1 + k) + q² T(2 (1 + k))`.
    #[test]
    fn talks_share_passes() {
        let mut length = Length::default();
        for tokens in 1..=COLUMNS_MAX {
            length.passed(tokens, 1.0 + 0.1 * (tokens as f64 - 1.0));
        }
        for _ in 0..200 {
            length.decided(0, true);
            length.decided(0, false);
        }
        // The last of alternating guesses weighs 1, the one before 0.85, and so on.
        let right = 0.85 / (1.0 - 0.85 * 0.85);
        let a = (right + 0.25) / (1.0 / 0.15 + 0.5);
        let q = 1.0 / (1.0 + a);
        let wanted = 2.0 * q * (1.0 - q) * 1.1 + q * q * 1.3;
        assert!((length.seconds(2, 1, 1) - wanted).abs() < 1e-9);
        assert!((length.seconds(2, 1, 0) - 1.1).abs() < 1e-9);
        // Certain tokens are paid for anyway: a draft behind two of them adds a tenth.
        assert!((length.seconds(1, 3, 1) - (1.0 + 0.1) * q).abs() < 1e-9);
    }

    /// A source that has nothing to give when it is asked is asked again at once, and then only as
    /// rarely as before.
    #[test]
    fn it_waits_for_a_guess() {
        let mut length = Length::default();
        for tokens in 1..=COLUMNS_MAX {
            length.passed(tokens, 1.0 + 0.3 * (tokens as f64 - 1.0));
        }
        (0..100).for_each(|_| length.decided(0, false));
        // A guess costs 0.3 of a pass: 30 passes pay for it. Two are left out at the beginning.
        let asked = |length: &mut Length| (0..60).map(|_| length.choose(1, 1, 5)).collect();
        let choices: Vec<_> = asked(&mut length);
        let first = choices.iter().position(|drafts| *drafts > 0).expect("a guess");
        assert!((30..=33).contains(&first), "{first}");
        assert!(choices[first..].iter().all(|drafts| *drafts == 1), "{choices:?}");
        length.drafted(1, 0.0);
        let choices: Vec<_> = asked(&mut length);
        let next = choices.iter().position(|drafts| *drafts > 0).expect("a guess");
        assert!((30..=31).contains(&next), "{next}");
    }

    /// There is no room for drafts where the talks alone fill the pass.
    #[test]
    fn passes_stay_short() {
        let mut length = Length::default();
        for talks in 1..12 {
            for pending in 1..10 {
                for _ in 0..100 {
                    let drafts = length.choose(talks, pending, DRAFT_MAX);
                    assert!(talks * (pending + drafts) <= COLUMNS_MAX || drafts == 0);
                    length.decided(0, true);
                }
            }
        }
    }
}

//! How many tokens to draft: as many as the measured times and the share of right guesses pay for.
//!
//! A pass over `1 + k` tokens takes `T(1 + k)` and gives `1 + a(k)` tokens, where `a(k)` adds up
//! the shares of passes in which the first, the first two, ... guesses were right (Leviathan,
//! Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding", 2023). The `k`
//! with the fewest seconds a token is chosen, 0 among them. Times and shares are measured all the
//! time and forgotten slowly, since both change: with the text, the length of the conversation, and
//! what else the machine does. Lookup and drafter have shares of their own. Nothing here reads a
//! clock.
//!
//! Estimates may be wrong, so what guesses may cost is bounded by an account. Each token pays
//! [`EARNED`] of a pass into it, a right guess pays in the pass that it saved, and what a pass took
//! longer for its guesses is taken out, as is the time to make them. Guesses are made only while
//! the account would cover them if all were wrong. So text that rejects everything costs no more
//! than that share, however short it is, and a session begins with one guess after a few tokens.

mod times;

use super::DRAFT_MAX;
use times::{Recent, Times};

/// What is known of times and guesses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Length {
    times: Times,
    guesses: [Guesses; 2],
    /// The account, in passes without guesses.
    credit: f64,
    /// Passes since one without guesses, and how many of these there were.
    since_plain: usize,
    plain: usize,
    /// Other sessions that said one token at a time as well, at the last choice.
    others: usize,
}

/// Who guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The text before.
    Lookup,
    /// The drafter, or what a program brings.
    Other,
}

/// What is known of one who guesses.
#[derive(Clone, Debug, Default)]
struct Guesses {
    /// Guesses at each place behind the last token, of those whose predecessors were right.
    places: [Place; DRAFT_MAX],
    /// Seconds of a step of drafting, and as a share of a pass where nothing was measured.
    draft: Recent,
    share: f64,
    /// Choices of 0 since one or more tokens were drafted, and how often some were.
    idle: usize,
    rounds: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    right: f64,
    tried: f64,
}

/// A pass that was run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    /// Its tokens, those of other sessions among them.
    pub(crate) tokens: usize,
    /// How many of them were guesses, and how many of this session.
    pub(crate) guessed: usize,
    pub(crate) own: usize,
}

impl Length {
    /// Forgets what is known of guesses: others make them from now on, for whom a step of drafting
    /// takes `share` of a plain pass until it is measured.
    pub(crate) fn begin(&mut self, share: f64) {
        let Self { times, plain, since_plain, .. } = std::mem::take(self);
        *self = Self { times, plain, since_plain, ..Self::default() };
        self.guesses[By::Other as usize].share = share;
    }

    /// How many tokens to draft, at most `most`, for a session with `pending` tokens to evaluate,
    /// one of `talks` that say one token at a time together.
    pub(crate) fn choose(&mut self, by: By, talks: usize, pending: usize, most: usize) -> usize {
        self.others = talks.saturating_sub(1);
        let most = most.min(DRAFT_MAX);
        let is_plain_due = self.plain < PLAIN_FIRST || self.since_plain >= PLAIN_EVERY;
        if pending == 1 && is_plain_due {
            return 0;
        }
        let best = self.best(by, pending, most);
        if best > 0 || most == 0 || self.talks() * (pending + 1) > COLUMNS_MAX {
            return best;
        }
        let cost = self.cost(by, pending, 1);
        let guesses = &mut self.guesses[by as usize];
        guesses.idle += 1;
        let is_due = guesses.rounds < FIRST_ROUNDS || guesses.idle as f64 * PROBED > cost;
        usize::from(is_due && self.credit >= cost.min(CREDIT_MAX))
    }

    /// A pass took so long.
    pub(crate) fn passed(&mut self, pass: Pass, seconds: f64) {
        let Pass { tokens, guessed, own } = pass;
        self.times.passed(tokens, seconds);
        if guessed == 0 {
            (self.since_plain, self.plain) = (0, self.plain + 1);
        } else {
            self.since_plain += 1;
        }
        self.earn(EARNED);
        let certain = tokens.saturating_sub(guessed);
        if own > 0 && certain > 0 && tokens <= COLUMNS_MAX {
            let took = seconds.min(HELD_UP * self.times.pass(tokens));
            let share = (own * self.talks()) as f64 / guessed as f64;
            let more = (took - self.times.pass(certain)).max(0.0) * share;
            self.earn(-more / self.times.pass(self.talks()));
        }
    }

    /// So many steps of drafting took so long.
    pub(crate) fn drafted(&mut self, by: By, steps: usize, seconds: f64) {
        if steps == 0 {
            return;
        }
        let each = seconds / steps as f64;
        let guesses = &mut self.guesses[by as usize];
        (guesses.idle, guesses.rounds) = (0, guesses.rounds + 1);
        guesses.draft.push(each);
        let usual = guesses.draft.usual().unwrap_or(each);
        let took = each.min(HELD_UP * usual) * (steps * self.talks()) as f64;
        self.earn(-took / self.times.pass(self.talks()));
    }

    /// The guess at place `place` behind the last token was right or wrong; those before were
    /// right.
    pub(crate) fn decided(&mut self, by: By, place: usize, is_right: bool) {
        if let Some(place) = self.guesses[by as usize].places.get_mut(place) {
            place.right = place.right * KEPT + f64::from(u8::from(is_right));
            place.tried = place.tried * KEPT + 1.0;
        }
        if is_right {
            self.earn(1.0 + EARNED);
        }
    }

    /// Sessions that say one token at a time together.
    fn talks(&self) -> usize {
        self.others + 1
    }

    /// Pays passes into the account, or takes them out.
    fn earn(&mut self, passes: f64) {
        self.credit = (self.credit + passes).min(CREDIT_MAX);
    }

    /// The number of drafts with the fewest seconds a token; 0 unless others are clearly better,
    /// and no more than the account covers.
    fn best(&self, by: By, pending: usize, most: usize) -> usize {
        // Long passes are tried after shorter ones, since they may be dear.
        let most = most.min(2 * self.times.longest().max(pending) - pending);
        let mut best = (0, self.seconds(by, pending, 0) / MARGIN);
        for drafts in (1..=most).take_while(|k| self.talks() * (pending + k) <= COLUMNS_MAX) {
            let seconds = self.seconds(by, pending, drafts);
            if seconds < best.1 && self.credit >= self.cost(by, pending, drafts).min(CREDIT_MAX) {
                best = (drafts, seconds);
            }
        }
        best.0
    }

    /// What so many drafts cost if they are wrong, in passes without guesses.
    fn cost(&self, by: By, pending: usize, drafts: usize) -> f64 {
        let (talks, times) = (self.talks(), &self.times);
        let more = times.pass(talks * (pending + drafts)) - times.pass(talks * pending);
        let steps = (talks * drafting_steps(pending, drafts)) as f64;
        (more + steps * self.draft(by)) / times.pass(talks)
    }

    /// Seconds of a step of drafting.
    fn draft(&self, by: By) -> f64 {
        let Guesses { draft, share, .. } = &self.guesses[by as usize];
        draft.usual().unwrap_or_else(|| share * self.times.pass(1))
    }

    /// Seconds for one token of each talk with `drafts` drafts.
    ///
    /// A talk that has a verified token left takes no part in a pass. So `q`, the share of tokens
    /// that need a pass, is that of one talk alone, and of several talks `j` need one at once with
    /// the probability of `j` out of so many.
    fn seconds(&self, by: By, pending: usize, drafts: usize) -> f64 {
        let (talks, times) = (self.talks(), &self.times);
        let share = 1.0 / (1.0 + self.accepted(by, drafts));
        let certain = times.pass(pending) - times.pass(1);
        let pass = |count: usize| match count {
            0 => 0.0,
            count => {
                let steps = (count * drafting_steps(pending, drafts)) as f64;
                let drafting = steps * self.draft(by);
                times.pass(count * (pending + drafts)) - certain + drafting
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
    fn accepted(&self, by: By, drafts: usize) -> f64 {
        let (mut before, mut all, mut sum) = (FIRST_SHARE, 1.0, 0.0);
        for place in &self.guesses[by as usize].places[..drafts] {
            // A place that is hardly known is as good as the one before.
            before = (place.right + BELIEF * before) / (place.tried + BELIEF);
            all *= before;
            sum += all;
        }
        sum
    }
}

/// Steps of drafting: it goes through the pending tokens behind the first, too.
fn drafting_steps(pending: usize, drafts: usize) -> usize {
    if drafts == 0 { 0 } else { pending - 1 + drafts }
}

/// The most tokens of a pass whose time is known.
const COLUMNS_MAX: usize = DRAFT_MAX + 1;

/// How many times as long as usual a pass may seem to take.
const HELD_UP: f64 = 1.5;

/// What is left of a guess's weight after the next one: the last seven or so count.
const KEPT: f64 = 0.85;

/// The share of right guesses before there were any, and how many guesses that is worth.
const FIRST_SHARE: f64 = 0.5;
const BELIEF: f64 = 0.5;

/// Drafting must be better by this factor than not to draft.
const MARGIN: f64 = 1.02;

/// Passes at the beginning that are left without drafts, and after how many others one is.
const PLAIN_FIRST: usize = 2;
const PLAIN_EVERY: usize = 64;

/// What each token pays into the account, and the most that lies there.
const EARNED: f64 = 0.025;
const CREDIT_MAX: f64 = 1.0;

/// How often guesses are made as soon as the account covers them: a single one may be held up.
const FIRST_ROUNDS: usize = 3;

/// The share of time that guesses may cost which are made only to learn whether they are right.
const PROBED: f64 = 0.01;

#[cfg(test)]
mod simulated;

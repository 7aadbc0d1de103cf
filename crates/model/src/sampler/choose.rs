//! The choice itself: filters, temperature, draw.

use std::cmp::Ordering;

use super::random::exp;
use super::{SamplerConfig, SamplerError, TokenMask};
use crate::TokenId;

/// Chooses among logits; remembers nothing but the memory that it works in.
#[derive(Clone, Debug)]
pub(super) struct Chooser {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    vocab_size: usize,
    candidates: Vec<Candidate>,
    weights: Vec<f64>,
}

impl Chooser {
    pub(super) fn new(config: &SamplerConfig, vocab_size: usize) -> Self {
        let &SamplerConfig { temperature, top_k, top_p, min_p, .. } = config;
        let is_greedy = temperature == 0.0;
        let held = if is_greedy { 0 } else { candidate_capacity(top_k, vocab_size) };
        let (candidates, weights) = (Vec::with_capacity(held), Vec::with_capacity(held));
        Self { temperature, top_k, top_p, min_p, vocab_size, candidates, weights }
    }

    /// The token that `unit`, a number in [0, 1), draws from those that `allowed` has; without it
    /// from all.
    pub(super) fn choose(
        &mut self,
        logits: &[f32],
        allowed: Option<&TokenMask<'_>>,
        unit: f64,
    ) -> Result<TokenId, SamplerError> {
        let nothing = SamplerError::NoCandidate { vocab_size: logits.len() };
        if self.temperature == 0.0 {
            return argmax(logits, allowed)?.ok_or(nothing);
        }
        self.keep_top_k(logits, allowed)?;
        let Some(top) = self.candidates.iter().max_by(|a, b| a.rank(b)) else {
            return Err(nothing);
        };
        let top = top.logit;
        if self.top_p < 1.0 {
            self.keep_top_p(top);
        } else if self.top_k > 0 {
            // A cut leaves no order that draws could rely on; without one the ids ascend.
            self.candidates.sort_unstable_by(Candidate::likelier_first);
        }
        let min_p = f64::from(self.min_p);
        self.candidates.retain(|c| weight(c.logit, top, 1.0) >= min_p);
        Ok(self.draw(top, unit))
    }

    /// Fills `candidates` with the `top_k` likeliest logits, in no order.
    fn keep_top_k(
        &mut self,
        logits: &[f32],
        allowed: Option<&TokenMask<'_>>,
    ) -> Result<(), SamplerError> {
        let k = if self.top_k == 0 { usize::MAX } else { self.top_k };
        let capacity = candidate_capacity(self.top_k, self.vocab_size);
        let mut floor = f32::NEG_INFINITY;
        self.candidates.clear();
        for (run, logits) in logits.chunks(RUN).enumerate() {
            let bits = bits(allowed, run);
            if bits == 0 || !any_above(logits, floor) {
                continue;
            }
            for (at, &logit) in logits.iter().enumerate() {
                // True for minus infinity; an equal logit with a higher id loses to the k that are
                // held.
                if logit <= floor || bits >> at & 1 == 0 {
                    continue;
                }
                let id = (run * RUN + at) as TokenId;
                check(id, logit)?;
                if self.candidates.len() == capacity {
                    floor = cut_to(&mut self.candidates, k);
                    if logit <= floor {
                        continue;
                    }
                }
                self.candidates.push(Candidate { logit, id });
            }
        }
        if self.candidates.len() > k {
            cut_to(&mut self.candidates, k);
        }
        Ok(())
    }

    /// Sorts ever longer runs of the likeliest candidates until they hold `top_p` of the
    /// probability.
    fn keep_top_p(&mut self, top: f32) {
        let total: f64 = self.candidates.iter().map(|c| weight(c.logit, top, 1.0)).sum();
        let wanted = f64::from(self.top_p) * total;
        let (mut sorted, mut sum) = (0, 0.0);
        while sorted < self.candidates.len() {
            let run = (sorted * 3).max(SORT_RUN).min(self.candidates.len() - sorted);
            let rest = &mut self.candidates[sorted..];
            if run < rest.len() {
                rest.select_nth_unstable_by(run, Candidate::likelier_first);
            }
            rest[..run].sort_unstable_by(Candidate::likelier_first);
            for index in 0..run {
                sum += weight(rest[index].logit, top, 1.0);
                if sum >= wanted {
                    self.candidates.truncate(sorted + index + 1);
                    return;
                }
            }
            sorted += run;
        }
    }

    /// Draws from the candidates in their order by `unit` in [0, 1); `top` is the highest logit, so
    /// there is one.
    fn draw(&mut self, top: f32, unit: f64) -> TokenId {
        let temperature = f64::from(self.temperature);
        self.weights.clear();
        self.weights.extend(self.candidates.iter().map(|c| weight(c.logit, top, temperature)));
        let mut left = unit * self.weights.iter().sum::<f64>();
        // Rounding can leave a rest after the last subtraction; it belongs to the last that can be.
        let mut last = self.candidates[0].id;
        for (candidate, weight) in self.candidates.iter().zip(&self.weights) {
            if left < *weight {
                return candidate.id;
            }
            left -= weight;
            if *weight > 0.0 {
                last = candidate.id;
            }
        }
        last
    }
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    logit: f32,
    id: TokenId,
}

impl Candidate {
    /// Greater means likelier; of equal logits the lower id.
    fn rank(&self, other: &Self) -> Ordering {
        // Numbers are compared as numbers, so that -0.0 and 0.0 tie; NaN never becomes a candidate.
        let by_logit = self.logit.partial_cmp(&other.logit).unwrap_or(Ordering::Equal);
        by_logit.then_with(|| other.id.cmp(&self.id))
    }

    fn likelier_first(a: &Self, b: &Self) -> Ordering {
        b.rank(a)
    }
}

fn argmax(
    logits: &[f32],
    allowed: Option<&TokenMask<'_>>,
) -> Result<Option<TokenId>, SamplerError> {
    let (mut best, mut best_id) = (f32::NEG_INFINITY, None);
    for (run, logits) in logits.chunks(RUN).enumerate() {
        let bits = bits(allowed, run);
        if bits == 0 || !any_above(logits, best) {
            continue;
        }
        for (at, &logit) in logits.iter().enumerate() {
            if logit <= best || bits >> at & 1 == 0 {
                continue;
            }
            let id = (run * RUN + at) as TokenId;
            check(id, logit)?;
            (best, best_id) = (logit, Some(id));
        }
    }
    Ok(best_id)
}

/// Which tokens of a run are allowed.
fn bits(allowed: Option<&TokenMask<'_>>, run: usize) -> u64 {
    allowed.map_or(u64::MAX, |mask| mask.run(run))
}

/// Refuses a logit that no token may have.
pub(super) fn check(token: TokenId, logit: f32) -> Result<(), SamplerError> {
    if logit < f32::INFINITY { Ok(()) } else { Err(SamplerError::NotFinite { token, logit }) }
}

/// Whether a logit is above `floor` or NaN. No branch for each of them: of a large vocabulary
/// hardly any run has one, and the compiler makes vectors of the comparison.
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "one comparison that is true for NaN, too")]
pub(super) fn any_above(logits: &[f32], floor: f32) -> bool {
    logits.iter().fold(false, |any, logit| any | !(*logit <= floor))
}

/// Keeps the `k` likeliest candidates and returns the logit of the last of them.
fn cut_to(candidates: &mut Vec<Candidate>, k: usize) -> f32 {
    let (_, last, _) = candidates.select_nth_unstable_by(k - 1, Candidate::likelier_first);
    let floor = last.logit;
    candidates.truncate(k);
    floor
}

/// Room for twice `top_k`, so that a cut pays for at least `top_k` additions; at least a page of
/// them.
fn candidate_capacity(top_k: usize, vocab_size: usize) -> usize {
    if top_k == 0 { vocab_size } else { top_k.saturating_mul(2).max(512).min(vocab_size.max(1)) }
}

/// exp((logit - top) / temperature): 1 for the likeliest.
fn weight(logit: f32, top: f32, temperature: f64) -> f64 {
    exp((f64::from(logit) - f64::from(top)) / temperature)
}

/// Tokens that are passed over at once: where none is allowed, and where no logit exceeds what one
/// must exceed. As many as a word has bits.
pub(super) const RUN: usize = 64;

/// First run that top-p sorts; at 95 % most steps need less.
const SORT_RUN: usize = 64;

//! The mixture of experts of one layer, which works beside its feed-forward network.
//!
//! A router gives each token a weight for every expert, and the few with the greatest weights are
//! its own. Tokens are brought into the order of experts, so that all tokens of an expert are
//! multiplied with its matrices at once, a *bundle* of such pairs of token and expert at a time.
//!
//! What a token gets from its experts is added in the order of their numbers, and not of their
//! weights: two experts that are nearly as good may change places by a rounding, and the sum should
//! not change with it. So it is the same however tokens are cut into passes, bundles and threads.

use std::ops::Range;

use carat_kernels::Isa;

use crate::arena::{Frame, Need};
use crate::config::{Config, Experts, LayerConfig};
use crate::pool::{Activations, Run};
use crate::weights::ExpertWeights;

use super::Pass;

/// Scratch of [`add_experts`].
pub(super) fn need(config: &Config, layer: &LayerConfig, tokens: usize) -> Need {
    let Some(Experts { count, used, width }) = layer.experts else { return Need::default() };
    let (pairs, hidden) = (tokens * used, config.hidden);
    let bundle = pairs.min(BUNDLE);
    let routed = [pairs, pairs, pairs, pairs, count].map(Need::of::<u32>);
    let routed = routed.into_iter().fold(Need::of::<f32>(tokens * hidden), Need::and);
    let rows = Need::of::<f32>(bundle * hidden).and(Activations::need(hidden, bundle));
    let products = rows.and(Activations::gated_need(width, bundle)).and(Need::of::<Run>(count));
    routed.and(Need::of::<f32>(tokens * count).or(products))
}

/// Puts the experts' output for residual rows `x`, `[tokens, hidden]`, beside that of the layer's
/// network, `h`: each is normed by itself, and `h` becomes their sum.
pub(super) fn add_experts(
    pass: &Pass<'_>,
    layer: &LayerConfig,
    weights: &ExpertWeights,
    x: &[f32],
    h: &mut [f32],
    mut frame: Frame<'_>,
) {
    let Some(shape) = layer.experts else { return };
    let (pool, isa, eps) = (pass.pool, pass.pool.isa(), pass.config.norm_eps);
    let hidden = pass.config.hidden;
    let y = frame.take(x.len()); // [tokens, hidden]
    let Some(routes) = Routes::new(pass, shape, weights, x, y, &mut frame) else { return };
    pool.chunks(y, hidden, |_, y| y.fill(0.0));
    let pairs = routes.tokens.len();
    for start in (0..pairs).step_by(BUNDLE) {
        let bundle = start..(start + BUNDLE).min(pairs);
        let mut frame = frame.nested();
        let rows = frame.take(bundle.len() * hidden); // [pairs, hidden]
        network(pass, shape, weights, x, &routes, bundle.clone(), rows, frame);
        pool.chunks(y, hidden, |token, y| {
            for (place, weight) in routes.of(token).filter(|(place, _)| bundle.contains(place)) {
                isa.add_scaled(y, &rows[(place - start) * hidden..][..hidden], weight);
            }
        });
    }
    let rows = h.chunks_exact_mut(hidden).zip(y.chunks_exact_mut(hidden));
    pool.each(x.len() / hidden, rows, |(h, y)| {
        isa.rms_norm_in_place(h, Some(&weights.shared_post_norm), eps);
        isa.rms_norm_in_place(y, Some(&weights.post_norm), eps);
        isa.add(h, y);
    });
}

/// Fills `rows` with the experts' output for a bundle, without their weights.
#[expect(clippy::too_many_arguments, reason = "a step of the function above")]
fn network(
    pass: &Pass<'_>,
    shape: Experts,
    weights: &ExpertWeights,
    x: &[f32],
    routes: &Routes<'_>,
    bundle: Range<usize>,
    rows: &mut [f32],
    mut frame: Frame<'_>,
) {
    let (pool, hidden, eps) = (pass.pool, pass.config.hidden, pass.config.norm_eps);
    let runs = routes.runs(bundle.clone(), frame.take(shape.count));
    let fill = |i: usize, row: &mut [f32]| {
        let token = routes.tokens[bundle.start + i] as usize;
        let x = &x[token * hidden..][..hidden];
        pool.isa().rms_norm(row, x, Some(&weights.pre_norm), eps);
    };
    weights.paged(pool, runs, || {
        let inputs = Activations::filled(pool, rows, hidden, runs, fill, &mut frame);
        let gate_up = |expert| weights.gate_up(expert);
        let form = (shape.width, weights.down_format());
        let gated = Activations::gated_runs(pool, &inputs, runs, gate_up, form, &mut frame);
        pool.matmul_runs(&gated, runs, |expert| weights.down(expert), rows);
    });
}

/// Which experts the tokens of a pass are sent through.
struct Routes<'a> {
    /// The experts of a token.
    used: usize,
    /// Where the pairs of token and expert stand in the order of experts, and the weight of each,
    /// `[tokens][used]`, the experts of a token in order.
    places: &'a [u32],
    weights: &'a [f32],
    /// The tokens in the order of experts, `[tokens · used]`.
    tokens: &'a [u32],
    /// Where the tokens of each expert end, `[count]`.
    ends: &'a [u32],
}

impl<'a> Routes<'a> {
    /// Asks the router, with `room` for as many values as `x` has; none if the pass was stopped.
    fn new(
        pass: &Pass<'_>,
        shape: Experts,
        weights: &ExpertWeights,
        x: &[f32],
        room: &mut [f32],
        frame: &mut Frame<'a>,
    ) -> Option<Self> {
        let (pool, used, count) = (pass.pool, shape.used, shape.count);
        let tokens = x.len() / pass.config.hidden;
        let pairs = tokens * used;
        let (chosen, shares) = (frame.take::<u32>(pairs), frame.take::<f32>(pairs));
        let (places, order) = (frame.take::<u32>(pairs), frame.take::<u32>(pairs));
        let ends = frame.take::<u32>(count);
        {
            let logits = frame.nested().take(tokens * count); // [tokens, count]
            router(pass, weights, x, room, logits);
            let outputs = chosen.chunks_exact_mut(used).zip(shares.chunks_exact_mut(used));
            let rows = outputs.zip(logits.chunks_exact(count));
            pool.each(tokens, rows, |((chosen, shares), logits)| {
                choose(pool.isa(), logits, &weights.scales, chosen, shares);
            });
        }
        // Units that were left out leave arbitrary numbers.
        if pool.is_stopped() {
            return None;
        }
        sort(chosen, used, places, order, ends);
        Some(Self { used, places, weights: shares, tokens: order, ends })
    }

    /// The places and weights of a token's experts, in order.
    fn of(&self, token: usize) -> impl Iterator<Item = (usize, f32)> {
        let pairs = token * self.used..(token + 1) * self.used;
        let places = self.places[pairs.clone()].iter().map(|place| *place as usize);
        places.zip(self.weights[pairs].iter().copied())
    }

    /// The experts that have tokens in a bundle.
    fn runs<'r>(&self, bundle: Range<usize>, room: &'r mut [Run]) -> &'r [Run] {
        let (mut start, mut runs) = (0, 0);
        for (expert, end) in self.ends.iter().enumerate() {
            let end = *end as usize;
            let some = start.max(bundle.start)..end.min(bundle.end);
            if !some.is_empty() {
                let first = (some.start - bundle.start) as u32;
                room[runs] = Run { matrix: expert as u64, first, count: some.len() as u32 };
                runs += 1;
            }
            start = end;
        }
        &room[..runs]
    }
}

/// Fills `logits`, `[tokens, count]`; the router's input takes `room` for as many values as `x`.
fn router(
    pass: &Pass<'_>,
    weights: &ExpertWeights,
    x: &[f32],
    room: &mut [f32],
    logits: &mut [f32],
) {
    let (hidden, count) = (pass.config.hidden, weights.count());
    pass.norm(room, x, &weights.router_scale);
    let (pool, rows) = (pass.pool, &*room);
    pool.chunks(logits, ROUTER_ROWS, |i, logits| {
        for (at, logit) in (i * ROUTER_ROWS..).zip(logits) {
            let row = &rows[at / count * hidden..][..hidden];
            *logit = pool.isa().dot(weights.router(at % count), row);
        }
    });
}

/// Chooses the experts with the greatest logits, of equal ones the first, and puts them in order.
/// Their `shares` are their probabilities, a softmax over all experts, divided by the sum of those
/// that were chosen and multiplied with the experts' own scales.
///
/// llama.cpp divides by no less than 6.1e-5 (`build_moe_ffn`), below which no sum can be: it is at
/// least the share of experts that are chosen, and there are at most 4096.
fn choose(isa: Isa, logits: &[f32], scales: &[f32], chosen: &mut [u32], shares: &mut [f32]) {
    let used = chosen.len();
    let logit = |expert: u32| logits[expert as usize];
    for expert in 0..logits.len() as u32 {
        let have = used.min(expert as usize);
        let better = |other: &&u32| logit(expert) > logit(**other);
        let at = have - chosen[..have].iter().rev().take_while(better).count();
        if at < used {
            chosen.copy_within(at..have.min(used - 1), at + 1);
            chosen[at] = expert;
        }
    }
    chosen.sort_unstable();
    // What all probabilities have in common cancels out; a logit that is no number makes all so.
    let max = isa.max(logits);
    let power = |expert: u32| libm::exp(f64::from(logit(expert) - max));
    let sum: f64 = chosen.iter().map(|expert| power(*expert)).sum();
    for (share, expert) in shares.iter_mut().zip(chosen) {
        *share = (power(*expert) / sum) as f32 * scales[*expert as usize];
    }
}

/// Brings the tokens into the order of experts.
fn sort(chosen: &[u32], used: usize, places: &mut [u32], tokens: &mut [u32], ends: &mut [u32]) {
    ends.fill(0);
    for expert in chosen {
        ends[*expert as usize] += 1;
    }
    let mut start = 0;
    for end in &mut *ends {
        (start, *end) = (start + *end, start);
    }
    for (pair, (expert, place)) in chosen.iter().zip(places).enumerate() {
        let next = &mut ends[*expert as usize];
        *place = *next;
        tokens[*next as usize] = (pair / used) as u32;
        *next += 1;
    }
}

/// Pairs of token and expert that pass together: the rows of so many are no more than the hidden
/// vectors of a dense network.
const BUNDLE: usize = 1024;

/// Rows of the router in a unit of work.
const ROUTER_ROWS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities of 1, 2, 2 and 5 tenths.
    const LOGITS: [f32; 4] = [0.0, std::f32::consts::LN_2, std::f32::consts::LN_2, 1.609_438];

    fn chosen(used: usize, logits: &[f32]) -> (Vec<u32>, Vec<f32>) {
        let (mut chosen, mut shares) = (vec![9; used], vec![9.0; used]);
        choose(Isa::best(), logits, &[1.0, 1.0, 3.0, 0.5], &mut chosen, &mut shares);
        (chosen, shares)
    }

    #[test]
    fn the_likeliest_are_chosen_and_of_equal_ones_the_first() {
        for (used, wanted, shares) in [
            (1, &[3][..], &[0.5][..]),
            (2, &[1, 3], &[2.0 / 7.0, 2.5 / 7.0]),
            (3, &[1, 2, 3], &[2.0 / 9.0, 6.0 / 9.0, 2.5 / 9.0]),
            (4, &[0, 1, 2, 3], &[0.1, 0.2, 0.6, 0.25]),
        ] {
            let (found, weights) = chosen(used, &LOGITS);
            assert_eq!(found, wanted);
            let near = weights.iter().zip(shares).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(near, "{weights:?}, wanted {shares:?}");
        }
        assert_eq!(chosen(2, &[7.0; 4]).0, [0, 1]);
        assert_eq!(chosen(2, &[f32::NEG_INFINITY, -1.0, f32::NEG_INFINITY, -1.0]).0, [1, 3]);
    }

    /// Also where the one that is no number would not be chosen.
    #[test]
    fn a_logit_that_is_no_number_makes_all_shares_so() {
        for at in 0..4 {
            for poison in [f32::NAN, f32::INFINITY] {
                let mut logits = LOGITS;
                logits[at] = poison;
                for used in 1..=4 {
                    let (mut found, shares) = chosen(used, &logits);
                    found.dedup();
                    assert!(found.len() == used && found.iter().all(|expert| *expert < 4));
                    let sums_up = shares.iter().sum::<f32>().is_finite();
                    assert!(!sums_up, "{at} {poison} {shares:?}");
                }
            }
        }
    }

    #[test]
    fn tokens_are_brought_into_the_order_of_experts() {
        // Three tokens with two experts each, of four.
        let chosen = [0, 3, 0, 2, 2, 3];
        let (mut places, mut tokens, mut ends) = ([9; 6], [9; 6], [9; 4]);
        sort(&chosen, 2, &mut places, &mut tokens, &mut ends);
        assert_eq!(ends, [2, 2, 4, 6]);
        assert_eq!(tokens, [0, 1, 1, 2, 0, 2]);
        assert_eq!(places, [0, 4, 1, 2, 3, 5]);
        let routes =
            Routes { used: 2, places: &places, weights: &[0.0; 6], tokens: &tokens, ends: &ends };
        let runs = |bundle| {
            let mut room = [Run { matrix: 0, first: 0, count: 0 }; 4];
            let runs = routes.runs(bundle, &mut room).iter();
            runs.map(|run| (run.matrix, run.first, run.count)).collect::<Vec<_>>()
        };
        assert_eq!(runs(0..6), [(0, 0, 2), (2, 2, 2), (3, 4, 2)]);
        assert_eq!(runs(1..3), [(0, 0, 1), (2, 1, 1)]);
        assert_eq!(runs(3..6), [(2, 0, 1), (3, 1, 2)]);
    }
}

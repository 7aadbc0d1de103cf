//! The sampler against direct definitions of what its steps keep.

use carat::sampler::SamplerError;
use carat::{Sampler, SamplerConfig, TokenId};
use proptest::prelude::*;

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn sampler(config: SamplerConfig, vocab_size: usize) -> Sampler {
    Sampler::new(config, vocab_size).expect("the settings are valid")
}

fn hot() -> SamplerConfig {
    SamplerConfig { temperature: 1.0, ..SamplerConfig::default() }
}

#[test]
fn greedy_takes_the_lowest_of_the_highest() {
    let cases: [(&[f32], TokenId); 5] = [
        (&[1.0, 3.0, 2.0, 3.0], 1),
        (&[-INF, -INF, -5.0, -INF], 2),
        (&[-0.0, 0.0], 0),
        (&[-1e38, -INF], 0),
        (&[7.0], 0),
    ];
    for (logits, wanted) in cases {
        let found = sampler(SamplerConfig::default(), logits.len()).sample(logits);
        assert_eq!(found, Ok(wanted), "{logits:?}");
    }
}

#[test]
fn nothing_to_choose_is_an_error() {
    for config in [SamplerConfig::default(), hot(), SamplerConfig::gemma()] {
        for logits in [&[-INF, -INF, -INF][..], &[]] {
            let vocab_size = logits.len();
            let found = sampler(config.clone(), vocab_size).sample(logits);
            assert_eq!(found, Err(SamplerError::NoCandidate { vocab_size }));
        }
    }
}

/// Wherever it stands, before or after the likeliest token, first or last of a run that is looked
/// at as one, and whatever would be cut.
#[test]
fn a_logit_that_is_no_number_is_an_error() {
    let penalised =
        SamplerConfig { repetition_penalty: 2.0, temperature: 1.0, ..SamplerConfig::default() };
    let top_1 = SamplerConfig { top_k: 1, ..hot() };
    for config in [SamplerConfig::default(), hot(), SamplerConfig::gemma(), top_1, penalised] {
        for vocab_size in [1, 5, 64, 65, 1500] {
            for at in [0, vocab_size / 2, vocab_size - 1] {
                for logit in [NAN, -NAN, INF] {
                    let mut logits: Vec<f32> = (0..vocab_size).map(|i| (i % 9) as f32).collect();
                    logits[at] = logit;
                    let mut sampler = sampler(config.clone(), vocab_size);
                    sampler.accept(at as TokenId);
                    let found = sampler.sample(&logits);
                    let Err(SamplerError::NotFinite { token, logit: found }) = found else {
                        panic!("{logit} at {at} of {vocab_size}: {found:?}");
                    };
                    assert_eq!((token as usize, found.is_nan()), (at, logit.is_nan()));
                }
            }
        }
    }
}

/// A penalty never makes a number infinite.
#[test]
fn the_strongest_penalties_leave_numbers() {
    for (repetition_penalty, logit) in [(1e-38, 30.0), (1e38, -30.0)] {
        let config = SamplerConfig { repetition_penalty, ..SamplerConfig::default() };
        let mut sampler = sampler(config, 2);
        sampler.accept(0);
        assert_eq!(sampler.sample(&[logit, -INF]), Ok(0));
    }
}

/// Four equal tokens: the likeliest two hold exactly half, with nothing to round.
#[test]
fn top_p_keeps_the_fewest_tokens_that_reach_it() {
    for (top_p, kept) in [(0.25, 1), (0.5, 2), (0.75, 3), (0.751, 4)] {
        let mut sampler = sampler(SamplerConfig { top_p, ..hot() }, 4);
        let drawn: std::collections::BTreeSet<_> =
            (0..200).map(|_| sampler.sample(&[1.5; 4]).expect("a token")).collect();
        assert_eq!(drawn.len(), kept, "top-p {top_p}: {drawn:?}");
    }
}

/// "At least `min_p` times as likely": at 1 the likeliest and its equals are left.
#[test]
fn min_p_keeps_what_is_exactly_as_likely() {
    let mut sampler = sampler(SamplerConfig { min_p: 1.0, ..hot() }, 4);
    let drawn: std::collections::BTreeSet<_> =
        (0..100).map(|_| sampler.sample(&[2.0, 1.999, 2.0, -1.0]).expect("a token")).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn settings_may_be_at_the_ends_of_their_ranges() {
    let d = SamplerConfig::default;
    for config in [
        SamplerConfig { temperature: 0.0, min_p: 0.0, ..d() },
        SamplerConfig { top_p: 1.0, min_p: 1.0, ..d() },
        SamplerConfig { top_p: f32::MIN_POSITIVE, top_k: usize::MAX, ..d() },
        SamplerConfig { repetition_last_n: 1_048_576, repetition_penalty: 2.0, ..d() },
    ] {
        assert_eq!(sampler(config, 2).sample(&[0.0, 1.0]), Ok(1));
    }
}

#[test]
fn settings_without_meaning_are_refused() {
    let d = SamplerConfig::default;
    let cases = [
        ("temperature", SamplerConfig { temperature: -0.1, ..d() }),
        ("temperature", SamplerConfig { temperature: NAN, ..d() }),
        ("temperature", SamplerConfig { temperature: INF, ..d() }),
        ("top_p", SamplerConfig { top_p: 0.0, ..d() }),
        ("top_p", SamplerConfig { top_p: 1.1, ..d() }),
        ("top_p", SamplerConfig { top_p: NAN, ..d() }),
        ("min_p", SamplerConfig { min_p: -0.1, ..d() }),
        ("min_p", SamplerConfig { min_p: NAN, ..d() }),
        ("repetition_penalty", SamplerConfig { repetition_penalty: 0.0, ..d() }),
        ("repetition_penalty", SamplerConfig { repetition_penalty: NAN, ..d() }),
        ("repetition_last_n", SamplerConfig { repetition_last_n: 1_048_577, ..d() }),
        ("repetition_last_n", SamplerConfig { repetition_last_n: usize::MAX, ..d() }),
    ];
    for (wanted, config) in cases {
        match Sampler::new(config, 8) {
            Err(SamplerError::OutOfRange { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

#[test]
fn the_draws_are_those_of_splitmix64() {
    // Four equal logits share [0, 1) in the order of their ids. The first outputs of SplitMix64 for
    // this seed (Rosetta Code, "Pseudo-random numbers/Splitmix64") divided by 2^64 are .350, .174,
    // .532, .249 and .890.
    let config = SamplerConfig { seed: 1_234_567, ..hot() };
    let mut sampler = sampler(config, 4);
    let mut draw = || std::array::from_fn(|_| sampler.sample(&[0.5; 4]).expect("a token"));
    assert_eq!(draw(), [1, 0, 2, 0, 3]);
    sampler.reset();
    let mut draw = || std::array::from_fn(|_| sampler.sample(&[0.5; 4]).expect("a token"));
    assert_eq!(draw(), [1, 0, 2, 0, 3]);
}

/// As above, but what top-k keeps shares [0, 1) from the likeliest down, whether it cuts or not:
/// so much heat makes four different logits equally likely.
#[test]
fn top_k_draws_from_the_likeliest_down() {
    for logits in [&[1.0, 4.0, 2.0, 3.0][..], &[1.0, 4.0, 2.0, 3.0, 0.0, -1.0]] {
        let config = SamplerConfig {
            temperature: 1e9,
            top_k: 4,
            seed: 1_234_567,
            ..SamplerConfig::default()
        };
        let mut sampler = sampler(config, logits.len());
        let drawn: [_; 5] = std::array::from_fn(|_| sampler.sample(logits).expect("a token"));
        let ranked = [1, 3, 2, 0];
        assert_eq!(drawn, [1, 0, 2, 0, 3].map(|place: usize| ranked[place]));
    }
}

/// SplitMix64 backwards from an output of ones alone gives this seed: the greatest number that can
/// be drawn. It is the last token's, however sums are rounded; one that is e^1000 times less likely
/// than the others has no part of [0, 1).
#[test]
fn the_greatest_draw_is_that_of_the_last_token() {
    let config = SamplerConfig { seed: 0x3162_8AF6_7B21_31AB, ..hot() };
    for step in 0..2000 {
        let mut logits: Vec<f32> = (0..7).map(|i| ((i * 31 + step) % 97) as f32 / 40.0).collect();
        assert_eq!(sampler(config.clone(), 7).sample(&logits), Ok(6), "{logits:?}");
        logits[6] -= 1000.0;
        assert_eq!(sampler(config.clone(), 7).sample(&logits), Ok(5), "{logits:?}");
    }
}

#[test]
fn frequencies_follow_the_probabilities() {
    let logits = [1.0, -INF, 0.0, 2.5, -INF, -1.0];
    for temperature in [0.5_f32, 1.0, 2.0] {
        let mut sampler = sampler(SamplerConfig { temperature, seed: 7, ..hot() }, logits.len());
        let draws = 40_000;
        let mut counts = [0_u32; 6];
        for _ in 0..draws {
            counts[sampler.sample(&logits).expect("a token") as usize] += 1;
        }
        let weight = |l: f32| f64::from(l / temperature).exp();
        let total: f64 = logits.iter().map(|l| weight(*l)).sum();
        for (logit, count) in logits.iter().zip(counts) {
            let p = weight(*logit) / total;
            let (mean, deviation) =
                (p * f64::from(draws), (f64::from(draws) * p * (1.0 - p)).sqrt());
            let off = (f64::from(count) - mean).abs();
            assert!(off <= 5.0 * deviation, "logit {logit} at {temperature}: {count} for {mean}");
        }
    }
}

#[test]
fn a_recent_token_is_penalised_once() {
    let config =
        SamplerConfig { repetition_penalty: 2.0, repetition_last_n: 2, ..Default::default() };
    let mut sampler = sampler(config, 3);
    sampler.accept(0);
    sampler.accept(0);
    // 4 becomes 2, not 1; a token outside the vocabulary changes nothing.
    sampler.accept(9);
    assert_eq!(sampler.sample(&[4.0, 1.5, 0.0]), Ok(0));
    assert_eq!(sampler.sample(&[4.0, 2.5, 0.0]), Ok(1));
    // Negative logits move down too: -1 becomes -2.
    assert_eq!(sampler.sample(&[-1.0, -1.5, -9.0]), Ok(1));
    // The window holds two tokens: 0 has left it.
    sampler.accept(2);
    sampler.accept(2);
    assert_eq!(sampler.sample(&[4.0, 3.5, 0.0]), Ok(0));
    sampler.accept(1);
    assert_eq!(sampler.sample(&[-1.0, 3.5, 3.4]), Ok(1));
}

/// The window begins anew as well, wherever it had wrapped before.
#[test]
fn a_reset_forgets_the_recent_tokens() {
    let config =
        SamplerConfig { repetition_penalty: 2.0, repetition_last_n: 2, ..Default::default() };
    let mut sampler = sampler(config, 3);
    (0..3).for_each(|token| sampler.accept(token));
    sampler.reset();
    assert_eq!(sampler.sample(&[3.0, 1.0, 4.0]), Ok(2));
    (0..3).for_each(|token| sampler.accept(token));
    // The last two are halved: 1 and 2, not 0.
    assert_eq!(sampler.sample(&[3.0, 5.0, 5.0]), Ok(0));
    assert_eq!(sampler.sample(&[2.4, 5.0, 0.0]), Ok(1));
}

/// The first token outside the vocabulary changes nothing, like all others.
#[test]
fn tokens_outside_the_vocabulary_are_not_penalised() {
    let config = SamplerConfig { repetition_penalty: 2.0, ..Default::default() };
    let mut sampler = sampler(config, 3);
    [3, 4, 64, TokenId::MAX].into_iter().for_each(|token| sampler.accept(token));
    assert_eq!(sampler.sample(&[1.0, 3.0, 2.0]), Ok(1));
}

/// The tokens that may be drawn, by sorting everything: the definition of the three filters.
fn kept(config: &SamplerConfig, logits: &[f32]) -> Vec<TokenId> {
    let mut all: Vec<(f32, TokenId)> = logits.iter().copied().zip(0..).collect();
    all.retain(|(logit, _)| *logit > -INF);
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    if config.top_k > 0 {
        all.truncate(config.top_k);
    }
    let probabilities = |all: &[(f32, TokenId)]| -> Vec<f64> {
        let weights: Vec<f64> = all.iter().map(|(l, _)| f64::from(l - all[0].0).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|w| w / total).collect()
    };
    let p = probabilities(&all);
    let mut sum = 0.0;
    let reach = p.iter().position(|p| {
        sum += p;
        sum >= f64::from(config.top_p)
    });
    if config.top_p < 1.0 {
        all.truncate(reach.map_or(all.len(), |at| at + 1));
    }
    let p = probabilities(&all);
    let min = f64::from(config.min_p) * p[0];
    all.into_iter().zip(p).filter(|(_, p)| *p >= min).map(|((_, id), _)| id).collect()
}

proptest! {
    #[test]
    fn draws_come_from_what_the_filters_keep(
        // Halves make ties, and sums that no order of adding changes much.
        halves in prop::collection::vec(-12_i8..12, 1..1500),
        holes in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        top_k in prop::sample::select(vec![0, 1, 2, 5, 64, 300, 2000]),
        top_p in prop::sample::select(vec![0.001_f32, 0.3, 0.77, 0.9501, 1.0]),
        min_p in prop::sample::select(vec![0.0_f32, 0.02, 0.4]),
        seed in any::<u64>(),
    ) {
        let mut logits: Vec<f32> = halves.iter().map(|h| f32::from(*h) / 2.0).collect();
        for hole in holes {
            let at = hole.index(logits.len());
            logits[at] = -INF;
        }
        prop_assume!(logits.iter().any(|l| *l > -INF));
        let config = SamplerConfig { top_k, top_p, min_p, seed, ..hot() };
        let wanted = kept(&config, &logits);
        // High temperature: what is kept is drawn, each about as often.
        let mut sampler = sampler(SamplerConfig { temperature: 1e6, ..config }, logits.len());
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..wanted.len().min(40) * 12 {
            seen.insert(sampler.sample(&logits).expect("a token"));
        }
        prop_assert!(seen.iter().all(|id| wanted.contains(id)), "{seen:?} of {wanted:?}");
        if wanted.len() <= 4 {
            prop_assert_eq!(seen.len(), wanted.len());
        }
    }
}

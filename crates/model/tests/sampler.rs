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
    let cases: [(&[f32], TokenId); 6] = [
        (&[1.0, 3.0, 2.0, 3.0], 1),
        (&[NAN, -INF, -5.0, NAN], 2),
        (&[0.0, INF, NAN, INF], 1),
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
        for logits in [&[NAN, -INF, NAN][..], &[]] {
            let vocab_size = logits.len();
            let found = sampler(config.clone(), vocab_size).sample(logits);
            assert_eq!(found, Err(SamplerError::NoCandidate { vocab_size }));
        }
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

#[test]
fn frequencies_follow_the_probabilities() {
    let logits = [1.0, -INF, 0.0, 2.5, NAN, -1.0];
    for temperature in [0.5_f32, 1.0, 2.0] {
        let mut sampler = sampler(SamplerConfig { temperature, seed: 7, ..hot() }, logits.len());
        let draws = 40_000;
        let mut counts = [0_u32; 6];
        for _ in 0..draws {
            counts[sampler.sample(&logits).expect("a token") as usize] += 1;
        }
        let weight = |l: f32| if l.is_nan() { 0.0 } else { f64::from(l / temperature).exp() };
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
            logits[at] = if at % 2 == 0 { -INF } else { NAN };
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

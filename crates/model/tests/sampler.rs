//! The sampler against direct definitions of what its steps keep.

use carat::sampler::{LIKELIEST_MAX, SamplerError, log_probabilities};
use carat::{Sampler, SamplerConfig, TokenId, TokenMask};
use proptest::prelude::*;

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn sampler(config: SamplerConfig, vocab_size: usize) -> Sampler {
    Sampler::new(config, vocab_size).expect("the settings are valid")
}

/// Chooses a token and accepts it, so that the next draw is another.
fn draw(sampler: &mut Sampler, logits: &[f32]) -> TokenId {
    let token = sampler.sample(logits).expect("a token");
    sampler.accept(token);
    token
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
            (0..200).map(|_| draw(&mut sampler, &[1.5; 4])).collect();
        assert_eq!(drawn.len(), kept, "top-p {top_p}: {drawn:?}");
    }
}

/// "At least `min_p` times as likely": at 1 the likeliest and its equals are left.
#[test]
fn min_p_keeps_what_is_exactly_as_likely() {
    let mut sampler = sampler(SamplerConfig { min_p: 1.0, ..hot() }, 4);
    let drawn: std::collections::BTreeSet<_> =
        (0..100).map(|_| draw(&mut sampler, &[2.0, 1.999, 2.0, -1.0])).collect();
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
        SamplerConfig { frequency_penalty: -7.0, presence_penalty: 7.0, ..d() },
        SamplerConfig { logit_bias: vec![(1, f32::MAX), (0, f32::MIN)], ..d() },
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
        ("frequency_penalty", SamplerConfig { frequency_penalty: NAN, ..d() }),
        ("frequency_penalty", SamplerConfig { frequency_penalty: -INF, ..d() }),
        ("presence_penalty", SamplerConfig { presence_penalty: NAN, ..d() }),
        ("presence_penalty", SamplerConfig { presence_penalty: INF, ..d() }),
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
    let mut drawn = || std::array::from_fn(|_| draw(&mut sampler, &[0.5; 4]));
    assert_eq!(drawn(), [1, 0, 2, 0, 3]);
    sampler.reset();
    let mut drawn = || std::array::from_fn(|_| draw(&mut sampler, &[0.5; 4]));
    assert_eq!(drawn(), [1, 0, 2, 0, 3]);
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
        let drawn: [_; 5] = std::array::from_fn(|_| draw(&mut sampler, logits));
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
            counts[draw(&mut sampler, &logits) as usize] += 1;
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

/// The sequence of the seed above: .350, .174, .532, .249, .890 of four tokens.
#[test]
fn the_number_of_a_draw_is_that_of_the_tokens_accepted() {
    let config = SamplerConfig { seed: 1_234_567, frequency_penalty: 1e-30, ..hot() };
    let mut sampler = sampler(config, 4);
    let even = [0.5; 4];
    for (position, wanted) in [1, 0, 2, 0, 3].into_iter().enumerate() {
        assert_eq!(sampler.position(), position as u64);
        // Errors, other logits and other choices change nothing.
        assert!(sampler.sample(&[NAN; 4]).is_err());
        assert_eq!(sampler.sample(&[-INF, -INF, 0.0, -INF]), Ok(2));
        assert_eq!([0; 3].map(|_| sampler.sample(&even).expect("a token")), [wanted; 3]);
        sampler.accept(7); // outside the vocabulary, and a token all the same
    }
    for (position, wanted) in [(4, 3), (2, 2), (0, 1)] {
        sampler.seek(position);
        assert_eq!(sampler.sample(&even), Ok(wanted));
    }
    sampler.seek(u64::MAX);
    sampler.accept(0);
    assert_eq!((sampler.position(), sampler.sample(&even)), (0, Ok(1)));
}

/// By hand: after 0, 0 and 1, a frequency of 1 and a presence of 0.5 take 2.5 from 0 and 1.5 from
/// 1.
#[test]
fn frequency_and_presence_are_subtracted() {
    let config = SamplerConfig { frequency_penalty: 1.0, presence_penalty: 0.5, ..hot() };
    let mut sampler = sampler(SamplerConfig { temperature: 0.0, ..config }, 3);
    [0, 0, 1, 3, TokenId::MAX].into_iter().for_each(|token| sampler.accept(token));
    assert_eq!(sampler.sample(&[2.75, 1.5, 0.0]), Ok(0));
    assert_eq!(sampler.sample(&[2.25, 1.5, 0.0]), Ok(1) /* -0.25, 0.0, 0.0 */);
    assert_eq!(sampler.sample(&[2.25, 1.25, 0.0]), Ok(2));
    sampler.begin_answer();
    assert_eq!((sampler.sample(&[0.1, 0.0, 0.0]), sampler.position()), (Ok(0), 5));
    sampler.accept(0);
    assert_eq!(sampler.sample(&[1.5, 0.125, 0.0]), Ok(1) /* counted once again */);
    sampler.reset();
    assert_eq!((sampler.sample(&[0.1, 0.0, 0.0]), sampler.position()), (Ok(0), 0));
}

#[test]
fn a_bias_moves_a_token_and_minus_infinity_forbids_it() {
    let with = |logit_bias| sampler(SamplerConfig { logit_bias, ..Default::default() }, 3);
    assert_eq!(with(vec![(2, 5.0)]).sample(&[4.0, 3.0, 0.0]), Ok(2));
    assert_eq!(with(vec![(0, -1.5)]).sample(&[4.0, 3.0, 0.0]), Ok(1));
    assert_eq!(with(vec![(0, -INF), (1, -INF)]).sample(&[4.0, 3.0, -9.0]), Ok(2));
    let all = vec![(0, -INF), (1, -INF), (2, -INF)];
    assert_eq!(with(all).sample(&[4.0; 3]), Err(SamplerError::NoCandidate { vocab_size: 3 }));
    // What is suppressed stays so; what is forbidden may have any logit.
    assert_eq!(with(vec![(0, 100.0)]).sample(&[-INF, 3.0, 0.0]), Ok(1));
    assert_eq!(with(vec![(0, -INF), (2, -INF)]).sample(&[NAN, 3.0, INF]), Ok(1));
    assert!(with(vec![(0, 1.0)]).sample(&[NAN, 3.0, 0.0]).is_err());
    // No bias and no penalty makes a number infinite.
    assert_eq!(with(vec![(0, f32::MAX)]).sample(&[f32::MAX, 3.0, 0.0]), Ok(0));
    assert_eq!(with(vec![(1, f32::MIN)]).sample(&[-INF, f32::MIN, -INF]), Ok(1));
    let config = SamplerConfig { frequency_penalty: f32::MAX, ..Default::default() };
    let mut sampler = sampler(config, 2);
    (0..3).for_each(|_| sampler.accept(0));
    assert_eq!(sampler.sample(&[f32::MIN, -INF]), Ok(0));
}

#[test]
fn biases_without_meaning_are_refused() {
    let with = |logit_bias| {
        Sampler::new(SamplerConfig { logit_bias, ..Default::default() }, 8).map(|_| ())
    };
    let Err(SamplerError::Bias { token: 3, bias }) = with(vec![(3, NAN)]) else { panic!() };
    assert!(bias.is_nan());
    assert_eq!(with(vec![(3, INF)]), Err(SamplerError::Bias { token: 3, bias: INF }));
    assert_eq!(with(vec![(8, 1.0)]), Err(SamplerError::NoToken { token: 8, vocab_size: 8 }));
    let twice = vec![(7, 1.0), (0, 2.0), (7, 1.0)];
    assert_eq!(with(twice), Err(SamplerError::BiasTwice { token: 7 }));
    assert_eq!(with(vec![(7, -INF), (0, 2.0)]), Ok(()));
}

#[test]
fn a_mask_is_its_bits() {
    let mut mask = TokenMask::none(70);
    [0, 31, 32, 63, 64, 69].into_iter().for_each(|token| mask.allow(token));
    assert_eq!(mask.words(), [1 | 1 << 31, 1 | 1 << 31, 1 | 1 << 5]);
    let words = mask.words().to_vec();
    let mut same = TokenMask::from_words(&words);
    assert_eq!(same, mask);
    same.forbid(64);
    same.forbid(1000);
    assert!(same.allows(69) && !same.allows(64) && !same.allows(1) && !same.allows(1000));
    assert!(mask.allows(64) && words[2] == 33, "borrowed words are copied first");
    assert_eq!(TokenMask::all(70).words(), [u32::MAX, u32::MAX, 63]);
    assert_eq!(TokenMask::all(64).words(), [u32::MAX; 2]);
    assert!(TokenMask::all(0).words().is_empty());
}

/// Too few words forbid, too many mean nothing.
#[test]
fn masks_of_other_lengths_are_masks() {
    for config in [SamplerConfig::default(), SamplerConfig::gemma()] {
        let mut sampler = sampler(config, 40);
        let logits: [f32; 40] = std::array::from_fn(|i| 200.0 * i as f32);
        let mut sample =
            |words: &[u32]| sampler.sample_masked(&logits, &TokenMask::from_words(words));
        let nothing = Err(SamplerError::NoCandidate { vocab_size: 40 });
        assert_eq!(sample(&[]), nothing);
        assert_eq!(sample(&[0, !0xff, u32::MAX, u32::MAX]), nothing);
        assert_eq!(sample(&[u32::MAX]), Ok(31));
        assert_eq!(sample(&[u32::MAX; 4]), Ok(39));
    }
}

/// By hand: the softmax of 0, ln 2 and ln 5 is 1/8, 2/8 and 5/8.
#[test]
fn log_probabilities_of_eighths() {
    let logits = [0.0, 2_f32.ln(), -INF, 5_f32.ln()];
    let found = log_probabilities(&logits, 0, 9).expect("they are finite");
    let tokens: Vec<TokenId> = found.likeliest.iter().map(|l| l.token).collect();
    assert_eq!((tokens, found.chosen.token), (vec![3, 1, 0], 0));
    for (l, wanted) in found.likeliest.iter().zip([5.0 / 8.0, 2.0 / 8.0, 1.0 / 8.0_f64]) {
        assert!((l.log_probability - wanted.ln()).abs() < 1e-6, "{found:?}"); // the logits are f32
    }
    assert_eq!(found.chosen, found.likeliest[2]);
    let suppressed = log_probabilities(&logits, 2, 0).expect("they are finite");
    assert_eq!((suppressed.chosen.log_probability, suppressed.likeliest), (-f64::INFINITY, vec![]));
}

#[test]
fn log_probabilities_of_nothing_are_errors() {
    let no_token = |token, vocab_size| Err(SamplerError::NoToken { token, vocab_size });
    assert_eq!(log_probabilities(&[0.0; 3], 3, 1), no_token(3, 3));
    assert_eq!(log_probabilities(&[], 0, 0), no_token(0, 0));
    let nothing = SamplerError::NoCandidate { vocab_size: 2 };
    assert_eq!(log_probabilities(&[-INF; 2], 1, 1), Err(nothing));
    let wanted = LIKELIEST_MAX + 1;
    let too_many = SamplerError::TooManyLikeliest { wanted, most: LIKELIEST_MAX };
    assert_eq!(log_probabilities(&[0.0; 3], 0, wanted), Err(too_many));
    for at in [0, 63, 64, 129] {
        for logit in [NAN, INF] {
            let mut logits: Vec<f32> = (0..130).map(|i| -(i as f32)).collect();
            logits[at] = logit;
            let found = log_probabilities(&logits, 5, 0);
            assert!(
                matches!(found, Err(SamplerError::NotFinite { token, .. }) if token as usize == at)
            );
        }
    }
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
            seen.insert(draw(&mut sampler, &logits));
        }
        prop_assert!(seen.iter().all(|id| wanted.contains(id)), "{seen:?} of {wanted:?}");
        if wanted.len() <= 4 {
            prop_assert_eq!(seen.len(), wanted.len());
        }
    }

    /// The token that is chosen is the likeliest by the definitions of bias and penalties. All
    /// numbers are quarters, so that nothing is rounded.
    #[test]
    fn bias_and_penalties_are_what_they_are_defined_as(
        quarters in prop::collection::vec(-40_i16..40, 1..150),
        accepted in prop::collection::vec(0_u32..160, 0..40),
        biases in prop::collection::vec((any::<prop::sample::Index>(), -40_i16..40), 0..5),
        frequency in -8_i16..8,
        presence in -8_i16..8,
        repetition in prop::sample::select(vec![0.5_f32, 1.0, 2.0]),
        last_n in 0_usize..9,
    ) {
        let quarter = |q: i16| f32::from(q) / 4.0;
        let logits: Vec<f32> = quarters.iter().map(|q| quarter(*q)).collect();
        let biases: std::collections::BTreeMap<TokenId, f32> = biases
            .into_iter()
            .map(|(at, q)| (at.index(logits.len()) as TokenId, quarter(q)))
            .collect();
        let config = SamplerConfig {
            frequency_penalty: quarter(frequency),
            presence_penalty: quarter(presence),
            repetition_penalty: repetition,
            repetition_last_n: last_n,
            logit_bias: biases.iter().rev().map(|(token, bias)| (*token, *bias)).collect(),
            ..Default::default()
        };
        let mut sampler = sampler(config.clone(), logits.len());
        accepted.iter().for_each(|token| sampler.accept(*token));
        let in_vocab: Vec<u32> =
            accepted.into_iter().filter(|token| (*token as usize) < logits.len()).collect();
        let recent = &in_vocab[in_vocab.len().saturating_sub(last_n)..];
        let adjusted = (0_u32..).zip(&logits).map(|(token, logit)| {
            let mut logit = f64::from(*logit) + f64::from(*biases.get(&token).unwrap_or(&0.0));
            let repetition = f64::from(repetition);
            if recent.contains(&token) {
                logit = if logit > 0.0 { logit / repetition } else { logit * repetition };
            }
            let count = in_vocab.iter().filter(|other| **other == token).count() as f64;
            let present = if count > 0.0 { 1.0 } else { 0.0 };
            logit - count * f64::from(config.frequency_penalty)
                - present * f64::from(config.presence_penalty)
        });
        let best = adjusted.clone().fold(f64::NEG_INFINITY, f64::max);
        let wanted = adjusted.clone().position(|logit| logit == best).expect("a logit");
        prop_assert_eq!(sampler.sample(&logits), Ok(wanted as TokenId));
    }

    /// A mask is the same as logits of minus infinity, whatever the forbidden ones are.
    #[test]
    fn what_a_mask_forbids_is_not_there(
        halves in prop::collection::vec(-12_i8..12, 1..700),
        words in prop::collection::vec(
            prop_oneof![Just(0_u32), Just(u32::MAX), any::<u32>(), (0_u32..32).prop_map(|b| 1 << b)],
            0..24,
        ),
        noise in prop::sample::select(vec![NAN, INF, -INF, 100.0]),
        top_k in prop::sample::select(vec![0, 1, 5, 300]),
        top_p in prop::sample::select(vec![0.3_f32, 0.9501, 1.0]),
        temperature in prop::sample::select(vec![0.0_f32, 1.0]),
        seed in any::<u64>(),
    ) {
        let config = SamplerConfig { temperature, top_k, top_p, seed, ..hot() };
        let mask = TokenMask::from_words(&words);
        let is_allowed = |i: usize| words.get(i / 32).is_some_and(|word| word >> (i % 32) & 1 == 1);
        let logits = |forbidden: f32| -> Vec<f32> {
            let of = |(i, h): (usize, &i8)| if is_allowed(i) { f32::from(*h) / 2.0 } else { forbidden };
            halves.iter().enumerate().map(of).collect()
        };
        let mut sampler = sampler(config, halves.len());
        for _ in 0..4 {
            let found = sampler.sample_masked(&logits(noise), &mask);
            prop_assert_eq!(&found, &sampler.sample(&logits(-INF)));
            sampler.accept(0);
        }
    }

    /// Against sorting everything and the platform's exponential. Both sums have up to 300 terms
    /// and errors of a few units in the last place for each.
    #[test]
    fn log_probabilities_are_the_logarithms_of_the_softmax(
        // Halves make ties; the range makes some tokens vanish beside others.
        halves in prop::collection::vec(-1500_i16..1500, 1..300),
        scale in prop::sample::select(vec![0.001_f32, 0.05, 1.0]),
        holes in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        chosen in any::<prop::sample::Index>(),
        n in prop::sample::select(vec![0, 1, 2, 20, LIKELIEST_MAX]),
    ) {
        let mut logits: Vec<f32> = halves.iter().map(|h| (f32::from(*h) * scale).round() / 2.0 + 0.0).collect();
        for hole in holes {
            let at = hole.index(logits.len());
            logits[at] = -INF;
        }
        prop_assume!(logits.iter().any(|l| *l > -INF));
        let chosen = chosen.index(logits.len()) as TokenId;
        let mut all: Vec<(f32, TokenId)> = logits.iter().copied().zip(0..).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let top = f64::from(all[0].0);
        let sum: f64 = all.iter().map(|(l, _)| (f64::from(*l) - top).exp()).sum();
        let wanted = |logit: f32| f64::from(logit) - top - sum.ln();
        let found = log_probabilities(&logits, chosen, n).expect("they are finite");
        let near = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-12 * (1.0 + b.abs());
        prop_assert_eq!(found.chosen.token, chosen);
        prop_assert!(near(found.chosen.log_probability, wanted(logits[chosen as usize])));
        all.retain(|(logit, _)| *logit > -INF);
        all.truncate(n);
        prop_assert_eq!(found.likeliest.len(), all.len());
        for (found, (logit, token)) in found.likeliest.iter().zip(all) {
            prop_assert_eq!(found.token, token);
            prop_assert!(near(found.log_probability, wanted(logit)), "{:?}", found);
        }
    }
}

//! The choice of lengths on machines that are made up: seconds and right guesses are drawn, and
//! what they come to is compared with the arithmetic of the machine itself.

use super::*;

/// A machine: seconds of a pass and to draft a token, in parts of a plain pass.
#[derive(Clone, Copy, Debug)]
struct Machine {
    step: f64,
    draft: f64,
    /// The share of passes that seem to take three times as long.
    held_up: f64,
}

impl Machine {
    fn pass(self, tokens: usize) -> f64 {
        1.0 + self.step * (tokens as f64 - 1.0)
    }

    /// Seconds a token with `drafts` drafts of which each is right with probability `right`
    /// where those before were: from the definition.
    fn fixed(self, right: f64, drafts: usize) -> f64 {
        let tokens: f64 = (0..=drafts).map(|i| right.powi(i as i32)).sum();
        (self.pass(1 + drafts) + self.draft * drafts as f64) / tokens
    }

    /// With the best number of drafts.
    fn best(self, right: f64) -> f64 {
        (0..=DRAFT_MAX).map(|k| self.fixed(right, k)).fold(f64::INFINITY, f64::min)
    }
}

struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Says `tokens` tokens or a few more; returns the seconds that each took, without what held the
/// machine up: that would have come without drafts, too.
fn talk(
    length: &mut Length,
    machine: Machine,
    right: f64,
    tokens: usize,
    random: &mut Random,
) -> f64 {
    let (mut said, mut seconds) = (0, 0.0);
    while said < tokens {
        let drafts = length.choose(By::Other, 1, 1, DRAFT_MAX);
        assert!(drafts <= DRAFT_MAX);
        let mut noisy = |seconds: f64| {
            let held_up = if random.unit() < machine.held_up { 3.0 } else { 1.0 };
            seconds * held_up * (0.97 + 0.06 * random.unit())
        };
        let (pass, draft) = (machine.pass(1 + drafts), machine.draft * drafts as f64);
        length.drafted(By::Other, drafts, noisy(draft));
        let pass_of = Pass { tokens: 1 + drafts, guessed: drafts, own: drafts };
        length.passed(pass_of, noisy(pass));
        seconds += pass + draft;
        said += 1;
        for place in 0..drafts {
            let is_right = random.unit() < right;
            length.decided(By::Other, place, is_right);
            if !is_right {
                break;
            }
            said += 1;
        }
    }
    seconds / said as f64
}

const MACHINES: [Machine; 6] = [
    Machine { step: 0.02, draft: 0.0, held_up: 0.0 },
    Machine { step: 0.1, draft: 0.0, held_up: 0.0 },
    Machine { step: 0.1, draft: 0.04, held_up: 0.0 },
    Machine { step: 0.12, draft: 0.05, held_up: 0.0 },
    Machine { step: 0.3, draft: 0.05, held_up: 0.0 },
    Machine { step: 0.9, draft: 0.1, held_up: 0.0 },
];

/// A machine that nothing holds up, and one where something does now and then.
const NOISE: [f64; 2] = [0.0, 0.05];

/// Mean and worst seconds a token of many texts, each by a session of its own.
fn texts(machine: Machine, right: f64, tokens: usize, runs: u64) -> (f64, f64) {
    let run = |seed: u64| {
        let random = &mut Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        talk(&mut Length::default(), machine, right, tokens, random)
    };
    let seconds: Vec<f64> = (0..runs).map(run).collect();
    (seconds.iter().sum::<f64>() / runs as f64, seconds.into_iter().fold(0.0, f64::max))
}

/// Text that rejects everything costs at most 3 %, however short it is and whatever holds passes
/// up. One guess takes as much where two tokens take as long as two passes: it cannot be known to
/// before.
#[test]
fn what_is_always_wrong_costs_little() {
    for machine in MACHINES {
        for held_up in NOISE {
            let machine = Machine { held_up, ..machine };
            for (tokens, runs) in [(8, 40), (32, 40), (128, 20), (1000, 4)] {
                let (mean, worst) = texts(machine, 0.0, tokens, runs);
                let what = format!("{machine:?}, {tokens} tokens: {mean}, at worst {worst}");
                let one = (machine.step + machine.draft) / tokens as f64 + 1e-9;
                assert!(mean <= f64::max(1.0 / 0.97, 1.0 + one), "{what}");
                assert!(worst <= f64::max(1.04, 1.0 + one + EARNED), "{what}");
            }
        }
    }
}

/// Where something is right, it comes near the best fixed length, and nearer in longer texts.
#[test]
fn what_is_often_right_comes_near_the_best() {
    for machine in MACHINES {
        for (held_up, slack) in NOISE.into_iter().zip([0.0, 0.15]) {
            let machine = Machine { held_up, ..machine };
            for right in [0.1, 0.3, 0.5, 0.7, 0.9, 1.0] {
                let best = machine.best(right);
                for (tokens, runs, most) in [(32, 40, 0.6), (128, 20, 0.35), (1000, 4, 0.15)] {
                    let (mean, _) = texts(machine, right, tokens, runs);
                    // What could be gained over decoding plainly, less a part of it.
                    let wanted = best + (most + slack) * (1.0 - best);
                    let what = format!("{machine:?}, {right} right, {tokens} tokens: {mean}");
                    assert!(mean <= f64::max(wanted, 1.0 / 0.97), "{what}, at best {best}");
                }
            }
        }
    }
}

/// Text that becomes predictable is found, and so is the contrary.
#[test]
fn it_follows_the_text() {
    for held_up in NOISE {
        let machine = Machine { step: 0.12, draft: 0.02, held_up };
        let (mut good, mut bad) = (0.0, 0.0);
        for seed in 0..8 {
            let (mut length, mut random) = (Length::default(), Random(seed));
            talk(&mut length, machine, 0.0, 500, &mut random);
            good += talk(&mut length, machine, 0.95, 500, &mut random) / 8.0;
            // What it had learnt costs a few guesses, and then it is as if that had never been.
            let seconds = talk(&mut length, machine, 0.0, 100, &mut random);
            assert!(seconds < 1.05, "{seconds}");
            bad += talk(&mut length, machine, 0.0, 400, &mut random) / 8.0;
        }
        assert!(good < 0.5 && bad < 1.0 / 0.97, "{good} and {bad}");
    }
}

/// A machine that becomes slow for several tokens, as hot ones do, is found out, and so is one that
/// recovers.
#[test]
fn it_follows_the_machine() {
    let cool = Machine { step: 0.05, draft: 0.0, held_up: 0.0 };
    let hot = Machine { step: 1.2, ..cool };
    let mut random = Random(6);
    let (mut slow, mut fast) = (0.0, 0.0);
    for _ in 0..32 {
        let mut length = Length::default();
        talk(&mut length, cool, 0.5, 500, &mut random);
        slow += talk(&mut length, hot, 0.5, 500, &mut random) / 32.0;
        fast += talk(&mut length, cool, 0.5, 500, &mut random) / 32.0;
    }
    // Passes of eight tokens that take 9.4 where 1.35 was usual cost ten plain ones until then.
    assert!(slow < 1.04 && fast < 0.85, "{slow} and {fast}");
}

/// A lookup that is always wrong takes nothing away from a drafter that is right.
#[test]
fn each_who_guesses_has_a_length_of_its_own() {
    let (mut length, mut random) = (Length::default(), Random(1));
    let mut drafts = [0, 0];
    for token in 0..2000 {
        let by = if token % 2 == 0 { By::Lookup } else { By::Other };
        let count = length.choose(by, 1, 1, DRAFT_MAX);
        length.drafted(by, count, 0.0);
        let pass = Pass { tokens: 1 + count, guessed: count, own: count };
        length.passed(pass, 1.0 + 0.1 * count as f64);
        drafts[by as usize] += count;
        for place in 0..count {
            let is_right = by == By::Other && random.unit() < 0.9;
            length.decided(by, place, is_right);
            if !is_right {
                break;
            }
        }
    }
    // A guess that costs a tenth of a pass is made after ten others.
    assert!(drafts[0] < 150 && drafts[1] > 4000, "{drafts:?}");
}

/// Two talks whose guesses are right half of the time: with `q` of the tokens of each needing a
/// pass, a call costs `2 q (1 - q) T(1 + k) + q² T(2 (1 + k))`.
#[test]
fn talks_share_passes() {
    let mut length = Length { others: 1, ..Length::default() };
    for tokens in 1..=COLUMNS_MAX {
        length.times.passed(tokens, 1.0 + 0.1 * (tokens as f64 - 1.0));
    }
    for _ in 0..200 {
        length.decided(By::Other, 0, true);
        length.decided(By::Other, 0, false);
    }
    // The last of alternating guesses weighs 1, the one before 0.85, and so on.
    let right = 0.85 / (1.0 - 0.85 * 0.85);
    let a = (right + 0.25) / (1.0 / 0.15 + 0.5);
    let q = 1.0 / (1.0 + a);
    let wanted = 2.0 * q * (1.0 - q) * 1.1 + q * q * 1.3;
    let is = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found}, {wanted}");
    is(length.seconds(By::Other, 1, 1), wanted);
    is(length.seconds(By::Other, 1, 0), 1.1);
    // If all of them are wrong, a pass of two tokens becomes one of four.
    is(length.cost(By::Other, 1, 1), (1.3 - 1.1) / 1.1);
    // Certain tokens are paid for anyway: a draft behind two of them adds a tenth.
    length.others = 0;
    is(length.seconds(By::Other, 3, 1), (1.0 + 0.1) * q);
    // A drafter goes through the two that stand between the first and its guess.
    length.guesses[By::Other as usize].draft.push(0.05);
    is(length.cost(By::Other, 3, 1), 0.1 + 3.0 * 0.05);
}

/// What a session pays for its guesses in a pass of two that both guess: its part of what the pass
/// took longer, of its part of a pass without guesses.
#[test]
fn each_pays_for_its_own_guesses() {
    let mut length = Length::default();
    length.choose(By::Other, 2, 1, 3);
    length.passed(Pass { tokens: 2, guessed: 0, own: 0 }, 1.0);
    assert!((length.credit - EARNED).abs() < 1e-12);
    // Three of four guesses are its own; the pass took 0.5 longer, not 1.5 times what is usual.
    length.times.passed(6, 1.5);
    length.passed(Pass { tokens: 6, guessed: 4, own: 3 }, 1.5);
    let wanted = 2.0 * EARNED - 0.5 * (3.0 * 2.0 / 4.0);
    assert!((length.credit - wanted).abs() < 1e-12, "{} {wanted}", length.credit);
    length.decided(By::Other, 0, true);
    let wanted = (wanted + 1.0 + EARNED).min(CREDIT_MAX);
    assert!((length.credit - wanted).abs() < 1e-12, "{} {wanted}", length.credit);
    // Both take their time to draft, of a pass that gives both a token.
    length.drafted(By::Other, 3, 0.3);
    let wanted = wanted - 2.0 * 0.3 / length.times.pass(2);
    assert!((length.credit - wanted).abs() < 1e-12, "{} {wanted}", length.credit);
}

/// What seemed to cost more than the account can hold is tried again in the end.
#[test]
fn nothing_is_too_dear_forever() {
    let mut length = Length::default();
    length.times.passed(2, 2.0);
    length.drafted(By::Other, 1, 0.5);
    length.guesses[By::Other as usize].rounds = FIRST_ROUNDS;
    let asked = (0..1000).find(|_| {
        length.passed(Pass { tokens: 1, guessed: 0, own: 0 }, 1.0);
        length.choose(By::Other, 1, 1, 5) > 0
    });
    assert!(asked.is_some_and(|asked| asked > 100), "{asked:?}");
}

/// Where all is right, a pass is left without guesses now and then, which tells what that takes.
#[test]
fn plain_passes_are_timed_now_and_then() {
    let mut length = Length::default();
    let mut plain = Vec::new();
    for pass in 0..400 {
        let drafts = length.choose(By::Other, 1, 1, DRAFT_MAX);
        length.drafted(By::Other, drafts, 0.0);
        let of = Pass { tokens: 1 + drafts, guessed: drafts, own: drafts };
        length.passed(of, 1.0 + 0.05 * drafts as f64);
        (0..drafts).for_each(|place| length.decided(By::Other, place, true));
        if drafts == 0 && pass > 20 {
            plain.push(pass);
        }
    }
    assert!(plain.len() >= 5 && plain.windows(2).all(|w| w[1] - w[0] == 65), "{plain:?}");
}

/// A source that has nothing to give when it is asked is asked again at once, and then only as
/// rarely as before.
#[test]
fn it_waits_for_a_guess() {
    let mut length = Length::default();
    for tokens in 1..=COLUMNS_MAX {
        length.times.passed(tokens, 1.0 + 0.3 * (tokens as f64 - 1.0));
    }
    let plain = Pass { tokens: 1, guessed: 0, own: 0 };
    (0..50).for_each(|_| length.passed(plain, 1.0));
    (0..100).for_each(|_| length.decided(By::Other, 0, false));
    length.guesses[By::Other as usize].rounds = FIRST_ROUNDS;
    let asked = |length: &mut Length| {
        let one = |_| {
            length.passed(plain, 1.0);
            length.choose(By::Other, 1, 1, 5)
        };
        (0..60).map(one).collect::<Vec<_>>()
    };
    // A guess costs 0.3 of a pass: 30 passes pay for it.
    let choices = asked(&mut length);
    let first = choices.iter().position(|drafts| *drafts > 0).expect("a guess");
    assert!((29..=31).contains(&first), "{first}");
    assert!(choices[first..].iter().all(|drafts| *drafts == 1), "{choices:?}");
    length.drafted(By::Other, 1, 0.0);
    let choices = asked(&mut length);
    let next = choices.iter().position(|drafts| *drafts > 0).expect("a guess");
    assert!((29..=31).contains(&next), "{next}");
}

/// There is no room for drafts where the talks alone fill the pass.
#[test]
fn passes_stay_short() {
    let mut length = Length::default();
    for talks in 1..12 {
        for pending in 1..10 {
            for _ in 0..100 {
                let drafts = length.choose(By::Other, talks, pending, DRAFT_MAX);
                assert!(talks * (pending + drafts) <= COLUMNS_MAX || drafts == 0);
                length.decided(By::Other, 0, true);
            }
        }
    }
}

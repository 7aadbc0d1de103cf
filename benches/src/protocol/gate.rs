//! Whether the answers are right, so that speed cannot be bought with wrong ones.
//!
//! A fingerprint is what a model says after each of nine tokens: one that ends a prompt of 32, and
//! eight that follow one by one, so that both the kernels of prompts and those of decoding have
//! their part in it. Of each, 64 logits are kept: the sixteen highest of the reference, and 48
//! whose ids a formula gives, with the logarithm of the sum of all exponentials.
//!
//! Instruction sets differ in the last bits, and products of 8-bit activations differ from exact
//! ones, so a fingerprint is never equal to its reference. It must be near in two ways: the
//! Kullback-Leibler divergence over the sixteen and the rest, which a model that knows something
//! has much of, and the difference of all 64 logits as a part of their deviation, which is 1.4
//! for logits that have nothing to do with each other, whatever the model knows.
//!
//! The reference lies in the repository where somebody made one by `benches/reference.py`, which
//! shares no code with the engine. For any other model the scalar kernels, the specification of all
//! others, make it in the same run with an f32 cache: that judges the fast kernels, and neither
//! the rest of the engine nor a program that was changed to lie.

use carat::{Error, Session, TokenId};
use serde::{Deserialize, Serialize};

use super::{VERSION, candidate};

/// What a model says after one token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The token, from 0.
    pub position: usize,
    /// The natural logarithm of the sum of the exponentials of all logits.
    pub lse: f64,
    /// Sixteen of the highest logits, then others.
    pub ids: Vec<TokenId>,
    /// Theirs.
    pub logits: Vec<f32>,
}

/// A reference in the repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The version of the protocol.
    pub protocol: u32,
    /// The hash of the model.
    pub hash: String,
    /// The name of the model.
    pub name: String,
    /// How it was made.
    pub how: String,
    /// The tokens.
    pub ids: Vec<TokenId>,
    /// What the model says.
    pub rows: Vec<Row>,
}

/// A fingerprint beside its reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// How the reference was made.
    pub how: String,
    /// The reference, where it was made in the same run; empty where it is in the repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<Row>,
    /// What the model said.
    pub found: Vec<Row>,
    /// How far they are apart.
    #[serde(flatten)]
    pub distance: Distance,
    /// Whether that is within the bounds.
    pub passed: bool,
}

/// How far a fingerprint is from its reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// The mean Kullback-Leibler divergence in nats, over the sixteen highest and the rest.
    pub kl: f64,
    /// The root mean square difference of a row's logits, over their standard deviation: the mean
    /// of all rows.
    pub error: f64,
}

impl Reference {
    /// That of a model with this hash, if the repository has one.
    pub fn of(hash: &str) -> Option<Self> {
        Self::all().into_iter().find(|reference| reference.hash == hash)
    }

    /// All that the repository has.
    pub fn all() -> Vec<Self> {
        let read = |text: &&str| serde_json::from_str::<Self>(text).ok();
        let is_ours = |reference: &Self| reference.protocol == VERSION;
        FILES.iter().filter_map(read).filter(is_ours).collect()
    }
}

impl Gate {
    /// Compares what was found with a reference of the repository, or with one of the same run.
    ///
    /// # Errors
    /// A sentence, if they do not speak of the same.
    pub fn new(how: &str, wanted: &[Row], found: Vec<Row>, is_kept: bool) -> Result<Self, String> {
        let distance = Distance::between(wanted, &found)?;
        let passed = distance.is_within(Bounds::of(is_kept));
        let wanted = if is_kept { Vec::new() } else { wanted.to_vec() };
        Ok(Self { how: how.to_owned(), wanted, found, distance, passed })
    }
}

/// How far is too far.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of [`Distance::kl`].
    pub kl: f64,
    /// Of [`Distance::error`].
    pub error: f64,
}

impl Bounds {
    /// Those for a reference with exact activations, which lies in the repository, or for the
    /// scalar kernels, which round as the others do. Activations of 8 bits and a cache of f16 cost
    /// 0.02 of the deviation at most, on a model of 64 values a row; wider ones average more.
    /// Against the scalar kernels only the cache differs, and what its last bits turn over.
    pub fn of(is_kept: bool) -> Self {
        match is_kept {
            true => Self { kl: 0.02, error: 0.05 },
            false => Self { kl: 0.005, error: 0.05 },
        }
    }
}

impl Distance {
    /// The distance of two fingerprints.
    ///
    /// # Errors
    /// A sentence, if they do not speak of the same or one holds what is no number.
    pub fn between(wanted: &[Row], found: &[Row]) -> Result<Self, String> {
        if let Some(rows) = [wanted, found].into_iter().find(|rows| rows.len() != KEPT) {
            return Err(format!("the fingerprint has {} rows, wanted {KEPT}", rows.len()));
        }
        let mut distance = Self::default();
        for (wanted, found) in wanted.iter().zip(found) {
            let at = wanted.position;
            if (found.position, &found.ids) != (at, &wanted.ids) {
                return Err(format!("the fingerprint's row {at} speaks of other tokens"));
            }
            let is_whole = |row: &Row| {
                let logits = row.logits.iter().map(|x| f64::from(*x)).chain([row.lse]);
                row.logits.len() == row.ids.len() && { logits }.all(f64::is_finite)
            };
            if !is_whole(wanted) || !is_whole(found) || wanted.ids.len() < TOP {
                return Err(format!("the fingerprint's row {at} is not whole"));
            }
            distance.kl += divergence(wanted, found) / KEPT as f64;
            distance.error += error(&wanted.logits, &found.logits) / KEPT as f64;
        }
        Ok(distance)
    }

    /// Whether it is within bounds.
    pub fn is_within(self, bounds: Bounds) -> bool {
        self.kl <= bounds.kl && self.error <= bounds.error
    }
}

/// Over the highest and the rest: no more than over all tokens (data processing inequality).
fn divergence(wanted: &Row, found: &Row) -> f64 {
    let part = |row: &Row, i: usize| (f64::from(row.logits[i]) - row.lse).exp().min(1.0);
    let term = |p: f64, q: f64| if p > 0.0 { p * (p / q.max(1e-30)).ln() } else { 0.0 };
    let (mut sum, mut left) = (0.0, (1.0, 1.0));
    for i in 0..TOP {
        let (p, q) = (part(wanted, i), part(found, i));
        sum += term(p, q);
        left = (left.0 - p, left.1 - q);
    }
    (sum + term(left.0.max(0.0), left.1.max(0.0))).max(0.0)
}

fn error(wanted: &[f32], found: &[f32]) -> f64 {
    let n = wanted.len() as f64;
    let mean = wanted.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = wanted.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let pairs = wanted.iter().zip(found);
    let square = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>() / n;
    // Logits that are all the same differ by nothing or by all.
    (square / variance.max(1e-12)).sqrt()
}

/// The rows of a session that is empty: the prompt in one go, then token by token. `wanted` has the
/// ids of each row; without it the highest logits are looked for.
///
/// # Errors
/// Those of the session.
pub(super) fn fingerprint(
    session: &mut Session,
    ids: &[TokenId],
    wanted: Option<&[Row]>,
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let (prompt, rest) = ids.split_at(PROMPT.min(ids.len()));
    let mut each = |position: usize, logits: &[f32]| {
        if position + 1 >= PROMPT {
            let ids = wanted.and_then(|rows_of| rows_of.get(rows.len())).map(|row| &row.ids[..]);
            rows.push(row(position, logits, ids));
        }
    };
    session.eval(prompt, &mut each)?;
    for id in rest {
        session.eval(&[*id], &mut each)?;
    }
    Ok(rows)
}

fn row(position: usize, logits: &[f32], ids: Option<&[TokenId]>) -> Row {
    let most = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    let ids = ids.map_or_else(|| chosen(logits), <[TokenId]>::to_vec);
    let at = |id: &TokenId| logits.get(*id as usize).copied().unwrap_or(f32::NAN);
    let values = ids.iter().map(at).collect();
    Row { position, lse: f64::from(most) + sum.ln(), ids, logits: values }
}

/// The highest logits, the smaller id first where two are the same, and those of the formula.
fn chosen(logits: &[f32]) -> Vec<TokenId> {
    let mut order: Vec<TokenId> = (0..logits.len() as TokenId).collect();
    order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    order.truncate(TOP);
    order.extend((1..=OTHERS as u64).map(|j| candidate(j, logits.len())));
    order
}

/// Tokens of the prompt, those that follow, and rows that are kept.
const PROMPT: usize = 32;
const FOLLOW: usize = 8;
const KEPT: usize = FOLLOW + 1;

/// All tokens of a fingerprint.
pub(super) const TOKENS: usize = PROMPT + FOLLOW;

/// The highest logits that are kept, and the others.
const TOP: usize = 16;
const OTHERS: usize = 48;

/// The references that the repository has.
const FILES: [&str; 2] = [
    include_str!("../../references/tiny-s-q4_0.json"),
    include_str!("../../references/synthetic-1b-q4_0.json"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(logits: &[f32]) -> Vec<Row> {
        (0..KEPT).map(|at| row(at, logits, None)).collect()
    }

    #[test]
    fn the_divergence_of_two_distributions_by_hand() {
        // Sixteen tokens of 1/17 each and a rest of 1/17, against 1/32 each and a rest of 1/2.
        let wanted = Row { logits: vec![0.0; 16], lse: 17f64.ln(), ..Row::default() };
        let found = Row { logits: vec![0.0; 16], lse: 32f64.ln(), ..Row::default() };
        let by_hand = 16.0 / 17.0 * (32.0f64 / 17.0).ln() + 1.0 / 17.0 * (2.0f64 / 17.0).ln();
        assert!((divergence(&wanted, &found) - by_hand).abs() < 1e-12);
        assert!(divergence(&wanted, &wanted).abs() < 1e-12);
    }

    #[test]
    fn the_error_of_logits_by_hand() {
        // The deviation of 0 and 2 is 1; both are off by a half.
        assert!((error(&[0.0, 2.0], &[0.5, 1.5]) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn unrelated_logits_fail_however_flat_they_are() {
        let flat = |seed: u32| -> Vec<f32> {
            let value = |i: u32| (i.wrapping_mul(seed) >> 8) as f32 / 16_777_216.0 / 50.0;
            (0..5000).map(value).collect()
        };
        let wanted = rows(&flat(2_654_435_761));
        let ids = |at: usize| Some(&wanted[at].ids[..]);
        let other = flat(747_796_405);
        let found: Vec<Row> = (0..KEPT).map(|at| row(at, &other, ids(at))).collect();
        let distance = Distance::between(&wanted, &found).expect("the same tokens");
        assert!(distance.kl < Bounds::of(true).kl, "so flat that this says nothing: {distance:?}");
        assert!(!distance.is_within(Bounds::of(true)), "{distance:?}");
        let gate = Gate::new("", &wanted, wanted.clone(), true).expect("the same tokens");
        assert!(gate.passed && gate.distance == Distance::default());
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let wanted = rows(&(0..100).map(|x| x as f32).collect::<Vec<_>>());
        let said = |change: fn(&mut Vec<Row>)| {
            let mut found = wanted.clone();
            change(&mut found);
            Distance::between(&wanted, &found).expect_err("another")
        };
        assert!(said(|rows| _ = rows.pop()).contains("8 rows, wanted 9"));
        assert!(said(|rows| rows[1].ids[0] += 1).contains("row 1 speaks of other"));
        assert!(said(|rows| rows[1].logits[0] = f32::NAN).contains("row 1 is not whole"));
        assert!(said(|rows| _ = rows[1].logits.pop()).contains("row 1 is not whole"));
        assert!(Distance::between(&[], &[]).is_err());
    }

    #[test]
    fn the_references_of_the_repository_can_be_read() {
        let all = Reference::all();
        assert_eq!(all.len(), FILES.len());
        for reference in all {
            assert_eq!((reference.ids.len(), reference.rows.len()), (TOKENS, KEPT));
            Distance::between(&reference.rows, &reference.rows).expect("whole rows");
        }
    }
}

//! Drawing tokens under a mask.
#![allow(dead_code, reason = "every test file uses a part of it")]

use carat::{GrammarEnv, Model, TokenId};

/// Numbers that look random (PCG's multiplier and a shift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn unit(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// Whether a mask allows a token.
pub(crate) fn allowed(mask: &[u32], id: TokenId) -> bool {
    mask[id as usize / 32] >> (id % 32) & 1 == 1
}

/// Draws among the allowed tokens at temperature 1.
pub(crate) fn draw(logits: &[f32], mask: &[u32], random: &mut Random) -> TokenId {
    let ids: Vec<TokenId> = (0..logits.len() as TokenId).filter(|id| allowed(mask, *id)).collect();
    assert!(!ids.is_empty(), "a mask is never empty");
    let most = ids.iter().map(|id| logits[*id as usize]).fold(f32::NEG_INFINITY, f32::max);
    let weight = |id: &TokenId| (logits[*id as usize] - most).exp();
    let mut at = random.unit() * ids.iter().map(weight).sum::<f32>();
    for id in &ids {
        at -= weight(id);
        if at <= 0.0 {
            return *id;
        }
    }
    ids[ids.len() - 1]
}

/// The vocabulary of a model for grammars.
pub(crate) fn env(model: &Model) -> &GrammarEnv {
    model.grammar_env().expect("a vocabulary")
}

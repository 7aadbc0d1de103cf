//! A source of drafts that knows what will be said, and is wrong as often as wanted.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use carat::{DraftSource, TokenId};

/// Numbers that look random (PCG's multiplier and a shift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    pub(crate) fn is(&mut self, probability: f64) -> bool {
        (self.below(1 << 20) as f64) < probability * f64::from(1 << 20)
    }
}

/// Drafts the tokens of `text`, each of which is another one with probability `1 - right`.
pub(crate) struct Script {
    text: Arc<Mutex<Vec<TokenId>>>,
    right: f64,
    random: Random,
    asked: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) fn new(text: &Arc<Mutex<Vec<TokenId>>>, right: f64, seed: u64) -> Self {
        let (text, random) = (Arc::clone(text), Random(seed));
        Self { text, right, random, asked: Arc::default() }
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.asked)
    }
}

impl DraftSource for Script {
    fn draft(&mut self, tokens: &[TokenId], most: usize, out: &mut Vec<TokenId>) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let text = self.text.lock().expect("no panic");
        for id in text.iter().skip(tokens.len()).take(most) {
            // Tokens 261 to 460 of tiny-s can be said.
            let other = 261 + (id + 1) % 200;
            out.push(if self.random.is(self.right) { *id } else { other });
        }
    }
}

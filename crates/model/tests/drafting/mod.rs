//! A source of drafts that knows what will be said and is wrong as often as wanted, and sessions
//! with it beside plain ones.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use carat::{
    DraftConfig, DraftSource, Drafts, Input, Model, Sampler, SamplerConfig, Session, SessionConfig,
    Stop, TokenId,
};

use crate::common::bits;
use crate::saved::bytes;

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

pub(crate) fn fixed(most: usize) -> DraftConfig {
    DraftConfig { most, adaptive: false }
}

pub(crate) fn samplings(seed: u64) -> [SamplerConfig; 4] {
    let sampled = SamplerConfig { temperature: 1.0, top_k: 40, seed, ..Default::default() };
    [
        SamplerConfig::default(),
        sampled.clone(),
        SamplerConfig {
            repetition_penalty: 1.3,
            frequency_penalty: 0.4,
            presence_penalty: 0.2,
            ..sampled.clone()
        },
        SamplerConfig {
            temperature: 0.0,
            repetition_penalty: 1.2,
            logit_bias: vec![(300, 2.0), (301, f32::NEG_INFINITY)],
            ..sampled
        },
    ]
}

/// A session and what chooses its tokens.
pub(crate) struct Talk {
    pub(crate) session: Session,
    pub(crate) sampler: Sampler,
}

impl Talk {
    pub(crate) fn new(model: &Model, config: &SessionConfig, sampling: &SamplerConfig) -> Self {
        let sampler = Sampler::new(sampling.clone(), model.tokenizer().vocab_size());
        let session = Session::new(model, config.clone()).expect("a session");
        Self { session, sampler: sampler.expect("a sampler") }
    }

    /// The same with drafts.
    pub(crate) fn drafting(
        model: &Model,
        config: &SessionConfig,
        sampling: &SamplerConfig,
        drafts: Drafts,
        draft: DraftConfig,
    ) -> Self {
        let mut talk = Self::new(model, &SessionConfig { draft, ..config.clone() }, sampling);
        talk.session.set_drafts(drafts).expect("room for drafts");
        talk
    }

    pub(crate) fn push(&mut self, ids: &[TokenId]) {
        self.session.push(Input::Tokens(ids)).expect("a push");
    }

    /// Says up to `count` tokens; those that end a turn are followed by another token.
    pub(crate) fn say(&mut self, count: usize) {
        let wanted = self.session.len() + count;
        while self.session.len() < wanted {
            let left = wanted - self.session.len();
            for token in self.session.generate(&mut self.sampler).take(left) {
                token.expect("a token");
            }
            match self.session.stop() {
                Some(Stop::ContextFull) => return,
                Some(_) => self.push(&[270]),
                None => {}
            }
        }
    }

    pub(crate) fn bits(&mut self) -> Vec<u32> {
        bits(self.session.logits().expect("logits"))
    }
}

/// All that is to be seen of both is the same.
pub(crate) fn assert_same(plain: &mut Talk, drafting: &mut Talk, what: &str) {
    assert_eq!(plain.session.tokens(), drafting.session.tokens(), "{what}");
    assert_eq!(plain.session.stop(), drafting.session.stop(), "{what}");
    assert_eq!(plain.session.pending(), drafting.session.pending(), "{what}");
    assert!(bytes(&plain.session) == bytes(&drafting.session), "{what}: other caches");
    assert!(plain.bits() == drafting.bits(), "{what}: other logits");
    assert!(bytes(&plain.session) == bytes(&drafting.session), "{what}: other caches then");
}

/// What a plain session says: `count` tokens after `ids`.
pub(crate) fn said(
    model: &Model,
    config: &SessionConfig,
    ids: &[TokenId],
    count: usize,
) -> Vec<TokenId> {
    said_by(model, config, &SamplerConfig::default(), ids, count)
}

pub(crate) fn said_by(
    model: &Model,
    config: &SessionConfig,
    sampling: &SamplerConfig,
    ids: &[TokenId],
    count: usize,
) -> Vec<TokenId> {
    let mut talk = Talk::new(model, config, sampling);
    talk.push(ids);
    talk.say(count);
    talk.session.tokens().to_vec()
}

pub(crate) fn shared(text: Vec<TokenId>) -> Arc<Mutex<Vec<TokenId>>> {
    Arc::new(Mutex::new(text))
}

pub(crate) fn scripted(text: Vec<TokenId>, right: f64, seed: u64) -> Drafts {
    Drafts::Source(Box::new(Script::new(&shared(text), right, seed)))
}

//! What is done to a session, drawn at random: done to a plain one first and noted, and then to one
//! with drafts, which must be the same after every step.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use carat::audio::LongClip;
use carat::{
    DraftConfig, Drafts, Error, Input, KvType, Model, Session, SessionConfig, Stop, TokenId,
};

use crate::common::{bits, config, media_cases, read_case, tokens};
use crate::drafting::{Random, Script, Talk, samplings};
use crate::saved::{bytes, restored};

/// A step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// So many tokens are said.
    Say(usize),
    /// The same, with handles that are set before a token or while it is computed.
    Interrupted(usize, u64),
    /// So many tokens are taken back.
    Back(usize),
    Push(usize),
    Enqueue(usize),
    /// The last token is taken back and said by the user.
    Again,
    Mark,
    ToMark,
    /// A case of the kit with pictures and sound.
    Media(usize),
    /// Sound in pieces, which is heard to its end or taken back.
    Listen {
        frames: usize,
        seed: u64,
        is_kept: bool,
    },
    /// The session goes on from a file.
    Save,
    /// Logits are asked for.
    Look,
    /// The answer is to end after so many more tokens.
    Until(usize),
}

/// Draws `count` steps.
fn steps(random: &mut Random, count: usize, has_senses: bool) -> Vec<Step> {
    let one = |_| match random.below(if has_senses { 20 } else { 18 }) {
        0..=5 => Step::Say(1 + random.below(14)),
        6..=7 => Step::Interrupted(1 + random.below(5), random.below(1 << 20) as u64),
        8..=9 => Step::Back(random.below(8)),
        10 => Step::Push(1 + random.below(12)),
        11 => Step::Enqueue(random.below(4)),
        12 => Step::Again,
        13 => Step::Mark,
        14 => Step::ToMark,
        15 => Step::Save,
        16 => Step::Look,
        17 => Step::Until(random.below(12)),
        18 => Step::Media(random.below(3)),
        _ => Step::Listen {
            frames: 1 + random.below(20),
            seed: random.below(1 << 20) as u64,
            is_kept: random.is(0.7),
        },
    };
    (0..count).map(one).collect()
}

/// All that can be seen of a session.
#[derive(PartialEq)]
struct Seen {
    tokens: Vec<TokenId>,
    rest: (usize, Option<Stop>, Vec<usize>, Result<(), String>),
    saved: Vec<u8>,
    logits: Vec<u32>,
}

fn look(session: &mut Session, result: Result<(), Error>, with_logits: bool) -> Seen {
    let saved = bytes(session);
    let marks = session.marks().collect();
    let mut result = result.map_err(|e| e.to_string());
    let rest = (session.pending(), session.stop(), marks);
    let mut logits = Vec::new();
    if with_logits {
        match session.logits() {
            Ok(found) => logits = bits(found),
            Err(e) => result = Err(format!("logits: {e}")),
        }
    }
    Seen {
        rest: (rest.0, rest.1, rest.2, result),
        logits,
        tokens: session.tokens().to_vec(),
        saved,
    }
}

/// A conversation of a random kind over a model.
pub(crate) struct Run<'m> {
    pub(crate) model: &'m Model,
    pub(crate) has_senses: bool,
    pub(crate) seed: u64,
    /// How many steps there are.
    pub(crate) count: usize,
}

impl Run<'_> {
    /// Does the steps with drafts and without; says how many tokens were drafted and accepted, or
    /// nothing where measured times decide how many are drafted.
    pub(crate) fn check(&self) -> Option<(usize, usize)> {
        let mut random = Random(self.seed);
        let config = SessionConfig {
            kv: [KvType::F32, KvType::F16, KvType::Q8][random.below(3)],
            rollback: [0, 3, 20, 250][random.below(4)],
            marks: 2,
            context: [40, 700, 700][random.below(3)],
            prefill_chunk: 1 + random.below(30),
            threads: 1 + random.below(2),
            ..config()
        };
        let sampling = samplings(self.seed)[random.below(4)].clone();
        let ids = tokens(1 + random.below(24));
        let steps = steps(&mut random, self.count, self.has_senses);

        let mut plain = Talk::new(self.model, &config, &sampling);
        plain.push(&ids);
        let seen: Vec<Seen> =
            steps.iter().map(|step| self.step(&mut plain, step, &config, None)).collect();

        let text = Arc::new(Mutex::new(Vec::new()));
        let drafts = Source {
            kind: random.below(if self.model.drafts() { 5 } else { 3 }),
            right: [0.0, 0.5, 0.9, 1.0][random.below(4)],
            seed: self.seed,
            text: Arc::clone(&text),
        };
        let draft = DraftConfig { most: 1 + random.below(7), adaptive: random.is(0.3) };
        let mut talk = Talk::drafting(self.model, &config, &sampling, drafts.drafts(), draft);
        talk.push(&ids);
        let config = SessionConfig { draft, ..config };
        let (mut drafted, mut accepted) = (0, 0);
        for (i, (step, wanted)) in steps.iter().zip(&seen).enumerate() {
            // The script knows what is said now and next.
            let next = steps.get(i + 1).filter(|step| matches!(step, Step::Say(_)));
            let known = next.map_or(wanted, |_| &seen[i + 1]);
            text.lock().expect("no panic").clone_from(&known.tokens);
            let before = talk.session.draft_stats();
            let found = self.step(&mut talk, step, &config, Some(&drafts));
            let stats = talk.session.draft_stats().since(&before);
            (drafted, accepted) = (drafted + stats.drafted, accepted + stats.accepted);
            let what = || format!("seed {}, {draft:?}, {drafts:?}: {:?}", self.seed, &steps[..=i]);
            assert_eq!(found.tokens, wanted.tokens, "{}", what());
            assert_eq!(found.rest, wanted.rest, "{}", what());
            assert!(found.saved == wanted.saved, "other caches, {}", what());
            assert!(found.logits == wanted.logits, "other logits, {}", what());
        }
        (!draft.adaptive).then_some((drafted, accepted))
    }

    fn step(
        &self,
        talk: &mut Talk,
        step: &Step,
        config: &SessionConfig,
        drafts: Option<&Source>,
    ) -> Seen {
        let session = &mut talk.session;
        let len = session.len();
        let result = match *step {
            Step::Say(count) => say(talk, count),
            Step::Interrupted(count, seed) => match drafts {
                Some(_) => interrupted(talk, count, &mut Random(seed)),
                None => (0..count).try_for_each(|_| say(talk, 1)),
            },
            Step::Back(count) => session.truncate(len.saturating_sub(count).max(1)),
            Step::Push(count) => session.push(Input::Tokens(&tokens(20)[..count])),
            Step::Enqueue(count) => session.enqueue(Input::Tokens(&tokens(9)[3..3 + count])),
            Step::Again => {
                let last = session.tokens()[len - 1];
                session.truncate(len - 1).and_then(|()| session.enqueue(Input::Tokens(&[last])))
            }
            Step::Mark => session.mark(len - session.pending()),
            Step::ToMark => {
                let mark = session.marks().next();
                mark.map_or(Ok(()), |mark| session.truncate(mark))
            }
            Step::Media(case) => {
                let case = &media_cases()[case];
                match len + case.ids.len() > session.context() {
                    true => Ok(()),
                    false => {
                        read_case(session, case);
                        Ok(())
                    }
                }
            }
            Step::Listen { frames, seed, is_kept } => listen(session, frames, seed, is_kept),
            Step::Save => {
                let again = restored(self.model, &bytes(session), config.clone());
                talk.session = again.expect("a session");
                drafts.map_or(Ok(()), |drafts| talk.session.set_drafts(drafts.drafts()))
            }
            Step::Look => Ok(()),
            Step::Until(count) => {
                session.draft_until(len + count);
                Ok(())
            }
        };
        look(&mut talk.session, result, matches!(step, Step::Look))
    }
}

/// Where drafts come from.
struct Source {
    kind: usize,
    right: f64,
    seed: u64,
    text: Arc<Mutex<Vec<TokenId>>>,
}

impl Source {
    fn drafts(&self) -> Drafts {
        match self.kind {
            0..=1 => Drafts::Source(Box::new(Script::new(&self.text, self.right, self.seed))),
            2 => Drafts::Lookup,
            3 => Drafts::Drafter,
            _ => Drafts::Auto,
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} right", self.drafts(), self.right)
    }
}

/// Says `count` tokens, or fewer where the context ends; an end of turn is followed by a token.
fn say(talk: &mut Talk, count: usize) -> Result<(), Error> {
    let wanted = talk.session.len() + count;
    while talk.session.len() < wanted {
        let left = wanted - talk.session.len();
        let mut said = talk.session.generate(&mut talk.sampler).take(left);
        said.try_for_each(|token| token.map(drop))?;
        if after_stop(&mut talk.session)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Goes on after an end of turn; says whether the context has ended.
fn after_stop(session: &mut Session) -> Result<bool, Error> {
    match session.stop() {
        Some(Stop::ContextFull) => Ok(true),
        Some(_) => session.push(Input::Tokens(&[270])).map(|()| false),
        None => Ok(false),
    }
}

/// Says `count` tokens one by one, each of which may be cancelled before: the session is then what
/// it was.
fn interrupted(talk: &mut Talk, count: usize, random: &mut Random) -> Result<(), Error> {
    for _ in 0..count {
        let cancel = talk.session.cancel_handle();
        let (before, len) = (bytes(&talk.session), talk.session.len());
        let pending = talk.session.pending();
        let delay = Duration::from_micros(random.below(300) as u64);
        let is_later = random.is(0.5);
        let next = thread::scope(|scope| {
            let later = cancel.clone();
            match is_later {
                true => drop(scope.spawn(move || {
                    thread::sleep(delay);
                    later.cancel();
                })),
                false => later.cancel(),
            }
            talk.session.generate(&mut talk.sampler).next()
        });
        cancel.reset();
        match next {
            Some(Err(Error::Cancelled { .. })) => {
                // The first passes of several stay, and where logits are wanted that are not there
                // any more, the last token becomes a pending one.
                let is_same = is_later || pending == 0 || bytes(&talk.session) == before;
                assert!(is_same && talk.session.len() == len, "a trace of what was cancelled");
                say(talk, 1)?;
            }
            Some(result) => drop(result?),
            None => drop(after_stop(&mut talk.session)?),
        }
    }
    Ok(())
}

/// Hears noise of so many frames in pieces, and takes it back unless it is kept.
fn listen(session: &mut Session, frames: usize, seed: u64, is_kept: bool) -> Result<(), Error> {
    let mut random = Random(seed);
    let mut noise = || random.below(1 << 16) as f32 / 65536.0 - 0.5;
    let samples: Vec<f32> = (0..frames * 640).map(|_| noise()).collect();
    let begun = session.len();
    let mut listen = session.listen(16_000, 1, LongClip::Split)?;
    let mut heard = samples.chunks(4000).try_for_each(|piece| listen.push(piece));
    if heard.is_ok() && is_kept {
        heard = listen.finish();
    } else {
        drop(listen);
    }
    match (&heard, is_kept) {
        (Ok(()), true) => heard,
        _ => session.truncate(begun).and(heard),
    }
}

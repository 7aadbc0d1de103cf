//! Drafts: the text is the same with them and without, and so are the caches, bit for bit.

use std::sync::{Arc, Mutex};

use crate::common::{self, cases, config, file, model, tokens};
use crate::drafting::{
    Random, Script, Talk, assert_same, fixed, said, said_by, samplings, scripted, shared,
};
use crate::saved::{bytes, restored};
use carat::{
    DRAFT_MAX, DraftConfig, DraftSource, Drafts, Error, Input, KvType, MediaPrompt, MemoryPlan,
    SamplerConfig, Session, SessionConfig, SessionError, TokenId,
};

/// Of tiny-s, layers 0 and 1.
const WINDOW: usize = 8;

#[test]
fn text_and_caches_are_the_same_with_drafts() {
    let mut run = 0;
    for quant in ["q4_0", "f32"] {
        let model = model(quant);
        for kv in [KvType::F32, KvType::F16, KvType::Q8] {
            for sampling in samplings(run) {
                for right in [0.0, 0.5, 1.0] {
                    run += 1;
                    let most = 1 + run as usize % DRAFT_MAX;
                    let threads = 1 + run as usize % 2;
                    let rollback = run as usize % 4;
                    let config = SessionConfig { kv, threads, rollback, context: 200, ..config() };
                    let ids = tokens(3 + run as usize % 13);
                    let what = format!("{quant} {kv:?}, run {run}: {most} drafts, {right} right");
                    let text = said_by(&model, &config, &sampling, &ids, 60);
                    let mut plain = Talk::new(&model, &config, &sampling);
                    let drafts = scripted(text, right, run);
                    let mut drafting =
                        Talk::drafting(&model, &config, &sampling, drafts, fixed(most));
                    plain.push(&ids);
                    drafting.push(&ids);
                    for count in [1, 2, 7, 20, 23] {
                        plain.say(count);
                        drafting.say(count);
                        assert_same(&mut plain, &mut drafting, &what);
                    }
                    let stats = drafting.session.draft_stats();
                    assert!(stats.drafted > 0, "{what}: {stats:?}");
                    match right {
                        0.0 => assert_eq!(stats.accepted, 0, "{what}"),
                        1.0 => assert!(stats.accepted * 3 > stats.drafted, "{what}: {stats:?}"),
                        _ => assert!(stats.accepted > 0, "{what}: {stats:?}"),
                    }
                }
            }
        }
    }
}

/// Where all drafts are right, a pass gives one token more than there are drafts.
#[test]
fn right_drafts_save_passes() {
    let model = model("q4_0");
    let ids = tokens(20);
    let config = SessionConfig { context: 300, ..config() };
    let sampling = samplings(7)[1].clone();
    for most in 1..=DRAFT_MAX {
        let mut plain = Talk::new(&model, &config, &sampling);
        plain.push(&ids);
        // One answer: what ends a turn is looked for, since it is never drafted.
        let text: Vec<_> = plain.session.generate(&mut plain.sampler).take(64).collect();
        let said = text.len();
        let drafts = scripted(plain.session.tokens().to_vec(), 1.0, 1);
        let mut talk = Talk::drafting(&model, &config, &sampling, drafts, fixed(most));
        talk.push(&ids);
        let count = talk.session.generate(&mut talk.sampler).take(64).count();
        assert_eq!(count, said);
        let stats = talk.session.draft_stats();
        // The prompt's pass gives the first token; the last one is not evaluated unless another
        // was looked for.
        let evaluated = if said == 64 { said - 1 } else { said };
        assert_eq!(stats.passes, evaluated.div_ceil(most + 1), "{most}: {stats:?}");
        assert!(stats.tokens >= evaluated && stats.tokens <= evaluated + 1, "{most}: {stats:?}");
        assert_eq!(plain.session.tokens(), talk.session.tokens());
    }
}

/// Prompts around the edges of window and ring, with drafts that go beyond them.
#[test]
fn the_edge_of_the_window_is_no_edge() {
    let model = model("q4_0");
    for rollback in [0, 3] {
        for kv in [KvType::F32, KvType::Q8] {
            let config = SessionConfig { kv, rollback, context: 100, ..config() };
            for len in 1..=WINDOW + rollback + DRAFT_MAX + 2 {
                for right in [0.0, 0.7, 1.0] {
                    let ids = tokens(len);
                    let text = said(&model, &config, &ids, 20);
                    let sampling = SamplerConfig::default();
                    let mut plain = Talk::new(&model, &config, &sampling);
                    let drafts = scripted(text, right, len as u64);
                    let mut drafting =
                        Talk::drafting(&model, &config, &sampling, drafts, fixed(DRAFT_MAX));
                    plain.push(&ids);
                    drafting.push(&ids);
                    for count in [1, 1, 1, 12] {
                        plain.say(count);
                        drafting.say(count);
                        let what = format!("{kv:?}, {len} tokens, {right} right");
                        assert_same(&mut plain, &mut drafting, &what);
                    }
                }
            }
        }
    }
}

/// Nothing is drafted beyond the context, and it ends as it does without drafts.
#[test]
fn the_context_ends_where_it_ends() {
    let model = model("q4_0");
    for context in 12..=22 {
        let config = SessionConfig { context, ..config() };
        let ids = tokens(11);
        let text = [said(&model, &config, &ids, 20), tokens(30)].concat();
        let sampling = SamplerConfig::default();
        let mut plain = Talk::new(&model, &config, &sampling);
        let mut drafting =
            Talk::drafting(&model, &config, &sampling, scripted(text, 1.0, 3), fixed(DRAFT_MAX));
        plain.push(&ids);
        drafting.push(&ids);
        for talk in [&mut plain, &mut drafting] {
            for token in talk.session.generate(&mut talk.sampler) {
                token.expect("a token");
            }
        }
        assert_same(&mut plain, &mut drafting, &format!("context {context}"));
    }
}

/// Going back, marks, more input, other samplers and saving, in any order.
#[test]
fn whatever_is_done_in_between_is_the_same() {
    let model = model("q4_0");
    for seed in 0..40 {
        let mut random = Random(seed);
        let kv = [KvType::F32, KvType::F16, KvType::Q8][random.below(3)];
        let config = SessionConfig {
            kv,
            rollback: random.below(6),
            marks: 2,
            context: 400,
            prefill_chunk: 1 + random.below(12),
            ..config()
        };
        let sampling = samplings(seed)[random.below(4)].clone();
        let ids = tokens(1 + random.below(20));
        let right = [0.0, 0.5, 0.9, 1.0][random.below(4)];
        let text = shared(said_by(&model, &config, &sampling, &ids, 200));
        let draft = DraftConfig { most: 1 + random.below(DRAFT_MAX), adaptive: random.is(0.5) };
        let drafts = match random.below(3) {
            0 => Drafts::Lookup,
            _ => Drafts::Source(Box::new(Script::new(&text, right, seed))),
        };
        let mut plain = Talk::new(&model, &config, &sampling);
        let mut drafting = Talk::drafting(&model, &config, &sampling, drafts, draft);
        let mut did = Vec::new();
        for talk in [&mut plain, &mut drafting] {
            talk.push(&ids);
        }
        for _ in 0..30 {
            let (what, n) = (random.below(8), random.below(12));
            did.push((what, n));
            let mut results = Vec::new();
            for talk in [&mut plain, &mut drafting] {
                let session = &mut talk.session;
                let result = match what {
                    0..=2 => {
                        talk.say(n);
                        Ok(())
                    }
                    3 => session.truncate(session.len().saturating_sub(n).max(1)),
                    4 => session.push(Input::Tokens(&tokens(20)[..n + 1])),
                    5 => session.enqueue(Input::Tokens(&tokens(20)[..n % 3])),
                    6 => {
                        // What was said, once more: drafts that were evaluated stand there.
                        let len = session.len();
                        let last = session.tokens()[len - 1];
                        session.truncate(len - 1).and_then(|()| {
                            session
                                .enqueue(Input::Tokens(&[last]))
                                .and_then(|()| session.logits().map(|_| ()))
                        })
                    }
                    _ => {
                        let at = session.len() - session.pending();
                        session.mark(at).and_then(|()| {
                            let mark = session.marks().next();
                            mark.filter(|_| n < 4).map_or(Ok(()), |mark| session.truncate(mark))
                        })
                    }
                };
                results.push(result.map_err(|e| e.to_string()));
            }
            assert_eq!(results[0], results[1], "seed {seed}: {did:?}");
            assert_same(&mut plain, &mut drafting, &format!("seed {seed}: {did:?}"));
        }
    }
}

type Change = fn(&mut Session) -> Result<(), Error>;

/// Drafts that were evaluated are worth nothing once something else comes before them, though the
/// same token follows then.
#[test]
fn drafts_stand_where_they_stand() {
    let model = model("q4_0");
    let config = SessionConfig { rollback: 6, marks: 2, context: 200, ..config() };
    let sampling = SamplerConfig::default();
    let ids = tokens(20);
    let text = said(&model, &config, &ids, 20);
    let changes: [(&str, Change); 5] = [
        ("a push", |session| session.push(Input::Tokens(&tokens(3)))),
        ("going back", |session| session.truncate(session.len() - 3)),
        ("a mark", |session| session.truncate(20)),
        ("another token", |session| {
            session.truncate(session.len() - 1)?;
            session.push(Input::Tokens(&tokens(1)))
        }),
        ("an evaluation", |session| session.eval(&tokens(2), |_, _| ())),
    ];
    for (what, change) in changes {
        let mut plain = Talk::new(&model, &config, &sampling);
        let drafts = scripted(text.clone(), 1.0, 1);
        let mut drafting = Talk::drafting(&model, &config, &sampling, drafts, fixed(5));
        for talk in [&mut plain, &mut drafting] {
            talk.push(&ids);
            talk.session.mark(20).expect("a mark");
            for token in talk.session.generate(&mut talk.sampler).take(2) {
                token.expect("a token");
            }
            // The first draft, as the first token after the change.
            let next = talk.session.tokens()[21];
            change(&mut talk.session).expect(what);
            talk.session.enqueue(Input::Tokens(&[next])).expect("room");
        }
        assert!(drafting.session.draft_stats().drafted == 5, "{what}");
        assert!(plain.bits() == drafting.bits(), "{what}: other logits");
        assert_same(&mut plain, &mut drafting, what);
    }
}

/// Drafts that were evaluated are dropped by whatever takes back what stands before them, though
/// the next token is the first of them then.
#[test]
fn going_back_drops_what_was_drafted() {
    let model = model("q4_0");
    let config = SessionConfig { rollback: 9, marks: 1, context: 200, ..config() };
    let sampling = SamplerConfig::default();
    let ids = tokens(20);
    let truncate: Change = |session| session.truncate(18);
    let by_mark: Change = |session| {
        session.truncate(17)?;
        session.enqueue(Input::Tokens(&tokens(18)[17..]))
    };
    let by_prompt: Change = |session| {
        let again = MediaPrompt { ids: tokens(18), media: Vec::new() };
        session.enqueue_prompt(&again).map(drop)
    };
    let changes: [(&str, Change, bool); 3] = [
        ("going back", truncate, false),
        ("a mark", by_mark, true),
        ("a prompt", by_prompt, false),
    ];
    for (what, change, has_mark) in changes {
        let mut plain = Talk::new(&model, &config, &sampling);
        // Token 17 is drafted for place 21, where something else is said.
        let text = [&ids[..], &[0], &[ids[17]; 4]].concat();
        let mut drafting =
            Talk::drafting(&model, &config, &sampling, scripted(text, 1.0, 1), fixed(3));
        for talk in [&mut plain, &mut drafting] {
            talk.push(&ids[..17]);
            if has_mark {
                talk.session.mark(17).expect("a mark");
            }
            talk.push(&ids[17..]);
            talk.say(2);
            assert_ne!(talk.session.tokens()[21], ids[17]);
            change(&mut talk.session).expect(what);
            assert_eq!((talk.session.len(), talk.session.pending()), (18, 1), "{what}");
        }
        assert_eq!(drafting.session.draft_stats().drafted, 3, "{what}");
        assert!(plain.bits() == drafting.bits(), "{what}: other logits");
        assert_same(&mut plain, &mut drafting, what);
    }
}

/// The lengths of text that a source was asked for, and the most tokens that it was to give.
struct Asked(Arc<Mutex<Vec<(usize, usize)>>>, Script);

impl DraftSource for Asked {
    fn draft(&mut self, tokens: &[TokenId], most: usize, out: &mut Vec<TokenId>) {
        self.0.lock().expect("no panic").push((tokens.len(), most));
        self.1.draft(tokens, most, out);
    }
}

/// A token that may not come any more is not drafted, and neither is the last one that may: it is
/// chosen from the row before it.
#[test]
fn nothing_is_drafted_beyond_the_end() {
    let model = model("q4_0");
    let ids = tokens(12);
    let sampling = SamplerConfig::default();
    for (right, context) in [(1.0, 100), (0.5, 100), (1.0, 24)] {
        let config = SessionConfig { context, ..config() };
        let text = shared(said(&model, &config, &ids, 60));
        for count in 1..=12 {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let script = Script::new(&text, right, count as u64);
            let drafts = Drafts::Source(Box::new(Asked(Arc::clone(&asked), script)));
            let mut talk = Talk::drafting(&model, &config, &sampling, drafts, fixed(DRAFT_MAX));
            talk.push(&ids);
            talk.session.draft_until(12 + count);
            talk.say(count);
            let asked = asked.lock().expect("no panic").clone();
            let what = format!("{right} right, {count} tokens: {asked:?}");
            for (len, most) in asked {
                assert!(len + most < 12 + count && len + most <= context, "{what}");
            }
            let stats = talk.session.draft_stats();
            if right == 1.0 && count <= DRAFT_MAX + 2 {
                // The prompt gives the first token, one pass all others.
                let passes = usize::from(count > 1);
                assert_eq!(
                    (stats.passes, stats.drafted),
                    (passes, count.saturating_sub(2)),
                    "{what}"
                );
            }
            // An end that was reached is none of what comes then.
            talk.say(3);
            let more = talk.session.draft_stats().since(&stats);
            assert!(more.drafted > 0 || context == 24, "{what}: {more:?}");
        }
    }
}

/// A session that is saved while drafts wait goes on as the plain one does.
#[test]
fn drafts_are_not_saved_and_not_missed() {
    let model = model("q4_0");
    let config = SessionConfig { context: 200, rollback: 2, ..config() };
    let sampling = samplings(3)[1].clone();
    let ids = tokens(9);
    let text = said_by(&model, &config, &sampling, &ids, 60);
    for at in 1..20 {
        let drafts = scripted(text.clone(), 0.8, at as u64);
        let mut drafting = Talk::drafting(&model, &config, &sampling, drafts, fixed(5));
        drafting.push(&ids);
        for token in drafting.session.generate(&mut drafting.sampler).take(at) {
            token.expect("a token");
        }
        let draft = fixed(3);
        let again = SessionConfig { draft, ..config.clone() };
        let session = restored(&model, &bytes(&drafting.session), again).expect("a session");
        let mut other = Talk { session, sampler: drafting.sampler.clone() };
        other.session.set_drafts(scripted(text.clone(), 0.6, 5)).expect("room");
        other.say(40 - at);
        drafting.say(40 - at);
        assert_same(&mut other, &mut drafting, &format!("saved after {at}"));
    }
}

/// Handles that are set at any time, once before each token or never.
#[test]
fn cancelling_leaves_no_trace() {
    let model = model("q4_0");
    let config = SessionConfig { context: 200, ..config() };
    let sampling = samplings(5)[1].clone();
    let ids = tokens(9);
    let text = said_by(&model, &config, &sampling, &ids, 60);
    for seed in 0..10 {
        let mut random = Random(seed);
        let mut plain = Talk::new(&model, &config, &sampling);
        let drafts = scripted(text.clone(), 0.7, seed);
        let mut drafting = Talk::drafting(&model, &config, &sampling, drafts, fixed(4));
        plain.push(&ids);
        drafting.push(&ids);
        let cancel = drafting.session.cancel_handle();
        for i in 0..40 {
            if random.is(0.5) && i > 0 {
                cancel.cancel();
                let before = bytes(&drafting.session);
                let next = drafting.session.generate(&mut drafting.sampler).next();
                let error = next.expect("an error").expect_err("cancelled");
                assert!(matches!(error, Error::Cancelled { done: 0, total: 1 }), "{error}");
                assert!(bytes(&drafting.session) == before, "seed {seed}, token {i}");
                cancel.reset();
            }
            plain.say(1);
            drafting.say(1);
            assert_eq!(plain.session.tokens(), drafting.session.tokens());
        }
        assert_same(&mut plain, &mut drafting, &format!("seed {seed}"));
    }
}

/// A source that gives whatever it likes.
struct Wild(Random);

impl DraftSource for Wild {
    fn draft(&mut self, tokens: &[TokenId], most: usize, out: &mut Vec<TokenId>) {
        let of = [0, 1, 106, 511, 512, 300, TokenId::MAX, tokens[0], tokens[tokens.len() - 1]];
        out.extend((0..self.0.below(2 * most + 2)).map(|_| of[self.0.below(of.len())]));
    }
}

#[test]
fn no_source_can_do_harm() {
    let model = model("q4_0");
    let config = SessionConfig { context: 100, ..config() };
    for seed in 0..8 {
        let sampling = samplings(seed)[seed as usize % 4].clone();
        let wild = Drafts::Source(Box::new(Wild(Random(seed))));
        let mut plain = Talk::new(&model, &config, &sampling);
        let mut drafting = Talk::drafting(&model, &config, &sampling, wild, fixed(DRAFT_MAX));
        for talk in [&mut plain, &mut drafting] {
            talk.push(&tokens(5));
            talk.say(70);
        }
        assert_same(&mut plain, &mut drafting, &format!("seed {seed}"));
    }
}

/// Greedy text of random weights falls into a loop, which the lookup finds.
#[test]
fn lookup_finds_what_repeats() {
    let model = model("q4_0");
    let config = SessionConfig { context: 400, ..config() };
    let sampling = SamplerConfig::default();
    for draft in [fixed(4), DraftConfig { most: 7, adaptive: true }] {
        let mut plain = Talk::new(&model, &config, &sampling);
        let mut drafting = Talk::drafting(&model, &config, &sampling, Drafts::Lookup, draft);
        for talk in [&mut plain, &mut drafting] {
            talk.push(&cases()[0].ids);
            talk.say(300);
        }
        assert_same(&mut plain, &mut drafting, "lookup");
        let stats = drafting.session.draft_stats();
        if !draft.adaptive {
            assert!(stats.accepted * 2 > stats.drafted && stats.accepted > 100, "{stats:?}");
        }
        assert_eq!(stats.since(&stats), carat::DraftStats::default());
    }
}

/// The lookup forgets what the session forgets.
#[test]
fn lookup_goes_back_with_the_session() {
    let model = model("q4_0");
    let config = SessionConfig { draft: fixed(4), context: 100, ..config() };
    let mut session = Session::new(&model, config).expect("a session");
    let first: Vec<TokenId> = vec![270, 300, 301, 302, 310, 311, 312, 313, 314, 315, 316, 317];
    let draft = |session: &mut Session, ids: &[TokenId]| {
        let before = session.draft_stats();
        session.enqueue(Input::Tokens(ids)).expect("room");
        session.logits().expect("logits");
        session.draft_stats().since(&before).drafted
    };
    session.push(Input::Tokens(&first)).expect("a push");
    assert_eq!(draft(&mut session, &[320]), 0, "nothing came after 320 before");
    session.truncate(0).expect("anew");
    let second = [300, 301, 302, 319, 318, 317, 316, 315, 314, 313, 300, 301];
    session.push(Input::Tokens(&second)).expect("a push");
    assert_eq!(draft(&mut session, &[302]), 4, "319, 318, 317, 316");
}

#[test]
fn drafts_have_their_place_in_the_plan() {
    let model = model("q4_0");
    let gguf_bytes = std::fs::read(file("q4_0")).expect("a file");
    let gguf = carat_gguf::Gguf::parse(&gguf_bytes).expect("a header");
    let plan = MemoryPlan::new(&gguf).expect("a plan");
    let mut before = 0;
    for most in 0..=DRAFT_MAX {
        let config =
            SessionConfig { draft: fixed(most), prefill_chunk: 5, context: 64, ..config() };
        let session = Session::new(&model, config.clone()).expect("a session");
        let planned = plan.session(&config).expect("a plan");
        assert_eq!(planned, session.memory(), "{most} drafts");
        // A row of logits, a residual row, and keys and values in two sliding layers at least.
        let row = (model.config().vocab + model.config().hidden) as u64 * 4;
        assert!(most == 0 || planned.scratch >= before + row, "{most}: {planned:?}");
        before = planned.scratch;
        let script = scripted(said(&model, &config, &tokens(9), 30), 1.0, 1);
        let own = SessionConfig { own_threads: true, ..config };
        let mut talk = Talk::new(&model, &own, &SamplerConfig::default());
        if most > 0 {
            talk.session.set_drafts(script).expect("room");
        }
        talk.push(&tokens(9));
        talk.say(30);
        let (declared, used) = talk.session.scratch();
        assert!(used <= declared, "{most}: {used} bytes of {declared}");
    }
    let config = SessionConfig { draft: fixed(DRAFT_MAX + 1), ..config() };
    let refused = Session::new(&model, config).expect_err("too many");
    assert!(
        matches!(
            refused,
            Error::Session(SessionError::Setting { setting: "draft.most", found: 8, .. })
        ),
        "{refused}"
    );
    let mut none = Session::new(&model, common::config()).expect("a session");
    none.set_drafts(Drafts::Off).expect("there are none");
    let refused = none.set_drafts(Drafts::Lookup).expect_err("no room");
    assert!(matches!(refused, Error::Session(SessionError::Setting { found: 0, .. })), "{refused}");
}

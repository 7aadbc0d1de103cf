//! Texts, probabilities and caches are the same with drafts and without, over 200 runs that are
//! drawn at random: wherever drafts come from, whatever is done between them, alone and in batches,
//! in answers of every kind.

use std::ops::Range;
use std::path::PathBuf;

use crate::answers::{self, answer, chat, script, ways};
use crate::common::shared_kit::shared_kit;
use crate::common::{Case, config, embed_case, file, kit, media_cases, tokens};
use crate::drafting::{Random, Talk, assert_same, samplings, scripted};
use crate::saved::{bytes, restored};
use crate::steps::Run;
use carat::vision::{Budget, Picture};
use carat::{
    Cancel, Chat, DraftConfig, Drafts, Error, Input, KvType, Message, Model, OpenOptions,
    SamplerConfig, Seat, SessionConfig, Step, TokenId, Tool, step,
};

/// The kit with its senses and a drafter.
fn model(quant: &str) -> Model {
    let projector = kit().join("mmproj-f32.gguf");
    let drafter = kit().join("../tiny-s-drafter/drafter-q8_0.gguf");
    let options =
        OpenOptions { projector: Some(&projector), drafter: Some(&drafter), ..Default::default() };
    Model::open_with(file(quant), options).expect("a model")
}

fn sessions(seeds: Range<u64>) {
    let models = ["q4_0", "q8_0", "f32"].map(model);
    let (mut runs, mut drafted, mut accepted) = (0, 0, 0);
    for seed in seeds {
        let model = &models[seed as usize % 3];
        let run = Run { model, has_senses: true, seed, count: 14 };
        if let Some(stats) = run.check() {
            (runs, drafted, accepted) = (runs + 1, drafted + stats.0, accepted + stats.1);
        }
    }
    println!("{drafted} tokens drafted, {accepted} accepted in {runs} runs");
    assert!(drafted > 20 * runs && accepted > 5 * runs, "{drafted} and {accepted}");
}

#[test]
fn sessions_are_the_same() {
    sessions(0..120);
}

/// What a conversation of a batch is: its prompt, and what comes after some tokens.
struct Plan {
    config: SessionConfig,
    sampling: SamplerConfig,
    case: Option<Case>,
    ids: Vec<TokenId>,
    after: usize,
    more: Vec<TokenId>,
}

/// Tokens that each conversation of a batch says.
const SAID: usize = 24;

impl Plan {
    fn new(random: &mut Random, seed: u64) -> Self {
        let case = random.below(9);
        Self {
            config: SessionConfig {
                kv: [KvType::F32, KvType::F16, KvType::Q8][random.below(3)],
                rollback: random.below(8),
                context: 400,
                prefill_chunk: 8 + random.below(30),
                ..config()
            },
            sampling: samplings(seed)[random.below(4)].clone(),
            case: media_cases().into_iter().nth(case),
            ids: tokens(60)[random.below(20)..][..1 + random.below(30)].to_vec(),
            after: 1 + random.below(SAID - 1),
            more: tokens(90)[70..][..1 + random.below(20)].to_vec(),
        }
    }

    fn begin(&self, talk: &mut Talk) {
        match &self.case {
            Some(case) => {
                let media = embed_case(&mut talk.session, case);
                let input = Input::Filled { ids: &case.ids, media: &media };
                talk.session.enqueue(input).expect("room");
            }
            None => talk.session.enqueue(Input::Tokens(&self.ids)).expect("room"),
        }
    }

    /// What comes after `said` tokens.
    fn go_on(&self, talk: &mut Talk, said: usize) {
        if said == self.after {
            talk.session.enqueue(Input::Tokens(&self.more)).expect("room");
        }
    }

    /// The conversation without drafts and without others.
    fn alone(&self, model: &Model) -> Talk {
        let mut talk = Talk::new(model, &self.config, &self.sampling);
        self.begin(&mut talk);
        let mut said = 0;
        while said < SAID {
            match talk.session.generate(&mut talk.sampler).next() {
                Some(token) => {
                    token.expect("a token");
                    said += 1;
                    self.go_on(&mut talk, said);
                }
                None => talk.session.enqueue(Input::Tokens(&[270])).expect("room"),
            }
        }
        talk
    }
}

/// Three conversations that draft, in passes that they share, some of which are cancelled.
fn batch(model: &Model, seed: u64) {
    let mut random = Random(seed);
    let plans: [Plan; 3] = std::array::from_fn(|i| Plan::new(&mut random, seed + i as u64));
    let mut alone = plans.each_ref().map(|plan| plan.alone(model));
    let mut i = 0;
    let mut talks = plans.each_ref().map(|plan| {
        let right = [0.0, 0.6, 0.9, 1.0][random.below(4)];
        let drafts = match random.below(5) {
            0 => Drafts::Lookup,
            1 => Drafts::Drafter,
            2 => Drafts::Auto,
            _ => scripted(alone[i].session.tokens().to_vec(), right, seed),
        };
        let draft = DraftConfig { most: 1 + random.below(7), adaptive: random.is(0.3) };
        let mut talk = Talk::drafting(model, &plan.config, &plan.sampling, drafts, draft);
        plan.begin(&mut talk);
        i += 1;
        talk
    });
    let mut said = [0; 3];
    while said.iter().any(|said| *said < SAID) {
        let is_cancelled = random.is(0.1);
        let before = talks.each_ref().map(|talk| bytes(&talk.session));
        let taking_part: Vec<usize> = (0..3).filter(|i| said[*i] < SAID).collect();
        let mut seats: Vec<_> = talks
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| taking_part.contains(i))
            .map(|(_, Talk { session, sampler })| Seat { session, sampler })
            .collect();
        let cancel = Cancel::new();
        if is_cancelled {
            cancel.cancel();
        }
        let result = step(&mut seats, &cancel);
        if is_cancelled {
            assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
            assert!(talks.each_ref().map(|talk| bytes(&talk.session)) == before, "seed {seed}");
            continue;
        }
        for (i, step) in taking_part.into_iter().zip(result.expect("a step")) {
            match step.expect("a step") {
                Step::Token(_) => {
                    said[i] += 1;
                    plans[i].go_on(&mut talks[i], said[i]);
                }
                Step::Stopped(_) => {
                    talks[i].session.enqueue(Input::Tokens(&[270])).expect("room");
                }
                _ => {}
            }
        }
    }
    for (i, (alone, talk)) in alone.iter_mut().zip(&mut talks).enumerate() {
        assert_same(alone, talk, &format!("seed {seed}, conversation {i}"));
    }
}

#[test]
fn batches_are_the_same() {
    let models = ["q4_0", "q8_0"].map(model);
    (0..40).for_each(|seed| batch(&models[seed as usize % 2], seed));
}

/// What the user says, with a picture now and then.
fn message(chat: &mut Chat, has_picture: bool) -> Message {
    if !has_picture {
        return Message::user("the quick brown fox jumps, the quick brown");
    }
    let budget = Budget::try_from(70).expect("a budget");
    let picture = Picture::open(kit().join("image.png"), budget).expect("a picture");
    let picture = chat.session_mut().embed_picture(&picture).expect("a picture");
    Message::showing([picture], "what is it?")
}

/// A conversation with its session from a file.
fn restored_chat(chat: Chat, model: &Model, draft: DraftConfig, tools: &[Tool]) -> Chat {
    let config = answers::settings(draft, tools).session;
    let session = restored(model, &bytes(chat.session()), config).expect("a session");
    let mut again = Chat::with_session(session, None, tools.to_vec()).expect("a chat");
    again.set_messages(chat.messages().to_vec());
    again
}

/// Two turns of a conversation, saved, taken back or gone on with between them.
fn conversation(model: &Model, seed: u64) {
    let mut random = Random(seed);
    let ways = ways(model, seed);
    let (way, options, tools) = &ways[seed as usize % ways.len()];
    let draft = DraftConfig { most: 1 + random.below(7), adaptive: random.is(0.3) };
    let (kind, right) = (random.below(5), [0.0, 0.6, 1.0][random.below(3)]);
    let mut plain = chat(model, DraftConfig::default(), tools);
    let mut drafting = chat(model, draft, tools);
    for turn in 0..3 {
        let (wanted, wanted_done) = answer(&mut plain, options);
        let drafts = match kind {
            0 => Drafts::Lookup,
            1 => Drafts::Drafter,
            2 => Drafts::Auto,
            _ => script(plain.session().tokens(), right, seed),
        };
        drafting.session_mut().set_drafts(drafts).expect("room");
        let (events, done) = answer(&mut drafting, options);
        let what = format!("{way}, seed {seed}, turn {turn}");
        assert_eq!(events, wanted, "{what}");
        assert_eq!((&done.reason, done.usage), (&wanted_done.reason, wanted_done.usage), "{what}");
        let is_taken_back = random.is(0.2);
        let (is_saved, has_picture) = (random.is(0.4), random.is(0.3));
        for chat in [&mut plain, &mut drafting] {
            if is_taken_back {
                chat.undo();
            }
            let message = message(chat, has_picture);
            chat.push(message);
        }
        if is_saved {
            plain = restored_chat(plain, model, DraftConfig::default(), tools);
            drafting = restored_chat(drafting, model, draft, tools);
        }
        let [a, b] = [&mut plain, &mut drafting].map(|chat| {
            chat.session_mut().logits().expect("logits");
            bytes(chat.session())
        });
        assert!(a == b, "{what}: other caches");
    }
}

#[test]
fn answers_are_the_same() {
    let model = model("q4_0");
    (0..40).for_each(|seed| conversation(&model, seed));
}

/// The drafter of the reference kit `tiny-a`, which lies beside the repository and is not part of
/// it: it was trained for its model.
#[test]
fn the_trained_drafter_changes_nothing() {
    let Some(kit) = shared_kit("tiny-a") else { return };
    let drafter = kit.join("drafter-q8_0.gguf");
    let options = OpenOptions { drafter: Some(&drafter), ..Default::default() };
    let model = Model::open_with(kit.join("text-q8_0.gguf"), options).expect("a model");
    for seed in 500..512 {
        Run { model: &model, has_senses: false, seed, count: 8 }.check();
    }
}

/// The real Gemma 3 270M, which `scripts/fetch-270m.sh` puts in its place.
#[test]
fn the_270m_says_the_same() {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../models/gemma-3-270m-q4_k_m.gguf"].iter().collect();
    let model = Model::open(path).unwrap_or_else(|e| panic!("{e}: run scripts/fetch-270m.sh"));
    for seed in 600..606 {
        Run { model: &model, has_senses: false, seed, count: 6 }.check();
    }
}

#[test]
#[ignore = "takes minutes"]
fn thousands_are_the_same() {
    sessions(1000..4000);
    let models = ["q4_0", "q8_0"].map(model);
    for seed in 1000..1400 {
        batch(&models[seed as usize % 2], seed);
        conversation(&models[0], seed);
    }
}

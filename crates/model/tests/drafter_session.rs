//! Sessions whose drafts come from the model's drafter: the text is the same as without, and so are
//! the caches, bit for bit.

use crate::common::{bits, config, file, kit, media_cases, read_case, tokens};
use crate::naive::Shape;
use crate::naive::drafter::{DraftShape, Layout, bytes as drafter_bytes};
use crate::saved;
use carat::{
    Cancel, DraftConfig, Drafts, Error, Input, KvType, Model, OpenOptions, Sampler, SamplerConfig,
    Seat, Session, SessionConfig, Step, Stop, TokenId, step,
};
use carat_gguf::{Endian, Gguf, TensorType, Writer};
use carat_kernels::{Format, dequantize};

/// A drafter of tiny-s with random weights, which hardly ever guesses what the model says.
fn random_drafter(clusters: Option<(usize, usize)>) -> Vec<u8> {
    let shape = DraftShape {
        hidden: 64,
        sliding: vec![true, true, false],
        heads: vec![2, 4, 2],
        ffn: vec![96; 3],
        format: Format::Q8_0,
        layout: Layout::Main,
        clusters,
    };
    drafter_bytes(&shape, &Shape::tiny_s())
}

/// A drafter that knows which token follows which in `text`: its rows are the embeddings of the
/// tokens before, and its layers add nothing.
fn knowing_drafter(text: &[TokenId]) -> Vec<u8> {
    let shape = DraftShape {
        hidden: 64,
        sliding: vec![true, false],
        heads: vec![2; 2],
        ffn: vec![32; 2],
        format: Format::F32,
        layout: Layout::Main,
        clusters: None,
    };
    let file = drafter_bytes(&shape, &Shape::tiny_s());
    let gguf = Gguf::parse(&file).expect("a file");
    let embedding = embedding();
    let row = |id: TokenId| &embedding[id as usize * 64..][..64];
    let mut head = vec![0.0f32; 512 * 64];
    for pair in text.windows(2) {
        let before = row(pair[0]);
        let length = before.iter().map(|x| x * x).sum::<f32>().sqrt();
        let to = &mut head[pair[1] as usize * 64..][..64];
        to.iter_mut().zip(before).for_each(|(to, x)| *to += x / length);
    }
    let mut pre = vec![0.0f32; 64 * 128];
    (0..64).for_each(|i| pre[i * 128 + i] = 1.0);
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, *value);
    }
    for t in gguf.tensors() {
        let count = t.shape.elements() as usize;
        let values = match t.name {
            "token_embd.weight" => Some(head.clone()),
            "nextn.pre_projection.weight" => Some(pre.clone()),
            "output_norm.weight" => Some(vec![1.0; count]),
            name if name.contains("post_") && !name.contains("nextn") => Some(vec![0.0; count]),
            name if name.contains("output_scale") => Some(vec![1.0]),
            _ => None,
        };
        let bytes = values.map_or(t.data.to_vec(), |values| {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        });
        writer = writer.tensor(t.name, TensorType::F32, &t.shape, bytes);
    }
    writer.to_bytes().expect("a file")
}

/// The embeddings of tiny-s, `[512][64]`.
fn embedding() -> Vec<f32> {
    let file = std::fs::read(file("f32")).expect("tiny-s");
    let gguf = Gguf::parse(&file).expect("tiny-s parses");
    let tensor = gguf.tensor("token_embd.weight").expect("embeddings");
    let mut values = vec![0.0; 512 * 64];
    dequantize(Format::F32, tensor.data, &mut values);
    values
}

fn model(quant: &str, drafter: Option<Vec<u8>>) -> Model {
    let projector = kit().join("mmproj-f32.gguf");
    let drafter_bytes = drafter.map(|bytes| &*bytes.leak());
    let options = OpenOptions { projector: Some(&projector), drafter_bytes, ..Default::default() };
    Model::open_with(file(quant), options).expect("a model")
}

fn samplings(seed: u64) -> [SamplerConfig; 3] {
    let sampled = SamplerConfig { temperature: 1.0, top_k: 40, seed, ..Default::default() };
    let penalties = SamplerConfig {
        repetition_penalty: 1.3,
        frequency_penalty: 0.4,
        logit_bias: vec![(300, 2.0), (301, f32::NEG_INFINITY)],
        ..sampled.clone()
    };
    [SamplerConfig::default(), sampled, penalties]
}

fn drafting(most: usize) -> SessionConfig {
    SessionConfig { draft: DraftConfig { most, adaptive: false }, ..config() }
}

struct Talk {
    session: Session,
    sampler: Sampler,
}

impl Talk {
    fn new(model: &Model, config: SessionConfig, sampling: &SamplerConfig) -> Self {
        let sampler = Sampler::new(sampling.clone(), model.tokenizer().vocab_size());
        let session = Session::new(model, config).expect("a session");
        Self { session, sampler: sampler.expect("a sampler") }
    }

    fn push(&mut self, ids: &[TokenId]) {
        self.session.push(Input::Tokens(ids)).expect("a push");
    }

    /// Says `count` tokens; an end of turn is followed by another token.
    fn say(&mut self, count: usize) {
        let wanted = self.session.len() + count;
        while self.session.len() < wanted {
            let left = wanted - self.session.len();
            for token in self.session.generate(&mut self.sampler).take(left) {
                token.expect("a token");
            }
            if let Some(Stop::EndOfGeneration(_)) = self.session.stop() {
                self.push(&[270]);
            }
        }
    }
}

fn assert_same(plain: &mut Talk, drafting: &mut Talk, what: &str) {
    assert_eq!(plain.session.tokens(), drafting.session.tokens(), "{what}");
    assert!(saved::bytes(&plain.session) == saved::bytes(&drafting.session), "{what}: caches");
    let [a, b] = [plain, drafting].map(|talk| bits(talk.session.logits().expect("logits")));
    assert!(a == b, "{what}: logits");
}

/// Drafts that are right save passes, and change nothing.
#[test]
fn what_a_drafter_knows_is_taken_over() {
    let ids = tokens(12);
    let plain = || {
        let mut plain = Talk::new(&model("f32", None), config(), &SamplerConfig::default());
        plain.push(&ids);
        plain.say(60);
        plain
    };
    let text = plain().session.tokens().to_vec();
    let knowing = model("f32", Some(knowing_drafter(&text)));
    for most in [1, 3, 7] {
        let mut talk = Talk::new(&knowing, drafting(most), &SamplerConfig::default());
        talk.push(&ids);
        talk.say(60);
        let stats = talk.session.draft_stats();
        println!("{most}: {stats:?}");
        assert!(stats.acceptance().expect("drafts") > 0.3, "{stats:?}");
        assert!(stats.tokens_per_pass().expect("passes") > 1.2, "{stats:?}");
        assert_same(&mut plain(), &mut talk, &format!("{most} drafts"));
    }
    // With a length that adapts there may be fewer passes with drafts, and the same text.
    let draft = DraftConfig { most: 7, adaptive: true };
    let mut talk =
        Talk::new(&knowing, SessionConfig { draft, ..config() }, &SamplerConfig::default());
    talk.push(&ids);
    talk.say(60);
    assert_same(&mut plain(), &mut talk, "adaptive");
}

/// Greedy, sampled, with penalties; types of caches, chunks, numbers of threads; across the edge of
/// the window; with cancels in between.
#[test]
fn text_and_caches_are_the_same_with_a_drafter() {
    let drafters = [random_drafter(None), random_drafter(Some((32, 3)))];
    let kinds = [KvType::F32, KvType::F16, KvType::Q8];
    for (i, drafter) in drafters.into_iter().enumerate() {
        let (without, with) = (model("q8_0", None), model("q8_0", Some(drafter)));
        for seed in 0..8u64 {
            for sampling in samplings(seed) {
                let (kv, rollback) = (kinds[seed as usize % 3], seed as usize);
                let threads = 1 + seed as usize % 2;
                let of = |base| SessionConfig { kv, rollback, threads, prefill_chunk: 5, ..base };
                let mut plain = Talk::new(&without, of(config()), &sampling);
                let mut talk = Talk::new(&with, of(drafting(1 + seed as usize % 7)), &sampling);
                let ids = tokens(1 + 3 * seed as usize);
                for talk in [&mut plain, &mut talk] {
                    talk.push(&ids);
                    talk.say(9);
                }
                let cancel = talk.session.cancel_handle();
                cancel.cancel();
                let next = talk.session.generate(&mut talk.sampler).next();
                assert!(matches!(next, Some(Err(Error::Cancelled { .. }))), "{next:?}");
                cancel.reset();
                for talk in [&mut plain, &mut talk] {
                    talk.say(13);
                    talk.push(&[280, 281, 282]);
                    talk.say(4);
                }
                let stats = talk.session.draft_stats();
                assert!(stats.drafted > 0, "{stats:?}");
                assert_same(&mut plain, &mut talk, &format!("drafter {i}, seed {seed}"));
            }
        }
    }
}

#[test]
fn pictures_and_sound_are_drafted_after() {
    let (without, with) = (model("q8_0", None), model("q8_0", Some(random_drafter(None))));
    for case in media_cases() {
        for sampling in samplings(3) {
            let mut plain = Talk::new(&without, config(), &sampling);
            let mut talk = Talk::new(&with, drafting(4), &sampling);
            for talk in [&mut plain, &mut talk] {
                read_case(&mut talk.session, &case);
                talk.say(14);
            }
            assert!(talk.session.draft_stats().drafted > 0);
            assert_same(&mut plain, &mut talk, case.name);
        }
    }
}

/// Three conversations, of which two draft, in passes that they share.
#[test]
fn batches_have_the_bits_of_each_alone() {
    let model = model("q4_0", Some(random_drafter(None)));
    let configs = [drafting(3), config(), drafting(2)];
    let sampling = &samplings(5)[1];
    let mut talks = configs.map(|config| Talk::new(&model, config, sampling));
    for (i, talk) in talks.iter_mut().enumerate() {
        talk.session.enqueue(Input::Tokens(&tokens(4 + 5 * i))).expect("room");
    }
    for _ in 0..30 {
        let mut seats: Vec<_> =
            talks.iter_mut().map(|Talk { session, sampler }| Seat { session, sampler }).collect();
        let steps = step(&mut seats, &Cancel::new()).expect("a step");
        for (talk, step) in talks.iter_mut().zip(steps) {
            if let Step::Stopped(_) = step.expect("a step") {
                talk.session.enqueue(Input::Tokens(&[270])).expect("room");
            }
        }
    }
    assert!(talks[0].session.draft_stats().drafted > 0);
    for (i, talk) in talks.iter_mut().enumerate() {
        let mut alone = Talk::new(&model, config(), sampling);
        alone.push(&tokens(4 + 5 * i));
        alone.say(talk.session.len() - alone.session.len());
        assert_same(&mut alone, talk, &format!("conversation {i}"));
    }
}

/// Tokens that follow one another in any case are gone through as if they had been drafted, and
/// what is known to follow the last of them is drafted behind them.
#[test]
fn a_drafter_goes_through_what_is_certain() {
    let ids = tokens(12);
    let mut plain = Talk::new(&model("f32", None), config(), &SamplerConfig::default());
    plain.push(&ids);
    plain.say(30);
    let text = plain.session.tokens().to_vec();
    let knowing = model("f32", Some(knowing_drafter(&text)));
    for certain in 1..=6 {
        let mut talk = Talk::new(&knowing, drafting(2), &SamplerConfig::default());
        talk.session.set_drafts(Drafts::Drafter).expect("a drafter");
        talk.push(&ids);
        talk.session.enqueue(Input::Tokens(&text[12..12 + certain])).expect("room");
        talk.session.logits().expect("logits");
        let drafted = talk.session.draft_stats().drafted;
        assert_eq!(drafted, if certain <= 4 { 2 } else { 0 }, "behind {certain}");
        talk.say(18 - certain);
        let stats = talk.session.draft_stats();
        assert!(stats.accepted > 0, "behind {certain}: {stats:?}");
        let [a, b] = [&plain, &talk].map(|talk| talk.session.tokens()[..30].to_vec());
        assert_eq!(a, b);
    }
    // Where nothing is evaluated, a drafter has nothing to go on from.
    let mut talk = Talk::new(&knowing, drafting(2), &SamplerConfig::default());
    talk.session.set_drafts(Drafts::Drafter).expect("a drafter");
    talk.session.enqueue(Input::Tokens(&ids[..2])).expect("room");
    talk.session.logits().expect("logits");
    assert_eq!(talk.session.draft_stats().drafted, 0);
}

/// To go through the tokens that it drafts itself is to draft them.
#[test]
fn going_through_drafts_is_drafting() {
    for clusters in [None, Some((32, 3))] {
        let model = model("q8_0", Some(random_drafter(clusters)));
        let (ids, mut compared) = (tokens(20), 0);
        for first in 300..320 {
            let mut talk = Talk::new(&model, drafting(2), &SamplerConfig::default());
            talk.session.set_drafts(Drafts::Drafter).expect("a drafter");
            talk.push(&ids);
            let drafts = talk.session.eval_draft(first, 5, |_, _| ()).expect("drafts");
            let cannot_be_said = |id: &TokenId| {
                let tokenizer = model.tokenizer();
                // Those of pictures and sound are not what they stand for.
                let is_soft = ["<|image|>", "<|audio|>"].map(|name| tokenizer.special(name));
                let is_soft = is_soft.contains(&Some(*id));
                tokenizer.is_eog(*id) || tokenizer.suppressed().contains(id) || is_soft
            };
            if drafts.iter().any(cannot_be_said) {
                continue;
            }
            for certain in 1..=3 {
                talk.session.truncate(20).expect("back");
                talk.session.logits().expect("logits");
                let before = talk.session.draft_stats();
                let next = [&[first], &drafts[..certain]].concat();
                talk.session.enqueue(Input::Tokens(&next)).expect("room");
                talk.session.logits().expect("logits");
                let (drafted, more) =
                    (talk.session.draft_stats().since(&before), &drafts[certain..]);
                talk.session.enqueue(Input::Tokens(&more[..2])).expect("room");
                talk.session.logits().expect("logits");
                let stats = talk.session.draft_stats().since(&before);
                assert_eq!((drafted.drafted, stats.accepted), (2, 2), "{first}, {certain}");
                compared += 1;
            }
        }
        assert!(compared > 10, "{compared}");
    }
}

/// The text is looked into where much of it repeats, and where the drafter cannot go on; everywhere
/// else the drafter works.
#[test]
fn both_guess_where_they_are_good_at_it() {
    let ids = tokens(40);
    let with = model("q8_0", Some(random_drafter(None)));
    // So many tokens stand at the end that stood at the beginning, and others that are certain.
    let accepted = |repeated: usize, certain: usize| {
        let mut talk = Talk::new(&with, drafting(3), &SamplerConfig::default());
        let end = 1 + repeated - certain;
        talk.push(&[&ids[..25], &[470], &ids[1..end]].concat());
        talk.session.enqueue(Input::Tokens(&ids[end..end + certain])).expect("room");
        talk.session.logits().expect("logits");
        assert_eq!(talk.session.draft_stats().drafted, 3, "{repeated} {certain}");
        // What followed before, said again.
        talk.session.enqueue(Input::Tokens(&ids[end + certain..end + certain + 3])).expect("room");
        talk.session.logits().expect("logits");
        talk.session.draft_stats().accepted
    };
    assert_eq!((accepted(8, 1), accepted(12, 3)), (3, 3));
    assert_eq!((accepted(7, 1), accepted(3, 1), accepted(7, 4)), (0, 0, 0));
    assert_eq!(accepted(7, 5), 3);
    // Without a drafter it is the text alone.
    let mut talk = Talk::new(&model("q8_0", None), drafting(3), &SamplerConfig::default());
    talk.session.set_drafts(Drafts::Auto).expect("room");
    talk.push(&[&ids[..25], &[470], &ids[1..3]].concat());
    talk.session.enqueue(Input::Tokens(&ids[3..4])).expect("room");
    talk.session.logits().expect("logits");
    assert_eq!(talk.session.draft_stats().drafted, 3);
}

/// Drafts may come from somewhere else, and from a drafter only where there is one.
#[test]
fn sources_are_chosen() {
    let (without, with) = (model("q8_0", None), model("q8_0", Some(random_drafter(None))));
    let mut talk = Talk::new(&without, drafting(3), &SamplerConfig::default());
    assert!(matches!(talk.session.set_drafts(Drafts::Drafter), Err(Error::NoDrafter)));
    let mut talk = Talk::new(&with, config(), &SamplerConfig::default());
    assert!(matches!(talk.session.set_drafts(Drafts::Drafter), Err(Error::Session(_))));
    let mut talk = Talk::new(&with, drafting(3), &SamplerConfig::default());
    talk.push(&tokens(9));
    talk.say(3);
    let first = talk.session.draft_stats();
    talk.session.set_drafts(Drafts::Off).expect("off");
    talk.say(5);
    assert_eq!(talk.session.draft_stats().drafted, first.drafted);
    talk.session.set_drafts(Drafts::Drafter).expect("a drafter");
    talk.say(5);
    assert!(talk.session.draft_stats().drafted > first.drafted && first.drafted > 0);
}

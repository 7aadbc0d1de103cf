//! What a program that runs for weeks does: conversations of every kind, one after the other.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use carat::audio::{Clip, LongClip};
use carat::vision::{Budget, Picture};
use carat::{
    AnswerOptions, Cancel, Chat, ChatConfig, DraftConfig, Drafts, Grammar, Input, KvType, Medium,
    Message, Model, OpenOptions, Sampler, SamplerConfig, Seat, Session, SessionConfig, Step,
    Thinking, TokenId, Tool, ToolChoice, step,
};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The kinds of sessions, which take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Two turns of text.
    Talk,
    /// A picture, a recording, or both, with a question about them.
    Media,
    /// JSON of a schema.
    Format,
    /// A call of a tool, and its result.
    Tools,
    /// Saved to a file in the middle, and restored.
    Saved,
    /// Tokens guessed ahead, by lookup and by a drafter.
    Drafts,
    /// A prompt that another thread cancels at some moment, and then once more.
    Cancelled,
    /// Four sessions in one pass.
    Batch,
    /// Threads and scratch memory of its own, a cache of eight bits, and a way back.
    OwnThreads,
    /// A long text.
    Long,
    /// A model that is opened, with its cache file, and closed again.
    Opened,
}

/// All kinds; a cycle has each of them once.
const KINDS: [Kind; 11] = [
    Kind::Talk,
    Kind::Media,
    Kind::Format,
    Kind::Tools,
    Kind::Saved,
    Kind::Drafts,
    Kind::Cancelled,
    Kind::Batch,
    Kind::OwnThreads,
    Kind::Long,
    Kind::Opened,
];

/// Seeds of a kind: what a session says is the same whenever its kind and its seed are.
const SEEDS: usize = 4;

/// The models, and what each session said when it was first there.
pub(crate) struct Work {
    /// The model in the program, which was trained to see, hear and answer.
    toy: Model,
    /// The reference kit, random weights that say anything, with senses and a drafter.
    kit: Model,
    /// Where sessions and cache files are kept.
    folder: PathBuf,
    said: HashMap<usize, blake3::Hash>,
}

impl Work {
    /// Opens the models; `folder` takes the files that are written.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let projector = file("crates/cli/models/demo-mmproj.gguf");
        let options = OpenOptions { projector: Some(&projector), ..OpenOptions::default() };
        let toy = Model::open_with(file("crates/cli/models/demo-text.gguf"), options)?;
        let kit = kit(None)?;
        Ok(Self { toy, kit, folder: folder.to_owned(), said: HashMap::new() })
    }

    /// Sessions after which every kind with every seed was there.
    pub(crate) const fn round() -> usize {
        KINDS.len() * SEEDS
    }

    /// Runs session `n` and ends it. Gives the number of tokens that it decoded.
    ///
    /// # Errors
    /// Those of the library, and a session that says something else than the one before it with the
    /// same kind and seed.
    pub(crate) fn session(&mut self, n: usize) -> Result<usize> {
        let script = n % Self::round();
        let (kind, seed) = (KINDS[script % KINDS.len()], script / KINDS.len());
        let said = self.run(kind, seed)?;
        let bytes: Vec<_> = said.iter().flat_map(|token| token.to_le_bytes()).collect();
        let hash = blake3::hash(&bytes);
        if *self.said.entry(script).or_insert(hash) != hash {
            return Err(format!("{kind:?} with seed {seed} says something else in session {n}"))?;
        }
        Ok(said.len())
    }

    /// The tokens that such a session decodes.
    fn run(&self, kind: Kind, seed: usize) -> Result<Vec<TokenId>> {
        match kind {
            Kind::Talk => self.talk(seed),
            Kind::Media => self.media(seed),
            Kind::Format => self.format(seed),
            Kind::Tools => self.tools(seed),
            Kind::Saved => self.saved(seed),
            Kind::Drafts => self.drafts(seed),
            Kind::Cancelled => self.cancelled(seed),
            Kind::Batch => self.batch(seed),
            Kind::OwnThreads => self.own_threads(seed),
            Kind::Long => said(&mut Session::new(&self.kit, config(1024))?, seed, 300),
            Kind::Opened => self.opened(seed),
        }
    }

    fn talk(&self, seed: usize) -> Result<Vec<TokenId>> {
        let mut chat = chat(&self.toy, Vec::new())?;
        let (a, b) = (12 + seed, 5 + 3 * seed);
        chat.push(Message::user(format!("What is {a} + {b}?")));
        let mut said = answer(&mut chat, options(seed))?;
        chat.push(Message::user("Repeat: silver river"));
        said.extend(answer(&mut chat, options(seed))?);
        Ok(said)
    }

    fn media(&self, seed: usize) -> Result<Vec<TokenId>> {
        let mut chat = chat(&self.toy, Vec::new())?;
        let (files, question): (&[_], _) = match seed {
            0 => (&["shapes.png"], "How many stars are there?"),
            1 => (&["beeps.wav"], "How many beeps do you hear?"),
            2 => (&["both.png", "both.wav"], "What is in the picture?"),
            _ => (&["number.png"], "What number is this?"),
        };
        let mut media = Vec::new();
        for name in files {
            let path = file("crates/cli/assets/gallery").join(name);
            media.push(medium(chat.session_mut(), &path)?);
        }
        chat.push(Message::showing(media, question));
        answer(&mut chat, options(seed))
    }

    fn format(&self, seed: usize) -> Result<Vec<TokenId>> {
        let schema = json!({
            "type": "object",
            "properties": {
                "whether": { "type": "boolean" },
                "list": { "type": "array", "items": { "enum": ["one", "two"] }, "maxItems": 4 },
            },
            "required": ["whether", "list"],
            "additionalProperties": false,
        });
        let format = Grammar::json_schema_value(self.kit.grammar_env()?, &schema)?;
        let mut chat = chat(&self.kit, Vec::new())?;
        chat.push(Message::user("is it so?"));
        let thinking = if seed == 0 { Thinking::Budget(9) } else { Thinking::Off };
        let format = Some(Arc::new(format));
        answer(&mut chat, AnswerOptions { format, thinking, ..options(seed) })
    }

    fn tools(&self, seed: usize) -> Result<Vec<TokenId>> {
        let weather: Tool = serde_json::from_value(json!({
            "name": "weather",
            "description": "tells the weather",
            "parameters": {
                "type": "object",
                "properties": { "city": { "enum": ["Rome", "Paris"] }, "days": { "enum": [1, 30] } },
                "required": ["city", "days"],
                "additionalProperties": false,
            },
        }))?;
        let mut chat = chat(&self.kit, vec![weather])?;
        chat.push(Message::user("how is the weather?"));
        let required = AnswerOptions { tool_choice: ToolChoice::Required, ..options(seed) };
        let mut said = answer(&mut chat, required)?;
        let call = chat.messages().last().and_then(|message| message.tool_calls.first());
        let result = call.map(|(id, _)| Message::tool(id.as_str(), "sunny"));
        chat.push(result.unwrap_or_else(|| Message::user("and now?")));
        let none = AnswerOptions { tool_choice: ToolChoice::None, ..options(seed) };
        said.extend(answer(&mut chat, none)?);
        Ok(said)
    }

    fn saved(&self, seed: usize) -> Result<Vec<TokenId>> {
        let path = self.folder.join("talk");
        let mut first = chat(&self.kit, Vec::new())?;
        let picture = medium(first.session_mut(), &kit_file("image.png"))?;
        first.push(Message::showing([picture], "what is it?"));
        let mut said = answer(&mut first, options(seed))?;
        first.save(&path)?;
        drop(first);
        let mut again = Chat::restore(&self.kit, &path, chat_config(Vec::new()))?;
        again.push(Message::user("go on"));
        said.extend(answer(&mut again, options(seed + 1))?);
        Ok(said)
    }

    fn drafts(&self, seed: usize) -> Result<Vec<TokenId>> {
        let draft = DraftConfig { most: 1 + seed, adaptive: seed == 3 };
        let mut session = Session::new(&self.kit, SessionConfig { draft, ..config(1024) })?;
        session.set_drafts(if seed.is_multiple_of(2) {
            Drafts::Lookup
        } else {
            Drafts::Drafter
        })?;
        said(&mut session, seed, 200)
    }

    fn cancelled(&self, seed: usize) -> Result<Vec<TokenId>> {
        let mut session = Session::new(&self.kit, config(2048))?;
        let ids: Vec<_> = (0..1500).map(|i| 261 + (i * 7919 + seed as u32) % 200).collect();
        let cancel = session.cancel_handle();
        let moment = Duration::from_micros(700 * (1 + seed as u64));
        let clock = thread::spawn({
            let cancel = cancel.clone();
            move || {
                thread::sleep(moment);
                cancel.cancel();
            }
        });
        match session.push(Input::Tokens(&ids)) {
            Ok(()) | Err(carat::Error::Cancelled { .. }) => {}
            Err(error) => return Err(error)?,
        }
        clock.join().map_err(|_| "the clock panicked")?;
        cancel.reset();
        session.truncate(0)?;
        said(&mut session, seed, 40)
    }

    fn batch(&self, seed: usize) -> Result<Vec<TokenId>> {
        let mut talks = Vec::new();
        for i in 0..4 {
            let mut session = Session::new(&self.kit, config(512))?;
            session.enqueue(Input::Tokens(&prompt(seed + 5 * i, 20 + 3 * i)))?;
            talks.push((session, sampler(&self.kit, seed + i)?));
        }
        let mut said = Vec::new();
        for _ in 0..50 {
            let seats = talks.iter_mut().map(|(session, sampler)| Seat { session, sampler });
            let steps = step(&mut seats.collect::<Vec<_>>(), &Cancel::new())?;
            for (step, (session, _)) in steps.into_iter().zip(&mut talks) {
                match step? {
                    Step::Token(token) => said.push(token),
                    Step::Stopped(_) => session.enqueue(Input::Tokens(&[270]))?,
                    _ => {}
                }
            }
        }
        Ok(said)
    }

    fn own_threads(&self, seed: usize) -> Result<Vec<TokenId>> {
        let config = SessionConfig { own_threads: true, kv: KvType::Q8, marks: 2, ..config(512) };
        let mut session = Session::new(&self.kit, config)?;
        let mut tokens = said(&mut session, seed, 60)?;
        session.logits()?;
        session.mark(session.len())?;
        let marked = session.len();
        tokens.extend(said(&mut session, seed, 60)?);
        session.truncate(marked)?;
        tokens.extend(said(&mut session, seed, 60)?);
        Ok(tokens)
    }

    fn opened(&self, seed: usize) -> Result<Vec<TokenId>> {
        let cache = self.folder.join("cache");
        let model = kit(Some(&cache))?;
        said(&mut Session::new(&model, config(256))?, seed, 40)
    }
}

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn kit_file(name: &str) -> PathBuf {
    file("crates/model/tests/data/tiny-s").join(name)
}

/// The reference kit with its senses and a drafter.
fn kit(cache: Option<&Path>) -> Result<Model> {
    let projector = kit_file("mmproj-f32.gguf");
    let drafter = kit_file("../tiny-s-drafter/drafter-q8_0.gguf");
    let (projector, drafter) = (Some(&*projector), Some(&*drafter));
    let options = OpenOptions { projector, drafter, cache, ..OpenOptions::default() };
    Ok(Model::open_with(kit_file("text-q4_0.gguf"), options)?)
}

fn config(context: usize) -> SessionConfig {
    SessionConfig { context, threads: 2, prefill_chunk: 64, ..SessionConfig::default() }
}

fn chat_config(tools: Vec<Tool>) -> ChatConfig {
    let session = SessionConfig { marks: 2, ..config(2048) };
    ChatConfig { session, tools, ..ChatConfig::default() }
}

fn chat(model: &Model, tools: Vec<Tool>) -> Result<Chat> {
    Ok(Chat::new(model, chat_config(tools))?)
}

fn sampling(seed: usize) -> SamplerConfig {
    SamplerConfig { temperature: 1.0, top_k: 64, seed: seed as u64, ..SamplerConfig::default() }
}

fn sampler(model: &Model, seed: usize) -> Result<Sampler> {
    Ok(Sampler::new(sampling(seed), model.tokenizer().vocab_size())?)
}

fn options(seed: usize) -> AnswerOptions {
    AnswerOptions { sampling: sampling(seed), max_tokens: Some(80), ..AnswerOptions::default() }
}

/// Answers, and gives the tokens that the session read and said for it.
fn answer(chat: &mut Chat, options: AnswerOptions) -> Result<Vec<TokenId>> {
    let mut completed = 0;
    for event in chat.reply(options)? {
        if let carat::Event::Done(done) = event? {
            completed = done.usage.completion_tokens;
        }
    }
    let tokens = chat.session().tokens();
    Ok(tokens[tokens.len().saturating_sub(completed)..].to_vec())
}

fn medium(session: &mut Session, path: &Path) -> Result<Medium> {
    if path.extension().is_some_and(|extension| extension == "png") {
        let picture = Picture::open(path, Budget::default())?;
        return Ok(session.embed_picture(&picture)?);
    }
    let clip = Clip::open(path)?;
    Ok(session.embed_clip(&clip, LongClip::Split)?)
}

/// Tokens that exist in the kit and are not special.
fn prompt(seed: usize, count: usize) -> Vec<TokenId> {
    (0..count).map(|i| 261 + ((seed * 104_729 + i * 7919) % 200) as TokenId).collect()
}

/// Pushes a prompt and gives the next `count` tokens; another token goes on where the model ends.
fn said(session: &mut Session, seed: usize, count: usize) -> Result<Vec<TokenId>> {
    let model = session.model().clone();
    let mut sampler = sampler(&model, seed)?;
    session.push(Input::Tokens(&prompt(seed, 24)))?;
    let mut said = Vec::with_capacity(count);
    while said.len() < count {
        let left = count - said.len();
        for token in session.generate(&mut sampler).take(left) {
            said.push(token?);
        }
        if said.len() < count {
            session.push(Input::Tokens(&[270]))?;
        }
    }
    Ok(said)
}

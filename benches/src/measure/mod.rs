//! End to end: what a session does with prompts, tokens, drafts, pictures and sound.
//!
//! Tests run from cheap to dear, one session for all of them on as many threads; a prompt that was
//! just evaluated also serves as the depth at which decoding is measured. Inputs are arbitrary
//! ordinary tokens and nothing is sampled, as in llama-bench: an engine's speed does not depend on
//! what the words mean.
//!
//! Time is a budget. What would not end within it is left out, and the result says so.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use carat::{DraftConfig, Error, Isa, KvType, MemoryPlan, Model, Session, SessionConfig, TokenId};
use carat_gguf::Gguf;

use crate::machine::Energy;
use crate::random::Xorshift;
use crate::results::{Kind, MemoryPoint, Skipped, Test};
use crate::roof::WeightReader;

pub(crate) mod work;

/// What is measured and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lengths of prompts.
    pub prompts: Vec<usize>,
    /// Tokens in the session before decoding is measured.
    pub depths: Vec<usize>,
    /// Tokens that are decoded in a repetition; 0 is no decoding.
    pub generate: usize,
    /// Whether verifying four tokens at once is compared with one, if there is decoding at all.
    pub verify: bool,
    /// Whether a picture and sound are measured, where the model has a projector for them.
    pub media: bool,
    /// Whether memory is read before and after each sample of decoding, to know what it gave then.
    pub readings: bool,
    /// Numbers of threads; 0 is the number of physical cores.
    pub threads: Vec<usize>,
    /// Samples of each test.
    pub repetitions: usize,
    /// Time for all tests.
    pub budget: Duration,
    /// The instruction set.
    pub isa: Isa,
    /// How keys and values are stored.
    pub kv: KvType,
    /// Most tokens in a pass.
    pub chunk: usize,
}

/// What is being measured.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The test.
    pub what: &'a str,
    /// Number of the test, from 1.
    pub number: usize,
    /// Tests on this number of threads.
    pub count: usize,
    /// Estimate of the time that is left for all that fits into the budget.
    pub left: Duration,
}

/// What was measured and what was not.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Samples.
    pub tests: Vec<Test>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// Measures a model; `on_step` hears of each test before it begins.
///
/// # Errors
/// If a session cannot be made, or fails.
pub fn measure(
    model: &Model,
    options: &Options,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<Measured, Error> {
    let mut measured = Measured::default();
    let begun = Instant::now();
    for (i, threads) in options.threads.iter().enumerate() {
        // Each number of threads may use its part of what the ones before have left.
        let left = options.budget.saturating_sub(begun.elapsed());
        let part = left / (options.threads.len() - i) as u32;
        // A budget beyond all clocks is a day.
        let now = Instant::now();
        let deadline = now.checked_add(part).unwrap_or(now + Duration::from_secs(86_400));
        let mut bench = Bench::new(model, options, *threads, deadline, &mut measured)?;
        bench.warm_up()?;
        bench.run_all(on_step)?;
    }
    Ok(measured)
}

/// The memory of sessions over the model in `gguf`, from 1024 tokens to the model's own context.
pub fn memory_points(gguf: &Gguf<'_>, options: &Options, context_max: usize) -> Vec<MemoryPoint> {
    let powers = (10..24).map(|bits| 1usize << bits).take_while(|n| *n < context_max);
    let Ok(plan) = MemoryPlan::new(gguf) else { return Vec::new() };
    let point = |context| {
        let rollback = SessionConfig::default().rollback;
        let session = SessionConfig { rollback, ..options.session(context, 0) };
        let memory = plan.session(&session).ok()?;
        let scratch = memory.scratch + memory.tokenizer;
        Some(MemoryPoint { context, weights: memory.weights, kv: memory.kv, scratch })
    };
    powers.chain([context_max]).filter_map(point).collect()
}

impl Options {
    pub(crate) fn session(&self, context: usize, threads: usize) -> SessionConfig {
        SessionConfig {
            context,
            threads,
            prefill_chunk: self.chunk,
            kv: self.kv,
            rollback: self.generate.max(VERIFY_PASSES * (VERIFY_TOKENS + 1)).min(context) + 1,
            isa: self.isa,
            own_threads: false,
            marks: 0,
            max_memory: None,
            draft: DraftConfig::default(),
        }
    }

    /// What is to be measured, from cheap to dear: whoever stops early has the most.
    fn tasks(&self, model: &Model) -> Vec<Task> {
        let mut tasks = Vec::new();
        tasks.extend(self.prompts.iter().filter(|n| **n > 0).map(|n| Task::Prefill(*n)));
        if self.generate > 0 {
            tasks.extend(self.depths.iter().map(|n| Task::Decode(*n)));
            tasks.extend(self.verify.then_some(Task::Verify));
        }
        tasks.extend((self.media && model.sees()).then_some(Task::Image));
        tasks.extend((self.media && model.hears()).then_some(Task::Audio));
        tasks.sort_by_key(|task| task.tokens());
        tasks.dedup();
        tasks
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Prefill(usize),
    Decode(usize),
    Verify,
    Image,
    Audio,
}

impl Task {
    /// Tokens in the session at the beginning of what is timed, or those of the prompt that is.
    fn tokens(self) -> usize {
        match self {
            Self::Prefill(n) | Self::Decode(n) => n,
            Self::Verify => VERIFY_DEPTH,
            Self::Image => work::IMAGE_TOKENS,
            Self::Audio => work::AUDIO_TOKENS,
        }
    }

    /// Most tokens that the session holds at any time.
    fn context(self, options: &Options) -> usize {
        let more = match self {
            Self::Prefill(_) => 0,
            Self::Decode(_) => options.generate,
            Self::Verify => VERIFY_PASSES * (VERIFY_TOKENS + 1),
            Self::Image | Self::Audio => 3, // BOS and the two tokens around the medium
        };
        self.tokens().saturating_add(more)
    }

    fn name(self, options: &Options) -> String {
        match self {
            Self::Prefill(n) => format!("prefill {n}"),
            Self::Decode(n) => format!("decode {} at {n}", options.generate),
            Self::Verify => format!("verify {VERIFY_TOKENS} and 1"),
            Self::Image => format!("image of {}", work::IMAGE_TOKENS),
            Self::Audio => format!("sound of {}", work::AUDIO_TOKENS),
        }
    }
}

/// One session and what is known of its speed.
struct Bench<'m, 'o> {
    model: &'m Model,
    options: &'o Options,
    session: Session,
    tasks: Vec<Task>,
    tokens: Tokens<'m>,
    energy: Energy,
    /// Reads what decoding reads, if that is wanted.
    reader: Option<WeightReader<'m>>,
    deadline: Instant,
    /// Seconds for a token of a prompt, and for a decoded one: the latest measured.
    prefill_seconds: f64,
    decode_seconds: f64,
    out: &'o mut Measured,
}

impl<'m, 'o> Bench<'m, 'o> {
    fn new(
        model: &'m Model,
        options: &'o Options,
        threads: usize,
        deadline: Instant,
        out: &'o mut Measured,
    ) -> Result<Self, Error> {
        let most = model.config().context;
        let (tasks, beyond): (Vec<_>, Vec<_>) =
            options.tasks(model).into_iter().partition(|task| task.context(options) <= most);
        for task in beyond {
            let why = format!("it exceeds the model's context of {most} tokens");
            out.skipped.push(Skipped { what: task.name(options), why });
        }
        let wanted = tasks.iter().map(|task| task.context(options)).max().unwrap_or(0);
        let session = options.session(wanted.max(WARM_UP + 2).min(most), threads);
        Ok(Self {
            model,
            options,
            session: Session::new(model, session)?,
            tasks,
            tokens: Tokens::new(model),
            energy: Energy::find(),
            reader: None,
            deadline,
            prefill_seconds: 0.0,
            decode_seconds: 0.0,
            out,
        })
    }

    fn run_all(&mut self, on_step: &mut dyn FnMut(Step<'_>)) -> Result<(), Error> {
        let tasks = self.tasks.clone();
        for (i, task) in tasks.iter().enumerate() {
            let name = task.name(self.options);
            let left = self.deadline.saturating_duration_since(Instant::now());
            let rest: f64 = tasks[i..].iter().map(|task| self.seconds(*task)).sum();
            on_step(Step {
                what: &name,
                number: i + 1,
                count: tasks.len(),
                left: left.min(Duration::try_from_secs_f64(rest).unwrap_or(left)),
            });
            let least = self.seconds_at_least(*task);
            if least > left.as_secs_f64() {
                let why = format!(
                    "it would take about {least:.0} s of a budget of which {:.0} s are left",
                    left.as_secs_f64()
                );
                self.skip(*task, why);
                continue;
            }
            match self.run(*task) {
                Err(Error::Cancelled { done, total }) => {
                    let why = format!("the budget ended after {done} of {total} tokens");
                    self.skip(*task, why);
                }
                // A projector can be too small for the picture; that is no reason to stop.
                Err(e) if matches!(task, Task::Image | Task::Audio) => {
                    self.skip(*task, e.to_string());
                }
                result => result?,
            }
        }
        Ok(())
    }

    fn skip(&mut self, task: Task, why: String) {
        let threads = self.session.threads();
        let what = format!("{} on {threads} threads", task.name(self.options));
        self.out.skipped.push(Skipped { what, why });
    }

    /// What one sample of a task takes, with what must come before it.
    fn seconds_at_least(&self, task: Task) -> f64 {
        let have = self.session.len();
        let fill = |depth: usize| if have <= depth { depth - have } else { depth } as f64;
        let decode = self.options.generate as f64 * self.decode_seconds;
        match task {
            Task::Prefill(n) => n as f64 * self.prefill_seconds,
            Task::Decode(n) => fill(n) * self.prefill_seconds + decode,
            Task::Verify => {
                fill(VERIFY_DEPTH) * self.prefill_seconds
                    + VERIFY_PASSES as f64 * 3.0 * self.decode_seconds
            }
            Task::Image | Task::Audio => task.tokens() as f64 * self.prefill_seconds,
        }
    }

    /// What all samples take.
    fn seconds(&self, task: Task) -> f64 {
        let more = self.options.repetitions.saturating_sub(1) as f64;
        let again = match task {
            Task::Decode(_) => self.options.generate as f64 * self.decode_seconds,
            Task::Verify => VERIFY_PASSES as f64 * 3.0 * self.decode_seconds,
            _ => self.seconds_at_least(task),
        };
        self.seconds_at_least(task) + more * again
    }

    /// Whether the budget has room for so many seconds.
    fn has(&self, seconds: f64) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        seconds <= left.as_secs_f64()
    }

    /// Breaks off what goes on beyond the budget.
    fn flow(&self) -> impl FnMut(carat::Progress) -> ControlFlow<()> + 'static {
        let deadline = self.deadline;
        move |_| match Instant::now() > deadline {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Arbitrary tokens that are words, the same ones in every run.
pub(crate) struct Tokens<'m> {
    model: &'m Model,
    random: Xorshift,
}

impl<'m> Tokens<'m> {
    pub(crate) fn new(model: &'m Model) -> Self {
        Self { model, random: Xorshift::default() }
    }

    /// So many of them; `first` begins a conversation.
    pub(crate) fn take(&mut self, count: usize, first: bool) -> Vec<TokenId> {
        let bos = self.model.tokenizer().bos().filter(|_| first && count > 0);
        let rest = count - bos.iter().len();
        bos.into_iter().chain((0..rest).map(|_| self.word()).collect::<Vec<_>>()).collect()
    }

    fn word(&mut self) -> TokenId {
        let (vocab, tokenizer) = (self.model.config().vocab as u64, self.model.tokenizer());
        let mut id = 0;
        // A vocabulary of special tokens alone has no words: then any token that is no medium's
        // would do, and the last one tried is as good as another.
        for _ in 0..100 {
            id = (self.random.next() >> 8) % vocab;
            if !tokenizer.is_special(id as TokenId) {
                break;
            }
        }
        id as TokenId
    }
}

/// Tokens of a draft that are verified at once.
const VERIFY_TOKENS: usize = 4;

/// Passes in a sample of verifying.
const VERIFY_PASSES: usize = 8;

/// Tokens before those that are verified.
const VERIFY_DEPTH: usize = 128;

/// Tokens of the prompt that comes before all tests.
const WARM_UP: usize = 32;

#[cfg(test)]
mod tests;

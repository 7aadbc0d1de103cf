//! The tests themselves: what is done before the clock starts, and what while it runs.

use std::ops::ControlFlow;
use std::time::Instant;

use carat::vision::{Budget, Picture};
use carat::{Error, Input, Medium, Part, Progress, Session};

use super::{Bench, Kind, Task, Test, VERIFY_DEPTH, VERIFY_PASSES, VERIFY_TOKENS, WARM_UP};
use crate::random::Xorshift;
use crate::roof::WeightReader;

/// Hears how far a prompt is, and may break off.
type Flow<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

impl Bench<'_, '_> {
    /// Touches all memory that short tests use, starts the threads, and finds out how fast this is:
    /// whatever the budget, which is judged by it.
    pub(super) fn warm_up(&mut self) -> Result<(), Error> {
        let count = WARM_UP.min(self.session.context() - 2);
        let mut prompts = self.test(Kind::Prefill, (count, 0, 0), count);
        for _ in 0..2 {
            self.prompt(&mut prompts, &mut |_| ControlFlow::Continue(()))?;
        }
        self.prefill_seconds = seconds(&prompts) / count as f64;
        let begun = Instant::now();
        self.decode(2)?;
        self.decode_seconds = begun.elapsed().as_secs_f64() / 2.0;
        let decodes = self.tasks.iter().any(|task| matches!(task, Task::Decode(_)));
        if self.options.readings && decodes {
            // Not before: weights in a cache file are in memory only once they are used.
            self.reader = WeightReader::new(self.model.packed_weights(), self.session.threads());
        }
        Ok(())
    }

    pub(super) fn run(&mut self, task: Task) -> Result<(), Error> {
        match task {
            Task::Prefill(n) => self.run_prefill(n),
            Task::Decode(depth) => self.run_decode(depth),
            Task::Verify => self.run_verify(),
            Task::Image => self.run_image(),
            Task::Audio => self.run_audio(),
        }
    }

    fn run_prefill(&mut self, count: usize) -> Result<(), Error> {
        let mut test = self.test(Kind::Prefill, (count, 0, 0), count);
        let mut flow = self.flow();
        while self.wants(&test) {
            match self.prompt(&mut test, &mut flow) {
                // The samples before the one that the budget cut short are as good as any.
                Err(Error::Cancelled { .. }) if !test.samples_ns.is_empty() => break,
                result => result?,
            }
        }
        self.prefill_seconds = seconds(&test) / count as f64;
        self.finish(test);
        Ok(())
    }

    fn run_decode(&mut self, depth: usize) -> Result<(), Error> {
        let count = self.options.generate;
        let mut test = self.test(Kind::Decode, (0, count, depth), count);
        self.fill(depth)?;
        while self.wants(&test) {
            let before = self.reading();
            let clock = self.start();
            self.decode(count)?;
            self.stop(clock, &mut test);
            test.readings_gb_s.extend(before.zip(self.reading()).map(|(a, b)| [a, b]));
            self.back_to(depth)?;
        }
        self.decode_seconds = seconds(&test) / count as f64;
        self.finish(test);
        Ok(())
    }

    /// Passes of four tokens and passes of one in turns, so that both see the same machine.
    fn run_verify(&mut self) -> Result<(), Error> {
        let test = |bench: &Self, width: usize| {
            bench.test(Kind::Verify, (width, 0, VERIFY_DEPTH), width * VERIFY_PASSES)
        };
        let (mut many, mut one) = (test(self, VERIFY_TOKENS), test(self, 1));
        self.fill(VERIFY_DEPTH)?;
        while self.wants(&many) {
            for test in [&mut many, &mut one] {
                let ids = self.tokens.take(test.n_prompt * VERIFY_PASSES, false);
                let clock = self.start();
                for draft in ids.chunks(test.n_prompt) {
                    self.session.eval(draft, |_, logits| _ = std::hint::black_box(logits))?;
                }
                self.stop(clock, test);
            }
            self.back_to(VERIFY_DEPTH)?;
        }
        self.finish(many);
        self.finish(one);
        Ok(())
    }

    fn run_image(&mut self) -> Result<(), Error> {
        let picture = picture()?;
        self.run_medium(Kind::Image, picture.tokens(), |session| session.embed_picture(&picture))
    }

    fn run_audio(&mut self) -> Result<(), Error> {
        let samples = sound();
        self.run_medium(Kind::Audio, AUDIO_TOKENS, |session| session.embed_samples(&samples))
    }

    /// Embeds a medium and evaluates it, alone in the session.
    fn run_medium(
        &mut self,
        kind: Kind,
        tokens: usize,
        embed: impl Fn(&mut Session) -> Result<Medium, Error>,
    ) -> Result<(), Error> {
        let mut test = self.test(kind, (tokens, 0, 0), 0);
        while self.wants(&test) {
            self.session.truncate(0)?;
            let clock = self.start();
            let medium = embed(&mut self.session)?;
            self.session.push(Input::Parts(&[Part::Medium(&medium)]))?;
            self.stop(clock, &mut test);
            test.tokens = self.session.len();
        }
        self.finish(test);
        Ok(())
    }

    /// Whether another sample is to be taken: the first always, the others while the budget lasts.
    fn wants(&self, test: &Test) -> bool {
        let last = test.samples_ns.last().map_or(0.0, |ns| *ns as f64 / 1e9);
        let taken = test.samples_ns.len();
        taken == 0 || (taken < self.options.repetitions && self.has(last))
    }

    /// Evaluates a test's prompt in an empty session: one sample.
    fn prompt(&mut self, test: &mut Test, flow: &mut Flow<'_>) -> Result<(), Error> {
        let ids = self.tokens.take(test.n_prompt, true);
        self.session.truncate(0)?;
        let clock = self.start();
        self.session.push_with(Input::Tokens(&ids), flow)?;
        self.stop(clock, test);
        Ok(())
    }

    /// What memory gives now, in 10⁹ bytes a second.
    fn reading(&self) -> Option<f64> {
        self.reader.as_ref().map(WeightReader::gb_s)
    }

    fn decode(&mut self, count: usize) -> Result<(), Error> {
        for _ in 0..count {
            let ids = self.tokens.take(1, self.session.is_empty());
            self.session.push(Input::Tokens(&ids))?;
        }
        Ok(())
    }

    /// Makes the session hold `depth` tokens, all of them evaluated.
    fn fill(&mut self, depth: usize) -> Result<(), Error> {
        // Media are not words: what comes after them has seen something else.
        let usable = self.session.len() <= depth && self.has_words_only();
        if !usable {
            self.session.truncate(0)?;
        }
        let missing = depth - self.session.len();
        if missing > 0 {
            let ids = self.tokens.take(missing, self.session.is_empty());
            let mut flow = self.flow();
            self.session.push_with(Input::Tokens(&ids), &mut flow)?;
        }
        Ok(())
    }

    fn has_words_only(&self) -> bool {
        let special = |id: &u32| self.model.tokenizer().is_special(*id);
        !self.session.tokens().iter().skip(1).any(special)
    }

    /// Goes back; the token that going back leaves to be evaluated again is, so that no sample has
    /// it.
    fn back_to(&mut self, depth: usize) -> Result<(), Error> {
        self.session.truncate(depth)?;
        if depth > 0 {
            self.session.logits()?;
        }
        Ok(())
    }

    fn test(
        &self,
        kind: Kind,
        (n_prompt, n_gen, n_depth): (usize, usize, usize),
        tokens: usize,
    ) -> Test {
        Test {
            kind,
            threads: self.session.threads(),
            isa: self.session.isa().name().to_owned(),
            chunk: self.options.chunk,
            kv: kv_name(self.options.kv).to_owned(),
            n_prompt,
            n_gen,
            n_depth,
            tokens,
            samples_ns: Vec::new(),
            readings_gb_s: Vec::new(),
            joules_per_token: None,
        }
    }

    fn start(&self) -> Clock {
        Clock { joules: self.energy.now(), begun: Instant::now() }
    }

    /// Adds a sample and its energy to a test.
    fn stop(&self, clock: Clock, test: &mut Test) {
        test.samples_ns.push(clock.begun.elapsed().as_nanos() as u64);
        if let Some(joules) = self.energy.joules_since(&clock.joules) {
            *test.joules_per_token.get_or_insert_default() += joules;
        }
    }

    /// Keeps a test, whose energy was that of all its samples until now.
    fn finish(&mut self, mut test: Test) {
        let tokens = test.tokens * test.samples_ns.len();
        test.joules_per_token = test.joules_per_token.map(|joules| joules / tokens as f64);
        self.out.tests.push(test);
    }
}

/// When a sample began, and the energy counters then.
struct Clock {
    joules: Vec<u64>,
    begun: Instant,
}

/// The median time of a sample.
fn seconds(test: &Test) -> f64 {
    test.time_ns().map_or(0.0, |ns| ns.median() / 1e9)
}

/// The names that the command line has for them.
pub(crate) fn kv_name(kv: carat::KvType) -> &'static str {
    match kv {
        carat::KvType::F32 => "f32",
        carat::KvType::F16 => "f16",
        carat::KvType::Q8 => "q8",
    }
}

/// A slope of colours with noise; 4 to 3, as cameras make them.
pub(crate) fn picture() -> Result<Picture, Error> {
    let (width, height) = (960u32, 720u32);
    let mut random = Xorshift::default();
    let mut pixels = Vec::with_capacity((3 * width * height) as usize);
    for y in 0..height {
        for x in 0..width {
            let noise = (random.next() >> 58) as u32;
            pixels.extend([x * 192 / width, y * 192 / height, 96].map(|c| (c + noise) as u8));
        }
    }
    Ok(Picture::from_rgb(width, height, &pixels, Budget::try_from(IMAGE_TOKENS)?)?)
}

/// A tone of 440 Hz with noise.
pub(crate) fn sound() -> Vec<f32> {
    let mut random = Xorshift::default();
    let sample = |i: usize| {
        let phase = i as f32 * 440.0 * std::f32::consts::TAU / carat::audio::RATE as f32;
        0.3 * phase.sin() + 0.05 * random.normal()
    };
    (0..AUDIO_TOKENS * carat::audio::FRAME).map(sample).collect()
}

/// Most tokens of the picture: the default budget.
pub(super) const IMAGE_TOKENS: usize = 280;

/// Tokens of the sound: ten seconds.
pub(super) const AUDIO_TOKENS: usize = 250;

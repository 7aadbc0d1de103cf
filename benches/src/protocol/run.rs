//! The run itself: from the first start to the second one.
//!
//! What takes a prompt of its own begins in an empty session, and so does each block of sustained
//! decoding. Depth is made by [`Session::fill`], since prompts of 16384 tokens would take a laptop
//! most of an hour; decoding there reads as much and computes as much.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use carat::{
    Cancel, Error, Input, Isa, KvType, Medium, Model, OpenOptions, Part, Session, SessionConfig,
};

use super::energy::Meter;
use super::gate::{self, Gate, Reference};
use super::{Monitor, Plan, Record, Settings, Sustained, Timing, ids};
use crate::measure::Step;
use crate::measure::work::{picture, sound};
use crate::results::Skipped;
use crate::roof::WeightReader;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The model file.
    pub model: &'a Path,
    /// Its projector: without one there are no turns with pictures and sound.
    pub projector: Option<&'a Path>,
    /// Where the cache file of the second start may lie for a while.
    pub cache: &'a Path,
    /// Most tokens of a session that memory has room for.
    pub context_max: usize,
    /// Ends the run; what was measured until then stays in the record.
    pub stop: &'a Cancel,
}

/// The time that a run is going to take, by what the machine can do at most: decoding reads at
/// three quarters of the memory's speed, prompts multiply at half of the 8-bit peak, and the
/// scalar kernels of the gate at 4 · 10⁸ multiplications a second and thread. Files are written and
/// read at half a gigabyte a second.
pub fn estimate(record: &Record) -> Duration {
    let plan = Plan::of(record);
    let seconds: f64 = plan
        .names()
        .iter()
        .chain(&EXTRA.map(str::to_owned))
        .map(|name| seconds(record, name))
        .sum();
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// What a test takes, by the estimate.
fn seconds(record: &Record, name: &str) -> f64 {
    let (plan, cost) = (Plan::of(record), &record.model.facts.cost);
    let threads = record.machine.cores.max(1) as f64;
    let peak = record.roof.int8(&record.settings.isa).map_or(50.0 * threads, |peak| peak.gmac_s);
    let decode = cost.decode_bytes as f64 / 1e9 / (0.75 * record.roof.read_gb_s.max(1.0));
    let prompt = cost.prefill_macs as f64 / 1e9 / (0.5 * peak);
    let file = cost.bytes as f64 / 5e8;
    let repetitions = plan.repetitions as f64;
    let turn = |tokens: f64| repetitions * (tokens * prompt + decode);
    match name.split_once(' ').unwrap_or((name, "")) {
        ("start", "first") => file,
        ("start", _) => 2.0 * file + plan.starts as f64 * (file / 4.0 + decode),
        ("prompt", _) => repetitions * plan.prompt as f64 * prompt,
        ("decode", _) => repetitions * plan.generate as f64 * decode * 1.1 + 1.0,
        ("turn", "text") => turn(plan.text as f64),
        ("turn", "picture") => turn(283.0 + plan.question as f64),
        ("turn", _) => turn(253.0 + plan.question as f64),
        (GATE, _) => match Reference::of(&record.model.hash) {
            Some(_) => gate::TOKENS as f64 * decode,
            None => gate::TOKENS as f64 * cost.decode_macs as f64 / 4e8 / threads,
        },
        _ => plan.sustained.as_secs_f64(),
    }
}

/// Measures everything into `record`, which already has the machine, the roof and the model's
/// sizes.
///
/// A gate that is not passed ends the run: nobody wants the speed of wrong answers.
///
/// # Errors
/// If the model cannot be opened or a session fails; [`Error::Cancelled`] if the job was stopped.
pub fn run(
    job: Job<'_>,
    record: &mut Record,
    monitor: &mut Monitor,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<(), Error> {
    let model = first_start(job, record, on_step)?;
    let passed = measured(job, &model, record, monitor, on_step)?;
    drop(model);
    if passed {
        second_start(job, record, on_step)?;
    }
    monitor.look();
    Ok(())
}

fn first_start(
    job: Job<'_>,
    record: &mut Record,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<Model, Error> {
    say(record, "start first", on_step);
    let begun = Instant::now();
    let model = open(job, None)?;
    first_token(job, &model)?;
    let ns = nanoseconds(begun);
    record.timings.push(Timing::new("start first", 1, vec![ns]));
    record.model.hash = model.identity()?.to_string();
    record.model.projector = model.projector_identity()?.map(|identity| identity.to_string());
    Ok(model)
}

/// The cache file is written, and not timed; then the model starts from it as often as planned.
/// What goes wrong here, for want of room on the disk perhaps, must not cost the rest of the run.
fn second_start(
    job: Job<'_>,
    record: &mut Record,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<(), Error> {
    say(record, SECOND, on_step);
    let why = match second_starts(job, Plan::of(record).starts) {
        Ok(Ok(samples)) => {
            record.timings.push(Timing::new(SECOND, 1, samples));
            return Ok(());
        }
        Ok(Err(why)) => why,
        Err(e @ Error::Cancelled { .. }) => return Err(e),
        Err(e) => e.to_string(),
    };
    record.skipped.push(Skipped { what: SECOND.to_owned(), why });
    Ok(())
}

/// Nanoseconds, or why there is no cache file.
fn second_starts(job: Job<'_>, count: usize) -> Result<Result<Vec<u64>, String>, Error> {
    let model = open(job, Some(job.cache))?;
    if let Some(why) = model.cache_refused() {
        return Ok(Err(why.to_string()));
    }
    drop(model);
    let mut samples = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let model = open(job, Some(job.cache))?;
        first_token(job, &model)?;
        samples.push(nanoseconds(begun));
    }
    Ok(Ok(samples))
}

fn open(job: Job<'_>, cache: Option<&Path>) -> Result<Model, Error> {
    let (projector, cancel) = (job.projector, Some(job.stop));
    let mut progress = |_, _| match job.stop.is_cancelled() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let progress: Option<&mut dyn FnMut(u64, u64) -> ControlFlow<()>> = Some(&mut progress);
    Model::open_with(
        job.model,
        OpenOptions { projector, cancel, cache, progress, ..Default::default() },
    )
}

/// Until the first token is there a start is not over: weights that are mapped are read only now.
fn first_token(job: Job<'_>, model: &Model) -> Result<(), Error> {
    let config = SessionConfig { context: 2, rollback: 1, ..SessionConfig::default() };
    let mut session = Session::new(model, config)?;
    session.set_cancel(job.stop.clone());
    session.push(Input::Tokens(&ids(model, 1)))?;
    black_box(session.logits()?);
    Ok(())
}

/// All that one open model is asked for; whether it passed the gate.
fn measured(
    job: Job<'_>,
    model: &Model,
    record: &mut Record,
    monitor: &mut Monitor,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<bool, Error> {
    say(record, GATE, on_step);
    let gate = pass_gate(job, model, record)?;
    let passed = gate.passed;
    record.gate = Some(gate);
    if !passed {
        return Ok(false);
    }
    let mut bench = Bench::new(job, model, record)?;
    for name in Plan::of(bench.record).names() {
        if name.starts_with("start") {
            continue;
        }
        say(bench.record, &name, on_step);
        bench.test(&name)?;
        monitor.look();
    }
    say(bench.record, SUSTAINED, on_step);
    bench.sustained(monitor)?;
    Ok(true)
}

/// The fingerprint by the engine as it is measured, beside the reference.
fn pass_gate(job: Job<'_>, model: &Model, record: &Record) -> Result<Gate, Error> {
    let fingerprint = |isa: Isa, kv: KvType, ids: &[u32], wanted| {
        let context = ids.len();
        let config = SessionConfig { isa, kv, context, ..SessionConfig::default() };
        let config = SessionConfig { rollback: 1, own_threads: isa != Isa::best(), ..config };
        let mut session = Session::new(model, config)?;
        session.set_cancel(job.stop.clone());
        gate::fingerprint(&mut session, ids, wanted)
    };
    let ids = ids(model, gate::TOKENS);
    let usual = SessionConfig::default();
    let kept = Reference::of(&record.model.hash);
    let (how, wanted) = match &kept {
        Some(reference) => (reference.how.clone(), reference.rows.clone()),
        None => (SCALAR.to_owned(), fingerprint(Isa::scalar(), KvType::F32, &ids, None)?),
    };
    let found = fingerprint(usual.isa, usual.kv, &ids, Some(&wanted))?;
    let same = kept.as_ref().is_none_or(|reference| reference.ids == ids);
    let gate = Gate::new(&how, &wanted, found.clone(), kept.is_some()).ok().filter(|_| same);
    // What cannot be compared has not passed.
    Ok(gate.unwrap_or(Gate { how, found, ..Gate::default() }))
}

/// One session and what is measured with it.
struct Bench<'a> {
    plan: &'static Plan,
    record: &'a mut Record,
    model: &'a Model,
    session: Session,
    meter: Meter,
    reader: Option<WeightReader<'a>>,
}

impl<'a> Bench<'a> {
    fn new(job: Job<'a>, model: &'a Model, record: &'a mut Record) -> Result<Self, Error> {
        let (plan, config) = (Plan::of(record), SessionConfig::default());
        let most = model.config().context;
        let has_senses = model.sees() || model.hears();
        let turn = if has_senses { MEDIUM_MOST + plan.question } else { 0 };
        let deepest = plan.context(plan.depths.into_iter().max().unwrap_or(0));
        let least = plan.context(plan.prompt).max(plan.text).max(turn);
        let context = deepest.min(job.context_max).max(least).min(most);
        let rollback = (plan.generate + 1).min(context);
        let config = SessionConfig { context, rollback, ..config };
        let (chunk, kv) = (config.prefill_chunk, config.kv);
        let mut session = Session::new(model, config)?;
        session.set_cancel(job.stop.clone());
        record.settings = Settings {
            threads: session.threads(),
            isa: session.isa().name().to_owned(),
            kv: crate::measure::work::kv_name(kv).to_owned(),
            chunk,
        };
        let meter = Meter::find();
        record.energy = meter.method().to_owned();
        let mut bench = Self { plan, record, model, session, meter, reader: None };
        // Memory that short tests use is touched, threads run, and the clock is where it will be.
        let warm = plan.prompt.min(64);
        for _ in 0..2 {
            bench.push(warm)?;
            bench.decode(2)?;
        }
        bench.reader = WeightReader::new(model.packed_weights(), bench.session.threads());
        Ok(bench)
    }

    fn test(&mut self, name: &str) -> Result<(), Error> {
        match name.split_once(' ').unwrap_or((name, "")) {
            ("prompt", _) => self.time(name, self.plan.prompt, |bench| {
                bench.push(bench.plan.prompt).map(|()| bench.plan.prompt)
            }),
            ("decode", depth) => self.at_depth(name, depth.parse().unwrap_or(0)),
            ("turn", "text") => self.time(name, self.plan.text, |bench| {
                bench.push(bench.plan.text)?;
                bench.answer().map(|()| bench.plan.text)
            }),
            ("turn", "picture") if self.model.sees() => {
                self.turn(name, |session| session.embed_picture(&picture()?))
            }
            ("turn", "sound") if self.model.hears() => {
                self.turn(name, |session| session.embed_samples(&sound()))
            }
            _ => {
                self.skip(name, "the model has no projector for it");
                Ok(())
            }
        }
    }

    /// Samples of `work` in an empty session, which says how many tokens there are in the end.
    fn time(
        &mut self,
        name: &str,
        tokens: usize,
        mut work: impl FnMut(&mut Self) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        if tokens > self.session.context() {
            self.skip(name, &format!("the model's context is {}", self.session.context()));
            return Ok(());
        }
        let (mut samples, mut joules, mut done) = (Vec::new(), None, tokens);
        for _ in 0..self.plan.repetitions {
            self.session.truncate(0)?;
            let before = self.meter.short();
            let begun = Instant::now();
            done = work(self)?;
            samples.push(nanoseconds(begun));
            add(&mut joules, self.meter.short_since(&before));
        }
        self.record.timings.push(Timing { joules, ..Timing::new(name, done, samples) });
        Ok(())
    }

    fn at_depth(&mut self, name: &str, depth: usize) -> Result<(), Error> {
        let count = self.plan.generate;
        if self.plan.context(depth) > self.session.context() {
            let why = match self.plan.context(depth) > self.model.config().context {
                true => format!("the model's context is {}", self.model.config().context),
                false => "this machine has no memory for so long a session".to_owned(),
            };
            self.skip(name, &why);
            return Ok(());
        }
        self.session.truncate(0)?;
        self.session.fill(&ids(self.model, depth))?;
        let (mut samples, mut joules, mut readings_gb_s) = (Vec::new(), None, Vec::new());
        for _ in 0..self.plan.repetitions {
            if depth > 0 {
                self.session.logits()?; // what going back left to be evaluated again
            }
            let reading = self.reading();
            let before = self.meter.short();
            let begun = Instant::now();
            self.decode(count)?;
            samples.push(nanoseconds(begun));
            add(&mut joules, self.meter.short_since(&before));
            readings_gb_s.extend(reading.zip(self.reading()).map(|(a, b)| [a, b]));
            self.session.truncate(depth)?;
        }
        let timing = Timing::new(name, count, samples);
        self.record.timings.push(Timing { joules, readings_gb_s, ..timing });
        Ok(())
    }

    /// From the raw medium to the first token of the answer.
    fn turn(
        &mut self,
        name: &str,
        embed: impl Fn(&mut Session) -> Result<Medium, Error>,
    ) -> Result<(), Error> {
        let question = ids(self.model, self.plan.question + 1);
        let result = self.time(name, MEDIUM_MOST + self.plan.question, |bench| {
            let medium = embed(&mut bench.session)?;
            bench.session.push(Input::Parts(&[Part::Medium(&medium)]))?;
            bench.session.push(Input::Tokens(&question[1..]))?;
            bench.answer()?;
            Ok(bench.session.len())
        });
        match result {
            Err(e @ Error::Cancelled { .. }) => Err(e),
            // A projector can be too small for the picture.
            Err(e) => {
                self.skip(name, &e.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn sustained(&mut self, monitor: &mut Monitor) -> Result<(), Error> {
        let count = self.plan.generate.min(self.session.context());
        let (mut blocks_ns, mut joules) = (Vec::new(), None);
        let held = self.meter.battery();
        let begun = Instant::now();
        let mut result = Ok(());
        while result.is_ok() && begun.elapsed() < self.plan.sustained {
            let before = self.meter.short();
            let block = Instant::now();
            result = self.session.truncate(0).and_then(|()| self.decode(count));
            if result.is_ok() {
                blocks_ns.push(nanoseconds(block));
                add(&mut joules, self.meter.short_since(&before));
            }
            monitor.look();
        }
        let emptied = held.zip(self.meter.battery()).map(|(before, now)| before - now);
        let joules = joules.or(emptied).filter(|joules| *joules > 0.0);
        self.record.sustained = Some(Sustained::new(count, blocks_ns, joules));
        result
    }

    /// So many tokens in an empty session.
    fn push(&mut self, count: usize) -> Result<(), Error> {
        self.session.truncate(0)?;
        self.session.push(Input::Tokens(&ids(self.model, count)))
    }

    /// The first token of an answer: the highest logit.
    fn answer(&mut self) -> Result<(), Error> {
        let logits = self.session.logits()?;
        black_box(logits.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)));
        Ok(())
    }

    /// Token by token: those that a prompt of so many has.
    fn decode(&mut self, count: usize) -> Result<(), Error> {
        let ids = ids(self.model, count + 1);
        let first = usize::from(!self.session.is_empty());
        ids[first..][..count].iter().try_for_each(|id| self.session.push(Input::Tokens(&[*id])))
    }

    fn reading(&self) -> Option<f64> {
        self.reader.as_ref().map(WeightReader::gb_s)
    }

    fn skip(&mut self, what: &str, why: &str) {
        let (what, why) = (what.to_owned(), why.to_owned());
        self.record.skipped.push(Skipped { what, why });
    }
}

/// Tells what comes now and what is left by the estimate.
fn say(record: &Record, name: &str, on_step: &mut dyn FnMut(Step<'_>)) {
    let mut all = Plan::of(record).names();
    all.insert(1, GATE.to_owned());
    all.insert(all.len() - 1, SUSTAINED.to_owned());
    let at = all.iter().position(|other| other == name).unwrap_or(0);
    let left: f64 = all[at..].iter().map(|name| seconds(record, name)).sum();
    let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
    on_step(Step { what: name, number: at + 1, count: all.len(), left });
}

fn add(sum: &mut Option<f64>, more: Option<f64>) {
    if let Some(more) = more {
        *sum.get_or_insert_default() += more;
    }
}

fn nanoseconds(begun: Instant) -> u64 {
    begun.elapsed().as_nanos() as u64
}

const GATE: &str = "gate";
const SECOND: &str = "start second";
const SUSTAINED: &str = "sustained decoding";
const EXTRA: [&str; 2] = [GATE, SUSTAINED];

/// Most tokens that a medium of the protocol has, with BOS, begin and end.
const MEDIUM_MOST: usize = 283;

/// How a reference of the same run is made.
const SCALAR: &str = "the scalar kernels of the same program, with keys and values in f32";

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::protocol::System;
    use crate::roof::Peak;

    fn kit(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/model/tests/data/tiny-s").join(name)
    }

    /// A quick run of a file of the kit, without pictures and sound.
    fn quick(file: &str, context_max: usize, stop: &Cancel) -> (Record, Result<(), Error>) {
        let folder = tempfile::tempdir().expect("a folder");
        let (model, cache) = (kit(file), folder.path().join("cache"));
        let (projector, cache) = (None, cache.as_path());
        let job = Job { model: &model, projector, cache, context_max, stop };
        let mut record = Record { quick: true, system: System::this(), ..Record::default() };
        let mut monitor = Monitor::begin();
        let result = run(job, &mut record, &mut monitor, &mut |_| ());
        (record, result)
    }

    #[test]
    fn what_memory_or_the_projector_lack_is_left_out_by_name() {
        let (record, result) = quick("text-q4_0.gguf", 100, &Cancel::new());
        result.expect("a run");
        let skipped: Vec<_> = record.skipped.iter().map(|s| (&*s.what, &*s.why)).collect();
        let memory = "this machine has no memory for so long a session";
        let senses = "the model has no projector for it";
        let [deep, picture, sound] = skipped[..] else { panic!("{skipped:?}") };
        assert_eq!((deep, picture), (("decode 256", memory), ("turn picture", senses)));
        assert_eq!(sound, ("turn sound", senses));
        let names: Vec<_> = record.timings.iter().map(|timing| &*timing.name).collect();
        let wanted = ["start first", "prompt 48", "decode 0", "decode 64", "turn text"];
        assert_eq!(names[..5], wanted);
        assert_eq!(names[5..], ["start second"]);
        assert!(record.sustained.is_some_and(|sustained| !sustained.blocks_ns.is_empty()));
        assert!(record.gate.is_some_and(|gate| gate.passed && gate.wanted.is_empty()));
    }

    #[test]
    fn what_is_stopped_before_it_begins_measures_nothing() {
        let stop = Cancel::new();
        stop.cancel();
        let (record, result) = quick("text-q4_0.gguf", usize::MAX, &stop);
        assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
        assert!(record.timings.is_empty() && record.gate.is_none());
    }

    /// The tokens of the program are those of the script that made the references.
    #[test]
    fn the_reference_has_the_tokens_that_the_formula_gives() {
        let model = Model::open(kit("text-q4_0.gguf")).expect("the kit");
        let hash = model.identity().expect("a hash").to_string();
        let reference = Reference::of(&hash).expect("the kit has a reference");
        assert_eq!(reference.ids, ids(&model, gate::TOKENS));
    }

    #[test]
    fn the_estimate_by_hand() {
        let peak = Peak { is_int8: true, gmac_s: 200.0, ..peak() };
        let mut record = Record::default();
        record.machine.cores = 2;
        record.roof.read_gb_s = 10.0;
        record.roof.peaks = vec![peak];
        let cost = &mut record.model.facts.cost;
        (cost.bytes, cost.decode_bytes) = (1_000_000_000, 1_500_000_000);
        (cost.decode_macs, cost.prefill_macs) = (2_000_000_000, 1_000_000_000);
        // A token reads 1.5 GB at 7.5 GB/s: 0.2 s. A prompt's takes 1 of 100 GMAC: 10 ms.
        // Starts: 2 s; 2 · 2 + 3 · (0.5 + 0.2) = 6.1 s. Prompt: 5 · 5.12 = 25.6 s. Decoding:
        // 3 · (5 · 32 · 0.22 + 1) = 108.6 s. Turns: 5 · (1.28 + 2.99 + 2.69 + 0.6) = 37.8 s.
        // Gate: 40 · 2 GMAC at 0.8 a second, 100 s. Sustained: 600 s.
        let seconds = estimate(&record).as_secs_f64();
        assert!((seconds - 880.1).abs() < 0.1, "{seconds}");
    }

    fn peak() -> Peak {
        Peak { name: String::new(), isa: String::new(), is_int8: true, gmac_s: 0.0 }
    }
}

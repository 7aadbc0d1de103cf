//! `carat bench --protocol 1`: the arguments, the order of things and where the result goes. What
//! is measured is `carat_bench::protocol`'s.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use carat::{Config, Error, Isa, MemoryPlan, SessionConfig};
use carat_bench::cost::{Cost, model_type};
use carat_bench::machine::{self, Machine};
use carat_bench::protocol::{self, Conditions, Job, Kind, Monitor, Plan, Program, Record, System};
use carat_bench::report;
use carat_gguf::{Gguf, PartFile, Source};

use super::args::{BenchArgs, Output};
use super::{ModelFile, RoofMeter, cache_folder};
use crate::interrupt::{self, Guard, Interrupted};
use crate::progress::in_words;
use crate::text::{print, say};
use crate::{Usage, load};

pub(super) fn bench(args: &BenchArgs) -> Result<()> {
    if args.isa.is_some_and(|isa| isa != Isa::best()) {
        let best = Isa::best().name();
        return Err(Usage(format!("the protocol measures the best instruction set, {best}")).into());
    }
    if args.output == Output::Csv {
        let said = "the protocol's result is JSON: -o json, table or html".to_owned();
        return Err(Usage(said).into());
    }
    let folder = args.save.as_deref().unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!("{} is no folder to save the result in: make it first", folder.display());
    }
    interrupt::install()?;
    let mut record = new_record(args);
    let result = measure(args, &mut record);
    record.partial |= result.is_err();
    record.marks = protocol::marks(&record);
    if record.timings.is_empty() && record.gate.is_none() {
        // Nothing was measured yet that is worth keeping.
        return result;
    }
    give(args, folder, &record)?;
    result?;
    if record.gate.as_ref().is_none_or(|gate| !gate.passed) {
        bail!("the answers are not those of the reference: these times mean nothing");
    }
    Ok(())
}

/// One page of the results in a folder.
pub(super) fn page(folder: &Path) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.with_context(|| format!("cannot read {}", folder.display()))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: PathBuf| {
        let record = Record::from_json(&load::text(&path)?)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("cannot use {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, record))
    };
    let records = paths.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    print(&report::machines(&records))
}

fn new_record(args: &BenchArgs) -> Record {
    let settings = protocol::Settings { isa: Isa::best().name().to_owned(), ..Default::default() };
    Record {
        protocol: protocol::VERSION,
        quick: args.quick,
        time: machine::utc_now(),
        program: Program::this(env!("CARGO_PKG_VERSION")),
        machine: Machine::this(),
        system: System::this(),
        settings,
        energy: "not reached".to_owned(),
        ..Record::default()
    }
}

/// Everything, into the record, which is as full as it can be when something ends it.
fn measure(args: &BenchArgs, record: &mut Record) -> Result<()> {
    let options = args.options();
    let file = ModelFile::find(args, &options, &record.machine)?;
    let room = describe(record, &file, args.synthetic.is_some())?;
    let mut status = super::Status::default();
    if !args.quick {
        status.say("what else this machine does");
        refuse(args, record, room.wanted)?;
        status.clear();
    }
    let begun = Instant::now();
    let guard = Guard::new();
    let mut monitor = Monitor::begin();
    let result = run(args, record, &file, room.context, &mut monitor, &mut status, &guard);
    status.clear();
    record.seconds = begun.elapsed().as_secs_f64();
    record.conditions = monitor.conditions(room.wanted);
    result
}

fn run(
    args: &BenchArgs,
    record: &mut Record,
    file: &ModelFile,
    context_max: usize,
    monitor: &mut Monitor,
    status: &mut super::Status,
    guard: &Guard,
) -> Result<()> {
    let Some(meter) = RoofMeter::new(args, &record.machine) else { bail!("there is no roof") };
    status.say("the roof of this machine");
    record.roof = meter.measure()?;
    record.read_gb_s.push(record.roof.read_gb_s);
    guard.check()?;
    let folder = cache_folder();
    let cache = fs::create_dir_all(&folder)
        .and_then(|()| PartFile::create(&folder.join("carat-bench.cache")))
        .with_context(|| format!("cannot make a file in {}", folder.display()))?;
    // It goes with the other, whose name it begins with.
    let mut beside = cache.path().as_os_str().to_owned();
    beside.push(".weights");
    let (beside, stop) = (PathBuf::from(beside), interrupt::stop());
    let projector = file.projector.as_deref();
    let job = Job { model: &file.path, projector, cache: &beside, context_max, stop: &stop };
    status.clear();
    let seconds = protocol::estimate(record).as_secs();
    say!(
        "carat: all of it takes about {}; Ctrl-C ends it and keeps what is there",
        in_words(seconds.max(1))
    );
    let ran = protocol::run(job, record, monitor, &mut |step| status.step(&step));
    status.clear();
    match ran {
        Err(Error::Cancelled { .. }) => {
            bail!(Interrupted("interrupted, the result is marked as partial"))
        }
        ran => ran.map_err(|e| load::about(&file.path, "cannot measure", e))?,
    }
    status.say("the roof once more");
    let again = meter.measure()?;
    record.read_gb_s.push(again.read_gb_s);
    record.roof.merge(again);
    Ok(())
}

/// What can be known of the model without loading it, and the session that there is room for.
fn describe(record: &mut Record, file: &ModelFile, is_synthetic: bool) -> Result<Room> {
    let path = &file.path;
    let source = Source::open(path).map_err(|e| load::about(path, "cannot open", e))?;
    let gguf = source.parse().map_err(|e| load::about(path, "cannot read", e))?;
    let config = Config::from_gguf(&gguf).map_err(|e| load::about(path, "cannot measure", e))?;
    let bytes = fs::metadata(path).map_or(0, |file| file.len());
    record.model.kind = Kind::of(&gguf, bytes, is_synthetic);
    record.model.facts = carat_bench::ModelFacts {
        file: file.name.clone(),
        name: model_type(&gguf),
        context: config.context,
        cost: Cost::of(&gguf),
    };
    Ok(room(&gguf, record, config.context))
}

/// How long a session can be.
struct Room {
    context: usize,
    /// Bytes that the model and such a session take.
    wanted: u64,
}

/// The deepest test of the plan that memory has room for now, or the first.
fn room(gguf: &Gguf<'_>, record: &Record, most: usize) -> Room {
    let (plan, available) = (Plan::of(record), machine::memory_available());
    let memory = MemoryPlan::new(gguf);
    let of = |depth: &usize| {
        let context = plan.context(*depth).max(plan.prompt).min(most);
        let config = SessionConfig { context, ..SessionConfig::default() };
        // What cannot be planned is told when it is opened.
        let memory = memory.as_ref().ok().and_then(|memory| memory.session(&config).ok());
        Room { context, wanted: memory.map_or(0, |memory| memory.total()) }
    };
    let fits = |room: &Room| available == 0 || room.wanted <= available;
    let deepest = plan.depths.iter().rev().map(of).find(fits);
    deepest.unwrap_or_else(|| of(&plan.depths[0]))
}

/// Watches the machine for some seconds, and goes on only where it is quiet or with `--force`.
fn refuse(args: &BenchArgs, record: &mut Record, memory_wanted: u64) -> Result<()> {
    let mut monitor = Monitor::begin();
    thread::sleep(Duration::from_secs(protocol::WATCH_SECONDS));
    let conditions: Conditions = monitor.conditions(memory_wanted);
    let why = protocol::refusals(&conditions);
    if why.is_empty() {
        return Ok(());
    }
    let why = why.join(", and ");
    if !args.force {
        bail!("{why}; --force measures all the same and marks the result");
    }
    say!("carat: warning: {why}");
    record.forced = true;
    Ok(())
}

/// Prints the result, and saves it where it was asked for or nothing else holds it.
fn give(args: &BenchArgs, folder: &Path, record: &Record) -> Result<()> {
    let json = serde_json::to_string_pretty(record)? + "\n";
    if args.save.is_some() || args.output != Output::Json {
        let path = save(folder, record, &json)?;
        say!("carat: the result is in {}", path.display());
    }
    match args.output {
        Output::Json => print(&json),
        Output::Html => print(&report::machines(&[(record.file_name(), record.clone())])),
        Output::Table | Output::Csv => print(&protocol::summary(record)),
    }
}

/// Writes a new file, by the rule for names in `benches/results`; an old one is never replaced.
fn save(folder: &Path, record: &Record, json: &str) -> Result<PathBuf> {
    let name = record.file_name();
    let stem = name.trim_end_matches(".json");
    let names = (2..1000).map(|n| format!("{stem}-{n}.json"));
    for name in [name.clone()].into_iter().chain(names) {
        let path = folder.join(name);
        match fs::File::create_new(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            file => {
                let written =
                    file.and_then(|mut file| std::io::Write::write_all(&mut file, json.as_bytes()));
                written.with_context(|| format!("cannot write {}", path.display()))?;
                return Ok(path);
            }
        }
    }
    bail!("{} has a thousand results of this day: name another folder", folder.display())
}

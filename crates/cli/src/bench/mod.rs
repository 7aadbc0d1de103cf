//! `carat bench`: what this machine does with a model, beside what it could do at most.
//!
//! The measuring is `carat_bench`'s; here are the arguments, the order of things and the printing.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use carat::{Model, OpenOptions};
use carat_bench::cost::{Cost, model_type};
use carat_bench::draft;
use carat_bench::machine::{self, Machine};
use carat_bench::measure::{self, Options};
use carat_bench::synthetic::{self, Mix, Size};
use carat_bench::{ModelFacts, Results, Roof, RoofOptions, report};
use carat_gguf::{PartFile, Source};

use crate::args::cache_file;
use crate::interrupt;
use crate::progress::{Progress, Unit};
use crate::text::print;
use crate::{Usage, load};
use status::Status;

pub(crate) mod args;
mod protocol;
mod status;

use args::{BenchArgs, Output};

pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    if args.protocol.is_some() {
        return protocol::bench(args);
    }
    if let Some(folder) = &args.page {
        return protocol::page(folder);
    }
    if args.draft {
        return draft(args);
    }
    let results = match args.from.is_empty() {
        true => vec![measure(args)?],
        false => args.from.iter().map(|path| saved(path)).collect::<Result<_>>()?,
    };
    let text = match args.output {
        Output::Table => report::table(&results),
        Output::Csv => report::csv(&results),
        Output::Html => report::html(&results),
        Output::Json => match &results[..] {
            [one] => serde_json::to_string_pretty(one)? + "\n",
            _ => {
                let said = "-o json writes one result, and --from names several".to_owned();
                return Err(Usage(said).into());
            }
        },
    };
    print(&text)
}

/// The curves of drafts.
fn draft(args: &BenchArgs) -> Result<()> {
    let options = Options { media: false, ..args.options() };
    if args.synthetic.is_some() || args.cache.is_some() {
        interrupt::install()?;
    }
    let file = ModelFile::find(args, &options, &Machine::this())?;
    let opened = open(&mut Results::default(), file, &options)?;
    let mut status = Status::default();
    let plan = args.draft_plan();
    let points = draft::curves(&opened.model, &options, &plan, &mut |what| status.say(what))?;
    status.say("prompt lookup");
    let lookups = draft::lookups(&opened.model, &options)?;
    status.clear();
    print(&format!("{}\n{}", draft::table(&points, &plan), draft::lookup_lines(&lookups)))
}

fn saved(path: &Path) -> Result<Results> {
    Results::from_json(&load::text(path)?)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("cannot use {}", path.display()))
}

fn measure(args: &BenchArgs) -> Result<Results> {
    let options = args.options();
    let mut results = Results {
        format: Results::FORMAT,
        engine: "carat".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: carat_bench::COMMIT.to_owned(),
        time: machine::utc_now(),
        machine: Machine::this(),
        ..Results::default()
    };
    if args.synthetic.is_some() || args.cache.is_some() {
        interrupt::install()?;
    }
    let file = ModelFile::find(args, &options, &results.machine)?;
    describe(&mut results, &file, &options)?;
    let roof = RoofMeter::new(args, &results.machine);
    let mut status = Status::default();
    if let Some(roof) = &roof {
        status.say("the roof of this machine");
        results.roof = Some(roof.measure()?);
    }
    status.clear();
    // The roof's memory is gone; from here on it is the model's.
    machine::reset_peak_rss();
    let opened = open(&mut results, file, &options)?;
    let measured = measure::measure(&opened.model, &options, &mut |step| status.step(&step))?;
    status.clear();
    results.tests = measured.tests;
    results.skipped = measured.skipped;
    results.peak_rss = machine::peak_rss();
    drop(opened);
    if let Some(roof) = roof {
        status.say("the roof once more");
        roof.measure_again(args, &mut results)?;
        status.clear();
    }
    notes(args, &mut results);
    Ok(results)
}

/// What can be known of the model without loading it.
fn describe(results: &mut Results, file: &ModelFile, options: &Options) -> Result<()> {
    let path = &file.path;
    let source = Source::open(path).map_err(|e| load::about(path, "cannot open", e))?;
    let gguf = source.parse().map_err(|e| load::about(path, "cannot read", e))?;
    let config =
        carat::Config::from_gguf(&gguf).map_err(|e| load::about(path, "cannot measure", e))?;
    results.model = ModelFacts {
        file: file.name.clone(),
        name: model_type(&gguf),
        context: config.context,
        cost: Cost::of(&gguf),
    };
    results.memory = measure::memory_points(&gguf, options, config.context);
    Ok(())
}

/// A model that is ready.
struct Opened {
    model: Model,
    /// With a cache file that is mapped: some systems remove no such file.
    _temporary: Option<PartFile>,
}

/// Loads the model and notes the time, with a cache file once more from that; without one, a model
/// file that is not to be kept is gone after that.
fn open(results: &mut Results, file: ModelFile, options: &Options) -> Result<Opened> {
    let threads = options.threads.iter().copied().max().unwrap_or(0);
    let (projector, drafter) = (file.projector.as_deref(), file.drafter.as_deref());
    let cache = file.cache.as_deref();
    let open = || -> Result<(Model, u64)> {
        let options = OpenOptions { threads, projector, drafter, cache, ..Default::default() };
        let begun = Instant::now();
        let model = load::model(&file.path, options)?;
        Ok((model, begun.elapsed().as_nanos() as u64))
    };
    let written = || cache.and_then(|path| path.metadata().ok()?.modified().ok());
    let before = written();
    let (mut model, mut ns) = open()?;
    if cache.is_some() {
        let mut note = "the weights lie in a cache file".to_owned();
        // One of another model is replaced.
        if before.is_none() || written() != before {
            results.load_ns.push(ns);
            note += ", and the time of loading is with writing it";
            drop(model);
            machine::reset_peak_rss();
            (model, ns) = open()?;
        }
        results.cached_load_ns.push(ns);
        results.notes.push(note);
    } else {
        results.load_ns.push(ns);
    }
    let cached = file.cache.is_some();
    Ok(Opened { model, _temporary: file.temporary.filter(|_| cached) })
}

fn notes(args: &BenchArgs, results: &mut Results) {
    let mut note = |text: &str| results.notes.push(text.to_owned());
    if args.quick {
        note("a quick run: not to be compared with anything");
    }
    if cfg!(debug_assertions) {
        note("built without optimisation: build with --release");
    }
    if args.synthetic.is_some() {
        note("random weights of the shapes and formats of a real model");
    }
}

/// The file that is measured.
struct ModelFile {
    path: PathBuf,
    /// As it stands in the results.
    name: String,
    projector: Option<PathBuf>,
    /// Measured with `--draft` alone.
    drafter: Option<PathBuf>,
    /// Where the repacked weights are kept.
    cache: Option<PathBuf>,
    /// What is not to be kept and goes with this: the model, a projector and a cache file beside
    /// it, or the projector alone.
    temporary: Option<PartFile>,
}

impl ModelFile {
    fn find(args: &BenchArgs, options: &Options, machine: &Machine) -> Result<Self> {
        if let Some(size) = args.synthetic {
            let size = Size::from(size);
            let mut file = Self::synthetic(args, size, Mix::from(args.mix), machine)?;
            if options.media {
                file.add_projector(size)?;
            }
            if args.draft {
                file.add_drafter(size, Mix::from(args.mix))?;
            }
            return Ok(file);
        }
        let path = args.model.clone().unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = || carat::projectors_beside(&path).ok()?.into_iter().next();
        let projector = args.mmproj.clone().or_else(beside);
        let cache = find_cache(args, &path);
        let beside = || carat::drafters_beside(&path).ok()?.into_iter().next();
        let drafter = if args.draft { beside() } else { None };
        Ok(Self { path, name, projector, drafter, cache, temporary: None })
    }

    fn synthetic(args: &BenchArgs, size: Size, mix: Mix, machine: &Machine) -> Result<Self> {
        let (wanted, found) = (synthetic::bytes(size, mix), machine.memory);
        if found > 0 && found < wanted {
            let [wanted, found] = [wanted, found].map(|bytes| bytes as f64 / 1e9);
            bail!(
                "the model takes {wanted:.1} GB and this machine has {found:.1} GB of memory: \
                 measure another size or mix"
            );
        }
        let mut bar = Progress::new("writing the model", Unit::Bytes);
        let mut progress = |done, total| {
            bar.set(done, total);
            ControlFlow::Continue(())
        };
        let (path, temporary) = match &args.keep {
            Some(path) => {
                if !synthetic::exists(size, mix, path)? {
                    synthetic::write(size, mix, path, &mut progress)?;
                }
                (path.clone(), None)
            }
            None => {
                let place = cache_folder().join("carat-bench.gguf");
                let part = synthetic::write_part(size, mix, &place, &mut progress)?;
                (part.path().to_owned(), Some(part))
            }
        };
        drop(bar);
        let name = format!("synthetic {} {}", size.name(), mix.name());
        let cache = find_cache(args, &path);
        Ok(Self { path, name, projector: None, drafter: None, cache, temporary })
    }

    /// Writes a drafter beside the synthetic model, as [`Self::add_projector`] does.
    fn add_drafter(&mut self, size: Size, mix: Mix) -> Result<()> {
        let mut path = self.path.as_os_str().to_owned();
        path.push(".drafter");
        let path = PathBuf::from(path);
        if self.temporary.is_some() {
            synthetic::write_drafter(size, mix, &path)?;
            self.drafter = Some(path);
        } else {
            let part = synthetic::write_drafter_part(size, mix, &path)?;
            self.drafter = Some(part.path().to_owned());
            self.temporary = Some(part);
        }
        Ok(())
    }

    /// Writes a projector beside the synthetic model. It is never kept; its name is not
    /// one that other models beside it would take for theirs.
    fn add_projector(&mut self, size: Size) -> Result<()> {
        let mut path = self.path.as_os_str().to_owned();
        path.push(".mmproj");
        let path = PathBuf::from(path);
        if self.temporary.is_some() {
            // It goes with the model, whose name it begins with.
            synthetic::write_projector(size, &path)?;
            self.projector = Some(path);
        } else {
            let part = synthetic::write_projector_part(size, &path)?;
            self.projector = Some(part.path().to_owned());
            self.temporary = Some(part);
        }
        Ok(())
    }
}

fn find_cache(args: &BenchArgs, model: &Path) -> Option<PathBuf> {
    args.cache.as_ref().map(|named| cache_file(named.as_deref(), model))
}

/// Where large files may lie for a while: /tmp is memory on many systems.
fn cache_folder() -> PathBuf {
    cache_folder_by(|key| std::env::var_os(key).map(PathBuf::from))
        .map_or_else(std::env::temp_dir, |folder| folder.join("carat"))
}

/// The folder for caches, by the XDG Base Directory Specification or as Windows has it.
fn cache_folder_by(named: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let named = |key| named(key).filter(|path| path.is_absolute());
    named("XDG_CACHE_HOME")
        .or_else(|| named("HOME").map(|home| home.join(".cache")))
        .or_else(|| named("LOCALAPPDATA"))
}

/// Measures the roof before the model and after it: what lasts a while warms a laptop up.
struct RoofMeter(RoofOptions);

impl RoofMeter {
    fn new(args: &BenchArgs, machine: &Machine) -> Option<Self> {
        // More threads than the machine has would only wait for each other.
        let most = thread::available_parallelism().map_or(1, usize::from).max(machine.cores);
        let threads = args.threads.iter().copied().chain([machine.cores]).max().unwrap_or(1);
        let threads = threads.min(most);
        let mut options = RoofOptions::new(threads, machine::memory_available());
        if args.quick {
            options.read_bytes = options.read_bytes.min(QUICK_READ_BYTES);
            options.time = Duration::from_millis(20);
        }
        (!args.no_roof).then_some(Self(options))
    }

    fn measure(&self) -> Result<Roof> {
        Roof::measure(&self.0).context("cannot measure the roof; --no-roof leaves it out")
    }

    /// The better of both counts; what the memory's differ by is told.
    fn measure_again(&self, args: &BenchArgs, results: &mut Results) -> Result<()> {
        let again = self.measure()?;
        let Some(roof) = &mut results.roof else { return Ok(()) };
        let (first, second) = (roof.read_gb_s, again.read_gb_s);
        roof.merge(again);
        if (first - second).abs() > DRIFT * first.max(second) {
            results.notes.push(format!(
                "memory was read at {first:.1} GB/s before and {second:.1} GB/s after: this machine \
                 was not quiet, or grew hot"
            ));
        }
        if self.0.is_short() && !args.quick {
            let mib = self.0.read_bytes >> 20;
            results.notes.push(format!("the roof was read over {mib} MiB, for want of memory"));
        }
        Ok(())
    }
}

/// Differences of the roof that are worth a word.
const DRIFT: f64 = 0.05;

const QUICK_READ_BYTES: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Absolute paths of this system: `/x` is none on Windows.
    #[test]
    fn the_folder_for_caches_is_the_one_that_the_system_has() {
        let root = std::env::temp_dir();
        let folder = |known: &[(&str, &str)]| {
            cache_folder_by(|key| {
                let (_, value) = known.iter().find(|(name, _)| *name == key)?;
                Some(if value.is_empty() { PathBuf::new() } else { root.join(value) })
            })
        };
        let (xdg, home, local) = (("XDG_CACHE_HOME", "x"), ("HOME", "h"), ("LOCALAPPDATA", "l"));
        assert_eq!(folder(&[xdg, home, local]), Some(root.join("x")));
        assert_eq!(folder(&[("XDG_CACHE_HOME", ""), home]), Some(root.join("h").join(".cache")));
        assert_eq!(folder(&[local]), Some(root.join("l")));
        assert_eq!(folder(&[("HOME", "")]), None);
        let relative = |key: &str| (key == "XDG_CACHE_HOME").then(|| PathBuf::from("here"));
        assert_eq!(cache_folder_by(relative), None);
    }
}

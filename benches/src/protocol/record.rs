//! One run of the protocol, as JSON.

use carat_gguf::{Gguf, TensorType};
use serde::{Deserialize, Serialize};

use super::System;
use super::conditions::Conditions;
use super::gate::Gate;
use crate::machine::Machine;
use crate::results::{ModelFacts, Skipped};
use crate::roof::{Roof, is_speed};
use crate::stats::Samples;

/// One program, one model, one machine. Fields that this version does not know are passed over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the protocol and of this structure.
    pub protocol: u32,
    /// The sizes are small ones: nothing to compare with.
    #[serde(default)]
    pub quick: bool,
    /// It ended before everything was measured.
    #[serde(default)]
    pub partial: bool,
    /// It went on where it would have refused to.
    #[serde(default)]
    pub forced: bool,
    /// When it began, UTC, and the seconds that it took.
    pub time: String,
    /// See `time`.
    pub seconds: f64,
    /// The program.
    pub program: Program,
    /// Where.
    pub machine: Machine,
    /// More of that.
    pub system: System,
    /// What was run.
    pub model: NamedModel,
    /// How.
    pub settings: Settings,
    /// What the machine can do at most, the better of before and after.
    pub roof: Roof,
    /// Memory read in 10⁹ bytes a second, before and after everything else.
    pub read_gb_s: Vec<f64>,
    /// What was measured.
    pub timings: Vec<Timing>,
    /// Decoding for minutes on end; none if it was not reached.
    pub sustained: Option<Sustained>,
    /// How energy was measured, or why it was not.
    pub energy: String,
    /// Whether the answers are right; none if that was not reached.
    pub gate: Option<Gate>,
    /// What else the machine did meanwhile.
    pub conditions: Conditions,
    /// What a reader must know, as the conditions and the times have it.
    pub marks: Vec<Mark>,
    /// What was not measured, and why.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
}

/// The program that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// `carat`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit it was built from, `unknown` outside of a repository.
    pub commit: String,
    /// BLAKE3 of the file that ran, in hexadecimal; empty where it could not be read.
    pub hash: String,
    /// Built without optimisation.
    #[serde(default)]
    pub debug: bool,
}

/// A model that is known by its hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedModel {
    /// What it is to the protocol: `official-qat`, `synthetic` or `other`.
    pub kind: Kind,
    /// The identity that `carat` knows models by (BLAKE3 of all metadata and weights).
    pub hash: String,
    /// That of the projector, where there is one.
    #[serde(default)]
    pub projector: Option<String>,
    /// Its file and sizes.
    #[serde(flatten)]
    pub facts: ModelFacts,
}

/// What a model is to this protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Tensors, formats and bytes of Google's own QAT file of Gemma 4 12B.
    #[serde(rename = "official-qat")]
    Official,
    /// Random weights of `carat bench --synthetic`.
    Synthetic,
    /// Any other file.
    #[default]
    #[serde(other)]
    Other,
}

/// What the engine was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Threads that computed.
    pub threads: usize,
    /// The instruction set.
    pub isa: String,
    /// How keys and values were stored.
    pub kv: String,
    /// Most tokens in a pass.
    pub chunk: usize,
}

/// The times of one test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// One of the names that `benches/README.md` lists.
    pub name: String,
    /// Tokens that each sample is the time of.
    pub tokens: usize,
    /// Nanoseconds, in the order they were taken.
    pub samples_ns: Vec<u64>,
    /// The middle one, or the mean of the middle two.
    pub median_ns: u64,
    /// The smallest.
    pub min_ns: u64,
    /// The largest.
    pub max_ns: u64,
    /// Weights read right before and right after each sample, in 10⁹ bytes a second; decoding only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readings_gb_s: Vec<[f64; 2]>,
    /// Energy of all samples, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules: Option<f64>,
}

/// Decoding for minutes on end, always the same work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sustained {
    /// Tokens of each block, from an empty session on.
    pub tokens: usize,
    /// Nanoseconds of each block, one after the other.
    pub blocks_ns: Vec<u64>,
    /// Tokens a second in each minute: of the blocks that ended in it.
    pub minutes: Vec<f64>,
    /// The last minute's speed over the first's.
    pub ratio: f64,
    /// Energy of all blocks, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules: Option<f64>,
}

/// Something that a reader must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// A word, as `battery`.
    pub kind: String,
    /// A sentence.
    pub text: String,
}

impl Program {
    /// The program that runs now, of this version.
    pub fn this(version: &str) -> Self {
        let hash = || {
            let file = std::fs::File::open(std::env::current_exe().ok()?).ok()?;
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(file).ok()?;
            Some(hasher.finalize().to_hex().to_string())
        };
        Self {
            name: "carat".to_owned(),
            version: version.to_owned(),
            commit: crate::COMMIT.to_owned(),
            hash: hash().unwrap_or_default(),
            debug: cfg!(debug_assertions),
        }
    }
}

impl Kind {
    /// What a file of so many bytes is. The official one is known by its tensors and its length.
    pub fn of(gguf: &Gguf<'_>, bytes: u64, is_synthetic: bool) -> Self {
        let count = |tensor_type| {
            gguf.tensors().iter().filter(|tensor| tensor.tensor_type == tensor_type).count()
        };
        let counts = [TensorType::Q4_0, TensorType::Q6_K, TensorType::F32].map(count);
        match is_synthetic {
            true => Self::Synthetic,
            false if bytes == OFFICIAL_BYTES && counts == OFFICIAL_TENSORS => Self::Official,
            false => Self::Other,
        }
    }
}

impl Record {
    /// Reads one file's text.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            protocol: u32,
        }
        let wrong = |e| format!("it is no result of `carat bench --protocol 1` ({e})");
        let version: Version = serde_json::from_str(text).map_err(wrong)?;
        if version.protocol != super::VERSION {
            let (found, wanted) = (version.protocol, super::VERSION);
            return Err(format!("its protocol is {found}, this program knows {wanted}"));
        }
        let record: Self = serde_json::from_str(text).map_err(wrong)?;
        // Charts and shares divide by these.
        let readings = record.timings.iter().flat_map(|timing| &timing.readings_gb_s).flatten();
        let speeds = readings.chain(&record.read_gb_s).chain([&record.roof.read_gb_s]);
        if let Some(speed) = speeds.into_iter().find(|speed| !is_speed(**speed)) {
            return Err(format!("it read memory at {speed:e} GB/s, no speed of a machine"));
        }
        match record.roof.implausible() {
            Some((_, speed)) => Err(format!("its roof has {speed:e}, no speed of a machine")),
            None => Ok(record),
        }
    }

    /// The times of a test.
    pub fn timing(&self, name: &str) -> Option<&Timing> {
        self.timings.iter().find(|timing| timing.name == name)
    }

    /// Whether something has this mark.
    pub fn has_mark(&self, kind: &str) -> bool {
        self.marks.iter().any(|mark| mark.kind == kind)
    }

    /// The part of the memory's speed that decoding takes: the median over the samples, each
    /// against the mean of the readings around it; against the roof where there are none.
    pub fn read_share(&self, timing: &Timing) -> Option<f64> {
        let bytes = timing.tokens as f64 * self.model.facts.cost.decode_bytes as f64;
        let memory = |i: usize| match timing.readings_gb_s.get(i) {
            Some(around) => f64::midpoint(around[0], around[1]),
            None => self.roof.read_gb_s,
        };
        let samples = timing.samples_ns.iter().enumerate();
        let shares = Samples::new(samples.map(|(i, ns)| bytes / *ns as f64 / memory(i)));
        shares.map(|shares| shares.median())
    }

    /// The part of the 8-bit peak of the instruction set that the matrices of a prompt take.
    pub fn int8_share(&self, timing: &Timing) -> Option<f64> {
        let peak = self.roof.int8(&self.settings.isa)?;
        let macs = timing.tokens as f64 * self.model.facts.cost.prefill_macs as f64;
        let share = macs / timing.median_ns as f64 / peak.gmac_s;
        Some(share).filter(|share| share.is_finite())
    }

    /// The name that the file of this result has in `benches/results`: CPU, model and day.
    pub fn file_name(&self) -> String {
        let cpu = slug(&self.machine.cpu);
        let model = match self.model.kind {
            Kind::Official => "official-12b".to_owned(),
            _ => slug(&self.model.facts.file),
        };
        let day = slug(self.time.get(..10).unwrap_or("undated"));
        format!("p{}-{cpu}-{}c-{model}-{day}.json", self.protocol, self.machine.cores)
    }
}

impl Timing {
    /// Times of one test, with their median and ends.
    pub fn new(name: &str, tokens: usize, samples_ns: Vec<u64>) -> Self {
        let samples = Samples::new(samples_ns.iter().map(|ns| *ns as f64));
        let ns = |of: fn(&Samples) -> f64| samples.as_ref().map_or(0.0, of) as u64;
        let [median_ns, min_ns, max_ns] = [Samples::median, Samples::min, Samples::max].map(ns);
        let name = name.to_owned();
        Self { name, tokens, samples_ns, median_ns, min_ns, max_ns, ..Self::default() }
    }

    /// Tokens a second, by the median.
    pub fn speed(&self) -> f64 {
        self.tokens as f64 * 1e9 / self.median_ns.max(1) as f64
    }

    /// Largest minus smallest, as a part of the median.
    pub fn spread(&self) -> f64 {
        (self.max_ns - self.min_ns.min(self.max_ns)) as f64 / self.median_ns.max(1) as f64
    }

    /// Whether the test is one whose speed is in tokens a second of decoding.
    pub fn is_decoding(&self) -> bool {
        self.name.starts_with("decode ")
    }
}

impl Sustained {
    /// Blocks of `tokens` tokens each.
    pub fn new(tokens: usize, blocks_ns: Vec<u64>, joules: Option<f64>) -> Self {
        let mut counts: Vec<(f64, f64)> = Vec::new(); // blocks that end in a minute, their seconds
        let mut at = 0.0;
        for ns in &blocks_ns {
            let seconds = *ns as f64 / 1e9;
            at += seconds;
            let minute = (at / 60.0) as usize;
            if minute >= MINUTES_MAX {
                break;
            }
            counts.resize(counts.len().max(minute + 1), (0.0, 0.0));
            counts[minute].0 += 1.0;
            counts[minute].1 += seconds;
        }
        // What is left of a minute at the end is too little to compare with.
        if counts.len() > 1 && at % 60.0 < 30.0 {
            counts.pop();
        }
        let speed = |(blocks, seconds): &(f64, f64)| blocks * tokens as f64 / seconds.max(1e-9);
        let minutes: Vec<f64> = counts.iter().filter(|(n, _)| *n > 0.0).map(speed).collect();
        let ratio = match (minutes.first(), minutes.last()) {
            (Some(first), Some(last)) if *first > 0.0 => last / first,
            _ => 1.0,
        };
        Self { tokens, blocks_ns, minutes, ratio, joules }
    }
}

/// Lower case with hyphens, at most 48 characters. Trade marks and clock rates say nothing.
pub(super) fn slug(text: &str) -> String {
    let text = text.split('@').next().unwrap_or_default().replace("(R)", "").replace("(TM)", "");
    let mut out = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push('-');
        }
        out.push_str(&word.to_ascii_lowercase());
    }
    out.truncate(48);
    let out = out.trim_end_matches('-');
    if out.is_empty() { "unknown".to_owned() } else { out.to_owned() }
}

/// Google's QAT file of Gemma 4 12B: its length, and its tensors in Q4_0, in Q6_K and in F32.
const OFFICIAL_BYTES: u64 = 6_975_879_296;
const OFFICIAL_TENSORS: [usize; 3] = [328, 1, 338];

/// A file that says more is none of ours.
const MINUTES_MAX: usize = 24 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_by_hand() {
        // Six blocks of 10 tokens in each of two minutes, then three in one.
        let mut blocks = vec![9_999_999_999; 6];
        blocks.extend([19_999_999_999; 3]);
        let sustained = Sustained::new(10, blocks, None);
        let minutes: Vec<_> = sustained.minutes.iter().map(|x| (x * 1e3).round()).collect();
        assert_eq!(minutes, [1000.0, 500.0]);
        assert!((sustained.ratio - 0.5).abs() < 1e-9);
        assert_eq!(Sustained::new(1, vec![], None).ratio, 1.0);
    }

    #[test]
    fn names_of_files_have_no_marks_of_trade() {
        assert_eq!(slug("Intel(R) Xeon(R) CPU @ 2.80GHz"), "intel-xeon-cpu");
        assert_eq!(slug("../../etc"), "etc");
        assert_eq!(slug("§"), "unknown");
    }

    #[test]
    fn medians_of_two_are_between_them() {
        let timing = Timing::new("decode 0", 4, vec![4_000_000_000, 2_000_000_000]);
        assert_eq!((timing.median_ns, timing.min_ns), (3_000_000_000, 2_000_000_000));
        assert!((timing.speed() - 4.0 / 3.0).abs() < 1e-12);
        assert!((timing.spread() - 2.0 / 3.0).abs() < 1e-12);
    }
}

//! What a run has found: one JSON file a run, whatever engine made it.

use serde::{Deserialize, Serialize};

use crate::cost::Cost;
use crate::machine::Machine;
use crate::roof::{Roof, is_speed};
use crate::stats::Samples;
use crate::text::printable;

/// One engine, one model, one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Version of this structure: [`Results::FORMAT`].
    pub format: u32,
    /// Name of the engine.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// When the run began, UTC.
    pub time: String,
    /// Where.
    pub machine: Machine,
    /// What was run.
    pub model: ModelFacts,
    /// What the machine can do at most; none if it was not measured.
    pub roof: Option<Roof>,
    /// Nanoseconds from opening the file to a model that is ready, one for each time.
    #[serde(default)]
    pub load_ns: Vec<u64>,
    /// The same where the weights came from a cache file: the second start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cached_load_ns: Vec<u64>,
    /// What was measured.
    pub tests: Vec<Test>,
    /// What was not, and why.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// What a session of this model takes.
    #[serde(default)]
    pub memory: Vec<MemoryPoint>,
    /// Most memory held at once while the model was loaded and run, in bytes.
    pub peak_rss: Option<u64>,
    /// What a reader should know about these figures.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A model file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Name of the file, without its folder.
    pub file: String,
    /// Architecture, size and type of weights.
    pub name: String,
    /// Most tokens that the model was trained for.
    pub context: usize,
    /// Sizes, and what a token costs.
    pub cost: Cost,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A prompt of `n_prompt` tokens in an empty session.
    Prefill,
    /// `n_gen` tokens one by one after `n_depth` others.
    Decode,
    /// `n_prompt` tokens together with the logits of each, as in verifying a draft; the same number
    /// again and again.
    Verify,
    /// A picture from its pixels on, `n_prompt` tokens.
    Image,
    /// Sound from its samples on, `n_prompt` tokens.
    Audio,
}

/// Samples of one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// What it is.
    pub kind: Kind,
    /// Threads that computed.
    pub threads: usize,
    /// The instruction set, if the engine names one.
    #[serde(default)]
    pub isa: String,
    /// Most tokens in a pass.
    pub chunk: usize,
    /// How keys and values are stored.
    pub kv: String,
    /// Tokens of the prompt that is timed.
    pub n_prompt: usize,
    /// Tokens generated one by one that are timed.
    pub n_gen: usize,
    /// Tokens in the session before.
    pub n_depth: usize,
    /// Tokens that each sample is the time of.
    pub tokens: usize,
    /// Nanoseconds, one for each repetition.
    pub samples_ns: Vec<u64>,
    /// Weights read by as many threads right before and right after each repetition of decoding, in
    /// 10⁹ bytes a second; none where that was not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readings_gb_s: Vec<[f64; 2]>,
    /// Energy of the CPU packages for a token, where it can be measured.
    #[serde(default)]
    pub joules_per_token: Option<f64>,
}

/// What was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The test.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// Memory of a session, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPoint {
    /// Tokens that the session can hold.
    pub context: usize,
    /// The model's weights.
    pub weights: u64,
    /// Keys and values once the context is full.
    pub kv: u64,
    /// Everything else.
    pub scratch: u64,
}

impl Results {
    /// The version that this code reads and writes.
    pub const FORMAT: u32 = 1;

    /// Reads one file's text.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let results: Self = serde_json::from_str(text)
            .map_err(|e| format!("it is no result of `carat bench -o json` ({e})"))?;
        if results.format != Self::FORMAT {
            return Err(format!("its format is {}, wanted {}", results.format, Self::FORMAT));
        }
        // The charts divide by these and take their logarithms.
        if let Some((what, speed)) = results.roof.as_ref().and_then(Roof::implausible) {
            let what = printable(what, 40);
            return Err(format!("its roof `{what}` is {speed:e}, no speed of a machine"));
        }
        for test in &results.tests {
            let mut readings = test.readings_gb_s.as_flattened().iter();
            if let Some(speed) = readings.find(|speed| !is_speed(**speed)) {
                let name = test.name();
                return Err(format!("memory around `{name}` is {speed:e}, no speed of a machine"));
            }
        }
        Ok(results)
    }

    /// `carat 0.1.0 on AMD EPYC`, for legends.
    pub fn title(&self) -> String {
        format!("{} {} on {}", self.engine, self.version, self.machine.cpu)
    }

    /// Nanoseconds of loading.
    pub fn load(&self) -> Option<Samples> {
        Samples::new(self.load_ns.iter().map(|ns| *ns as f64))
    }

    /// Nanoseconds of loading from a cache file.
    pub fn cached_load(&self) -> Option<Samples> {
        Samples::new(self.cached_load_ns.iter().map(|ns| *ns as f64))
    }

    /// The part of the memory's read speed that reading the weights takes in a decoding test: the
    /// median over its repetitions, each against [`Test::memory_gb_s`]. Where that was not measured
    /// (by older versions and by other engines), the median speed against the roof of the run.
    pub fn read_share(&self, test: &Test) -> Option<f64> {
        if test.kind != Kind::Decode {
            return None;
        }
        let Some(memory) = test.memory_gb_s() else {
            let share = self.gb_s(test)? / self.roof.as_ref()?.read_gb_s;
            return Some(share).filter(|share| share.is_finite());
        };
        // Bytes a nanosecond are 10⁹ bytes a second.
        let bytes = test.tokens as f64 * self.model.cost.decode_bytes as f64;
        let samples = test.samples_ns.iter().zip(memory);
        let shares = Samples::new(samples.map(|(ns, gb_s)| bytes / *ns as f64 / gb_s));
        shares.map(|shares| shares.median())
    }

    /// Weights read in decoding, 10⁹ bytes a second.
    pub fn gb_s(&self, test: &Test) -> Option<f64> {
        Some(test.speed()?.median() * self.model.cost.decode_bytes as f64 / 1e9)
    }

    /// The part of the 8-bit peak that the matrices take in prefill.
    pub fn int8_share(&self, test: &Test) -> Option<f64> {
        let is_prefill = matches!(test.kind, Kind::Prefill | Kind::Image | Kind::Audio);
        let peak = self.roof.as_ref().filter(|_| is_prefill)?.int8(&test.isa)?;
        Some(self.gmac_s(test)? / peak.gmac_s).filter(|share| share.is_finite())
    }

    /// Multiplications in matrices, 10⁹ a second.
    pub fn gmac_s(&self, test: &Test) -> Option<f64> {
        let cost = &self.model.cost;
        let macs = match test.kind {
            Kind::Prefill | Kind::Image | Kind::Audio => cost.prefill_macs,
            Kind::Decode | Kind::Verify => cost.decode_macs,
        };
        Some(test.speed()?.median() * macs as f64 / 1e9)
    }

    /// For each width that was verified and that stands beside width 1 on as many threads: the
    /// width, the threads, and its time divided by that of one token.
    pub fn verify_ratios(&self) -> Vec<(usize, usize, f64)> {
        let verify = || self.tests.iter().filter(|test| test.kind == Kind::Verify);
        let pass = |test: &Test| Some(test.n_prompt as f64 / test.speed()?.median());
        let ratio = |test: &Test| {
            let one = verify().find(|t| t.n_prompt == 1 && t.threads == test.threads)?;
            Some((test.n_prompt, test.threads, pass(test)? / pass(one)?))
        };
        verify().filter(|test| test.n_prompt > 1).filter_map(ratio).collect()
    }
}

impl Test {
    /// Tokens a second, one value for each repetition; none if nothing was done or it took no time.
    pub fn speed(&self) -> Option<Samples> {
        if self.tokens == 0 {
            return None;
        }
        Samples::new(self.samples_ns.iter().map(|ns| self.tokens as f64 * 1e9 / *ns as f64))
    }

    /// What memory gave at each repetition, in 10⁹ bytes a second: the mean of the readings around
    /// it; none unless every repetition has them.
    pub fn memory_gb_s(&self) -> Option<Vec<f64>> {
        let readings = &self.readings_gb_s;
        let is_whole = !readings.is_empty() && readings.len() == self.samples_ns.len();
        let mean = |around: &[f64; 2]| f64::midpoint(around[0], around[1]);
        is_whole.then(|| readings.iter().map(mean).collect())
    }

    /// Nanoseconds, one value for each repetition.
    pub fn time_ns(&self) -> Option<Samples> {
        Samples::new(self.samples_ns.iter().map(|ns| *ns as f64))
    }

    /// `prefill 512`, `decode 32 at 2048`: the same name for the same work.
    pub fn name(&self) -> String {
        let Self { n_prompt, n_gen, n_depth, .. } = self;
        match self.kind {
            Kind::Prefill => format!("prefill {n_prompt}"),
            Kind::Decode => format!("decode {n_gen} at {n_depth}"),
            Kind::Verify => format!("verify {n_prompt} at {n_depth}"),
            Kind::Image => format!("image of {n_prompt}"),
            Kind::Audio => format!("sound of {n_prompt}"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::roof::Peak;

    pub(crate) fn test(kind: Kind, (n_prompt, n_gen, n_depth): (usize, usize, usize)) -> Test {
        Test {
            kind,
            threads: 2,
            isa: "avx2".to_owned(),
            chunk: 256,
            kv: "f16".to_owned(),
            n_prompt,
            n_gen,
            n_depth,
            tokens: n_prompt + n_gen,
            samples_ns: vec![2_000_000_000, 1_000_000_000, 4_000_000_000],
            readings_gb_s: Vec::new(),
            joules_per_token: None,
        }
    }

    /// Results with round numbers: 1 GB and 2 GMAC a token under a roof of 10 GB/s and 200 GMAC/s.
    pub(crate) fn results() -> Results {
        let cost = Cost {
            bytes: 1_000_000_000,
            parameters: 2_000_000_000,
            decode_bytes: 1_000_000_000,
            decode_macs: 2_000_000_000,
            prefill_macs: 1_900_000_000,
        };
        let peak = |name: &str, is_int8, gmac_s| Peak {
            name: name.to_owned(),
            isa: "avx2".to_owned(),
            is_int8,
            gmac_s,
        };
        Results {
            format: Results::FORMAT,
            engine: "carat".to_owned(),
            version: "0.1.0".to_owned(),
            commit: "abc".to_owned(),
            time: "2026-01-31T12:00:00Z".to_owned(),
            machine: Machine { cpu: "Fast & <Cheap>".to_owned(), cores: 2, ..Machine::default() },
            model: ModelFacts {
                file: "a<b>.gguf".to_owned(),
                name: "gemma4 2.0B Q4_0".to_owned(),
                context: 4096,
                cost,
            },
            roof: Some(Roof {
                threads: 2,
                read_bytes: 1 << 30,
                read_gb_s: 10.0,
                read_loop: "plain loads".to_owned(),
                peaks: vec![peak("maddubs", true, 200.0), peak("fma", false, 50.0)],
            }),
            load_ns: vec![1_500_000_000],
            cached_load_ns: Vec::new(),
            tests: vec![
                test(Kind::Prefill, (64, 0, 0)),
                test(Kind::Decode, (0, 8, 0)),
                test(Kind::Decode, (0, 8, 2048)),
                Test { tokens: 16, ..test(Kind::Verify, (4, 0, 1)) },
                Test { tokens: 8, ..test(Kind::Verify, (1, 0, 1)) },
            ],
            skipped: vec![Skipped {
                what: "prefill 8192".to_owned(),
                why: "too <long>".to_owned(),
            }],
            memory: vec![
                MemoryPoint { context: 1024, weights: 1 << 30, kv: 1 << 26, scratch: 1 << 24 },
                MemoryPoint { context: 4096, weights: 1 << 30, kv: 1 << 28, scratch: 1 << 24 },
            ],
            peak_rss: Some(1 << 30),
            notes: vec!["a note".to_owned()],
        }
    }

    #[test]
    fn shares_of_the_roof_by_hand() {
        let results = results();
        let [prefill, decode, ..] = &results.tests[..] else { panic!("two tests") };
        // 8 tokens in 2 s are 4 GB/s of 10; 64 in 2 s are 60.8 GMAC/s of 200.
        assert_eq!(results.read_share(decode), Some(0.4));
        assert_eq!(results.int8_share(prefill), Some(32.0 * 1.9 / 200.0));
        assert_eq!((results.read_share(prefill), results.int8_share(decode)), (None, None));
        let bare = Results { roof: None, ..results.clone() };
        assert_eq!((bare.read_share(decode), bare.int8_share(prefill)), (None, None));
    }

    #[test]
    fn a_share_is_against_the_readings_around_each_sample() {
        let mut results = results();
        // 8 GB in 2 s, 1 s and 4 s are 4, 8 and 2 GB/s, of 5, 16 and 2.5: 80 %, 50 % and 80 %. Of
        // the roof, 4 of 10, it would be 40 %.
        results.tests[1].readings_gb_s = vec![[4.0, 6.0], [20.0, 12.0], [2.0, 3.0]];
        let share = |results: &Results| results.read_share(&results.tests[1]);
        assert_eq!(results.tests[1].memory_gb_s(), Some(vec![5.0, 16.0, 2.5]));
        assert_eq!(share(&results), Some(0.8));
        results.tests[1].readings_gb_s[2] = [2.5, 7.5];
        // 80 %, 50 % and 40 %; the medians alone, 4 of 5, would be 80 %.
        assert_eq!(share(&results), Some(0.5));
        assert_eq!(share(&Results { roof: None, ..results.clone() }), Some(0.5));
        results.tests[1].readings_gb_s.pop();
        assert_eq!(share(&results), Some(0.4), "a reading is missing: the roof");
        results.tests[1].kind = Kind::Verify;
        assert_eq!(share(&results), None);
    }

    #[test]
    fn verifying_is_compared_pass_by_pass() {
        // 4 passes of 4 tokens and 8 passes of 1 take the same 2 s: a pass of 4 costs two of 1.
        assert_eq!(results().verify_ratios(), [(4, 2, 2.0)]);
    }

    #[test]
    fn json_comes_back_equal() {
        let mut results = results();
        let text = |results: &Results| serde_json::to_string_pretty(results).expect("plain data");
        let before = text(&results);
        assert!(!before.contains("readings"), "older files have none");
        assert_eq!(Results::from_json(&before), Ok(results.clone()));
        results.tests[1].readings_gb_s = vec![[1.5, 2.5]; 3];
        assert_eq!(Results::from_json(&text(&results)), Ok(results));
    }

    #[test]
    fn foreign_json_is_refused() {
        let text = |results: &Results| serde_json::to_string(results).expect("plain data");
        let newer = text(&Results { format: 2, ..results() });
        let with_roof = |read_gb_s: f64| {
            let roof = Roof { read_gb_s, ..results().roof.expect("a roof") };
            text(&Results { roof: Some(roof), ..results() })
        };
        let mut still = results();
        still.tests[1].readings_gb_s = vec![[1.0, 0.0]];
        let still = text(&still);
        // JSON has no NaN: what is none was written as null.
        let [zero, vast, nan] = [0.0, 1e300, f64::NAN].map(with_roof);
        let cases = [
            ("{}", "no result"),
            ("[1]", "no result"),
            ("", "no result"),
            (&newer, "format is 2"),
            (&zero, "`read` is 0e0"),
            (&vast, "`read` is 1e300"),
            (&nan, "null"),
            (&still, "`decode 8 at 0` is 0e0"),
        ];
        for (text, words) in cases {
            let said = Results::from_json(text).expect_err("it is no result");
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn what_did_nothing_has_no_speed() {
        let some = test(Kind::Decode, (0, 8, 0));
        assert!(some.speed().is_some());
        assert_eq!(Test { tokens: 0, ..some.clone() }.speed(), None);
        assert_eq!(Test { samples_ns: vec![0, 1], ..some.clone() }.speed(), None);
        assert_eq!(Test { samples_ns: vec![], ..some }.speed(), None);
    }
}

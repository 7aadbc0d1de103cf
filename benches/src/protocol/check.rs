//! Whether a result may lie in `benches/results`: whole, plausible, and named after what it holds.
//!
//! No check can prove that a machine was really there. These find what was cut, mixed up, made of
//! a changed program or edited by hand in one place and not in all others that follow from it.

use super::gate::{Bounds, Distance, Reference};
use super::record::{Kind, Record, Sustained, Timing};
use super::{Plan, Row, marks};

/// Reads and checks one file; `name` is its name without the folder.
///
/// # Errors
/// All that is wrong with it, a sentence each.
pub fn check(name: &str, text: &str) -> Result<Record, Vec<String>> {
    let record = Record::from_json(text).map_err(|e| vec![e])?;
    let mut wrong = Vec::new();
    check_whole(&record, &mut wrong);
    check_origin(name, &record, &mut wrong);
    for timing in &record.timings {
        check_timing(&record, timing, &mut wrong);
    }
    check_sustained(&record, &mut wrong);
    check_gate(&record, &mut wrong);
    check_marks(&record, &mut wrong);
    if wrong.is_empty() { Ok(record) } else { Err(wrong) }
}

/// Every test is there or named as left out, and there is time enough for all of them.
fn check_whole(record: &Record, wrong: &mut Vec<String>) {
    let mut say = |text: String| wrong.push(text);
    if record.quick {
        say("a quick run is nothing to compare: run it without --quick".to_owned());
    }
    if record.partial {
        say("it was stopped before everything was measured: run it to its end".to_owned());
    }
    if record.program.debug {
        say("the program was built without optimisation: build it with --release".to_owned());
    }
    let plan = Plan::of(record);
    for name in plan.names() {
        let found = record.timings.iter().filter(|timing| timing.name == name).count();
        let skipped = record.skipped.iter().any(|s| s.what == name && !s.why.is_empty());
        let must = !(name.starts_with("turn ") && name != "turn text"
            || name.starts_with("decode "))
            || name == "decode 0";
        match (found, skipped) {
            (0, true) if must && name != "start second" => {
                say(format!("`{name}` may not be left out"))
            }
            (0, false) => say(format!("`{name}` is missing")),
            (1, false) | (0, true) => {}
            _ => say(format!("`{name}` stands there more than once, or is left out as well")),
        }
    }
    let names = plan.names();
    for timing in record.timings.iter().filter(|timing| !names.contains(&timing.name)) {
        say(format!("`{}` is no test of protocol {}", timing.name, record.protocol));
    }
    let blocks = record.sustained.iter().flat_map(|sustained| &sustained.blocks_ns);
    let spent = record.timings.iter().flat_map(|timing| &timing.samples_ns).chain(blocks);
    let spent = spent.fold(0.0, |sum, ns| sum + *ns as f64 / 1e9);
    if !record.seconds.is_finite() || spent > record.seconds {
        let seconds = record.seconds;
        say(format!("its samples took {spent:.0} s and all of it {seconds:.0} s"));
    }
}

/// The hashes, the day, the name of the file.
fn check_origin(name: &str, record: &Record, wrong: &mut Vec<String>) {
    let mut say = |text: String| wrong.push(text);
    for (what, hash) in [("program", &record.program.hash), ("model", &record.model.hash)] {
        let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash {
            say(format!("the hash of the {what} has {} digits, wanted 64 of base 16", hash.len()));
        }
    }
    let time = record.time.as_bytes();
    let shape = b"0000-00-00T00:00:00Z";
    let fits = |(found, wanted): (&u8, &u8)| match wanted {
        b'0' => found.is_ascii_digit(),
        other => found == other,
    };
    if time.len() != shape.len() || !time.iter().zip(shape).all(fits) {
        say(format!("its time is {:?}, wanted one like 2026-01-31T12:34:56Z", record.time));
    }
    let wanted = record.file_name();
    let stem = wanted.trim_end_matches(".json");
    let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(".json"));
    let is_word = |rest: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        rest.is_empty() || rest.starts_with('-') && rest.len() < 40 && rest.bytes().all(allowed)
    };
    if !rest.is_some_and(is_word) {
        say(format!(
            "its name must be {wanted}, or have a word more before .json (`{stem}-WORD.json`)"
        ));
    }
    if record.model.kind == Kind::Synthetic && Reference::of(&record.model.hash).is_none() {
        // Everybody's synthetic models are the same: what has another hash is something else.
        let is_known = |reference: &Reference| reference.name == record.file_stem_of_model();
        if Reference::all().iter().any(is_known) {
            say("its hash is not that of the synthetic model that it names".to_owned());
        }
    }
    if record.machine.cores == 0 || record.settings.threads == 0 {
        say("a machine without cores or threads measures nothing".to_owned());
    }
}

/// The numbers of one test follow from its samples, and no roof is pierced.
fn check_timing(record: &Record, timing: &Timing, wrong: &mut Vec<String>) {
    let name = &timing.name;
    let mut say = |text: String| wrong.push(format!("`{name}`: {text}"));
    let plan = Plan::of(record);
    let wanted = match name.as_str() {
        "start first" => 1,
        "start second" => plan.starts,
        _ => plan.repetitions,
    };
    if timing.samples_ns.len() != wanted || timing.samples_ns.contains(&0) {
        say(format!("{} samples, wanted {wanted} that took some time", timing.samples_ns.len()));
        return;
    }
    let again = Timing::new(name, timing.tokens, timing.samples_ns.clone());
    let ends = |timing: &Timing| [timing.median_ns, timing.min_ns, timing.max_ns];
    if ends(timing) != ends(&again) {
        say("median, least and most are not those of its samples".to_owned());
    }
    let tokens = match name.split_once(' ').unwrap_or_default() {
        ("start", _) => Some(1),
        ("prompt", _) => Some(plan.prompt),
        ("decode", _) => Some(plan.generate),
        ("turn", "text") => Some(plan.text),
        _ => None,
    };
    let is_medium = (plan.question + 3..=plan.question + 300).contains(&timing.tokens);
    if tokens.map_or(!is_medium, |tokens| tokens != timing.tokens) {
        say(format!("{} tokens are not what the protocol has", timing.tokens));
    }
    let cost = &record.model.facts.cost;
    let least = timing.samples_ns.iter().min().copied().unwrap_or(1) as f64;
    if timing.is_decoding() {
        // What the caches hold is read faster than memory gives.
        let caches: u64 = record.system.caches.iter().map(|c| c.bytes * c.count as u64).sum();
        let readings = timing.readings_gb_s.iter().flatten().copied();
        let roof = readings.fold(record.roof.read_gb_s, f64::max);
        let found = timing.tokens as f64 * cost.decode_bytes as f64 / least;
        if cost.decode_bytes > 2 * caches.max(CACHES) && found > ROOF * roof {
            say(format!("it read {found:.1} GB/s where the memory gives {roof:.1}"));
        }
        if !timing.readings_gb_s.is_empty() && timing.readings_gb_s.len() != wanted {
            say("its readings of the memory are not one pair for each sample".to_owned());
        }
    } else if !name.starts_with("start") {
        let found = timing.tokens as f64 * cost.prefill_macs as f64 / least;
        let peaks = record.roof.peaks.iter().filter(|peak| peak.is_int8);
        let roof = peaks.map(|peak| peak.gmac_s).fold(0.0, f64::max);
        if found > ROOF * roof {
            say(format!("it multiplied {found:.0} GMAC/s where the CPU does {roof:.0}"));
        }
    }
}

fn check_sustained(record: &Record, wrong: &mut Vec<String>) {
    let mut say = |text: &str| wrong.push(format!("sustained decoding: {text}"));
    let Some(sustained) = &record.sustained else {
        say("it is missing");
        return;
    };
    let Sustained { tokens, blocks_ns, joules, .. } = sustained;
    let again = Sustained::new(*tokens, blocks_ns.clone(), *joules);
    let same = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.abs();
    let minutes = sustained.minutes.iter().zip(&again.minutes).all(|(a, b)| same(*a, *b));
    let lengths = sustained.minutes.len() == again.minutes.len();
    if !(minutes && lengths && same(sustained.ratio, again.ratio)) {
        say("minutes and ratio are not those of its blocks");
    }
    let plan = Plan::of(record);
    let seconds: f64 = blocks_ns.iter().map(|ns| *ns as f64 / 1e9).sum();
    if *tokens != plan.generate || seconds < 0.9 * plan.sustained.as_secs_f64() {
        say("it is shorter than the protocol has it, or of other blocks");
    }
    let fastest = blocks_ns.iter().min().copied().unwrap_or(0).max(1) as f64;
    let decode = record.timing("decode 0").map_or(0, |timing| timing.min_ns) as f64;
    // The same work: what is much faster here was not the same.
    if fastest < 0.5 * decode {
        say("a block took less than half of what `decode 0` took at least");
    }
}

/// The verdict follows from the fingerprint, and the reference is that of the repository.
fn check_gate(record: &Record, wrong: &mut Vec<String>) {
    let mut say = |text: String| wrong.push(format!("the gate: {text}"));
    let Some(gate) = &record.gate else {
        say("nobody asked whether the answers are right".to_owned());
        return;
    };
    let kept = Reference::of(&record.model.hash);
    let wanted: &[Row] = kept.as_ref().map_or(&gate.wanted, |reference| &reference.rows);
    match Distance::between(wanted, &gate.found) {
        Err(why) => say(why),
        Ok(distance) => {
            let off = (distance.kl - gate.distance.kl).abs()
                + (distance.error - gate.distance.error).abs();
            if !off.is_finite() || off > 1e-6 {
                say("the distance is not that of the fingerprint".to_owned());
            }
            if !gate.passed || !distance.is_within(Bounds::of(kept.is_some())) {
                say("the answers are not those of the reference".to_owned());
            }
        }
    }
}

/// Marks are what the conditions and the times have; other programs' versions may have more.
fn check_marks(record: &Record, wrong: &mut Vec<String>) {
    for mark in marks(record) {
        if !record.has_mark(&mark.kind) {
            wrong.push(format!("the mark `{}` is missing: {}", mark.kind, mark.text));
        }
    }
    let parts = [record.conditions.foreign_cpu, record.conditions.stolen];
    if parts.into_iter().flatten().any(|part| !(0.0..=1.0).contains(&part)) {
        wrong.push("a part of the CPU time is not between 0 and 1".to_owned());
    }
}

impl Record {
    /// What the file of a reference of a synthetic model is named after.
    fn file_stem_of_model(&self) -> String {
        super::record::slug(&self.model.facts.file).replace("q4-0", "q4_0")
    }
}

/// Above the roof by this much is measuring noise.
const ROOF: f64 = 1.05;

/// Last-level caches of machines that do not tell theirs.
const CACHES: u64 = 64 << 20;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::{Conditions, Gate, Program, Settings};
    use crate::results::Skipped;
    use crate::results::tests::results;

    /// A plausible result of a quiet machine that does not exist.
    pub(crate) fn good() -> Record {
        let plain = results();
        let plan = &Plan::FULL;
        let timing = |name: String| {
            let tokens = match name.as_str() {
                "turn picture" => 269 + plan.question,
                "turn sound" => 253 + plan.question,
                "turn text" => plan.text,
                name if name.starts_with("prompt") => plan.prompt,
                name if name.starts_with("decode") => plan.generate,
                _ => 1,
            };
            let ns = match name.split_once(' ').unwrap_or_default() {
                ("decode", _) => 8_000_000_000,
                ("start", _) => 4_000_000_000,
                _ => tokens as u64 * 20_000_000,
            };
            let count = match name.as_str() {
                "start first" => 1,
                "start second" => plan.starts,
                _ => plan.repetitions,
            };
            Timing::new(&name, tokens, (0..count as u64).map(|i| ns + i).collect())
        };
        let rows: Vec<Row> = (31..40)
            .map(|position| Row {
                position,
                lse: 5.0,
                ids: (0..64).collect(),
                logits: (0..64).map(|i| 4.0 - i as f32 / 16.0).collect(),
            })
            .collect();
        let gate = Gate::new("a test", &rows, rows.clone(), false).expect("equal rows");
        let mut model = super::super::NamedModel { facts: plain.model, ..Default::default() };
        model.hash = "ab".repeat(32);
        model.facts.file = "made up".to_owned();
        let mut record = Record {
            protocol: 1,
            time: "2026-01-31T12:00:00Z".to_owned(),
            seconds: 1500.0,
            program: Program { hash: "cd".repeat(32), ..Program::default() },
            machine: plain.machine,
            model,
            settings: Settings { threads: 2, isa: "avx2".to_owned(), ..Settings::default() },
            roof: plain.roof.unwrap_or_default(),
            read_gb_s: vec![10.0, 9.9],
            timings: plan.names().into_iter().map(timing).collect(),
            sustained: Some(Sustained::new(32, vec![8_000_000_000; 75], None)),
            energy: "not available: a test".to_owned(),
            gate: Some(gate),
            conditions: Conditions {
                on_battery: Some(false),
                foreign_cpu: Some(0.01),
                stolen: Some(0.0),
                memory_least: Some(1 << 33),
                memory_first: Some(1 << 34),
                memory_wanted: 1 << 30,
                ..Conditions::default()
            },
            ..Record::default()
        };
        record.marks = marks(&record);
        record
    }

    fn name() -> String {
        good().file_name()
    }

    fn text(record: &Record) -> String {
        serde_json::to_string_pretty(record).expect("plain data")
    }

    #[test]
    fn a_good_result_passes_and_comes_back_equal() {
        assert_eq!(name(), "p1-fast-cheap-2c-made-up-2026-01-31.json");
        assert!(check(&name(), &text(&good())) == Ok(good()));
        let word = name().replace(".json", "-thinkpad-t14.json");
        assert!(check(&word, &text(&good())).is_ok());
    }

    #[test]
    fn fields_of_the_future_are_passed_over() {
        let future = text(&good()).replacen('{', "{\"moon\": [{\"phase\": 3}],", 1);
        let future = future.replace("\"kind\": \"other\"", "\"kind\": \"distilled\"");
        assert!(check(&name(), &future) == Ok(good()));
    }

    #[test]
    fn a_falsified_result_is_refused_wherever_it_was_changed() {
        let said = |words: &str, change: &dyn Fn(&mut Record)| {
            let mut record = good();
            change(&mut record);
            let wrong = check(&name(), &text(&record)).expect_err(words).join("\n");
            assert!(wrong.contains(words), "{words:?} is not in {wrong:?}");
        };
        said("a quick run", &|r| r.quick = true);
        said("stopped before", &|r| r.partial = true);
        said("without optimisation", &|r| r.program.debug = true);
        said("`turn text` is missing", &|r| r.timings.retain(|t| t.name != "turn text"));
        said("more than once", &|r| r.timings.push(r.timings[1].clone()));
        said("`decode 7` is no test", &|r| {
            r.timings.push(Timing { name: "decode 7".to_owned(), ..r.timings[2].clone() });
        });
        said("`prompt 512` may not be left out", &|r| {
            r.timings.remove(1);
            let (what, why) = ("prompt 512".to_owned(), "too slow".to_owned());
            r.skipped.push(Skipped { what, why });
        });
        said("all of it 100 s", &|r| r.seconds = 100.0);
        said("median, least and most", &|r| r.timings[2].median_ns /= 2);
        said("4 samples, wanted 5", &|r| {
            let ns = r.timings[2].samples_ns[..4].to_vec();
            r.timings[2] = Timing::new("decode 0", 32, ns);
        });
        said("33 tokens", &|r| r.timings[2].tokens = 33);
        // 32 GB in 2 s are 16 GB/s; the roof is 10.
        said("it read 16.0 GB/s where the memory gives 10.0", &|r| {
            r.timings[2] = Timing::new("decode 0", 32, vec![2_000_000_000; 5]);
        });
        // 512 times 1.9 GMAC in 1 s; the peak is 200.
        said("it multiplied 973 GMAC/s where the CPU does 200", &|r| {
            r.timings[1] = Timing::new("prompt 512", 512, vec![1_000_000_000; 5]);
        });
        said("minutes and ratio", &|r| r.sustained.as_mut().expect("it").ratio = 1.1);
        said("shorter than", &|r| {
            r.sustained = Some(Sustained::new(32, vec![8_000_000_000; 9], None))
        });
        said("less than half", &|r| {
            r.sustained = Some(Sustained::new(32, vec![3_000_000_000; 200], None));
        });
        said("sustained decoding: it is missing", &|r| r.sustained = None);
        said("nobody asked", &|r| r.gate = None);
        said("not that of the fingerprint", &|r| {
            r.gate.as_mut().expect("a gate").found[3].logits[0] += 0.1;
        });
        said("answers are not those", &|r| {
            let gate = r.gate.as_mut().expect("a gate");
            gate.found.iter_mut().for_each(|row| row.logits.reverse());
            gate.distance = Distance::between(&gate.wanted, &gate.found).expect("the same tokens");
        });
        said("the mark `battery` is missing", &|r| r.conditions.on_battery = Some(true));
        said("the mark `load` is missing", &|r| r.conditions.foreign_cpu = Some(0.5));
        said("the mark `virtual` is missing", &|r| r.system.virtual_machine = Some("x".to_owned()));
        said("between 0 and 1", &|r| r.conditions.stolen = Some(-1.0));
        said("hash of the model has 3 digits", &|r| r.model.hash = "abc".to_owned());
        said("its time is", &|r| r.time = "2026-01-31 12:00:00Z".to_owned());
        said("its name must be", &|r| r.time = "2026-02-01T12:00:00Z".to_owned());
        said("its name must be", &|r| r.machine.cpu = "Faster".to_owned());
        said("no speed of a machine", &|r| r.roof.read_gb_s = 0.0);
        said("its protocol is 2", &|r| r.protocol = 2);
    }

    #[test]
    fn a_known_model_is_judged_by_the_repository_and_not_by_the_file() {
        let mut record = good();
        let reference = Reference::all().remove(0);
        record.model.hash = reference.hash.clone();
        let wrong = check(&name(), &text(&record)).expect_err("other answers").join("\n");
        assert!(wrong.contains("speaks of other tokens"), "{wrong}");
        record.gate = Gate::new(&reference.how, &reference.rows, reference.rows.clone(), true).ok();
        assert!(check(&name(), &text(&record)) == Ok(record));
    }

    #[test]
    fn a_marked_result_passes_with_its_marks() {
        let mut record = good();
        record.system.virtual_machine = Some("the CPU says hypervisor".to_owned());
        record.marks = marks(&record);
        assert!(check(&name(), &text(&record)).is_ok());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let wanted = name();
        for name in [format!("../{wanted}"), wanted.replace(".json", "-A.json"), "x".to_owned()] {
            assert!(check(&name, &text(&good())).is_err(), "{name}");
        }
        assert!(check(&wanted, "{").is_err());
        assert!(check(&wanted, "[]").is_err());
    }

    /// What lies in the repository is what this program would take.
    #[test]
    fn every_result_of_the_repository_passes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/results");
        let mut wrong = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the folder of results") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if name != "README.md" && !path.is_dir() {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                wrong.extend(check(&name, &text).err().map(|why| format!("{name}: {why:?}")));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

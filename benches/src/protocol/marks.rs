//! What a reader must know of a run, by fixed bounds: the same record always has the same marks.

use super::conditions::Conditions;
use super::record::{Mark, Record, Timing};

/// The marks of a record, computed from everything else in it.
pub fn marks(record: &Record) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut add = |kind: &str, text: String| {
        marks.push(Mark { kind: kind.to_owned(), text });
    };
    if record.quick {
        add("quick", "small sizes to see that it works: nothing to compare".to_owned());
    }
    if record.partial {
        add("partial", "it was stopped before everything was measured".to_owned());
    }
    if record.program.debug {
        add("debug", "the program was built without optimisation".to_owned());
    }
    if record.gate.as_ref().is_some_and(|gate| !gate.passed) {
        add(
            "gate",
            "the answers are not those of the reference: the times mean nothing".to_owned(),
        );
    }
    if record.forced {
        add("forced", "it went on although the machine was not fit for it".to_owned());
    }
    if let Some(why) = &record.system.virtual_machine {
        add("virtual", format!("a virtual machine: {why}"));
    }
    disturbed(&record.conditions, &mut add);
    let is_uneven = |timing: &&Timing| timing.spread() > SPREAD;
    let uneven: Vec<&str> = record.timings.iter().filter(is_uneven).map(|t| &*t.name).collect();
    if !uneven.is_empty() {
        let percent = 100.0 * SPREAD;
        add("spread", format!("samples differ by more than {percent:.0} %: {}", uneven.join(", ")));
    }
    if let [first, .., last] = record.read_gb_s[..]
        && (first - last).abs() > DRIFT * first.max(last)
    {
        add("drift", format!("memory was read at {first:.2} GB/s before and {last:.2} after"));
    }
    marks
}

fn disturbed(conditions: &Conditions, add: &mut dyn FnMut(&str, String)) {
    if conditions.on_battery == Some(true) {
        add("battery", "it ran on battery".to_owned());
    }
    let mib = |bytes: u64| bytes >> 20;
    let used = conditions.swap_used.unwrap_or(0);
    let swapped = conditions.swapped.unwrap_or(0);
    if swapped > SWAPPED {
        add("swap", format!("{} MiB went to swap or came from it meanwhile", mib(swapped)));
    } else if used > SWAP_USED {
        add("swap", format!("{} MiB of swap were in use", mib(used)));
    }
    match conditions.foreign_cpu {
        Some(part) if part > FOREIGN => {
            add("load", format!("other programs took {:.0} % of the CPU time", 100.0 * part));
        }
        Some(_) => {}
        None => add("unwatched", "this system does not tell what else it did".to_owned()),
    }
    if let Some(part) = conditions.stolen.filter(|part| *part > STOLEN) {
        let percent = 100.0 * part;
        add("stolen", format!("other virtual machines took {percent:.0} % of the CPU time"));
    }
    if let Some(times) = conditions.throttled.filter(|times| *times > 0) {
        add("throttled", format!("the CPU was slowed down for heat {times} times"));
    }
    if let Some(least) = conditions.memory_least.filter(|least| *least < MEMORY_LEFT) {
        add("memory", format!("memory ran short: {} MiB were left", mib(least)));
    }
}

/// Why a run should not begin, by what was seen in the first seconds; the record has the memory
/// that is wanted.
pub fn refusals(conditions: &Conditions) -> Vec<String> {
    let mut why = Vec::new();
    if conditions.on_battery == Some(true) {
        why.push("the machine runs on battery: plug it in".to_owned());
    }
    if conditions.swapped.is_some_and(|bytes| bytes > 0) {
        why.push("the machine is swapping: close other programs".to_owned());
    }
    if let Some(part) = conditions.foreign_cpu.filter(|part| *part > FOREIGN_AT_FIRST) {
        let percent = 100.0 * part;
        why.push(format!("other programs take {percent:.0} % of the CPU time: close them"));
    }
    let wanted = conditions.memory_wanted;
    if let Some(found) = conditions.memory_first.filter(|found| *found < wanted) {
        let [found, wanted] = [found, wanted].map(|bytes| bytes as f64 / 1e9);
        why.push(format!("{found:.1} GB of memory are free and {wanted:.1} GB are wanted"));
    }
    why
}

/// Largest less smallest sample, as a part of the median.
const SPREAD: f64 = 0.1;

/// Readings of the memory before and after.
const DRIFT: f64 = 0.1;

/// Parts of all CPU time: for a whole run, and when it begins.
const FOREIGN: f64 = 0.03;
const FOREIGN_AT_FIRST: f64 = 0.1;
const STOLEN: f64 = 0.02;

/// Bytes.
const SWAP_USED: u64 = 64 << 20;
const SWAPPED: u64 = 16 << 20;
const MEMORY_LEFT: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::check::tests::good;

    fn kinds(change: impl Fn(&mut Record)) -> Vec<String> {
        let mut record = good();
        change(&mut record);
        marks(&record).into_iter().map(|mark| mark.kind).collect()
    }

    #[test]
    fn a_quiet_machine_has_no_marks() {
        assert_eq!(kinds(|_| ()), [""; 0]);
        let quiet = good().conditions;
        assert!(refusals(&quiet).is_empty());
    }

    #[test]
    fn each_disturbance_has_its_mark() {
        let with = |change: fn(&mut Conditions)| kinds(move |r| change(&mut r.conditions));
        assert_eq!(with(|c| c.on_battery = Some(true)), ["battery"]);
        assert_eq!(with(|c| c.swap_used = Some(65 << 20)), ["swap"]);
        assert_eq!(with(|c| c.swapped = Some(17 << 20)), ["swap"]);
        assert_eq!(with(|c| c.foreign_cpu = Some(0.04)), ["load"]);
        assert_eq!(with(|c| c.foreign_cpu = None), ["unwatched"]);
        assert_eq!(with(|c| c.stolen = Some(0.03)), ["stolen"]);
        assert_eq!(with(|c| c.throttled = Some(1)), ["throttled"]);
        assert_eq!(with(|c| c.memory_least = Some(1 << 20)), ["memory"]);
        assert_eq!(kinds(|r| r.quick = true), ["quick"]);
        assert_eq!(kinds(|r| r.partial = true), ["partial"]);
        assert_eq!(kinds(|r| r.forced = true), ["forced"]);
        assert_eq!(kinds(|r| r.program.debug = true), ["debug"]);
        assert_eq!(kinds(|r| r.gate.as_mut().expect("a gate").passed = false), ["gate"]);
        assert_eq!(kinds(|r| r.system.virtual_machine = Some("x".to_owned())), ["virtual"]);
        assert_eq!(kinds(|r| r.read_gb_s = vec![10.0, 8.9]), ["drift"]);
        let uneven = Timing::new("prompt 512", 512, vec![100, 105, 120]);
        assert_eq!(kinds(|r| r.timings[1] = uneven.clone()), ["spread"]);
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let with = |change: fn(&mut Conditions)| {
            let mut conditions = good().conditions;
            change(&mut conditions);
            refusals(&conditions).join("; ")
        };
        assert!(with(|c| c.on_battery = Some(true)).contains("plug it in"));
        assert!(with(|c| c.swapped = Some(4096)).contains("close other programs"));
        assert!(with(|c| c.foreign_cpu = Some(0.2)).contains("20 % of the CPU time"));
        let short =
            with(|c| (c.memory_first, c.memory_wanted) = (Some(2_000_000_000), 3_000_000_000));
        assert_eq!(short, "2.0 GB of memory are free and 3.0 GB are wanted");
    }
}

//! A record as plain text.

use std::fmt::Write;

use super::Record;
use super::record::Timing;
use crate::report::{bytes, digits};
use crate::text::printable;

/// What a record says, for a terminal.
pub fn summary(record: &Record) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, record);
    out.lines().map(|line| printable(line, 400) + "\n").collect()
}

fn write(out: &mut String, record: &Record) -> std::fmt::Result {
    let Record { program, machine, model, roof, .. } = record;
    writeln!(out, "protocol {}, {}", record.protocol, record.time)?;
    writeln!(out, "program  {} {} ({})", program.name, program.version, program.commit)?;
    let (cores, memory) = (machine.cores, bytes(machine.memory));
    writeln!(out, "machine  {}, {cores} cores, {memory}, {}", machine.cpu, machine.os)?;
    let hash = model.hash.get(..16).unwrap_or("not known");
    writeln!(out, "model    {}: {}, hash {hash}", model.facts.file, model.facts.name)?;
    let peak = roof.int8(&record.settings.isa).map_or(0.0, |peak| peak.gmac_s);
    let (read, peak) = (digits(roof.read_gb_s), digits(peak));
    writeln!(out, "roof     read {read} GB/s, int8 {peak} GMAC/s ({})", record.settings.isa)?;
    writeln!(out, "energy   {}", record.energy)?;
    if let Some(gate) = &record.gate {
        let verdict = if gate.passed { "passed" } else { "NOT PASSED" };
        let (kl, error) = (gate.distance.kl, gate.distance.error);
        writeln!(out, "gate     {verdict}: KL {kl:.2e}, error {error:.2e}, against {}", gate.how)?;
    }
    writeln!(
        out,
        "\n{:<18} {:>10} {:>9} {:>9} {:>9} {:>8} {:>14}",
        "test", "tokens/s", "median", "least", "most", "samples", "of the roof"
    )?;
    for timing in &record.timings {
        writeln!(
            out,
            "{:<18} {:>10} {:>9} {:>9} {:>9} {:>8} {:>14}",
            timing.name,
            speed(timing),
            time(timing.median_ns),
            time(timing.min_ns),
            time(timing.max_ns),
            timing.samples_ns.len(),
            share(record, timing),
        )?;
    }
    if let Some(sustained) = &record.sustained {
        let minutes: Vec<_> = sustained.minutes.iter().map(|speed| digits(*speed)).collect();
        let (minutes, ratio) = (minutes.join(" "), sustained.ratio);
        writeln!(out, "\nsustained: {minutes} tokens/s by the minute, last over first {ratio:.3}")?;
        if let Some(joules) = sustained.joules {
            let tokens = (sustained.tokens * sustained.blocks_ns.len()).max(1) as f64;
            writeln!(out, "energy: {} J a token of sustained decoding", digits(joules / tokens))?;
        }
    }
    for skipped in &record.skipped {
        writeln!(out, "not measured: {}: {}", skipped.what, skipped.why)?;
    }
    record.marks.iter().try_for_each(|mark| writeln!(out, "mark {}: {}", mark.kind, mark.text))
}

/// `1.23 s`, and below a second `12.3 ms`.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..1_000_000_000 => digits(ns as f64 / 1e6) + " ms",
        _ => digits(ns as f64 / 1e9) + " s",
    }
}

/// Tokens a second, for tests that have such a speed.
pub(crate) fn speed(timing: &Timing) -> String {
    let has_speed = timing.is_decoding() || timing.name.starts_with("prompt");
    if has_speed { digits(timing.speed()) } else { String::new() }
}

/// The part of the roof that it reaches.
pub(crate) fn share(record: &Record, timing: &Timing) -> String {
    let (share, of) = match timing.name.split(' ').next() {
        Some("decode") => (record.read_share(timing), "read"),
        Some("prompt" | "turn") => (record.int8_share(timing), "int8"),
        _ => (None, ""),
    };
    share.map_or_else(String::new, |share| format!("{:.0} % of {of}", 100.0 * share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::check::tests::good;

    #[test]
    fn a_summary_has_every_test_and_every_mark() {
        let mut record = good();
        record.marks =
            vec![crate::protocol::Mark { kind: "x\u{1b}".to_owned(), text: "y".to_owned() }];
        let text = summary(&record);
        for words in [
            "machine  Fast & <Cheap>, 2 cores",
            "gate     passed",
            "decode 16384             4.00    8.00 s",
            "40 % of read",
            "last over first 1.000",
            "mark x?: y",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
    }
}

//! Results as plain text.

use std::fmt::Write;

use super::{bytes, compared, digits, share, titles};
use crate::Results;
use crate::text::printable;

/// Each result as a table, and then all of them side by side if there are several.
pub fn table(results: &[Results]) -> String {
    let mut out = String::new();
    for result in results {
        // Writing to a string cannot fail.
        let _ = one(&mut out, result);
        out.push('\n');
    }
    if results.len() > 1 {
        let _ = side_by_side(&mut out, results);
    }
    // Names come from files and other programs.
    out.lines().map(|line| printable(line, 400) + "\n").collect()
}

fn one(out: &mut String, result: &Results) -> std::fmt::Result {
    let Results { machine, model, .. } = result;
    let (version, commit) = (&result.version, &result.commit);
    writeln!(out, "{} {version} ({commit}), {}", result.engine, result.time)?;
    let (cores, memory) = (machine.cores, bytes(machine.memory));
    writeln!(out, "machine  {}, {cores} cores, {memory}, {}", machine.cpu, machine.os)?;
    let cost = &model.cost;
    writeln!(
        out,
        "model    {}: {}, {}; a decoded token reads {} GB and takes {} GMAC",
        model.file,
        model.name,
        bytes(cost.bytes),
        digits(cost.decode_bytes as f64 / 1e9),
        digits(cost.decode_macs as f64 / 1e9),
    )?;
    if let Some(roof) = &result.roof {
        let (threads, size) = (roof.threads, bytes(roof.read_bytes));
        let (read, how) = (digits(roof.read_gb_s), &roof.read_loop);
        writeln!(out, "roof     read {read} GB/s ({threads} threads, {size}, {how})")?;
        for peak in &roof.peaks {
            let what = if peak.is_int8 { "int8" } else { "f32 " };
            writeln!(out, "         {what} {} GMAC/s ({})", digits(peak.gmac_s), peak.name)?;
        }
    }
    if let Some(test) = result.tests.first() {
        let isa = if test.isa.is_empty() { "as it was built" } else { &test.isa };
        writeln!(out, "engine   {isa}, keys and values {}, chunks of {}", test.kv, test.chunk)?;
    }
    let loads = [(result.load(), ""), (result.cached_load(), "from the cache file ")];
    let loads = loads.into_iter().filter_map(|(ns, how)| Some((ns?, how)));
    let loads: Vec<_> =
        loads.map(|(ns, how)| format!("{how}{} s", digits(ns.median() / 1e9))).collect();
    if !loads.is_empty() {
        write!(out, "load     {}", loads.join(", "))?;
        match result.peak_rss {
            Some(peak) => writeln!(out, ", then at most {} of memory", bytes(peak))?,
            None => writeln!(out)?,
        }
    }
    tests(out, result)?;
    for (width, threads, ratio) in result.verify_ratios() {
        let ratio = digits(ratio);
        writeln!(
            out,
            "verifying {width} tokens takes {ratio} x the time of one ({threads} threads)"
        )?;
    }
    for skipped in &result.skipped {
        writeln!(out, "not measured: {}: {}", skipped.what, skipped.why)?;
    }
    result.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
}

fn tests(out: &mut String, result: &Results) -> std::fmt::Result {
    let has_energy = result.tests.iter().any(|test| test.joules_per_token.is_some());
    let energy = if has_energy { "   J/token" } else { "" };
    writeln!(
        out,
        "\n{:<22} {:>7} {:>10} {:>8} {:>7} {:>14}{energy}",
        "test", "threads", "tokens/s", "spread", "samples", "of the roof"
    )?;
    for test in &result.tests {
        let Some(speed) = test.speed() else { continue };
        let joules = test.joules_per_token.map_or_else(String::new, |j| format!(" {j:>9.2}"));
        writeln!(
            out,
            "{:<22} {:>7} {:>10} {:>6.1} % {:>7} {:>14}{joules}",
            test.name(),
            test.threads,
            digits(speed.median()),
            100.0 * speed.spread(),
            speed.len(),
            share(result, test),
        )?;
    }
    Ok(())
}

fn side_by_side(out: &mut String, results: &[Results]) -> std::fmt::Result {
    for (i, (result, title)) in results.iter().zip(titles(results)).enumerate() {
        let model = &result.model;
        writeln!(out, "[{}] {title}, {}, {}", i + 1, model.file, model.name)?;
    }
    write!(out, "\n{:<22} {:>7}", "tokens/s", "threads")?;
    (0..results.len()).try_for_each(|i| write!(out, " {:>18}", format!("[{}]", i + 1)))?;
    writeln!(out)?;
    for row in compared(results) {
        write!(out, "{:<22} {:>7}", row.name, row.threads)?;
        for speed in &row.speeds {
            let cell = match (*speed, row.speeds[0]) {
                (None, _) => "-".to_owned(),
                (Some(speed), Some(first)) => {
                    format!("{} ({:.2} x)", digits(speed), speed / first)
                }
                (Some(speed), None) => digits(speed),
            };
            write!(out, " {cell:>18}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn a_table_has_what_was_measured_and_what_was_not() {
        let text = table(&[results()]);
        for words in [
            "carat 0.1.0 (abc), 2026-01-31T12:00:00Z",
            "a decoded token reads 1.00 GB and takes 2.00 GMAC",
            "read 10.0 GB/s (2 threads, 1.00 GiB, plain loads)",
            "int8 200 GMAC/s (maddubs)",
            "engine   avx2, keys and values f16, chunks of 256",
            "load     1.50 s, then at most 1.00 GiB of memory",
            "decode 8 at 0                2       4.00  150.0 %       3   40 % of read",
            "verifying 4 tokens takes 2.00 x the time of one (2 threads)",
            "not measured: prefill 8192: too <long>",
            "note: a note",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
    }

    #[test]
    fn each_way_of_loading_has_its_time() {
        let line = |load_ns: &[u64], cached_load_ns: &[u64]| {
            let (load_ns, cached_load_ns) = (load_ns.to_vec(), cached_load_ns.to_vec());
            let text = table(&[Results { load_ns, cached_load_ns, peak_rss: None, ..results() }]);
            text.lines().find(|line| line.starts_with("load")).map(str::to_owned)
        };
        let found = [
            line(&[3_600_000_000], &[140_000_000]),
            line(&[], &[140_000_000]),
            line(&[3_600_000_000], &[]),
            line(&[], &[]),
        ];
        let wanted = [
            "load     3.60 s, from the cache file 0.14 s",
            "load     from the cache file 0.14 s",
            "load     3.60 s",
        ];
        assert_eq!(found[..3], wanted.map(|text| Some(text.to_owned())));
        assert_eq!(found[3], None);
    }

    #[test]
    fn several_results_stand_side_by_side() {
        let mut peer = Results { engine: "peer\u{1b}[1m".to_owned(), ..results() };
        peer.tests.iter_mut().for_each(|test| test.samples_ns = vec![1_000_000_000]);
        peer.tests.truncate(1);
        let text = table(&[results(), peer]);
        assert!(
            text.contains("[2] peer?[1m 0.1.0 on Fast & <Cheap>, a<b>.gguf, gemma4 2.0B Q4_0"),
            "{text}"
        );
        let row = text.lines().rfind(|line| line.starts_with("prefill 64")).expect("a row");
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>()[3..],
            ["32.0", "(1.00", "x)", "64.0", "(2.00", "x)"]
        );
    }
}

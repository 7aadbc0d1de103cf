//! Results in a form for people and for programs: a table, CSV with llama-bench's columns, and one
//! HTML file that needs nothing but itself.
//!
//! Several results, of several machines or engines, make one report; the first is what the others
//! are compared with.

use crate::Results;
use crate::results::Kind;

mod charts;
mod csv;
mod html;
mod machines;
mod svg;
mod table;

pub use csv::csv;
pub use html::html;
pub use machines::machines;
pub use table::table;

/// The same work in several results: tokens a second, in their order.
#[derive(Clone, Debug, PartialEq)]
struct Compared {
    name: String,
    threads: usize,
    speeds: Vec<Option<f64>>,
}

/// A name for each result, no two the same: engine and machine, with the time where several share
/// them, and numbered where that is not enough.
fn titles(results: &[Results]) -> Vec<String> {
    let mut titles: Vec<_> = results.iter().map(Results::title).collect();
    let shared = |titles: &[String]| -> Vec<bool> {
        titles
            .iter()
            .map(|title| titles.iter().filter(|other| *other == title).count() > 1)
            .collect()
    };
    for (i, is_shared) in shared(&titles).into_iter().enumerate() {
        if is_shared {
            titles[i] += &format!(", {}", results[i].time);
        }
    }
    for (i, is_shared) in shared(&titles).into_iter().enumerate() {
        if is_shared {
            titles[i] += &format!(", number {}", i + 1);
        }
    }
    titles
}

/// Every work that at least one of the results has, in the order of the first that has it.
fn compared(results: &[Results]) -> Vec<Compared> {
    let mut rows: Vec<Compared> = Vec::new();
    for (i, result) in results.iter().enumerate() {
        for test in &result.tests {
            let (name, threads) = (test.name(), test.threads);
            let found = rows.iter().position(|row| row.name == name && row.threads == threads);
            let at = found.unwrap_or_else(|| {
                rows.push(Compared { name, threads, speeds: vec![None; results.len()] });
                rows.len() - 1
            });
            rows[at].speeds[i] = test.speed().map(|speed| speed.median());
        }
    }
    rows
}

/// What part of the roof a test reaches: `41 % of int8`, `88 % of read`; nothing without a roof.
fn share(results: &Results, test: &crate::Test) -> String {
    let percent = |share: f64, of| format!("{:.0} % of {of}", 100.0 * share);
    match test.kind {
        Kind::Decode => results.read_share(test).map(|share| percent(share, "read")),
        _ => results.int8_share(test).map(|share| percent(share, "int8")),
    }
    .unwrap_or_default()
}

/// A number with four digits that count, without an exponent.
pub(crate) fn digits(x: f64) -> String {
    let decimals = match x.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{x:.decimals$}")
}

/// Bytes in binary units.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (n.max(1).ilog2() as usize / 10).min(UNITS.len() - 1);
    match unit {
        0 => format!("{n} B"),
        _ => format!("{} {}", digits(n as f64 / 1024f64.powi(unit as i32)), UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{results, test};

    #[test]
    fn the_same_work_stands_in_one_row() {
        let mut other = Results { engine: "peer".to_owned(), ..results() };
        other.tests.remove(0);
        other.tests.push(test(Kind::Prefill, (512, 0, 0)));
        let rows = compared(&[results(), other]);
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        let [first, second, ..] = &rows[..] else { panic!("rows") };
        assert_eq!(names[0], "prefill 64");
        assert_eq!(names[5], "prefill 512");
        assert_eq!(first.speeds, [Some(32.0), None]);
        assert_eq!(second.speeds, [Some(4.0), Some(4.0)]);
        assert_eq!(rows[5].speeds, [None, Some(256.0)]);
    }

    #[test]
    fn two_runs_on_one_machine_have_two_names() {
        let later = Results { time: "2026-02-01T12:00:00Z".to_owned(), ..results() };
        let peer = Results { engine: "peer".to_owned(), ..results() };
        let name = "carat 0.1.0 on Fast & <Cheap>";
        let titles = titles(&[results(), later.clone(), peer, later]);
        let wanted = [
            format!("{name}, 2026-01-31T12:00:00Z"),
            format!("{name}, 2026-02-01T12:00:00Z, number 2"),
            "peer 0.1.0 on Fast & <Cheap>".to_owned(),
            format!("{name}, 2026-02-01T12:00:00Z, number 4"),
        ];
        assert_eq!(titles, wanted);
        for text in
            [table(&[results(), later_of(&results())]), html(&[results(), later_of(&results())])]
        {
            assert!(text.contains("2026-01-31T12:00:00Z") && text.contains("2027"), "{text}");
        }
    }

    fn later_of(results: &Results) -> Results {
        Results { time: "2027".to_owned(), ..results.clone() }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 9.876, 98.76, 987.6].map(digits), ["0.00", "9.88", "98.8", "988"]);
        assert_eq!([0, 1023, 1024, 7 << 30].map(bytes), ["0 B", "1023 B", "1.00 KiB", "7.00 GiB"]);
    }
}

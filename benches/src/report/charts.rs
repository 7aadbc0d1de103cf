//! The four charts of the report.

use super::svg::{Axis, Chart, bars};
use super::{bytes, compared, digits, titles};
use crate::results::{Kind, Test};
use crate::{Results, Roof};

/// What decoding and prefill reach under the roof (Williams, Waterman, Patterson 2009: "Roofline").
///
/// Along: multiplications for each byte of weights read. Up: multiplications a second. The slope is
/// the memory, the level the arithmetic.
pub(super) fn roofline(results: &[Results]) -> Option<String> {
    let points: Vec<(usize, f64, f64, String)> = results
        .iter()
        .enumerate()
        .flat_map(|(i, result)| {
            let point = move |test: &Test| {
                let (x, y) = (intensity(result, test)?, result.gmac_s(test)?);
                Some((i, x, y, format!("{}: {} GMAC/s", test.name(), digits(y))))
            };
            result.tests.iter().filter_map(point).collect::<Vec<_>>()
        })
        .collect();
    let mut roofs: Vec<(usize, &Roof)> = Vec::new();
    for (i, roof) in results.iter().enumerate().filter_map(|(i, r)| Some((i, r.roof.as_ref()?))) {
        // Engines on one machine share a roof.
        if roofs.iter().all(|(_, other)| *other != roof) {
            roofs.push((i, roof));
        }
    }
    if roofs.is_empty() || points.is_empty() {
        return None;
    }
    let peaks = || roofs.iter().flat_map(|(_, roof)| roof.peaks.iter().filter(|p| p.is_int8));
    let x = Axis::log(
        "multiplications for each byte of weights read",
        points.iter().map(|p| p.1).chain([0.5, 512.0]),
    );
    let y = Axis::log(
        "10⁹ multiplications a second",
        points.iter().map(|p| p.2).chain(peaks().map(|peak| peak.gmac_s)),
    );
    let (left, right) = (x.min, x.max);
    let bottom = y.min;
    let mut chart = Chart::new(x, y);
    for (i, roof) in &roofs {
        for peak in roof.peaks.iter().filter(|peak| peak.is_int8) {
            let corner = peak.gmac_s / roof.read_gb_s;
            let from = (bottom / roof.read_gb_s).max(left);
            let path = [(from, from * roof.read_gb_s), (corner, peak.gmac_s), (right, peak.gmac_s)];
            chart.line(*i, &path, true);
            let text = format!("{} GMAC/s {}", digits(peak.gmac_s), peak.isa);
            chart.word((right, peak.gmac_s), &text, true);
        }
        let low = (bottom / roof.read_gb_s).max(left) * 1.15;
        chart.word((low, low * roof.read_gb_s), &format!("{} GB/s", digits(roof.read_gb_s)), false);
    }
    let names = titles(results);
    for (i, x, y, title) in points {
        chart.point(i, (x, y), &title);
        chart.name(i, &names[i]);
    }
    Some(chart.finish("Roofline: speed by arithmetic intensity under the measured roof"))
}

/// Multiplications for each byte of weights: those of a pass over the matrices that it reads once.
fn intensity(result: &Results, test: &Test) -> Option<f64> {
    let cost = &result.model.cost;
    let tokens = match test.kind {
        Kind::Decode => 1,
        Kind::Verify => test.n_prompt,
        Kind::Prefill | Kind::Image | Kind::Audio => test.n_prompt.min(test.chunk),
    };
    let x = cost.decode_macs as f64 * tokens as f64 / cost.decode_bytes as f64;
    (x.is_finite() && x > 0.0).then_some(x)
}

/// Tokens a second by how many came before: decoding, one line for each result and number of
/// threads.
pub(super) fn depth(results: &[Results]) -> Option<String> {
    let named = results.iter().zip(titles(results));
    let lines: Vec<Line> = named.flat_map(|(result, title)| lines(result, &title)).collect();
    if lines.iter().all(|line| line.points.len() < 2) {
        return None;
    }
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let x = Axis::from_zero("tokens in the session before", points().map(|p| p.0));
    let y = Axis::from_zero("decoded tokens a second", points().map(|p| p.1));
    let mut chart = Chart::new(x, y);
    for (series, Line { name, points, .. }) in lines.iter().enumerate() {
        chart.line(series, points, false);
        for point in points {
            let title = format!("{name}: {} tokens/s at {}", digits(point.1), point.0);
            chart.point(series, *point, &title);
        }
        chart.name(series, name);
    }
    Some(chart.finish("Decoding speed by depth"))
}

struct Line {
    threads: usize,
    name: String,
    /// Depth and tokens a second.
    points: Vec<(f64, f64)>,
}

fn lines(result: &Results, title: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for test in result.tests.iter().filter(|test| test.kind == Kind::Decode) {
        let Some(speed) = test.speed() else { continue };
        let (threads, point) = (test.threads, (test.n_depth as f64, speed.median()));
        match lines.iter_mut().find(|line| line.threads == threads) {
            Some(line) => line.points.push(point),
            None => {
                let name = format!("{title}, {threads} threads");
                lines.push(Line { threads, name, points: vec![point] });
            }
        }
    }
    lines
}

/// Weights, scratch, keys and values together by the length of the context.
pub(super) fn memory(results: &[Results]) -> Option<String> {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let has_points = |(_, r): &(usize, &Results)| r.memory.len() > 1;
    let with: Vec<_> = results.iter().enumerate().filter(has_points).collect();
    let points = || with.iter().flat_map(|(_, r)| &r.memory);
    points().next()?;
    let total = |p: &crate::MemoryPoint| gib(p.weights) + gib(p.kv) + gib(p.scratch);
    let x = Axis::log("tokens that the session can hold", points().map(|p| p.context as f64));
    let y = Axis::from_zero("GiB", points().map(total));
    let mut chart = Chart::new(x, y);
    let names = titles(results);
    for (i, result) in with {
        let line: Vec<_> = result.memory.iter().map(|p| (p.context as f64, total(p))).collect();
        chart.line(i, &line, false);
        for (point, at) in result.memory.iter().zip(line) {
            let parts = [point.weights, point.kv, point.scratch].map(bytes);
            let [weights, kv, scratch] = parts;
            let title = format!(
                "{} tokens: weights {weights}, keys and values {kv}, scratch {scratch}",
                point.context
            );
            chart.point(i, at, &title);
        }
        chart.name(i, &format!("{}, {}", names[i], result.model.file));
    }
    Some(chart.finish("Memory by context"))
}

/// The same work by several engines or machines.
pub(super) fn peers(results: &[Results]) -> Option<String> {
    if results.len() < 2 {
        return None;
    }
    let names = titles(results);
    let rows = compared(results).into_iter().filter(|row| row.speeds.iter().flatten().count() > 1);
    let (decode, prefill): (Vec<_>, Vec<_>) =
        rows.map(|row| (row.name, row.speeds)).partition(|(name, _)| name.starts_with("decode"));
    // Decoding and prefill differ by a factor of ten or more: one scale would hide the smaller.
    let chart = |groups: &[_], what: &str| match groups.is_empty() {
        true => String::new(),
        false => bars(groups, &names, &format!("{what}, tokens a second")),
    };
    let both = chart(&decode, "Decoding") + &chart(&prefill, "Prompts");
    (!both.is_empty()).then_some(both)
}

//! One HTML file: no scripts, no fonts, no pictures from elsewhere; light or dark as the reader
//! likes. Everything that a chart shows stands in a table as well.

use std::fmt::Write;

use super::{bytes, charts, compared, digits, share, titles};
use crate::Results;
use crate::text::escaped;

/// The page.
pub fn html(results: &[Results]) -> String {
    let mut out = head("carat bench", "");
    section(&mut out, "Under the roof", ROOFLINE, charts::roofline(results));
    section(&mut out, "Decoding by depth", DEPTH, charts::depth(results));
    section(&mut out, "Memory by context", MEMORY, charts::memory(results));
    section(&mut out, "Side by side", PEERS, charts::peers(results));
    if results.len() > 1 {
        side_by_side(&mut out, results);
    }
    for (result, title) in results.iter().zip(titles(results)) {
        one(&mut out, result, &title);
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn section(out: &mut String, title: &str, text: &str, chart: Option<String>) {
    if let Some(chart) = chart {
        push(out, format_args!("<section>\n<h2>{title}</h2>\n<p>{text}</p>\n{chart}</section>\n"));
    }
}

/// Writing to a string cannot fail.
pub(super) fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

pub(super) fn table(
    out: &mut String,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells.map(|c| format!("<{tag}>{}</{tag}>", escaped(c))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = cells("th", &mut header.iter().copied());
    let body: String =
        rows.into_iter().map(|row| cells("td", &mut row.iter().map(String::as_str))).collect();
    push(
        out,
        format_args!(
            "<div class=\"t\"><table>\n<thead>{head}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
        ),
    );
}

fn side_by_side(out: &mut String, results: &[Results]) {
    let titles = titles(results);
    let mut header = vec!["tokens a second", "threads"];
    header.extend(titles.iter().map(String::as_str));
    let rows = compared(results).into_iter().map(|row| {
        let first = row.speeds.first().copied().flatten();
        let cell = |speed: &Option<f64>| match (*speed, first) {
            (None, _) => String::new(),
            (Some(speed), Some(first)) => format!("{} ({:.2} ×)", digits(speed), speed / first),
            (Some(speed), None) => digits(speed),
        };
        let cells = row.speeds.iter().map(cell);
        [row.name.clone(), row.threads.to_string()].into_iter().chain(cells).collect()
    });
    out.push_str("<section>\n");
    table(out, &header, rows);
    out.push_str("</section>\n");
}

fn one(out: &mut String, result: &Results, title: &str) {
    push(out, format_args!("<section>\n<h2>{}</h2>\n", escaped(title)));
    let Results { machine, model, .. } = result;
    let mut facts = vec![
        ("Engine", format!("{} {} ({})", result.engine, result.version, result.commit)),
        ("Time", result.time.clone()),
        (
            "Machine",
            format!(
                "{}, {} cores, {}, {}",
                machine.cpu,
                machine.cores,
                bytes(machine.memory),
                machine.os
            ),
        ),
        ("Model", format!("{}: {}, {}", model.file, model.name, bytes(model.cost.bytes))),
        (
            "A decoded token",
            format!(
                "reads {} GB and takes {} × 10⁹ multiplications",
                digits(model.cost.decode_bytes as f64 / 1e9),
                digits(model.cost.decode_macs as f64 / 1e9)
            ),
        ),
    ];
    if let Some(roof) = &result.roof {
        let (read, size) = (digits(roof.read_gb_s), bytes(roof.read_bytes));
        let text = format!("{read} GB/s, {} threads over {size}, {}", roof.threads, roof.read_loop);
        facts.push(("Roof: reading", text));
        for peak in &roof.peaks {
            let name = if peak.is_int8 { "Roof: 8-bit integers" } else { "Roof: f32" };
            facts.push((name, format!("{} × 10⁹/s, {}", digits(peak.gmac_s), peak.name)));
        }
    }
    for (name, load) in
        [("Load", result.load()), ("Load from the cache file", result.cached_load())]
    {
        facts.extend(load.map(|ns| (name, format!("{} s", digits(ns.median() / 1e9)))));
    }
    facts.extend(result.peak_rss.map(|peak| ("Peak memory", bytes(peak))));
    for (width, threads, ratio) in result.verify_ratios() {
        let text = format!("{width} tokens take {} × one, {threads} threads", digits(ratio));
        facts.push(("Verifying", text));
    }
    facts.extend(result.notes.iter().map(|note| ("Note", note.clone())));
    table(out, &["", ""], facts.into_iter().map(|(name, text)| vec![name.to_owned(), text]));
    let rows = result.tests.iter().filter_map(|test| {
        let speed = test.speed()?;
        Some(vec![
            test.name(),
            test.threads.to_string(),
            test.isa.clone(),
            digits(speed.median()),
            format!("{:.1} %", 100.0 * speed.spread()),
            speed.len().to_string(),
            share(result, test),
            test.joules_per_token.map_or_else(String::new, |joules| format!("{joules:.2}")),
        ])
    });
    table(out, &TEST_HEADER, rows);
    if !result.skipped.is_empty() {
        let rows = result.skipped.iter().map(|s| vec![s.what.clone(), s.why.clone()]);
        table(out, &["not measured", "why"], rows);
    }
    out.push_str("</section>\n");
}

const TEST_HEADER: [&str; 8] = [
    "test",
    "threads",
    "instructions",
    "tokens/s (median)",
    "spread",
    "samples",
    "of the roof",
    "J/token",
];

const ROOFLINE: &str = "Each point is a test. The slope is what this machine reads from memory, the \
    level what it multiplies in 8 bits; both were measured in the same run. A point on the line \
    leaves nothing to gain. The tables take decoding's share of `read` against readings of the \
    weights right around each sample, where there are any: memory that others share is not always \
    as fast as at its best.";
const DEPTH: &str = "How fast the next token comes when so many came before.";
const MEMORY: &str = "Weights, keys, values and scratch of one session whose context is full.";
const PEERS: &str = "The same file and the same work; longer is faster.";

/// The page until its title, with `style` after the style that all pages share.
pub(super) fn head(title: &str, style: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n"
    )
}

const STYLE: &str = r##":root { color-scheme: light dark; --bg: #fff; --fg: #1c2128; --soft: #59636e; --grid: #d8dee4;
  --c0: #0b63ce; --c1: #c2410c; --c2: #15803d; --c3: #7e22ce; --c4: #a16207; --c5: #0e7490; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #14171c; --fg: #e6e9ee; --soft: #9aa4b0; --grid: #333a44;
    --c0: #6cb0ff; --c1: #ff9b6a; --c2: #6fd58f; --c3: #cfa2ff; --c4: #e5c15b; --c5: #63cfe0; } }
body { margin: 0; background: var(--bg); color: var(--fg); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem; }
h1, h2 { line-height: 1.2; } h2 { margin: 2.5rem 0 .5rem; }
p, figcaption { color: var(--soft); } figure { margin: 1rem 0; } svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; } .g { stroke: var(--grid); stroke-width: 1; }
.l { fill: none; stroke-width: 2; } .limit { stroke-dasharray: 6 4; stroke-width: 1.5; }
.p { stroke: var(--bg); stroke-width: 1.5; }
.l.s0 { stroke: var(--c0); } .l.s1 { stroke: var(--c1); } .l.s2 { stroke: var(--c2); }
.l.s3 { stroke: var(--c3); } .l.s4 { stroke: var(--c4); } .l.s5 { stroke: var(--c5); }
.p.s0, .b.s0 { fill: var(--c0); } .p.s1, .b.s1 { fill: var(--c1); } .p.s2, .b.s2 { fill: var(--c2); }
.p.s3, .b.s3 { fill: var(--c3); } .p.s4, .b.s4 { fill: var(--c4); } .p.s5, .b.s5 { fill: var(--c5); }
.k { border-left: .9em solid; padding-left: .4em; margin-right: 1em; }
.k.s0 { border-color: var(--c0); } .k.s1 { border-color: var(--c1); } .k.s2 { border-color: var(--c2); }
.k.s3 { border-color: var(--c3); } .k.s4 { border-color: var(--c4); } .k.s5 { border-color: var(--c5); }
.t { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--grid);
  font-variant-numeric: tabular-nums; vertical-align: top; }
"##;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn the_page_stands_alone_and_is_well_formed() {
        let mut peer = Results { engine: "<script>alert(1)</script>".to_owned(), ..results() };
        peer.model.file = "\"><img src=x>&.gguf".to_owned();
        for results in [vec![], vec![results()], vec![results(), peer]] {
            let page = html(&results);
            assert!(!page.contains("<script") && !page.contains("<img"));
            let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
            for elsewhere in ["http:", "https:", "src=\"", "url(", "@import", "href"] {
                assert!(!without_namespace.contains(elsewhere), "{elsewhere}");
            }
            balanced(&page);
        }
    }

    #[test]
    fn the_page_has_every_chart_and_every_figure() {
        let first = Results { cached_load_ns: vec![140_000_000], ..results() };
        let page = html(&[first, Results { engine: "peer".to_owned(), ..results() }]);
        for words in [
            "Under the roof",
            "Decoding by depth",
            "Memory by context",
            "Side by side",
            "a&lt;b&gt;.gguf",
            "Fast &amp; &lt;Cheap&gt;",
            "too &lt;long&gt;",
            "40 % of read",
            "4.00 (1.00 ×)",
            "<td>Load from the cache file</td><td>0.14 s</td>",
        ] {
            assert!(page.contains(words), "{words}");
        }
        assert_eq!(page.matches("<svg").count(), 5, "two of them are bars");
        assert_eq!(page.matches("limit\" points").count(), 1, "both share a roof");
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    /// Every element that is opened is closed, in order: what an XML parser would ask for.
    pub(in crate::report) fn balanced(page: &str) {
        let mut open = Vec::new();
        let body = page.split_once("<html").expect("a root").1;
        let mut rest = &body[body.find('>').expect("its end") + 1..];
        while let Some(at) = rest.find('<') {
            let end = at + rest[at..].find('>').expect("a tag ends");
            let tag = &rest[at + 1..end];
            let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
            if tag.starts_with('/') {
                if open.is_empty() && name == "html" {
                    return;
                }
                assert_eq!(open.pop(), Some(name.to_owned()), "near {}", &rest[at..end]);
            } else if !tag.ends_with('/') {
                open.push(name.to_owned());
            }
            rest = &rest[end + 1..];
        }
        panic!("no end");
    }
}

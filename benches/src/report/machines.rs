//! One page of all machines: results of the protocol side by side.
//!
//! As the other pages it needs nothing but itself. A few lines of script sort the table; without
//! them it stands there in the order of decoding, fastest first.

use std::cmp::Reverse;

use super::digits;
use super::html::{head, push, table};
use super::svg::{Axis, Chart, bars};
use crate::protocol::summary::{share, speed, time};
use crate::protocol::{Plan, Record};
use crate::text::escaped;

/// The page; the name of each record's file stands with it.
pub fn machines(records: &[(String, Record)]) -> String {
    let mut records: Vec<&(String, Record)> = records.iter().collect();
    let decode =
        |record: &Record| record.timing("decode 0").map_or(0, |t| (t.speed() * 1e3) as u64);
    records.sort_by_key(|(name, record)| (Reverse(decode(record)), name.clone()));
    let names = names(&records);
    let mut out = head("carat on machines", STYLE);
    push(&mut out, format_args!("<p>{INTRODUCTION}</p>\n"));
    if records.is_empty() {
        out.push_str("<p>There is no result yet.</p>\n");
    } else {
        overview(&mut out, &records, &names);
        charts(&mut out, &records, &names);
    }
    for (i, (file, record)) in records.iter().enumerate() {
        one(&mut out, i, &names[i], file, record);
    }
    push(&mut out, format_args!("</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"));
    out
}

/// CPU and model, numbered where two are the same.
fn names(records: &[&(String, Record)]) -> Vec<String> {
    let name = |(_, record): &&(String, Record)| {
        let cores = record.machine.cores;
        format!("{}, {cores} cores: {}", record.machine.cpu, record.model.facts.file)
    };
    let plain: Vec<String> = records.iter().map(name).collect();
    let numbered = |(i, name): (usize, &String)| {
        let before = plain[..i].iter().filter(|other| *other == name).count();
        let is_shared = plain.iter().filter(|other| *other == name).count() > 1;
        if is_shared { format!("{name} ({})", before + 1) } else { name.clone() }
    };
    plain.iter().enumerate().map(numbered).collect()
}

/// A cell: what is shown, and what it is sorted by.
struct Cell {
    html: String,
    key: Option<f64>,
}

impl Cell {
    fn text(text: &str) -> Self {
        Self { html: escaped(text), key: None }
    }

    fn number(value: Option<f64>, unit: &str) -> Self {
        let value = value.filter(|value| value.is_finite());
        let html = value.map_or_else(String::new, |value| digits(value) + unit);
        Self { html, key: value }
    }
}

fn overview(out: &mut String, records: &[&(String, Record)], names: &[String]) {
    out.push_str("<div class=\"t\"><table id=\"all\">\n<thead><tr>");
    for (title, more) in COLUMNS {
        push(
            out,
            format_args!("<th title=\"{more}\" aria-sort=\"none\"><button>{title}</button></th>"),
        );
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (i, (_, record)) in records.iter().enumerate() {
        out.push_str("<tr>");
        for cell in row(i, &names[i], record) {
            let key = cell.key.map_or_else(String::new, |key| format!(" data-key=\"{key:.4}\""));
            push(out, format_args!("<td{key}>{}</td>", cell.html));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn row(i: usize, name: &str, record: &Record) -> Vec<Cell> {
    let seconds = |name: &str| Some(record.timing(name)?.median_ns as f64 / 1e9);
    let plan = Plan::of(record);
    let speed = |name: &str| Some(record.timing(name)?.speed());
    let machine = Cell { html: format!("<a href=\"#m{i}\">{}</a>", escaped(name)), key: None };
    let marks: Vec<_> = record.marks.iter().map(|mark| badge(&mark.kind, &mark.text)).collect();
    let shown = record.timing("decode 0").and_then(|timing| record.read_share(timing));
    let joules = record.sustained.as_ref().and_then(|sustained| {
        let tokens = sustained.tokens * sustained.blocks_ns.len();
        Some(sustained.joules? / tokens.max(1) as f64)
    });
    let depth = |i: usize| speed(&format!("decode {}", plan.depths[i]));
    vec![
        machine,
        Cell { html: marks.join(" "), key: Some(marks.len() as f64) },
        Cell::text(&record.settings.isa),
        Cell::number(Some(record.roof.read_gb_s), ""),
        Cell::number(depth(0), ""),
        Cell::number(shown.map(|share| 100.0 * share), " %"),
        Cell::number(depth(1), ""),
        Cell::number(depth(2), ""),
        Cell::number(record.sustained.as_ref().map(|sustained| sustained.ratio), ""),
        Cell::number(speed(&format!("prompt {}", plan.prompt)), ""),
        Cell::number(seconds("turn text"), " s"),
        Cell::number(seconds("turn picture"), " s"),
        Cell::number(seconds("turn sound"), " s"),
        Cell::number(seconds("start second"), " s"),
        Cell::number(joules, ""),
    ]
}

fn badge(kind: &str, text: &str) -> String {
    let bad = ["gate", "debug", "quick", "partial"].contains(&kind);
    let class = if bad { "m bad" } else { "m" };
    format!("<span class=\"{class}\" title=\"{}\">{}</span>", escaped(text), escaped(kind))
}

fn charts(out: &mut String, records: &[&(String, Record)], names: &[String]) {
    let mut section = |title: &str, text: &str, chart: String| {
        push(out, format_args!("<section>\n<h2>{title}</h2>\n<p>{text}</p>\n{chart}</section>\n"));
    };
    let short = |i: usize| format!("{}: {}", i + 1, short(&records[i].1.machine.cpu));
    let group =
        |i: usize, record: &Record, names: &[String], value: fn(&Record, &str) -> Option<f64>| {
            (short(i), names.iter().map(|name| value(record, name)).collect::<Vec<_>>())
        };
    let all = || records.iter().enumerate().map(|(i, (_, record))| (i, record));
    let depths =
        |record: &Record| Plan::of(record).depths.map(|depth| format!("decode {depth}")).to_vec();
    let speed: fn(&Record, &str) -> Option<f64> = |record, name| Some(record.timing(name)?.speed());
    let decode: Vec<_> = all().map(|(i, r)| group(i, r, &depths(r), speed)).collect();
    let legend = ["in an empty session", "after 4096 tokens", "after 16384 tokens"];
    let legend = legend.map(str::to_owned);
    section("Decoding", "Tokens a second.", bars(&decode, &legend, "Decoding by machine"));
    let turns = ["turn text", "turn picture", "turn sound"].map(str::to_owned);
    let wait: fn(&Record, &str) -> Option<f64> =
        |record, name| Some(record.timing(name)?.median_ns as f64 / 1e9);
    let first: Vec<_> = all().map(|(i, r)| group(i, r, &turns, wait)).collect();
    let legend = ["after a text", "after a picture", "after ten seconds of sound"];
    let legend = legend.map(str::to_owned);
    let text = "Seconds until it comes, from the raw pixels or samples on; shorter is better.";
    section("The first token of an answer", text, bars(&first, &legend, "Time to the first token"));
    if let Some(chart) = sustained(records, names) {
        let text = "Tokens a second in each minute of ten.";
        section("Decoding for ten minutes", text, chart);
    }
}

/// The speed of each minute as a part of the first's, one line for each machine.
fn sustained(records: &[&(String, Record)], names: &[String]) -> Option<String> {
    let minutes = |record: &Record| -> Vec<(f64, f64)> {
        let minutes = record.sustained.as_ref().map_or(&[][..], |sustained| &sustained.minutes);
        minutes.iter().enumerate().map(|(i, speed)| (i as f64 + 1.0, *speed)).collect()
    };
    let lines: Vec<_> = records.iter().map(|(_, record)| minutes(record)).collect();
    if lines.iter().all(|line| line.len() < 2) {
        return None;
    }
    let points = || lines.iter().flatten();
    let x = Axis::from_zero("minute", points().map(|point| point.0));
    let y = Axis::from_zero("tokens a second", points().map(|point| point.1));
    let mut chart = Chart::new(x, y);
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        chart.line(i, line, false);
        for point in line {
            let title = format!("{}: {} tokens/s in minute {}", names[i], digits(point.1), point.0);
            chart.point(i, *point, &title);
        }
        chart.name(i, &names[i]);
    }
    Some(chart.finish("Decoding speed by the minute"))
}

/// A CPU's name without trade marks and clock rate, as long as a chart has room for.
fn short(cpu: &str) -> String {
    let before = |cpu: &str, word: &str| cpu.split(word).next().unwrap_or_default().to_owned();
    let plain = before(&before(cpu, "@"), " w/").replace("(R)", "").replace("(TM)", "");
    let words = plain.split_whitespace().filter(|word| !["CPU", "Processor"].contains(word));
    let short: String = words.collect::<Vec<_>>().join(" ");
    match short.char_indices().nth(20) {
        Some((at, _)) => format!("{}…", &short[..at]),
        None => short,
    }
}

fn one(out: &mut String, i: usize, name: &str, file: &str, record: &Record) {
    let title = escaped(name);
    push(out, format_args!("<section id=\"m{i}\">\n<h2>{}. {title}</h2>\n", i + 1));
    for mark in &record.marks {
        let (kind, text) = (badge(&mark.kind, &mark.text), escaped(&mark.text));
        push(out, format_args!("<p>{kind} {text}</p>\n"));
    }
    let rows = facts(file, record).into_iter();
    table(out, &["", ""], rows.map(|(name, text)| vec![name.to_owned(), text]));
    let rows = record.timings.iter().map(|timing| {
        vec![
            timing.name.clone(),
            timing.tokens.to_string(),
            speed(timing),
            time(timing.median_ns),
            format!("{} to {}", time(timing.min_ns), time(timing.max_ns)),
            timing.samples_ns.len().to_string(),
            share(record, timing),
        ]
    });
    table(out, &TESTS, rows);
    if !record.skipped.is_empty() {
        let rows = record.skipped.iter().map(|s| vec![s.what.clone(), s.why.clone()]);
        table(out, &["not measured", "why"], rows);
    }
    out.push_str("</section>\n");
}

fn facts(file: &str, record: &Record) -> Vec<(&'static str, String)> {
    let Record { program, machine, system, model, .. } = record;
    let memory = super::bytes(machine.memory);
    let caches: Vec<_> = system.caches.iter().filter(|cache| cache.kind != "Instruction").collect();
    let caches = caches
        .iter()
        .map(|cache| format!("L{} {} × {}", cache.level, cache.count, super::bytes(cache.bytes)));
    let caches: Vec<_> = caches.collect();
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "not told".to_owned());
    let peak = record.roof.int8(&record.settings.isa).map_or(0.0, |peak| peak.gmac_s);
    let (read, peak) = (digits(record.roof.read_gb_s), digits(peak));
    let percent =
        |part: Option<f64>| part.map_or("not told".to_owned(), |p| digits(100.0 * p) + " %");
    let others = percent(record.conditions.foreign_cpu);
    let mut facts = vec![
        ("Machine", format!("{}, {memory}, {}", or(&system.product), machine.os)),
        ("CPU", format!("{}, {} cores, {} threads", machine.cpu, machine.cores, system.threads)),
        ("Caches", caches.join(", ")),
        ("Governor", or(&system.governor)),
        ("Roof", format!("read {read} GB/s, {peak} × 10⁹ multiplications/s in 8 bits")),
        ("Model", format!("{}, {}", model.facts.name, super::bytes(model.facts.cost.bytes))),
        ("Hash of the model", model.hash.clone()),
        ("Program", format!("{} {} ({})", program.name, program.version, program.commit)),
        ("Hash of the program", program.hash.clone()),
        ("Instructions", format!("{}, {} threads", record.settings.isa, record.settings.threads)),
        ("Energy", record.energy.clone()),
        ("Time", format!("{}, {:.0} s", record.time, record.seconds)),
        ("Other programs", format!("{others} of the CPU time")),
        ("File", file.to_owned()),
    ];
    if let Some(gate) = &record.gate {
        let verdict = if gate.passed { "right" } else { "WRONG" };
        let (kl, error) = (gate.distance.kl, gate.distance.error);
        let text = format!("{verdict}: KL {kl:.1e}, error {error:.1e}; against {}", gate.how);
        facts.push(("Answers", text));
    }
    facts
}

const COLUMNS: [(&str, &str); 15] = [
    ("machine and model", "CPU, cores and model; click for all that is known"),
    ("marks", "what a reader must know of this run"),
    ("instr.", "the instruction set in use"),
    ("memory GB/s", "read by all threads, at best"),
    ("decode 0", "tokens a second in an empty session"),
    ("of read", "bytes of weights over what the memory gave around each sample"),
    ("4096", "tokens a second after 4096 tokens"),
    ("16384", "tokens a second after 16384 tokens"),
    ("10 min", "speed of the last minute over that of the first"),
    ("prompt", "tokens a second of a prompt of 512"),
    ("text", "seconds to the first token after 128 tokens of text"),
    ("picture", "seconds to the first token after a picture and a question"),
    ("sound", "seconds to the first token after ten seconds of sound and a question"),
    ("restart", "seconds from the start to the first token, with a cache file"),
    ("J/token", "energy of a token of sustained decoding, where it was measured"),
];

const TESTS: [&str; 7] =
    ["test", "tokens", "tokens/s", "median", "least to most", "samples", "of the roof"];

const INTRODUCTION: &str = "Every row is one run of <code>carat bench --protocol 1</code>: the same \
    tokens, lengths and depths everywhere. Runs whose answers were wrong are not taken. Point at a \
    title or a mark to read what it means, click a title to sort.";

const STYLE: &str = r#"main { max-width: 76rem; } section { max-width: 46rem; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0;
  cursor: pointer; text-align: left; } th button:hover, th button:focus-visible { text-decoration: underline; }
th[aria-sort=ascending] button::after { content: " ↑"; } th[aria-sort=descending] button::after { content: " ↓"; }
#all th, #all td { white-space: nowrap; } #all td:first-child, #all td:nth-child(2) { white-space: normal; }
#all td:first-child { min-width: 14rem; } #all td:nth-child(2) { min-width: 7rem; }
a { color: var(--c0); } td { overflow-wrap: anywhere; } section td:first-child { white-space: nowrap; }
.m { display: inline-block; border: 1px solid var(--c4); color: var(--c4); border-radius: .7em;
  padding: 0 .55em; font-size: .8rem; line-height: 1.4; } .m.bad { border-color: var(--c1); color: var(--c1); }
figure { overflow-x: auto; } svg { min-width: 34rem; } .k { display: inline-block; margin-bottom: .3rem; }
"#;

/// Sorts by what a cell shows, or by its key; the second click turns the order.
const SCRIPT: &str = r#"const all = document.getElementById("all");
all?.querySelectorAll("th").forEach((th, at) => th.firstChild.addEventListener("click", () => {
  const up = th.getAttribute("aria-sort") === "descending";
  all.querySelectorAll("th").forEach(other => other.setAttribute("aria-sort", "none"));
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[at].dataset.key ?? row.cells[at].textContent;
  const by = (a, b) => isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b;
  const rows = [...all.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * by(key(a), key(b)));
  all.tBodies[0].append(...rows);
}));
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::check::tests::good;
    use crate::report::html::tests::balanced;

    #[test]
    fn the_page_stands_alone_and_is_well_formed() {
        let mut evil = good();
        let script = "</td><script>alert(1)</script>";
        evil.machine.cpu = script.to_owned();
        evil.marks =
            vec![crate::protocol::Mark { kind: script.to_owned(), text: script.to_owned() }];
        evil.energy = script.to_owned();
        evil.sustained = None;
        let file = || "\"><img src=x>.json".to_owned();
        let two = vec![(file(), good()), (file(), evil)];
        for records in [Vec::new(), vec![(file(), good())], two] {
            let page = machines(&records);
            assert!(!page.contains("<script>alert") && !page.contains("<img"));
            assert_eq!(page.matches("<script>").count(), 1);
            let own = page.replace("http://www.w3.org/2000/svg", "");
            for elsewhere in ["http:", "https:", "src=\"", "url(", "@import"] {
                assert!(!own.contains(elsewhere), "{elsewhere}");
            }
            let without_script = page.replace(SCRIPT, "");
            balanced(&without_script);
            assert!(!without_script.contains("NaN") && !without_script.contains("inf"));
        }
    }

    #[test]
    fn the_fastest_stands_first_and_every_figure_is_there() {
        let mut slow = good();
        slow.machine.cpu = "Slow".to_owned();
        slow.timings[2] = crate::protocol::Timing::new("decode 0", 32, vec![16_000_000_000; 5]);
        slow.marks =
            vec![crate::protocol::Mark { kind: "battery".to_owned(), text: "it ran".to_owned() }];
        let page = machines(&[("a.json".to_owned(), slow), ("b.json".to_owned(), good())]);
        let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words} is not there"));
        assert!(at("1. Fast &amp; &lt;Cheap&gt;, 2 cores: made up") < at("2. Slow, 2 cores"));
        for words in [
            "<td data-key=\"4.0000\">4.00</td><td data-key=\"40.0000\">40.0 %</td>",
            "<td data-key=\"2.0000\">2.00</td>",
            "<span class=\"m\" title=\"it ran\">battery</span>",
            "not available: a test",
            "<td>turn picture</td><td>285</td>",
        ] {
            at(words);
        }
        assert_eq!(page.matches("<svg").count(), 3);
    }
}

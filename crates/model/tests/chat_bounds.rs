//! No template takes more than half a second or 64 MiB, whatever it does.
//!
//! Each hostile template is rendered in a process of its own, whose processor time and peak of
//! resident memory the system measures.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use carat::ChatTemplate;

/// Templates that try to spend memory, time or stack.
#[expect(clippy::too_many_lines, reason = "a table")]
fn hostile() -> Vec<(&'static str, String)> {
    let twice = "{% set n = namespace(x='aaaaaaaaaaaaaaaa', l=[1]) %}{% for a in range(99) %}";
    let big = "{% set b = 'ab' * 1000000 %}";
    let endless = "{% for a in range(100000) %}{% for b in range(100000) %}";
    let plain = |source: &str| source.to_owned();
    vec![
        ("format width", plain("{{ '{:>40000000000}'.format(1) }}")),
        ("format width of a gigabyte", plain("{{ '{:>1000000000}'.format(1) }}")),
        ("format precision", plain("{{ '{:.4000000000f}'.format(1.5) }}")),
        ("format width by argument", plain("{{ '{:{}}'.format(1, 9000000000) }}")),
        ("percent width", plain("{{ '%999999999d' % 1 }}{{ '%*d' % (2000000000, 1) }}")),
        ("percent precision", plain("{{ '%.999999999d' % 1 }}")),
        ("doubling by ~", format!("{twice}{{% set n.x = n.x ~ n.x %}}{{% endfor %}}{{{{ n.x }}}}")),
        ("doubling by +", format!("{twice}{{% set n.x = n.x + n.x %}}{{% endfor %}}{{{{ n.x }}}}")),
        ("doubling lists", format!("{twice}{{% set n.l = n.l + n.l %}}{{% endfor %}}")),
        ("nested twins", format!("{twice}{{% set n.l = [n.l, n.l] %}}{{% endfor %}}{{{{ n.l }}}}")),
        (
            "equal twins",
            format!("{twice}{{% set n.l = [n.l, n.l] %}}{{% endfor %}}")
                + "{% set m = namespace(l=[1]) %}{% for a in range(99) %}{% set m.l = [m.l, m.l] %}\
               {% endfor %}{{ n.l == m.l }}",
        ),
        ("replace grows", format!("{twice}{{% set n.x = n.x.replace('a', 'aa') %}}{{% endfor %}}")),
        ("filter replace grows", format!("{big}{{{{ b|replace('a', b) }}}}")),
        ("join of a huge separator", format!("{big}{{{{ range(9999)|join(b) }}}}")),
        ("str.join", format!("{big}{{{{ b.join(b) }}}}")),
        ("repetition", plain("{{ 'a' * 99999999999 }}")),
        ("repetition of lists", plain("{{ [1] * 99999999999 }}")),
        ("upper of ligatures", plain("{{ ('\u{fb03}' * 3000000)|upper }}")),
        (
            "upper again and again",
            format!("{big}{endless}{{% set c = b|upper %}}{{% endfor %}}{{% endfor %}}"),
        ),
        ("center", plain("{{ 'a'.center(99999999999) }}{{ 'a'|center(9999999999) }}")),
        ("ljust and zfill", plain("{{ 'a'.zfill(99999999999) }}")),
        ("expandtabs", plain("{{ '\\t'.expandtabs(99999999999) }}")),
        ("indent", format!("{big}{{{{ ('\\n' * 1000)|indent(b) }}}}")),
        ("tojson indent", plain("{{ [[[[1]]]]|tojson(indent=99999999999) }}")),
        (
            "tojson separators",
            format!("{big}{{{{ [1,2,3,4,5,6,7,8,9,0,1,2]|tojson(separators=(b, b)) }}}}"),
        ),
        ("wordwrap", format!("{big}{{{{ b|wordwrap(1) }}}}")),
        ("batch fill", plain("{{ [1]|batch(99999999999, 'x')|list }}")),
        ("slice of many", plain("{{ [1]|slice(99999999999)|list }}")),
        ("range", plain("{{ range(99999999999)|list }}")),
        ("powers", plain("{{ 9 ** 9999999999 }}")),
        (
            "towers of powers",
            format!("{endless}{{% set c = 7 ** 4000 * 7 ** 1000 %}}{{% endfor %}}{{% endfor %}}"),
        ),
        ("printed powers", format!("{endless}{{{{ 7 ** 5000 }}}}{{% endfor %}}{{% endfor %}}")),
        ("endless loop", format!("{endless}{{% endfor %}}{{% endfor %}}")),
        ("endless output", format!("{endless}text{{% endfor %}}{{% endfor %}}")),
        (
            "endless scopes with macros",
            format!("{endless}{{% macro m() %}}{{% endmacro %}}{{% endfor %}}{{% endfor %}}"),
        ),
        (
            "endless namespaces",
            format!("{endless}{{% set n = namespace(a=1) %}}{{% endfor %}}{{% endfor %}}"),
        ),
        ("recursion", plain("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")),
        (
            "forking recursion",
            plain(
                "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(99) }}",
            ),
        ),
        (
            "recursive loop",
            plain(
                "{% set n = namespace(l=[1]) %}{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
            ),
        ),
        (
            "deep values",
            format!(
                "{twice}{{% endfor %}}{endless}{{% set n.l = [n.l] %}}{{% endfor %}}{{% endfor %}}"
            ),
        ),
        ("search", format!("{big}{{{{ ('a' * 900000 ~ 'b') in 'a' * 1900000 }}}}")),
        ("count", format!("{big}{{{{ ('a' * 1900000).count('a' * 900000 ~ 'b') }}}}")),
        ("split", format!("{big}{{{{ b.split('a')|length }}}}{{{{ ('a ' * 900000).split() }}}}")),
        ("strip", plain("{{ ('a' * 2000000).strip('b' * 1000000 ~ 'a') }}")),
        ("sort", plain("{{ (range(100000)|list * 5)|sort|length }}")),
        (
            "dict of everything",
            plain(
                "{{ (range(100000)|list * 5)|unique|list|length }}{{ ('ab' * 99999)|list|groupby('x')|length }}",
            ),
        ),
        ("list of strings", format!("{big}{{{{ b|list|map('string')|list|length }}}}")),
        ("repr", plain("{{ ['\\x01' * 3000000] }}")),
        ("escape", plain("{{ ('<' * 3000000)|escape }}{{ ('<' * 3000000)|urlencode }}")),
        ("compare", format!("{big}{endless}{{{{ b == b ~ '' }}}}{{% endfor %}}{{% endfor %}}")),
        ("deep brackets", format!("{{{{ {}1{} }}}}", "[".repeat(100_000), "]".repeat(100_000))),
        ("deep blocks", "{% if 1 %}".repeat(20_000)),
        ("deep signs", format!("{{{{ {}1 }}}}", "-".repeat(200_000))),
        ("long chain", format!("{{{{ {}1 }}}}", "1+".repeat(100_000))),
        ("long filters", format!("{{{{ 'a'{} }}}}", "|upper".repeat(40_000))),
        ("many tokens", format!("{{{{ [{}] }}}}", "1,".repeat(120_000))),
        ("many names", {
            let names: String = (0..16_000).map(|n| format!("{{% set n{n}=1 %}}")).collect();
            names.chars().take(250_000).collect()
        }),
        (
            "many arguments",
            format!("{{{{ dict({}) }}}}", {
                (0..30_000).map(|n| format!("n{n}=1,")).collect::<String>()
            }),
        ),
    ]
}

const TIME_MAX: Duration = Duration::from_millis(500);
const BYTES_MAX: u64 = 64 << 20;

/// A child that takes so long has failed.
const HANG: Duration = Duration::from_secs(10);

/// Renders one template, by the number in the environment, and prints what it took.
#[test]
fn a_long_conversation_may_be_looked_through_from_every_message() {
    // As official templates do: no loop ends early.
    let source = "{% for m in messages %}{% set n = namespace(role='', found=false) %}\
        {% for j in range(loop.index0 - 1, -1, -1) %}{% if not n.found %}\
        {% if messages[j]['role'] != 'tool' %}{% set n.role = messages[j]['role'] %}\
        {% set n.found = true %}{% endif %}{% endif %}{% endfor %}{{ n.role[:1] }}{% endfor %}";
    let message = |at: usize| format!("{{\"role\": \"{}\"}}", ["user", "model", "tool"][at % 3]);
    let messages: Vec<String> = (0..1800).map(message).collect();
    let json = format!("{{\"messages\": [{}]}}", messages.join(","));
    let template = ChatTemplate::new(source).expect("the template is valid");
    let rendered = template.render_json(&json).expect("the limit grows with the messages");
    // After a user a model, and after a tool the model before it.
    assert_eq!(rendered.text(), &"umm".repeat(600)[..1799]);
}

#[test]
#[ignore = "the other test runs it in a process of its own"]
fn one() {
    let Some(number) = std::env::var("CARAT_HOSTILE").ok().and_then(|n| n.parse().ok()) else {
        return;
    };
    let (_, source): (_, String) = hostile().swap_remove(number);
    let (before, begun) = (peak(), processor_time());
    let rendered = ChatTemplate::new(&source).and_then(|t| t.render_json("{\"messages\": []}"));
    let (took, rendered) = (processor_time() - begun, rendered.map(|r| r.text().len()));
    println!("took {} {} {rendered:?}", took.as_micros(), peak() - before);
}

/// The child's output; a child that does not end is stopped.
fn run(number: usize) -> Output {
    let program = std::env::current_exe().expect("the test knows its file");
    let mut child = Command::new(program)
        .args(["--exact", "one", "--ignored", "--nocapture"])
        .env("CARAT_HOSTILE", number.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test can run itself");
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if begun.elapsed() > HANG {
            child.kill().expect("the child still runs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("a child")
}

#[test]
fn no_template_takes_much() {
    let mut failed = Vec::new();
    let templates = hostile();
    assert!(templates.len() >= 15);
    for (number, (name, _)) in templates.iter().enumerate() {
        let output = run(number);
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.split_once("took ").map(|(_, rest)| rest));
        let numbers = line.map(|line| line.splitn(3, ' ').collect::<Vec<_>>());
        let Some([time, bytes, result]) = numbers.as_deref() else {
            failed.push(format!("{name}: {}, {text}", output.status));
            continue;
        };
        println!("{name}: {time} us, {bytes} bytes, {result}");
        let time = Duration::from_micros(time.parse().expect("a number"));
        let bytes: u64 = bytes.parse().expect("a number");
        if time > TIME_MAX || bytes > BYTES_MAX {
            failed.push(format!("{name}: {time:?}, {bytes} bytes, {result}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// What this process has computed so far, in ticks of 10 ms as Linux counts them
/// (`proc_pid_stat(5)`, fields 14 and 15); zero where the system does not tell.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses, which may hold blanks, is the second field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// The most memory that was resident at any time, in bytes; 0 where the system does not tell.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

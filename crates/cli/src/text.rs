//! Numbers and foreign text in a form for people, and how it reaches them.

use std::borrow::Cow;
use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};

use anyhow::{Context, Result};

/// Writes a line to standard error. Where nobody can read it, that is no reason to fail:
/// `eprintln!` panics there.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}
pub(crate) use say;

/// Writes `text` to standard output, where `print!` would panic if that is closed.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context(CANNOT_WRITE)
}

/// What is said where standard output takes no more.
pub(crate) const CANNOT_WRITE: &str = "cannot write to standard output";

/// `6.5 GiB`; exact below 1 KiB.
pub(crate) fn bytes(n: u64) -> String {
    let mut scaled = n as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{n} B") } else { format!("{} {unit}", three_digits(scaled)) }
}

/// `11.9 B` for 11.9 thousand million; exact below ten thousand.
pub(crate) fn count(n: u64) -> String {
    let mut scaled = n as f64;
    let mut unit = "";
    for larger in [" k", " M", " B", " T"] {
        if n < 10_000 || scaled < 1000.0 {
            break;
        }
        scaled /= 1000.0;
        unit = larger;
    }
    if unit.is_empty() { n.to_string() } else { format!("{}{unit}", three_digits(scaled)) }
}

/// At most `max` characters of a text that may hold anything: control characters are escaped, so
/// that a file cannot speak to the terminal.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    let mut shown = escaped(text.chars().take(max), char::is_control);
    if text.chars().nth(max).is_some() {
        shown.push('…');
    }
    shown
}

/// What a model said, for a terminal: line breaks and tabs stay, all other control characters are
/// escaped. A model of a stranger, or a document that it read, would else move the cursor, write to
/// the clipboard or whatever escapes make a terminal do.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let is_active = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    match text.contains(is_active) {
        false => text.into(),
        true => escaped(text.chars(), is_active).into(),
    }
}

fn escaped(text: impl Iterator<Item = char>, is_active: fn(char) -> bool) -> String {
    text.flat_map(|c| {
        let escaped = is_active(c).then(|| c.escape_default());
        let plain = escaped.is_none().then_some(c);
        escaped.into_iter().flatten().chain(plain)
    })
    .collect()
}

/// Whether a terminal of this system follows escapes that nobody prepares it for.
pub(crate) fn follows_escapes() -> bool {
    follows(cfg!(windows), env::var_os("TERM").as_deref(), env::var_os("WT_SESSION").is_some())
}

/// `TERM=dumb` does not. On Windows the Windows Terminal does, which sets `WT_SESSION`, and what
/// sets `TERM` as Unix does; an old console would show the escapes.
fn follows(is_windows: bool, term: Option<&OsStr>, is_windows_terminal: bool) -> bool {
    match term {
        Some(term) => term != "dumb",
        None => !is_windows || is_windows_terminal,
    }
}

fn three_digits(x: f64) -> String {
    let decimals = if x < 10.0 {
        2
    } else if x < 100.0 {
        1
    } else {
        0
    };
    format!("{x:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_three_digits() {
        let shown: Vec<_> =
            [0, 1023, 1024, 1536, 10_240, 6_975_879_296, u64::MAX].map(bytes).into();
        let wanted = ["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "10.0 KiB", "6.50 GiB", "16.0 EiB"];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn counts_keep_three_digits() {
        let shown: Vec<_> = [0, 9_999, 10_000, 268_098_176, 11_950_000_000].map(count).into();
        assert_eq!(shown, ["0", "9999", "10.0 k", "268 M", "11.9 B"]);
    }

    #[test]
    fn foreign_text_cannot_speak_to_the_terminal() {
        assert_eq!(shortened("a\x1b[31mb\nß", 20), "a\\u{1b}[31mb\\nß");
        assert_eq!(shortened("ßßß", 2), "ßß…");
        assert_eq!(shortened("ßß", 2), "ßß");
    }

    #[test]
    fn escapes_are_for_terminals_that_follow_them() {
        let follows_them = |is_windows, term: Option<&str>, is_windows_terminal| {
            follows(is_windows, term.map(OsStr::new), is_windows_terminal)
        };
        for is_windows in [false, true] {
            assert!(!follows_them(is_windows, Some("dumb"), true));
            assert!(follows_them(is_windows, Some("xterm-256color"), false));
            assert!(follows_them(is_windows, None, true));
        }
        assert!(follows_them(false, None, false) && !follows_them(true, None, false));
    }

    /// C0 and C1 controls and DEL, as Unicode's category Cc has them.
    #[test]
    fn what_a_model_said_cannot_either() {
        assert_eq!(visible("a\tb\nß 😀\u{200d}"), "a\tb\nß 😀\u{200d}");
        let said = "\x1b]52;c;eA==\x07 \r\x08\0 \u{9b}2J\x7f";
        let shown = r"\u{1b}]52;c;eA==\u{7} \r\u{8}\u{0} \u{9b}2J\u{7f}";
        assert_eq!(visible(said), shown);
    }
}

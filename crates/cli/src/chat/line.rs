//! What a line of a chat asks for, and paths as people and terminals write them.

use std::env;
use std::path::{Path, PathBuf, is_separator};

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Say(&'a str),
    Nothing,
    Help,
    Clear,
    Undo,
    Exit,
    /// A command that takes a path, and the path as it was written.
    Path(&'a str, &'a str),
    Unknown(&'a str),
}

/// The commands that take a path.
pub(super) const PATHS: [&str; 5] = ["/image", "/audio", "/video", "/save", "/load"];

/// All other commands.
pub(super) const PLAIN: [&str; 7] = ["/undo", "/clear", "/reset", "/help", "/exit", "/quit", "/?"];

impl<'a> Line<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let text = text.trim();
        match text {
            "" => Self::Nothing,
            "/help" | "/?" => Self::Help,
            "/clear" | "/reset" => Self::Clear,
            "/undo" => Self::Undo,
            "/exit" | "/quit" => Self::Exit,
            _ if let Some((command, path)) = with_path(text) => Self::Path(command, path),
            // A path or a comment is a message: commands are one word of letters.
            _ => match text.strip_prefix('/') {
                Some(word) if !word.is_empty() && word.chars().all(char::is_alphabetic) => {
                    Self::Unknown(text)
                }
                _ => Self::Say(text),
            },
        }
    }
}

/// A command that takes a path, and the path.
fn with_path(text: &str) -> Option<(&str, &str)> {
    let (command, path) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    PATHS.contains(&command).then_some((command, path.trim()))
}

/// The path that was written: a name that exists as it stands, else one in which backslashes and
/// quotes mean what they mean to a shell, as terminals write the names of files that are dropped on
/// them, or an address `file://`. `~/` is the home folder.
pub(super) fn path(written: &str) -> PathBuf {
    if Path::new(written).exists() {
        return written.into();
    }
    if let Some(address) = written.strip_prefix("file://") {
        return path_of_address(address, cfg!(windows)).into();
    }
    let plain = unquoted(written);
    if written.starts_with('~') { at_home(&plain) } else { plain.into() }
}

/// A path whose leading `~/` is the home folder.
pub(super) fn at_home(path: &str) -> PathBuf {
    let is_end = |rest: &&str| rest.is_empty() || rest.starts_with(is_separator);
    match path.strip_prefix('~').filter(is_end).zip(env::home_dir()) {
        Some((rest, home)) => home.join(rest.trim_start_matches(is_separator)),
        None => path.into(),
    }
}

/// The text without quotes and backslashes as a shell takes them away; blanks stay. A quote that is
/// never closed is a character like others. On Windows backslashes part folders.
pub(super) fn unquoted(text: &str) -> String {
    unquoted_on(cfg!(windows), text)
}

pub(super) fn unquoted_on(is_windows: bool, text: &str) -> String {
    let (mut plain, mut quote) = (String::new(), None);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let ahead = rest.as_str();
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') if ahead.contains(c) => quote = Some(c),
            (None, '\\') if !is_windows => plain.extend(rest.next()),
            (Some('"'), '\\') if !is_windows && ahead.starts_with(['"', '\\', '$', '`']) => {
                plain.extend(rest.next());
            }
            _ => plain.push(c),
        }
    }
    plain
}

/// The path in what stands behind `file://`. On Windows a slash stands before the drive, and a
/// host is the server of a share (RFC 8089, appendix E).
fn path_of_address(address: &str, is_windows: bool) -> String {
    let path = percent_decoded(address);
    let has_drive = path.starts_with('/') && path.get(2..3) == Some(":");
    match (is_windows, path.starts_with('/')) {
        (true, true) if has_drive => path[1..].to_owned(),
        (true, false) => format!("//{path}"),
        _ => path,
    }
}

/// `%20` and the like as the bytes that they stand for, as far as these are text.
fn percent_decoded(address: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = address.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| first == b'%');
        let code = code.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_one_word_of_letters() {
        let lines = [
            "/help",
            " /exit ",
            "/rest",
            "/etc/hosts",
            "/",
            "",
            "  ",
            "hi /exit",
            "/image a b.png ",
            "/audio  'a.wav'",
            "/video",
            "/imagine a cat",
            "/save",
            "/load my talk",
            "/undo",
            "/undo it",
            "/reset",
        ];
        let parsed = lines.map(Line::parse);
        let wanted = [
            Line::Help,
            Line::Exit,
            Line::Unknown("/rest"),
            Line::Say("/etc/hosts"),
            Line::Say("/"),
            Line::Nothing,
            Line::Nothing,
            Line::Say("hi /exit"),
            Line::Path("/image", "a b.png"),
            Line::Path("/audio", "'a.wav'"),
            Line::Path("/video", ""),
            Line::Say("/imagine a cat"),
            Line::Path("/save", ""),
            Line::Path("/load", "my talk"),
            Line::Undo,
            Line::Say("/undo it"),
            Line::Clear,
        ];
        assert_eq!(parsed, wanted);
    }

    /// The left side is what bash, VTE, Konsole and macOS's Terminal write for a dropped file.
    #[test]
    #[cfg(unix)]
    fn paths_are_written_as_terminals_write_them() {
        for (written, wanted) in [
            ("/a/b.png", "/a/b.png"),
            ("/a/my photo.png", "/a/my photo.png"),
            (r"/a/my\ photo\ \(1\).png", "/a/my photo (1).png"),
            ("'/a/my photo.png'", "/a/my photo.png"),
            ("\"/a/my photo.png\"", "/a/my photo.png"),
            (r"'/a/it'\''s.png'", "/a/it's.png"),
            (r#""/a/\"b\" \c.png""#, r#"/a/"b" \c.png"#),
            ("/a/it's.png", "/a/it's.png"),
            ("'/a/open", "'/a/open"),
            ("file:///a/my%20photo%C3%A9.png", "/a/my photoé.png"),
            ("file:///a/100%", "/a/100%"),
            (r"/a/\", "/a/"),
        ] {
            assert_eq!(path(written), Path::new(wanted), "{written}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_tilde_is_the_home_folder_unless_it_is_quoted() {
        let home = env::home_dir().expect("a home");
        assert_eq!(path(r"~/my\ photo.png"), home.join("my photo.png"));
        assert_eq!(path("~"), home);
        assert_eq!(path("'~/a.png'"), Path::new("~/a.png"));
        assert_eq!(path("~nobody/a.png"), Path::new("~nobody/a.png"));
    }

    /// As Explorer and the Windows Terminal write a file that is dropped, and browsers an address.
    #[test]
    fn paths_of_windows_keep_their_backslashes() {
        for (written, wanted) in [
            (r"C:\Users\me\a.png", r"C:\Users\me\a.png"),
            (r#""C:\Users\me\my photo.png""#, r"C:\Users\me\my photo.png"),
            (r#""\\server\share\$a\b.png""#, r"\\server\share\$a\b.png"),
            (r"'C:\it\'", r"C:\it\"),
        ] {
            assert_eq!(unquoted_on(true, written), wanted, "{written}");
        }
        for (address, wanted) in [
            ("/C:/my%20photo.png", "C:/my photo.png"),
            ("server/share/a.png", "//server/share/a.png"),
            ("/share/a.png", "/share/a.png"),
            ("/é:/a.png", "/é:/a.png"),
            ("", "//"),
        ] {
            assert_eq!(path_of_address(address, true), wanted, "{address}");
        }
        assert_eq!(path_of_address("/C:/a", false), "/C:/a");
        assert_eq!(path_of_address("server/a", false), "server/a");
    }

    #[test]
    fn a_name_that_exists_is_taken_as_it_stands() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = folder.path().join("'a'");
        std::fs::write(&name, "").expect("a file");
        assert_eq!(path(name.to_str().expect("text")), name);
    }
}

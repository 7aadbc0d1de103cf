//! Tab in a chat: commands, and the paths that some of them take.

use std::fs;
use std::path::is_separator;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::line::{PATHS, PLAIN, at_home, unquoted};

/// Completes and does nothing else.
pub(super) struct Completion;

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(completed(&line[..cursor]))
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

/// Where the text to be replaced begins, and what may stand there instead.
fn completed(line: &str) -> (usize, Vec<Pair>) {
    let start = line.len() - line.trim_start().len();
    let Some((command, rest)) = line[start..].split_once(char::is_whitespace) else {
        return (start, commands(&line[start..]));
    };
    if !PATHS.contains(&command) {
        return (line.len(), Vec::new());
    }
    let written = rest.trim_start();
    (line.len() - written.len(), paths(written))
}

fn commands(begun: &str) -> Vec<Pair> {
    if !begun.starts_with('/') {
        return Vec::new();
    }
    // A blank, where a path is to follow.
    let all = PATHS.map(|command| (command, " ")).into_iter();
    let all = all.chain(PLAIN.map(|command| (command, "")));
    let pair = |(command, end): (&str, &str)| Pair {
        display: command.to_owned(),
        replacement: format!("{command}{end}"),
    };
    all.filter(|(command, _)| command.starts_with(begun)).map(pair).collect()
}

/// The files and folders that a path may become, in the order of their names. What was begun with a
/// quote ends in it, else blanks and quotes get backslashes.
fn paths(written: &str) -> Vec<Pair> {
    let quote = ['\'', '"'].into_iter().find(|quote| written.starts_with(*quote));
    let path = match quote {
        // The quote that is yet to come.
        Some(quote) => unquoted(&format!("{written}{quote}")),
        None => unquoted(written),
    };
    let (folder, begun) = path.split_at(path.rfind(is_separator).map_or(0, |slash| slash + 1));
    let listed = match folder {
        "" => "./".into(),
        // A tilde is the home folder only where no quote stands before it.
        _ if quote.is_some() => folder.into(),
        _ => at_home(folder),
    };
    let Ok(entries) = fs::read_dir(listed) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        let is_hidden = name.starts_with('.') && !begun.starts_with('.');
        if is_hidden || !name.starts_with(begun) {
            continue;
        }
        let is_folder = entry.path().is_dir();
        if is_folder {
            name.push('/');
        }
        let replacement = match quote {
            Some(quote) => quoted(cfg!(windows), &format!("{folder}{name}"), quote, !is_folder),
            None => escaped(cfg!(windows), &format!("{folder}{name}")),
        };
        found.push(Pair { display: name, replacement });
    }
    found.sort_by(|a, b| a.display.cmp(&b.display));
    found
}

/// The path in quotes, of which the last is left out where the path goes on.
fn quoted(is_windows: bool, path: &str, quote: char, is_whole: bool) -> String {
    let mut written = String::from(quote);
    for c in path.chars() {
        match (quote, c) {
            ('\'', '\'') => written.push_str(r"'\''"),
            ('"', '"' | '\\' | '$' | '`') if !is_windows => written.extend(['\\', c]),
            _ => written.push(c),
        }
    }
    if is_whole {
        written.push(quote);
    }
    written
}

/// The path with a backslash before all that [`unquoted`] takes away.
fn escaped(is_windows: bool, path: &str) -> String {
    let mut written = String::new();
    for c in path.chars() {
        if matches!(c, ' ' | '\'' | '"' | '\\') && !is_windows {
            written.push('\\');
        }
        written.push(c);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::line::unquoted_on;

    fn replaced(line: &str) -> Vec<String> {
        let (start, found) = completed(line);
        found.iter().map(|pair| line[..start].to_owned() + &pair.replacement).collect()
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(replaced("/im"), ["/image "]);
        assert_eq!(replaced("/e"), ["/exit"]);
        assert_eq!(replaced("/").len(), 12);
        assert_eq!(replaced("/sa"), ["/save "]);
        assert_eq!(replaced("hello"), [""; 0]);
        assert_eq!(replaced("hello /im"), [""; 0]);
        assert_eq!(replaced("/reset /"), [""; 0]);
    }

    #[test]
    #[cfg(unix)]
    fn paths_are_completed_so_that_they_can_be_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().to_str().expect("text");
        for name in ["my photo.png", "my's", ".hidden", "z"] {
            fs::write(folder.path().join(name), "").expect("a file");
        }
        fs::create_dir(folder.path().join("mine")).expect("a folder");
        let found = replaced(&format!("/image {root}/m"));
        let wanted = ["mine/", r"my\ photo.png", r"my\'s"];
        assert_eq!(found, wanted.map(|name| format!("/image {root}/{name}")));
        for line in &found {
            let written = line.strip_prefix("/image ").expect("the command");
            assert!(super::super::line::path(written).exists(), "{written}");
        }
        assert_eq!(
            replaced(&format!("/audio '{root}/my p")),
            [format!("/audio '{root}/my photo.png'")]
        );
        assert_eq!(
            replaced(&format!("/audio {root}/my\\ p")),
            [format!("/audio {root}/my\\ photo.png")]
        );
        assert_eq!(replaced(&format!("/video {root}/.h")), [format!("/video {root}/.hidden")]);
        assert_eq!(replaced("/video /nowhere/a"), [""; 0]);
    }

    /// Whatever a name has in it, and however it was begun, the completed line names the file.
    #[test]
    #[cfg(unix)]
    fn every_name_can_be_read_back_however_it_was_begun() {
        let names = [
            "a b",
            "it's",
            "say \"hi\"",
            "back\\slash",
            "$HOME",
            "`tick`",
            "ünï (1)",
            "#hash",
            "'all'",
            "\"all\"",
            "end\\",
            "two  blanks",
            "d'ir/in \"it\"",
        ];
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("d'ir")).expect("a folder");
        let root = folder.path().to_str().expect("text");
        for name in names {
            fs::write(folder.path().join(name), "").expect("a file");
            let begun: String = name.chars().take(1).collect();
            for quote in ["", "'", "\""] {
                // As a person goes on from folder to folder.
                let mut line = match quote {
                    "" => format!("/image {}", escaped(false, &format!("{root}/{begun}"))),
                    quote => {
                        let open = quoted(false, &begun, quote.chars().next().expect("one"), false);
                        format!("/image {quote}{root}/{}", &open[1..])
                    }
                };
                for part in name.split_inclusive('/') {
                    let found = replaced(&line);
                    let ends = |line: &&String| {
                        let written = line.strip_prefix("/image ").expect("the command");
                        let is_open = part.ends_with('/') && !quote.is_empty();
                        let written =
                            if is_open { format!("{written}{quote}") } else { written.to_owned() };
                        let path = super::super::line::path(&written);
                        path.exists() && path.ends_with(part.trim_end_matches('/'))
                    };
                    let next = found.iter().find(ends);
                    line = next.unwrap_or_else(|| panic!("{line}: {found:?}")).clone();
                }
                fs::metadata(folder.path().join(name)).expect("it is there");
                let written = line.strip_prefix("/image ").expect("the command");
                assert_eq!(super::super::line::path(written), folder.path().join(name), "{line}");
            }
        }
    }

    #[test]
    fn names_of_windows_can_be_read_back() {
        let names = [r"C:\Users\me\", r"\\server\share\my photo.png", r"C:\$a\`b`.png", "C:/a b"];
        for name in names {
            for written in [quoted(true, name, '"', true), escaped(true, name)] {
                assert_eq!(unquoted_on(true, &written), name, "{written}");
            }
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_tilde_is_the_home_folder_unless_it_is_quoted() {
        let home = std::env::home_dir().expect("a home");
        let entries = fs::read_dir(home).expect("it can be read").count();
        let listed = |begun: &str| {
            // A dot shows what is hidden, too.
            let lines = [replaced(begun), replaced(&format!("{begun}."))].concat();
            assert!(lines.iter().all(|line| line.starts_with(begun)), "{lines:?}");
            lines.len()
        };
        assert_eq!(listed("/image ~/"), entries);
        assert_eq!((listed("/image '~/"), listed("/image \"~/")), (0, 0));
    }
}

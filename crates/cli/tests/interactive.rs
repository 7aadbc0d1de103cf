//! The program at a terminal: a pseudo-terminal runs it, an emulator tells what is on the screen.

#![cfg(unix)]

use std::fs;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pty_process::blocking::{Command, Pty};

mod common;

use common::{Folder, tiny};

/// A terminal with a program in it.
struct Terminal {
    pty: Pty,
    child: Child,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// Everything that the program wrote.
    bytes: Vec<u8>,
}

impl Terminal {
    /// Starts `carat` in a terminal of so many columns, with more in its environment.
    fn new(columns: u16, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let (pty, pts) = pty_process::blocking::open().expect("a pseudo-terminal");
        pty.resize(pty_process::Size::new(ROWS, columns)).expect("it can be resized");
        let mut command = Command::new(env!("CARGO_BIN_EXE_carat")).args(args);
        for name in ["CARAT_ISA", "CARAT_NO_HISTORY", "NO_COLOR", "COLORTERM", "XDG_STATE_HOME"] {
            command = command.env_remove(name);
        }
        command = command.env("TERM", "xterm-256color");
        for (name, value) in environment {
            command = command.env(name, value);
        }
        let child = command.spawn(pts).expect("the program starts");
        let (sender, output) = mpsc::channel();
        let mut reader = fs::File::from(
            std::os::fd::AsFd::as_fd(&pty).try_clone_to_owned().expect("another handle"),
        );
        thread::spawn(move || {
            let mut piece = [0; 4096];
            // The end of a terminal is an error on Linux and nothing elsewhere.
            while let Ok(n @ 1..) = reader.read(&mut piece) {
                if sender.send(piece[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        let screen = emulator(columns);
        Self { pty, child, output, screen, bytes: Vec::new() }
    }

    fn type_in(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    /// What is on the screen once it satisfies `is_there`.
    fn wait(&mut self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let shown = self.screen.screen().contents();
            if is_there(&shown) {
                return shown;
            }
            match self.output.recv_timeout(Duration::from_secs(60)) {
                Ok(piece) if begun.elapsed() < Duration::from_secs(120) => self.heard(&piece),
                _ => panic!("no {what} on the screen:\n{shown}"),
            }
        }
    }

    fn heard(&mut self, piece: &[u8]) {
        self.screen.process(piece);
        self.bytes.extend_from_slice(piece);
    }

    /// Waits for a prompt after so many messages.
    fn prompt(&mut self, messages: usize) -> String {
        self.wait("prompt", |shown| {
            let prompts = shown.lines().filter(|line| line.starts_with('>')).count();
            prompts > messages
                && shown.lines().next_back().is_some_and(|last| last.trim_end() == ">")
        })
    }

    /// All that was written, and the exit code.
    fn end(mut self) -> (Vec<u8>, Option<i32>) {
        loop {
            match self.output.recv_timeout(Duration::from_secs(120)) {
                Ok(piece) => self.heard(&piece),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.child.kill().expect("it can be ended");
                    panic!("no end after:\n{}", self.screen.screen().contents());
                }
            }
        }
        (self.bytes, self.child.wait().expect("it ends").code())
    }
}

fn emulator(columns: u16) -> vt100::Parser {
    let side = |n: u16| NonZero::new(n).expect("a terminal has columns and rows");
    vt100::Parser::new(side(ROWS), side(columns), 0)
}

const ROWS: u16 = 40;
const UP: &str = "\x1b[A";

/// A chat with the small model.
fn chat(state: &str, more: &[&str], environment: &[(&str, &str)]) -> Terminal {
    let model = tiny();
    let args = [&["chat", "-m", &model, "--greedy", "-n", "1"], more].concat();
    Terminal::new(80, &args, &[&[("XDG_STATE_HOME", state)], environment].concat())
}

/// Says all messages, of one line or two, and leaves.
fn said(state: &str, messages: &[&str], more: &[&str], environment: &[(&str, &str)]) -> String {
    let mut terminal = chat(state, more, environment);
    for (i, message) in messages.iter().enumerate() {
        terminal.prompt(i);
        let (first, second) = message.split_once('\n').unwrap_or((message, ""));
        if !second.is_empty() {
            terminal.type_in(&format!("{first}\\\r"));
            terminal.wait("second line", |shown| shown.trim_end().ends_with('…'));
        }
        let last = if second.is_empty() { first } else { second };
        terminal.type_in(&format!("{last}\r"));
    }
    terminal.prompt(messages.len());
    terminal.type_in("\x04");
    let (bytes, code) = terminal.end();
    assert_eq!(code, Some(0));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn history(state: &str) -> std::path::PathBuf {
    Path::new(state).join("carat/history")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn arrows_bring_back_what_was_typed_in_an_earlier_chat() {
    let folder = Folder::new();
    let state = folder.path("state");
    said(&state, &["the first", "a \nsecond", " a secret"], &[], &[]);
    let file = history(&state);
    assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o600, 0o700));
    let kept = fs::read_to_string(&file).expect("text");
    assert!(kept.contains("the first\n") && !kept.contains("secret"), "{kept}");
    let mut terminal = chat(&state, &[], &[]);
    terminal.prompt(0);
    terminal.type_in(UP);
    terminal.wait("message of two lines", |shown| shown.contains("> a \nsecond"));
    terminal.type_in(UP);
    terminal.type_in(UP);
    terminal.wait("first message", |shown| shown.contains("> the first"));
}

#[test]
fn nothing_is_kept_where_it_is_not_wanted() {
    let folder = Folder::new();
    let state = folder.path("state");
    said(&state, &["hidden"], &["--no-history"], &[]);
    said(&state, &["hidden"], &[], &[("CARAT_NO_HISTORY", "1")]);
    assert!(!Path::new(&state).exists());
    said(&state, &["seen"], &[], &[("CARAT_NO_HISTORY", "0")]);
    said(&state, &["hidden"], &["--no-history"], &[]);
    let kept = fs::read_to_string(history(&state)).expect("text");
    assert!(kept.contains("seen") && !kept.contains("hidden"), "{kept}");
}

#[test]
fn a_history_has_bounds() {
    let folder = Folder::new();
    let state = folder.path("state");
    fs::create_dir_all(Path::new(&state).join("carat")).expect("a folder");
    let many: String = (0..1500).map(|i| format!("message {i}\n")).collect();
    fs::write(history(&state), format!("#V2\n{many}")).expect("a file");
    said(&state, &["the last"], &[], &[]);
    let mut terminal = chat(&state, &[], &[]);
    terminal.prompt(0);
    terminal.type_in(&format!("{}\r", "x".repeat(5000)));
    terminal.wait("answer", |shown| shown.contains("shorten it"));
    // Ctrl-D is the end of input where a line is being edited; before, it is a byte that is lost.
    terminal.prompt(0);
    terminal.type_in("\x04");
    assert_eq!(terminal.end().1, Some(0));
    let kept = fs::read_to_string(history(&state)).expect("text");
    // A line says which version it is.
    assert_eq!(kept.lines().count(), 1001, "{}", &kept[..200]);
    assert!(kept.ends_with("message 1499\nthe last\n"), "{}", &kept[kept.len() - 100..]);
}

#[test]
fn a_history_that_cannot_be_used_is_left_alone_and_the_chat_goes_on() {
    let folder = Folder::new();
    for (name, content) in [("binary", &b"#V2\n\xff\xfe\n"[..]), ("long", &[b'x'; 9_000_000])] {
        let state = folder.path(name);
        fs::create_dir_all(Path::new(&state).join("carat")).expect("a folder");
        fs::write(history(&state), content).expect("a file");
        let shown = said(&state, &["hello", "again"], &[], &[]);
        assert_eq!(shown.matches("nothing is kept in").count(), 1, "{shown}");
        assert!(shown.contains("--no-history"), "{shown}");
        assert!(fs::read(history(&state)).expect("it is there") == content, "{name} has changed");
    }
    // Where a folder should be is a file.
    let state = folder.file("state", "");
    let shown = said(&state, &["hello"], &[], &[]);
    assert_eq!(shown.matches("nothing is kept in").count(), 1, "{shown}");
}

#[test]
fn a_pipe_in_place_of_the_history_is_not_touched() {
    let folder = Folder::new();
    let state = folder.path("state");
    fs::create_dir_all(Path::new(&state).join("carat")).expect("a folder");
    let pipe = folder.path("pipe");
    let made = std::process::Command::new("mkfifo").args(["-m", "644", &pipe]).status();
    assert!(made.expect("mkfifo is there").success());
    std::os::unix::fs::symlink(&pipe, history(&state)).expect("a link");
    let shown = said(&state, &["hello"], &[], &[]);
    assert!(!shown.contains("history"), "{shown}");
    assert_eq!(mode(Path::new(&pipe)), 0o644);
}

#[test]
fn two_chats_at_once_keep_what_both_say() {
    let folder = Folder::new();
    let state = folder.path("state");
    said(&state, &["before"], &[], &[]);
    let mut chats = [chat(&state, &[], &[]), chat(&state, &[], &[])];
    for turn in 0..3 {
        for (i, terminal) in chats.iter_mut().enumerate() {
            terminal.prompt(turn);
            terminal.type_in(&format!("chat {i} turn {turn}\r"));
            terminal.prompt(turn + 1);
        }
    }
    for mut terminal in chats {
        terminal.type_in("\x04");
        assert_eq!(terminal.end().1, Some(0));
    }
    let kept = fs::read_to_string(history(&state)).expect("text");
    let mut lines: Vec<_> = kept.lines().skip(1).collect();
    lines.sort_unstable();
    let wanted = ["before", "chat 0 turn 0", "chat 0 turn 1", "chat 0 turn 2"];
    let wanted = [&wanted[..], &["chat 1 turn 0", "chat 1 turn 1", "chat 1 turn 2"]].concat();
    assert_eq!(lines, wanted);
}

/// The picture of an item on the screen, cell by cell: two colours each.
#[test]
fn the_gallery_is_drawn_in_the_terminal() {
    let list = fs::read_to_string(gallery("gallery.json")).expect("the gallery has it");
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).expect("it is a list");
    let is_picture = |item: &serde_json::Value| {
        item["files"][0].as_str().is_some_and(|name| name.ends_with(".png"))
    };
    let number = list.iter().position(is_picture).expect("there is a picture");
    let name = list[number]["files"][0].as_str().expect("a name").to_owned();
    let number = (number + 1).to_string();
    for (columns, environment) in
        [(60, &[("COLORTERM", "truecolor")][..]), (80, &[("COLORTERM", "24bit")]), (120, &[])]
    {
        let args = ["demo", "--item", &number];
        let mut terminal = Terminal::new(columns, &args, environment);
        terminal.wait("end", |shown| shown.contains("carat run --help"));
        let screen = terminal.screen.screen();
        let cells = |y: u16| (0..columns).map(move |x| screen.cell(y, x).expect("a cell"));
        let rows: Vec<Vec<_>> = (0..ROWS)
            .map(|y| cells(y).filter(|cell| cell.contents() == "▀").collect::<Vec<_>>())
            .filter(|row| !row.is_empty())
            .collect();
        assert!((4..=12).contains(&rows.len()), "{} rows", rows.len());
        assert!(rows.iter().all(|row| row.len() == rows[0].len() && row.len() > 8));
        let is_true = |colour| matches!(colour, vt100::Color::Rgb(..));
        let cells = rows.iter().flatten();
        let corner = rows[0][0].fgcolor();
        match environment.is_empty() {
            false => {
                assert!(cells.clone().all(|c| is_true(c.fgcolor()) && is_true(c.bgcolor())));
                // The corner is nearly the mean of that corner of the file.
                let picture = image::open(gallery(&name)).expect("a picture").to_rgb8();
                let (wide, high) = (rows[0].len() as u32, 2 * rows.len() as u32);
                let (wide, high) = (picture.width() / wide, picture.height() / high);
                let pixels = (0..wide.max(1)).flat_map(|x| (0..high.max(1)).map(move |y| (x, y)));
                let pixels: Vec<_> = pixels.map(|(x, y)| picture.get_pixel(x, y).0).collect();
                let sum = |i: usize| pixels.iter().map(|pixel| i32::from(pixel[i])).sum::<i32>();
                let wanted = [0, 1, 2].map(|i| sum(i) / pixels.len() as i32);
                let vt100::Color::Rgb(r, g, b) = corner else { panic!("{corner:?}") };
                let found = [r, g, b].map(i32::from);
                assert!((0..3).all(|i| (found[i] - wanted[i]).abs() < 24), "{found:?} {wanted:?}");
            }
            true => assert!(cells.clone().all(|c| matches!(c.fgcolor(), vt100::Color::Idx(16..)))),
        }
        let words = [
            "architecture of Gemma 4 12B",
            "talk with the toy, /image PATH",
            "pictures, sound, JSON",
        ];
        for words in words {
            assert!(screen.rows(0, columns).any(|row| row.contains(words)), "{words} at {columns}");
        }
        assert_eq!(terminal.end().1, Some(0));
    }
}

#[test]
fn a_terminal_without_colours_gets_words() {
    for environment in [[("NO_COLOR", "1")], [("TERM", "dumb")], [("TERM", "xterm")]] {
        let (bytes, code) = Terminal::new(80, &["demo", "--item", "1"], &environment).end();
        let text = String::from_utf8_lossy(&bytes);
        assert!(code == Some(0) && !text.contains('▀'), "{environment:?}: {text}");
        assert!(text.contains("a picture of"), "{environment:?}: {text}");
        let has_escapes = environment == [("TERM", "xterm")];
        assert_eq!(text.contains("\x1b["), has_escapes, "{environment:?}: {text}");
    }
}

/// The model says the escape character twice. A pipe gets what it said.
#[test]
fn what_a_model_says_cannot_speak_to_the_terminal() {
    let model = tiny();
    // Token 32 is that byte.
    let args = ["--raw", "--greedy", "--logit-bias=32=100", "-n", "2", "the rain"];
    let args = [&["run", "-m", &model][..], &args].concat();
    let (bytes, code) = Terminal::new(80, &args, &[]).end();
    let shown = String::from_utf8_lossy(&bytes);
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(shown.contains(r"\u{1b}\u{1b}") && !shown.contains("\x1b\x1b"), "{shown:?}");

    let piped = std::process::Command::new(env!("CARGO_BIN_EXE_carat")).args(args).output();
    let said = piped.expect("the program starts").stdout;
    assert!(said.ends_with(b"\x1b\x1b"), "{said:?}");
}

/// Ctrl-C ends the gallery with what was answered so far, and leaves the terminal as it was.
#[test]
fn ctrl_c_ends_the_gallery() {
    let mut terminal = Terminal::new(80, &["demo", "-t", "1", "--chunk", "1"], &[]);
    terminal.wait("first item", |shown| shown.contains("pixels"));
    terminal.type_in("\x03");
    let (bytes, code) = terminal.end();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("stopping…") && text.contains("0 of 0 right"), "{text}");
    assert!(text.contains("carat: interrupted before the end of the gallery"), "{text}");
    let mut screen = emulator(80);
    screen.process(&bytes);
    screen.process(b"x");
    let (y, x) = screen.screen().cursor_position();
    let cell = screen.screen().cell(y, x - 1).expect("a cell");
    assert_eq!((cell.fgcolor(), cell.bgcolor(), cell.dim()), Default::default());
}

/// A signal while a line is being edited: keys are shown again, lines end, nothing is pasted in
/// marks, and the cursor stands in a line of its own.
#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    for (name, code) in [("-TERM", 143), ("-HUP", 129)] {
        let folder = Folder::new();
        let mut terminal = chat(&folder.path("state"), &[], &[]);
        let modes = |terminal: &Terminal| {
            let found = rustix::termios::tcgetattr(&terminal.pty).expect("a terminal has settings");
            (found.local_modes, found.input_modes, found.output_modes)
        };
        let (idle, _other_end) = pty_process::blocking::open().expect("a pseudo-terminal");
        let found = rustix::termios::tcgetattr(&idle).expect("a terminal has settings");
        let found = (found.local_modes, found.input_modes, found.output_modes);
        terminal.prompt(0);
        assert_ne!(modes(&terminal), found, "a line is being edited");
        terminal.type_in("half a li");
        terminal.wait("half of a line", |shown| shown.contains("> half a li"));
        kill(name, &terminal);
        let begun = Instant::now();
        while terminal.child.try_wait().expect("a state").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{name} did not end it");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(modes(&terminal), found, "{name}");
        let (bytes, ended) = terminal.end();
        assert_eq!(ended, Some(code), "{name}");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (on, off) = (text.rfind("\x1b[?2004h"), text.rfind("\x1b[?2004l"));
        assert!(off > on, "{name}: {text:?}");
        assert!(text.ends_with("\r\n"), "{name}: {text:?}");
    }
}

/// Whoever closes the terminal, or the system that goes down, takes no conversation with it: while
/// a line is being edited, and in the middle of an answer.
#[test]
fn what_was_said_is_saved_before_a_signal_ends_a_chat() {
    let folder = Folder::new();
    let (state, plain, file) = (folder.path("state"), folder.path("plain"), folder.path("talk"));
    let mut terminal = chat(&state, &["--session", &plain], &[]);
    terminal.prompt(0);
    terminal.type_in("hello\r");
    terminal.prompt(1);
    terminal.type_in("\x04");
    assert_eq!(terminal.end().1, Some(0));
    let wanted = fs::read(&plain).expect("it was saved");
    for (name, code) in [("-TERM", 143), ("-HUP", 129)] {
        let mut terminal = chat(&state, &["--session", &file], &[]);
        terminal.prompt(0);
        terminal.type_in("hello\r");
        terminal.prompt(1);
        terminal.type_in("half a li");
        terminal.wait("half of a line", |shown| shown.contains("> half a li"));
        kill(name, &terminal);
        assert_eq!(terminal.end().1, Some(code), "{name}");
        assert!(fs::read(&file).expect("it was saved") == wanted, "{name}");
        fs::remove_file(&file).expect("it is there");

        // An answer that goes on for long: no end but that of the context.
        let model = tiny();
        let endless = ["chat", "-m", &model, "--session", &file, "--ctx", "4000", "--greedy"];
        let bias = ["1=-inf", "106=-inf", "50=-inf"].map(|bias| ["--logit-bias", bias]);
        let args = [&endless[..], bias.as_flattened()].concat();
        let mut terminal = Terminal::new(80, &args, &[("XDG_STATE_HOME", &state)]);
        terminal.prompt(0);
        terminal.type_in("hello\r");
        terminal.wait("an answer", |shown| shown.len() > 300);
        kill(name, &terminal);
        assert_eq!(terminal.end().1, Some(code), "{name}");
        assert!(fs::metadata(&file).expect("it was saved").len() > wanted.len() as u64, "{name}");
        assert_eq!(folder.names(), ["plain", "state", "talk"], "{name}");
        fs::remove_file(&file).expect("it is there");
    }
}

fn kill(name: &str, terminal: &Terminal) {
    let id = terminal.child.id().to_string();
    let killed = std::process::Command::new("kill").args([name, &id]).status();
    assert!(killed.expect("there is kill").success());
}

fn gallery(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/gallery").join(name)
}

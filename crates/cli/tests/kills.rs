//! Processes that are killed at random moments while they write: nothing wrong is ever used, and
//! the next run removes what is left. `CARAT_TEST_KILLS` says how often; the same for `carat pull`
//! is in `pull/kills.rs`.
#![cfg(unix)]

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

mod common;

use common::{Folder, carat, kills, kit, ran, text, tiny};

/// Numbers between 0 and 1 that look like nothing in particular.
fn draws() -> impl FnMut() -> f64 {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes
        f64::from(state >> 8) / f64::from(1 << 24)
    }
}

fn start(args: &[&str]) -> Child {
    let mut command = carat();
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn said(args: &[&str]) -> String {
    ran(start(args).wait_with_output().expect("it ends")).ok()
}

/// Kills programs that write into one folder, at moments that it draws.
struct Killer<'a> {
    folder: &'a Folder,
    draw: Box<dyn FnMut() -> f64>,
    /// How long the program takes.
    whole: Duration,
    /// About how long it writes once its file is there. Each kill of a program that writes corrects
    /// it, because disks differ a hundredfold.
    writing: Duration,
    /// Kills that left an unfinished file.
    orphans: u32,
}

impl<'a> Killer<'a> {
    fn new(folder: &'a Folder, whole: Duration) -> Self {
        let writing = Duration::from_millis(8);
        Self { folder, draw: Box::new(draws()), whole, writing, orphans: 0 }
    }

    /// More kills are wanted: as many as were asked for, and some in the middle of writing.
    fn goes_on(&self, nth: u32) -> bool {
        nth < kills() || self.orphans == 0 && nth < 100 * kills()
    }

    /// Starts the program and kills it within the time that it takes, or within the time that it
    /// writes.
    fn kill(&mut self, args: &[&str], is_writing: bool) {
        let before = parts(self.folder);
        let has_more = || parts(self.folder).iter().any(|name| !before.contains(name));
        let mut child = start(args);
        if is_writing {
            while !has_more() && child.try_wait().expect("a state").is_none() {
                thread::yield_now();
            }
            thread::sleep(self.writing.mul_f64((self.draw)()));
        } else {
            thread::sleep(self.whole.mul_f64((self.draw)()));
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        let is_orphan = has_more();
        self.orphans += u32::from(is_orphan);
        if is_writing {
            self.writing = if is_orphan { self.writing * 2 } else { self.writing / 2 };
        }
    }
}

/// Unfinished files.
fn parts(folder: &Folder) -> Vec<String> {
    let mut names = folder.names();
    names.retain(|name| name.ends_with(".carat.part"));
    names
}

#[test]
fn killed_while_it_writes_a_cache_file() {
    let folder = Folder::new();
    let cache = folder.path("x.cache");
    let models = ["q8_0", "q4_0"].map(|quant| text(&kit(&format!("text-{quant}.gguf"))));
    let option = format!("--cache={cache}");
    let args = models.each_ref().map(|model| {
        ["run", "--raw", "-m", model, "--greedy", "-n", "4", "-t", "1", &option, "the rain"]
    });
    let begun = Instant::now();
    let wanted = args.each_ref().map(|args| said(args));
    let whole = begun.elapsed() / 2;
    let (mut killer, mut nth, mut caches) = (Killer::new(&folder, whole), 0, 0);
    while killer.goes_on(nth) {
        // The file that is there is of the other model, so that this one writes its own.
        let which = nth as usize % 2;
        killer.kill(&args[which], nth % 4 < 2);
        caches += folder.names().iter().filter(|name| *name == "x.cache").count();
        if nth % 3 == 0 {
            assert_eq!(said(&args[which]), wanted[which], "after kill {nth}");
            assert_eq!(folder.names(), ["x.cache"], "after kill {nth}");
        }
        if nth % 5 == 0 {
            fs::remove_file(&cache).unwrap_or_default();
        }
        nth += 1;
    }
    println!("{nth} kills left {} unfinished files and {caches} whole ones", killer.orphans);
    assert!(killer.orphans > 0, "it was never killed while it wrote");
    for (args, wanted) in args.iter().zip(&wanted) {
        assert_eq!(said(args), *wanted);
    }
    assert_eq!(folder.names(), ["x.cache"]);
}

/// What lies there is the conversation before the turn or after it, byte by byte.
#[test]
fn killed_while_it_saves_a_conversation() {
    let folder = Folder::new();
    let (file, model) = (folder.path("talk"), tiny());
    // Long messages take long to write.
    let said_to = "the rain in the house ".repeat(40);
    let base =
        ["run", "-m", &model, "--greedy", "-n", "4", "-t", "1", "--session", &file, &said_to];
    let begun = Instant::now();
    let mut saved = vec![Vec::new()];
    for _ in 0..TURNS {
        said(&base);
        saved.push(fs::read(&file).expect("it was saved"));
    }
    let whole = begun.elapsed() / TURNS;
    let (mut killer, mut nth, mut turns, mut at) = (Killer::new(&folder, whole), 0, 0, 0);
    while killer.goes_on(nth) {
        if at == TURNS as usize || nth == 0 {
            fs::remove_file(&file).unwrap_or_default();
            at = 0;
        }
        killer.kill(&base, nth % 2 == 0);
        let found = fs::read(&file).unwrap_or_default();
        let is_next = found == saved[at + 1];
        assert!(is_next || found == saved[at], "kill {nth} left {} bytes", found.len());
        at += usize::from(is_next);
        turns += usize::from(is_next);
        if nth % 4 == 0 && at < TURNS as usize {
            said(&base);
            at += 1;
            assert!(fs::read(&file).expect("it was saved") == saved[at], "after kill {nth}");
            assert_eq!(folder.names(), ["talk"], "after kill {nth}");
        }
        nth += 1;
    }
    let orphans = killer.orphans;
    println!("{nth} kills left {orphans} unfinished files and let {turns} turns through");
    assert!(orphans > 0, "it was never killed while it wrote");
    fs::remove_file(&file).unwrap_or_default();
    said(&base);
    assert_eq!(folder.names(), ["talk"]);
}

/// Turns of the conversation until it begins anew.
const TURNS: u32 = 4;

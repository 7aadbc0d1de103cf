//! Processes that are killed at random moments while they write: nothing wrong is ever used, and
//! the next run removes what is left. `CARAT_TEST_KILLS` says how often; the same for `carat pull`
//! is in `pull/kills.rs`.
#![cfg(unix)]

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
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

/// Starts the program and kills it within the time that it takes, or, every other time, within the
/// time that it writes.
fn kill(args: &[&str], folder: &Folder, time: Duration, is_writing: bool, draw: f64) {
    let before = parts(folder);
    let mut child = start(args);
    if is_writing {
        let is_new = |name: &String| !before.contains(name);
        while !parts(folder).iter().any(is_new) && child.try_wait().expect("a state").is_none() {
            sleep(Duration::from_micros(100));
        }
        sleep(WRITING.mul_f64(draw));
    } else {
        sleep(time.mul_f64(draw));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
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
    let (mut draw, mut orphans, mut caches) = (draws(), 0, 0);
    for nth in 0..kills() {
        // The file that is there is of the other model, so that this one writes its own.
        let which = nth as usize % 2;
        kill(&args[which], &folder, whole, nth % 4 < 2, draw());
        caches += folder.names().iter().filter(|name| *name == "x.cache").count();
        orphans += parts(&folder).len();
        if nth % 3 == 0 {
            assert_eq!(said(&args[which]), wanted[which], "after kill {nth}");
            assert_eq!(folder.names(), ["x.cache"], "after kill {nth}");
        }
        if nth % 5 == 0 {
            fs::remove_file(&cache).unwrap_or_default();
        }
    }
    println!("{} kills left {orphans} unfinished files and {caches} whole ones", kills());
    assert!(orphans > 0, "it was never killed while it wrote");
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
    let base = ["run", "-m", &model, "--greedy", "-n", "4", "-t", "1", "--session", &file, "hello"];
    let begun = Instant::now();
    let mut saved = vec![Vec::new()];
    for _ in 0..TURNS {
        said(&base);
        saved.push(fs::read(&file).expect("it was saved"));
    }
    let whole = begun.elapsed() / TURNS;
    let (mut draw, mut orphans, mut turns, mut at) = (draws(), 0, 0, 0);
    for nth in 0..kills() {
        if at == TURNS as usize || nth == 0 {
            fs::remove_file(&file).unwrap_or_default();
            at = 0;
        }
        kill(&base, &folder, whole, nth % 2 == 0, draw());
        let found = fs::read(&file).unwrap_or_default();
        let is_next = found == saved[at + 1];
        assert!(is_next || found == saved[at], "kill {nth} left {} bytes", found.len());
        orphans += parts(&folder).len();
        at += usize::from(is_next);
        turns += usize::from(is_next);
        if nth % 4 == 0 && at < TURNS as usize {
            said(&base);
            at += 1;
            assert!(fs::read(&file).expect("it was saved") == saved[at], "after kill {nth}");
            assert_eq!(folder.names(), ["talk"], "after kill {nth}");
        }
    }
    println!("{} kills left {orphans} unfinished files and let {turns} turns through", kills());
    assert!(orphans > 0, "it was never killed while it wrote");
    fs::remove_file(&file).unwrap_or_default();
    said(&base);
    assert_eq!(folder.names(), ["talk"]);
}

/// About as long as the program writes, once the file is there.
const WRITING: Duration = Duration::from_millis(8);

/// Turns of the conversation until it begins anew.
const TURNS: u32 = 4;

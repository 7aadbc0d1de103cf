//! Full disks, read-only places, no memory, files that vanish, and signals at any moment: an error
//! of one sentence, nothing left behind, and what was there before stays.
#![cfg(unix)]

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

mod common;

use common::{Folder, Ran, carat, kit, ran, run, text, tiny};

/// Runs a shell script in which `"$@"` is the program with `args`; `@` stands for a space in one.
fn in_shell(script: &str, args: &str) -> Ran {
    ran(shell(script, args).output().expect("a shell runs"))
}

fn shell(script: &str, args: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_carat")]);
    command.args(args.split(' ').map(|arg| arg.replace('@', " ")));
    command.env_remove("CARAT_ISA").stdin(Stdio::null());
    command.env("HF_HUB_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-models"));
    command
}

/// The same where `mount` stands before, with a file system in the place of `folder` that this
/// process alone sees; `None` where the system lets nobody do so. What lies in the folder
/// afterwards stands at the end of the output, after a line of `--`.
fn mounted(mount: &str, folder: &str, args: &str) -> Option<(Ran, Vec<String>)> {
    let script = format!(
        "mount -t tmpfs {mount} none '{folder}' || exit 99; \"$@\"; code=$?; echo --; \
         ls -A '{folder}'; exit $code"
    );
    let inner = shell(&script, args);
    let mut command = Command::new("unshare");
    command.args(["-r", "-m"]).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = command.env_remove("CARAT_ISA").stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(99) || said.contains("unshare") {
        eprintln!("not tried: {said}");
        return None;
    }
    let mut ran = ran(output);
    let (out, names) = ran.out.rsplit_once("--\n").expect("the script says so");
    let (out, names) = (out.to_owned(), names.lines().map(str::to_owned).collect());
    ran.out = out.trim_end_matches('\n').to_owned();
    Some((ran, names))
}

fn answer(more: &str) -> String {
    let model = text(&kit("text-q4_0.gguf"));
    format!("run --raw -m {model} --greedy -n 4 -t 1 {more} the@rain").replace("  ", " ")
}

fn turn(file: &str) -> String {
    format!("run -m {} --greedy -n 4 -t 1 --session {file} hello", tiny())
}

/// A limit on the size of files is the full disk of whoever is not root. Nobody tells the program
/// to ignore the signal that the limit sends.
#[test]
fn a_cache_without_room_is_an_error_and_leaves_nothing() {
    let folder = Folder::new();
    fs::create_dir(folder.path("cache")).expect("a folder");
    let cache = folder.path("cache/x.cache");
    let args = answer(&format!("--cache={cache}"));
    for blocks in [0, 1, 40] {
        let ended = in_shell(&format!("ulimit -f {blocks}; exec \"$@\""), &args);
        ended.fails(1, &["cannot write the cache file", "make room or do without", "too large"]);
        assert!(fs::read_dir(folder.path("cache")).expect("a folder").next().is_none());
    }
    let plain = run(&answer("")).ok();
    if let Some((ended, names)) = mounted("-o size=64k", &folder.path("cache"), &args) {
        ended.fails(1, &["cannot write the cache file", "make room", "No space left"]);
        assert_eq!(names, [""; 0]);
    }
    assert_eq!(run(&args).ok(), plain, "with room it is written");
    assert_eq!(run(&args).ok(), plain);
}

#[test]
fn a_save_without_room_keeps_the_conversation_of_before() {
    let folder = Folder::new();
    fs::create_dir(folder.path("talks")).expect("a folder");
    let file = folder.path("talks/talk");
    run(&turn(&file)).ok();
    let before = fs::read(&file).expect("it was saved");
    let blocks = before.len() / 1024; // of 512 bytes or of 1024
    let ended = in_shell(&format!("ulimit -f {blocks}; exec \"$@\""), &turn(&file));
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(!ended.out.is_empty(), "the answer is not lost");
    let last = ended.err.lines().last().expect("a sentence");
    assert!(last.contains("cannot save the conversation") && last.contains(&file), "{last}");
    assert!(last.contains("the place stays as it was") && last.contains("too large"), "{last}");
    assert!(fs::read(&file).expect("it is there") == before);
    assert_eq!(fs::read_dir(folder.path("talks")).expect("a folder").count(), 1);
    if let Some((ended, names)) = mounted("-o size=16k", &folder.path("talks"), &turn(&file)) {
        assert_eq!((ended.code, names.len()), (1, 0), "{}", ended.err);
        assert!(ended.err.contains("No space left"), "{}", ended.err);
    }
    run(&turn(&file)).ok();
}

/// A home that nothing can be written to: whatever can be done without writing is done.
#[test]
fn in_a_read_only_home_everything_works_that_need_not_write() {
    let folder = Folder::new();
    fs::create_dir(folder.path("home")).expect("a folder");
    let home = folder.path("home");
    let plain = run(&answer("")).ok();
    let mount = |args: &str| mounted("-o ro", &home, args);
    let Some((ended, _)) = mount(&answer(&format!("--cache={home}/x.cache"))) else { return };
    assert_eq!((ended.code, ended.out.as_str()), (0, plain.as_str()), "{}", ended.err);
    assert!(ended.err.contains("Read-only file system"), "{}", ended.err);
    assert!(ended.err.contains("going on without it"), "{}", ended.err);
    let (ended, _) = mount(&turn(&format!("{home}/talk"))).expect("as before");
    assert!(ended.code == 1 && !ended.out.is_empty(), "{}", ended.err);
    let last = ended.err.lines().last().expect("a sentence");
    assert!(last.contains("cannot save the conversation"), "{last}");
    assert!(last.contains("Read-only file system"), "{last}");
}

/// Address space by and by: what needs too much is an error. Where the last kilobytes are missing,
/// Rust's allocator and its start of threads end a program, which nothing on stable Rust can catch;
/// that is so at few sizes, which the layout of the memory decides anew each time.
#[test]
fn without_memory_there_is_an_error() {
    let folder = Folder::new();
    let file = folder.path("talk");
    run(&turn(&file)).ok();
    let (cache, model) = (folder.path("x.cache"), tiny());
    let whole = run(&turn(&file).replace("--session", "--ctx 4096 --session"));
    assert_eq!(whole.code, 0, "{}", whole.err);
    let (mut runs, mut ended_by_rust) = (0, 0);
    for args in [
        answer("--ctx 4096"),
        answer(&format!("--ctx 4096 --cache={cache}")),
        format!("inspect {model}"),
        turn(&file),
    ] {
        let mut codes = Vec::new();
        for megabytes in (16..=720).step_by(8) {
            let script = format!("ulimit -v {}; exec \"$@\"", megabytes << 10);
            let Output { status, stderr, .. } = shell(&script, &args).output().expect("a shell");
            let said = String::from_utf8_lossy(&stderr);
            let code = status.code();
            runs += 1;
            let by_rust = ["memory allocation of ", "stack_overflow.rs"];
            if status.signal() == Some(6) && by_rust.iter().any(|words| said.contains(words)) {
                ended_by_rust += 1;
                continue;
            }
            assert!(!said.contains("panicked"), "{megabytes} MB of {args}: {said}");
            if code == Some(127) || said.contains("shared librar") || status.signal() == Some(11) {
                continue; // the system cannot even load the program
            }
            assert!(matches!(code, Some(0 | 1)), "{megabytes} MB of {args}: {status:?}, {said}");
            assert!(code == Some(0) || said.starts_with("carat: "), "{said}");
            codes.push(code);
        }
        assert!(codes.contains(&Some(1)) && codes.contains(&Some(0)), "{args}: {codes:?}");
    }
    assert!(ended_by_rust * 50 <= runs, "{ended_by_rust} of {runs} runs were ended by Rust");
}

/// What shells report of an end.
fn shell_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(status.expect("there is kill").success());
}

/// Numbers between 0 and 1 that look like nothing in particular.
fn draws() -> impl FnMut() -> f64 {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes
        f64::from(state >> 8) / f64::from(1 << 24)
    }
}

/// Starts a run that writes a cache file and a conversation, with an answer of at most `tokens`.
fn start(folder: &Folder, tokens: &str) -> Child {
    let model = text(&kit("text-q4_0.gguf"));
    let (cache, file) = (folder.path("x.cache"), folder.path("talk"));
    let mut command = carat();
    command.args(["run", "-m", &model, "--greedy", "-n", tokens, "-t", "1"]);
    command.args(["--session", &file, &format!("--cache={cache}"), "hello"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// A signal at some moment between the start and the end of the program.
#[test]
fn a_signal_at_any_moment_ends_it_and_leaves_nothing() {
    let folder = Folder::new();
    let begun = Instant::now();
    assert!(start(&folder, "40").wait().expect("it ends").success());
    let whole = begun.elapsed();
    let mut draw = draws();
    for (name, number) in [("-TERM", 15), ("-HUP", 1), ("-INT", 2), ("-PIPE", 13)] {
        for _ in 0..12 {
            let _ = fs::remove_file(folder.path("x.cache"));
            let child = start(&folder, "40");
            sleep(whole.mul_f64(draw()));
            signal(&child, name);
            let ended = child.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&ended.stderr);
            let code = shell_code(ended.status);
            // Ctrl-C ends an answer, and a pipe that nobody reads is an error of whoever writes.
            let is_right = match name {
                "-INT" => [0, 1, 130].contains(&code),
                "-PIPE" => code == 0 || ended.status.signal() == Some(13),
                _ => code == 128 + number || code == 0,
            };
            assert!(is_right && !said.contains("panicked"), "{name}: {:?} {said}", ended.status);
            let names = folder.names();
            let is_known = |name: &String| name == "x.cache" || name == "talk";
            assert!(names.iter().all(is_known), "{name} left {names:?}");
        }
    }
    assert!(start(&folder, "40").wait().expect("it ends").success(), "what is left can be used");
}

/// The cache file is cut at some moment while the program lives in it.
#[test]
fn a_cache_file_that_is_cut_while_it_is_mapped_ends_in_a_sentence() {
    let folder = Folder::new();
    let (model, cache) = (text(&kit("text-q4_0.gguf")), folder.path("x.cache"));
    let args = ["run", "--raw", "-m", &model, "--greedy", "-n", "3000", "-t", "1"];
    let mut draw = draws();
    for _ in 0..12 {
        let mut command = carat();
        command.args(args).args([&format!("--cache={cache}"), "the"]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a start");
        let mut out = child.stdout.take().expect("it is piped");
        std::io::Read::read_exact(&mut out, &mut [0]).expect("a first byte");
        sleep(Duration::from_secs_f64(draw() / 50.0));
        File::options().write(true).open(&cache).and_then(|f| f.set_len(0)).expect("a cut");
        std::io::copy(&mut out, &mut std::io::sink()).expect("the rest");
        let ended = ran(child.wait_with_output().expect("it ends"));
        let last = ended.err.lines().last().unwrap_or_default();
        let is_told = match ended.code {
            1 => last.contains("was changed by another program"),
            135 => last.contains("was cut short by another program"),
            _ => false,
        };
        assert!(is_told && last.starts_with("carat: "), "{}: {}", ended.code, ended.err);
    }
    let plain = run(&answer("")).ok();
    assert_eq!(run(&answer(&format!("--cache={cache}"))).ok(), plain, "it is written anew");
}

/// What the system sends whoever reads a page that is gone, at a moment of our choice.
#[test]
fn a_mapped_page_that_is_gone_is_told_in_a_sentence() {
    let folder = Folder::new();
    let mut child = start(&folder, "3000"); // it still answers when the file is seen
    while !Path::new(&folder.path("x.cache")).exists() {
        assert!(child.try_wait().expect("a state").is_none(), "it ended");
        sleep(Duration::from_millis(1));
    }
    signal(&child, "-BUS");
    let ended = ran(child.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, 135, "{}", ended.err);
    let last = ended.err.lines().last().expect("a sentence");
    assert!(last.contains("--verify-cache"), "{last}");
    assert!(folder.names().iter().all(|name| name == "x.cache" || name == "talk"));
}

/// Both read the file, both answer, and the one that ends last has its answer in it.
#[test]
fn two_processes_with_one_conversation_leave_a_whole_one() {
    let folder = Folder::new();
    let file = folder.path("talk");
    run(&turn(&file)).ok();
    let before = fs::read(&file).expect("it was saved");
    let alone = |words: &str| {
        fs::write(&file, &before).expect("room");
        run(&turn(&file).replace("hello", words)).ok();
        fs::read(&file).expect("it was saved")
    };
    let wanted = ["one", "two"].map(alone);
    for _ in 0..6 {
        fs::write(&file, &before).expect("room");
        let both = ["one", "two"].map(|words| {
            let args = turn(&file).replace("hello", words);
            let mut command = carat();
            command.args(args.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("the program starts")
        });
        for child in both {
            let ended = ran(child.wait_with_output().expect("it ends"));
            assert_eq!(ended.code, 0, "{}", ended.err);
        }
        let found = fs::read(&file).expect("it is there");
        let is_one = wanted.contains(&found);
        // Whoever began late has read what the other one had saved.
        assert!(is_one || found.len() > wanted[0].len(), "{} bytes", found.len());
        run(&turn(&file)).ok();
        assert_eq!(folder.names(), ["talk"]);
    }
}

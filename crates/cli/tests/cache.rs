//! The cache file between processes, and large files when the program is ended.
#![cfg(unix)]

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::Duration;

use carat_gguf::{Endian, Gguf, Writer};
use common::{Folder, carat, kit, ran, run, tiny};

/// The small model with the rows of its embedding turned round: as long as the model, in the same
/// formats.
fn sister(folder: &Folder, model: &str) -> String {
    let bytes = fs::read(model).expect("the kit is part of the repository");
    let gguf = Gguf::parse(&bytes).expect("the kit is well-formed");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, *value);
    }
    for tensor in gguf.tensors() {
        let row = tensor.data.len() / tensor.shape.rows() as usize;
        let data = match tensor.name {
            "token_embd.weight" => tensor.data.chunks(row).rev().flatten().copied().collect(),
            _ => tensor.data.to_vec(),
        };
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, data);
    }
    folder.file("sister.gguf", writer.to_bytes().expect("what was read can be written"))
}

/// What the model says, with a cache file or without.
fn start(model: &str, cache: Option<&str>) -> Child {
    let mut command = carat();
    command.args(["run", "--raw", "-m", model, "--greedy", "-n", "12", "-t", "1", "the cat"]);
    command.args(cache.map(|cache| format!("--cache={cache}")));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn text(child: Child) -> String {
    ran(child.wait_with_output().expect("it ends")).ok()
}

/// Two processes with two models start again and again with one cache file, and some are killed.
fn two_models_at_one_place(starts: u32) {
    let folder = Folder::new();
    let models = [tiny(), sister(&folder, &tiny())];
    let cache = folder.path("cache/both.cache");
    fs::create_dir(folder.path("cache")).expect("a folder");
    let wanted = [0, 1].map(|i| text(start(&models[i], None)));
    assert_ne!(wanted[0], wanted[1], "the models cannot be told apart");
    thread::scope(|scope| {
        for (i, model) in models.iter().enumerate() {
            let (cache, wanted) = (&cache, &wanted[i]);
            scope.spawn(move || {
                let mut state = 1 + i as u32;
                for _ in 0..starts {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let mut child = start(model, Some(cache));
                    if state >> 31 == 0 {
                        assert_eq!(text(child), *wanted);
                        continue;
                    }
                    sleep(Duration::from_micros(u64::from(state >> 15 & 0xffff)));
                    child.kill().expect("it can be killed");
                    child.wait().expect("it ends");
                }
            });
        }
    });
    for _ in 0..2 {
        for i in [0, 1] {
            assert_eq!(text(start(&models[i], Some(&cache))), wanted[i]);
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path("cache"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["both.cache"]);
}

#[test]
fn two_processes_never_get_each_others_weights() {
    two_models_at_one_place(6);
}

#[test]
#[ignore = "takes minutes"]
fn two_processes_never_get_each_others_weights_in_100_starts() {
    two_models_at_one_place(100);
}

/// Starts the program on a model of seven hundred megabytes that it writes first.
fn synthetic(folder: &Folder) -> Child {
    let mut carat = carat();
    carat.args("bench --synthetic 1b --no-roof -p 0 -n 0 -t 1".split(' '));
    carat.env("XDG_CACHE_HOME", folder.path("")).stdout(Stdio::null()).stderr(Stdio::null());
    carat.spawn().expect("the program starts")
}

fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path("carat")).into_iter().flatten();
    entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// Waits until the program writes a file that is not among `before`.
fn wait_for_file(child: &mut Child, folder: &Folder, before: &[String]) {
    while names(folder).iter().all(|name| before.contains(name)) {
        assert!(child.try_wait().expect("a state").is_none(), "it ended and wrote nothing");
        sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("there is kill").success());
}

#[test]
fn what_a_signal_breaks_off_leaves_no_file() {
    let folder = Folder::new();
    for (name, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let mut child = synthetic(&folder);
        wait_for_file(&mut child, &folder, &[]);
        signal(&child, name);
        assert_eq!(child.wait().expect("it ends").code(), Some(code), "{name}");
        assert_eq!(names(&folder), [""; 0], "{name}");
    }
}

#[test]
fn what_was_killed_is_removed_by_the_next_start() {
    let folder = Folder::new();
    let mut child = synthetic(&folder);
    wait_for_file(&mut child, &folder, &[]);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let orphans = names(&folder);
    assert_eq!(orphans.len(), 1);
    let mut child = synthetic(&folder);
    wait_for_file(&mut child, &folder, &orphans);
    assert!(!names(&folder).contains(&orphans[0]));
    signal(&child, "-TERM");
    child.wait().expect("it ends");
    assert_eq!(names(&folder), [""; 0]);
}

/// `nohup` starts a program so that it outlives its terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_that_is_to_be_ignored_is_ignored() {
    let folder = Folder::new();
    let mut child = Command::new("nohup")
        .arg(env!("CARGO_BIN_EXE_carat"))
        .args("bench --synthetic 1b --no-roof -p 0 -n 0 -t 1".split(' '))
        .env("XDG_CACHE_HOME", folder.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is nohup");
    wait_for_file(&mut child, &folder, &[]);
    signal(&child, "-HUP");
    sleep(Duration::from_millis(100));
    assert!(child.try_wait().expect("a state").is_none(), "it ended");
    signal(&child, "-TERM");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn places_that_are_no_cache_file_are_told_apart() {
    let folder = Folder::new();
    let note = folder.file("note.txt", "mine");
    let fails = |cache: &str, words: &[&str]| {
        run(&format!("run --raw -m {} -n 1 --cache={cache} the", tiny())).fails(1, words);
    };
    fails(&folder.path(""), &["is a directory", "name a file in it", "model.cache"]);
    fails(&note, &["note.txt is no cache file", "name another file"]);
    assert_eq!(fs::read(&note).expect("a file"), b"mine");
    fails(&folder.path("none/x.cache"), &["cannot write", "none/x.cache", "No such file"]);
    run(&format!("run --raw -m {} -n 1 --verify-cache the", tiny())).fails(2, &["--cache"]);
    let cache = folder.path("x.cache");
    let ran = run(&format!("run --raw -m {} -n 1 --verify-cache --cache={cache} the", tiny()));
    assert_eq!(ran.code, 0, "{}", ran.err);
}

/// Nobody can make files in sysfs.
#[cfg(target_os = "linux")]
#[test]
fn whoever_may_not_write_is_served_without_a_cache() {
    let ran = run(&format!("run --raw -m {} --greedy -n 4 --cache=/sys/x.cache the", tiny()));
    let plain = run(&format!("run --raw -m {} --greedy -n 4 the", tiny()));
    assert_eq!((ran.code, &ran.out), (0, &plain.out), "{}", ran.err);
    let warning = ran.err.lines().next().expect("a warning");
    assert!(warning.starts_with("carat: warning: cannot write the cache file /sys/x.cache"));
    assert!(warning.ends_with("going on without it"), "{warning}");
}

/// A model that is cut short while it is in use: once it is loaded nobody needs the file.
#[test]
fn a_model_may_be_cut_short_after_loading() {
    let folder = Folder::new();
    let model = folder.file("model.gguf", fs::read(kit("text-q4_0.gguf")).expect("the kit"));
    let mut carat = carat();
    carat.args(["run", "--raw", "-m", &model, "--greedy", "-n", "3000", "-t", "1", "the"]);
    let mut child = carat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a start");
    let mut out = child.stdout.take().expect("it is piped");
    std::io::Read::read_exact(&mut out, &mut [0]).expect("a first byte");
    fs::File::options().write(true).open(&model).and_then(|f| f.set_len(0)).expect("a cut");
    std::io::copy(&mut out, &mut std::io::sink()).expect("the rest");
    let ran = ran(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 0, "{}", ran.err);
}

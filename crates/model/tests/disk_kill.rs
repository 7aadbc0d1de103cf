//! A process that is killed while it saves: what lies at the place is a whole session or none.

mod common;
#[path = "common/emulated.rs"]
mod emulated;
mod saved;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use carat::{Input, KvType, Model, Session};
use common::{bits, model, tokens};
use emulated::emulated;
use saved::{bytes, session, settings};

/// The two sessions that are saved in turns, one much longer than the other.
const NAMES: [(&str, usize); 2] = [("short", 30), ("long", 1000)];

/// The folder that the parent made, in a child's environment.
const FOLDER: &str = "CARAT_TEST_SAVES";

#[test]
#[ignore = "the other tests run it in a process of its own"]
fn saves_until_it_is_stopped() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (folder, model) = (Path::new(&folder), model("q4_0"));
    let sessions = NAMES.map(|(name, _)| {
        Session::restore(&model, folder.join(name), settings(KvType::F16)).expect("a session")
    });
    println!("\nready");
    std::io::stdout().flush().expect("the parent listens");
    loop {
        for session in &sessions {
            if let Err(e) = session.save(folder.join("place/kept")) {
                println!("\nfailed: {e}");
                return;
            }
        }
    }
}

/// A folder with both sessions, and with an empty one for the place.
fn stage(model: &Model) -> (tempfile::TempDir, Vec<Vec<u8>>) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("place")).expect("a folder");
    let saved = NAMES.map(|(name, length)| {
        let mut session = session(model, KvType::F16);
        session.push(Input::Tokens(&tokens(length))).expect("room");
        session.save(folder.path().join(name)).expect("saved");
        bytes(&session)
    });
    (folder, saved.into())
}

fn child(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test knows its file"));
    command.args(["--exact", "saves_until_it_is_stopped", "--ignored", "--nocapture"]);
    command.env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Reads what the child says up to a line that begins so.
fn wait_for(child: &mut Child, beginning: &str) -> String {
    let output = child.stdout.as_mut().expect("it is a pipe");
    let mut lines = BufReader::new(output).lines().map(|line| line.expect("text"));
    lines.find(|line| line.starts_with(beginning)).expect("the child says so")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn killed_at_random_points_it_leaves_whole_sessions() {
    if emulated() {
        return; // an emulator runs no second process
    }
    let model = model("q4_0");
    let (folder, saved) = stage(&model);
    let futures: Vec<_> = saved.iter().map(|bytes| logits(&model, &mut &bytes[..])).collect();
    let place = folder.path().join("place");
    let kept = place.join("kept");
    let (mut found, mut orphans) = ([0, 0, 0], 0);
    let mut state = 1u32;
    for kill in 0..KILLS {
        if kill % 10 == 0 {
            let _ = fs::remove_file(&kept); // so that some are killed in their first save
        }
        let mut child = child(folder.path()).spawn().expect("the test can run itself");
        wait_for(&mut child, "ready");
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes
        let most = if kill % 10 == 0 { 1_000 } else { 20_000 }; // microseconds
        thread::sleep(Duration::from_micros(u64::from(state >> 16) * most / 65_536));
        child.kill().expect("it runs");
        child.wait().expect("it has ended");
        orphans += names(&place).iter().filter(|name| *name != "kept").count();
        if !kept.exists() {
            found[2] += 1;
            continue;
        }
        let bytes = fs::read(&kept).expect("a file");
        let which = saved.iter().position(|saved| *saved == bytes);
        let which = which.unwrap_or_else(|| panic!("kill {kill} left {} bytes", bytes.len()));
        found[which] += 1;
        let mut file = fs::File::open(&kept).expect("a file");
        assert!(logits(&model, &mut file) == futures[which], "kill {kill}");
    }
    println!("after {KILLS} kills: short, long, none {found:?}; {orphans} unfinished files");
    assert!(orphans > 0, "it was killed between saves only");
    assert!(found[0] > 0 && found[1] > 0, "{found:?}");

    let session = Session::restore(&model, folder.path().join("long"), settings(KvType::F16));
    session.expect("a session").save(&kept).expect("saved");
    assert_eq!(names(&place), ["kept"], "the next save removes what is unfinished");
}

fn logits(model: &Model, input: &mut dyn std::io::Read) -> Vec<u32> {
    let mut session = Session::restore_from(model, input, settings(KvType::F16)).expect("whole");
    session.push(Input::Tokens(&tokens(3))).expect("room");
    bits(session.logits().expect("logits"))
}

/// A limit on the size of files stands for a disk that is full: the long session does not fit.
#[cfg(unix)]
#[test]
fn without_room_the_old_one_stays() {
    if emulated() {
        return; // an emulator runs no second process
    }
    let model = model("q4_0");
    let (folder, saved) = stage(&model);
    let child = child(folder.path());
    let mut shell = Command::new("sh");
    // Blocks of 512 bytes or of 1024: room for the short one and not for the long one.
    let blocks = saved[0].len() / 512 + 1;
    assert!(blocks * 1024 < saved[1].len());
    shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""));
    shell.arg(child.get_program()).args(child.get_args());
    shell.env(FOLDER, folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = shell.spawn().expect("a shell");
    let said = wait_for(&mut shell, "failed");
    shell.wait().expect("it has ended");
    assert!(said.contains("place/kept cannot be written, the place stays as it was"), "{said}");
    let place = folder.path().join("place");
    assert_eq!(names(&place), ["kept"]);
    assert!(fs::read(place.join("kept")).expect("a file") == saved[0]);
}

const KILLS: usize = 200;

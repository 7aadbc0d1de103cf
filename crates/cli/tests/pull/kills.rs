//! Pulls that are killed at random moments: no file of a model is ever wrong, and the next pull
//! goes on with what came and leaves nothing else.
#![cfg(unix)]

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::kills;
use crate::server::{Act, COMMIT, Repo, Server, noise, sha256};
use crate::setup::{Home, payload};

/// Files and folders below the cache that no pull should leave: the links and notes that another
/// program could take for something else.
fn is_strange(name: &str) -> bool {
    name.ends_with(".part") || name.contains(".tmp") || name.contains(".copy")
}

fn strange(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(strange(&entry.path()));
        } else if is_strange(&name) {
            found.push(name);
        }
    }
    found
}

#[test]
fn killed_while_it_pulls() {
    let other = noise(90_000, 2);
    let repo = Repo::new("a/b", &[("x.gguf", &payload()), ("mmproj-F16.gguf", &other)]);
    let server = Server::new(move |asked| match repo.answer(asked) {
        Act::Send(bytes) if bytes.len() > 50_000 => {
            Act::Drip(bytes, 20_000, Duration::from_millis(4))
        }
        act => act,
    });
    let mut home = Home::new();
    let begun = Instant::now();
    home.pull(&server).ok();
    let whole = begun.elapsed();
    home = Home::new();
    let mut state = 1u32;
    let (mut parts, mut files) = (0, 0);
    for kill in 0..kills() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes
        let mut command = home.carat(&server.url, &["pull", "a/b:x.gguf", "--retries", "0"]);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        if kill == 0 {
            // One that is certain to be in the middle of a file, however long the others take.
            while home.blobs().is_empty() && child.try_wait().expect("a state").is_none() {
                sleep(Duration::from_millis(1));
            }
        } else {
            sleep(whole.mul_f64(f64::from(state >> 8) / f64::from(1 << 24)));
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        // Whatever has a name is whole.
        for (name, bytes) in [("x.gguf", &payload()), ("mmproj-F16.gguf", &other)] {
            if let Ok(found) = fs::read(home.file(name)) {
                assert!(found == *bytes, "kill {kill} left {} bytes of {name}", found.len());
                files += 1;
            }
        }
        let known = [sha256(&payload()), sha256(&other)];
        for (name, size) in home.blobs() {
            match name.strip_suffix(".incomplete") {
                Some(of) => {
                    parts += 1;
                    assert!(known.contains(&of.to_owned()) && size <= 300_000, "{name}");
                }
                None => assert!(known.contains(&name) && size >= 90_000, "{name}, {size} bytes"),
            }
        }
        if kill % 4 == 3 {
            home.pull(&server).ok();
            assert_eq!(home.snapshots(), ["mmproj-F16.gguf", "x.gguf"], "after kill {kill}");
            assert_eq!(fs::read(home.file("x.gguf")).expect("it is there"), payload());
            assert_eq!(fs::read(home.file("mmproj-F16.gguf")).expect("it is there"), other);
            let mut blobs = known.to_vec();
            blobs.sort();
            let found: Vec<_> = home.blobs().into_iter().map(|(name, _)| name).collect();
            assert_eq!(found, blobs, "after kill {kill}");
            let noted = fs::read_to_string(home.hub().join("models--a--b/refs/main"));
            assert_eq!(noted.expect("it is noted"), COMMIT);
            assert_eq!(strange(&home.hub()), [""; 0], "after kill {kill}");
            home = Home::new();
        }
    }
    println!("{} kills left {parts} parts and {files} whole files", kills());
    assert!(parts > 0, "it was never killed while it fetched");
}

//! Every target over every seed, and over damaged copies of it, on stable Rust.
//!
//! The damage is bounded and the same in every run: cuts at evenly spread lengths, and single bits
//! flipped at positions from a fixed generator. This finds what a careless change breaks; finding
//! more is libFuzzer's work.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use carat_fuzz::{TARGETS, Target, made_seed_name};

#[test]
fn gguf_holds_on_seeds_and_damaged_seeds() {
    replay("gguf");
}

#[test]
fn tokenizer_holds_on_seeds_and_damaged_seeds() {
    replay("tokenizer");
}

#[test]
fn template_holds_on_seeds_and_damaged_seeds() {
    replay("template");
}

#[test]
fn blocks_holds_on_seeds_and_damaged_seeds() {
    replay("blocks");
}

#[test]
fn tiff_holds_on_seeds_and_damaged_seeds() {
    replay("tiff");
}

#[test]
fn bitmap_holds_on_seeds_and_damaged_seeds() {
    replay("bitmap");
}

#[test]
fn wav_holds_on_seeds_and_damaged_seeds() {
    replay("wav");
}

#[test]
fn mp4_holds_on_seeds_and_damaged_seeds() {
    replay("mp4");
}

#[test]
fn jpeg_holds_on_seeds_and_damaged_seeds() {
    replay("jpeg");
}

#[test]
fn session_holds_on_seeds_and_damaged_seeds() {
    replay("session");
}

#[test]
fn picture_holds_on_seeds_and_damaged_seeds() {
    replay("picture");
}

#[test]
fn film_holds_on_seeds_and_damaged_seeds() {
    replay("film");
}

#[test]
fn sound_holds_on_seeds_and_damaged_seeds() {
    replay("sound");
}

#[test]
fn resample_holds_on_seeds_and_damaged_seeds() {
    replay("resample");
}

#[test]
fn messages_holds_on_seeds_and_damaged_seeds() {
    replay("messages");
}

#[test]
fn call_holds_on_seeds_and_damaged_seeds() {
    replay("call");
}

#[test]
fn grammar_holds_on_seeds_and_damaged_seeds() {
    replay("grammar");
}

#[test]
fn request_holds_on_seeds_and_damaged_seeds() {
    replay("request");
}

#[test]
fn model_holds_on_seeds_and_damaged_seeds() {
    replay("model");
}

#[test]
fn projector_holds_on_seeds_and_damaged_seeds() {
    replay("projector");
}

#[test]
fn drafter_holds_on_seeds_and_damaged_seeds() {
    replay("drafter");
}

/// Without this, a target could refuse everything and assert nothing.
#[test]
fn most_seeds_are_taken() {
    for target in TARGETS {
        let made = (target.seeds)();
        let taken: Vec<bool> = made.iter().map(|seed| (target.run)(seed)).collect();
        let count = taken.iter().filter(|is_taken| **is_taken).count();
        assert!(2 * count >= made.len(), "{} takes few of its seeds: {taken:?}", target.name);
    }
}

#[test]
fn seed_files_are_what_the_code_makes() {
    for target in TARGETS {
        let made = (target.seeds)();
        assert!(!made.is_empty(), "{} has no seeds", target.name);
        for (index, seed) in made.iter().enumerate() {
            let path = folder(target).join(made_seed_name(index));
            let file =
                fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; {REMAKE}", path.display()));
            assert!(file == *seed, "{} is out of date; {REMAKE}", path.display());
        }
        let beyond = folder(target).join(made_seed_name(made.len()));
        assert!(!beyond.exists(), "{} is left over; {REMAKE}", beyond.display());
    }
}

fn replay(name: &str) {
    let target = TARGETS.into_iter().find(|t| t.name == name).expect("the target is in the table");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder(target))
        .unwrap_or_else(|e| panic!("{}: {e}; {REMAKE}", folder(target).display()))
        .map(|entry| entry.expect("the seeds' folder is readable").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty; {REMAKE}", folder(target).display());
    for path in paths {
        let seed = fs::read(&path).expect("the seed is readable");
        check(target, &path, "as it is", &seed);
        for cut in 0..CUTS.min(seed.len()) {
            let length = cut * seed.len() / CUTS.min(seed.len());
            check(target, &path, &format!("cut to {length} bytes"), &seed[..length]);
        }
        let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
        for _ in 0..if seed.is_empty() { 0 } else { FLIPS } {
            let (byte, bit) = (random.below(seed.len()), random.below(8));
            let mut damaged = seed.clone();
            damaged[byte] ^= 1 << bit;
            check(target, &path, &format!("bit {bit} of byte {byte} flipped"), &damaged);
        }
    }
}

/// Runs the target, and says which input it was before the target's own panic goes on.
fn check(target: Target, path: &Path, what: &str, data: &[u8]) {
    let ran = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    if let Err(cause) = ran {
        eprintln!("target {} failed on {}, {what}", target.name, path.display());
        panic::resume_unwind(cause);
    }
}

fn folder(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name)
}

/// Marsaglia's xorshift64: the same damage on every machine.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

const CUTS: usize = 64;
const FLIPS: usize = 256;
const REMAKE: &str = "run `cargo run -p carat-fuzz --bin make-seeds`";

//! Whether a prompt and a session fit: known before weights are read, and true.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

mod common;

use common::{Folder, carat, kit, ran, run, text};

/// A vocabulary without tensors: whoever asks for its weights hears that it has none.
#[test]
fn a_prompt_that_cannot_fit_is_refused_before_the_weights_are_read() {
    let folder = Folder::new();
    let model = folder.tiny_without("", false);
    let words = |n: usize| "rain@".repeat(n);
    let run_with = |args: &str| run(&format!("run --raw -m {model} {args}"));
    // Four words that are two tokens each, and a BOS.
    let tokens = run(&format!("eval tokenize -m {model} --text {}", words(100))).ok();
    let tokens = tokens.split_whitespace().count() + 1;
    let (fits, less) = (tokens, tokens - 1);
    run_with(&format!("--ctx {fits} {}", words(100))).fails(1, &["no tensors"]);
    let says =
        [&*format!("{tokens} tokens"), &*format!("context {less}"), "--ctx N sets up to 4096"];
    run_with(&format!("--ctx {less} {}", words(100))).fails(1, &says);
    run_with(&format!("--ctx 4096 {}", words(5000))).fails(1, &["at most 4096", "shorten it"]);
    run_with(&words(5000)).fails(1, &["at most 4096", "shorten it"]);
    run_with("--ctx 4097 rain").fails(1, &["4097", "more than the model's 4096"]);
    // What the template writes counts, too.
    let run_with = |args: &str| run(&format!("run -m {model} {args}"));
    run_with(&format!("--ctx {fits} {}", words(100))).fails(1, &["tokens and the context"]);
    run_with(&format!("--ctx 1000 {}", words(100))).fails(1, &["no tensors"]);
}

#[test]
fn rows_of_a_picture_count_before_the_weights_are_read() {
    let folder = Folder::new();
    let model = folder.tiny_without("", false);
    let picture = image::RgbImage::from_pixel(480, 480, image::Rgb([9, 99, 199]));
    let picture_path = folder.path("p.png");
    picture.save(&picture_path).expect("a picture");
    let projector = text(&kit("mmproj-f32.gguf"));
    let args = format!(
        "run --raw -m {model} --mmproj {projector} --image {picture_path} --image-tokens 280"
    );
    run(&format!("{args} --ctx 200 what")).fails(1, &["tokens and the context 200"]);
    run(&format!("{args} --ctx 400 what")).fails(1, &["no tensors"]);
}

/// Allowed is what `inspect` shows, to the byte, and the context that is advised has room.
#[test]
fn more_memory_than_allowed_is_refused_with_the_numbers() {
    let model = text(&kit("text-q4_0.gguf"));
    let report = run(&format!("inspect --json --ctx 4096 {model}")).ok();
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let total = report["session"]["total_bytes"].as_u64().expect("bytes");
    let with = |context: usize, most: u64| {
        run(&format!("run --raw -m {model} --ctx {context} -n 1 --greedy --max-memory {most} rain"))
    };
    with(4096, total).ok();
    let refused = with(4096, total - 1);
    let says = ["session needs", "weights", "keys and values", "work space", "may take", "--ctx"];
    refused.fails(1, &says);
    let advised = refused.err.split("--ctx ").nth(1).and_then(|rest| rest.split(' ').next());
    let advised: usize = advised.and_then(|n| n.parse().ok()).expect("a context that fits");
    assert!((256..4096).contains(&advised), "{advised}");
    with(advised, total - 1).ok();
    with(advised + 1, total - 1).fails(1, &["may take"]);
    with(4096, 1).fails(1, &["smaller weights", "--max-memory"]);
    run(&format!("chat -m {model} --max-memory 1kB")).fails(1, &["may take 1000 B"]);
    run(&format!("run -m {model} --max-memory much rain")).fails(2, &["a number of bytes", "6GiB"]);
}

/// The plan is within 3 % of the most anonymous memory that a program has which fills its context;
/// its own code is left out of both, as it is larger without optimisation. It is asked for the real
/// 270M, if that was fetched.
#[cfg(target_os = "linux")]
#[test]
fn the_plan_is_the_measured_peak() {
    let model = kit("../../../../../models/gemma-3-270m-q4_k_m.gguf");
    if !model.exists() {
        eprintln!("skipped: scripts/fetch-270m.sh fetches the model");
        return;
    }
    let model = text(&model);
    for kv in ["f16", "q8"] {
        let report = run(&format!("inspect --json --ctx 640 --kv {kv} {model}")).ok();
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let bytes = |key: &str| report["session"][key].as_u64().expect("bytes");
        let planned = bytes("total_bytes") - bytes("program_bytes");
        let prompt = "the rain in the other part of the house ".repeat(69);
        let args = [
            "run", "--raw", "-m", &model, "--kv", kv, "--ctx", "640", "--greedy", "-n", "8",
            &prompt,
        ];
        let mut command = carat();
        let command = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut peak = 0;
        while child.try_wait().expect("its state").is_none() {
            peak = peak.max(anonymous_bytes(child.id()).unwrap_or(0));
            sleep(Duration::from_millis(2));
        }
        let ended = ran(child.wait_with_output().expect("the program ends"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let ratio = planned as f64 / peak as f64;
        println!("{kv}: planned {planned}, measured {peak}, ratio {ratio:.4}");
        assert!((ratio - 1.0).abs() < 0.03, "{kv}: planned {planned}, measured {peak}");
    }
}

/// Memory that the process has from the system beside pages of files.
#[cfg(target_os = "linux")]
fn anonymous_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

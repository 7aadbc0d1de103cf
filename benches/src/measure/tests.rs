//! The plan, on the small reference model of the engine's tests.

use std::path::{Path, PathBuf};

use super::*;

fn kit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/model/tests/data/tiny-s").join(name)
}

fn options() -> Options {
    Options {
        prompts: vec![48, 16],
        depths: vec![0, 48],
        generate: 4,
        verify: true,
        media: true,
        readings: false,
        threads: vec![1],
        repetitions: 3,
        budget: Duration::from_secs(600),
        isa: Isa::best(),
        kv: KvType::F16,
        chunk: 32,
    }
}

fn run(options: &Options) -> (Measured, Vec<String>) {
    let model = Model::open(kit("text-q4_0.gguf")).expect("the kit");
    let mut steps = Vec::new();
    let measured = measure(&model, options, &mut |step| {
        steps.push(format!("{}/{} {}", step.number, step.count, step.what));
    });
    (measured.expect("a measurement"), steps)
}

#[test]
fn everything_asked_for_is_measured_once_from_cheap_to_dear() {
    let (measured, steps) = run(&options());
    let names: Vec<_> = measured.tests.iter().map(Test::name).collect();
    let wanted = ["decode 4 at 0", "prefill 16", "prefill 48", "decode 4 at 48"];
    assert_eq!(names[..4], wanted);
    assert_eq!(names[4..], ["verify 4 at 128", "verify 1 at 128"]);
    assert_eq!(steps[0], "1/5 decode 4 at 0");
    assert_eq!(steps[4], "5/5 verify 4 and 1");
    assert!(measured.skipped.is_empty(), "{:?}", measured.skipped);
    for test in &measured.tests {
        assert_eq!(test.samples_ns.len(), 3, "{}", test.name());
        assert!(test.samples_ns.iter().all(|ns| *ns > 0));
    }
    let tokens: Vec<_> = measured.tests.iter().map(|test| test.tokens).collect();
    assert_eq!(tokens, [4, 16, 48, 4, 32, 8]);
}

#[test]
fn each_sample_of_decoding_stands_between_two_readings() {
    let measured = run(&Options { readings: true, ..options() }).0;
    for test in &measured.tests {
        let wanted = if test.kind == Kind::Decode { 3 } else { 0 };
        assert_eq!(test.readings_gb_s.len(), wanted, "{}", test.name());
        // Slower or faster than this is no computer.
        let speeds = test.readings_gb_s.as_flattened();
        assert!(speeds.iter().all(|gb_s| *gb_s > 0.05 && *gb_s < 1e5), "{speeds:?}");
    }
    let measured = run(&options()).0;
    assert!(measured.tests.iter().all(|test| test.readings_gb_s.is_empty()));
}

#[test]
fn each_number_of_threads_is_measured() {
    let two = Options {
        threads: vec![1, 2],
        prompts: vec![8],
        depths: vec![0],
        verify: false,
        ..options()
    };
    let threads: Vec<_> = run(&two).0.tests.iter().map(|test| test.threads).collect();
    assert_eq!(threads, [1, 1, 2, 2]);
}

#[test]
fn what_exceeds_the_context_or_the_budget_is_named() {
    // The kit's context is 4096 tokens.
    let long =
        Options { prompts: vec![4096, 5000], depths: vec![4095], verify: false, ..options() };
    let (measured, _) = run(&Options { repetitions: 1, ..long.clone() });
    assert_eq!(measured.tests.iter().map(Test::name).collect::<Vec<_>>(), ["prefill 4096"]);
    let skipped: Vec<_> = measured.skipped.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(skipped, ["decode 4 at 4095", "prefill 5000"]);
    assert!(measured.skipped.iter().all(|s| s.why.contains("context of 4096")));

    let (measured, _) = run(&Options { budget: Duration::from_micros(1), ..options() });
    assert!(measured.tests.is_empty());
    assert_eq!(measured.skipped.len(), 5);
    assert!(measured.skipped.iter().all(|s| s.why.contains("budget")), "{:?}", measured.skipped);
}

#[test]
fn numbers_beyond_all_bounds_are_left_out_like_others() {
    let vast = Options {
        prompts: vec![usize::MAX],
        depths: vec![usize::MAX, 0],
        generate: usize::MAX,
        verify: false,
        repetitions: usize::MAX,
        budget: Duration::MAX,
        ..options()
    };
    let (measured, _) = run(&vast);
    assert!(measured.tests.is_empty());
    assert_eq!(measured.skipped.len(), 3);
    assert!(measured.skipped.iter().all(|s| s.why.contains("context")), "{:?}", measured.skipped);
}

#[test]
fn without_decoding_there_is_nothing_to_verify() {
    let prompts = Options { generate: 0, prompts: vec![8], ..options() };
    let (measured, _) = run(&prompts);
    assert_eq!(measured.tests.iter().map(Test::name).collect::<Vec<_>>(), ["prefill 8"]);
}

#[test]
fn pictures_and_sound_are_measured_where_there_is_a_projector() {
    let projector = kit("mmproj-f32.gguf");
    let open = carat::OpenOptions { projector: Some(&projector), ..Default::default() };
    let model = Model::open_with(kit("text-q4_0.gguf"), open).expect("the kit");
    let options =
        Options { prompts: vec![], depths: vec![], verify: false, repetitions: 1, ..options() };
    let measured = measure(&model, &options, &mut |_| ()).expect("a measurement");
    // 19 columns of 14 rows are the most of a 4 : 3 picture in 280 tokens; the others are BOS,
    // begin and end.
    let found: Vec<_> = measured.tests.iter().map(|t| (t.name(), t.tokens)).collect();
    let wanted = [("sound of 250".to_owned(), 253), ("image of 266".to_owned(), 269)];
    assert_eq!(found, wanted, "{:?}", measured.skipped);
}

#[test]
fn memory_grows_with_the_context() {
    let bytes = std::fs::read(kit("text-q4_0.gguf")).expect("the kit");
    let gguf = Gguf::parse(&bytes).expect("the kit");
    let points = memory_points(&gguf, &options(), 4096);
    assert_eq!(points.iter().map(|p| p.context).collect::<Vec<_>>(), [1024, 2048, 4096]);
    assert!(points.is_sorted_by(|a, b| a.kv < b.kv && a.weights == b.weights));
}

//! From the second decoded token on nothing is allocated, and scratch is exactly what was declared.
//!
//! What runs on one thread is measured before any other thread was started.

mod common;
mod naive;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carat::reply::LoopGuard;
use carat::{
    DraftConfig, Input, Model, OpenOptions, Sampler, SamplerConfig, Session, SessionConfig,
    TokenMask,
};
use common::{cases, config, file, tokens};
use naive::{Shape, made};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator that counts is an allocator")]
// SAFETY: every call goes to `System` as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// One test, so that no other runs beside it and is counted.
#[test]
fn decoding_allocates_nothing_and_uses_the_declared_scratch() {
    let open = |quant| {
        let options = OpenOptions { threads: 1, ..Default::default() };
        Model::open_with(file(quant), options).expect("a model")
    };
    let models = ["q4_0", "bf16", "f32"].map(|quant| (quant, open(quant)));
    std::thread::sleep(Duration::from_millis(300)); // rayon's threads end in their own time
    assert_eq!(choose(), 0, "a masked choice");
    for threads in [1, 2] {
        for (quant, model) in &models {
            // The gemm crate takes a buffer for each thread, when the thread first needs it.
            let buffers = if *quant == "f32" { threads - 1 } else { 0 };
            for most in [0, 4] {
                let draft = DraftConfig { most, adaptive: false };
                let allocations = decode(model, threads, draft, 100);
                let what = format!("{quant}, {threads} threads, {most} drafts");
                assert!(allocations <= buffers, "{what}: {allocations}");
            }
        }
    }
    let drafter = common::kit().join("../tiny-s-drafter/drafter-q8_0.gguf");
    let options = OpenOptions { threads: 1, drafter: Some(&drafter), ..Default::default() };
    let model = Model::open_with(file("q4_0"), options).expect("a model with a drafter");
    std::thread::sleep(Duration::from_millis(300));
    for threads in [1, 2] {
        let draft = DraftConfig { most: 4, adaptive: false };
        assert_eq!(decode(&model, threads, draft, 100), 0, "with a drafter, {threads} threads");
    }
    // Rows of the per-layer embeddings are read without a buffer of their own.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("e.gguf");
    std::fs::write(&path, made::bytes(&Shape::eseries_in_blocks())).expect("a file");
    let options = OpenOptions { threads: 1, ..Default::default() };
    let model = Model::open_with(&path, options).expect("a model");
    std::thread::sleep(Duration::from_millis(300));
    for threads in [1, 2] {
        let draft = DraftConfig { most: 4, adaptive: false };
        assert_eq!(decode(&model, threads, draft, 100), 0, "E series, {threads} threads");
    }
    for (_, model) in &models {
        let mut session = Session::new(model, SessionConfig { prefill_chunk: 13, ..config() })
            .expect("a session");
        // Passes of 13, 13 and 8 tokens: many, and the most that count as a few.
        session.push(Input::Tokens(&tokens(34))).expect("a push");
        let (declared, used) = session.scratch();
        assert_eq!(used, declared, "scratch");
    }
}

/// Allocations while a mask says what may be chosen, and a loop is looked for.
fn choose() -> usize {
    let mut sampler = Sampler::new(SamplerConfig::gemma(), 2000).expect("a sampler");
    let (mut guard, mask, logits) = (LoopGuard::new(), TokenMask::all(1900), vec![0.5; 2000]);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut longest = 0;
    for _ in 0..1100 {
        let token = sampler.sample_masked(&logits, &mask).expect("a token");
        sampler.accept(token);
        longest = guard.accept(7).map_or(longest, |repeat| repeat.tokens);
    }
    assert_eq!(longest, 1100);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Allocations while `count` tokens are decoded after the first.
fn decode(model: &Model, threads: usize, draft: DraftConfig, count: usize) -> usize {
    let sampling = SamplerConfig {
        temperature: 1.0,
        top_k: 64,
        repetition_penalty: 1.1,
        frequency_penalty: 0.1,
        logit_bias: vec![(300, -1.0)],
        seed: 7,
        ..Default::default()
    };
    let mut sampler = Sampler::new(sampling, model.tokenizer().vocab_size()).expect("a sampler");
    let mut session =
        Session::new(model, SessionConfig { threads, draft, ..config() }).expect("a session");
    session.push(Input::Tokens(&cases()[0].ids)).expect("a push");
    let mut decoded = 0;
    let mut before = None;
    while decoded <= count {
        for token in session.generate(&mut sampler).take(count + 1 - decoded) {
            token.expect("a token");
            decoded += 1;
            before.get_or_insert_with(|| ALLOCATIONS.load(Ordering::Relaxed));
        }
        // Random weights end their turns at random; another token goes on.
        if decoded <= count {
            session.push(Input::Tokens(&[300])).expect("a push");
        }
    }
    assert!(session.draft_stats().drafted > 0 || !model.drafts());
    ALLOCATIONS.load(Ordering::Relaxed) - before.expect("a first token")
}

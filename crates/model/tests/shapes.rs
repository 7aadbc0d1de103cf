//! Other shapes than tiny-s, against a forward pass written for reading (`naive`): full layers
//! first or only, sizes that are no multiple of anything, per-layer sizes, and Gemma 3.
//!
//! The naive pass shares nothing with the engine but the dequantisation of weights. That it is
//! right is shown by the first test, which holds it against the reference implementation.

use crate::common::{cases, config, distance, file, logits, reference, tokens};
use crate::naive::made::{Dialect, made, made_in};
use crate::naive::{Kind, Naive, Shape};
use carat::{Input, Model, Session, SessionConfig};
use carat_gguf::Source;
use carat_kernels::Format;

#[test]
fn the_naive_pass_is_that_of_the_reference() {
    let source = Source::open(&file("f32")).expect("tiny-s");
    let naive = Naive::new(Shape::tiny_s(), &source.parse().expect("tiny-s parses"));
    for case in cases() {
        let want = reference(&format!("{}.logits.f32", case.name));
        let d = distance(&want, &naive.logits(&case.ids));
        assert!(d.kl <= 1e-9 && d.max <= 1e-4, "{}: {d:?}", case.name);
    }
}

#[test]
fn other_shapes_are_computed_as_the_naive_pass_does() {
    let odd = [
        Kind { kv_heads: 3, head_dim: 10, base: 1e4, pairs: 5 },
        Kind { kv_heads: 1, head_dim: 26, base: 1e6, pairs: 3 },
    ];
    let same = [
        Kind { kv_heads: 2, head_dim: 18, base: 1e4, pairs: 9 },
        Kind { kv_heads: 2, head_dim: 18, base: 1e6, pairs: 9 },
    ];
    let full_first = Shape {
        hidden: 70,
        heads: 6,
        window: 3,
        sliding: vec![false, true, false, true],
        kinds: odd,
        ffn: vec![40, 57, 24, 33],
        ..Shape::tiny_s()
    };
    let only_sliding = Shape { sliding: vec![true; 3], window: 1, cap: 0.0, ..Shape::tiny_s() };
    let only_full = Shape { sliding: vec![false; 3], share_k: false, cap: 5.0, ..Shape::tiny_s() };
    let bf16 = Shape { format: Format::BF16, ..full_first.clone() };
    let gemma3 = Shape {
        gemma4: false,
        hidden: 50,
        heads: 4,
        window: 5,
        sliding: (0..7).map(|i| i % 6 != 5).collect(),
        kinds: same,
        ffn: vec![700; 7],
        share_k: false,
        scaling: 8.0,
        cap: 0.0,
        format: Format::F32,
        shared: 0,
        per_layer: 0,
        experts: None,
    };
    for shape in [full_first, only_sliding, only_full, bf16, gemma3] {
        let (naive, model) = made(&shape);
        let ids = tokens(40);
        let want = naive.logits(&ids);
        let config = SessionConfig { prefill_chunk: 7, rollback: 0, threads: 2, ..config() };
        let d = distance(&want, &logits(&model, config, &ids));
        println!("{d:?}");
        assert!(d.top1 == 1.0 && d.kl <= 1e-7 && d.max <= 2e-3, "{shape:?}: {d:?}");
        assert_scratch(&model);
    }
}

/// Gemma 3 27B is known by its 62 layers, and Ollama's files leave out what the architecture fixes,
/// hold tensors for pictures and list a token without a row.
#[test]
fn gemma3_27b_as_ollama_writes_it_is_computed_as_the_naive_pass_does() {
    let kind = Kind { kv_heads: 2, head_dim: 6, base: 1e4, pairs: 3 };
    let shape = Shape {
        gemma4: false,
        hidden: 40,
        heads: 4,
        window: 5,
        sliding: (0..62).map(|i| i % 6 != 5).collect(),
        kinds: [kind, Kind { base: 1e6, ..kind }],
        ffn: vec![24; 62],
        share_k: false,
        scaling: 8.0,
        cap: 0.0,
        format: Format::F32,
        shared: 0,
        per_layer: 0,
        experts: None,
    };
    let ids = tokens(40);
    for dialect in [Dialect::LlamaCpp, Dialect::Ollama] {
        let (naive, model) = made_in(&shape, dialect);
        assert_eq!(model.tokenizer().vocab_size(), 512);
        let d = distance(&naive.logits(&ids), &logits(&model, config(), &ids));
        println!("{d:?}");
        assert!(d.top1 == 1.0 && d.kl <= 1e-7 && d.max <= 2e-3, "{dialect:?}: {d:?}");
    }
}

/// Block formats, with the naive pass rounding activations to 8 bits as the kernels do. What is
/// left is roundings that fall the other way because f32 is not f64; not rounding at all costs ten
/// times this bound here.
#[test]
fn quantised_matrices_of_other_shapes_are_computed_as_the_naive_pass_does() {
    let kinds = [
        Kind { kv_heads: 3, head_dim: 32, base: 1e4, pairs: 16 },
        Kind { kv_heads: 1, head_dim: 96, base: 1e6, pairs: 12 },
    ];
    let shape = Shape {
        hidden: 96,
        heads: 3,
        window: 5,
        sliding: vec![false, true, true],
        kinds,
        ffn: vec![640; 3],
        ..Shape::tiny_s()
    };
    for format in [Format::Q8_0, Format::Q4_0] {
        let (naive, model) = made(&Shape { format, ..shape.clone() });
        let ids = tokens(40);
        let d = distance(&naive.logits(&ids), &logits(&model, config(), &ids));
        println!("{format}: {d:?}");
        assert!(d.kl <= 1e-4, "{format}: {d:?}");
        assert_scratch(&model);
    }
}

/// Scratch is exactly what was declared, be attention or the feed-forward network the larger part.
fn assert_scratch(model: &Model) {
    let config = SessionConfig { prefill_chunk: 9, ..config() };
    let mut session = Session::new(model, config).expect("a session");
    // Passes of 9, 9 and 8 tokens: many, and the most that count as a few.
    session.push(Input::Tokens(&tokens(26))).expect("a push");
    let (declared, used) = session.scratch();
    assert_eq!(used, declared, "bytes of scratch");
}

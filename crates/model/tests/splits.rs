//! Long conversations against the naive pass: attention cuts keys into tiles, splits and blocks,
//! and merges what splits give, so every edge of these is crossed here, by passes of few and of
//! many tokens.

use crate::common::{bits, config, distance, logits, tokens};
use crate::emulated::emulated;
use crate::naive::made::made;
use crate::naive::{Kind, Shape};
use carat::{Input, Session, SessionConfig};

/// Of the kernels of attention: positions of a tile of short heads, and of a split.
const TILE: usize = 32;
const SPLIT: usize = 512;

/// Where the splits of full layers begin to grow, and the length of the first that has grown.
const GROWN: usize = 32768;
const GROWN_SPLIT: usize = 1024;

/// Differences by the order of f32 summation only, as for every other shape.
const KL: f64 = 1e-7;
const LOGIT: f64 = 2e-3;

/// One less, at, and one more.
fn around(edges: impl IntoIterator<Item = usize>) -> Vec<usize> {
    edges.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]).collect()
}

/// A sliding and a full layer whose keys fill three splits and more. A window of 1100 begins within
/// a tile and within a split; 1024 and 1536 let it begin at the edges of both.
#[test]
fn splits_and_tiles_are_attended_as_the_naive_pass_does() {
    let kinds = [
        Kind { kv_heads: 2, head_dim: 16, base: 1e4, pairs: 8 },
        Kind { kv_heads: 1, head_dim: 32, base: 1e6, pairs: 4 },
    ];
    let windows: &[usize] = if emulated() { &[1100] } else { &[1100, 2 * SPLIT, 3 * SPLIT] };
    for &window in windows {
        let shape = Shape {
            hidden: 32,
            heads: 4,
            window,
            sliding: vec![true, false],
            kinds,
            ffn: vec![32; 2],
            ..Shape::tiny_s()
        };
        let (naive, model) = made(&shape);
        let ids = tokens(3 * SPLIT + TILE + 2);
        let want = naive.logits(&ids);
        let with = |chunk: usize, threads| {
            let config = SessionConfig { prefill_chunk: chunk, rollback: 0, threads, ..config() };
            logits(&model, config, &ids)
        };
        let got = with(256, 1);
        for at in around((1..=3).flat_map(|i| [i * SPLIT, i * SPLIT + TILE]).chain([TILE, window]))
        {
            let d = distance(&want[at..=at], &got[at..=at]);
            assert!(d.kl <= KL && d.max <= LOGIT, "window {window}, position {at}: {d:?}");
        }
        let d = distance(&want, &got);
        println!("window {window}: {d:?}");
        assert!(d.top1 == 1.0 && d.kl <= KL && d.max <= LOGIT, "window {window}: {d:?}");
        // One token and eight count as few, whose splits are shared out; nine count as many.
        for (chunk, threads) in [(1, 1), (8, 2), (9, 1), (SPLIT + 1, 3), (ids.len(), 2)] {
            let same = bits(&with(chunk, threads).concat()) == bits(&got.concat());
            assert!(same, "window {window}: chunks of {chunk} on {threads} threads differ");
        }
    }
}

/// Beyond 32768 positions splits of full layers grow with the position.
#[test]
fn grown_splits_are_attended_as_the_naive_pass_does() {
    if emulated() {
        return; // no instruction set changes where splits begin
    }
    let kind = Kind { kv_heads: 1, head_dim: 8, base: 1e6, pairs: 2 };
    let shape = Shape {
        hidden: 16,
        heads: 1,
        sliding: vec![false],
        kinds: [kind; 2],
        ffn: vec![16],
        ..Shape::tiny_s()
    };
    let (naive, model) = made(&shape);
    let ids = tokens(GROWN + 2 * GROWN_SPLIT + 2);
    let edges = around([GROWN, GROWN + GROWN_SPLIT, GROWN + 2 * GROWN_SPLIT]);
    let want = naive.logits_after(&ids, |at| edges.contains(&at));
    let config = SessionConfig { prefill_chunk: 1024, threads: 2, ..config() };
    let mut session = Session::new(&model, config).expect("a session");
    let mut got = Vec::new();
    for edge in edges.chunks_exact(3) {
        // Many tokens up to the edge, then few and single ones across it.
        session.push(Input::Tokens(&ids[session.len()..edge[0]])).expect("a push");
        let keep = |_, row: &[f32]| got.push(row.to_vec());
        session.eval(&ids[edge[0]..=edge[2]], keep).expect("an evaluation");
    }
    let d = distance(&want, &got);
    println!("{d:?}");
    assert!(d.kl <= KL && d.max <= LOGIT, "{d:?}");
}

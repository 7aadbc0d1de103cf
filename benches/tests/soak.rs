//! A short run of `examples/soak`, and its arithmetic.

#[path = "../examples/soak/curve.rs"]
mod curve;
#[path = "../examples/soak/work.rs"]
mod work;

use curve::{Sample, resident, slope};
use work::Work;

/// The least memory of a round is what stays when a session has ended. What leaks grows in every
/// round, while an allocator takes more now and then: after two rounds there must be one that adds
/// next to nothing.
#[test]
fn sessions_of_every_kind_leave_nothing_behind() {
    memory_is_what_was_touched();
    let folder = tempfile::tempdir().expect("a folder");
    let mut work = Work::new(folder.path()).expect("models");
    let mut least = Vec::new();
    for round in 0..ROUNDS {
        let sessions = round * Work::round()..(round + 1) * Work::round();
        let ended = sessions.map(|n| {
            work.session(n).expect("a session");
            resident()
        });
        // All of them run, and the minimum of nothing known is none.
        least.extend(ended.collect::<Vec<_>>().into_iter().flatten().min());
    }
    if least.is_empty() {
        return eprintln!("not measured: this system does not say what memory a process has");
    }
    println!("the least memory of each round: {least:?}");
    let growth = least[1..].windows(2).map(|pair| pair[1].saturating_sub(pair[0])).min();
    assert!(growth.is_some_and(|bytes| bytes <= GROWTH_MAX), "every round adds memory: {least:?}");
}

#[test]
fn a_line_through_points_has_their_slope() {
    let at = |sessions, resident| Sample { sessions, tokens: 0, resident };
    assert_eq!(slope(&[], 0), None);
    assert_eq!(slope(&[at(3, 7), at(3, 9)], 0), None);
    assert_eq!(slope(&[at(1, 100), at(3, 104)], 0), Some(2.0));
    // By hand: means 2 and 5, squares 2, products 3.
    assert_eq!(slope(&[at(1, 4), at(2, 4), at(3, 7)], 0), Some(1.5));
    assert_eq!(slope(&[at(1, 999), at(2, 4), at(3, 7)], 2), Some(3.0));
}

#[test]
fn samples_become_a_table_and_a_picture() {
    let samples = [
        Sample { sessions: 10, tokens: 500, resident: 1 << 20 },
        Sample { sessions: 20, tokens: 900, resident: 2 << 20 },
    ];
    assert_eq!(
        curve::csv(&samples),
        "sessions,tokens,resident_bytes\n10,500,1048576\n20,900,2097152\n"
    );
    let svg = curve::svg(&samples, "memory");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    // The last point is at the right edge, at one of 1.1 parts of the height.
    assert!(svg.contains(" 704.0,63.3\""), "{svg}");
}

/// The memory of this process is at least what it has just touched. No test of its own, since it
/// would run beside the one that measures.
fn memory_is_what_was_touched() {
    let Some(before) = resident() else { return };
    let touched = vec![1_u8; 64 << 20];
    let after = resident().expect("memory as before");
    assert!(after - before > 48 << 20, "{before} and {after} with {} bytes", touched.len());
}

const ROUNDS: usize = 5;

/// Bytes that one round may add: 6 KB a session.
const GROWTH_MAX: u64 = 256 << 10;

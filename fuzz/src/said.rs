//! What every target asks of an error: one sentence that a terminal can show.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Panics unless `error` is one line of text without control characters, whatever the input was.
///
/// Names, keys and words of an input stand in messages, and a terminal obeys the control characters
/// that are printed to it.
pub(crate) fn is_a_sentence(error: &dyn Display) {
    let text = error.to_string();
    assert!(!text.trim().is_empty(), "the error says nothing");
    let control = text.chars().find(|c| c.is_control());
    assert_eq!(control, None, "a control character in the error {text:?}");
    assert!(text.len() < LONGEST_MESSAGE, "an error of {} bytes", text.len());
}

/// The same, and that the input was refused.
pub(crate) fn refused(error: &dyn Display) -> bool {
    is_a_sentence(error);
    false
}

/// Does `work` and panics if it takes longer than work of its kind may.
pub(crate) fn within<T>(longest: Duration, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    let took = began.elapsed();
    // A debug build and a busy machine are slower than what users have.
    assert!(took < longest * SLOWNESS, "it took {took:?}, {longest:?} is the limit of a release");
    done
}

/// Longer than any message should be: a name from the input may be in it.
const LONGEST_MESSAGE: usize = 4096;

/// How many times slower an instrumented build on a machine with other work may be.
const SLOWNESS: u32 = 10;

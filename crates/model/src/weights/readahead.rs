//! Readahead of a cache file of which the system holds nothing, as after a boot.
//!
//! Products touch the pages of a mapping one after the other, and for each that is not there the
//! system reads a little, while they wait. A disk gives most when much is asked for at once, so a
//! thread asks for all of the file, in the order in which a pass comes to need it.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use carat_gguf::Mapping;

/// Lets a thread ask for `ranges` of `file`, which is mapped as `mapping`; it ends early when the
/// mapping does. What the system holds already is left alone.
pub(super) fn start(file: &File, mapping: &Arc<Mapping>, ranges: Vec<Range<usize>>) {
    let Ok(file) = file.try_clone() else { return };
    let mapping = Arc::downgrade(mapping);
    let ask = move |step: Range<usize>| {
        let mapping = mapping.upgrade().ok_or(Gone)?;
        mapping.will_need(step.start, step.len());
        Ok(())
    };
    let thread = thread::Builder::new().name("carat-readahead".to_owned());
    // Without the thread a start is slower, and nothing else is lost.
    let _ = thread.spawn(move || read_ahead(ranges, |at| is_held(&file, at), ask));
}

/// The mapping that was to be read ahead of has ended.
#[derive(Debug, PartialEq)]
struct Gone;

/// Asks for `ranges`, but for what is held.
fn read_ahead(
    ranges: Vec<Range<usize>>,
    is_held: impl Fn(usize) -> bool,
    mut ask: impl FnMut(Range<usize>) -> Result<(), Gone>,
) -> Result<(), Gone> {
    let chunks = ranges.into_iter().flat_map(|range| steps(range, CHUNK));
    for chunk in chunks.filter(|chunk| !is_held(chunk.start.midpoint(chunk.end))) {
        steps(chunk, STEP).try_for_each(&mut ask)?;
    }
    Ok(())
}

fn steps(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(step).map(move |start| start..(start + step).min(range.end))
}

/// Whether the system has the byte at `at` in memory, by the time that it takes to give it. A read
/// and no look into the mapping: a file that was cut meanwhile ends it with an error.
fn is_held(file: &File, at: usize) -> bool {
    let begun = Instant::now();
    let read = file.read_at(&mut [0], at as u64);
    read.is_err() || begun.elapsed() < FROM_DISK
}

/// No disk answers within this time, and memory takes a twentieth of it.
const FROM_DISK: Duration = Duration::from_micros(20);

/// Bytes that are held or not as the one in their middle is: the first and the last rows of each
/// matrix have been compared when the file was opened, so they are held always.
const CHUNK: usize = 8 << 20;

/// Bytes to ask for at once. Linux reads no more of a request than the disk takes at a time, half a
/// megabyte or more, and drops the rest (`force_page_cache_ra` in `mm/readahead.c`).
const STEP: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_asked_for_once_but_what_is_held_and_until_the_mapping_ends() {
        let ranges = vec![100..CHUNK + 300, 5 * CHUNK..5 * CHUNK + 7, 0..100];
        let mut asked = Vec::new();
        let ask = |step: Range<usize>| {
            assert!((1..=STEP).contains(&step.len()));
            asked.push(step);
            Ok(())
        };
        assert_eq!(read_ahead(ranges.clone(), |at| at == 5 * CHUNK + 3, ask), Ok(()));
        let mut end = 100;
        for step in &asked[..asked.len() - 1] {
            assert_eq!(step.start, end);
            end = step.end;
        }
        assert_eq!((end, asked.last()), (CHUNK + 300, Some(&(0..100))));

        let mut left = 3;
        let ask = |_| {
            left -= 1;
            if left == 0 { Err(Gone) } else { Ok(()) }
        };
        assert_eq!(read_ahead(ranges, |_| false, ask), Err(Gone));
        assert_eq!(left, 0, "nobody is asked afterwards");
    }
}

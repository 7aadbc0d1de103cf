//! The roof: what this machine can read and multiply at most, found by doing only that.
//!
//! No kernel is faster, so a speed divided by the roof of the same run is the part of the machine
//! that was used: the one figure that two machines can compare. All threads work at once, since
//! memory and clock are shared. The best of several passes counts: what disturbs can only slow.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use memmap2::MmapMut;
use serde::{Deserialize, Serialize};

mod loops;
mod weights;

pub(crate) use weights::WeightReader;

/// What a machine can do at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roof {
    /// Threads that worked at once.
    pub threads: usize,
    /// Bytes of memory that were read in a pass.
    pub read_bytes: u64,
    /// Memory read, in 10⁹ bytes a second.
    pub read_gb_s: f64,
    /// The loop that read fastest.
    pub read_loop: String,
    /// Multiplications on registers, one entry for each loop that the CPU has.
    pub peaks: Vec<Peak>,
}

/// Multiplications and additions on registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// The instructions.
    pub name: String,
    /// The instruction set.
    pub isa: String,
    /// 8-bit integers; f32 otherwise.
    pub is_int8: bool,
    /// 10⁹ a second, all threads together.
    pub gmac_s: f64,
}

/// How the roof is measured.
#[derive(Clone, Copy, Debug)]
pub struct RoofOptions {
    /// Threads that work at once.
    pub threads: usize,
    /// Memory to read; far more than the caches hold.
    pub read_bytes: usize,
    /// Time for each loop.
    pub time: Duration,
}

impl RoofOptions {
    /// 1 GiB, or a third of what is free on a machine that has little.
    pub fn new(threads: usize, memory_available: u64) -> Self {
        let read_bytes = READ_BYTES.min(memory_available / 3) as usize;
        Self { threads: threads.max(1), read_bytes, time: Duration::from_millis(300) }
    }

    /// Whether the memory is less than a figure to be published needs.
    pub fn is_short(&self) -> bool {
        (self.read_bytes as u64) < READ_BYTES
    }
}

impl Roof {
    /// Measures it, in about six times the time of the options and what touching the memory takes.
    ///
    /// # Errors
    /// If the system has no memory to give.
    pub fn measure(options: &RoofOptions) -> std::io::Result<Self> {
        let threads = options.threads;
        let mut memory = MmapMut::map_anon(options.read_bytes.max(threads * PART_BYTES_MIN))?;
        #[cfg(target_os = "linux")]
        // Large pages where the system has them: the roof is the memory's, not the page table's.
        let _ = memory.advise(memmap2::Advice::HugePage);
        let share = (memory.len() / threads).next_multiple_of(4096);
        // Each thread touches what it will read, so that it lies near on machines with several
        // memory controllers.
        thread::scope(|scope| {
            for (i, part) in memory.chunks_mut(share).enumerate() {
                scope.spawn(move || part.fill(i as u8 + 1));
            }
        });
        let parts: Vec<&[u8]> = memory.chunks(share).collect();
        let mut roof = Self { threads, read_bytes: memory.len() as u64, ..Self::default() };
        for read in loops::read() {
            let seconds = best_pass(threads, options.time, |thread| {
                // Rounding may leave the last thread nothing.
                black_box(parts.get(thread).map(|part| read.run(black_box(part))));
            });
            let gb_s = memory.len() as f64 / seconds / 1e9;
            if gb_s > roof.read_gb_s {
                (roof.read_gb_s, roof.read_loop) = (gb_s, read.name.to_owned());
            }
        }
        drop(parts);
        drop(memory);
        roof.peaks = peaks(threads, options.time);
        Ok(roof)
    }

    /// Takes from another measurement of the same machine what it found faster.
    pub fn merge(&mut self, other: Self) {
        if other.read_gb_s > self.read_gb_s {
            (self.read_gb_s, self.read_loop) = (other.read_gb_s, other.read_loop);
        }
        for (peak, other) in self.peaks.iter_mut().zip(other.peaks) {
            peak.gmac_s = peak.gmac_s.max(other.gmac_s);
        }
    }

    /// A figure that no machine has, as a file can hold it, and its name.
    pub(crate) fn implausible(&self) -> Option<(&str, f64)> {
        let peaks = self.peaks.iter().map(|peak| (&*peak.name, peak.gmac_s));
        let mut speeds = std::iter::once(("read", self.read_gb_s)).chain(peaks);
        speeds.find(|(_, speed)| !is_speed(*speed))
    }

    /// The 8-bit peak of an instruction set; the highest of the machine if none has its name.
    pub fn int8(&self, isa: &str) -> Option<&Peak> {
        self.peak(isa, true)
    }

    /// The peak of an instruction set in 8-bit integers or in f32; the highest of the machine if
    /// none has its name.
    pub fn peak(&self, isa: &str, is_int8: bool) -> Option<&Peak> {
        let peaks = || self.peaks.iter().filter(|peak| peak.is_int8 == is_int8);
        let highest = || peaks().max_by(|a, b| a.gmac_s.total_cmp(&b.gmac_s));
        peaks().find(|peak| peak.isa == isa).or_else(highest)
    }
}

fn peaks(threads: usize, time: Duration) -> Vec<Peak> {
    let measure = |compute: loops::Compute| {
        let begun = Instant::now();
        let mut rounds = 1 << 10;
        while begun.elapsed() < time / 20 {
            rounds *= 2;
            compute.run(rounds);
        }
        let macs = compute.run(1) * rounds * threads as u64;
        let seconds = best_pass(threads, time, |_| {
            black_box(compute.run(black_box(rounds)));
        });
        Peak {
            name: compute.name.to_owned(),
            isa: compute.isa.to_owned(),
            is_int8: compute.is_int8,
            gmac_s: macs as f64 / seconds / 1e9,
        }
    };
    loops::compute().into_iter().map(measure).collect()
}

/// Seconds that all threads need for `work(thread)`: the best pass of three or of as many as fit
/// into `time`.
fn best_pass(threads: usize, time: Duration, work: impl Fn(usize) + Sync) -> f64 {
    let begun = Instant::now();
    let mut best = f64::INFINITY;
    let mut passes = 0;
    while passes < 3 || begun.elapsed() < time {
        best = best.min(pass(threads, &work));
        passes += 1;
    }
    best
}

/// Seconds that all threads need for `work(thread)`, from when all of them are there to the end of
/// the last.
fn pass(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let run = |thread| {
        barrier.wait();
        let begun = Instant::now();
        work(thread);
        (begun, Instant::now())
    };
    let times: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let run = &run;
        let handles: Vec<_> = (0..threads).map(|i| scope.spawn(move || run(i))).collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
    });
    let first = times.iter().map(|(begun, _)| *begun).min();
    let last = times.iter().map(|(_, ended)| *ended).max();
    first.zip(last).map_or(f64::INFINITY, |(first, last)| (last - first).as_secs_f64())
}

/// Whether a machine can have this speed, in 10⁹ of anything a second.
pub(crate) fn is_speed(speed: f64) -> bool {
    speed > 0.0 && speed < FIGURE_MAX
}

/// Reads every byte once, as fast as one thread can in plain Rust; the result depends on all of
/// them.
pub fn read(bytes: &[u8]) -> u64 {
    let (lines, rest) = bytes.as_chunks::<64>();
    let mut sums = [0u64; 8];
    for line in lines {
        for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
            *sum ^= u64::from_le_bytes(*word);
        }
    }
    let words = sums.iter().fold(0, |all, sum| all ^ sum);
    words.wrapping_add(rest.iter().map(|&byte| u64::from(byte)).sum())
}

/// Several times the largest last-level cache of a laptop or desktop.
const READ_BYTES: u64 = 1 << 30;

/// 10¹⁸ of anything a second is more than machines with one operating system do.
const FIGURE_MAX: f64 = 1e9;

/// So that every thread has something to read.
const PART_BYTES_MIN: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roof_has_every_figure() {
        let options =
            RoofOptions { threads: 2, read_bytes: 3 << 20, time: Duration::from_millis(5) };
        let roof = Roof::measure(&options).expect("3 MiB of memory");
        assert_eq!((roof.threads, roof.read_bytes), (2, 3 << 20));
        // Slower or faster than this is no computer.
        assert!(roof.read_gb_s > 0.05 && roof.read_gb_s < 1e5, "{}", roof.read_gb_s);
        for peak in &roof.peaks {
            assert!(peak.gmac_s > 0.1 && peak.gmac_s < 1e6, "{peak:?}");
        }
    }

    #[test]
    fn an_instruction_set_has_its_own_peak() {
        let peak = |isa: &str, is_int8, gmac_s| {
            let (name, isa) = (String::new(), isa.to_owned());
            Peak { name, isa, is_int8, gmac_s }
        };
        let peaks =
            vec![peak("avx2", true, 1.0), peak("avxvnni", true, 2.0), peak("x", false, 9.0)];
        let roof = Roof { peaks, ..Roof::default() };
        assert_eq!(roof.int8("avx2").map(|p| p.gmac_s), Some(1.0));
        assert_eq!(roof.int8("scalar").map(|p| p.gmac_s), Some(2.0));
        assert_eq!(roof.peak("avx2", false).map(|p| p.gmac_s), Some(9.0));
        assert_eq!(Roof::default().int8("avx2"), None);
    }

    #[test]
    fn little_memory_is_said_to_be_little() {
        assert!(!RoofOptions::new(4, 8 << 30).is_short());
        assert!(RoofOptions::new(4, 1 << 30).is_short());
    }

    #[test]
    fn every_byte_is_read() {
        let mut bytes = vec![0; 1000];
        let zero = read(&bytes);
        bytes[999] = 1;
        assert_ne!(read(&bytes), zero);
        let mut large = vec![0xff; 1024];
        large[512..536].fill(0);
        assert_eq!(read(&large), u64::MAX, "three sums overflow together");
        for table in loops::read() {
            let mut bytes = vec![0; 80 << 10];
            for at in [0, 77, (16 << 10) - 1, 40_000, (64 << 10) - 1, 64 << 10, (80 << 10) - 1] {
                bytes[at] = 1;
                assert_ne!(table.run(&bytes), 0, "{} at {at}", table.name);
                bytes[at] = 0;
            }
        }
    }
}

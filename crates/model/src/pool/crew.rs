//! The crew: threads that take units of work, and wait for more.
//!
//! A forward pass has some 250 pieces of work that all threads share, a few microseconds to a
//! millisecond each. The thread that owns the crew publishes one piece at a time and takes part in
//! it. Every thread has a share of neighbouring units, since memory is read fastest from front to
//! back, and helps others when its own is done. Units are claimed one by one, so that a slow core,
//! or one that is busy with something else, holds up no more than the unit it has. Whoever finds
//! nothing to do spins for a while, which answers within a fraction of a microsecond, and then
//! parks, which leaves the core to others.

#![expect(
    unsafe_code,
    reason = "work on borrowed data is shown to threads that outlive the borrow"
)]

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};
use std::{fmt, hint, io, ptr};

/// Threads that wait for work; dropping it ends them.
#[derive(Debug)]
pub(super) struct Crew {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Units of each thread's share that nobody has claimed; the owner's is the first.
    unclaimed: Vec<Padded<AtomicUsize>>,
    /// Pieces of work until now.
    published: Padded<AtomicUsize>,
    /// Units of the current work that are finished.
    finished: Padded<AtomicUsize>,
    /// The current work; there is one as long as a unit is claimed and not finished.
    work: Padded<Mutex<Option<Work>>>,
    /// Workers that have begun.
    ready: AtomicUsize,
    /// Workers that are parked or about to be.
    asleep: AtomicUsize,
    /// The owner's thread, if it is parked or about to be.
    owner: Mutex<Option<Thread>>,
    owner_asleep: AtomicBool,
    closed: AtomicBool,
    /// What a unit of the current work panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// `call(i)` for each `i` below `count`.
struct Work {
    /// Where the owner has the reference to what is called. A pointer, and no reference that claims
    /// to live for ever: threads still hold it for a moment after the last unit, when the borrow
    /// may have ended. Nobody follows it then.
    call: AtomicPtr<Call<'static>>,
    count: usize,
}

type Call<'a> = &'a (dyn Fn(usize) + Sync);

/// A value with two cache lines of its own: x86 fetches them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl Crew {
    /// Starts `workers` threads, which join the thread that owns the crew.
    pub(super) fn new(workers: usize) -> io::Result<Self> {
        let unclaimed = (0..=workers).map(|_| Padded::default()).collect();
        let shared = Arc::new(Shared { unclaimed, ..Shared::default() });
        let mut crew = Self { shared, workers: Vec::with_capacity(workers) };
        for i in 1..=workers {
            let shared = Arc::clone(&crew.shared);
            let thread = thread::Builder::new().name(format!("carat-{i}"));
            crew.workers.push(thread.spawn(move || shared.serve(i))?);
        }
        // Whoever is made with threads finds them at work, and all memory that they take taken.
        while crew.shared.ready.load(Ordering::SeqCst) < workers {
            thread::yield_now();
        }
        Ok(crew)
    }

    /// Wakes everyone who is parked: work is about to come.
    pub(super) fn wake(&self) {
        if self.shared.asleep.load(Ordering::SeqCst) > 0 {
            self.workers.iter().for_each(|worker| worker.thread().unpark());
        }
    }

    /// Calls `call(i)` for each `i` below `count`, on all threads at once.
    ///
    /// # Panics
    /// If `call` does, after all other units have ended.
    pub(super) fn run(&mut self, count: usize, call: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        // The pointer is followed only by who has claimed one of the `count` units. This function
        // neither returns nor unwinds before every unit is finished (nothing in between panics:
        // panics of units are caught), and `&mut self` keeps a second piece of work from being
        // published meanwhile.
        let pointer = ptr::from_ref(&call).cast_mut().cast();
        *lock(&shared.work.0) = Some(Work { call: AtomicPtr::new(pointer), count });
        shared.finished.0.store(0, Ordering::Relaxed);
        for (i, unclaimed) in shared.unclaimed.iter().enumerate() {
            unclaimed.0.store(shared.share(count, i).len(), Ordering::SeqCst);
        }
        shared.published.0.fetch_add(1, Ordering::SeqCst);
        self.wake();
        shared.take_part(0);
        shared.wait_for(count);
        *lock(&shared.work.0) = None;
        let panic = lock(&shared.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // Panics of units were caught and handed to the owner.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// The units that thread `i` begins with.
    fn share(&self, count: usize, i: usize) -> Range<usize> {
        let threads = self.unclaimed.len();
        i * count / threads..(i + 1) * count / threads
    }

    /// What worker `i` does all its life.
    fn serve(&self, i: usize) {
        self.ready.fetch_add(1, Ordering::SeqCst);
        let mut seen = 0;
        while !self.closed.load(Ordering::SeqCst) {
            let news = |order| self.published.0.load(order) != seen;
            if !spin_until(|| news(Ordering::Relaxed)) {
                self.asleep.fetch_add(1, Ordering::SeqCst);
                // Who publishes work counts it and then looks for sleepers; this is the reverse.
                if !news(Ordering::SeqCst) && !self.closed.load(Ordering::SeqCst) {
                    thread::park();
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
            }
            seen = self.published.0.load(Ordering::SeqCst);
            self.take_part(i);
        }
    }

    /// Claims units and runs them until none is left: those of thread `i` first.
    fn take_part(&self, i: usize) {
        let threads = self.unclaimed.len();
        for share in (i..threads).chain(0..i) {
            let less = |unclaimed: usize| unclaimed.checked_sub(1);
            let unclaimed = &self.unclaimed[share].0;
            let claim = || unclaimed.fetch_update(Ordering::SeqCst, Ordering::Relaxed, less);
            while let Ok(unclaimed) = claim() {
                // The claim keeps the work from ending, so this is the work that the unit is of.
                let work = lock(&self.work.0);
                let Some(Work { call, count }) = &*work else { return };
                let (call, count) = (call.load(Ordering::Relaxed), *count);
                drop(work);
                self.unit(call, count, self.share(count, share).end - unclaimed);
            }
        }
    }

    /// Runs one unit that was claimed, of work of `count` units.
    fn unit(&self, call: *const Call<'static>, count: usize, unit: usize) {
        let run = || {
            let call: *const Call<'_> = call.cast();
            // SAFETY: `Crew::run` wrote the pointer, to a reference of its own, and does not end
            // before this unit is counted as finished, which is below, when the copy of the
            // reference that is made here is gone.
            let call = unsafe { *call };
            call(unit);
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            *lock(&self.panic) = Some(panic);
        }
        let finished = self.finished.0.fetch_add(1, Ordering::SeqCst) + 1;
        if finished == count && self.owner_asleep.load(Ordering::SeqCst) {
            let owner = lock(&self.owner);
            owner.iter().for_each(Thread::unpark);
        }
    }

    /// Waits until `count` units are finished.
    fn wait_for(&self, count: usize) {
        let is_finished = || self.finished.0.load(Ordering::SeqCst) == count;
        if spin_until(is_finished) {
            return;
        }
        *lock(&self.owner) = Some(thread::current());
        self.owner_asleep.store(true, Ordering::SeqCst);
        while !is_finished() {
            thread::park();
        }
        self.owner_asleep.store(false, Ordering::SeqCst);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Spins until `is_true`, but not for longer than [`SPIN`]; says whether it was.
fn spin_until(is_true: impl Fn() -> bool) -> bool {
    let mut started = None;
    loop {
        for _ in 0..SPINS {
            if is_true() {
                return true;
            }
            hint::spin_loop();
        }
        if started.get_or_insert_with(Instant::now).elapsed() > SPIN {
            return false;
        }
    }
}

/// A panic is never raised while one of these locks is held, so that none is ever poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long to wait awake: more than the serial parts of a pass take, and no more than a core that
/// others need should be held.
const SPIN: Duration = Duration::from_micros(100);

/// Looks between two looks at the clock.
const SPINS: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_unit_runs_once_whatever_the_number_of_threads() {
        // Miri takes a thousand times as long.
        let (few, many) = if cfg!(miri) { (9, 60) } else { (200, 10_000) };
        for workers in [0, 1, 3, 8] {
            let mut crew = Crew::new(workers).expect("threads");
            for count in (0..few).chain([many]) {
                let ran: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                crew.run(count, &|i| {
                    ran[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(ran.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{workers} {count}");
            }
        }
    }

    #[test]
    fn parked_workers_and_owners_wake_up() {
        let mut crew = Crew::new(2).expect("threads");
        for _ in 0..3 {
            thread::sleep(5 * SPIN);
            let seen = Mutex::new(Vec::new());
            // Each waits for another thread, longer than anyone spins.
            crew.run(3, &|_| {
                lock(&seen).push(thread::current().id());
                let started = Instant::now();
                while lock(&seen).len() < 3 && started.elapsed() < Duration::from_secs(10) {
                    thread::sleep(3 * SPIN);
                }
            });
            let mut seen = lock(&seen).clone();
            seen.dedup();
            assert_eq!(seen.len(), 3);
        }
    }

    /// The owner's unit is done long before the other, so that it is parked when that ends.
    #[test]
    fn the_last_unit_wakes_the_owner() {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let owner = thread::current().id();
            let mut crew = Crew::new(1).expect("threads");
            for _ in 0..3 {
                let begun = AtomicUsize::new(0);
                crew.run(2, &|_| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    while begun.load(Ordering::SeqCst) < 2 {
                        thread::yield_now();
                    }
                    if thread::current().id() != owner {
                        thread::sleep(100 * SPIN);
                    }
                });
            }
            done.send(()).expect("who waits");
        });
        is_done.recv_timeout(Duration::from_secs(60)).expect("the owner woke up");
    }

    /// Two threads begin with two units each. One holds its first unit until all others have run,
    /// so the other thread must take what is left of its share.
    #[test]
    fn whoever_is_done_helps_the_others() {
        let mut crew = Crew::new(1).expect("threads");
        for held in [0, 2] {
            let (ran, ran_before) = (AtomicUsize::new(0), AtomicUsize::new(0));
            crew.run(4, &|unit| {
                let started = Instant::now();
                let others_are_left = || ran.load(Ordering::SeqCst) < 3;
                while unit == held
                    && others_are_left()
                    && started.elapsed() < Duration::from_secs(10)
                {
                    thread::yield_now();
                }
                let before = ran.fetch_add(1, Ordering::SeqCst);
                if unit == held {
                    ran_before.store(before, Ordering::SeqCst);
                }
            });
            assert_eq!(ran_before.into_inner(), 3, "unit {held} was held");
        }
    }

    #[test]
    fn a_panic_reaches_the_owner_and_leaves_the_crew_fit() {
        let mut crew = Crew::new(2).expect("threads");
        let ran = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            crew.run(50, &|i| {
                ran.fetch_add(1, Ordering::Relaxed);
                assert!(i != 7, "unit seven");
            });
        }));
        let panic = result.expect_err("a panic");
        assert!(panic.downcast_ref::<&str>().is_some_and(|text| text.contains("seven")));
        assert_eq!(ran.load(Ordering::Relaxed), 50);
        crew.run(5, &|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.load(Ordering::Relaxed), 55);
    }
}

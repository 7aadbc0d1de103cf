//! The engine: the threads and the scratch memory that the sessions of a model share.
//!
//! A forward pass needs all threads and the whole block of scratch memory, so passes of several
//! sessions take turns, in the order in which they asked. Between passes nothing in either belongs
//! to a session: an idle one costs its tokens, its keys and values, and no more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use carat_kernels::Isa;

use crate::arena::{Arena, Frame, Need};
use crate::cancel::Cancel;
use crate::pages::MemoryError;
use crate::pool::{self, Pool, WeightReading};

/// Threads and scratch memory, and the queue of those who want them.
#[derive(Debug)]
pub(crate) struct Engine {
    threads: usize,
    isa: Isa,
    queue: Queue,
    /// Locked by whose turn it is, so that nobody ever waits for this lock.
    desk: Mutex<Desk>,
    /// The block that the next turn begins with, where the last one is too small.
    larger: Mutex<Option<Arena>>,
    /// The bytes of the newest block.
    reserved: AtomicUsize,
    high_water: AtomicUsize,
}

#[derive(Debug)]
struct Desk {
    pool: Pool,
    arena: Arena,
}

/// The wait for a turn was cancelled, or work that was under way.
#[derive(Debug)]
pub(crate) struct Cancelled;

impl Engine {
    /// An engine of `threads` threads, of which one is the caller's in each turn; 0 stands for the
    /// number of physical cores.
    pub(crate) fn new(threads: usize, isa: Isa) -> Result<Self, crate::Error> {
        let pool = Pool::new(threads, isa)?;
        Ok(Self {
            threads: pool.threads(),
            isa,
            queue: Queue::default(),
            desk: Mutex::new(Desk { pool, arena: Arena::new(Need::default())? }),
            larger: Mutex::new(None),
            reserved: AtomicUsize::new(0),
            high_water: AtomicUsize::new(0),
        })
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// How products with few tokens read their weights; empty while a session has its turn.
    pub(crate) fn weight_readings(&self) -> Vec<WeightReading> {
        let desk = match self.desk.try_lock() {
            Ok(desk) => desk,
            Err(TryLockError::Poisoned(desk)) => desk.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        desk.pool.weight_readings()
    }

    /// The most scratch memory that was ever used at one time, in bytes.
    pub(crate) fn high_water(&self) -> usize {
        self.high_water.load(Ordering::Relaxed)
    }

    /// Sees to it that every turn from the next one on has `need`. Waits for nobody.
    pub(crate) fn reserve(&self, need: Need) -> Result<(), MemoryError> {
        let mut larger = lock(&self.larger);
        if need.bytes() > self.reserved.load(Ordering::Relaxed) {
            *larger = Some(Arena::new(need)?);
            self.reserved.store(need.bytes(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits for the threads and the scratch memory. Work that is done with them ends early once
    /// `cancel` is set.
    pub(crate) fn turn(&self, cancel: &Cancel) -> Result<Turn<'_>, Cancelled> {
        let place = self.queue.wait(cancel)?;
        let mut desk = lock(&self.desk);
        if let Some(larger) = lock(&self.larger).take() {
            desk.arena = larger;
        }
        desk.pool.begin(cancel);
        Ok(Turn { desk, engine: self, _place: place })
    }
}

/// The right to use the engine, until it is dropped.
pub(crate) struct Turn<'a> {
    // Dropped in this order: the next one in the queue finds the lock free.
    desk: MutexGuard<'a, Desk>,
    engine: &'a Engine,
    _place: Place<'a>,
}

impl Turn<'_> {
    /// The threads, awake, and all of the scratch memory.
    pub(crate) fn parts(&mut self) -> (&Pool, Frame<'_>) {
        let Desk { pool, arena } = &mut *self.desk;
        pool.wake();
        (pool, arena.frame())
    }

    /// Whether all that was asked of the threads in this turn was done.
    pub(crate) fn is_whole(&self) -> Result<(), Cancelled> {
        if self.desk.pool.is_stopped() { Err(Cancelled) } else { Ok(()) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.engine.high_water.fetch_max(self.desk.arena.high_water(), Ordering::Relaxed);
    }
}

/// Those who wait for a turn, first come, first served.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    tickets: VecDeque<u64>,
    next: u64,
    is_taken: bool,
}

/// A turn that was granted.
#[derive(Debug)]
struct Place<'a>(&'a Queue);

impl Queue {
    fn wait(&self, cancel: &Cancel) -> Result<Place<'_>, Cancelled> {
        let mut state = lock(&self.state);
        if cancel.is_cancelled() {
            return Err(Cancelled);
        }
        if state.is_taken || !state.tickets.is_empty() {
            let ticket = state.next;
            state.next += 1;
            state.tickets.push_back(ticket);
            while state.is_taken || state.tickets.front() != Some(&ticket) {
                let waited = self.changed.wait_timeout(state, LOOK);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                if cancel.is_cancelled() {
                    state.tickets.retain(|waiting| *waiting != ticket);
                    self.changed.notify_all();
                    return Err(Cancelled);
                }
            }
            state.tickets.pop_front();
        }
        state.is_taken = true;
        Ok(Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.is_taken = false;
        if !state.tickets.is_empty() {
            self.0.changed.notify_all();
        }
    }
}

/// The engines of a model: one for each number of threads and instruction set that is in use.
#[derive(Debug, Default)]
pub(crate) struct Engines(Mutex<Vec<Weak<Engine>>>);

impl Engines {
    /// The engine with so many threads, 0 for the number of physical cores; a new one where there
    /// is none.
    pub(crate) fn get(&self, threads: usize, isa: Isa) -> Result<Arc<Engine>, crate::Error> {
        let threads = pool::threads(threads)?;
        let mut engines = lock(&self.0);
        engines.retain(|engine| engine.strong_count() > 0);
        let fits = |engine: &Arc<Engine>| engine.threads == threads && engine.isa == isa;
        if let Some(engine) = engines.iter().filter_map(Weak::upgrade).find(fits) {
            return Ok(engine);
        }
        let engine = Arc::new(Engine::new(threads, isa)?);
        engines.push(Arc::downgrade(&engine));
        Ok(engine)
    }
}

/// What the locks guard is whole whenever one is given back, also by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often someone who waits looks whether that was cancelled.
const LOOK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// Whoever asked first is served first; nobody is served twice before another.
    #[test]
    fn turns_go_round() {
        let engine = Engine::new(1, Isa::scalar()).expect("an engine");
        let served = Mutex::new(Vec::new());
        let first = engine.turn(&Cancel::new()).expect("a turn");
        thread::scope(|scope| {
            for i in 0..4 {
                let (engine, served) = (&engine, &served);
                scope.spawn(move || {
                    for _ in 0..3 {
                        let turn = engine.turn(&Cancel::new()).expect("a turn");
                        lock(served).push(i);
                        thread::sleep(Duration::from_millis(20)); // the others ask meanwhile
                        drop(turn);
                    }
                });
                while lock(&engine.queue.state).tickets.len() <= i {
                    thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*lock(&served), [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn who_waits_can_be_cancelled_and_is_forgotten() {
        let engine = Engine::new(1, Isa::scalar()).expect("an engine");
        let cancel = Cancel::new();
        let held = engine.turn(&Cancel::new()).expect("a turn");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| engine.turn(&cancel).is_err());
            while lock(&engine.queue.state).tickets.is_empty() {
                thread::yield_now();
            }
            let begun = Instant::now();
            cancel.cancel();
            assert!(waiting.join().expect("no panic"));
            assert!(begun.elapsed() < Duration::from_millis(100));
        });
        drop(held);
        assert!(engine.turn(&cancel).is_err(), "a flag stays set");
        cancel.reset();
        assert!(engine.turn(&cancel).is_ok());
    }

    /// A panic in a turn gives it back.
    #[test]
    fn a_panic_ends_a_turn() {
        let engine = Engine::new(2, Isa::scalar()).expect("an engine");
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut turn = engine.turn(&Cancel::new()).expect("a turn");
            turn.parts().0.chunks(&mut [0; 8], 1, |i, _| assert!(i != 5, "unit five"));
        }));
        assert!(panic.is_err());
        let mut turn = engine.turn(&Cancel::new()).expect("a turn");
        let mut data = [0; 8];
        turn.parts().0.chunks(&mut data, 1, |i, chunk| chunk[0] = i);
        assert_eq!(data, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_turn_has_what_was_reserved_before_it() {
        let engine = Engine::new(1, Isa::scalar()).expect("an engine");
        for bytes in [100, 5000, 300] {
            engine.reserve(Need::of::<u8>(bytes)).expect("memory");
            let mut turn = engine.turn(&Cancel::new()).expect("a turn");
            turn.parts().1.take::<u8>(bytes).fill(1);
        }
        assert_eq!(engine.high_water(), Need::of::<u8>(5000).bytes());
    }

    #[test]
    fn sessions_with_the_same_settings_share_an_engine_while_there_are_some() {
        let engines = Engines::default();
        let get = |threads| engines.get(threads, Isa::scalar()).expect("an engine");
        let (one, two, three) = (get(1), get(2), get(1));
        assert!(Arc::ptr_eq(&one, &three) && !Arc::ptr_eq(&one, &two));
        let weak = Arc::downgrade(&one);
        drop((one, three));
        assert!(weak.upgrade().is_none());
        get(1);
    }
}

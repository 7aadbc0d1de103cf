//! Whether this machine has the memory for a session, and what happens where it has less.

use carat::Memory;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::SessionNeeds;
use crate::text::bytes;

/// Memory of this machine or of the container that the program runs in, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) total: u64,
    pub(crate) available: u64,
}

/// Whether a session can run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// There is enough free memory.
    Now,
    /// There would be with other programs closed; so many bytes are missing now.
    NotNow(u64),
    /// The machine is too small by so many bytes.
    Never(u64),
}

/// What to expect where all but some of a model's experts have room: those that are missing are
/// read from the cache file, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paging {
    /// Bytes of the experts that stay in memory.
    pub(crate) kept: u64,
    /// Bytes of all experts.
    pub(crate) experts: u64,
    /// Bytes that a token reads from disk, if it uses all experts as often. Texts use some of them
    /// more often than others, so this is the most on average.
    pub(crate) from_disk: u64,
}

impl Machine {
    /// `None` where the system does not say.
    pub(crate) fn this() -> Option<Self> {
        let ram = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(ram).ok()?;
        let (total, available) = (system.total_memory(), system.available_memory());
        Some(match system.cgroup_limits() {
            // What a container has cached of files counts as used there, and is free when wanted.
            Some(limits) if limits.total_memory > 0 => Self {
                total: total.min(limits.total_memory),
                available: available.min(limits.total_memory.saturating_sub(limits.rss)),
            },
            _ => Self { total, available },
        })
    }

    pub(crate) fn fit(&self, needed: u64) -> Fit {
        if needed <= self.available {
            Fit::Now
        } else if needed <= self.total {
            Fit::NotNow(needed - self.available)
        } else {
            Fit::Never(needed - self.total)
        }
    }

    /// What to expect of a session whose experts do not all have room; none where they do, or where
    /// not even those of one token would.
    pub(crate) fn paging(&self, memory: &Memory) -> Option<Paging> {
        let Memory { experts, experts_of_token, .. } = *memory;
        let total = SessionNeeds::total(memory);
        let least = total - memory.total() + memory.least();
        if experts == 0 || total <= self.available || least > self.total {
            return None;
        }
        let kept = self.available.saturating_sub(total - experts).min(experts);
        let missing = u128::from(experts - kept) * u128::from(experts_of_token);
        let from_disk = (missing / u128::from(experts)) as u64;
        Some(Paging { kept, experts, from_disk })
    }
}

impl Paging {
    /// As a sentence goes on.
    pub(crate) fn sentence(&self) -> String {
        let Self { kept, experts, from_disk } = *self;
        format!(
            "{} of the {} of experts have room; with --cache the others are read from disk as they \
             are needed, {} a token at most",
            bytes(kept),
            bytes(experts),
            bytes(from_disk)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::PROGRAM_BYTES;

    #[test]
    fn a_session_fits_now_or_later_or_never() {
        let machine = Machine { total: 16, available: 10 };
        let fits = [0, 10, 11, 16, 17].map(|needed| machine.fit(needed));
        let wanted = [Fit::Now, Fit::Now, Fit::NotNow(1), Fit::NotNow(6), Fit::Never(1)];
        assert_eq!(fits, wanted);
    }

    /// 1000 bytes of experts, of which a token uses 100, and 500 of everything else.
    #[test]
    fn experts_that_have_no_room_are_read_from_disk() {
        let memory = Memory {
            weights: 1300,
            experts: 1000,
            experts_of_token: 100,
            on_disk: 0,
            projector: 0,
            drafter: 0,
            tokenizer: 50,
            kv: 100,
            scratch: 50,
        };
        let paging = |total, available| {
            let [total, available] = [total, available].map(|bytes: u64| bytes + PROGRAM_BYTES);
            Machine { total, available }.paging(&memory)
        };
        let kept = |kept, from_disk| Some(Paging { kept, experts: 1000, from_disk });
        assert_eq!(paging(2000, 1500), None);
        assert_eq!(paging(2000, 1250), kept(750, 25));
        assert_eq!(paging(1000, 700), kept(200, 80));
        assert_eq!(paging(600, 400), kept(0, 100));
        assert_eq!(paging(599, 599), None);
        let dense = Memory { experts: 0, experts_of_token: 0, ..memory };
        assert_eq!(Machine { total: 100, available: 10 }.paging(&dense), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let machine = Machine::this().expect("this system says");
        assert!(machine.available > 0 && machine.available <= machine.total);
    }
}

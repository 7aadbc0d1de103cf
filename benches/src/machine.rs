//! The machine a figure was measured on: its name, its memory, and what it used.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use carat_kernels::Isa;
use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::text::printable;

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's own name.
    pub cpu: String,
    /// Physical cores.
    pub cores: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Operating system and architecture.
    pub os: String,
    /// The engine's instruction sets here, weakest first.
    pub isas: Vec<String>,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let what = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(what).ok();
        let first = system.as_ref().and_then(|system| system.cpus().first());
        let cpu = first.map_or("", |cpu| cpu.brand()).trim();
        let name = System::name().unwrap_or_else(|_| std::env::consts::OS.to_owned());
        Self {
            cpu: printable(if cpu.is_empty() { "unknown CPU" } else { cpu }, 80),
            cores: System::physical_core_count().unwrap_or(1),
            memory: system.as_ref().map_or(0, System::total_memory),
            os: printable(&format!("{name}, {}", std::env::consts::ARCH), 80),
            isas: Isa::available().iter().map(|isa| isa.name().to_owned()).collect(),
        }
    }
}

/// Bytes of memory that programs may still take; 0 where the system does not say.
pub fn memory_available() -> u64 {
    let what = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    System::new_with_specifics(what).map_or(0, |system| system.available_memory())
}

/// The energy counters of the CPU packages (RAPL through Linux's powercap); empty where there are
/// none or they may not be read.
#[derive(Clone, Debug)]
pub struct Energy(Vec<Counter>);

#[derive(Clone, Debug)]
struct Counter {
    file: PathBuf,
    /// Microjoules at which the counter begins again.
    range: u64,
}

impl Energy {
    /// Finds the counters that can be read.
    pub fn find() -> Self {
        Self::find_in(Path::new("/sys/class/powercap"))
    }

    pub(crate) fn find_in(folder: &Path) -> Self {
        let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let counter = |path: PathBuf| {
            // Cores and memory are domains of their own within or beside a package.
            let name = fs::read_to_string(path.join("name")).ok()?;
            let file = path.join("energy_uj");
            number(&file).filter(|_| name.starts_with("package"))?;
            let range = number(&path.join("max_energy_range_uj")).unwrap_or(u64::MAX);
            Some(Counter { file, range })
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        Self(entries.filter_map(|entry| counter(entry.path())).collect())
    }

    /// Whether there is something to read.
    pub fn is_measured(&self) -> bool {
        !self.0.is_empty()
    }

    /// The counters now.
    pub fn now(&self) -> Vec<u64> {
        let read =
            |counter: &Counter| fs::read_to_string(&counter.file).ok()?.trim().parse::<u64>().ok();
        self.0.iter().map(|counter| read(counter).unwrap_or(0)).collect()
    }

    /// Joules since `before`, if there are counters.
    pub fn joules_since(&self, before: &[u64]) -> Option<f64> {
        let used =
            |((counter, before), now): ((&Counter, &u64), u64)| match now.checked_sub(*before) {
                Some(used) => used,
                None => now.saturating_add(counter.range.saturating_sub(*before)),
            };
        let total: u64 = self.0.iter().zip(before).zip(self.now()).map(used).sum();
        self.is_measured().then_some(total as f64 / 1e6)
    }
}

/// The most memory that this process has held at once, in bytes (Linux).
pub fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Lets [`peak_rss`] begin again (Linux: `man 5 proc`, `clear_refs`); does nothing elsewhere.
pub fn reset_peak_rss() {
    // Where it is not allowed, the peak is that of the whole run, the roof included.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The time now in UTC, `2026-01-31T12:34:56Z`.
pub fn utc_now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    utc(since.map_or(0, |since| since.as_secs()))
}

/// The date is counted in years that begin in March, so that the leap day is the last of all.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let from_march = days + 719_468; // days from 1 March of the year 0 to 1 January 1970
    let era = from_march / 146_097; // 400 years
    let day = from_march % 146_097;
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_across_leap_years() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ];
        for (seconds, date) in cases {
            assert_eq!(utc(seconds), date);
        }
    }

    #[test]
    fn energy_is_the_packages_and_wraps_around() {
        let folder = tempfile::tempdir().expect("a folder");
        let domain = |name: &str, package: &str, energy: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).expect("a folder");
            for (file, text) in
                [("name", package), ("energy_uj", energy), ("max_energy_range_uj", "10000000\n")]
            {
                fs::write(path.join(file), text).expect("a file");
            }
        };
        domain("intel-rapl:0", "package-0\n", "9000000\n");
        domain("intel-rapl:0:0", "core\n", "1\n");
        domain("intel-rapl:1", "psys\n", "1\n");
        let energy = Energy::find_in(folder.path());
        let before = energy.now();
        assert_eq!(before, [9_000_000]);
        domain("intel-rapl:0", "package-0\n", "500000\n");
        assert_eq!(energy.joules_since(&before), Some(1.5));
        assert_eq!(Energy::find_in(&folder.path().join("none")).joules_since(&[]), None);
    }

    #[test]
    fn the_machine_has_a_name() {
        let machine = Machine::this();
        assert!(!machine.cpu.is_empty() && machine.cores > 0 && machine.memory > 1 << 20);
        assert!(machine.isas.contains(&"scalar".to_owned()));
        assert!(memory_available() <= machine.memory);
    }
}

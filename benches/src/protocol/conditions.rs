//! What else the machine does while it is measured, as far as Linux tells.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What else the machine did. `None` is what the system does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Whether it ran on battery at any time.
    pub on_battery: Option<bool>,
    /// Bytes of swap in use when it began.
    pub swap_used: Option<u64>,
    /// Bytes that went to swap and came from it meanwhile.
    pub swapped: Option<u64>,
    /// CPU time of other programs, as a part of all CPU time.
    pub foreign_cpu: Option<f64>,
    /// CPU time that other virtual machines took, as a part of all CPU time.
    pub stolen: Option<f64>,
    /// How often a core or a package was slowed down because it was hot.
    pub throttled: Option<u64>,
    /// Bytes of memory that programs could still take, when there were least.
    pub memory_least: Option<u64>,
    /// Bytes of memory that programs could take when it began.
    pub memory_first: Option<u64>,
    /// Bytes that the model and its session take.
    pub memory_wanted: u64,
}

/// Looks at the system now and then.
#[derive(Debug)]
pub struct Monitor {
    root: PathBuf,
    first: Counters,
    conditions: Conditions,
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    /// CPU time in ticks: all, of programs, of other virtual machines, and our own.
    cpu: Option<Ticks>,
    /// Pages from and to swap.
    swapped: Option<u64>,
    throttled: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    total: u64,
    busy: u64,
    stolen: u64,
    own: u64,
}

impl Monitor {
    /// Begins to watch this system.
    pub fn begin() -> Self {
        Self::begin_in(Path::new("/"))
    }

    fn begin_in(root: &Path) -> Self {
        let first = Counters::read(root);
        let mut monitor = Self { root: root.to_owned(), first, conditions: Conditions::default() };
        let meminfo = monitor.meminfo();
        let swap = meminfo.map(|(_, swap)| swap);
        (monitor.conditions.swap_used, monitor.conditions.memory_first) =
            (swap, meminfo.map(|(available, _)| available));
        monitor.look();
        monitor
    }

    /// Notes what changes from moment to moment.
    pub fn look(&mut self) {
        if let Some(now) = on_battery(&self.root) {
            let before = self.conditions.on_battery.unwrap_or(false);
            self.conditions.on_battery = Some(before || now);
        }
        if let Some((available, _)) = self.meminfo() {
            let least = self.conditions.memory_least.unwrap_or(u64::MAX);
            self.conditions.memory_least = Some(least.min(available));
        }
    }

    /// What there was until now.
    pub fn conditions(&mut self, memory_wanted: u64) -> Conditions {
        self.look();
        let now = Counters::read(&self.root);
        let since = |now: Option<u64>, first: Option<u64>| Some(now?.saturating_sub(first?));
        let cpu = self.first.cpu.zip(now.cpu).map(|(first, now)| {
            let total = now.total.saturating_sub(first.total).max(1) as f64;
            let own = now.own.saturating_sub(first.own);
            let busy = now.busy.saturating_sub(first.busy).saturating_sub(own);
            (busy as f64 / total, now.stolen.saturating_sub(first.stolen) as f64 / total)
        });
        Conditions {
            swapped: since(now.swapped, self.first.swapped).map(|pages| pages * PAGE_BYTES),
            foreign_cpu: cpu.map(|(foreign, _)| foreign),
            stolen: cpu.map(|(_, stolen)| stolen),
            throttled: since(now.throttled, self.first.throttled),
            memory_wanted,
            ..self.conditions.clone()
        }
    }

    /// Bytes of memory that programs can take, and of swap in use.
    fn meminfo(&self) -> Option<(u64, u64)> {
        let text = fs::read_to_string(self.root.join("proc/meminfo")).ok()?;
        let bytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib << 10)
        };
        let swap = bytes("SwapTotal")?.saturating_sub(bytes("SwapFree")?);
        Some((bytes("MemAvailable")?, swap))
    }
}

impl Counters {
    fn read(root: &Path) -> Self {
        Self { cpu: Ticks::read(root), swapped: swapped(root), throttled: throttled(root) }
    }
}

impl Ticks {
    /// `man 5 proc`: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
    fn read(root: &Path) -> Option<Self> {
        let stat = fs::read_to_string(root.join("proc/stat")).ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|n| n.parse().ok()).collect();
        let &[user, nice, system, idle, iowait, irq, softirq, stolen, ..] = &ticks[..] else {
            return None;
        };
        // The name of the program stands in brackets and may hold anything.
        let own = fs::read_to_string(root.join("proc/self/stat")).ok()?;
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let own = |i: usize| fields.get(i).and_then(|n| n.parse::<u64>().ok());
        let busy = user + nice + system + irq + softirq;
        Some(Self {
            total: busy + idle + iowait + stolen,
            busy,
            stolen,
            own: own(11)? + own(12)?, // utime, stime: fields 14 and 15 from the process id on
        })
    }
}

fn swapped(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/vmstat")).ok()?;
    let pages = |key: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(name, _)| *name == key).find_map(|(_, n)| n.trim().parse::<u64>().ok())
    };
    Some(pages("pswpin")? + pages("pswpout")?)
}

/// Where a CPU counts that; several cores of a package count the package's as one.
fn throttled(root: &Path) -> Option<u64> {
    let cpus = fs::read_dir(root.join("sys/devices/system/cpu")).ok()?;
    let counts = cpus.flatten().filter_map(|cpu| {
        let folder = cpu.path().join("thermal_throttle");
        let count =
            |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let (core, package) = (count("core_throttle_count"), count("package_throttle_count"));
        (core.is_some() || package.is_some())
            .then(|| core.unwrap_or(0).saturating_add(package.unwrap_or(0)))
    });
    counts.reduce(u64::saturating_add)
}

/// Whether a battery that feeds the machine is being emptied, and nothing feeds it. Batteries of
/// mice and the like have the scope `Device`.
fn on_battery(root: &Path) -> Option<bool> {
    let supplies = fs::read_dir(root.join("sys/class/power_supply")).ok()?;
    let mut discharging = false;
    for supply in supplies.flatten() {
        let text = |name: &str| {
            let text = fs::read_to_string(supply.path().join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        match text("type").as_str() {
            "Mains" | "USB" if text("online") == "1" => return Some(false),
            "Battery" if text("scope") != "Device" => {
                discharging |= text("status") == "Discharging"
            }
            _ => {}
        }
    }
    Some(discharging)
}

/// How long the machine is watched before a run begins.
pub const WATCH_SECONDS: u64 = 3;

/// What `/proc/vmstat` counts in, on nearly all machines.
const PAGE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::system::tests::write;

    fn stat(root: &Path, busy: u64, idle: u64, stolen: u64, own: u64) {
        let cpu = format!("cpu  {busy} 0 0 {idle} 0 0 0 {stolen} 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
        let own = format!("7 (a) b) R 1 1 1 1 1 1 1 1 1 1 {own} 0 1 1 1 1 1");
        write(root, &[("proc/stat", &cpu), ("proc/self/stat", &own)]);
    }

    #[test]
    fn the_time_of_others_is_all_but_ours() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        stat(root, 1000, 5000, 0, 100);
        let mut monitor = Monitor::begin_in(root);
        // 200 ticks: 120 busy, of which 90 are ours, 70 idle and 10 stolen.
        stat(root, 1120, 5070, 10, 190);
        let found = monitor.conditions(0);
        assert_eq!(found.foreign_cpu, Some(0.15));
        assert_eq!(found.stolen, Some(0.05));
    }

    #[test]
    fn swap_and_memory() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let memory = |available: u64, free: u64| {
            let text = format!(
                "MemTotal: 1 kB\nMemAvailable:  {available} kB\nSwapTotal: 100 kB\nSwapFree: {free} kB\n"
            );
            write(root, &[("proc/meminfo", &text)]);
        };
        memory(1000, 60);
        write(root, &[("proc/vmstat", "pswpin 5\npswpout 6\n")]);
        let mut monitor = Monitor::begin_in(root);
        memory(700, 10);
        monitor.look();
        memory(900, 10);
        write(root, &[("proc/vmstat", "pswpin 7\npswpout 7\n")]);
        let found = monitor.conditions(5);
        assert_eq!((found.swap_used, found.swapped), (Some(40 << 10), Some(3 * 4096)));
        let memory = (found.memory_first, found.memory_least, found.memory_wanted);
        assert_eq!(memory, (Some(1000 << 10), Some(700 << 10), 5));
    }

    #[test]
    fn a_battery_counts_where_nothing_feeds_it() {
        let found = |files: &[(&str, &str)]| {
            let root = tempfile::tempdir().expect("a folder");
            for (name, text) in files {
                write(root.path(), &[(&format!("sys/class/power_supply/{name}"), text)]);
            }
            Monitor::begin_in(root.path()).conditions(0).on_battery
        };
        let battery = [("BAT0/type", "Battery\n"), ("BAT0/status", "Discharging\n")];
        assert_eq!(found(&battery), Some(true));
        let fed = [("AC/type", "Mains\n"), ("AC/online", "1\n")];
        assert_eq!(found(&[battery[0], battery[1], fed[0], fed[1]]), Some(false));
        let mouse = [("m/type", "Battery\n"), ("m/scope", "Device"), ("m/status", "Discharging\n")];
        assert_eq!(found(&mouse), Some(false));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn throttling_is_counted_on_all_cores() {
        let root = tempfile::tempdir().expect("a folder");
        let set = |n: &str| {
            for cpu in ["cpu0", "cpu1"] {
                let file =
                    format!("sys/devices/system/cpu/{cpu}/thermal_throttle/core_throttle_count");
                write(root.path(), &[(&file, n)]);
            }
        };
        set("3");
        let mut monitor = Monitor::begin_in(root.path());
        set("5");
        assert_eq!(monitor.conditions(0).throttled, Some(4));
    }

    #[test]
    fn a_system_that_says_nothing_leaves_nothing_known() {
        let root = tempfile::tempdir().expect("a folder");
        let found = Monitor::begin_in(root.path()).conditions(7);
        assert_eq!(found, Conditions { memory_wanted: 7, ..Conditions::default() });
    }
}

//! How many threads a process should and may start.
//!
//! Affinity, cgroup quotas and CPUs that are offline all make this less than what the machine has:
//! the standard library knows the first two, Linux's sysfs tells which hardware threads share a
//! core. Other systems are asked how many cores the machine has.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::ThreadsError;

/// The most threads that a session or a loading model may have: four for each CPU that the process
/// may use, and sixteen in any case. More only wait for each other.
pub fn threads_max() -> usize {
    (4 * available()).max(16)
}

/// The number of threads for a setting of `wanted`, where 0 stands for the number of cores.
///
/// # Errors
/// If that is more than [`threads_max`].
pub(crate) fn threads(wanted: usize) -> Result<usize, ThreadsError> {
    let most = threads_max();
    match wanted {
        0 => Ok(physical_cores()),
        _ if wanted <= most => Ok(wanted),
        _ => Err(ThreadsError::TooMany { wanted, most }),
    }
}

/// Cores, not hardware threads: two threads of one core share the units that the kernels fill.
fn physical_cores() -> usize {
    let cores = cores(Path::new("/")).or_else(cores_of_machine);
    usable(available(), cores)
}

/// Of `cores` the machine may have more than this process may use; some systems do not say.
fn usable(available: usize, cores: Option<usize>) -> usize {
    available.min(cores.unwrap_or(usize::MAX)).max(1)
}

/// Where sysfs says nothing on Linux, hardware threads are counted.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn cores_of_machine() -> Option<usize> {
    None
}

/// `hw.physicalcpu` on macOS, `GetLogicalProcessorInformation` on Windows.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn cores_of_machine() -> Option<usize> {
    Some(num_cpus::get_physical())
}

/// CPUs that the affinity of this thread allows, or fewer where a cgroup has a quota.
fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Cores that have a CPU which this thread may use and which is online, as Linux's files below
/// `root` say; `None` where they say nothing.
fn cores(root: &Path) -> Option<usize> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let status = read("proc/thread-self/status").or_else(|| read("proc/self/status"));
    let allowed = status
        .as_deref()
        .and_then(|status| status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")));
    let online = || read("sys/devices/system/cpu/online");
    let cpus = cpus(&allowed.map(str::to_owned).or_else(online)?);
    // The hardware threads of a core share this list; a CPU that is offline has none.
    let siblings = |cpu: usize| {
        read(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
    };
    let cores: HashSet<String> = cpus.into_iter().filter_map(siblings).collect();
    (!cores.is_empty()).then_some(cores.len())
}

/// The CPUs of a list such as `0-3,8,10-11`; what is no list of numbers is passed over.
fn cpus(list: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse::<usize>()) {
            cpus.extend(first..=last.min(CPUS_MAX));
        }
    }
    cpus
}

/// No Linux kernel is built for more CPUs (`NR_CPUS`).
const CPUS_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine: what its processes may use, and the siblings of each CPU that is online.
    fn machine(status: Option<&str>, online: &str, siblings: &[(usize, &str)]) -> Option<usize> {
        machine_with("proc/thread-self/status", status, online, siblings)
    }

    /// The same, with the name of the file that holds `status`.
    fn machine_with(
        file: &str,
        status: Option<&str>,
        online: &str,
        siblings: &[(usize, &str)],
    ) -> Option<usize> {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: String, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        if let Some(status) = status {
            write(file.to_owned(), status);
        }
        if !online.is_empty() {
            write("sys/devices/system/cpu/online".to_owned(), online);
        }
        for (cpu, list) in siblings {
            let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            write(path, &format!("{list}\n"));
        }
        cores(root.path())
    }

    /// Four cores of two hardware threads each.
    const PAIRS: [(usize, &str); 8] = [
        (0, "0,4"),
        (1, "1,5"),
        (2, "2,6"),
        (3, "3,7"),
        (4, "0,4"),
        (5, "1,5"),
        (6, "2,6"),
        (7, "3,7"),
    ];

    #[test]
    fn cores_are_those_that_the_process_may_use() {
        let allowed =
            |list: &str| format!("Name:\tcarat\nCpus_allowed:\tff\nCpus_allowed_list:\t{list}\n");
        for (list, cores) in
            [("0-7", 4), ("0,4", 1), ("0-1", 2), ("3,6-7", 2), ("5", 1), ("0-8191", 4)]
        {
            assert_eq!(machine(Some(&allowed(list)), "0-7", &PAIRS), Some(cores), "{list}");
        }
    }

    #[test]
    fn cpus_that_are_offline_do_not_count_and_hide_no_others() {
        let status = Some("Cpus_allowed_list:\t0-7\n");
        // cpu1 is offline, then the whole first half.
        let without_1 = PAIRS.into_iter().filter(|(cpu, _)| *cpu != 1).collect::<Vec<_>>();
        assert_eq!(machine(status, "0,2-7", &without_1), Some(4));
        let upper = [(4, "4"), (5, "5"), (6, "6-7"), (7, "6-7")];
        assert_eq!(machine(status, "4-7", &upper), Some(3));
    }

    #[test]
    fn without_a_process_file_all_that_is_online_counts() {
        assert_eq!(machine(None, "0-3\n", &PAIRS), Some(4));
        assert_eq!(machine(Some("Name:\tcarat\n"), "0,4\n", &PAIRS), Some(1));
    }

    /// Kernels before 3.17 have no `thread-self`.
    #[test]
    fn without_a_file_of_the_thread_that_of_the_process_counts() {
        let status = Some("Cpus_allowed_list:\t2\n");
        assert_eq!(machine_with("proc/self/status", status, "0-7\n", &PAIRS), Some(1));
    }

    #[test]
    fn a_machine_that_says_nothing_is_no_answer() {
        assert_eq!(machine(None, "", &PAIRS), None);
        assert_eq!(machine(Some("Cpus_allowed_list:\t0-7\n"), "0-7", &[]), None);
        for list in ["", "all", "7-0", "-", "1-x", "99999999999999999999"] {
            assert_eq!(cpus(list), [0; 0], "{list}");
        }
        assert_eq!(cpus("0-18446744073709551615").len(), CPUS_MAX + 1);
    }

    #[test]
    fn cores_of_a_machine_are_used_as_far_as_the_process_may() {
        for (available, cores, usable) in [
            (8, Some(4), 4),
            (2, Some(4), 2),
            (8, None, 8),
            (1, Some(0), 1),
            (6, Some(usize::MAX), 6),
        ] {
            assert_eq!(super::usable(available, cores), usable, "{available} of {cores:?}");
        }
    }

    #[test]
    fn too_many_threads_are_refused_with_the_limit() {
        let most = threads_max();
        let cpus = std::thread::available_parallelism().expect("a number").get();
        assert_eq!(most, if cpus < 4 { 16 } else { 4 * cpus });
        assert_eq!(threads(most).expect("the most"), most);
        assert!((1..=available()).contains(&threads(0).expect("the cores")));
        for wanted in [most + 1, 100_000, usize::MAX] {
            let error = threads(wanted).expect_err("too many").to_string();
            assert!(error.contains(&wanted.to_string()) && error.contains(&most.to_string()));
        }
    }
}

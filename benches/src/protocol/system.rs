//! What Linux says of the machine beyond its name; other systems say less, and what they do not
//! say stays empty.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::text::printable;

/// More of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Threads that run at once.
    pub threads: usize,
    /// Caches of the CPUs, all of them.
    pub caches: Vec<Cache>,
    /// What sets the clock: the governors of all CPUs.
    pub governor: Option<String>,
    /// Why this is a virtual machine; none if it is not known to be one.
    pub virtual_machine: Option<String>,
    /// Maker and product.
    pub product: Option<String>,
    /// The version of the system's kernel.
    pub kernel: Option<String>,
}

/// Caches of one level and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// From 1.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: String,
    /// Bytes of one.
    pub bytes: u64,
    /// How many there are.
    pub count: usize,
}

impl System {
    /// This one.
    pub fn this() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: sysinfo::System::kernel_version().map(|text| printable(&text, 80)).ok(),
            ..Self::read(Path::new("/"))
        }
    }

    /// What the files below `root` say.
    fn read(root: &Path) -> Self {
        let text = |path: &str| {
            let text = fs::read_to_string(root.join(path)).ok()?;
            Some(printable(text.trim(), 80)).filter(|text| !text.is_empty())
        };
        let vendor = text("sys/class/dmi/id/sys_vendor");
        let name = text("sys/class/dmi/id/product_name");
        let product: Vec<String> = [&vendor, &name].into_iter().flatten().cloned().collect();
        let product = Some(product.join(" ")).filter(|text| !text.is_empty());
        let flags = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
        let has_flag = flags.lines().any(|line| {
            let flags = line.strip_prefix("flags").and_then(|rest| rest.split_once(':'));
            flags.is_some_and(|(_, flags)| flags.split_whitespace().any(|f| f == "hypervisor"))
        });
        let by_name = product.as_deref().filter(|product| {
            VIRTUAL.iter().any(|word| product.to_ascii_lowercase().contains(word))
        });
        let virtual_machine = match (has_flag, &product) {
            (true, Some(product)) => Some(format!("the CPU says hypervisor, it is {product}")),
            (true, None) => Some("the CPU says hypervisor".to_owned()),
            (false, _) => by_name.map(|product| format!("it is {product}")),
        };
        let (caches, governor) = cpus(&root.join("sys/devices/system/cpu"));
        Self { caches, governor, virtual_machine, product, ..Self::default() }
    }
}

/// Caches, and governors, of the CPUs in `folder`.
fn cpus(folder: &Path) -> (Vec<Cache>, Option<String>) {
    let text = |path: &Path| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let numbered = |folder: &Path, word: &str| -> Vec<_> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let is_one = |name: &str| {
            let number = name.strip_prefix(word);
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        let paths = entries.filter(|e| is_one(&e.file_name().to_string_lossy()));
        paths.map(|entry| entry.path()).collect()
    };
    let mut all = BTreeSet::new();
    let mut governors = BTreeSet::new();
    for cpu in numbered(folder, "cpu") {
        governors.extend(text(&cpu.join("cpufreq/scaling_governor")));
        for index in numbered(&cpu.join("cache"), "index") {
            let cache = || {
                let level: u32 = text(&index.join("level"))?.parse().ok()?;
                let size = text(&index.join("size"))?;
                let kib: u64 = size.strip_suffix('K')?.parse().ok()?;
                let shared = text(&index.join("shared_cpu_list"))?;
                Some((level, printable(&text(&index.join("type"))?, 20), kib << 10, shared))
            };
            all.extend(cache());
        }
    }
    let mut caches: Vec<Cache> = Vec::new();
    for (level, kind, bytes, _) in all {
        let same = |c: &&mut Cache| (c.level, &c.kind, c.bytes) == (level, &kind, bytes);
        match caches.iter_mut().find(same) {
            Some(cache) => cache.count += 1,
            None => caches.push(Cache { level, kind, bytes, count: 1 }),
        }
    }
    let governors: Vec<String> = governors.into_iter().map(|name| printable(&name, 30)).collect();
    (caches, Some(governors.join(", ")).filter(|names| !names.is_empty()))
}

/// What products of machines that are none are called.
const VIRTUAL: [&str; 10] = [
    "virtual",
    "vmware",
    "qemu",
    "kvm",
    "xen",
    "bochs",
    "google compute engine",
    "amazon ec2",
    "openstack",
    "parallels",
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::protocol) fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
    }

    #[test]
    fn two_cores_with_a_cache_each_and_one_for_both() {
        let root = tempfile::tempdir().expect("a folder");
        let cpu = "sys/devices/system/cpu";
        for i in ["0", "1"] {
            for (index, level, kind, size, shared) in
                [("index0", "1", "Data", "48K", i), ("index3", "3", "Unified", "30720K", "0-1")]
            {
                let file = |name| format!("{cpu}/cpu{i}/cache/{index}/{name}");
                let all =
                    [("level", level), ("type", kind), ("size", size)].map(|(n, t)| (file(n), t));
                let shared = (file("shared_cpu_list"), shared);
                all.iter().chain([&shared]).for_each(|(path, text)| {
                    write(root.path(), &[(path, text)]);
                });
            }
            write(
                root.path(),
                &[(&format!("{cpu}/cpu{i}/cpufreq/scaling_governor"), "powersave\n")],
            );
        }
        write(
            root.path(),
            &[
                ("proc/cpuinfo", "processor: 0\nflags\t\t: fpu avx2 hypervisor aes\n"),
                ("sys/class/dmi/id/sys_vendor", "ACME\n"),
                ("sys/class/dmi/id/product_name", "Anvil\u{1b} 3\n"),
            ],
        );
        let found = System::read(root.path());
        let cache =
            |level, kind: &str, bytes, count| Cache { level, kind: kind.to_owned(), bytes, count };
        let wanted = [cache(1, "Data", 48 << 10, 2), cache(3, "Unified", 30_720 << 10, 1)];
        assert_eq!(found.caches, wanted);
        assert_eq!(found.governor.as_deref(), Some("powersave"));
        assert_eq!(found.product.as_deref(), Some("ACME Anvil? 3"));
        let why = "the CPU says hypervisor, it is ACME Anvil? 3";
        assert_eq!(found.virtual_machine.as_deref(), Some(why));
    }

    #[test]
    fn machines_are_virtual_by_flag_or_by_name_only() {
        let found = |cpuinfo: &str, product: &str| {
            let root = tempfile::tempdir().expect("a folder");
            let files = [("proc/cpuinfo", cpuinfo), ("sys/class/dmi/id/product_name", product)];
            write(root.path(), &files);
            System::read(root.path()).virtual_machine.is_some()
        };
        assert!(found("flags : fpu", "VirtualBox"));
        assert!(found("flags : hypervisor", ""));
        assert!(!found("flags : fpu\nmodel name : hypervisor", "ThinkPad"));
        assert!(!found("", ""));
    }
}

//! Energy, where the system shows it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::Energy;

/// What counts energy.
#[derive(Debug)]
pub(super) enum Meter {
    /// The CPU packages' own counters.
    Packages(Energy),
    /// The battery that is being emptied: the whole machine, by the minute.
    Battery(PathBuf),
    /// Nothing, and why.
    Nothing(&'static str),
}

impl Meter {
    /// The best that this system has.
    pub(super) fn find() -> Self {
        Self::find_in(Path::new("/"), Energy::find())
    }

    fn find_in(root: &Path, packages: Energy) -> Self {
        if packages.is_measured() {
            return Self::Packages(packages);
        }
        let supplies = fs::read_dir(root.join("sys/class/power_supply")).into_iter().flatten();
        let battery = supplies.flatten().map(|supply| supply.path()).find(|supply| {
            let text = |name: &str| fs::read_to_string(supply.join(name)).unwrap_or_default();
            text("type").trim() == "Battery"
                && text("scope").trim() != "Device"
                && text("status").trim() == "Discharging"
                && joules_of(supply).is_some()
        });
        if let Some(battery) = battery {
            return Self::Battery(battery);
        }
        let has_packages = root.join("sys/class/powercap/intel-rapl:0").exists();
        Self::Nothing(match has_packages {
            true => "not available: only root may read the counters of the CPU packages",
            false => "not available: the system shows neither counters nor a battery in use",
        })
    }

    /// How energy is measured, or why it is not.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Packages(_) => "RAPL: counters of the CPU packages, from powercap's energy_uj",
            Self::Battery(_) => "battery: what it holds, before and after, for the whole machine",
            Self::Nothing(why) => why,
        }
    }

    /// The state of short counters, for [`Meter::short_since`].
    pub(super) fn short(&self) -> Vec<u64> {
        match self {
            Self::Packages(energy) => energy.now(),
            _ => Vec::new(),
        }
    }

    /// Joules since then, where counters are fine enough for seconds.
    pub(super) fn short_since(&self, before: &[u64]) -> Option<f64> {
        match self {
            Self::Packages(energy) => energy.joules_since(before),
            _ => None,
        }
    }

    /// Joules that the battery holds, for minutes.
    pub(super) fn battery(&self) -> Option<f64> {
        match self {
            Self::Battery(folder) => joules_of(folder),
            _ => None,
        }
    }
}

/// `energy_now` is in µWh, `charge_now` in µAh and `voltage_now` in µV
/// (Linux, Documentation/power/power_supply_class.rst).
fn joules_of(battery: &Path) -> Option<f64> {
    let number = |name: &str| {
        let text = fs::read_to_string(battery.join(name)).ok()?;
        text.trim().parse::<u64>().ok().map(|n| n as f64)
    };
    let from_charge = || Some(number("charge_now")? * number("voltage_now")? * 1e-12 * 3600.0);
    number("energy_now").map(|energy| energy * 1e-6 * 3600.0).or_else(from_charge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::system::tests::write;

    fn meter(files: &[(&str, &str)]) -> (Meter, tempfile::TempDir) {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), files);
        let none = root.path().join("none");
        (Meter::find_in(root.path(), Energy::find_in(&none)), root)
    }

    #[test]
    fn batteries_count_in_watt_hours_or_in_ampere_hours() {
        let bat = |name: &str| format!("sys/class/power_supply/BAT0/{name}");
        let (kind, status) = (bat("type"), bat("status"));
        let common = [(kind.as_str(), "Battery"), (status.as_str(), "Discharging\n")];
        let (energy, charge, voltage) = (bat("energy_now"), bat("charge_now"), bat("voltage_now"));
        // 10 Wh are 36 kJ; so are 1 Ah at 10 V.
        let (meter_one, _root) = meter(&[common[0], common[1], (&energy, "10000000\n")]);
        assert_eq!(meter_one.battery(), Some(36_000.0));
        assert!(meter_one.method().starts_with("battery"));
        let volts = [(charge.as_str(), "1000000"), (voltage.as_str(), "10000000")];
        let (meter_two, _root) = meter(&[common[0], common[1], volts[0], volts[1]]);
        assert!(meter_two.battery().is_some_and(|joules| (joules - 36_000.0).abs() < 1e-6));
        assert!(meter_two.short_since(&[]).is_none());
    }

    #[test]
    fn what_is_not_there_is_not_measured() {
        let (nothing, _root) = meter(&[]);
        assert!(nothing.method().starts_with("not available: the system"));
        assert_eq!((nothing.battery(), nothing.short_since(&[])), (None, None));
        let (hidden, _root) = meter(&[("sys/class/powercap/intel-rapl:0/name", "package-0")]);
        assert!(hidden.method().contains("root"));
    }
}

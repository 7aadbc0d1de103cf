//! Whether the disk has room for what is to come.

use std::path::Path;

use anyhow::{Result, bail};

use crate::hub::cache::Cache;
use crate::hub::environment;
use crate::text::bytes;

/// Refuses what the disk has no room for.
///
/// # Errors
/// If `missing` bytes would not leave a little to spare.
pub(super) fn check(cache: &Cache, missing: u64) -> Result<()> {
    // The folder may not be there yet.
    let free = environment::existing(cache.root()).and_then(|folder| free(&folder));
    if let Some(free) = free.filter(|free| missing > 0 && *free < missing.saturating_add(SPARE)) {
        bail!(
            "{} are to come, {} should stay free, and {} are free where {} lies: make room, or name \
             another folder with HF_HUB_CACHE",
            bytes(missing),
            bytes(SPARE),
            bytes(free),
            cache.root().display()
        );
    }
    Ok(())
}

/// Bytes that are free where a folder is, if the system says so.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    // Some file systems of networks know no numbers.
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free(folder: &Path) -> Option<u64> {
    let disks = sysinfo::Disks::new_with_refreshed_list().ok()?;
    let holds = |disk: &&sysinfo::Disk| folder.starts_with(disk.mount_point());
    let disk = disks.iter().filter(holds).max_by_key(|d| d.mount_point().as_os_str().len());
    disk.map(sysinfo::Disk::available_space)
}

/// What a full disk should still have.
const SPARE: u64 = 16 << 20;

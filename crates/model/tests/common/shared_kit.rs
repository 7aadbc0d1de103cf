use std::path::{Path, PathBuf};

/// The folder of a larger kit, which is not in the repository; none where it is not beside it
/// either. `CARAT_REFERENCE` names another place to look for it.
pub(crate) fn shared_kit(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference");
    let reference = std::env::var_os("CARAT_REFERENCE").map_or_else(beside, PathBuf::from);
    let folder = reference.join(name);
    if !folder.is_dir() {
        eprintln!("left out, {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

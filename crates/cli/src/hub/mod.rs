//! Models of the Hugging Face Hub: their names, the cache that they lie in, and `carat pull`, which
//! is the only thing that ever fetches anything.

use std::path::{Path, PathBuf};

use self::cache::Cache;

pub(crate) use list::list;
pub(crate) use remove::remove;
pub(crate) use resolve::settle;

pub(crate) mod args;
mod cache;
mod choose;
mod environment;
mod list;
mod models;
mod name;
mod remove;
mod resolve;
mod table;

#[cfg(feature = "download")]
mod fetch;
#[cfg(feature = "download")]
pub(crate) use fetch::pull;

/// What stands for the download where it was left out.
#[cfg(not(feature = "download"))]
pub(crate) fn pull(args: &args::PullArgs) -> anyhow::Result<()> {
    anyhow::bail!(
        "this carat was built without the feature `download`: fetch {} with another program of the \
         Hub, carat finds it in the same cache",
        args.model
    )
}

/// The projector that belongs to a model in the cache.
pub(crate) fn projector(model: &Path) -> Option<PathBuf> {
    models::projector(&Cache::of_environment().ok()?, model)
}

/// The drafter that belongs to a model in the cache.
pub(crate) fn drafter(model: &Path) -> Option<PathBuf> {
    models::drafter(&Cache::of_environment().ok()?, model)
}

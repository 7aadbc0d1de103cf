//! The model that is used where none is named and none was pulled.

use std::path::PathBuf;

/// The model that is part of the program, as a file that can be opened. There is none yet.
pub(crate) fn builtin() -> Option<PathBuf> {
    None
}

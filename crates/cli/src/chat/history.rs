//! What was typed in earlier chats: a file in the place for such things, for its owner's eyes only.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rustyline::config::{Builder, Config};

use super::Terminal;
use crate::sentence;
use crate::text::say;

/// Keeps what is typed, here and in the file.
pub(super) struct Keeper {
    /// `None` where nothing is kept beyond this chat.
    file: Option<PathBuf>,
}

impl Keeper {
    /// Lets the arrows of the editor go back to what was typed in earlier chats, if that is wanted.
    /// Whatever is wrong with the file, the chat can do without.
    pub(super) fn new(editor: &mut Terminal, is_wanted: bool) -> Self {
        // Who lets it point to /dev/null wants none: its mode must not change, and a pipe would
        // wait.
        let is_other = |file: &PathBuf| {
            fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir())
        };
        let file = place().filter(|file| is_wanted && !is_other(file));
        let mut keeper = Self { file };
        keeper.tried(|file| load(editor, file));
        keeper
    }

    /// Remembers a message or a command, at once: a chat may end in many ways.
    pub(super) fn keep(&mut self, editor: &mut Terminal, text: &str) {
        if text.len() > ENTRY_BYTES_MAX {
            return;
        }
        // A line that the editor does not want to remember is not new to the file, either.
        if let Ok(true) = editor.add_history_entry(text) {
            self.tried(|file| Ok(editor.append_history(file)?));
        }
    }

    /// Does something with the file, and forgets the file if that fails.
    fn tried(&mut self, mut act: impl FnMut(&Path) -> Result<()>) {
        let Some(file) = &self.file else { return };
        if let Err(e) = act(file) {
            let why = sentence(e.as_ref());
            say!(
                "carat: nothing is kept in {}: {why}; --no-history does without it",
                file.display()
            );
            self.file = None;
        }
    }
}

/// The settings of an editor that remembers so much.
pub(super) fn bounded(config: Builder) -> rustyline::Result<Config> {
    Ok(config.max_history_size(ENTRIES_MAX)?.history_ignore_space(true).build())
}

/// Reads the file, and makes its folder if there is none.
fn load(editor: &mut Terminal, file: &Path) -> Result<()> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            bail!("it has more than {FILE_BYTES_MAX} bytes, which no history has: remove it")
        }
        Ok(_) => Ok(editor.load_history(file)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            file.parent().map_or(Ok(()), |folder| Ok(folder_of_ones_own().create(folder)?))
        }
        Err(e) => Err(e.into()),
    }
}

/// Makes folders that nobody else can look into.
fn folder_of_ones_own() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Where the history lies by the XDG Base Directory Specification 0.8; `None` without a home.
fn place() -> Option<PathBuf> {
    state(env::var_os("XDG_STATE_HOME").map(PathBuf::from), env::home_dir())
        .map(|state| state.join("carat/history"))
}

/// The folder for what programs keep. A relative path in the environment is to be ignored.
fn state(named: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let home = home.filter(|home| home.is_absolute()).map(|home| home.join(".local/state"));
    named.filter(|named| named.is_absolute()).or(home)
}

/// How many messages are remembered, and bytes of a longest one.
const ENTRIES_MAX: usize = 1000;
const ENTRY_BYTES_MAX: usize = 4096;

/// What a file of so many messages may have: each byte can become two.
const FILE_BYTES_MAX: u64 = 2 * (ENTRIES_MAX * ENTRY_BYTES_MAX) as u64 + 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_that_of_the_specification() {
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(state(path("/var/state"), path("/h")), path("/var/state"));
        assert_eq!(state(None, path("/h")), path("/h/.local/state"));
        assert_eq!(state(path(""), path("/h")), path("/h/.local/state"));
        assert_eq!(state(path("here"), path("/h")), path("/h/.local/state"));
        assert_eq!(state(None, None), None);
        assert_eq!(state(None, path("")), None);
    }
}

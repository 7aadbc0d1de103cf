//! Runs another program and reads what it writes, within a time that is set before.
//!
//! No shell is involved: arguments reach the program as they are. It gets no input, its complaints
//! are kept only as far as a message needs them, and when its reader goes away, on success, error,
//! cancellation or panic, it is killed. Output is handed on in pieces while it arrives and never
//! gathered here; a reader that is slow makes the program wait.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{VideoConfig, VideoError};
use crate::cancel::Cancel;

/// When programs are stopped: after a time that they share, or when the caller cancels.
#[derive(Clone)]
pub(super) struct Deadline {
    patience: Duration,
    started: Instant,
    cancel: Option<Cancel>,
}

impl Deadline {
    /// The patience of `config`, which begins to run now.
    pub(super) fn of(config: &VideoConfig) -> Self {
        let (patience, cancel) = (config.patience, config.cancel.clone());
        Self { patience, started: Instant::now(), cancel }
    }

    fn left(&self) -> Duration {
        self.patience.saturating_sub(self.started.elapsed())
    }

    /// Whether the caller wants no more.
    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }
}

/// A program that is running.
pub(super) struct Running {
    program: PathBuf,
    child: Child,
    output: Receiver<Vec<u8>>,
    complaints: Receiver<Vec<u8>>,
    has_complained: bool,
    deadline: Deadline,
}

impl Running {
    /// Starts `program`.
    pub(super) fn start(
        program: &Path,
        arguments: &[OsString],
        deadline: &Deadline,
    ) -> Result<Self, VideoError> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| VideoError::Program { program: program.to_owned(), source })?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let (send_output, receive_output) = sync_channel(PIECES_WAITING);
        let (send_complaints, complaints) = sync_channel(1);
        // The threads end when the pipes close, at the latest when the program is killed.
        thread::spawn(move || output.map(|pipe| pump(pipe, &send_output)));
        thread::spawn(move || errors.map(|pipe| keep_start(pipe, &send_complaints)));
        Ok(Self {
            program: program.to_owned(),
            child,
            output: receive_output,
            complaints,
            has_complained: false,
            deadline: deadline.clone(),
        })
    }

    /// The next piece of output; `None` when the program has ended well.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, VideoError> {
        loop {
            match self.output.recv_timeout(self.deadline.left().min(CANCEL_POLL)) {
                Ok(piece) => return Ok(Some(piece)),
                Err(RecvTimeoutError::Timeout) => self.check_deadline()?,
                Err(RecvTimeoutError::Disconnected) => return self.finish().map(|()| None),
            }
        }
    }

    /// Whether the program complained and ended well all the same; known once it has ended.
    pub(super) fn has_complained(&self) -> bool {
        self.has_complained
    }

    /// All of a short output, as text.
    pub(super) fn text(mut self) -> Result<String, VideoError> {
        let mut text = Vec::new();
        while let Some(piece) = self.next()? {
            text.extend_from_slice(&piece);
            if text.len() > TEXT_BYTES_MAX {
                let found = shorten(&String::from_utf8_lossy(&text));
                return Err(self.answer(found, "a short answer"));
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The error for output that is not what was asked for.
    pub(super) fn answer(&self, found: String, wanted: &'static str) -> VideoError {
        VideoError::Answer { program: self.program.clone(), found, wanted }
    }

    /// Waits for the end, which is near as the output is closed.
    fn finish(&mut self) -> Result<(), VideoError> {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {
                    self.check_deadline()?;
                    thread::sleep(POLL);
                }
                Err(source) => {
                    return Err(VideoError::Program { program: self.program.clone(), source });
                }
            }
        };
        let complaints = self.complaints.recv_timeout(self.deadline.left().min(GRACE));
        let complaints = String::from_utf8_lossy(&complaints.unwrap_or_default()).into_owned();
        if status.success() {
            self.has_complained = !complaints.trim().is_empty();
            return Ok(());
        }
        let last = complaints.lines().rfind(|line| !line.trim().is_empty());
        let message = last.map_or_else(|| status.to_string(), shorten);
        Err(VideoError::Failed { program: self.program.clone(), message })
    }

    fn check_deadline(&self) -> Result<(), VideoError> {
        if self.deadline.is_cancelled() {
            return Err(VideoError::Cancelled);
        }
        if self.deadline.left().is_zero() {
            let seconds = self.deadline.patience.as_secs();
            return Err(VideoError::Patience { program: self.program.clone(), seconds });
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A program that has ended cannot be killed, which is all that can fail here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends what `pipe` yields until it closes or nobody wants it.
fn pump(mut pipe: impl Read, to: &SyncSender<Vec<u8>>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let Ok(length @ 1..) = pipe.read(&mut piece) else { return };
        piece.truncate(length);
        if to.send(piece).is_err() {
            return;
        }
    }
}

/// Sends the beginning of what `pipe` yields, and lets the program write the rest.
fn keep_start(mut pipe: impl Read, to: &SyncSender<Vec<u8>>) {
    let mut start = Vec::new();
    // What was read before an error is the message, if there is one.
    let _ = pipe.by_ref().take(TEXT_BYTES_MAX as u64).read_to_end(&mut start);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    let _ = to.send(start);
}

/// The beginning of a foreign text, short enough for a message.
pub(super) fn shorten(text: &str) -> String {
    let printable = text.trim().chars().filter(|c| !c.is_control());
    printable.take(MESSAGE_CHARS_MAX).collect()
}

/// Bytes of a piece of output, and how many pieces wait for the reader: 1 MB in all.
const PIECE_BYTES: usize = 1 << 18;
const PIECES_WAITING: usize = 4;

/// The longest answer or complaint that is read.
const TEXT_BYTES_MAX: usize = 1 << 16;

/// The longest foreign text in a message.
const MESSAGE_CHARS_MAX: usize = 200;

/// How often the end of a program is looked for once its output is closed.
const POLL: Duration = Duration::from_millis(2);

/// How often a program that writes nothing is looked at for cancellation.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// How long complaints may be on their way after a program has ended.
const GRACE: Duration = Duration::from_millis(500);

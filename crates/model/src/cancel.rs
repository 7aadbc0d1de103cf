//! `Cancel`: a flag that ends work from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A handle that ends work which is under way: opening a model, a prompt, generation, the embedding
/// of media. A clone is another handle of the same flag.
///
/// Whoever computes looks at the flag between small pieces of work, every few milliseconds, and
/// ends with [`Error::Cancelled`](crate::Error::Cancelled). The flag stays set until
/// [`Cancel::reset`], so that a request which is cancelled before it begins does not run either.
///
/// ```no_run
/// # use carat::{Error, Input, Model, Session, SessionConfig};
/// # fn main() -> Result<(), Error> {
/// # let model = Model::open("gemma.gguf")?;
/// let mut session = Session::new(&model, SessionConfig::default())?;
/// let cancel = session.cancel_handle();
/// std::thread::spawn(move || {
///     std::thread::sleep(std::time::Duration::from_secs(5));
///     cancel.cancel();
/// });
/// match session.push(Input::Text("a very long text")) {
///     Err(Error::Cancelled { done, total }) => println!("{done} of {total} tokens were read"),
///     result => result?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// A flag that something else sets, such as a handler of signals.
impl From<Arc<AtomicBool>> for Cancel {
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }
}

impl Cancel {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag: what looks at it ends, and what begins ends at once.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Takes the flag back, so that work can begin again.
    pub fn reset(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! Panics of foreign code, made errors: nothing unwinds into the caller, nothing is printed.
//!
//! A panic hook belongs to the whole process and prints before anything is caught. The hook that
//! is installed here, once and with the first decoder, calls the one that it found unless the
//! panicking thread is inside [`catch`]; all other panics are reported as before. A program that
//! sets a hook of its own later has its own again, and sees caught panics in it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

/// A panic that was caught, with its message.
#[derive(Debug, thiserror::Error)]
#[error("the decoder panicked: {message}")]
pub(crate) struct Panicked {
    message: String,
}

/// Calls `work` on this thread. State that `work` shares with the caller and leaves half changed
/// when it panics must not be used again.
///
/// # Errors
///
/// If `work` panics.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    // Hooks cannot be set while the thread unwinds; then a panic aborts anyway.
    if !thread::panicking() {
        HOOK.call_once(install);
    }
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    result.map_err(|payload| Panicked { message: message(&*payload) })
}

/// Puts a hook in front of the process's own.
fn install() {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // The flag is gone where thread-local values are being dropped: not inside `catch`.
        if !QUIET.try_with(Cell::get).unwrap_or(false) {
            loud(info);
        }
    }));
}

/// What the panic said; `panic!` makes a `&str` or a `String`.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}

thread_local! {
    /// Whether this thread is inside [`catch`].
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(catch(|| 7).unwrap(), 7);
        let none: [u8; 0] = [];
        let error = catch(|| none[none.len()]).unwrap_err();
        assert!(error.to_string().contains("index out of bounds"), "{error}");
        assert!(catch(|| panic!("oh")).unwrap_err().to_string().ends_with(": oh"));
        let value = catch(|| panic::panic_any(7)).unwrap_err();
        assert!(value.to_string().ends_with("without a message"));
    }

    /// Only panics inside `catch` are kept from the process's hook, nested ones too, and only those
    /// of its own thread.
    #[test]
    fn only_caught_panics_are_silent() {
        static HEARD: AtomicUsize = AtomicUsize::new(0);
        const MARK: &str = "heard by the hook of this test";
        HOOK.call_once(|| ());
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match message(info.payload()).as_str() {
            MARK => _ = HEARD.fetch_add(1, Ordering::Relaxed),
            _ => before(info),
        }));
        install();

        let heard = || HEARD.load(Ordering::Relaxed);
        catch(|| panic!("{MARK}")).unwrap_err();
        let nested = catch(|| {
            catch(|| panic!("{MARK}")).unwrap_err();
            panic!("{MARK}")
        });
        nested.unwrap_err();
        assert_eq!(heard(), 0);
        panic::catch_unwind(|| panic!("{MARK}")).unwrap_err();
        assert_eq!(heard(), 1);
        catch(|| thread::spawn(|| panic!("{MARK}")).join().unwrap_err()).unwrap();
        assert_eq!(heard(), 2);
    }
}

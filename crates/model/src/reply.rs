//! What a model's tokens mean: text, thoughts and tool calls, and when an answer is over.
//!
//! Four pieces that know nothing of sessions, for whoever runs a generation:
//!
//! * [`Splitter`] turns tokens into text, thoughts and tool calls.
//! * [`StopStrings`] lets text through up to the first string that ends an answer.
//! * [`ThinkingBudget`] says when a thought has been long enough, and how it is closed.
//! * [`LoopGuard`] says when a model does nothing but repeat itself.

mod marks;
mod repeat;
mod splitter;
mod stop;
mod thinking;

pub use repeat::{LoopGuard, Repeat};
pub use splitter::{Piece, Splitter};
pub use stop::{StopStringError, StopStrings};
pub use thinking::ThinkingBudget;

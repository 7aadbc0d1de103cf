//! Drafting: guessing the next tokens cheaply, so that one pass can check several of them.

mod drafter;
mod forward;
mod head;
mod tensors;

pub use drafter::drafters_beside;
pub(crate) use drafter::{Drafter, DrafterShape};
pub(crate) use forward::{Start, draft, need};

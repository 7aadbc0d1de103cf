//! What a model's tokens mean: text, thoughts and tool calls, and when an answer is over.
//!
//! Four pieces that know nothing of sessions, for whoever runs a generation:
//!
//! * [`Splitter`] turns tokens into text, thoughts and tool calls.
//! * [`StopStrings`] lets text through up to the first string that ends an answer.
//! * [`ThinkingBudget`] says when a thought has been long enough, and how it is closed.
//! * [`LoopGuard`] says when a model does nothing but repeat itself.
//!
//! ```no_run
//! use carat::reply::{Piece, Splitter};
//! use carat::{Input, Model, Sampler, SamplerConfig, Session, SessionConfig};
//!
//! # fn main() -> Result<(), carat::Error> {
//! let model = Model::open("gemma.gguf")?;
//! let mut session = Session::new(&model, SessionConfig::default())?;
//! session.push(Input::Prompt("<|turn>user\nWhy?<turn|>\n<|turn>model\n"))?;
//! let mut sampler = Sampler::new(SamplerConfig::gemma(), model.tokenizer().vocab_size())?;
//! let mut splitter = Splitter::new(model.tokenizer());
//! for token in session.generate(&mut sampler) {
//!     if let Some(Piece::Text(text)) = splitter.push(token?) {
//!         print!("{text}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod marks;
mod repeat;
mod splitter;
mod stop;
mod thinking;

pub use repeat::{LoopGuard, Repeat};
pub use splitter::{Piece, Splitter};
pub use stop::{StopStringError, StopStrings};
pub use thinking::ThinkingBudget;

//! Gemma 4 on the CPU: open a GGUF file, push text, read tokens.
//!
//! [`Model`] is a handle of the weights, the tokeniser, the threads and the scratch memory, which
//! are shared; [`Session`] owns one conversation: its tokens and their keys and values. Several
//! sessions take turns, or are evaluated together by [`step`]; [`Cancel`] ends what is under way.
//! Nothing here is global but the list of files that are being written
//! ([`PartFile`](carat_gguf::PartFile)), no environment variable is read, and every thread belongs
//! to the sessions of a model, or to a loading one, and ends soon after them.
//!
//! ```no_run
//! use carat::{Input, Model, Sampler, SamplerConfig, Session, SessionConfig};
//!
//! # fn main() -> Result<(), carat::Error> {
//! let model = Model::open("gemma.gguf")?;
//! let mut session = Session::new(&model, SessionConfig { threads: 4, ..Default::default() })?;
//! session.push(Input::Text("The capital of France is"))?;
//!
//! let vocab = model.tokenizer().vocab_size();
//! let mut sampler = Sampler::new(SamplerConfig::default(), vocab)?;
//! let mut decoder = model.tokenizer().decoder();
//! for token in session.generate(&mut sampler).take(32) {
//!     print!("{}", decoder.push(token?));
//! }
//! println!("{}", decoder.finish());
//! # Ok(())
//! # }
//! ```
//!
//! Results do not depend on how a prompt is cut into chunks nor on the number of threads: both
//! give the same bits.
//!
//! # Features
//!
//! All are on by default. Without any, text, pixels ([`vision::Picture::from_rgb`]), samples at
//! 16 kHz ([`audio::Clip::from_pcm`], [`Session::listen`]) and frames
//! ([`video::Video::from_frames`]) still go in, and prompts are put together as [`Rendered`].
//!
//! - `image`: picture files, by `vision::Picture::open` and `decode`.
//! - `sound`: sound files, by `audio::Clip::open` and `decode`, and samples at any rate.
//! - `film`: animations and, by way of ffmpeg, films, by `video::Video::open` and `video::sound`.
//!   It takes `image` and `sound` with it.
//! - `chat`: the chat template in a model file, by `Model::chat_template`. A file that has one
//!   opens without the feature, too.
//! - `serde`: settings are read and written ([`SessionConfig`], [`SamplerConfig`], [`KvType`],
//!   budgets, how media are read), and what the library tells is written ([`Config`], [`Memory`],
//!   [`Progress`], [`Stop`], [`Identity`]).

mod arena;
pub mod audio;
mod cancel;
#[cfg(feature = "chat")]
pub mod chat;
mod config;
#[cfg(feature = "chat")]
pub mod conversation;
mod draft;
mod engine;
mod error;
#[cfg(feature = "grammar")]
pub mod grammar;
mod identity;
#[cfg(feature = "serde")]
mod isa_name;
pub mod limits;
mod media;
mod model;
mod model_file;
mod pages;
mod pool;
mod projector;
#[cfg(any(feature = "image", feature = "sound", feature = "grammar"))]
mod quiet;
mod rendered;
pub mod reply;
pub mod sampler;
mod session;
#[cfg(test)]
#[path = "../tests/common/shared_kit.rs"]
mod shared_kit;
mod text;
pub mod tokenizer;
mod tower;
pub mod video;
pub mod vision;
mod weights;
mod words;

pub use carat_kernels::Isa;

pub use cancel::Cancel;
#[cfg(feature = "chat")]
pub use chat::{ChatTemplate, Tool, ToolCall, ToolChoice};
pub use config::drafter::DrafterConfig;
pub use config::{Architecture, Config, Experts, KvSource, LayerConfig, LayerKind, Rope};
#[cfg(feature = "chat")]
pub use conversation::{
    Answer, AnswerOptions, Chat, ChatConfig, Content, ConversationError, Done, Event, Finish,
    Message, Overflow, Reply, Role, Thinking, Timings, Usage,
};
pub use draft::{DRAFT_MAX, DraftConfig, DraftSource, DraftStats, Drafts, drafters_beside};
pub use error::Error;
#[cfg(feature = "grammar")]
pub use grammar::{Constraint, Grammar, GrammarEnv, GrammarError};
pub use identity::{Identity, IdentityError};
pub use model::{Model, OpenOptions};
pub use model_file::ModelFileError;
pub use pages::MemoryError;
pub use pool::{ThreadsError, WeightReading, threads_max};
pub use projector::beside as projectors_beside;
pub use rendered::Rendered;
pub use sampler::{Sampler, SamplerConfig, TokenMask};
pub use session::{
    Embedding, Generate, Input, Listen, MediaPrompt, Medium, Memory, MemoryPlan, Part, Progress,
    PromptUsage, SavedSession, SavedSessionError, Seat, Session, SessionConfig, SessionError, Step,
    Stop, evaluate, step,
};
pub use text::kv_cache::KvType;
pub use tokenizer::Tokenizer;
pub use weights::CacheError;

/// The number of a token in the model's vocabulary.
pub type TokenId = u32;

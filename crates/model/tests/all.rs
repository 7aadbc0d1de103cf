//! Most tests of the library, as one program: each program more takes seconds to compile and link.
//!
//! Those that need a program of their own, for their allocator, their clock or a child, stand
//! beside it and in `Cargo.toml`.

mod altered;
mod common;
mod drafting;
mod naive;
mod saved;

#[path = "drafting/answers.rs"]
mod answers;
#[path = "common/emulated.rs"]
mod emulated;
#[path = "common/masked.rs"]
mod masked;
#[path = "common/sound.rs"]
mod sound;
#[path = "drafting/steps.rs"]
mod steps;

#[cfg(feature = "sound")]
mod audio_codecs;
#[cfg(feature = "sound")]
mod audio_formats;
#[cfg(feature = "film")]
mod batch;
mod cache;
mod cache_changed;
#[cfg(feature = "chat")]
mod chat;
#[cfg(feature = "chat")]
mod chat_oracle;
#[cfg(all(feature = "film", feature = "grammar"))]
mod conversation;
#[cfg(all(feature = "chat", feature = "image", feature = "sound"))]
mod conversation_saved;
mod disk;
mod disk_damage;
mod disk_files;
mod draft;
#[cfg(feature = "film")]
mod draft_batch;
#[cfg(feature = "grammar")]
mod draft_chat;
#[cfg(all(feature = "chat", feature = "grammar", feature = "image", feature = "sound"))]
mod draft_identity;
mod drafter;
mod drafter_files;
mod drafter_session;
mod eseries;
mod eseries_files;
mod eseries_media;
mod eseries_session;
mod experts;
mod experts_files;
#[cfg(feature = "extract")]
mod extract;
mod fill;
mod golden;
#[cfg(feature = "grammar")]
mod grammar;
#[cfg(feature = "image")]
mod image;
mod instruction_sets;
mod keys;
mod kv;
#[cfg(feature = "sound")]
mod listen;
#[cfg(feature = "image")]
mod marks;
#[cfg(all(feature = "film", feature = "chat"))]
mod media;
mod non_finite;
mod open;
mod panics;
#[cfg(feature = "image")]
mod picture_damage;
#[cfg(feature = "film")]
mod prompt;
mod real;
mod reply;
mod sampler;
#[cfg(feature = "image")]
mod scratch;
#[cfg(all(feature = "serde", feature = "film"))]
mod serde;
#[cfg(feature = "chat")]
mod session;
mod shapes;
mod splits;
mod threads;
#[cfg(feature = "chat")]
mod tokenizer;
mod toy;
mod turns;

//! Files that are no model of this engine, by name: what they are and what to do with them.

use carat_gguf::Metadata;

use super::Result;
use crate::model_file::ModelFileError;
use crate::words::{head, one_line};

/// The architecture of a model file.
///
/// # Errors
/// If the file is an adapter, which has the architecture of the model it belongs to, or the key is
/// missing.
pub(super) fn architecture<'a>(metadata: &Metadata<'a>) -> Result<&'a str> {
    if metadata.opt_string("general.type").ok().flatten() == Some("adapter") {
        let hint = "open a model that the adapter was merged into";
        return Err(file("an adapter (LoRA)", "is no model of its own", hint));
    }
    Ok(metadata.string("general.architecture")?)
}

/// The error for an architecture that is not computed.
pub(super) fn refused(architecture: &str) -> ModelFileError {
    let not_run = |name: &str| {
        let problem = "this version does not run";
        file(name, problem, "use a file of Gemma 3 or of Gemma 4")
    };
    match architecture {
        "clip" | "mmproj" => file(
            "a projector (mmproj)",
            "turns pictures and sound into input of a model and cannot run alone",
            "open the model it belongs to, and name this file with --mmproj",
        ),
        found if DRAFTERS.contains(&found) => file(
            &format!("a drafter of Gemma 4 ({architecture})"),
            "only guesses tokens ahead for the model it belongs to",
            "open the file of that model, and name this file with --draft",
        ),
        found if drafts_otherwise(found) => drafter_of_another_kind(found),
        "gemma" => not_run("Gemma 1"),
        "gemma2" => not_run("Gemma 2"),
        "gemma3n" => not_run("Gemma 3n"),
        "gemma-embedding" => not_run("EmbeddingGemma"),
        "diffusion-gemma" => not_run("DiffusionGemma"),
        found => ModelFileError::Architecture { found: head(found) },
    }
}

/// The error for a file that is to draft and cannot.
pub(super) fn not_a_drafter(architecture: &str) -> ModelFileError {
    if drafts_otherwise(architecture) {
        return drafter_of_another_kind(architecture);
    }
    file(
        &format!("no drafter but a file of architecture {:?}", head(architecture)),
        "guesses no tokens ahead for a model",
        "name the gemma4-assistant file that belongs to the model",
    )
}

fn drafter_of_another_kind(architecture: &str) -> ModelFileError {
    file(
        &format!("a drafter of another kind ({})", one_line(&head(architecture))),
        "computes in a way that this version does not know",
        "use Google's own drafter of the model (gemma4-assistant)",
    )
}

/// Whether it is the name of another network that drafts: one that drafts blocks (DFlash, DSpark)
/// or reads several layers of its model (EAGLE).
fn drafts_otherwise(architecture: &str) -> bool {
    let name = architecture.to_lowercase();
    ["dflash", "dspark", "eagle"].iter().any(|kind| name.contains(kind))
}

/// What drafters of Gemma 4 call their architecture: in llama.cpp, in ik_llama.cpp, and the same
/// with the other separator.
pub(super) const DRAFTERS: [&str; 4] =
    ["gemma4-assistant", "gemma4_assistant", "gemma4-mtp", "gemma4_mtp"];

fn file(what: &str, problem: &str, hint: &'static str) -> ModelFileError {
    ModelFileError::OtherFile { what: what.to_owned(), problem: problem.to_owned(), hint }
}

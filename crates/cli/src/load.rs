//! Opening models, with a progress bar and an error that names the file.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use carat::{ChatTemplate, Model, OpenOptions, Session, SessionConfig, Tokenizer};
use carat_gguf::Gguf;

use crate::args::EngineArgs;
use crate::chosen::Chosen;
use crate::interrupt;
use crate::memory::{self, Planned};
use crate::progress::{Progress, Unit};
use crate::text::say;

/// Loads the model at `path`, and says why if that went without the cache file.
pub(crate) fn model(path: &Path, options: OpenOptions<'_>) -> Result<Model> {
    let mut bar = Progress::new("loading", Unit::Bytes);
    let mut progress = |done, total| {
        bar.set(done, total);
        ControlFlow::Continue(())
    };
    let opened = Model::open_with(path, OpenOptions { progress: Some(&mut progress), ..options });
    drop(bar);
    let model = opened.map_err(|e| about(path, "cannot open model", e))?;
    if let Some(refused) = model.cache_refused() {
        say!("carat: warning: {}, going on without it", crate::sentence(refused));
    }
    Ok(model)
}

/// Loads a model with the drafter that `engine` means, if it and the session that is planned have
/// room. One that lies beside the model,
/// was not named and cannot be used is left aside, since answers are the same without it.
pub(crate) fn with_drafter(
    chosen: &Chosen,
    engine: &EngineArgs,
    projector: Option<&Path>,
    cache: Option<&Path>,
    planned: Planned,
) -> Result<Model> {
    let drafter = engine.drafter(chosen);
    memory::check(chosen, engine, projector, drafter.as_deref(), planned)?;
    let opened = chosen.open(engine.open(projector, cache, drafter.as_deref()));
    let is_drafter =
        |e: &anyhow::Error| matches!(e.downcast_ref(), Some(carat::Error::Drafter { .. }));
    match opened {
        Err(e) if !engine.names_drafter() && is_drafter(&e) => {
            say!("carat: warning: {}, going on without it", crate::sentence(e.as_ref()));
            chosen.open(engine.open(projector, cache, None))
        }
        opened => opened,
    }
}

/// Starts a session, which Ctrl-C ends during an answer; what goes wrong is most often the memory
/// for `config.context` tokens.
pub(crate) fn session(model: &Model, config: SessionConfig) -> Result<Session> {
    let mut session = Session::new(model, config).context("cannot start a session")?;
    session.set_cancel(interrupt::stop());
    Ok(session)
}

/// The tokenizer alone: nothing but metadata is read, so a vocabulary without weights is enough.
pub(crate) fn tokenizer(model: &Chosen) -> Result<Tokenizer> {
    model.header("cannot read the vocabulary of", |gguf| Ok(Tokenizer::from_gguf(gguf)?))
}

/// Whether a model has a chat template; nothing but metadata is read.
pub(crate) fn has_chat_template(model: &Chosen) -> Result<bool> {
    let has =
        |gguf: &Gguf<'_>| Ok(gguf.metadata().opt_string("tokenizer.chat_template")?.is_some());
    model.header("cannot open model", has)
}

/// The error after `what` and the path, unless it names the path itself.
pub(crate) fn about(path: &Path, what: &str, e: impl Into<anyhow::Error>) -> anyhow::Error {
    let (e, path) = (e.into(), path.display().to_string());
    if e.to_string().contains(&path) { e } else { e.context(format!("{what} {path}")) }
}

/// The text of the file at `path`.
pub(crate) fn text(path: &Path) -> Result<String> {
    let read = || -> Result<String> {
        let bytes = fs::read(path)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(e) => {
                bail!("it is no UTF-8 text, see byte {}", e.utf8_error().valid_up_to())
            }
        }
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// The chat template in the file at `path`, if one is named.
pub(crate) fn chat_template(path: Option<&Path>) -> Result<Option<ChatTemplate>> {
    let load = |path: &Path| {
        ChatTemplate::new(&text(path)?)
            .with_context(|| format!("cannot use the chat template {}", path.display()))
    };
    path.map(load).transpose()
}

/// The JSON in the file at `path`.
pub(crate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&text(path)?)
        .with_context(|| format!("cannot use {} as input", path.display()))
}

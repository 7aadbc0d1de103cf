//! What a drafter file is made for, and which ones lie beside a model.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use carat::{DrafterConfig, LayerKind, drafters_beside};
use carat_gguf::Gguf;
use serde_json::{Value, json};

/// What a file has to do with drafting.
pub(super) enum Drafting {
    /// It is a drafter itself, or is one by name and cannot be used.
    Drafter(Box<Result<DrafterConfig, carat::Error>>),
    /// It is a model that could have one; these lie beside it and fit.
    Beside(Vec<PathBuf>),
    /// Neither.
    None,
}

impl Drafting {
    pub(super) fn of(gguf: &Gguf<'_>, path: &Path) -> Self {
        match gguf.metadata().opt_string("general.architecture") {
            Ok(Some("gemma4")) => Self::Beside(drafters_beside(path).unwrap_or_default()),
            Ok(Some(name)) if DrafterConfig::is_architecture(name) => {
                Self::Drafter(Box::new(DrafterConfig::from_gguf(gguf).map_err(Into::into)))
            }
            _ => Self::None,
        }
    }

    /// Whether the file is a drafter that can be used, with a model that it fits.
    pub(super) fn is_drafter(&self) -> bool {
        matches!(self, Self::Drafter(config) if config.is_ok())
    }

    /// The drafter that would be used.
    pub(super) fn beside(&self) -> Option<&Path> {
        match self {
            Self::Beside(found) => found.first().map(PathBuf::as_path),
            Self::Drafter(_) | Self::None => None,
        }
    }

    pub(super) fn show(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Drafter(config) => match &**config {
                Ok(config) => show(out, config),
                Err(e) => writeln!(out, "\nDrafter that cannot be used: {}", crate::sentence(e)),
            },
            Self::Beside(found) if found.is_empty() => Ok(()),
            Self::Beside(found) => {
                writeln!(out, "\nDrafter beside the model: {}", names(found).join(", "))
            }
            Self::None => Ok(()),
        }
    }

    /// `drafter` and `drafters_beside` of the report for programs.
    pub(super) fn json(&self) -> (Value, Value) {
        match self {
            Self::Drafter(config) => match &**config {
                Ok(config) => (facts(config), Value::Null),
                Err(e) => (json!({ "reason": crate::sentence(e) }), Value::Null),
            },
            Self::Beside(found) => (Value::Null, json!(names(found))),
            Self::None => (Value::Null, Value::Null),
        }
    }
}

fn show(out: &mut impl Write, config: &DrafterConfig) -> io::Result<()> {
    let DrafterConfig { vocab, hidden, target_hidden, .. } = config;
    writeln!(
        out,
        "\nDrafter: guesses tokens ahead for the model it belongs to, named with --draft"
    )?;
    writeln!(out, "  for a model of width {target_hidden} and {vocab} tokens, own width {hidden}")?;
    let (sliding, full) = layers(config);
    let window = config.window.map_or(String::new(), |window| format!(" over {window} positions"));
    writeln!(out, "  layers: {sliding} sliding{window}, {full} full")?;
    match config.clusters {
        Some(count) if config.has_ordered_head => {
            let used = config.clusters_used;
            writeln!(out, "  output head in {count} clusters, of which {used} are looked at")
        }
        _ => Ok(()),
    }
}

fn facts(config: &DrafterConfig) -> Value {
    let (sliding, full) = layers(config);
    json!({
        "target_hidden": config.target_hidden,
        "hidden": config.hidden,
        "vocab": config.vocab,
        "window": config.window,
        "sliding_layers": sliding,
        "full_layers": full,
        "clusters": config.clusters.filter(|_| config.has_ordered_head),
        "ignored_keys": config.ignored_keys,
    })
}

/// Sliding and full layers.
fn layers(config: &DrafterConfig) -> (usize, usize) {
    let sliding = config.layers.iter().filter(|layer| layer.kind == LayerKind::Sliding).count();
    (sliding, config.layers.len() - sliding)
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

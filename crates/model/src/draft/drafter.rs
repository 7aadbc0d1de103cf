//! The drafter file: a small network that guesses the next tokens of one model.
//!
//! Whether it belongs to the model is checked when both are opened: widths, vocabulary, heads and
//! window. A drafter never changes what is said, so one that was trained for another model of the
//! same shape is merely of no use.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use carat_gguf::{Gguf, Source};
use rayon::ThreadPool;

use super::tensors::{self, DrafterWeights};
use crate::config::drafter::DrafterConfig;
use crate::config::{Config, LayerKind};
use crate::error::{Error, Result};
use crate::model_file::ModelFileError;
use crate::text::rope;
use crate::weights;

/// A drafter that is ready to be used.
#[derive(Debug)]
pub(crate) struct Drafter {
    pub(crate) weights: DrafterWeights,
    /// RoPE frequencies, `head_dim / 2` each.
    frequencies_sliding: Vec<f32>,
    frequencies_full: Vec<f32>,
    /// The model's last sliding and last full layer of those with keys of their own.
    source_sliding: usize,
    source_full: usize,
    pub(crate) shape: DrafterShape,
}

/// What a drafter adds to a session, known without loading it.
#[derive(Clone, Debug)]
pub(crate) struct DrafterShape {
    /// The drafter as a decoder; its layers have the key heads of the model's.
    pub(crate) config: Config,
    /// Length of the model's residual stream.
    pub(crate) target_hidden: usize,
    /// Clusters of tokens that an ordered head has, looks at, and the tokens of each.
    pub(crate) clusters: Option<Clusters>,
    /// Bytes of its weights in memory.
    pub(crate) bytes: u64,
}

/// The numbers of an ordered head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clusters {
    /// How many there are.
    pub(crate) count: usize,
    /// How many of them are looked at, the likeliest ones.
    pub(crate) used: usize,
    /// Tokens of each.
    pub(crate) tokens: usize,
}

impl DrafterShape {
    /// The shape of the drafter in a file, for a model of the shape `target`.
    ///
    /// # Errors
    /// If the file is no drafter, or one for another model, or its tensors are not those that its
    /// metadata promises.
    pub(crate) fn of(gguf: &Gguf<'_>, target: &Config) -> Result<Self> {
        Ok(Self::with_order(gguf, target)?.0)
    }

    /// The shape, and the tokens cluster by cluster where the head is ordered.
    fn with_order(gguf: &Gguf<'_>, target: &Config) -> Result<(Self, Option<tensors::Order>)> {
        weights::check_endian(gguf)?;
        let drafter = DrafterConfig::from_gguf(gguf)?;
        let config = drafter.fit(target)?;
        let bytes = tensors::check(gguf, &config, target.hidden)?;
        let order = tensors::order(gguf, &drafter)?;
        let bytes = bytes + order.as_ref().map_or(0, |order| order.bytes);
        let clusters = order.as_ref().map(|order| order.clusters);
        Ok((Self { config, target_hidden: target.hidden, clusters, bytes }, order))
    }
}

impl Drafter {
    /// Opens a drafter file for the model in the file `target`, whose shape is `config`.
    ///
    /// # Errors
    /// If the file cannot be read, is no drafter, or belongs to another model, or if `progress`
    /// breaks off, which hears how many bytes of how many have been read.
    pub(crate) fn open(
        path: &Path,
        target: &Gguf<'_>,
        config: &Config,
        pool: &ThreadPool,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Self> {
        let source = Source::open(path)?;
        Self::load(&source.parse()?, target, config, pool, progress)
            .map_err(|source| about(path, source))
    }

    /// [`Drafter::open`] of a file in memory.
    pub(crate) fn from_bytes(
        bytes: &'static [u8],
        target: &Gguf<'_>,
        config: &Config,
        pool: &ThreadPool,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Self> {
        Self::load(&Gguf::parse(bytes)?, target, config, pool, progress)
            .map_err(|source| about(Path::new("in memory"), source))
    }

    fn load(
        gguf: &Gguf<'_>,
        target: &Gguf<'_>,
        target_config: &Config,
        pool: &ThreadPool,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Self> {
        let (shape, order) = DrafterShape::with_order(gguf, target_config)?;
        same_tokens(gguf, target)?;
        let config = &shape.config;
        let weights = DrafterWeights::load(gguf, config, order, pool, progress)?;
        let frequencies = |kind, divisors| {
            let dim = config.layers.iter().find(|l| l.kind == kind).map_or(0, |l| l.head_dim);
            rope::frequencies(config.rope(kind), dim, divisors)
        };
        // A kind that the model does not have is none that a layer of a fitting drafter has.
        let own = target_config.own_layers();
        let last = |kind| own.iter().rposition(|l| l.kind == kind).unwrap_or(0);
        Ok(Self {
            frequencies_sliding: frequencies(LayerKind::Sliding, None),
            frequencies_full: frequencies(LayerKind::Full, weights.rope_divisors.as_deref()),
            source_sliding: last(LayerKind::Sliding),
            source_full: last(LayerKind::Full),
            weights,
            shape,
        })
    }

    pub(crate) fn frequencies(&self, kind: LayerKind) -> &[f32] {
        match kind {
            LayerKind::Sliding => &self.frequencies_sliding,
            LayerKind::Full => &self.frequencies_full,
        }
    }

    /// The layer of the model whose keys and values layers of this kind read.
    pub(crate) fn source(&self, kind: LayerKind) -> usize {
        match kind {
            LayerKind::Sliding => self.source_sliding,
            LayerKind::Full => self.source_full,
        }
    }
}

/// The error of a drafter file, unless it is none of the file's.
fn about(path: &Path, source: Error) -> Error {
    match source {
        Error::Cancelled { .. } => source,
        source => Error::Drafter { path: path.to_owned(), source: Box::new(source) },
    }
}

/// The drafter files that lie beside a model file and were made for a model of its shape and
/// vocabulary, the smallest first. A file is looked into if its name says that it drafts
/// (`assistant`, `draft` or `mtp`); what it is, its metadata tell.
///
/// # Errors
/// If the folder cannot be read, or the model file cannot be used.
pub fn drafters_beside(model: &Path) -> Result<Vec<PathBuf>> {
    let source = Source::open(model)?;
    let found = candidates(model).map_err(|e| cannot_list(model, e))?;
    if found.is_empty() {
        return Ok(found);
    }
    let target = source.parse()?;
    let config = Config::from_gguf(&target)?;
    let bytes = |path: &Path| -> Result<u64> {
        let source = Source::open(path)?;
        let gguf = source.parse()?;
        let shape = DrafterShape::of(&gguf, &config)?;
        same_tokens(&gguf, &target)?;
        Ok(shape.bytes)
    };
    // What is refused is no drafter of this model, whatever else it may be.
    let sized = found.into_iter().filter_map(|path| Some((bytes(&path).ok()?, path)));
    let mut fitting: Vec<(u64, PathBuf)> = sized.collect();
    fitting.sort();
    Ok(fitting.into_iter().map(|(_, path)| path).collect())
}

/// The files beside a model whose names say that they draft.
fn candidates(model: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = match model.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if Some(name) == model.file_name() {
            continue;
        }
        let name = name.to_string_lossy().to_lowercase();
        let drafts = ["assistant", "draft", "mtp"].iter().any(|word| name.contains(word));
        if drafts && name.ends_with(".gguf") && !name.starts_with("mmproj") && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

fn cannot_list(model: &Path, source: io::Error) -> Error {
    let path = model.parent().unwrap_or(Path::new(".")).to_owned();
    carat_gguf::Error::Io { path, source }.into()
}

/// Compares the lists of tokens, where the drafter's file has one.
fn same_tokens(drafter: &Gguf<'_>, target: &Gguf<'_>) -> Result<()> {
    if !drafter.metadata().contains_key(TOKENS) {
        return Ok(());
    }
    let (found, wanted) = (drafter.metadata().strings(TOKENS)?, target.metadata().strings(TOKENS)?);
    let mismatch =
        |what, found, wanted| Err(ModelFileError::DrafterMismatch { what, found, wanted }.into());
    if found.len() != wanted.len() {
        let (found, wanted) = (found.len().to_string(), wanted.len().to_string());
        return mismatch("with a list of tokens of length", found, wanted);
    }
    match found.zip(wanted).enumerate().find(|(_, (found, wanted))| found != wanted) {
        None => Ok(()),
        Some((id, (found, wanted))) => {
            let short = |text: &str| format!("{:?}", text.chars().take(40).collect::<String>());
            mismatch("with the token", format!("{id} {}", short(found)), short(wanted))
        }
    }
}

const TOKENS: &str = "tokenizer.ggml.tokens";

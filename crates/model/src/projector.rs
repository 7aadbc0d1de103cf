//! The projector file (`mmproj`): what turns pictures and sound into rows of the decoder.
//!
//! A projector belongs to one text model. Whether two files fit is checked when they are opened:
//! the lengths of their vectors, and that the vocabulary has the tokens that stand for media.

use std::path::{Path, PathBuf};

use carat_gguf::{Gguf, Source};
use rayon::ThreadPool;

use crate::TokenId;
use crate::audio::Audio;
use crate::error::{Error, Result};
use crate::identity::Origin;
use crate::model_file::ModelFileError;
use crate::tokenizer::Tokenizer;
use crate::vision::Vision;
use crate::weights::{self, Matrix};

/// What a model sees and hears with.
#[derive(Debug)]
pub(crate) struct Projector {
    pub(crate) vision: Option<(Vision, MediaTokens)>,
    pub(crate) audio: Option<(Audio, MediaTokens)>,
    pub(crate) shape: ProjectorShape,
    pub(crate) origin: Origin,
}

/// What a projector adds to a session, known without loading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProjectorShape {
    /// Length of a patch's embedding, if the projector sees.
    pub(crate) vision: Option<usize>,
    /// Whether it hears.
    pub(crate) audio: bool,
    /// Bytes of its weights in memory.
    pub(crate) bytes: u64,
}

impl ProjectorShape {
    /// The shape of the projector in a file. Its tensors are not compared with anything yet.
    ///
    /// # Errors
    /// If the file is no projector, or a key or tensor of its senses is missing.
    pub(crate) fn of(gguf: &Gguf<'_>) -> Result<Self> {
        weights::check_endian(gguf)?;
        let architecture = gguf.metadata().string("general.architecture")?;
        if architecture != "clip" {
            return Err(not_a_projector(architecture).into());
        }
        let has = |key| Ok::<_, Error>(gguf.metadata().opt_boolean(key)?.unwrap_or(false));
        let (vision, audio) = (has("clip.has_vision_encoder")?, has("clip.has_audio_encoder")?);
        let bytes = gguf.tensors().iter().map(weights::bytes_in_memory).sum::<Result<_>>()?;
        let length = || weights::rows(gguf, PATCH_EMBEDDING);
        Ok(Self { vision: vision.then(length).transpose()?, audio, bytes })
    }
}

fn not_a_projector(architecture: &str) -> ModelFileError {
    ModelFileError::OtherFile {
        what: format!("no projector but a file of architecture {architecture:?}"),
        problem: "has nothing to turn pictures and sound into input with".to_owned(),
        hint: "name the mmproj file that belongs to the model",
    }
}

/// The tokens around a medium, and the one that stands for each of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaTokens {
    /// Opens it.
    pub(crate) begin: TokenId,
    /// Takes the place of one row.
    pub(crate) soft: TokenId,
    /// Closes it.
    pub(crate) end: TokenId,
}

impl Projector {
    /// Opens a projector file for a decoder of `hidden` values.
    ///
    /// # Errors
    /// If the file cannot be read, is no projector, or belongs to another model.
    pub(crate) fn open(
        path: &Path,
        hidden: usize,
        tokenizer: &Tokenizer,
        pool: &ThreadPool,
    ) -> Result<Self> {
        let source = Source::open(path)?;
        let gguf = source.parse()?;
        let file = ProjectorFile { gguf: &gguf, pool };
        Self::load(&file, hidden, tokenizer, Origin::new(&source)?)
            .map_err(|source| Error::Projector { path: path.to_owned(), source: Box::new(source) })
    }

    /// [`Projector::open`] of a file in memory.
    pub(crate) fn from_bytes(
        bytes: &'static [u8],
        hidden: usize,
        tokenizer: &Tokenizer,
        pool: &ThreadPool,
    ) -> Result<Self> {
        let file = ProjectorFile { gguf: &Gguf::parse(bytes)?, pool };
        Self::load(&file, hidden, tokenizer, Origin::memory(bytes)).map_err(|source| {
            Error::Projector { path: PathBuf::from("in memory"), source: Box::new(source) }
        })
    }

    fn load(
        file: &ProjectorFile<'_>,
        hidden: usize,
        tokenizer: &Tokenizer,
        origin: Origin,
    ) -> Result<Self> {
        let gguf = file.gguf;
        let shape = ProjectorShape::of(gguf)?;
        let vision = match shape.vision.is_some() {
            true => Some((
                Vision::load(file, hidden)?,
                media_tokens(tokenizer, ["<|image>", "<|image|>", "<image|>"])?,
            )),
            false => None,
        };
        let audio = match shape.audio {
            true => Some((
                Audio::load(file, hidden)?,
                media_tokens(tokenizer, ["<|audio>", "<|audio|>", "<audio|>"])?,
            )),
            false => None,
        };
        if let Some(t) = file.gguf.tensors().iter().find(|t| !TENSORS.contains(&t.name)) {
            return Err(ModelFileError::UnknownTensor { name: t.name.to_owned() }.into());
        }
        Ok(Self { vision, audio, shape, origin })
    }
}

/// The projector files (`*mmproj*.gguf`) that lie beside a model file, by name.
///
/// # Errors
/// If the folder cannot be read.
pub fn beside(model: &Path) -> std::io::Result<Vec<PathBuf>> {
    let folder = match model.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.contains("mmproj") && name.ends_with(".gguf") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn media_tokens(tokenizer: &Tokenizer, names: [&'static str; 3]) -> Result<MediaTokens> {
    let id = |name| tokenizer.special(name).ok_or(ModelFileError::MediaToken { name });
    let [begin, soft, end] = names;
    Ok(MediaTokens { begin: id(begin)?, soft: id(soft)?, end: id(end)? })
}

/// A projector file while it is being read.
pub(crate) struct ProjectorFile<'a> {
    gguf: &'a Gguf<'a>,
    pool: &'a ThreadPool,
}

impl ProjectorFile<'_> {
    /// The key that says how a sense works, which must be this way.
    pub(crate) fn expect_kind(&self, key: &str, wanted: &str) -> Result<()> {
        let found = self.gguf.metadata().string(key)?;
        // The encoders of E2B, E4B, 26B-A4B and 31B.
        if matches!(found, "gemma4v" | "gemma4a") {
            let encoder = ModelFileError::OtherFile {
                what: format!("a projector with an encoder ({key} is {found})"),
                problem: "this version does not run".to_owned(),
                hint: "the projector of Gemma 4 12B has none",
            };
            return Err(encoder.into());
        }
        self.expect(key, found == wanted, format!("{found:?}"), format!("{wanted:?}"))
    }

    /// A key that must have this value.
    pub(crate) fn expect_uint(&self, key: &str, wanted: u64) -> Result<()> {
        let found = self.gguf.metadata().uint(key)?;
        self.expect(key, found == wanted, found.to_string(), wanted.to_string())
    }

    fn expect(&self, key: &str, ok: bool, found: String, wanted: String) -> Result<()> {
        let wrong = || ModelFileError::Value { key: key.to_owned(), found, wanted };
        if ok { Ok(()) } else { Err(wrong().into()) }
    }

    /// A small positive number.
    pub(crate) fn float(&self, key: &str) -> Result<f32> {
        let found = self.gguf.metadata().float(key)? as f32;
        self.expect(key, found > 0.0 && found < 1.0, found.to_string(), "0 to 1".to_owned())?;
        Ok(found)
    }

    /// The second dimension of a tensor.
    pub(crate) fn rows(&self, name: &str) -> Result<usize> {
        weights::rows(self.gguf, name)
    }

    /// All values of a tensor of this shape, as f32.
    pub(crate) fn vector(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        weights::check_shape(self.gguf, name, weights::shape(dims))?;
        weights::vector(self.gguf, name)
    }

    /// The matrix of `cols` inputs whose outputs are rows of the decoder, of `hidden` values.
    pub(crate) fn projection(&self, name: &str, cols: usize, hidden: usize) -> Result<Matrix> {
        let found = self.rows(name)?;
        if found != hidden {
            return Err(ModelFileError::ProjectorRows { found, wanted: hidden }.into());
        }
        self.matrix(name, cols, hidden)
    }

    /// A matrix of `rows` outputs and `cols` inputs.
    pub(crate) fn matrix(&self, name: &str, cols: usize, rows: usize) -> Result<Matrix> {
        weights::check_shape(self.gguf, name, weights::shape(&[cols, rows]))?;
        weights::matrix(self.gguf, name, self.pool)
    }
}

/// The matrix whose rows are the values of a patch's embedding.
const PATCH_EMBEDDING: &str = "v.patch_embd.weight";

/// Everything that a projector of Gemma 4 12B holds.
const TENSORS: [&str; 11] = [
    PATCH_EMBEDDING,
    "v.patch_embd.bias",
    "v.patch_norm.1.weight",
    "v.patch_norm.1.bias",
    "v.patch_norm.2.weight",
    "v.patch_norm.2.bias",
    "v.patch_norm.3.weight",
    "v.patch_norm.3.bias",
    "v.position_embd.weight",
    "mm.input_projection.weight",
    "mm.a.input_projection.weight",
];

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
use crate::tokenizer::Tokenizer;
use crate::vision::Vision;
use crate::weights::{self, Matrix};

/// What a model sees and hears with.
#[derive(Debug)]
pub(crate) struct Projector {
    pub(crate) vision: Option<(Vision, MediaTokens)>,
    pub(crate) audio: Option<(Audio, MediaTokens)>,
    pub(crate) bytes: u64,
    pub(crate) origin: Origin,
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

    fn load(
        file: &ProjectorFile<'_>,
        hidden: usize,
        tokenizer: &Tokenizer,
        origin: Origin,
    ) -> Result<Self> {
        let gguf = file.gguf;
        weights::check_endian(gguf)?;
        file.expect_string("general.architecture", "clip")?;
        let has = |key| Ok::<_, Error>(gguf.metadata().opt_boolean(key)?.unwrap_or(false));
        let vision = match has("clip.has_vision_encoder")? {
            true => Some((
                Vision::load(file, hidden)?,
                media_tokens(tokenizer, ["<|image>", "<|image|>", "<image|>"])?,
            )),
            false => None,
        };
        let audio = match has("clip.has_audio_encoder")? {
            true => Some((
                Audio::load(file, hidden)?,
                media_tokens(tokenizer, ["<|audio>", "<|audio|>", "<audio|>"])?,
            )),
            false => None,
        };
        let bytes = gguf.tensors().iter().map(|t| t.data.len() as u64).sum();
        Ok(Self { vision, audio, bytes, origin })
    }
}

/// The projector files (`mmproj*.gguf`) that lie beside a model file, by name.
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
        if name.starts_with("mmproj") && name.ends_with(".gguf") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn media_tokens(tokenizer: &Tokenizer, names: [&'static str; 3]) -> Result<MediaTokens> {
    let id = |name| tokenizer.special(name).ok_or(Error::MediaToken { name });
    let [begin, soft, end] = names;
    Ok(MediaTokens { begin: id(begin)?, soft: id(soft)?, end: id(end)? })
}

/// A projector file while it is being read.
pub(crate) struct ProjectorFile<'a> {
    gguf: &'a Gguf<'a>,
    pool: &'a ThreadPool,
}

impl ProjectorFile<'_> {
    /// A key that must have this value.
    pub(crate) fn expect_string(&self, key: &str, wanted: &str) -> Result<()> {
        let found = self.gguf.metadata().string(key)?;
        self.expect(key, found == wanted, format!("{found:?}"), format!("{wanted:?}"))
    }

    /// A key that must have this value.
    pub(crate) fn expect_uint(&self, key: &str, wanted: u64) -> Result<()> {
        let found = self.gguf.metadata().uint(key)?;
        self.expect(key, found == wanted, found.to_string(), wanted.to_string())
    }

    fn expect(&self, key: &str, ok: bool, found: String, wanted: String) -> Result<()> {
        if ok { Ok(()) } else { Err(Error::Value { key: key.to_owned(), found, wanted }) }
    }

    /// A small positive number.
    pub(crate) fn float(&self, key: &str) -> Result<f32> {
        let found = self.gguf.metadata().float(key)? as f32;
        self.expect(key, found > 0.0 && found < 1.0, found.to_string(), "0 to 1".to_owned())?;
        Ok(found)
    }

    /// The second dimension of a tensor.
    pub(crate) fn rows(&self, name: &str) -> Result<usize> {
        let shape = &weights::find(self.gguf, name)?.shape;
        Ok(shape.get(1).map_or(1, |rows| *rows as usize))
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
            return Err(Error::ProjectorRows { found, wanted: hidden });
        }
        self.matrix(name, cols, hidden)
    }

    /// A matrix of `rows` outputs and `cols` inputs.
    pub(crate) fn matrix(&self, name: &str, cols: usize, rows: usize) -> Result<Matrix> {
        weights::check_shape(self.gguf, name, weights::shape(&[cols, rows]))?;
        weights::matrix(self.gguf, name, self.pool)
    }
}

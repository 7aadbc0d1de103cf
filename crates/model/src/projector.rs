//! The projector file (`mmproj`): what turns pictures and sound into rows of the decoder.
//!
//! A projector belongs to one text model. Whether two files fit is checked when they are opened:
//! the lengths of their vectors, and that the vocabulary has the tokens that stand for media.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use carat_gguf::{Gguf, Source};
use rayon::ThreadPool;

use crate::TokenId;
use crate::audio::{Audio, AudioShape};
use crate::error::{Error, Result};
use crate::identity::Origin;
use crate::model_file::ModelFileError;
use crate::tokenizer::Tokenizer;
use crate::vision::{Vision, VisionShape};
use crate::weights::{self, Matrix};
use crate::words::head;

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
    /// What it sees with, if it does.
    pub(crate) vision: Option<VisionShape>,
    /// What it hears with, if it does.
    pub(crate) audio: Option<AudioShape>,
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
        let audio = audio.then(|| AudioShape::of(gguf)).transpose()?;
        let is_kept = |name: &str| !audio.is_some_and(|audio| audio.is_folded(name));
        let kept = gguf.tensors().iter().filter(|tensor| is_kept(tensor.name));
        let bytes = kept.map(weights::bytes_in_memory).sum::<Result<_>>()?;
        let seen = || VisionShape::of(gguf);
        Ok(Self { vision: vision.then(seen).transpose()?, audio, bytes })
    }
}

fn not_a_projector(architecture: &str) -> ModelFileError {
    ModelFileError::OtherFile {
        what: format!("no projector but a file of architecture {:?}", head(architecture)),
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
        let file = ProjectorFile::new(&gguf, pool);
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
        let gguf = Gguf::parse(bytes)?;
        let file = ProjectorFile::new(&gguf, pool);
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
        let audio = match shape.audio.is_some() {
            true => Some((
                Audio::load(file, hidden)?,
                media_tokens(tokenizer, ["<|audio>", "<|audio|>", "<audio|>"])?,
            )),
            false => None,
        };
        file.check_all_is_read(shape)?;
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

/// How a sense works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Products alone; the decoder does the rest (12B).
    Unified,
    /// An encoder of its own (E2B, E4B, 26B-A4B, 31B).
    Tower,
}

impl Kind {
    /// How the projector in a file sees.
    ///
    /// # Errors
    /// If the file does not say it, or says something else.
    pub(crate) fn of_vision(gguf: &Gguf<'_>) -> Result<Self> {
        Self::of(gguf, "clip.vision.projector_type", ["gemma4uv", "gemma4v"])
    }

    /// How the projector in a file hears.
    ///
    /// # Errors
    /// As [`Kind::of_vision`].
    pub(crate) fn of_audio(gguf: &Gguf<'_>) -> Result<Self> {
        Self::of(gguf, "clip.audio.projector_type", ["gemma4ua", "gemma4a"])
    }

    fn of(gguf: &Gguf<'_>, key: &str, [unified, tower]: [&str; 2]) -> Result<Self> {
        let found = gguf.metadata().string(key)?;
        if found == unified {
            return Ok(Self::Unified);
        }
        let wanted = || format!("{unified:?} or {tower:?}");
        expect(key, found == tower, || format!("{found:?}"), wanted)?;
        Ok(Self::Tower)
    }
}

/// Refuses the value of a key or of a bound, with what was wanted instead.
pub(crate) fn expect(
    key: &str,
    ok: bool,
    found: impl Fn() -> String,
    wanted: impl Fn() -> String,
) -> Result<()> {
    let wrong = || ModelFileError::Value { key: key.to_owned(), found: found(), wanted: wanted() };
    if ok { Ok(()) } else { Err(wrong().into()) }
}

/// A key that must be a number of 1 to `most`.
pub(crate) fn uint(gguf: &Gguf<'_>, key: &str, most: usize) -> Result<usize> {
    let found = gguf.metadata().uint(key)?;
    let (is_right, wanted) = ((1..=most as u64).contains(&found), || format!("1 to {most}"));
    expect(key, is_right, || found.to_string(), wanted)?;
    Ok(found as usize)
}

/// A projector file while it is being read.
pub(crate) struct ProjectorFile<'a> {
    pub(crate) gguf: &'a Gguf<'a>,
    pool: &'a ThreadPool,
    /// The tensors that a sense has asked for.
    read: RefCell<HashSet<String>>,
}

impl<'a> ProjectorFile<'a> {
    /// A file of which nothing is read yet; `pool` repacks its matrices.
    pub(crate) fn new(gguf: &'a Gguf<'a>, pool: &'a ThreadPool) -> Self {
        Self { gguf, pool, read: RefCell::default() }
    }

    /// Refuses a file with a tensor that no sense has asked for. The tensors of a sense that the
    /// file says it does not have are not looked at.
    fn check_all_is_read(&self, shape: ProjectorShape) -> Result<()> {
        let read = self.read.borrow();
        let is_unknown = |name: &str| {
            let is_heard = ["a.", "mm.a."].iter().any(|part| name.starts_with(part));
            let is_seen = !is_heard && ["v.", "mm."].iter().any(|part| name.starts_with(part));
            let is_left =
                (is_heard && shape.audio.is_none()) || (is_seen && shape.vision.is_none());
            !is_left && !read.contains(name)
        };
        match self.gguf.tensors().iter().find(|t| is_unknown(t.name)) {
            Some(t) => Err(ModelFileError::UnknownTensor { name: t.name.to_owned() }.into()),
            None => Ok(()),
        }
    }

    fn note(&self, name: &str) {
        self.read.borrow_mut().insert(name.to_owned());
    }

    /// A key that must have this value.
    pub(crate) fn expect_uint(&self, key: &str, wanted: u64) -> Result<()> {
        let found = self.gguf.metadata().uint(key)?;
        expect(key, found == wanted, || found.to_string(), || wanted.to_string())
    }

    /// A small positive number.
    pub(crate) fn float(&self, key: &str) -> Result<f32> {
        let found = self.gguf.metadata().float(key)? as f32;
        let is_small = found > 0.0 && found < 1.0;
        expect(key, is_small, || found.to_string(), || "0 to 1".to_owned())?;
        Ok(found)
    }

    /// The second dimension of a tensor.
    pub(crate) fn rows(&self, name: &str) -> Result<usize> {
        weights::rows(self.gguf, name)
    }

    /// Whether the file has a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// All values of a tensor of this shape, as f32.
    pub(crate) fn vector(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        self.note(name);
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
        self.note(name);
        weights::check_shape(self.gguf, name, weights::shape(&[cols, rows]))?;
        weights::matrix(self.gguf, name, self.pool)
    }

    /// A tensor of this shape as a matrix of f32: its last dimension are the rows, all others the
    /// columns.
    pub(crate) fn flattened(&self, name: &str, dims: &[usize]) -> Result<Matrix> {
        let cols = dims[..dims.len() - 1].iter().product();
        weights::of_values(&self.vector(name, dims)?, cols)
    }

    /// A bound of values: a tensor with one number, `without` where the file has none.
    ///
    /// # Errors
    /// If it is neither finite nor `without`, the infinity that bounds nothing.
    pub(crate) fn bound(&self, name: &str, without: f32) -> Result<f32> {
        let Some(tensor) = self.gguf.tensor(name) else { return Ok(without) };
        self.note(name);
        weights::check_shape(self.gguf, name, weights::shape(&[1]))?;
        let found = weights::values(self.gguf, tensor)?[0];
        let wanted = || format!("a finite number or {without}");
        expect(name, found.is_finite() || found == without, || found.to_string(), wanted)?;
        Ok(found)
    }
}

/// The bounds that values are held to: none where both are infinite.
///
/// # Errors
/// If the lower bound is above the upper one.
pub(crate) fn bounds(file: &ProjectorFile<'_>, name: &str) -> Result<Option<[f32; 2]>> {
    let (low, high) = (format!("{name}_min"), format!("{name}_max"));
    let min = file.bound(&low, f32::NEG_INFINITY)?;
    let max = file.bound(&high, f32::INFINITY)?;
    expect(&low, min <= max, || min.to_string(), || format!("at most {high}, {max},"))?;
    Ok((min > f32::NEG_INFINITY || max < f32::INFINITY).then_some([min, max]))
}

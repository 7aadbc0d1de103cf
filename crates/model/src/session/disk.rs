//! Conversations on disk: a session is saved with its keys and values, so that going on with it
//! costs a read and no evaluation.
//!
//! ```text
//! 0    16 bytes   MAGIC
//! 16   u32        version of the format: 1
//! 20   u32        type of keys and values: 0 F32, 1 F16, 2 Q8 (`KvType`)
//! 24   32 bytes   identity of the model
//! 56   32 bytes   identity of the projector; zeros where there are no media
//! 88   u64        T, the tokens of the conversation
//! 96   u64        N, those of them whose keys and values are here, the first ones
//! 104  u64        O, the first position that sliding layers still hold
//! 112  u32        number of media
//! 116  u32        number of marks
//! 120  u32, u32   why generation ended: 0 it did not, 1 the model chose the token that follows,
//!                 2 the context was full; 0 follows but for 1
//! 128  u32        1 if the residual row of token N is here, otherwise 0
//! 132  u32        H, the values of such a row
//! 136  u32        W, the window of sliding layers
//! 140  u32        pairs of a full layer's key that turn, where the others are not stored; 0 where
//!                 keys are whole
//! 144  u32        number of layers with keys and values of their own
//! 148  zeros
//! 152  u64        bytes of the caller's own section; 0 where there is none
//! 160  u64 × 5    bytes of the five sections without their hashes
//! 200  32 bytes   hash
//! ```
//!
//! The sections follow, each with a hash at its end. A hash is the BLAKE3 hash of *all* bytes
//! before it, so no section can come from another file. All numbers are little-endian.
//!
//! 1. *Layers*, for each of these `u32` 0 sliding or 1 full, `u32` key heads, `u32` values of a
//!    head.
//! 2. *Tokens*, `u32` each.
//! 3. *Media*, for each `u32` 0 picture or 1 sound, `u32` 1 if its rows follow, `u64` position of
//!    its first token and `u64` of the one after its last, 32 bytes of its key; then its rows,
//!    H f32 for each token, which are there if one of these is not among the first N tokens.
//! 4. *Keys and values*: the residual row, if it is here, H f32; then layer by layer, and in each
//!    head by head, the keys and then the values of positions 0..N on full layers and O..N on
//!    sliding ones, as `KvType` stores a vector.
//! 5. *Marks* ([`Session::mark`]) in order, for each `u64` its position P, `u64` 1 if a residual
//!    row follows, that row, H f32, and then the keys and values of sliding layers as in section 4,
//!    of the last W - 1 positions before P, or of as many as there are.
//! 6. What the caller wants to keep with the session ([`Session::save_with`]), if there is some.
//!
//! What is read is compared with the model and the session's settings before memory is taken for
//! it, and keys and values are read into the pages of the cache. Whoever can write the file can
//! write hashes as well: these show damage, not malice. Such a file may hold other words than were
//! said, but nothing in it makes the engine panic.

mod error;
mod header;
mod stream;

use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use carat_gguf::PartFile;

use super::marks::Mark;
use super::{Placed, Session, SessionConfig, Stop, config};
use crate::TokenId;
use crate::error::Result;
use crate::model::Model;
use crate::pages::MemoryError;
use crate::text::MediaKey;
use crate::text::kv_cache::{KvType, skip};
use crate::vision::TOKENS_MAX;
pub use error::SavedSessionError;
use header::{Header, MAGIC, number, shapes};
use stream::{Input, Output};

impl Session {
    /// Saves the conversation, so that [`Session::restore`] can go on with it: its tokens, those
    /// that are not evaluated included, its media, keys and values, and marks. What belongs to the
    /// caller is not saved: the sampler's state, and a sound that a [`Listen`](super::Listen) has
    /// not finished.
    ///
    /// The file is written beside its place, under a name that ends in `.carat.part`, and gets its
    /// name once all of it is on the disk. A saved session that lies there stays until then, and
    /// gives the new one its permissions. The first call of a model that was opened without a cache
    /// file reads all of the model ([`Model::identity`]).
    ///
    /// # Errors
    /// [`SavedSessionError`] if something else lies there, or the system refuses to write; what
    /// lies there stays then. The errors of [`Model::identity`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_with(path, &[])
    }

    /// [`Session::save`] with bytes of the caller's own, which are written one piece after the
    /// other. [`Session::restore_with`] gives them back as one, [`Session::restore`] leaves them
    /// aside.
    ///
    /// # Errors
    /// As [`Session::save`].
    pub fn save_with(&self, path: impl AsRef<Path>, own: &[&[u8]]) -> Result<()> {
        let path = path.as_ref();
        let failed = |source| SavedSessionError::Write { path: Some(path.to_owned()), source };
        // A link stays one.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let before = saved_at(&place, path)?;
        let header = Header { own: own_bytes(own), ..self.header(self.sections())? };
        let part = PartFile::create(&place).map_err(failed)?;
        if let Some(before) = before {
            part.file().set_permissions(before.permissions()).map_err(failed)?;
        }
        let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, part.file());
        self.write(&header, own, Output::new(&mut buffered, Some(path)))?;
        buffered.flush().map_err(failed)?;
        drop(buffered);
        Ok(part.persist_synced(&place).map_err(failed)?)
    }

    /// Writes what [`Session::save`] saves.
    ///
    /// # Errors
    /// If it cannot be written, and the errors of [`Model::identity`].
    pub fn save_to(&self, out: &mut dyn Write) -> Result<()> {
        let header = self.header(self.sections())?;
        let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, out);
        self.write(&header, &[], Output::new(&mut buffered, None))?;
        let failed = |source| SavedSessionError::Write { path: None, source };
        Ok(buffered.flush().map_err(failed)?)
    }

    /// Starts a session that goes on with a saved conversation, with the bits that the saved
    /// session would have gone on with.
    ///
    /// Only [`SessionConfig::kv`] must be as it was. The context must hold the tokens; with a
    /// smaller rollback or fewer marks, what is too much is dropped. The first call of a model that
    /// was opened without a cache file reads all of the model ([`Model::identity`]).
    ///
    /// # Errors
    /// [`SavedSessionError`] if the file is no saved session of this model, or was changed, or
    /// cannot be read. The errors of [`Session::new`] and of [`Model::identity`].
    pub fn restore(model: &Model, path: impl AsRef<Path>, config: SessionConfig) -> Result<Self> {
        Ok(Self::restore_with(model, path, config)?.0)
    }

    /// [`Session::restore`], which also gives the bytes that [`Session::save_with`] was given.
    ///
    /// # Errors
    /// As [`Session::restore`].
    pub fn restore_with(
        model: &Model,
        path: impl AsRef<Path>,
        config: SessionConfig,
    ) -> Result<(Self, Vec<u8>)> {
        let path = path.as_ref();
        let (file, bytes) = open(path)?;
        let mut buffered = BufReader::with_capacity(BUFFER_BYTES, file);
        Self::read(model, &mut Input::new(&mut buffered, Some(path)), Some(bytes), config)
    }

    /// What the header of a saved session says, for whoever must choose a context or a projector
    /// before the model is open.
    ///
    /// # Errors
    /// [`SavedSessionError`] if the file is no saved session, or cannot be read.
    pub fn saved(path: impl AsRef<Path>) -> Result<SavedSession, SavedSessionError> {
        let path = path.as_ref();
        let (mut file, _) = open(path)?;
        let header = Header::read(&mut Input::new(&mut file, Some(path)))?;
        let tokens = usize::try_from(header.tokens).unwrap_or(usize::MAX);
        Ok(SavedSession { tokens, has_media: header.media > 0, kv: header.kv })
    }

    /// [`Session::restore`] of what [`Session::save_to`] wrote. What follows it is not read.
    ///
    /// # Errors
    /// As [`Session::restore`].
    pub fn restore_from(
        model: &Model,
        input: &mut dyn Read,
        config: SessionConfig,
    ) -> Result<Self> {
        Ok(Self::read(model, &mut Input::new(input, None), None, config)?.0)
    }

    /// The bytes of each section.
    fn sections(&self) -> [u64; header::SECTIONS] {
        let row = size_of_val(&self.hidden[..]) as u64;
        let medium = |placed: &Placed| MEDIUM_BYTES as u64 + row * self.pending_rows(placed) as u64;
        let mark = |mark: &Mark| {
            MARK_BYTES as u64 + size_of_val(mark.row()) as u64 + self.kv.snapshot_bytes(mark.at())
        };
        [
            shapes(self.model.config()).len() as u64,
            size_of_val(&self.tokens[..]) as u64,
            self.media.iter().map(medium).sum(),
            row * u64::from(self.has_row()) + self.kv.stored_bytes(&self.kv.held()),
            self.marks.iter().map(mark).sum(),
        ]
    }

    /// Whether the residual row of the last token in the cache is there.
    fn has_row(&self) -> bool {
        self.hidden_at > 0 && self.hidden_at == self.kv.len()
    }

    /// The rows of a medium that are still needed.
    fn pending_rows(&self, placed: &Placed) -> usize {
        if placed.at.end > self.kv.len() { placed.at.len() } else { 0 }
    }

    fn write(
        &self,
        header: &Header,
        own: &[&[u8]],
        mut out: Output<'_>,
    ) -> Result<(), SavedSessionError> {
        header.write(&mut out)?;
        out.put(&shapes(self.model.config()))?;
        out.seal()?;
        out.put(bytemuck::cast_slice(&self.tokens))?;
        out.seal()?;
        for placed in &self.media {
            let rows = self.pending_rows(placed);
            let kind = [u32::from(!placed.is_image), u32::from(rows > 0)];
            out.put(kind.map(u32::to_le_bytes).as_flattened())?;
            let at = [placed.at.start as u64, placed.at.end as u64];
            out.put(at.map(u64::to_le_bytes).as_flattened())?;
            out.put(&placed.key.0)?;
            out.put(bytemuck::cast_slice(&placed.rows[..rows * self.hidden.len()]))?;
        }
        out.seal()?;
        if self.has_row() {
            out.put(bytemuck::cast_slice(&self.hidden))?;
        }
        self.kv.store(&mut |bytes| out.put(bytes))?;
        out.seal()?;
        for mark in self.marks.iter() {
            let numbers = [mark.at() as u64, u64::from(!mark.row().is_empty())];
            out.put(numbers.map(u64::to_le_bytes).as_flattened())?;
            out.put(bytemuck::cast_slice(mark.row()))?;
            out.put(mark.snapshot().bytes())?;
        }
        out.seal()?;
        if header.own > 0 {
            own.iter().try_for_each(|piece| out.put(piece))?;
            out.seal()?;
        }
        Ok(())
    }

    /// Reads a session; `bytes` says how many there are, if that is known.
    fn read(
        model: &Model,
        input: &mut Input<'_>,
        bytes: Option<u64>,
        config: SessionConfig,
    ) -> Result<(Self, Vec<u8>)> {
        let header = Header::read(input)?;
        let (limits, _) = config::limits(model.config(), model.turning_pairs(), &config)?;
        header.check(model, limits, input)?;
        let total = header.total().ok_or_else(|| input.damaged())?;
        input.expect(total);
        match bytes {
            Some(found) if found < total => {
                let path = input.path();
                return Err(SavedSessionError::Cut { path, found, wanted: total }.into());
            }
            Some(found) if found > total => return Err(input.damaged().into()),
            _ => {}
        }
        let mut session = Self::new(model, config)?;
        let [layers, tokens, media, cache, marks] = header.sections;
        input.begin("layers", layers);
        session.read_layers(input)?;
        input.end()?;
        input.begin("tokens", tokens);
        session.read_tokens(header.tokens as usize, input)?;
        input.end()?;
        input.begin("media", media);
        for _ in 0..header.media {
            let placed = session.read_medium(header.cached as usize, input)?;
            session.media.push(placed);
        }
        input.end()?;
        input.begin("keys and values", cache);
        session.read_cache(&header, input)?;
        input.end()?;
        input.begin("marks", marks);
        session.read_marks(header.marks as usize, input)?;
        input.end()?;
        let vocab = model.config().vocab;
        if matches!(header.stop, Some(Stop::EndOfGeneration(id)) if id as usize >= vocab) {
            return Err(input.damaged().into());
        }
        session.stop = header.stop;
        let mut own = Vec::new();
        if header.own > 0 {
            input.begin("caller's own section", header.own);
            own = bytes_of(header.own, input)?;
            input.end()?;
        }
        Ok((session, own))
    }

    fn read_layers(&self, input: &mut Input<'_>) -> Result<(), SavedSessionError> {
        for wanted in shapes(self.model.config()).chunks_exact(4).map(number) {
            let found = u32::from_le_bytes(input.number()?);
            if found != wanted {
                let (path, what) = (input.path(), "the shape of a layer");
                let (found, wanted) = (found.into(), wanted.into());
                return Err(SavedSessionError::OtherLayout { path, what, found, wanted });
            }
        }
        Ok(())
    }

    fn read_tokens(
        &mut self,
        tokens: usize,
        input: &mut Input<'_>,
    ) -> Result<(), SavedSessionError> {
        self.tokens.resize(tokens, 0); // room for a whole context was reserved
        input.take(bytemuck::cast_slice_mut(&mut self.tokens))?;
        let vocab = self.model.config().vocab;
        match self.tokens.iter().all(|id| (*id as usize) < vocab) {
            true => Ok(()),
            false => Err(input.damaged()),
        }
    }

    /// Reads a medium that stands behind those before, where `cached` tokens are evaluated.
    fn read_medium(&self, cached: usize, input: &mut Input<'_>) -> Result<Placed> {
        let [kind, has_rows] = [input.number()?, input.number()?].map(u32::from_le_bytes);
        let [start, end] = [input.number()?, input.number()?].map(u64::from_le_bytes);
        let key = MediaKey(input.number()?);
        let is_image = kind == 0;
        let first = self.media.last().map_or(0, |placed| placed.at.end) as u64;
        let is_in_place = first <= start && start < end && end <= self.tokens.len() as u64;
        if kind > 1 || has_rows > 1 || !is_in_place {
            return Err(input.damaged().into());
        }
        let at = start as usize..end as usize;
        let is_pending = at.end > cached;
        // A picture whose tokens see each other is evaluated as a whole, and in memory that was
        // reserved for the longest one.
        let is_whole = is_image && self.model.config().pictures_see_themselves();
        let is_possible = !is_whole || !is_pending || at.start >= cached && at.len() <= TOKENS_MAX;
        let soft = self.soft(is_image).ok_or_else(|| input.damaged())?;
        let is_soft = self.tokens[at.clone()].iter().all(|id| *id == soft);
        if !is_possible || !is_soft || is_pending != (has_rows == 1) {
            return Err(input.damaged().into());
        }
        let values = if is_pending { at.len() * self.hidden.len() } else { 0 };
        let rows: Arc<[f32]> = floats(values, input)?.into();
        Ok(Placed { at, is_image, key, rows })
    }

    /// The token that stands for the rows of a medium, if the model takes such media.
    fn soft(&self, is_image: bool) -> Option<TokenId> {
        match is_image {
            true => self.model.vision().ok().map(|(_, tokens)| tokens.soft),
            false => self.model.audio().ok().map(|(_, tokens)| tokens.soft),
        }
    }

    fn read_cache(&mut self, header: &Header, input: &mut Input<'_>) -> Result<()> {
        let held = header.oldest as usize..header.cached as usize;
        if !self.kv.can_hold(&held) {
            return Err(input.damaged().into());
        }
        if header.has_row {
            input.take(bytemuck::cast_slice_mut(&mut self.hidden))?;
            self.hidden_at = held.end;
        }
        Ok(self.kv.load(held, &mut |bytes| input.take(bytes))?)
    }

    /// Reads marks and keeps the last ones, as many as the session may have.
    fn read_marks(&mut self, marks: usize, input: &mut Input<'_>) -> Result<()> {
        let mut last = 0;
        for i in 0..marks {
            let [at, has_row] = [input.number()?, input.number()?].map(u64::from_le_bytes);
            if at <= last || at > self.kv.len() as u64 || has_row > 1 {
                return Err(input.damaged().into());
            }
            last = at;
            let (at, values) = (at as usize, has_row as usize * self.hidden.len());
            if marks - i > self.marks.most() {
                let bytes = size_of::<f32>() * values + self.kv.snapshot_bytes(at) as usize;
                skip(bytes, &mut |bytes| input.take(bytes))?;
                continue;
            }
            let row = floats(values, input)?;
            let mut snapshot = self.kv.empty_snapshot(at)?;
            input.take(snapshot.bytes_mut())?;
            self.marks.push(snapshot, row);
        }
        Ok(())
    }
}

/// What [`Session::saved`] tells of a saved session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedSession {
    /// The tokens that it holds: a context must have room for them.
    pub tokens: usize,
    /// Whether pictures or sound are among them: the model needs its projector then.
    pub has_media: bool,
    /// How keys and values are stored.
    pub kv: KvType,
}

/// Opens a file that may be a saved session, and says how many bytes it has.
fn open(path: &Path) -> Result<(File, u64), SavedSessionError> {
    let failed = |source| SavedSessionError::Read { path: Some(path.to_owned()), source };
    // Its kind is checked first, because opening a pipe waits.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(SavedSessionError::NotASession { path: Some(path.to_owned()) });
    }
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok((file, bytes))
}

/// The bytes of all pieces.
fn own_bytes(own: &[&[u8]]) -> u64 {
    own.iter().map(|piece| piece.len() as u64).sum()
}

/// The saved session at `place`, which the caller calls `path`, if there is one.
///
/// # Errors
/// If something else is there, or it may not be written.
fn saved_at(place: &Path, path: &Path) -> Result<Option<Metadata>, SavedSessionError> {
    let path = || Some(path.to_owned());
    let failed = |source| SavedSessionError::Write { path: path(), source };
    let found = match fs::metadata(place) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut start = Vec::new();
    if found.is_file() {
        let file = File::open(place).map_err(failed)?;
        file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
    }
    let is_empty = found.is_file() && start.is_empty();
    if start != MAGIC && !is_empty {
        return Err(SavedSessionError::NotASession { path: path() });
    }
    // To put another file in its place is not forbidden by that, but surely not meant.
    if found.permissions().readonly() {
        return Err(failed(io::Error::from(ErrorKind::PermissionDenied)));
    }
    Ok(Some(found))
}

/// Reads so many bytes; memory is taken as they come.
fn bytes_of(count: u64, input: &mut Input<'_>) -> Result<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::new();
    while (bytes.len() as u64) < count {
        let (start, left) = (bytes.len(), count - bytes.len() as u64);
        let more = left.min((FLOATS * size_of::<f32>()) as u64) as usize;
        let (what, wanted) = ("the caller's own section", count);
        bytes.try_reserve(more).map_err(|_| MemoryError { what, bytes: wanted })?;
        bytes.resize(start + more, 0);
        input.take(&mut bytes[start..])?;
    }
    Ok(bytes)
}

/// Reads so many values; memory is taken as they come.
fn floats(values: usize, input: &mut Input<'_>) -> Result<Vec<f32>> {
    let mut floats: Vec<f32> = Vec::new();
    while floats.len() < values {
        let (start, more) = (floats.len(), (values - floats.len()).min(FLOATS));
        let bytes = (more * size_of::<f32>()) as u64;
        floats.try_reserve(more).map_err(|_| MemoryError { what: "media", bytes })?;
        floats.resize(start + more, 0.0);
        input.take(bytemuck::cast_slice_mut(&mut floats[start..]))?;
    }
    Ok(floats)
}

/// A medium without its rows, and a mark without its row and its keys and values.
const MEDIUM_BYTES: usize = 56;
const MARK_BYTES: usize = 16;

/// Values that are read at a time before more memory is asked for: 1 MiB.
const FLOATS: usize = 256 << 10;

const BUFFER_BYTES: usize = 64 << 10;

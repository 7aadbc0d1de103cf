//! The header of a saved session: what it needs of a model and of a session.

use super::stream::{HASH_BYTES, Input, Output};
use super::{SavedSessionError, Session, Stop};
use crate::Identity;
use crate::config::{Config, LayerConfig, LayerKind};
use crate::error::Result;
use crate::model::Model;
use crate::text::kv_cache::{KvLimits, KvType};

/// What the header says. Numbers are as they stand there until they are checked.
pub(super) struct Header {
    pub(super) kv: KvType,
    pub(super) model: Identity,
    /// Of a conversation that holds media.
    pub(super) projector: Option<Identity>,
    pub(super) tokens: u64,
    /// The tokens in the cache.
    pub(super) cached: u64,
    /// The first position that the rings hold.
    pub(super) oldest: u64,
    pub(super) media: u32,
    pub(super) marks: u32,
    pub(super) stop: Option<Stop>,
    /// Whether the last residual row is there.
    pub(super) has_row: bool,
    pub(super) layout: Layout,
    /// Bytes of the caller's own section.
    pub(super) own: u64,
    /// Bytes of the other sections, in order, without their hashes.
    pub(super) sections: [u64; SECTIONS],
}

/// What keys and values depend on beside the model: [`LAYOUT`] names the numbers.
pub(super) type Layout = [u32; 4];

const LAYOUT: [&str; 4] = ["hidden values", "window", "turning pairs", "layers"];

impl Header {
    /// Writes the header with its hash.
    pub(super) fn write(&self, out: &mut Output<'_>) -> Result<(), SavedSessionError> {
        let (stop, token) = match self.stop {
            None => (0, 0),
            Some(Stop::EndOfGeneration(token)) => (1, token),
            Some(Stop::ContextFull) => (2, 0),
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend([VERSION, kv_number(self.kv)].map(u32::to_le_bytes).as_flattened());
        bytes.extend(self.model.bytes());
        bytes.extend(self.projector.map_or([0; 32], |projector| *projector.bytes()));
        let counts = [self.tokens, self.cached, self.oldest].map(u64::to_le_bytes);
        bytes.extend(counts.as_flattened());
        let numbers = [self.media, self.marks, stop, token, u32::from(self.has_row)];
        bytes.extend(numbers.map(u32::to_le_bytes).as_flattened());
        bytes.extend(self.layout.map(u32::to_le_bytes).as_flattened());
        bytes.resize(OWN_AT, 0);
        bytes.extend(self.own.to_le_bytes());
        bytes.extend(self.sections.map(u64::to_le_bytes).as_flattened());
        out.put(&bytes)?;
        out.seal()
    }

    /// Reads the header and its hash.
    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, SavedSessionError> {
        input.begin("header", HEADER_BYTES as u64);
        let magic = match input.number::<{ MAGIC.len() }>() {
            Err(SavedSessionError::Cut { path, .. }) => {
                return Err(SavedSessionError::NotASession { path });
            }
            other => other?,
        };
        if magic != *MAGIC {
            return Err(SavedSessionError::NotASession { path: input.path() });
        }
        let mut rest = [0; HEADER_BYTES - MAGIC.len()];
        let (version, others) = rest.split_at_mut(4);
        input.take(version)?;
        let found = number(version);
        if found != VERSION {
            let (path, wanted) = (input.path(), VERSION);
            return Err(SavedSessionError::Version { path, found, wanted });
        }
        input.take(others)?;
        input.end()?;
        Self::parse(&rest[4..]).ok_or_else(|| input.damaged())
    }

    /// What stands behind the version.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let kv = [KvType::F32, KvType::F16, KvType::Q8];
        let kv = kv.into_iter().find(|kv| kv_number(*kv) == number(&rest[..4]))?;
        rest = &rest[4..];
        let [model, projector] = [0, 32].map(|at| std::array::from_fn(|i| rest[at + i]));
        rest = &rest[64..];
        let [tokens, cached, oldest] = [0, 8, 16].map(|at| number_64(&rest[at..]));
        rest = &rest[24..];
        let [media, marks, stop, token, row] = [0, 4, 8, 12, 16].map(|at| number(&rest[at..]));
        rest = &rest[20..];
        let layout = [0, 4, 8, 12].map(|at| number(&rest[at..]));
        let [own, sections] = [OWN_AT, SECTIONS_AT].map(|at| &bytes[at - MAGIC.len() - 4..]);
        Some(Self {
            kv,
            model: Identity::from_bytes(model),
            projector: Some(projector).filter(|p| *p != [0; 32]).map(Identity::from_bytes),
            tokens,
            cached,
            oldest,
            media,
            marks,
            stop: match (stop, token) {
                (0, 0) => None,
                (1, token) => Some(Stop::EndOfGeneration(token)),
                (2, 0) => Some(Stop::ContextFull),
                _ => return None,
            },
            has_row: match row {
                0 | 1 => row == 1,
                _ => return None,
            },
            layout,
            own: number_64(own),
            sections: std::array::from_fn(|i| number_64(&sections[8 * i..])),
        })
    }

    /// The bytes of the whole file, if these can be counted.
    pub(super) fn total(&self) -> Option<u64> {
        let header = HEADER_BYTES as u64 + HASH_BYTES;
        let add = |sum: u64, bytes: &u64| sum.checked_add(*bytes)?.checked_add(HASH_BYTES);
        let own = Some(&self.own).filter(|bytes| **bytes > 0);
        self.sections.iter().chain(own).try_fold(header, add)
    }

    /// Compares what was saved with the model and the session that are to go on with it.
    pub(super) fn check(&self, model: &Model, limits: KvLimits, input: &Input<'_>) -> Result<()> {
        let path = input.path();
        let (found, wanted) = (self.model, model.identity()?);
        if found != wanted {
            return Err(SavedSessionError::OtherModel { path, found, wanted }.into());
        }
        if let Some(found) = self.projector {
            let wanted = model.projector_identity()?;
            if wanted != Some(found) {
                return Err(SavedSessionError::OtherProjector { path, found, wanted }.into());
            }
        }
        let (found, wanted) = (self.kv, limits.kind);
        if found != wanted {
            return Err(SavedSessionError::OtherKv { path, found, wanted }.into());
        }
        let layouts = self.layout.into_iter().zip(layout(model.config(), limits));
        for (what, (found, wanted)) in LAYOUT.into_iter().zip(layouts) {
            if found != wanted {
                let (found, wanted) = (found.into(), wanted.into());
                return Err(SavedSessionError::OtherLayout { path, what, found, wanted }.into());
            }
        }
        let (tokens, context) = (self.tokens, limits.context);
        if tokens > context as u64 {
            return Err(SavedSessionError::TooLong { path, tokens, context }.into());
        }
        let is_sound = self.cached <= tokens
            && self.oldest <= self.cached
            && u64::from(self.media) <= tokens
            && u64::from(self.marks) <= self.cached
            && (self.media == 0) == self.projector.is_none()
            && (!self.has_row || self.cached > 0);
        if is_sound { Ok(()) } else { Err(input.damaged().into()) }
    }
}

/// The layout of the keys and values of a session with these limits.
pub(super) fn layout(config: &Config, limits: KvLimits) -> Layout {
    let pairs = limits.turning_pairs.unwrap_or(0);
    // Lengths that do not fit are longer than any context.
    [config.hidden, config.window, pairs, config.own_layers().len()]
        .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// The section of the layers' shapes, of those with keys and values of their own: whether each is
/// full, its key heads and their length.
pub(super) fn shapes(config: &Config) -> Vec<u8> {
    let shape = |layer: &LayerConfig| {
        let is_full = usize::from(layer.kind == LayerKind::Full);
        [is_full, layer.kv_heads, layer.head_dim]
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes())
    };
    config.own_layers().iter().flat_map(shape).flatten().collect()
}

impl Session {
    /// The header of this session, whose sections have so many bytes.
    pub(super) fn header(&self, sections: [u64; SECTIONS]) -> Result<Header> {
        let held = self.kv.held();
        let projector = match self.media.is_empty() {
            true => None,
            false => self.model.projector_identity()?,
        };
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Header {
            kv: self.limits.kind,
            model: self.model.identity()?,
            projector,
            tokens: self.tokens.len() as u64,
            cached: held.end as u64,
            oldest: held.start as u64,
            media: count(self.media.len()),
            marks: count(self.marks.len()),
            stop: self.stop,
            has_row: self.has_row(),
            layout: layout(self.model.config(), self.limits),
            own: 0,
            sections,
        })
    }
}

fn kv_number(kv: KvType) -> u32 {
    match kv {
        KvType::F32 => 0,
        KvType::F16 => 1,
        KvType::Q8 => 2,
    }
}

/// The number that bytes begin with.
pub(super) fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[i]))
}

fn number_64(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[i]))
}

/// What every version begins with.
pub(super) const MAGIC: &[u8; 16] = b"carat session \n\0";

/// Another layout of the bytes needs another number.
const VERSION: u32 = 1;

/// Sections after the header.
pub(super) const SECTIONS: usize = 5;

/// Where the header has the bytes of the caller's own section, and of the others.
const OWN_AT: usize = 152;
const SECTIONS_AT: usize = 160;

/// Without its hash.
const HEADER_BYTES: usize = SECTIONS_AT + 8 * SECTIONS;

//! `Model`: weights, tokeniser and template of one file, shared by all sessions.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "grammar")]
use std::sync::OnceLock;

use carat_gguf::{Gguf, Source};
use carat_kernels::Isa;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::audio::Audio;
use crate::cancel::Cancel;
#[cfg(feature = "chat")]
use crate::chat::ChatTemplate;
use crate::config::{Config, LayerKind};
use crate::draft::{Drafter, DrafterShape};
use crate::engine::{Engine, Engines};
use crate::error::{Error, Result};
#[cfg(feature = "grammar")]
use crate::grammar::GrammarEnv;
use crate::identity::{Identity, Origin};
use crate::pool::{self, ThreadsError};
use crate::projector::{MediaTokens, Projector, ProjectorShape};
use crate::text::rope;
use crate::tokenizer::Tokenizer;
use crate::vision::Vision;
use crate::weights::{CacheError, Loaded, Loading, Weights, turning_pairs};

/// A model that is ready to be used; each conversation is a [`Session`](crate::Session).
///
/// It can be shared by threads, and a clone is another handle of the same model: the weights are in
/// memory once, until the last handle and the last session are gone.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    weights: Weights,
    /// RoPE frequencies, `head_dim / 2` each.
    frequencies_sliding: Vec<f32>,
    frequencies_full: Vec<f32>,
    turning_pairs: Option<usize>,
    tokenizer: Arc<Tokenizer>,
    /// The vocabulary as grammars need it, made when the first one is compiled.
    #[cfg(feature = "grammar")]
    grammar_env: OnceLock<GrammarEnv>,
    #[cfg(feature = "chat")]
    chat_template: Option<ChatTemplate>,
    projector: Option<Projector>,
    drafter: Option<Drafter>,
    bytes: u64,
    /// See [`expert_bytes`](crate::weights::expert_bytes).
    expert_bytes: [u64; 2],
    origin: Origin,
    cache_refused: Option<CacheError>,
    engines: Engines,
}

/// How a model is opened.
#[derive(Default)]
pub struct OpenOptions<'a> {
    /// Threads that repack weights while the model is opened; 0 is the number of physical cores.
    pub threads: usize,
    /// Hears how many bytes of how many have been read, and may break off: first of the drafter, if
    /// there is one, then of the model. It hears of all of the model twice where a cache file had
    /// to be compared with the whole of it and was not of it.
    pub progress: Option<&'a mut dyn FnMut(u64, u64) -> ControlFlow<()>>,
    /// Ends the opening from another thread.
    pub cancel: Option<&'a Cancel>,
    /// The projector file (`mmproj`) that lets the model see and hear;
    /// [`projectors_beside`](crate::projectors_beside) finds those that lie beside a model.
    pub projector: Option<&'a Path>,
    /// The projector in memory, if no file is named.
    pub projector_bytes: Option<&'static [u8]>,
    /// The drafter file (`gemma4-assistant`) that guesses tokens ahead;
    /// [`drafters_beside`](crate::drafters_beside) finds those that lie beside a model.
    pub drafter: Option<&'a Path>,
    /// The drafter in memory, if no file is named.
    pub drafter_bytes: Option<&'static [u8]>,
    /// Most bytes that weights, projector, drafter and vocabulary may take;
    /// [`MemoryPlan`](crate::MemoryPlan) tells beforehand what they and a session do.
    pub max_memory: Option<u64>,
    /// A cache file: the repacked weights on disk. The first start writes it (it is as large as the
    /// model), the next ones map it, which takes a fraction of a second whatever the size of the
    /// model, and memory that the system can take back. What the system does not hold, as after a
    /// boot, a thread lets it read while the first pass works (not on Windows). Without a cache
    /// file, weights are repacked into memory of their own, in huge pages where there are some.
    ///
    /// Whoever may neither read the file nor write it is served without it, and
    /// [`Model::cache_refused`] says so. If another program cuts the file short or writes to it
    /// while the model lives, passes end with [`CacheError::Changed`] and sessions stay as they
    /// were; if it is cut within a pass, the system ends the process (SIGBUS). Replacing or
    /// removing it is safe.
    pub cache: Option<&'a Path>,
    /// Compares all of the model and all of the cache file with what was noted when it was written,
    /// which takes as long as reading both; what does not agree is written anew. Without it, a
    /// model that was changed is found out all the same, damage of a large cache file may not be.
    pub verify_cache: bool,
}

impl Model {
    /// Opens a GGUF file, or the first part of a split one.
    ///
    /// The weights are repacked for the kernels, piece by piece: memory never holds more than the
    /// model and a few pieces of the file. That is not needed afterwards, but for the per-layer
    /// embeddings of Gemma 4 E2B and E4B: half of such a file stays on the disk, and every token
    /// reads a row of it. Once somebody has written to that file, sessions end with an error.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or holds a model that is not supported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, OpenOptions::default())
    }

    /// [`Model::open`] with options.
    ///
    /// # Errors
    /// As [`Model::open`], [`Error::Cancelled`] if `progress` or `cancel` breaks off,
    /// [`Error::MaxMemory`], and those of the projector and the cache file.
    pub fn open_with(path: impl AsRef<Path>, options: OpenOptions<'_>) -> Result<Self> {
        let source = Source::open(path.as_ref())?;
        let origin = Origin::new(&source)?;
        Self::load(&source.parse()?, origin, options)
    }

    /// Opens a GGUF file that is in memory, such as one that the program brings along. Vectors of
    /// numbers and matrices are repacked as from a file, and nothing else is copied; a cache file
    /// is not looked at. With [`OpenOptions::projector_bytes`] the projector may be in memory, too.
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn from_bytes(bytes: &'static [u8], options: OpenOptions<'_>) -> Result<Self> {
        let options = OpenOptions { cache: None, ..options };
        Self::load(&Gguf::parse(bytes)?, Origin::memory(bytes), options)
    }

    fn load(gguf: &Gguf<'_>, origin: Origin, options: OpenOptions<'_>) -> Result<Self> {
        let config = Config::from_gguf(gguf)?;
        let tokenizer = Tokenizer::from_gguf(gguf)?;
        #[cfg(feature = "chat")]
        let chat_template = template(gguf)?;

        let mut silent = |_, _| ControlFlow::Continue(());
        let heard = options.progress.unwrap_or(&mut silent);
        let is_cancelled = || options.cancel.is_some_and(Cancel::is_cancelled);
        let progress = &mut |done, total| match is_cancelled() {
            true => ControlFlow::Break(()),
            false => heard(done, total),
        };
        let pool = loading_threads(options.threads)?;
        let bytes = crate::weights::check(gguf, &config)?;
        let most = options.max_memory.unwrap_or(u64::MAX);
        check_memory(bytes + tokenizer.bytes() as u64, most)?;
        let projector = match (options.projector, options.projector_bytes) {
            (Some(path), _) => Some(Projector::open(path, config.hidden, &tokenizer, &pool)?),
            (None, Some(bytes)) => {
                Some(Projector::from_bytes(bytes, config.hidden, &tokenizer, &pool)?)
            }
            (None, None) => None,
        };
        let sensed = projector.as_ref().map_or(0, |projector| projector.shape.bytes);
        check_memory(bytes + tokenizer.bytes() as u64 + sensed, most)?;
        let drafter = match (options.drafter, options.drafter_bytes) {
            (Some(path), _) => Some(Drafter::open(path, gguf, &config, &pool, progress)?),
            (None, Some(bytes)) => {
                Some(Drafter::from_bytes(bytes, gguf, &config, &pool, progress)?)
            }
            (None, None) => None,
        };
        let drafting = drafter.as_ref().map_or(0, |drafter| drafter.shape.bytes);
        check_memory(bytes + tokenizer.bytes() as u64 + sensed + drafting, most)?;
        let OpenOptions { cache, verify_cache, .. } = options;
        let memory = origin.memory_bytes();
        let loading = Loading { pool: &pool, progress, cache, verify_cache, memory };
        let Loaded { weights, identity, cache_refused } = Weights::load(gguf, &config, loading)?;

        let frequencies = |kind, divisors| {
            let dim = config.layers.iter().find(|l| l.kind == kind).map_or(0, |l| l.head_dim);
            rope::frequencies(config.rope(kind), dim, divisors)
        };
        let frequencies_sliding = frequencies(LayerKind::Sliding, None);
        let frequencies_full = frequencies(LayerKind::Full, weights.rope_divisors.as_deref());
        let shared = Shared {
            frequencies_sliding,
            frequencies_full,
            turning_pairs: turning_pairs(gguf, &config)?,
            expert_bytes: crate::weights::expert_bytes(gguf, &config)?,
            config,
            weights,
            tokenizer: Arc::new(tokenizer),
            #[cfg(feature = "grammar")]
            grammar_env: OnceLock::new(),
            #[cfg(feature = "chat")]
            chat_template,
            projector,
            drafter,
            bytes,
            origin: origin.known(identity),
            cache_refused,
            engines: Engines::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The shape of the model.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }

    /// What grammars need of the vocabulary. The first call makes it, in about 0.2 s and 50 MB for
    /// 262144 tokens; all sessions of the model share it.
    ///
    /// # Errors
    /// As [`GrammarEnv::new`].
    #[cfg(feature = "grammar")]
    pub fn grammar_env(&self) -> Result<&GrammarEnv> {
        let Shared { grammar_env, tokenizer, .. } = &*self.shared;
        if let Some(env) = grammar_env.get() {
            return Ok(env);
        }
        let env = GrammarEnv::new(Arc::clone(tokenizer))?;
        Ok(grammar_env.get_or_init(|| env))
    }

    /// The template in the file, if there is one. Without the feature `chat` files with a template
    /// open all the same, nobody looks at it, and [`Rendered`](crate::Rendered) is put together by
    /// the program.
    #[cfg(feature = "chat")]
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.shared.chat_template.as_ref()
    }

    /// Bytes that the template takes.
    pub(crate) fn template_bytes(&self) -> usize {
        #[cfg(feature = "chat")]
        let bytes = self.chat_template().map_or(0, |template| template.source().len());
        #[cfg(not(feature = "chat"))]
        let bytes = 0;
        bytes
    }

    /// Bytes of all weights in memory, those of projector and drafter among them.
    pub fn bytes(&self) -> u64 {
        let sensed = self.projector_shape().map_or(0, |projector| projector.bytes);
        self.shared.bytes + sensed + self.drafter_shape().map_or(0, |drafter| drafter.bytes)
    }

    /// Bytes of the weights that are read from the file row by row, and never in memory.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.shared.weights.per_layer.as_ref().map_or(0, |per_layer| per_layer.table.bytes())
    }

    /// Bytes of the weights without those of projector and drafter.
    pub(crate) fn text_bytes(&self) -> u64 {
        self.shared.bytes
    }

    /// Bytes of the experts, and of those that a token is sent through.
    pub(crate) fn expert_bytes(&self) -> [u64; 2] {
        self.shared.expert_bytes
    }

    /// What the model is known by, its projector left out. A cache file knows it; without one, the
    /// first call reads all of the model's file once more.
    ///
    /// # Errors
    /// If the file cannot be read, or was changed after the model was opened.
    pub fn identity(&self) -> Result<Identity> {
        self.shared.origin.identity(|| Ok(loading_threads(0)?))
    }

    /// What the projector is known by, if the model was opened with one.
    ///
    /// # Errors
    /// As [`Model::identity`].
    pub fn projector_identity(&self) -> Result<Option<Identity>> {
        self.projector().map(|p| p.origin.identity(|| Ok(loading_threads(0)?))).transpose()
    }

    /// Why the model was opened without the cache file that was asked for.
    pub fn cache_refused(&self) -> Option<&CacheError> {
        self.shared.cache_refused.as_ref()
    }

    pub(crate) fn projector_shape(&self) -> Option<ProjectorShape> {
        self.projector().map(|projector| projector.shape)
    }

    /// The matrices that every decoded token is multiplied with, as they lie in memory and in the
    /// order of the work: those of each layer, and the output head last. Together they are what
    /// decoding reads for a token besides keys and values. Of a layer's experts there are as many
    /// as a token is sent through; which ones these are is for the token to say, here they are
    /// spread over all of them.
    ///
    /// They are here so that a benchmark can read the very memory that decoding reads. How weights
    /// are laid out in these bytes is the kernels' business and may change with every version.
    pub fn packed_weights(&self) -> impl Iterator<Item = &[u8]> {
        self.shared.weights.decoding()
    }

    /// Whether the model was opened with a projector that sees pictures.
    pub fn sees(&self) -> bool {
        self.vision().is_ok()
    }

    /// Whether the model was opened with a projector that hears sound.
    pub fn hears(&self) -> bool {
        self.audio().is_ok()
    }

    pub(crate) fn projector(&self) -> Option<&Projector> {
        self.shared.projector.as_ref()
    }

    /// Whether the model was opened with a drafter.
    pub fn drafts(&self) -> bool {
        self.drafter().is_some()
    }

    pub(crate) fn drafter(&self) -> Option<&Drafter> {
        self.shared.drafter.as_ref()
    }

    pub(crate) fn drafter_shape(&self) -> Option<&DrafterShape> {
        self.drafter().map(|drafter| &drafter.shape)
    }

    /// What turns pictures into rows, and their tokens.
    pub(crate) fn vision(&self) -> Result<&(Vision, MediaTokens)> {
        let vision = self.projector().map(|p| p.vision.as_ref());
        vision.flatten().ok_or_else(|| no_projector("pictures", vision.is_some()))
    }

    /// What turns sound into rows, and its tokens.
    pub(crate) fn audio(&self) -> Result<&(Audio, MediaTokens)> {
        let audio = self.projector().map(|p| p.audio.as_ref());
        audio.flatten().ok_or_else(|| no_projector("sound", audio.is_some()))
    }

    /// The engine with so many threads that the sessions of this model share.
    pub(crate) fn engine(&self, threads: usize, isa: Isa) -> Result<Arc<Engine>> {
        self.shared.engines.get(threads, isa)
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.shared.weights
    }

    /// See [`turning_pairs`].
    pub(crate) fn turning_pairs(&self) -> Option<usize> {
        self.shared.turning_pairs
    }

    pub(crate) fn frequencies(&self, kind: LayerKind) -> &[f32] {
        match kind {
            LayerKind::Sliding => &self.shared.frequencies_sliding,
            LayerKind::Full => &self.shared.frequencies_full,
        }
    }
}

/// The template in a file.
#[cfg(feature = "chat")]
fn template(gguf: &Gguf<'_>) -> Result<Option<ChatTemplate>> {
    let source = gguf.metadata().opt_string("tokenizer.chat_template")?;
    Ok(source.map(ChatTemplate::new).transpose()?)
}

/// Bytes that the template in a file will take.
#[cfg(feature = "chat")]
pub(crate) fn template_bytes(gguf: &Gguf<'_>) -> Result<usize> {
    Ok(template(gguf)?.map_or(0, |template| template.source().len()))
}

/// The same where nobody looks at it.
#[cfg(not(feature = "chat"))]
pub(crate) fn template_bytes(_gguf: &Gguf<'_>) -> Result<usize> {
    Ok(0)
}

/// Refuses what takes more memory than it may.
fn check_memory(wanted: u64, most: u64) -> Result<()> {
    if wanted <= most { Ok(()) } else { Err(Error::MaxMemory { wanted, most }) }
}

/// Threads that repack weights and end with that.
fn loading_threads(threads: usize) -> Result<ThreadPool, ThreadsError> {
    let threads = pool::threads(threads)?;
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| ThreadsError::Start { threads, source: io::Error::other(e) })
}

fn no_projector(what: &'static str, is_open: bool) -> Error {
    let hint = match is_open {
        true => "its projector file has no part for that",
        false => "open it with its projector file (mmproj)",
    };
    Error::NoProjector { what, hint }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

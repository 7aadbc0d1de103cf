//! Models of random weights: as large as real ones, and made on the spot.
//!
//! Speed depends on shapes and formats and not on what the weights say, so a file of random ones
//! measures a machine as well as a download does. The weights are scaled so that activations stay
//! finite and logits differ. One random stretch of about a million weights for each format is
//! written again and again: making the file takes as long as the disk does.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use carat_gguf::{Endian, PartFile, Source, TensorType, WriteError, Writer};
use carat_kernels::{Format, quantize};
use sysinfo::Disks;

use crate::random::Xorshift;

mod projector;
mod shape;
mod vocabulary;

use projector::Senses;
use shape::{DrafterShape, Fill, Planned, Shape};
pub use shape::{Mix, Size};
use vocabulary::vocabulary;

/// Why there is no synthetic model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum SyntheticError {
    /// The disk or the folder refused.
    #[error("cannot write {}", path.display())]
    Io { path: PathBuf, source: io::Error },

    /// There is too little room.
    #[error(
        "{} has room for {} MB, the model takes {} MB: free some or name another place",
        folder.display(), found / 1_000_000, wanted.div_ceil(1_000_000)
    )]
    NoSpace { folder: PathBuf, found: u64, wanted: u64 },

    /// Something else lies where the model was to be.
    #[error("{} is not {wanted}: name another place or remove it", path.display())]
    Occupied { path: PathBuf, wanted: String },

    /// `progress` broke off; nothing is left behind.
    #[error("the model was not finished")]
    Cancelled,
}

/// Writes a model to `path`, which appears only when it is whole. `progress` hears of bytes done
/// and of how many there are.
///
/// # Errors
/// If there is no room, the file cannot be written, or `progress` breaks.
pub fn write(
    size: Size,
    mix: Mix,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), SyntheticError> {
    let part = write_part(size, mix, path, progress)?;
    part.persist(path).map_err(|source| SyntheticError::Io { path: path.to_owned(), source })
}

/// Writes a model beside `place`, to a file that is gone with what is returned.
///
/// # Errors
/// As [`write()`].
pub fn write_part(
    size: Size,
    mix: Mix,
    place: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<PartFile, SyntheticError> {
    let io = |source| SyntheticError::Io { path: place.to_owned(), source };
    let folder = match place.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(io)?;
    PartFile::remove_orphans(place);
    let total = bytes(size, mix);
    if let Some(found) = space(folder).filter(|found| *found < total + SPACE_LEFT) {
        let wanted = total + SPACE_LEFT;
        return Err(SyntheticError::NoSpace { folder: folder.to_owned(), found, wanted });
    }
    let part = PartFile::create(place).map_err(io)?;
    write_model(size, mix, part.file(), total, progress)
        .and_then(|()| part.share().map_err(Stopped::Io))
        .map_err(|stopped| match stopped {
            Stopped::Io(source) => io(source),
            Stopped::Cancelled => SyntheticError::Cancelled,
        })?;
    Ok(part)
}

/// Writes the projector of a model to `path`, for pictures and, but for the 26B, for sound: 0.2 GB
/// for the 12B, up to 1.2 GB for those that are towers of layers.
///
/// # Errors
/// If the file cannot be written.
pub fn write_projector(size: Size, path: &Path) -> Result<(), SyntheticError> {
    let part = write_projector_part(size, path)?;
    part.persist(path).map_err(|source| SyntheticError::Io { path: path.to_owned(), source })
}

/// Writes the projector of a model beside `place`, to a file that is gone with what is returned.
///
/// # Errors
/// If the file cannot be written.
pub fn write_projector_part(size: Size, place: &Path) -> Result<PartFile, SyntheticError> {
    let shape = size.shape();
    write_senses(Senses::of(size), size, &shape, place)
        .map_err(|source| SyntheticError::Io { path: place.to_owned(), source })
}

fn write_senses(senses: Senses, size: Size, shape: &Shape, place: &Path) -> io::Result<PartFile> {
    let tensors = senses.tensors(shape.hidden);
    let stretches = Stretches::new(shape, &tensors);
    written(with_tensors(senses.metadata(size, shape.hidden), tensors, &stretches), place)
}

/// Writes the drafter of a model to `path`: 0.45 GB at most.
///
/// # Errors
/// If the file cannot be written.
pub fn write_drafter(size: Size, mix: Mix, path: &Path) -> Result<(), SyntheticError> {
    let part = write_drafter_part(size, mix, path)?;
    part.persist(path).map_err(|source| SyntheticError::Io { path: path.to_owned(), source })
}

/// Writes the drafter of a model beside `place`, to a file that is gone with what is returned.
///
/// # Errors
/// If the file cannot be written.
pub fn write_drafter_part(size: Size, mix: Mix, place: &Path) -> Result<PartFile, SyntheticError> {
    let shape = size.shape();
    let tensors = shape.drafter_tensors(mix);
    let stretches = Stretches::new(&shape, &tensors);
    let writer = vocabulary(drafter_metadata(size, mix, &shape), shape.vocab as usize);
    written(with_tensors(writer, tensors, &stretches), place)
        .map_err(|source| SyntheticError::Io { path: place.to_owned(), source })
}

/// A whole file beside `place`.
fn written(writer: Writer<'_>, place: &Path) -> io::Result<PartFile> {
    let part = PartFile::create(place)?;
    match writer.write_to(BufWriter::with_capacity(BUFFER_BYTES, part.file())) {
        Ok(()) => part.file().sync_all()?,
        Err(WriteError::Io(source)) => return Err(source),
        Err(other) => return Err(io::Error::other(other)),
    }
    part.share()?;
    Ok(part)
}

/// Bytes of a model's tensors: what it takes of the disk, and of memory when it is loaded.
pub fn bytes(size: Size, mix: Mix) -> u64 {
    size.shape().tensors(mix).iter().map(Planned::bytes).sum()
}

/// Whether `path` holds this very model, whole.
///
/// # Errors
/// If something else is there.
pub fn exists(size: Size, mix: Mix, path: &Path) -> Result<bool, SyntheticError> {
    if !path.exists() {
        return Ok(false);
    }
    let is_it = || {
        let source = Source::open(path).ok()?;
        // A file that was cut off does not parse: its tensors would lie beyond its end.
        let gguf = source.parse().ok()?;
        let same = |planned: &Planned| {
            let found = gguf.tensor(&planned.name);
            found.is_some_and(|t| {
                (t.tensor_type, &t.shape[..]) == (planned.tensor_type, &planned.dims[..])
            })
        };
        let is_named = gguf.metadata().string("general.name").ok()? == name(size, mix);
        (is_named && size.shape().tensors(mix).iter().all(same)).then_some(())
    };
    match is_it() {
        Some(()) => Ok(true),
        None => {
            let wanted = format!("the synthetic model {}", name(size, mix));
            Err(SyntheticError::Occupied { path: path.to_owned(), wanted })
        }
    }
}

/// The model's name within the file.
fn name(size: Size, mix: Mix) -> String {
    format!("carat-synthetic-{}-{}", size.name(), mix.name())
}

enum Stopped {
    Io(io::Error),
    Cancelled,
}

fn write_model(
    size: Size,
    mix: Mix,
    file: &File,
    total: u64,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), Stopped> {
    let shape = size.shape();
    let tensors = shape.tensors(mix);
    let stretches = Stretches::new(&shape, &tensors);
    let writer = vocabulary(metadata(size, mix, &shape), shape.vocab as usize);
    let writer = with_tensors(writer, tensors, &stretches);
    let mut counted = Counted { file, done: 0, synced: 0, total, cancelled: false, progress };
    let written = writer.write_to(BufWriter::with_capacity(BUFFER_BYTES, &mut counted));
    let cancelled = counted.cancelled;
    match written {
        Ok(()) => counted.file.sync_all().map_err(Stopped::Io),
        Err(_) if cancelled => Err(Stopped::Cancelled),
        Err(WriteError::Io(source)) => Err(Stopped::Io(source)),
        Err(other) => Err(Stopped::Io(io::Error::other(other))),
    }
}

/// The whole file, its large tensors by reference.
fn with_tensors<'a>(
    writer: Writer<'a>,
    tensors: Vec<Planned>,
    stretches: &'a Stretches,
) -> Writer<'a> {
    tensors.into_iter().fold(writer, |writer, tensor| {
        let count = tensor.dims.iter().product::<u64>() as usize;
        let values = |value: f32| value.to_le_bytes().repeat(count);
        let (dims, tensor_type) = (&tensor.dims, tensor.tensor_type);
        match tensor.fill {
            Fill::Random => {
                writer.repeated(tensor.name, tensor_type, dims, stretches.of(tensor_type))
            }
            Fill::All(value) => writer.tensor(tensor.name, tensor_type, dims, values(value)),
            Fill::RopeDivisors => {
                let turning = count / 4;
                let divisor = |i| if i < turning { 1f32 } else { 1e30 };
                let bytes: Vec<u8> = (0..count).flat_map(|i| divisor(i).to_le_bytes()).collect();
                writer.tensor(tensor.name, tensor_type, dims, bytes)
            }
        }
    })
}

/// The keys that Gemma 4 files have.
fn metadata(size: Size, mix: Mix, shape: &Shape) -> Writer<'static> {
    let layers = 0..shape.layers;
    let kv_heads: Vec<i32> = layers
        .clone()
        .map(|i| match shape.is_sliding(i) {
            true => shape.kv_heads_sliding as i32,
            false => shape.kv_heads_full as i32,
        })
        .collect();
    let u32s = [
        ("block_count", shape.layers as u64),
        ("context_length", shape.context),
        ("embedding_length", shape.hidden),
        ("attention.head_count", shape.heads),
        ("attention.key_length", shape.head_dim_full),
        ("attention.value_length", shape.head_dim_full),
        ("attention.key_length_swa", shape.head_dim_sliding),
        ("attention.value_length_swa", shape.head_dim_sliding),
        ("rope.dimension_count", shape.head_dim_full),
        ("rope.dimension_count_swa", shape.head_dim_sliding),
        ("attention.sliding_window", shape.window),
        ("attention.shared_kv_layers", shape.shared as u64),
        ("embedding_length_per_layer_input", shape.per_layer),
    ];
    let ffn: Vec<i32> = layers.clone().map(|i| shape.ffn(i) as i32).collect();
    let is_one = ffn.iter().all(|n| *n == ffn[0]);
    let writer = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", "gemma4")
        .metadata("general.name", name(size, mix).as_str())
        .metadata("general.file_type", mix.file_type())
        .metadata("general.quantization_version", 2u32);
    let experts = shape.experts.iter().flat_map(|experts| {
        [
            ("expert_count", experts.count),
            ("expert_used_count", experts.used),
            ("expert_feed_forward_length", experts.width),
        ]
    });
    let writer = match is_one {
        true => writer.metadata("gemma4.feed_forward_length", shape.ffn as u32),
        false => writer.metadata("gemma4.feed_forward_length", ffn),
    };
    u32s.into_iter()
        .chain(experts)
        .fold(writer, |writer, (key, n)| writer.metadata(format!("gemma4.{key}"), n as u32))
        .metadata("gemma4.attention.head_count_kv", kv_heads)
        .metadata(
            "gemma4.attention.sliding_window_pattern",
            layers.clone().map(|i| shape.is_sliding(i)).collect::<Vec<bool>>(),
        )
        .metadata("gemma4.attention.layer_norm_rms_epsilon", 1e-6f32)
        .metadata("gemma4.rope.freq_base", 1e6f32)
        .metadata("gemma4.rope.freq_base_swa", 1e4f32)
        .metadata("gemma4.final_logit_softcapping", 30f32)
}

/// The keys that drafters have.
fn drafter_metadata(size: Size, mix: Mix, shape: &Shape) -> Writer<'static> {
    let drafter = shape.drafter();
    let sliding = |i| DrafterShape::is_sliding(i, drafter.layers);
    let kv_heads = (0..drafter.layers).map(|i| match sliding(i) {
        true => shape.kv_heads_sliding as i32,
        false => shape.kv_heads_full as i32,
    });
    let u32s = [
        ("block_count", drafter.layers as u64),
        ("nextn_predict_layers", drafter.layers as u64),
        ("attention.shared_kv_layers", drafter.layers as u64),
        ("context_length", shape.context),
        ("embedding_length", drafter.hidden),
        ("embedding_length_out", shape.hidden),
        ("feed_forward_length", drafter.ffn),
        ("attention.head_count", drafter.heads),
        ("attention.key_length", shape.head_dim_full),
        ("attention.value_length", shape.head_dim_full),
        ("attention.key_length_swa", shape.head_dim_sliding),
        ("attention.value_length_swa", shape.head_dim_sliding),
        ("rope.dimension_count", shape.head_dim_full),
        ("rope.dimension_count_swa", shape.head_dim_sliding),
        ("attention.sliding_window", shape.window),
        ("embedding_length_per_layer_input", 0),
    ];
    let name = format!("{}-assistant", name(size, mix));
    let writer = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", "gemma4-assistant")
        .metadata("general.name", name.as_str())
        .metadata("general.file_type", mix.file_type())
        .metadata("general.quantization_version", 2u32);
    let key = |key: &str| format!("gemma4-assistant.{key}");
    u32s.into_iter()
        .fold(writer, |writer, (name, n)| writer.metadata(key(name), n as u32))
        .metadata(key("attention.head_count_kv"), kv_heads.collect::<Vec<_>>())
        .metadata(
            key("attention.sliding_window_pattern"),
            (0..drafter.layers).map(sliding).collect::<Vec<bool>>(),
        )
        .metadata(key("attention.layer_norm_rms_epsilon"), 1e-6f32)
        .metadata(key("rope.freq_base"), 1e6f32)
        .metadata(key("rope.freq_base_swa"), 1e4f32)
}

/// A stretch of random weights in each format that a file needs.
struct Stretches(HashMap<TensorType, Vec<u8>>);

impl Stretches {
    fn new(shape: &Shape, tensors: &[Planned]) -> Self {
        let deviation = 1.0 / (shape.hidden as f32).sqrt();
        let mut random = Xorshift::default();
        let mut stretches = HashMap::new();
        for tensor in tensors.iter().filter(|t| t.fill == Fill::Random) {
            stretches.entry(tensor.tensor_type).or_insert_with(|| {
                let format = Format::from_ggml_id(tensor.tensor_type.id()).unwrap_or(Format::F32);
                // A prime number of blocks is no multiple of a row's: rows differ.
                let blocks = match format.block_weights() {
                    1 => 1_048_583,
                    32 => 32_771,
                    _ => 4099,
                };
                let weights: Vec<f32> = (0..blocks * format.block_weights())
                    .map(|_| deviation * random.normal())
                    .collect();
                let mut bytes = vec![0; format.row_bytes(weights.len())];
                quantize(format, &weights, &mut bytes);
                bytes
            });
        }
        Self(stretches)
    }

    fn of(&self, tensor_type: TensorType) -> &[u8] {
        self.0.get(&tensor_type).map_or(&[], Vec::as_slice)
    }
}

/// A file that says how far it is. It is brought to the disk on the way: the system would take all
/// of it into memory otherwise, and write while something is measured.
struct Counted<'p> {
    file: &'p File,
    done: u64,
    /// As much of it is on the disk.
    synced: u64,
    total: u64,
    cancelled: bool,
    progress: &'p mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.done += written as u64;
        if self.done - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.done;
        }
        let done = self.done.min(self.total);
        self.cancelled |= (self.progress)(done, self.total).is_break();
        if self.cancelled { Err(io::Error::other("cancelled")) } else { Ok(written) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes that are free where `folder` is, if the system says so.
fn space(folder: &Path) -> Option<u64> {
    let folder = folder.canonicalize().ok()?;
    let disks = Disks::new_with_refreshed_list().ok()?;
    let holds = |disk: &&sysinfo::Disk| folder.starts_with(disk.mount_point());
    let disk = disks.iter().filter(holds).max_by_key(|d| d.mount_point().as_os_str().len());
    disk.map(sysinfo::Disk::available_space)
}

/// Room for the vocabulary and for whatever else the system writes.
const SPACE_LEFT: u64 = 256 << 20;

const BUFFER_BYTES: usize = 4 << 20;

/// A second or less of a disk's work, so that progress is seen to be made.
const SYNC_BYTES: u64 = 128 << 20;

#[cfg(test)]
mod tests {
    use carat::vision::{Budget, Picture};
    use carat::{Input, Model, OpenOptions, Part, Session, SessionConfig};
    use carat_gguf::Gguf;

    use super::*;
    use crate::cost::Cost;

    #[test]
    fn the_small_model_loads_and_says_something() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("small.gguf");
        let mut last = 0;
        let mut progress = |done, total| {
            assert!(last <= done && done <= total);
            last = done;
            ControlFlow::Continue(())
        };
        assert_eq!(exists(Size::B1, Mix::Q4_0, &path).ok(), Some(false));
        write(Size::B1, Mix::Q4_0, &path, &mut progress).expect("a model");
        assert!(last > 600_000_000, "{last}");
        assert_eq!(exists(Size::B1, Mix::Q4_0, &path).ok(), Some(true));
        assert!(matches!(exists(Size::B1, Mix::Q8_0, &path), Err(SyntheticError::Occupied { .. })));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no part is left");

        let projector = folder.path().join("small.mmproj");
        write_projector(Size::B1, &projector).expect("a projector");
        let drafter = folder.path().join("small-assistant.gguf");
        write_drafter(Size::B1, Mix::Q8_0, &drafter).expect("a drafter");
        let (projector, drafter) = (Some(&*projector), Some(&*drafter));
        let options = OpenOptions { projector, drafter, ..Default::default() };
        let model = Model::open_with(&path, options).expect("a model that loads");
        let config = SessionConfig { context: 320, ..Default::default() };
        let mut session = Session::new(&model, config).expect("a session");
        session.push(Input::Text("a b c")).expect("a push");
        let logits = session.logits().expect("logits");
        assert!(logits.iter().all(|x| x.is_finite()), "finite");
        let mean = logits.iter().sum::<f32>() / logits.len() as f32;
        let variance = logits.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / logits.len() as f32;
        // Rows of variance 1 / hidden times a vector of norm sqrt(hidden) give a variance of 1.
        assert!((0.5..2.0).contains(&variance), "{variance}");
        assert_eq!(model.tokenizer().encode("a b"), model.tokenizer().encode("a b"));
        assert_eq!(
            session.tokens().len(),
            4,
            "BOS, and one merged token for each letter but the first"
        );

        let are_finite = |row: &[f32]| row.iter().all(|x| x.is_finite());
        let each = |logits: &[f32], hidden: &[f32]| {
            assert!(are_finite(logits) && are_finite(hidden));
        };
        let drafts = session.eval_draft(300, 5, each).expect("drafts");
        assert!(drafts.iter().any(|token| *token != drafts[0]), "{drafts:?}");
        media_are_finite(&mut session);
    }

    /// Embeddings of words have variance 1; those of media are of that order.
    fn media_are_finite(session: &mut Session) {
        let picture = Picture::from_rgb(96, 96, &[128; 96 * 96 * 3], Budget::default());
        let seen = session.embed_picture(&picture.expect("a picture")).expect("an embedding");
        let heard = session.embed_samples(&[0.25; 1280]).expect("an embedding");
        let media = [seen, heard];
        for medium in &media {
            session.truncate(0).expect("a session from the start");
            session.push(Input::Parts(&[Part::Medium(medium)])).expect("a push");
            assert!(session.logits().expect("logits").iter().all(|x| x.is_finite()));
        }
    }

    /// The E series with fewer and narrower layers: own and shared ones, wide and narrow ones. The
    /// towers have one layer.
    #[test]
    fn a_small_e_series_loads_and_says_something() {
        let whole = Size::E2B.shape();
        let (hidden, ffn, ffn_shared, vocab) = (256, 512, 1024, 1024);
        let shape =
            Shape { layers: 15, shared: 5, hidden, ffn, ffn_shared, vocab, context: 512, ..whole };
        let tensors = shape.tensors(Mix::Q4_0);
        let stretches = Stretches::new(&shape, &tensors);
        let writer = vocabulary(metadata(Size::E2B, Mix::Q4_0, &shape), vocab as usize);
        let bytes = with_tensors(writer, tensors, &stretches).to_bytes().expect("a file");
        let bytes: &'static [u8] = bytes.leak();
        let cost = Cost::of(&Gguf::parse(bytes).expect("what was written"));
        // The head, and what makes the vectors of all layers.
        let (head, vectors) = (256 * 1024, 256 * 15 * 256);
        // Queries and outputs of 8 heads, the step, and the network of a sliding layer.
        let sliding = |ffn: u64| 2 * 256 * 8 * 256 + 2 * 256 * 256 + 3 * 256 * ffn;
        let full = |ffn: u64| sliding(ffn) + 2 * 256 * 8 * 256; // its heads are twice as long
        let keys = 8 * 2 * 256 * 256 + 2 * 2 * 256 * 512;
        let own = keys + 8 * sliding(512) + 2 * full(512);
        let shared = 4 * sliding(1024) + full(1024);
        assert_eq!(cost.decode_macs, head + vectors + own + shared);
        assert_eq!(cost.prefill_macs, vectors + own - full(512)); // the tenth is the last own one
        let folder = tempfile::tempdir().expect("a folder");
        let senses = Senses::of(Size::E2B).low();
        let projector = write_senses(senses, Size::E2B, &shape, &folder.path().join("senses"));
        let projector = projector.expect("a projector");
        let options = OpenOptions { projector: Some(projector.path()), ..Default::default() };
        let model = Model::from_bytes(bytes, options).expect("a model");
        let layers = &model.config().layers;
        assert_eq!((layers[9].ffn, layers[10].ffn), (512, 1024));
        let mut session = Session::new(&model, SessionConfig::default()).expect("a session");
        session.push(Input::Text("a b c")).expect("a push");
        let logits = session.logits().expect("logits");
        let square = logits.iter().map(|x| x * x).sum::<f32>() / logits.len() as f32;
        assert!((0.5..2.0).contains(&square), "{square}");
        media_are_finite(&mut session);
    }

    #[test]
    fn what_is_broken_off_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.gguf");
        let mut progress = |_, _| ControlFlow::Break(());
        let result = write(Size::B1, Mix::Q4_K_M, &path, &mut progress);
        assert!(matches!(result, Err(SyntheticError::Cancelled)), "{result:?}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_full_disk_is_told_in_numbers() {
        let error = SyntheticError::NoSpace {
            folder: "there".into(),
            found: 1_999_999_999,
            wanted: 7_000_000_001,
        };
        let said =
            "there has room for 1999 MB, the model takes 7001 MB: free some or name another place";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn every_mix_can_be_quantised() {
        for mix in [Mix::Q4_0, Mix::Q4_K_M, Mix::Q8_0] {
            let shape = Size::B1.shape();
            let stretches = Stretches::new(&shape, &shape.tensors(mix));
            for tensor in shape.tensors(mix) {
                if tensor.fill == Fill::Random {
                    assert!(!stretches.of(tensor.tensor_type).is_empty(), "{}", tensor.name);
                }
            }
        }
    }
}

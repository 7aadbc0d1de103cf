//! `carat eval logits`: the logits after every token, as one safetensors tensor.
//!
//! Rows go to disk as they are computed, so that memory does not grow with the text: the header of
//! the file depends on nothing but the sizes, and those are known before the first token.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use carat::vision::Budget;
use carat::{Embedding, Session, TokenId};
use carat_gguf::PartFile;
use serde::Deserialize;
use serde_json::json;

use crate::args::LogitsArgs;
use crate::interrupt::{self, Guard};
use crate::load;
use crate::media;
use crate::progress::{Progress, Unit};

/// What is evaluated.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    ids: Vec<TokenId>,
    #[serde(default)]
    images: Vec<PathBuf>,
    #[serde(default)]
    audio: Vec<PathBuf>,
    /// Most tokens of an image.
    #[serde(default)]
    image_tokens: Option<usize>,
}

pub(crate) fn logits(args: &LogitsArgs) -> Result<()> {
    let input: Input = load::json(&args.input)?;
    check(&input, args)?;
    let projector = match input.images.is_empty() && input.audio.is_empty() {
        true => None,
        false => Some(media::projector(&args.model, args.mmproj.as_deref())?),
    };
    let model = load::model(&args.model, args.cpu.open(projector.as_deref()))?;
    let vocab = model.config().vocab;
    if let Some(id) = input.ids.iter().find(|id| **id as usize >= vocab) {
        let path = args.input.display();
        bail!("token id {id} in {path} is not in the vocabulary, which ends at {}", vocab - 1);
    }
    let soft = ["<|image|>", "<|audio|>"].map(|name| model.tokenizer().special(name));
    if projector.is_none() && input.ids.iter().any(|id| soft.contains(&Some(*id))) {
        bail!("{} has places for media among its ids and names none", args.input.display());
    }
    let mut session = load::session(&model, args.cpu.session(input.ids.len(), args.kv))?;
    let media = Media::embed(&input, &args.input, &mut session)?;
    let to = args.output.display();
    interrupt::install()?;
    let mut output = Output::create(&args.output).with_context(|| format!("cannot write {to}"))?;
    let hidden = model.config().hidden;
    let mut written = output.write(&header(&[
        ("logits", input.ids.len(), vocab),
        ("image_embeddings", media.tokens(true), hidden),
        ("audio_embeddings", media.tokens(false), hidden),
    ])?);
    let mut bar = Progress::new("evaluating", Unit::Tokens);
    let total = input.ids.len() as u64;
    // A full disk is noticed at the first row that fails; a chunk at a time keeps it from being
    // followed by the rest of the text.
    let guard = Guard::new();
    for (chunk, media) in &media.pieces(&input.ids, args.cpu.chunk) {
        let each = |at: usize, row: &[f32]| {
            bar.set(at as u64 + 1, total);
            if written.is_ok() {
                written = output.write_floats(row);
            }
        };
        let evaluated = session.eval_filled(chunk, media, each);
        if guard.stopped() {
            bail!("interrupted, {to} is not written");
        }
        evaluated.context("cannot evaluate the tokens")?;
        if written.is_err() {
            break;
        }
    }
    for embedding in media.in_order() {
        written = written.and_then(|()| output.write_floats(embedding.rows()));
    }
    written.and_then(|()| output.keep()).with_context(|| format!("cannot write {to}"))
}

fn check(input: &Input, args: &LogitsArgs) -> Result<()> {
    let path = args.input.display();
    if input.ids.is_empty() {
        bail!("{path} has no ids, there is nothing to evaluate");
    }
    if let Some(mmproj) = &args.mmproj {
        File::open(mmproj)
            .with_context(|| format!("cannot open projector {}", mmproj.display()))?;
    }
    Ok(())
}

/// The embeddings of an input, pictures and sound apart.
struct Media {
    images: Vec<Embedding>,
    audio: Vec<Embedding>,
    /// The soft token of each kind.
    soft: [Option<TokenId>; 2],
}

impl Media {
    fn embed(input: &Input, path: &Path, session: &mut Session) -> Result<Self> {
        let special = |name| session.model().tokenizer().special(name);
        let soft = [special("<|image|>"), special("<|audio|>")];
        let folder = path.parent().unwrap_or(Path::new(""));
        let budget = input.image_tokens.map_or(Ok(Budget::default()), media::budget)?;
        let mut images = Vec::new();
        for path in &input.images {
            let picture = media::picture(&folder.join(path), budget)?;
            images.extend(session.embed_picture(&picture)?.into_embeddings());
        }
        let mut audio = Vec::new();
        for path in &input.audio {
            let clip = media::clip(&folder.join(path))?;
            audio.extend(session.embed_samples(clip.samples())?.into_embeddings());
        }
        Ok(Self { images, audio, soft })
    }

    fn tokens(&self, images: bool) -> usize {
        let of = if images { &self.images } else { &self.audio };
        of.iter().map(Embedding::tokens).sum()
    }

    /// Pictures, then sound: the order in the file.
    fn in_order(&self) -> impl Iterator<Item = &Embedding> {
        self.images.iter().chain(&self.audio)
    }

    /// The tokens in pieces of about `chunk`, none of which cuts a medium, with their media.
    fn pieces<'a>(&self, ids: &'a [TokenId], chunk: usize) -> Vec<(&'a [TokenId], Vec<Embedding>)> {
        let soft = |id: TokenId| self.soft.iter().position(|soft| *soft == Some(id));
        let (mut images, mut audio) = (self.images.iter(), self.audio.iter());
        let (mut pieces, mut start, mut media) = (Vec::new(), 0, Vec::new());
        for at in 0..ids.len() {
            let goes_on = |kind| at + 1 < ids.len() && soft(ids[at + 1]) == Some(kind);
            let kind = soft(ids[at]);
            let begins = kind.filter(|kind| at == 0 || soft(ids[at - 1]) != Some(*kind));
            match begins {
                Some(0) => media.extend(images.next().cloned()),
                Some(_) => media.extend(audio.next().cloned()),
                None => {}
            }
            if !kind.is_some_and(goes_on) && at + 1 - start >= chunk {
                pieces.push((&ids[start..=at], std::mem::take(&mut media)));
                start = at + 1;
            }
        }
        // What has no place goes with the last piece, where it is an error.
        media.extend(images.chain(audio).cloned());
        pieces.push((&ids[start..], media));
        pieces.retain(|(ids, media)| !ids.is_empty() || !media.is_empty());
        pieces
    }
}

/// The beginning of a safetensors file: its length in 8 bytes, then JSON, filled up with spaces so
/// that the floats are aligned.
fn header(tensors: &[(&str, usize, usize)]) -> Result<Vec<u8>> {
    let mut map = serde_json::Map::new();
    let mut begin = 0usize;
    for &(name, rows, cols) in tensors.iter().filter(|(_, rows, _)| *rows > 0) {
        let bytes = rows.checked_mul(cols).and_then(|n| n.checked_mul(size_of::<f32>()));
        let end = bytes.and_then(|n| n.checked_add(begin));
        let end = end.context("the tensors are larger than any file")?;
        let offsets = [begin, end];
        let entry = json!({ "dtype": "F32", "shape": [rows, cols], "data_offsets": offsets });
        map.insert(name.to_owned(), entry);
        begin = end;
    }
    let mut text = serde_json::Value::Object(map).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(ALIGNMENT) - text.len()));
    Ok([&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat())
}

/// A file that appears under its name when it is complete, and not at all before.
struct Output {
    file: BufWriter<File>,
    /// The file and the name it gets; `None` for a device or pipe, which is written in place.
    part: Option<(PartFile, PathBuf)>,
}

impl Output {
    fn create(path: &Path) -> io::Result<Self> {
        let (file, part) = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => (File::create(path)?, None),
            _ => {
                let part = PartFile::create(path)?;
                (part.file().try_clone()?, Some((part, path.to_owned())))
            }
        };
        Ok(Self { file: BufWriter::new(file), part })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn write_floats(&mut self, values: &[f32]) -> io::Result<()> {
        values.iter().try_for_each(|x| self.write(&x.to_le_bytes()))
    }

    fn keep(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.part.map_or(Ok(()), |(part, path)| part.persist(&path))
    }
}

/// What the safetensors crate fills its header up to.
const ALIGNMENT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_safetensors_reads() {
        let mut file = header(&[("logits", 2, 3), ("none", 0, 7)]).unwrap();
        assert!((file.len() - 8).is_multiple_of(ALIGNMENT));
        let values = [0.0f32, 1.5, -2.0, 3.0, f32::MAX, f32::MIN_POSITIVE];
        values.iter().for_each(|x| file.extend(x.to_le_bytes()));
        let read = safetensors::SafeTensors::deserialize(&file).unwrap();
        let logits = read.tensor("logits").unwrap();
        assert_eq!((logits.shape(), logits.dtype()), (&[2, 3][..], safetensors::Dtype::F32));
        assert_eq!(logits.data(), bytes_of(&values));
    }

    #[test]
    fn sizes_beyond_any_file_are_an_error() {
        assert!(header(&[("logits", usize::MAX / 2, 262_144)]).is_err());
    }

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let names = || fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
        let mut left = Output::create(&path).unwrap();
        left.write(b"half").unwrap();
        assert_eq!((names().count(), path.exists()), (1, false));
        drop(left);
        assert_eq!(names().count(), 0);
        let mut kept = Output::create(&path).unwrap();
        kept.write(b"whole").unwrap();
        kept.keep().unwrap();
        assert!(names().eq(["out"]) && fs::read(&path).unwrap() == b"whole");
    }

    #[test]
    #[cfg(unix)]
    fn a_device_is_written_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let mut output = Output::create(Path::new("/dev/null")).unwrap();
        output.write(b"nothing").unwrap();
        output.keep().unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    fn bytes_of(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }
}

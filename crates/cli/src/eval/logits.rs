//! `carat eval logits`: the logits after every token, as one safetensors tensor.
//!
//! Rows go to disk as they are computed, so that memory does not grow with the text: the header of
//! the file depends on nothing but the sizes, and those are known before the first token.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use carat::vision::Budget;
use carat::{Embedding, Session, TokenId};
use serde::Deserialize;

use super::tensors::{F32, Output, header};
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
        ("logits", F32, &[input.ids.len(), vocab]),
        ("image_embeddings", F32, &[media.tokens(true), hidden]),
        ("audio_embeddings", F32, &[media.tokens(false), hidden]),
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

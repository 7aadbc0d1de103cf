//! `carat eval audio`: the samples that the model hears.

use anyhow::{Context, Result};
use carat::audio::Clip;

use crate::args::AudioArgs;
use crate::text;

pub(crate) fn audio(args: &AudioArgs) -> Result<()> {
    let cannot_play = || format!("cannot play {}", args.file.display());
    let clip = Clip::open(&args.file).with_context(cannot_play)?;
    if let Some(output) = &args.output {
        let bytes: Vec<u8> = clip.samples().iter().flat_map(|s| s.to_le_bytes()).collect();
        std::fs::write(output, bytes)
            .with_context(|| format!("cannot write {}", output.display()))?;
    }
    let complete = if clip.is_complete() { "yes" } else { "no" };
    text::print(&format!("samples {} complete {complete}\n", clip.samples().len()))
}

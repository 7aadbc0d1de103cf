//! The sizes of an encoder, from the metadata of its file and the shapes of its tensors.

use carat_gguf::Gguf;

use crate::error::Result;
use crate::projector::expect;
use crate::weights;

/// The sizes of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConformerShape {
    /// Bins of the mel spectrogram.
    pub(super) bins: usize,
    /// Channels of the first and of the second convolution.
    pub(super) channels: [usize; 2],
    /// Values of a token.
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Values between the two matrices of a feed-forward network.
    pub(super) ffn: usize,
    pub(super) layers: usize,
    /// Tokens that a light convolution sees.
    pub(super) taps: usize,
    /// Values of a token before the projection to the decoder's.
    pub(super) output: usize,
}

impl ConformerShape {
    /// The shape of the encoder in a file. Its tensors are not compared with it yet.
    ///
    /// # Errors
    /// If a key or tensor that says it is missing, or a size cannot be.
    pub(crate) fn of(gguf: &Gguf<'_>) -> Result<Self> {
        let width = size(gguf, "embedding_length")?;
        let heads = size(gguf, "attention.head_count")?;
        // Half of what is said of a distance are sines, half cosines.
        let is_whole = width.is_multiple_of(2) && width.is_multiple_of(heads);
        let wanted = || format!("an even multiple of the {heads} heads");
        expect("clip.audio.embedding_length", is_whole, || width.to_string(), wanted)?;
        Ok(Self {
            bins: size(gguf, "num_mel_bins")?,
            channels: [dim(gguf, FIRST, 3)?, dim(gguf, SECOND, 3)?],
            width,
            heads,
            ffn: size(gguf, "feed_forward_length")?,
            layers: size(gguf, "block_count")?,
            taps: dim(gguf, "a.blk.0.conv_dw.weight", 0)?,
            output: dim(gguf, "a.pre_encode.out.weight", 1)?,
        })
    }

    /// Values of a head.
    pub(super) fn head(&self) -> usize {
        self.width / self.heads
    }

    /// Frequencies after each of the two convolutions, which halve them.
    pub(super) fn frequencies(&self) -> [usize; 2] {
        let first = self.bins.div_ceil(2);
        [first, first.div_ceil(2)]
    }
}

/// The size that a key of the file says.
fn size(gguf: &Gguf<'_>, key: &str) -> Result<usize> {
    let key = format!("clip.audio.{key}");
    let found = gguf.metadata().uint(&key)?;
    in_range(&key, found)
}

/// Dimension `i` of a tensor.
fn dim(gguf: &Gguf<'_>, name: &str, i: usize) -> Result<usize> {
    let found = weights::find(gguf, name)?.shape.get(i).copied().unwrap_or(1);
    in_range(&format!("dimension {i} of tensor {name}"), found)
}

fn in_range(what: &str, found: u64) -> Result<usize> {
    let is_right = (1..=SIZE_MAX).contains(&found);
    expect(what, is_right, || found.to_string(), || format!("1 to {SIZE_MAX}"))?;
    Ok(found as usize)
}

/// The convolutions' kernels, `[outputs, inputs, 3 of time, 3 of frequency]`.
pub(super) const FIRST: &str = "a.conv1d.0.weight";
pub(super) const SECOND: &str = "a.conv1d.1.weight";

/// No size of a sound encoder comes near this, and the product of three is far from overflow.
const SIZE_MAX: u64 = 1 << 16;

//! The shapes of projectors: what makes rows of the decoder from pictures and from sound.
//!
//! The 12B has single layers, the others have towers of them: sixteen or 27 for pictures and, on
//! E2B and E4B, a conformer of twelve for sound. Lengths are those of the public model
//! configurations; names, formats and orders are those of llama.cpp's converter.

use TensorType::{BF16, F16, F32};
use carat_gguf::{Endian, TensorType, Writer};

use super::shape::{Fill, Planned, Size};

/// What the projector of a model consists of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Senses {
    /// Single layers, for pictures and sound.
    Unified,
    /// Towers of layers.
    Towers { vision: Vision, audio: Option<Audio> },
}

/// The numbers of a tower for pictures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vision {
    layers: usize,
    width: u64,
    ffn: u64,
    heads: u64,
    /// Whether products have bounds.
    bounded: bool,
    /// Whether what the tower gives is standardised.
    standardised: bool,
}

/// The numbers of a conformer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Audio {
    layers: usize,
    width: u64,
    ffn: u64,
    heads: u64,
    bins: u64,
    /// Channels of the two convolutions, each of which halves the bins.
    channels: [u64; 2],
    taps: u64,
    output: u64,
}

impl Senses {
    pub(super) fn of(size: Size) -> Self {
        let e_series = Vision {
            layers: 16,
            width: 768,
            ffn: 3072,
            heads: 12,
            bounded: true,
            standardised: false,
        };
        let conformer = Audio {
            layers: 12,
            width: 1024,
            ffn: 4096,
            heads: 8,
            bins: 128,
            channels: [128, 32],
            taps: 5,
            output: 1536,
        };
        match size {
            Size::B12 | Size::B1 => Self::Unified,
            Size::E4B | Size::E2B => Self::Towers { vision: e_series, audio: Some(conformer) },
            Size::A26 => {
                let (bounded, standardised) = (false, true);
                let vision =
                    Vision { layers: 27, width: 1152, ffn: 4304, heads: 16, bounded, standardised };
                Self::Towers { vision, audio: None }
            }
        }
    }

    /// The tensors, for a decoder of rows of `hidden` values.
    pub(super) fn tensors(&self, hidden: u64) -> Vec<Planned> {
        let mut all = Tensors(Vec::new());
        match self {
            Self::Unified => unified(&mut all, hidden),
            Self::Towers { vision, audio } => {
                audio.iter().for_each(|audio| audio.tensors(&mut all, hidden));
                vision.tensors(&mut all, hidden);
            }
        }
        all.0
    }

    /// The same with towers of one layer.
    #[cfg(test)]
    pub(super) fn low(mut self) -> Self {
        if let Self::Towers { vision, audio } = &mut self {
            vision.layers = 1;
            audio.iter_mut().for_each(|audio| audio.layers = 1);
        }
        self
    }

    /// The keys that say what it is, and its lengths.
    pub(super) fn metadata(&self, size: Size, hidden: u64) -> Writer<'static> {
        let writer = Writer::new(Endian::Little, 3)
            .metadata("general.architecture", "clip")
            .metadata("general.type", "mmproj")
            .metadata("general.name", format!("carat-synthetic-{}", size.name()).as_str())
            .metadata("clip.has_vision_encoder", true)
            .metadata("clip.vision.patch_size", 16u32)
            .metadata("clip.vision.projection_dim", hidden as u32)
            .metadata("clip.vision.attention.layer_norm_epsilon", 1e-6f32);
        let audio = |writer: Writer<'static>| {
            writer
                .metadata("clip.has_audio_encoder", true)
                .metadata("clip.audio.projection_dim", hidden as u32)
                .metadata("clip.audio.attention.layer_norm_epsilon", 1e-6f32)
        };
        match self {
            Self::Unified => audio(writer)
                .metadata("clip.vision.projector_type", "gemma4uv")
                .metadata("clip.vision.embedding_length", hidden as u32)
                .metadata("clip.audio.projector_type", "gemma4ua")
                .metadata("clip.audio.embedding_length", FRAME as u32),
            Self::Towers { vision, audio: None } => vision.metadata(writer),
            Self::Towers { vision, audio: Some(sound) } => {
                sound.metadata(audio(vision.metadata(writer)))
            }
        }
    }
}

/// 48 x 48 pixels of three colours and 640 samples of sound become rows of the decoder. Formats
/// and lengths are those of Gemma 4 12B's own file.
fn unified(all: &mut Tensors, hidden: u64) {
    const PATCH: u64 = 48 * 48 * 3;
    const POSITIONS: u64 = 1120;
    all.random("mm.a.input_projection.weight", BF16, &[FRAME, hidden]);
    all.random("mm.input_projection.weight", BF16, &[hidden, hidden]);
    all.random("v.patch_embd.bias", F32, &[hidden]);
    all.random("v.patch_embd.weight", F32, &[PATCH, hidden]);
    for (i, length) in [(1, PATCH), (2, hidden), (3, hidden)] {
        all.random(&format!("v.patch_norm.{i}.bias"), F32, &[length]);
        all.ones(&format!("v.patch_norm.{i}.weight"), length);
    }
    all.random("v.position_embd.weight", F32, &[hidden, POSITIONS, 2]);
}

impl Vision {
    fn tensors(&self, all: &mut Tensors, hidden: u64) {
        let Self { layers, width, ffn, heads, bounded, standardised } = *self;
        let head_dim = width / heads;
        for i in 0..layers {
            let name = |part: &str| format!("v.blk.{i}.{part}");
            let parts = [
                ("attn_q", [width, width]),
                ("attn_k", [width, width]),
                ("attn_v", [width, width]),
                ("attn_out", [width, width]),
                ("ffn_gate", [width, ffn]),
                ("ffn_up", [width, ffn]),
                ("ffn_down", [ffn, width]),
            ];
            parts.iter().for_each(|(part, dims)| all.linear(&name(part), *dims, bounded));
            for part in ["ln1", "ln2", "attn_post_norm", "ffn_post_norm"] {
                all.ones(&name(&format!("{part}.weight")), width);
            }
            for part in ["attn_q_norm", "attn_k_norm"] {
                let fill = Fill::query_key(head_dim);
                all.add(&name(&format!("{part}.weight")), F32, &[head_dim], fill);
            }
        }
        all.linear("mm.input_projection", [width, hidden], false);
        all.random("v.patch_embd.weight", F16, &[16, 16, 3, width]);
        all.random("v.position_embd.weight", F32, &[width, 10_240, 2]);
        if standardised {
            all.add("v.std_bias", F32, &[width], Fill::All(0.0));
            all.ones("v.std_scale", width);
        }
    }

    fn metadata(&self, writer: Writer<'static>) -> Writer<'static> {
        let u32s = [
            ("embedding_length", self.width),
            ("feed_forward_length", self.ffn),
            ("block_count", self.layers as u64),
            ("attention.head_count", self.heads),
            ("image_size", 224), // of no meaning, and written by the converter
        ];
        let writer = writer
            .metadata("clip.vision.projector_type", "gemma4v")
            .metadata("clip.vision.image_mean", vec![0f32; 3])
            .metadata("clip.vision.image_std", vec![1f32; 3]);
        lengths(writer, "vision", u32s)
    }
}

impl Audio {
    fn tensors(&self, all: &mut Tensors, hidden: u64) {
        let Self { layers, width, ffn, heads, bins, channels: [one, two], taps, output } = *self;
        all.random("a.conv1d.0.weight", F32, &[3, 3, 1, one]);
        all.ones("a.conv1d.0.norm.weight", one);
        all.random("a.conv1d.1.weight", F32, &[3, 3, one, two]);
        all.ones("a.conv1d.1.norm.weight", two);
        // The converter leaves this matrix as it is.
        all.random("a.input_projection.weight", F32, &[bins / 4 * two, width]);
        for i in 0..layers {
            let name = |part: &str| format!("a.blk.{i}.{part}");
            let parts = [
                ("ffn_up", [width, ffn]),
                ("ffn_down", [ffn, width]),
                ("attn_q", [width, width]),
                ("attn_k", [width, width]),
                ("attn_v", [width, width]),
                ("attn_out", [width, width]),
                ("conv_pw1", [width, 2 * width]),
                ("conv_pw2", [width, width]),
                ("ffn_up_1", [width, ffn]),
                ("ffn_down_1", [ffn, width]),
            ];
            parts.iter().for_each(|(part, dims)| all.linear(&name(part), *dims, true));
            all.linear(&name("attn_k_rel"), [width, width], false);
            let norms = [
                "ffn_norm",
                "ffn_post_norm",
                "attn_pre_norm",
                "attn_post_norm",
                "conv_norm",
                "norm_conv",
                "ffn_norm_1",
                "ffn_post_norm_1",
                "ln2",
            ];
            norms.iter().for_each(|part| all.ones(&name(&format!("{part}.weight")), width));
            all.ones(&name("per_dim_scale.weight"), width / heads);
            all.random(&name("conv_dw.weight"), F32, &[taps, width]);
        }
        all.linear("a.pre_encode.out", [width, output], false);
        all.random("a.pre_encode.out.bias", F32, &[output]);
        all.linear("mm.a.input_projection", [output, hidden], false);
    }

    fn metadata(&self, writer: Writer<'static>) -> Writer<'static> {
        let u32s = [
            ("embedding_length", self.width),
            ("feed_forward_length", self.ffn),
            ("block_count", self.layers as u64),
            ("attention.head_count", self.heads),
            ("num_mel_bins", self.bins),
        ];
        let writer = writer.metadata("clip.audio.projector_type", "gemma4a");
        lengths(writer, "audio", u32s)
    }
}

/// Adds the keys `clip.<of>.<key>`.
fn lengths(writer: Writer<'static>, of: &str, keys: [(&str, u64); 5]) -> Writer<'static> {
    keys.into_iter()
        .fold(writer, |writer, (key, n)| writer.metadata(format!("clip.{of}.{key}"), n as u32))
}

/// Tensors in the order in which they are added.
struct Tensors(Vec<Planned>);

impl Tensors {
    fn add(&mut self, name: &str, tensor_type: TensorType, dims: &[u64], fill: Fill) {
        self.0.push(Planned { name: name.to_owned(), tensor_type, dims: dims.to_vec(), fill });
    }

    fn random(&mut self, name: &str, tensor_type: TensorType, dims: &[u64]) {
        self.add(name, tensor_type, dims, Fill::Random);
    }

    fn ones(&mut self, name: &str, length: u64) {
        self.add(name, F32, &[length], Fill::ONES);
    }

    /// A matrix and, where it has them, the bounds of its input and output. The converter writes
    /// F16 or BF16, which are as large; this is F16.
    fn linear(&mut self, name: &str, dims: [u64; 2], bounded: bool) {
        self.random(&format!("{name}.weight"), F16, &dims);
        for (bound, value) in [("min", -BOUND), ("max", BOUND)] {
            for of in ["input", "output"].iter().filter(|_| bounded) {
                self.add(&format!("{name}.{of}_{bound}"), F32, &[1], Fill::All(value));
            }
        }
    }
}

/// Samples that become one row without a tower.
const FRAME: u64 = 640;

/// A bound that few values reach: what it costs does not depend on it.
const BOUND: f32 = 4.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(size: Size) -> Vec<Planned> {
        Senses::of(size).tensors(size.shape().hidden)
    }

    fn bytes(tensors: &[Planned]) -> u64 {
        tensors.iter().map(Planned::bytes).sum()
    }

    #[test]
    fn that_of_the_12b_is_the_official_file_tensor_for_tensor() {
        let tensors = tensors(Size::B12);
        let count = |wanted| tensors.iter().filter(|t| t.tensor_type == wanted).count();
        assert_eq!([F32, BF16].map(count), [9, 2]);
        // The official file has 175 115 616 bytes with its keys and names.
        let bytes = bytes(&tensors);
        assert!((175_110_000..175_115_616).contains(&bytes), "{bytes}");
    }

    #[test]
    fn that_of_the_26b_has_the_bytes_of_the_official_file() {
        // 1 193 058 432 with keys and names.
        let bytes = bytes(&tensors(Size::A26));
        assert!((1_192_900_000..1_193_058_432).contains(&bytes), "{bytes}");
    }
}

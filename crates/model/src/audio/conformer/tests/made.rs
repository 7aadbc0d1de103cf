//! Encoders of any shape with random weights.

use carat_gguf::{Endian, TensorType, Writer};
use carat_kernels::{Format, quantize};

use crate::audio::conformer::ConformerShape;

/// Numbers from -1 to 1 that look random (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Sound that is as loud as `level`.
    pub(super) fn noise(&mut self, samples: usize, level: f32) -> Vec<f32> {
        (0..samples).map(|_| level * self.next()).collect()
    }
}

/// A shape that divides by little. Norms of fewer channels would leave little but signs.
pub(super) const SMALL: ConformerShape = ConformerShape {
    bins: 10,
    channels: [4, 5],
    width: 12,
    heads: 2,
    ffn: 20,
    layers: 2,
    taps: 5,
    output: 14,
};

/// The file of an encoder of this shape, with bounds of its products or without.
pub(super) fn made(
    shape: ConformerShape,
    hidden: usize,
    format: Format,
    is_bounded: bool,
) -> Writer<'static> {
    let u32 = |n: usize| u32::try_from(n).expect("a small number");
    let w = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", "clip")
        .metadata("general.type", "mmproj")
        .metadata("clip.has_audio_encoder", true)
        .metadata("clip.audio.projector_type", "gemma4a")
        .metadata("clip.audio.embedding_length", u32(shape.width))
        .metadata("clip.audio.feed_forward_length", u32(shape.ffn))
        .metadata("clip.audio.block_count", u32(shape.layers))
        .metadata("clip.audio.attention.head_count", u32(shape.heads))
        .metadata("clip.audio.num_mel_bins", u32(shape.bins))
        .metadata("clip.audio.attention.layer_norm_epsilon", 1e-5f32)
        .metadata("clip.audio.projection_dim", u32(hidden));
    let mut file = File { w, random: Random(7), format, is_bounded };
    let ConformerShape { channels: [one, two], width, ffn, taps, output, .. } = shape;
    file.vector("a.conv1d.0.weight", &[3, 3, 1, one], 0.0);
    file.vector("a.conv1d.0.norm.weight", &[one], 1.0);
    file.vector("a.conv1d.1.weight", &[3, 3, one, two], 0.0);
    file.vector("a.conv1d.1.norm.weight", &[two], 1.0);
    file.matrix("a.input_projection", shape.bins.div_ceil(2).div_ceil(2) * two, width, false);
    for i in 0..shape.layers {
        let name = |part: &str| format!("a.blk.{i}.{part}");
        let norms = ["ffn_norm", "ffn_post_norm", "ffn_norm_1", "ffn_post_norm_1", "attn_pre_norm"];
        let others = ["attn_post_norm", "conv_norm", "norm_conv", "ln2"];
        for norm in norms.iter().chain(&others) {
            file.vector(&name(&format!("{norm}.weight")), &[width], 1.0);
        }
        for suffix in ["", "_1"] {
            file.matrix(&name(&format!("ffn_up{suffix}")), width, ffn, true);
            file.matrix(&name(&format!("ffn_down{suffix}")), ffn, width, true);
        }
        for part in ["attn_q", "attn_k", "attn_v", "attn_out", "conv_pw2"] {
            file.matrix(&name(part), width, width, true);
        }
        file.matrix(&name("attn_k_rel"), width, width, false);
        file.vector(&name("per_dim_scale.weight"), &[width / shape.heads], 1.0);
        file.matrix(&name("conv_pw1"), width, 2 * width, true);
        file.vector(&name("conv_dw.weight"), &[taps, width], 0.0);
    }
    file.matrix("a.pre_encode.out", width, output, false);
    file.vector("a.pre_encode.out.bias", &[output], 0.0);
    file.matrix("mm.a.input_projection", output, hidden, false);
    file.w
}

struct File {
    w: Writer<'static>,
    random: Random,
    format: Format,
    is_bounded: bool,
}

impl File {
    /// Values around `middle`.
    fn vector(&mut self, name: &str, dims: &[usize], middle: f32) {
        let count: usize = dims.iter().product();
        let values = (0..count).flat_map(|_| (middle + 0.5 * self.random.next()).to_le_bytes());
        let (values, dims): (Vec<u8>, Vec<u64>) =
            (values.collect(), dims.iter().map(|n| *n as u64).collect());
        self.tensor(name, TensorType::F32, &dims, values);
    }

    /// A matrix, with bounds that hold some of its values.
    fn matrix(&mut self, name: &str, cols: usize, rows: usize, has_bounds: bool) {
        let scale = 3.0 / (cols as f32).sqrt();
        let values: Vec<f32> = (0..rows * cols).map(|_| scale * self.random.next()).collect();
        let mut bytes = vec![0; rows * self.format.row_bytes(cols)];
        quantize(self.format, &values, &mut bytes);
        let kind = TensorType::from_name(self.format.name()).expect("a ggml type");
        self.tensor(&format!("{name}.weight"), kind, &[cols as u64, rows as u64], bytes);
        if has_bounds && self.is_bounded {
            for (bound, middle) in
                [("input_min", -1.5), ("input_max", 1.5), ("output_min", -2.5), ("output_max", 2.5)]
            {
                let value = (middle + 0.5 * self.random.next()).to_le_bytes().to_vec();
                self.tensor(&format!("{name}.{bound}"), TensorType::F32, &[1], value);
            }
        }
    }

    fn tensor(&mut self, name: &str, kind: TensorType, dims: &[u64], data: Vec<u8>) {
        let w = std::mem::replace(&mut self.w, Writer::new(Endian::Little, 3));
        self.w = w.tensor(name.to_owned(), kind, dims, data);
    }
}

//! The encoder in a projector file: its sizes, and its tensors by name.

use carat_gguf::Gguf;

use super::Tower;
use super::layer::Layer;
use crate::error::Result;
use crate::model_file::ModelFileError;
use crate::projector::{ProjectorFile, expect, uint};
use crate::tower::Linear;
use crate::vision::PATCH_SIDE;
use crate::weights;

/// The sizes of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Length of a patch's vector.
    pub(super) length: usize,
    pub(super) heads: usize,
    /// Length of the hidden vector of the networks.
    pub(super) ffn: usize,
    layers: usize,
    /// Pixels along a side of a patch.
    pub(super) patch: usize,
    /// Patches along a side of a token.
    pub(super) side: usize,
    /// Columns, and rows, of patches that have a position.
    pub(super) positions: usize,
}

impl Shape {
    /// The sizes that the metadata of a projector file tells.
    ///
    /// # Errors
    /// If one of them is missing or impossible.
    pub(crate) fn of(gguf: &Gguf<'_>) -> Result<Self> {
        let length = uint(gguf, "clip.vision.embedding_length", WIDTH_MAX)?;
        let key = "clip.vision.attention.head_count";
        let heads = uint(gguf, key, length)?;
        let head_dim = length / heads;
        let is_whole = length.is_multiple_of(heads) && head_dim.is_multiple_of(4);
        let wanted = || {
            format!(
                "a number that cuts {length} values into heads of a multiple of 4, at most \
                 {HEAD_DIM_MAX},"
            )
        };
        expect(key, is_whole && head_dim <= HEAD_DIM_MAX, || heads.to_string(), wanted)?;
        let patch = uint(gguf, "clip.vision.patch_size", PATCH_SIDE)?;
        let key = "clip.vision.projector.scale_factor";
        let side = match gguf.metadata().contains_key(key) {
            true => uint(gguf, key, PATCH_SIDE)?,
            false => TOKEN_SIDE,
        };
        let wanted = || format!("{PATCH_SIDE} pixels, the side of a token,");
        let pixels = || format!("{} pixels", patch * side);
        expect(
            "clip.vision.patch_size times the side of a token",
            patch * side == PATCH_SIDE,
            pixels,
            wanted,
        )?;
        Ok(Self {
            length,
            heads,
            ffn: uint(gguf, "clip.vision.feed_forward_length", WIDTH_MAX)?,
            layers: uint(gguf, "clip.vision.block_count", LAYERS_MAX)?,
            patch,
            side,
            positions: weights::rows(gguf, POSITIONS)?,
        })
    }

    /// Length of a head.
    pub(super) fn head_dim(&self) -> usize {
        self.length / self.heads
    }

    /// Values of a patch.
    pub(super) fn patch_values(&self) -> usize {
        self.patch * self.patch * 3
    }
}

impl Tower {
    /// Reads the encoder of a projector file for a decoder of `hidden` values.
    ///
    /// # Errors
    /// If a tensor or key is missing or of the wrong shape.
    pub(crate) fn load(file: &ProjectorFile<'_>, hidden: usize) -> Result<Self> {
        let shape = Shape::of(file.gguf)?;
        let Shape { length, patch, positions, .. } = shape;
        let standard = match file.has(STANDARD[0]) || file.has(STANDARD[1]) {
            true => {
                let [bias, scale] = STANDARD.map(|name| file.vector(name, &[length]));
                Some([bias?, scale?])
            }
            false => None,
        };
        Ok(Self {
            shape,
            colours: colours(file.gguf)?,
            patch: file.flattened("v.patch_embd.weight", &[patch, patch, 3, length])?,
            positions: file.vector(POSITIONS, &[length, positions, 2])?,
            layers: (0..shape.layers).map(|i| layer(file, &shape, i)).collect::<Result<_>>()?,
            standard,
            projection: Linear::projection(file, "mm.input_projection", length, hidden)?,
            norm_eps: file.float("clip.vision.attention.layer_norm_epsilon")?,
        })
    }
}

fn layer(file: &ProjectorFile<'_>, shape: &Shape, i: usize) -> Result<Layer> {
    let Shape { length, ffn, .. } = *shape;
    let name = |name: &str| format!("v.blk.{i}.{name}");
    let norm = |of, length| file.vector(&name(&format!("{of}.weight")), &[length]);
    let linear = |of, cols, rows| Linear::load(file, &name(of), cols, rows);
    let scale = name("out_scale.weight");
    Ok(Layer {
        attn_norm: norm("ln1", length)?,
        q: linear("attn_q", length, length)?,
        k: linear("attn_k", length, length)?,
        v: linear("attn_v", length, length)?,
        q_norm: norm("attn_q_norm", shape.head_dim())?,
        k_norm: norm("attn_k_norm", shape.head_dim())?,
        attn_output: linear("attn_out", length, length)?,
        attn_post_norm: norm("attn_post_norm", length)?,
        ffn_norm: norm("ln2", length)?,
        gate: linear("ffn_gate", length, ffn)?,
        up: linear("ffn_up", length, ffn)?,
        down: linear("ffn_down", ffn, length)?,
        ffn_post_norm: norm("ffn_post_norm", length)?,
        output_scale: match file.has(&scale) {
            true => file.vector(&scale, &[1])?[0],
            false => 1.0,
        },
    })
}

/// What the values 0 to 255 of red, green and blue are to the encoder: `2 · (v/255 − mean) / std −
/// 1`.
///
/// # Errors
/// If mean or deviation are not three numbers each, or a deviation is not above 0.
fn colours(gguf: &Gguf<'_>) -> Result<Box<[[f32; 256]; 3]>> {
    let mean = three(gguf, "clip.vision.image_mean", 0.0, f64::NEG_INFINITY)?;
    let std = three(gguf, "clip.vision.image_std", 1.0, 0.0)?;
    let mut colours = Box::new([[0.0; 256]; 3]);
    for (channel, (mean, std)) in colours.iter_mut().zip(mean.into_iter().zip(std)) {
        for (value, out) in channel.iter_mut().enumerate() {
            *out = (2.0 * ((value as f64 / 255.0 - mean) / std) - 1.0) as f32;
        }
    }
    Ok(colours)
}

/// Three finite numbers above `least`, all of them `without` where the file has none.
fn three(gguf: &Gguf<'_>, key: &str, without: f64, least: f64) -> Result<[f64; 3]> {
    let Some(array) = gguf.metadata().opt_array(key)? else { return Ok([without; 3]) };
    let found: Option<Vec<f64>> = array.floats().map(Iterator::collect);
    let numbers = found.as_deref().and_then(|found| <[f64; 3]>::try_from(found).ok());
    let is_right = |x: &f64| x.is_finite() && *x > least;
    numbers.filter(|numbers| numbers.iter().all(is_right)).ok_or_else(|| {
        let wanted = format!("an array of three finite numbers above {least}");
        ModelFileError::Value { key: key.to_owned(), found: format!("{array:?}"), wanted }.into()
    })
}

/// Longest head: the outputs of a tile of heads lie on the stack.
pub(super) const HEAD_DIM_MAX: usize = 256;

/// Longest vectors: no real model comes near, and no product of sizes overflows.
const WIDTH_MAX: usize = 1 << 20;

const LAYERS_MAX: usize = 1 << 12;

/// Patches along a side of a token where the file does not say it.
const TOKEN_SIDE: usize = 3;

const POSITIONS: &str = "v.position_embd.weight";

/// What is taken off the values of a token, and what they are multiplied by.
const STANDARD: [&str; 2] = ["v.std_bias", "v.std_scale"];

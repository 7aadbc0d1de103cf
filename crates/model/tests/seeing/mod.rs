//! A vision encoder written for reading, in f64, and projectors of any shape with random weights.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::HashMap;
use std::path::Path;

use carat::vision::Picture;
use carat::{Error, Model, OpenOptions};
use carat_gguf::{Endian, Gguf, TensorType, Writer};
use carat_kernels::{Format, dequantize, quantize};

use crate::common::file;

/// The shape of a made encoder. Its rows are those of tiny-s.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) length: usize,
    pub(crate) heads: usize,
    pub(crate) ffn: usize,
    pub(crate) layers: usize,
    /// Pixels along a side of a patch.
    pub(crate) patch: usize,
    pub(crate) positions: usize,
    /// Whether inputs and outputs of matrices have bounds.
    pub(crate) bounds: bool,
    /// Whether tokens are standardised.
    pub(crate) standard: bool,
    /// Whether layers end with a factor.
    pub(crate) scaled: bool,
    /// Mean and deviation of pixels.
    pub(crate) pixels: Option<[[f32; 3]; 2]>,
    /// Format of the matrices.
    pub(crate) format: Format,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            length: 96,
            heads: 3,
            ffn: 128,
            layers: 2,
            patch: 16,
            positions: 256,
            bounds: false,
            standard: false,
            scaled: false,
            pixels: None,
            format: Format::F32,
        }
    }
}

/// Values in a row of tiny-s.
pub(crate) const HIDDEN: usize = 64;

/// A projector file of this shape.
pub(crate) fn made(shape: &Shape) -> Vec<u8> {
    writer(shape).to_bytes().expect("a file")
}

/// [`made`], to be changed.
pub(crate) fn writer(shape: &Shape) -> Writer<'static> {
    let u32 = |n: usize| u32::try_from(n).expect("a small number");
    let vision = |key: &str| format!("clip.vision.{key}");
    let mut w = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", "clip")
        .metadata("clip.has_vision_encoder", true)
        .metadata(vision("projector_type"), "gemma4v")
        .metadata(vision("patch_size"), u32(shape.patch))
        .metadata(vision("embedding_length"), u32(shape.length))
        .metadata(vision("feed_forward_length"), u32(shape.ffn))
        .metadata(vision("block_count"), u32(shape.layers))
        .metadata(vision("attention.head_count"), u32(shape.heads))
        .metadata(vision("attention.layer_norm_epsilon"), 1e-6f32);
    if shape.patch != 16 {
        w = w.metadata(vision("projector.scale_factor"), u32(48 / shape.patch));
    }
    if let Some([mean, std]) = shape.pixels {
        w = w.metadata(vision("image_mean"), mean.to_vec());
        w = w.metadata(vision("image_std"), std.to_vec());
    }
    let mut made = Made { w, state: 7 };
    let (length, ffn) = (shape.length, shape.ffn);
    let dims = [shape.patch, shape.patch, 3, length];
    made.tensor("v.patch_embd.weight", &dims, TensorType::F32, [0.0, 0.05]);
    made.tensor(
        "v.position_embd.weight",
        &[length, shape.positions, 2],
        TensorType::F32,
        [0.0, 0.5],
    );
    for i in 0..shape.layers {
        let name = |name: &str| format!("v.blk.{i}.{name}");
        for norm in ["ln1", "ln2", "attn_post_norm", "ffn_post_norm"] {
            made.norm(&name(norm), length);
        }
        made.norm(&name("attn_q_norm"), length / shape.heads);
        made.norm(&name("attn_k_norm"), length / shape.heads);
        for linear in ["attn_q", "attn_k", "attn_v", "attn_out"] {
            made.linear(shape, &name(linear), length, length);
        }
        made.linear(shape, &name("ffn_gate"), length, ffn);
        made.linear(shape, &name("ffn_up"), length, ffn);
        made.linear(shape, &name("ffn_down"), ffn, length);
        if shape.scaled {
            made.tensor(&name("out_scale.weight"), &[1], TensorType::F32, [0.8, 0.1]);
        }
    }
    if shape.standard {
        made.tensor("v.std_bias", &[length], TensorType::F32, [0.3, 1.0]);
        made.tensor("v.std_scale", &[length], TensorType::F32, [0.8, 0.5]);
    }
    made.linear(shape, "mm.input_projection", length, HIDDEN);
    made.w
}

struct Made {
    w: Writer<'static>,
    state: u64,
}

impl Made {
    /// Numbers in −1 ..= 1.
    fn next(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); // Knuth
        (self.state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn add(&mut self, name: &str, dims: &[usize], kind: TensorType, data: Vec<u8>) {
        let dims: Vec<u64> = dims.iter().map(|n| *n as u64).collect();
        let w = std::mem::replace(&mut self.w, Writer::new(Endian::Little, 3));
        self.w = w.tensor(name, kind, &dims, data);
    }

    /// Values `around` a number.
    fn tensor(&mut self, name: &str, dims: &[usize], kind: TensorType, [around, by]: [f32; 2]) {
        let count: usize = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|_| around + by * self.next()).collect();
        let format = Format::from_ggml_id(kind.id()).expect("a format");
        let mut data = vec![0; format.row_bytes(dims[0]) * (count / dims[0])];
        for (row, out) in values.chunks(dims[0]).zip(data.chunks_mut(format.row_bytes(dims[0]))) {
            quantize(format, row, out);
        }
        self.add(name, dims, kind, data);
    }

    fn norm(&mut self, name: &str, length: usize) {
        self.tensor(&format!("{name}.weight"), &[length], TensorType::F32, [1.0, 0.4]);
    }

    fn linear(&mut self, shape: &Shape, name: &str, cols: usize, rows: usize) {
        let kind = TensorType::from_id(shape.format.ggml_id()).expect("a type");
        let by = (3.0 / cols as f32).sqrt();
        self.tensor(&format!("{name}.weight"), &[cols, rows], kind, [0.0, by]);
        for (bound, around) in
            [("input_min", -1.0), ("input_max", 1.2), ("output_min", -1.1), ("output_max", 0.9)]
        {
            if shape.bounds {
                self.tensor(&format!("{name}.{bound}"), &[1], TensorType::F32, [around, 0.3]);
            }
        }
    }
}

/// tiny-s with such a projector.
pub(crate) fn open(projector: &[u8]) -> Result<Model, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mmproj.gguf");
    std::fs::write(&path, projector).expect("a file");
    open_path(&path)
}

pub(crate) fn open_path(path: &Path) -> Result<Model, Error> {
    let options = OpenOptions { projector: Some(path), ..Default::default() };
    Model::open_with(file("f32"), options)
}

type Rows = Vec<Vec<f64>>;

/// The encoder of a projector file.
pub(crate) struct Naive {
    numbers: HashMap<String, usize>,
    tensors: HashMap<String, (Vec<usize>, Vec<f64>)>,
    /// The matrices whose inputs are rounded to 8 bits.
    block: Vec<String>,
    pixels: [Vec<f64>; 2],
    eps: f64,
}

impl Naive {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let gguf = Gguf::parse(bytes).expect("a projector");
        let metadata = gguf.metadata();
        let mut numbers = HashMap::new();
        for (key, value) in metadata.iter() {
            if let Some(number) = value.as_uint() {
                numbers.insert(key.to_owned(), number as usize);
            }
        }
        let (mut tensors, mut block) = (HashMap::new(), Vec::new());
        for t in gguf.tensors() {
            let mut values = vec![0.0; t.shape.elements() as usize];
            let format = Format::from_ggml_id(t.tensor_type.id()).expect("a format");
            dequantize(format, t.data, &mut values);
            if format.block_weights() > 1 {
                block.push(t.name.to_owned());
            }
            let dims = t.shape.iter().map(|n| *n as usize).collect();
            let values = values.into_iter().map(f64::from).collect();
            tensors.insert(t.name.to_owned(), (dims, values));
        }
        let three = |key: &str, without: f64| match metadata.opt_array(key).expect("an array") {
            Some(array) => array.floats().expect("floats").collect(),
            None => vec![without; 3],
        };
        let pixels = [three("clip.vision.image_mean", 0.0), three("clip.vision.image_std", 1.0)];
        let eps = metadata.float("clip.vision.attention.layer_norm_epsilon").expect("epsilon");
        Self { numbers, tensors, block, pixels, eps }
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.numbers.get(&format!("clip.vision.{key}")).copied()
    }

    fn values(&self, name: &str) -> Option<&[f64]> {
        self.tensors.get(name).map(|(_, values)| values.as_slice())
    }

    /// The rows of the tokens that are named. With one layer only their patches are looked at
    /// after attention, so that large pictures take no hours.
    pub(crate) fn rows(&self, picture: &Picture, tokens: &[usize]) -> Rows {
        let side = self.number("projector.scale_factor").unwrap_or(3);
        let (columns, rows) = (picture.columns() * side, picture.rows() * side);
        let places: Vec<(usize, usize)> =
            (0..columns * rows).map(|p| (p % columns, p / columns)).collect();
        let mut x: Rows = places.iter().map(|place| self.patch(picture, *place)).collect();
        let patches = |token: &usize| -> Vec<usize> {
            let (column, row) = (token % picture.columns(), token / picture.columns());
            let at = |i: usize| (row * side + i / side) * columns + column * side + i % side;
            (0..side * side).map(at).collect()
        };
        let layers = self.number("block_count").expect("layers");
        let every: Vec<usize> = (0..columns * rows).collect();
        let wanted: Vec<usize> = tokens.iter().flat_map(patches).collect();
        for i in 0..layers {
            self.layer(i, &places, &mut x, if i + 1 == layers { &wanted } else { &every });
        }
        let pool = |token: &usize| {
            let patches = patches(token);
            let length = x[0].len();
            let mean =
                |j: usize| patches.iter().map(|p| x[*p][j]).sum::<f64>() / patches.len() as f64;
            let mut y: Vec<f64> = (0..length).map(|j| mean(j) * (length as f64).sqrt()).collect();
            if let (Some(bias), Some(scale)) =
                (self.values("v.std_bias"), self.values("v.std_scale"))
            {
                y = (0..length).map(|j| (y[j] - bias[j]) * scale[j]).collect();
            }
            self.norm(&y, None)
        };
        let pooled: Rows = tokens.iter().map(pool).collect();
        pooled.iter().map(|y| self.linear("mm.input_projection", y)).collect()
    }

    fn patch(&self, picture: &Picture, (column, row): (usize, usize)) -> Vec<f64> {
        let (dims, weights) = &self.tensors["v.patch_embd.weight"];
        let (positions, table) = &self.tensors["v.position_embd.weight"];
        let (side, length) = (dims[0], dims[3]);
        let pixel = |c: usize, y: usize, x: usize| {
            let at = ((row * side + y) * picture.width() + column * side + x) * 3 + c;
            let value = f64::from(picture.pixels()[at]) / 255.0;
            2.0 * ((value - self.pixels[0][c]) / self.pixels[1][c]) - 1.0
        };
        let mut values = Vec::new();
        for c in 0..3 {
            for y in 0..side {
                values.extend((0..side).map(|x| pixel(c, y, x)));
            }
        }
        let at = |d: usize, position: usize, axis: usize| {
            table[(axis * positions[1] + position) * length + d]
        };
        let embedded = weights.chunks(values.len()).map(|w| dot(w, &values)).enumerate();
        embedded.map(|(d, sum)| sum + at(d, column, 0) + at(d, row, 1)).collect()
    }

    fn layer(&self, i: usize, places: &[(usize, usize)], x: &mut Rows, wanted: &[usize]) {
        let name = |name: &str| format!("v.blk.{i}.{name}");
        let weight = |of: &str| self.values(&name(&format!("{of}.weight"))).expect("a norm");
        let heads = self.number("attention.head_count").expect("heads");
        let normed: Rows = x.iter().map(|x| self.norm(x, Some(weight("ln1")))).collect();
        let keys: Rows = normed.iter().map(|n| self.linear(&name("attn_k"), n)).collect();
        let values: Rows = normed.iter().map(|n| self.linear(&name("attn_v"), n)).collect();
        let dim = x[0].len() / heads;
        let turned = |x: &[f64], norm: &str, place: (usize, usize)| {
            turn(&self.norm(x, Some(weight(norm))), place)
        };
        let mut outputs: HashMap<usize, Vec<f64>> =
            wanted.iter().map(|p| (*p, Vec::new())).collect();
        for h in 0..heads {
            let part = |x: &[f64]| x[h * dim..(h + 1) * dim].to_vec();
            let keys = keys.iter().zip(places).map(|(k, at)| turned(&part(k), "attn_k_norm", *at));
            let keys: Rows = keys.collect();
            let values: Rows = values.iter().map(|v| self.norm(&part(v), None)).collect();
            for p in wanted {
                let query = self.linear(&name("attn_q"), &normed[*p]);
                let query = turned(&part(&query), "attn_q_norm", places[*p]);
                let scores: Vec<f64> = keys.iter().map(|k| dot(&query, k)).collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                let sum: f64 = weights.iter().sum();
                let mut out = vec![0.0; dim];
                for (w, v) in weights.iter().zip(&values) {
                    out.iter_mut().zip(v).for_each(|(out, v)| *out += w / sum * v);
                }
                outputs.get_mut(p).expect("a wanted patch").extend(out);
            }
        }
        for p in wanted {
            let x = &mut x[*p];
            let out = self.linear(&name("attn_out"), &outputs[p]);
            add(x, &self.norm(&out, Some(weight("attn_post_norm"))));
            let m = self.norm(x, Some(weight("ln2")));
            let (gate, up) = (self.linear(&name("ffn_gate"), &m), self.linear(&name("ffn_up"), &m));
            let hidden: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| gelu(*g) * u).collect();
            let out = self.linear(&name("ffn_down"), &hidden);
            add(x, &self.norm(&out, Some(weight("ffn_post_norm"))));
            if let Some(scale) = self.values(&name("out_scale.weight")) {
                x.iter_mut().for_each(|x| *x *= scale[0]);
            }
        }
    }

    fn norm(&self, x: &[f64], weight: Option<&[f64]>) -> Vec<f64> {
        let mean = dot(x, x) / x.len() as f64;
        let factor = 1.0 / (mean + self.eps).sqrt();
        (0..x.len()).map(|i| x[i] * factor * weight.map_or(1.0, |w| w[i])).collect()
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let bound = |x: &[f64], low: &str, high: &str| -> Vec<f64> {
            let of =
                |what, without| self.values(&format!("{name}.{what}")).map_or(without, |v| v[0]);
            let (low, high) = (of(low, f64::NEG_INFINITY), of(high, f64::INFINITY));
            x.iter().map(|x| x.max(low).min(high)).collect()
        };
        let mut x = bound(x, "input_min", "input_max");
        let name_of_matrix = format!("{name}.weight");
        if self.block.contains(&name_of_matrix) {
            for x in x.chunks_mut(32) {
                let step = x.iter().fold(0.0f64, |max, x| max.max(x.abs())) / 127.0;
                x.iter_mut().for_each(|x| *x = (*x / step).round() * step);
            }
        }
        let weights = self.values(&name_of_matrix).expect("a matrix");
        let y: Vec<f64> = weights.chunks(x.len()).map(|row| dot(row, &x)).collect();
        bound(&y, "output_min", "output_max")
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sum = 0.0;
    for i in 0..a.len() {
        sum += a[i] * b[i];
    }
    sum
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn gelu(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + u.tanh())
}

/// The first half of a head turns by the column, the second by the row; in each, a value's partner
/// is half of that half away.
fn turn(head: &[f64], (column, row): (usize, usize)) -> Vec<f64> {
    let half = head.len() / 2;
    let mut out = Vec::new();
    for (x, position) in [(&head[..half], column), (&head[half..], row)] {
        let pairs = half / 2;
        let angle = |i: usize| position as f64 * 100f64.powf(-2.0 * i as f64 / half as f64);
        let (a, b) = x.split_at(pairs);
        out.extend((0..pairs).map(|i| a[i] * angle(i).cos() - b[i] * angle(i).sin()));
        out.extend((0..pairs).map(|i| b[i] * angle(i).cos() + a[i] * angle(i).sin()));
    }
    out
}

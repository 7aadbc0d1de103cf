//! The encoder written for reading, in f64: whole sounds at a time, padded and masked as the
//! reference pads and masks them.

use std::collections::HashMap;
use std::f64::consts::{E, LN_2};

use carat_gguf::Gguf;
use carat_kernels::{Format, dequantize};

use crate::audio::conformer::ConformerShape;
use crate::audio::mel::Mel;

pub(super) struct Naive {
    shape: ConformerShape,
    tensors: HashMap<String, Vec<f64>>,
}

type Rows = Vec<Vec<f64>>;

impl Naive {
    pub(super) fn new(shape: ConformerShape, gguf: &Gguf<'_>) -> Self {
        let read = |t: &carat_gguf::Tensor<'_>| {
            let format = Format::from_ggml_id(t.tensor_type.id()).expect("a format");
            let mut values = vec![0.0; t.shape.elements() as usize];
            dequantize(format, t.data, &mut values);
            (t.name.to_owned(), values.into_iter().map(f64::from).collect())
        };
        Self { shape, tensors: gguf.tensors().iter().map(read).collect() }
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.tensors[name]
    }

    /// The embeddings of the tokens of a sound.
    pub(super) fn embed(&self, samples: &[f32]) -> Rows {
        let (x, is_real) = self.subsample(samples);
        let mut x = x;
        for i in 0..self.shape.layers {
            x = self.layer(i, x, &is_real);
        }
        let out = |x: &Vec<f64>| {
            let y = self.linear("a.pre_encode.out", x);
            let y: Vec<_> = y.iter().zip(self.get("a.pre_encode.out.bias")).map(add).collect();
            self.linear("mm.a.input_projection", &norm(&y, None))
        };
        x.iter().zip(is_real).filter(|(_, is_real)| *is_real).map(|(x, _)| out(x)).collect()
    }

    /// Tokens before the layers, and which of them are real.
    fn subsample(&self, samples: &[f32]) -> (Rows, Vec<bool>) {
        let mut padded = samples.to_vec();
        padded.resize(samples.len().next_multiple_of(128), 0.0);
        // A frame and one sample must fit, 160 zeros come first.
        let frames = if padded.len() < 161 { 0 } else { (padded.len() - 161) / 160 + 1 };
        let is_real: Vec<bool> = (0..frames).map(|i| 160 * i + 160 < samples.len()).collect();
        let mel = Mel::new(self.shape.bins);
        let frame = |i: usize| {
            let mut frame = vec![0.0; self.shape.bins];
            mel.frame(&padded, i as isize, &mut frame);
            frame.into_iter().map(|x| vec![f64::from(x)]).collect()
        };
        let x: Vec<Rows> = (0..frames).map(frame).collect();
        let (x, is_real) = self.convolve(0, x, is_real);
        let (x, is_real) = self.convolve(1, x, is_real);
        let project = |x: Rows| self.linear("a.input_projection", &x.concat());
        (x.into_iter().map(project).collect(), is_real)
    }

    /// `[time][frequency][channel]`.
    fn convolve(&self, i: usize, x: Vec<Rows>, is_real: Vec<bool>) -> (Vec<Rows>, Vec<bool>) {
        let (weights, scale) = (
            self.get(&format!("a.conv1d.{i}.weight")),
            self.get(&format!("a.conv1d.{i}.norm.weight")),
        );
        let (outputs, inputs) = (scale.len(), weights.len() / 9 / scale.len());
        let at = |t: usize, f: usize, c: usize| -> f64 {
            // One is the border.
            let (Some(t), Some(f)) = (t.checked_sub(1), f.checked_sub(1)) else { return 0.0 };
            if t >= x.len() || f >= x[0].len() || !is_real[t] { 0.0 } else { x[t][f][c] }
        };
        let token = |t: usize, f: usize| -> Vec<f64> {
            let mut out = Vec::new();
            for o in 0..outputs {
                let mut sum = 0.0;
                for c in 0..inputs {
                    for (dt, df) in (0..9).map(|i| (i / 3, i % 3)) {
                        let weight = weights[((o * inputs + c) * 3 + dt) * 3 + df];
                        sum += weight * at(2 * t + dt, 2 * f + df, c);
                    }
                }
                out.push(sum);
            }
            let mean = out.iter().sum::<f64>() / outputs as f64;
            let variance = out.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / outputs as f64;
            let factor = 1.0 / (variance + 1e-6).sqrt();
            out.iter().zip(scale).map(|(x, s)| ((x - mean) * factor * s).max(0.0)).collect()
        };
        let (times, frequencies) = (x.len().div_ceil(2), x.first().map_or(0, Vec::len).div_ceil(2));
        let rows = (0..times).map(|t| (0..frequencies).map(|f| token(t, f)).collect()).collect();
        (rows, is_real.iter().step_by(2).copied().collect())
    }

    fn layer(&self, i: usize, x: Rows, is_real: &[bool]) -> Rows {
        let name = |part: &str| format!("a.blk.{i}.{part}");
        let x = self.feed_forward(&name, "", x);
        let x = self.attention(&name, x, is_real);
        let x = self.convolution(&name, x);
        let x = self.feed_forward(&name, "_1", x);
        x.iter().map(|x| norm(x, Some(self.get(&name("ln2.weight"))))).collect()
    }

    fn feed_forward(&self, name: &dyn Fn(&str) -> String, suffix: &str, x: Rows) -> Rows {
        let name = |part: &str| name(&format!("{part}{suffix}"));
        let weight = |part: &str| Some(self.get(&format!("{}.weight", name(part))));
        let one = |x: Vec<f64>| {
            let wide = self.linear(&name("ffn_up"), &norm(&x, weight("ffn_norm")));
            let wide: Vec<f64> = wide.into_iter().map(silu).collect();
            let y = norm(&self.linear(&name("ffn_down"), &wide), weight("ffn_post_norm"));
            x.iter().zip(y).map(|(x, y)| x + 0.5 * y).collect()
        };
        x.into_iter().map(one).collect()
    }

    fn attention(&self, name: &dyn Fn(&str) -> String, x: Rows, is_real: &[bool]) -> Rows {
        let (width, head) = (self.shape.width, self.shape.width / self.shape.heads);
        let weight = |part: &str| self.get(&name(part));
        let h: Rows = x.iter().map(|x| norm(x, Some(weight("attn_pre_norm.weight")))).collect();
        let all = |part: &str| -> Rows { h.iter().map(|h| self.linear(&name(part), h)).collect() };
        let (q, k, v) = (all("attn_q"), all("attn_k"), all("attn_v"));
        let scale = weight("per_dim_scale.weight");
        let half = width / 2;
        let distance = |far: usize| {
            let speed = |i: usize| 1e4f64.powf(-(i as f64) / (half.max(2) - 1) as f64);
            let sines = (0..half).map(|i| (far as f64 * speed(i)).sin());
            let cosines = (0..half).map(|i| (far as f64 * speed(i)).cos());
            self.linear(&name("attn_k_rel"), &sines.chain(cosines).collect::<Vec<_>>())
        };
        let distances: Rows = (0..12).map(distance).collect();
        let mut out = Vec::new();
        for t in 0..x.len() {
            let mut seen = vec![0.0; width];
            for at in (0..self.shape.heads).map(|i| i * head..(i + 1) * head) {
                let q = q[t][at.clone()].iter().zip(scale);
                let q: Vec<f64> = q.map(|(q, s)| q * s / (head as f64).sqrt() / LN_2).collect();
                // transformers masks keys at a distance of 12 and more, and those of padding.
                let keys = (0..=t).filter(|key| t - key < 12 && is_real[*key]);
                let score = |key: usize| {
                    let own = dot(&q, &k[key][at.clone()]) * (1.0 + E).ln() / LN_2;
                    let far = dot(&q, &distances[t - key][at.clone()]);
                    (key, 50.0 * ((own + far) / 50.0).tanh())
                };
                let scores: Vec<_> = keys.map(score).collect();
                let sum: f64 = scores.iter().map(|(_, s)| s.exp()).sum();
                for (key, score) in scores {
                    for i in at.clone() {
                        seen[i] += score.exp() / sum * v[key][i];
                    }
                }
            }
            let y =
                norm(&self.linear(&name("attn_out"), &seen), Some(weight("attn_post_norm.weight")));
            out.push(x[t].iter().zip(&y).map(add).collect());
        }
        out
    }

    fn convolution(&self, name: &dyn Fn(&str) -> String, x: Rows) -> Rows {
        let (width, taps) = (self.shape.width, self.shape.taps);
        let weight = |part: &str| self.get(&name(part));
        let gated = |x: &Vec<f64>| -> Vec<f64> {
            let y = self.linear(&name("conv_pw1"), &norm(x, Some(weight("conv_norm.weight"))));
            (0..width).map(|i| y[i] / (1.0 + (-y[width + i]).exp())).collect()
        };
        let gated: Rows = x.iter().map(gated).collect();
        let kernel = weight("conv_dw.weight");
        let one = |(t, x): (usize, &Vec<f64>)| {
            let mut c = vec![0.0; width];
            for (i, c) in c.iter_mut().enumerate() {
                for k in 0..taps {
                    let at = (t + k).checked_sub(taps - 1);
                    *c += kernel[i * taps + k] * at.map_or(0.0, |at| gated[at][i]);
                }
            }
            let c = norm(&c, Some(weight("norm_conv.weight")));
            let y = self.linear(&name("conv_pw2"), &c.into_iter().map(silu).collect::<Vec<_>>());
            x.iter().zip(&y).map(add).collect()
        };
        x.iter().enumerate().map(one).collect()
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let hold = |x: f64, side: &str| {
            let bound = |end| self.tensors.get(&format!("{name}.{side}_{end}")).map(|b| b[0]);
            let x = bound("min").map_or(x, |min| x.max(min));
            bound("max").map_or(x, |max| x.min(max))
        };
        let x: Vec<f64> = x.iter().map(|x| hold(*x, "input")).collect();
        let matrix = self.get(&format!("{name}.weight"));
        matrix.chunks(x.len()).map(|row| hold(dot(row, &x), "output")).collect()
    }
}

fn add((x, y): (&f64, &f64)) -> f64 {
    x + y
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn norm(x: &[f64], weight: Option<&[f64]>) -> Vec<f64> {
    let factor = 1.0 / (dot(x, x) / x.len() as f64 + 1e-6).sqrt();
    (0..x.len()).map(|i| x[i] * factor * weight.map_or(1.0, |w| w[i])).collect()
}

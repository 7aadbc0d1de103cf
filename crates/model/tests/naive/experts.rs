//! A mixture of experts, written for reading: the facts page of the family, section 3.

use carat_gguf::{TensorType, Writer};
use carat_kernels::Format;

use super::made::{Random, matrices, vector};
use super::{Naive, add, dot, gelu, norm};

/// The experts of every layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moe {
    pub(crate) count: usize,
    pub(crate) used: usize,
    pub(crate) width: usize,
    /// Gate and up are one tensor.
    pub(crate) fused: bool,
    /// The router has every second row twice, so that the logits of two experts are equal.
    pub(crate) twins: bool,
}

impl Naive {
    /// What stands for the network's output `shared` in layer `i` where `x` is the residual row.
    pub(super) fn with_experts(&self, i: usize, moe: Moe, x: &[f64], shared: &[f64]) -> Vec<f64> {
        let (d, w) = (x.len(), |name| self.get(i, name));
        let scale = &self.tensors[&format!("blk.{i}.ffn_gate_inp.scale")];
        let asked = norm(x, None).into_iter().zip(scale).map(|(x, s)| x * s / (d as f64).sqrt());
        let asked: Vec<f64> = asked.collect();
        let powers = w("ffn_gate_inp").chunks(d).map(|row| dot(row, &asked).exp());
        let powers: Vec<f64> = powers.collect();
        let all: f64 = powers.iter().sum();
        let mut order: Vec<usize> = (0..moe.count).collect();
        // A stable sort: of equal ones the first comes first.
        order.sort_by(|a, b| powers[*b].total_cmp(&powers[*a]));
        let own: f64 = order[..moe.used].iter().map(|e| powers[*e] / all).sum();
        let input = norm(x, Some(w("pre_ffw_norm_2")));
        let mut sum = vec![0.0; d];
        for e in &order[..moe.used] {
            let scale = self.tensors[&format!("blk.{i}.ffn_down_exps.scale")][*e];
            let weight = powers[*e] / all / own * scale;
            let out = self.expert(i, moe, *e, &input);
            sum.iter_mut().zip(out).for_each(|(sum, out)| *sum += weight * out);
        }
        let mut both = norm(shared, Some(w("post_ffw_norm_1")));
        add(&mut both, &norm(&sum, Some(w("post_ffw_norm_2"))));
        both
    }

    fn expert(&self, i: usize, moe: Moe, e: usize, input: &[f64]) -> Vec<f64> {
        let one = |name| {
            let all = self.get(i, name);
            let each = all.len() / moe.count;
            &all[e * each..][..each]
        };
        let (gate, up) = match moe.fused {
            true => one("ffn_gate_up_exps").split_at(moe.width * input.len()),
            false => (one("ffn_gate_exps"), one("ffn_up_exps")),
        };
        let (gate, up) = (self.multiply(gate, input), self.multiply(up, input));
        let gated: Vec<f64> = gate.iter().zip(up).map(|(g, u)| gelu(*g) * u).collect();
        self.multiply(one("ffn_down_exps"), &gated)
    }
}

/// Writes random experts for layer `i`.
pub(super) fn write<'a>(
    mut w: Writer<'a>,
    random: &mut Random,
    format: Format,
    (i, hidden): (usize, usize),
    moe: Moe,
) -> Writer<'a> {
    let Moe { count, width, .. } = moe;
    let name = |name: &str| format!("blk.{i}.{name}.weight");
    let mut matrices = |w, name: &str, cols, rows| {
        matrices(w, &mut *random, format, &format!("blk.{i}.{name}.weight"), [cols, rows, count])
    };
    w = match moe.fused {
        true => matrices(w, "ffn_gate_up_exps", hidden, 2 * width),
        false => {
            w = matrices(w, "ffn_gate_exps", hidden, width);
            matrices(w, "ffn_up_exps", hidden, width)
        }
    };
    w = matrices(w, "ffn_down_exps", width, hidden);
    // Logits that differ by a few: some experts are clearly better than others.
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for e in 0..count {
        let row = (0..hidden).map(|_| 3.0 * random.next()).collect();
        rows.push(if moe.twins && e % 2 == 1 { rows[e - 1].clone() } else { row });
    }
    let router = rows.concat().iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
    let dims = [hidden as u64, count as u64];
    w = w.tensor(name("ffn_gate_inp"), TensorType::F32, &dims, router);
    for norm in ["pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"] {
        w = vector(w, random, &name(norm), hidden);
    }
    w = vector(w, random, &format!("blk.{i}.ffn_gate_inp.scale"), hidden);
    vector(w, random, &format!("blk.{i}.ffn_down_exps.scale"), count)
}

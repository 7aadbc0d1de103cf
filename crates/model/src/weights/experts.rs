//! The tensors of a mixture of experts.
//!
//! The matrices of all experts of a layer are one tensor, which the image holds expert by expert,
//! so that a forward pass touches the pages of those alone that it needs.

use std::time::Instant;

use carat_gguf::{Gguf, Shape, Tensor};
use carat_kernels::{Format, Weights};

use super::paging::Paging;
use super::{Loader, Matrix, bytes_in_memory, find, layer_name, shape, vector};
use crate::config::{Config, Experts};
use crate::error::Result;
use crate::pool::{Pool, Run};

/// The weights of a layer's experts, and of what stands around them.
#[derive(Debug)]
pub(crate) struct ExpertWeights {
    /// `[count][hidden]`, as f32 whatever the file has: which experts are chosen hangs on the last
    /// bits of these products.
    router: Vec<f32>,
    /// What the router's input is multiplied with, the file's scale over √hidden; `[hidden]`.
    pub(crate) router_scale: Vec<f32>,
    /// What the output of each expert is multiplied with; `[count]`.
    pub(crate) scales: Vec<f32>,
    /// The norm of the experts' input.
    pub(crate) pre_norm: Vec<f32>,
    /// The norm of the experts' sum.
    pub(crate) post_norm: Vec<f32>,
    /// The norm of the output of the network that every token is sent through.
    pub(crate) shared_post_norm: Vec<f32>,
    gate_up: GateUp,
    down: Matrix,
    used: usize,
    paging: Paging,
}

/// The first two matrices of each expert, `[width, hidden]`.
#[derive(Debug)]
enum GateUp {
    /// Gate and up in turns.
    Fused(Matrix),
    Apart {
        gate: Matrix,
        up: Matrix,
    },
}

impl ExpertWeights {
    /// How many experts there are.
    pub(crate) fn count(&self) -> usize {
        self.scales.len()
    }

    /// The row of the router that an expert's logit comes from.
    pub(crate) fn router(&self, expert: usize) -> &[f32] {
        let hidden = self.router_scale.len();
        &self.router[expert * hidden..][..hidden]
    }

    /// Gate, up and down of an expert, each as a tensor and the number of its matrix.
    fn matrices(&self, expert: usize) -> [(&Matrix, usize); 3] {
        let [gate, up] = match &self.gate_up {
            GateUp::Fused(both) => [(both, 2 * expert), (both, 2 * expert + 1)],
            GateUp::Apart { gate, up } => [(gate, expert), (up, expert)],
        };
        [gate, up, (&self.down, expert)]
    }

    /// The gate and up matrices of an expert.
    pub(crate) fn gate_up(&self, expert: usize) -> [Weights<'_>; 2] {
        let [gate, up, _] = self.matrices(expert).map(|(tensor, nth)| tensor.nth(nth));
        [gate, up]
    }

    /// The down matrix of an expert.
    pub(crate) fn down(&self, expert: usize) -> Weights<'_> {
        self.down.nth(expert)
    }

    /// Calls `work`, products with the matrices of these experts. Where they lie in a file that
    /// memory may have no room for, the system is told of them before.
    pub(crate) fn paged(&self, pool: &Pool, experts: &[Run], work: impl FnOnce()) {
        if !self.down.is_mapped() || experts.len() > TOLD_MAX {
            return work();
        }
        let begun = Instant::now();
        if self.paging.is_expected() {
            pool.each(experts.len(), experts.iter(), |run| self.will_need(run.matrix as usize));
        }
        work();
        if !pool.is_stopped() && !experts.is_empty() {
            let bytes: usize = self.nth_bytes(0).iter().map(|bytes| bytes.len()).sum();
            self.paging.took(experts.len() * bytes, begun.elapsed().as_secs_f64());
        }
    }

    /// Lets the system read the matrices of an expert in advance.
    fn will_need(&self, expert: usize) {
        self.matrices(expert).into_iter().for_each(|(tensor, nth)| tensor.will_need(nth));
    }

    /// The bytes of the matrices of an expert.
    fn nth_bytes(&self, expert: usize) -> [&[u8]; 3] {
        self.matrices(expert).map(|(tensor, nth)| tensor.nth_bytes(nth))
    }

    /// How the down matrices are stored.
    pub(crate) fn down_format(&self) -> Format {
        self.down(0).format()
    }

    /// What a token reads: the router and some experts, others for every layer `i`.
    pub(super) fn decoding(&self, i: usize) -> impl Iterator<Item = &[u8]> {
        let count = self.count();
        let some = (0..self.used).map(move |rank| (rank * count / self.used + i) % count);
        let matrices = some.flat_map(|expert| self.nth_bytes(expert));
        [bytemuck::cast_slice(&self.router)].into_iter().chain(matrices)
    }
}

impl Loader<'_> {
    /// The experts of layer `i`.
    pub(super) fn experts(&mut self, i: usize, experts: Experts) -> Result<ExpertWeights> {
        let name = |name| layer_name(i, name);
        let mut router_scale = vector(self.gguf, &scale_name(i, ROUTER))?;
        let root = (router_scale.len() as f32).sqrt();
        router_scale.iter_mut().for_each(|scale| *scale /= root);
        Ok(ExpertWeights {
            router: vector(self.gguf, &name(ROUTER))?,
            router_scale,
            scales: vector(self.gguf, &scale_name(i, DOWN))?,
            pre_norm: vector(self.gguf, &name("pre_ffw_norm_2"))?,
            post_norm: vector(self.gguf, &name("post_ffw_norm_2"))?,
            shared_post_norm: vector(self.gguf, &name("post_ffw_norm_1"))?,
            gate_up: match are_apart(self.gguf, i) {
                true => {
                    GateUp::Apart { gate: self.matrix(&name(GATE))?, up: self.matrix(&name(UP))? }
                }
                false => GateUp::Fused(self.matrix(&name(GATE_UP))?),
            },
            down: self.matrix(&name(DOWN))?,
            used: experts.used,
            paging: Paging::default(),
        })
    }
}

/// The most experts of a layer that the system is told of: those of a few tokens. A prompt needs
/// nearly all of them, one after the other, which the system reads well by itself.
const TOLD_MAX: usize = 64;

/// The tensors of the experts of layer `i`, with their shapes.
pub(super) fn tensors(
    gguf: &Gguf<'_>,
    i: usize,
    hidden: usize,
    experts: Experts,
) -> Vec<(String, Shape)> {
    let Experts { count, width, .. } = experts;
    let gate_up: &[_] = match are_apart(gguf, i) {
        true => &[(GATE, [hidden, width, count]), (UP, [hidden, width, count])],
        false => &[(GATE_UP, [hidden, 2 * width, count])],
    };
    let mut all = vec![
        (layer_name(i, ROUTER), shape(&[hidden, count])),
        (scale_name(i, ROUTER), shape(&[hidden])),
        (layer_name(i, DOWN), shape(&[width, hidden, count])),
        (scale_name(i, DOWN), shape(&[count])),
    ];
    all.extend(gate_up.iter().map(|(name, dims)| (layer_name(i, name), shape(dims))));
    let norms = ["pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"];
    all.extend(norms.map(|name| (layer_name(i, name), shape(&[hidden]))));
    all
}

/// The bytes in memory of all experts' matrices, and of those that a token is multiplied with.
///
/// # Errors
/// If a tensor is missing or in a format without a kernel.
pub(crate) fn bytes(gguf: &Gguf<'_>, config: &Config) -> Result<[u64; 2]> {
    let (mut all, mut of_token) = (0, 0);
    let layers = config.layers.iter().enumerate();
    for (i, experts) in layers.filter_map(|(i, layer)| Some((i, layer.experts?))) {
        for (name, _) in tensors(gguf, i, config.hidden, experts) {
            let tensor = find(gguf, &name)?;
            if is_stacked(tensor) {
                let bytes = bytes_in_memory(tensor)?;
                all += bytes;
                of_token += bytes / experts.count as u64 * experts.used as u64;
            }
        }
    }
    Ok([all, of_token])
}

/// How many matrices a tensor holds that are multiplied each for itself.
pub(super) fn stacked(tensor: &Tensor<'_>) -> usize {
    let experts = tensor.shape.get(2).map_or(1, |count| *count as usize);
    match is_stacked(tensor) {
        true if is_named(tensor, GATE_UP) => 2 * experts,
        true => experts,
        false => 1,
    }
}

fn is_stacked(tensor: &Tensor<'_>) -> bool {
    [GATE_UP, GATE, UP, DOWN].iter().any(|name| is_named(tensor, name))
}

fn is_named(tensor: &Tensor<'_>, name: &str) -> bool {
    tensor.name.strip_suffix(".weight").is_some_and(|tensor| tensor.ends_with(name))
}

/// Whether a tensor is a router, which is read like a vector.
pub(super) fn is_router(name: &str) -> bool {
    name.ends_with(".ffn_gate_inp.weight")
}

/// Whether gate and up of layer `i` are tensors of their own.
fn are_apart(gguf: &Gguf<'_>, i: usize) -> bool {
    let has = |name| gguf.tensor(&layer_name(i, name)).is_some();
    !has(GATE_UP) && (has(GATE) || has(UP))
}

fn scale_name(i: usize, name: &str) -> String {
    format!("blk.{i}.{name}.scale")
}

const ROUTER: &str = "ffn_gate_inp";
const GATE_UP: &str = "ffn_gate_up_exps";
const GATE: &str = "ffn_gate_exps";
const UP: &str = "ffn_up_exps";
const DOWN: &str = "ffn_down_exps";

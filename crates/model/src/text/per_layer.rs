//! Per-layer embeddings (Gemma 4 E2B and E4B): every layer has a short vector of its own for every
//! token, and ends with a step that mixes it in.
//!
//! ```text
//! context = RMSNorm(Wm e / √D)          e is the row that the first layer gets, of D values
//! p = (context + √P · table(token)) / √2        P values for each layer
//! x = (x + RMSNorm(Wp · (gelu(Wg x) · p))) · scale      the end of a layer
//! ```
//!
//! The table is read from the file, a row for each token of the pass.

use std::f32::consts::FRAC_1_SQRT_2;
use std::sync::{Mutex, PoisonError};

use crate::arena::{Frame, Need};
use crate::config::Config;
use crate::error::Error;
use crate::model::Model;
use crate::pool::{Activations, Pool, Product};
use crate::weights::PerLayerStep;

use super::{Pass, PassError, Stream};

/// Scratch of [`inputs`].
pub(super) fn inputs_need(config: &Config, tokens: usize) -> Need {
    match config.per_layer {
        0 => Need::default(),
        _ => Activations::need(config.hidden, tokens),
    }
}

/// Fills `out`, `[tokens, layers, per_layer]`, with the vectors for the tokens of all streams,
/// whose rows are embedded in `x`, `[tokens, hidden]`.
///
/// # Errors
/// If the table's file was changed, or cannot be read.
pub(super) fn inputs(
    model: &Model,
    pool: &Pool,
    streams: &[Stream<'_>],
    x: &[f32],
    out: &mut [f32],
    mut frame: Frame<'_>,
) -> Result<(), PassError> {
    let Some(weights) = &model.weights().per_layer else { return Ok(()) };
    let (config, isa, table) = (model.config(), pool.isa(), &weights.table);
    let (len, width) = (config.per_layer, config.per_layer_len());
    table.check().map_err(PassError::File)?;
    let ids = |row: usize| {
        let stream = streams.iter().rfind(|stream| stream.row <= row);
        stream.map_or(0, |stream| stream.per_layer_id(row - stream.row) as usize)
    };
    if out.len() > width {
        (0..out.len() / width).for_each(|row| table.will_need(ids(row)));
    }
    let x = Activations::new(pool, x, config.hidden, &mut frame);
    pool.matmul(&x, [Product { weights: weights.model_proj.view(), out }]);
    let (inverse_root, root) = (1.0 / (config.hidden as f32).sqrt(), (len as f32).sqrt());
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    pool.chunks(out, width, |row, out| {
        isa.scale(out, inverse_root);
        for vector in out.chunks_exact_mut(len) {
            isa.rms_norm_in_place(vector, Some(&weights.proj_norm), config.norm_eps);
        }
        let read = table.row(ids(row), |first, values| {
            isa.scale(values, root);
            isa.add(&mut out[first..first + values.len()], values);
        });
        isa.scale(out, FRAC_1_SQRT_2);
        if let Err(error) = read {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(PassError::File(error)),
        None => table.check().map_err(PassError::File), // it may have changed meanwhile
    }
}

/// Scratch of [`step`].
pub(super) fn need(config: &Config, tokens: usize) -> Need {
    let len = config.per_layer;
    if len == 0 {
        return Need::default();
    }
    let activations = Activations::need(config.hidden, tokens).or(Activations::need(len, tokens));
    Need::of::<f32>(tokens * len).and(activations)
}

/// Fills `h` with what layer `i` adds at its end to the rows `x`, before the norm; both are
/// `[tokens, hidden]`.
pub(super) fn step(
    pass: &Pass<'_>,
    weights: &PerLayerStep,
    i: usize,
    x: &[f32],
    h: &mut [f32],
    mut frame: Frame<'_>,
) {
    let (pool, config) = (pass.pool, pass.config);
    let (len, width) = (config.per_layer, config.per_layer_len());
    let gate = frame.take(x.len() / config.hidden * len); // [tokens, per_layer]
    {
        let mut frame = frame.nested();
        let x = Activations::new(pool, x, config.hidden, &mut frame);
        pool.matmul(&x, [Product { weights: weights.gate.view(), out: gate }]);
    }
    pool.chunks(gate, len, |t, gate| {
        pool.isa().gelu_mul(gate, &pass.per_layer[t * width + i * len..][..len]);
    });
    let gate = Activations::new(pool, gate, len, &mut frame);
    pool.matmul(&gate, [Product { weights: weights.proj.view(), out: h }]);
}

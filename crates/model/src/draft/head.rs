//! The output head of a drafter that looks at the likeliest clusters of tokens alone.
//!
//! A row of the head stands for a token, a centroid for a cluster of them. Tokens of the clusters
//! with the greatest products get their logits, the others one less than the least of these
//! (transformers, `Gemma4AssistantMaskedEmbedder`).

use carat_kernels::{GROUP_ROWS, Isa};

use crate::TokenId;
use crate::arena::{Frame, Need};
use crate::pool::{Activations, Pool, Product};

use super::drafter::Clusters;
use super::tensors::Ordered;
use super::{Drafter, DrafterShape};

/// Scratch of [`ordered`]; none for a dense head.
pub(super) fn need(shape: &DrafterShape) -> Need {
    let Some(clusters) = shape.clusters else { return Need::default() };
    let products = Need::of::<f32>(clusters.used * width(clusters));
    Need::of::<f32>(clusters.count).and(Need::of::<u32>(clusters.count)).and(products)
}

/// Values of the groups of rows that hold a cluster, wherever it begins.
fn width(clusters: Clusters) -> usize {
    (clusters.tokens.div_ceil(GROUP_ROWS) + 1) * GROUP_ROWS
}

/// Fills `logits`, `[vocab]`, with the products of `y` and the rows of the likeliest clusters.
pub(super) fn ordered(
    drafter: &Drafter,
    ordered: &Ordered,
    pool: &Pool,
    y: &Activations<'_>,
    logits: &mut [f32],
    mut frame: Frame<'_>,
) {
    let Some(clusters) = drafter.shape.clusters else { return };
    let scores = frame.take(clusters.count);
    pool.matmul(y, [Product { weights: ordered.centroids.view(), out: scores }]);
    let chosen = frame.take::<u32>(clusters.count);
    for (cluster, number) in chosen.iter_mut().zip(0..) {
        *cluster = number;
    }
    let better = |a: &u32, b: &u32| {
        let [score_a, score_b] = [a, b].map(|cluster| scores[*cluster as usize]);
        score_b.total_cmp(&score_a).then(a.cmp(b))
    };
    chosen.select_nth_unstable_by(clusters.used - 1, better);
    let chosen = &chosen[..clusters.used];

    let first_row = |i: usize| chosen[i] as usize * clusters.tokens;
    let width = width(clusters);
    let products = frame.take(clusters.used * width); // [used][rows of groups]
    let groups = |i| {
        let first = first_row(i);
        first / GROUP_ROWS..(first + clusters.tokens).div_ceil(GROUP_ROWS)
    };
    pool.row_groups(y, &drafter.weights.head.view(), groups, products, width);
    let mut least = f32::INFINITY;
    let of_cluster = |i: usize| {
        let first = first_row(i);
        let values = &products[i * width + first % GROUP_ROWS..][..clusters.tokens];
        values.iter().zip(&ordered.tokens[first..first + clusters.tokens])
    };
    for (value, _) in (0..clusters.used).flat_map(of_cluster) {
        least = if *value < least || value.is_nan() { *value } else { least }; // keeps NaN
    }
    logits.fill(least - 1.0);
    for (value, token) in (0..clusters.used).flat_map(of_cluster) {
        logits[*token as usize] = *value;
    }
}

/// The token with the greatest logit, the first of several. `logits` are numbers or −∞.
pub(super) fn likeliest(isa: Isa, logits: &[f32]) -> TokenId {
    let greatest = isa.max(logits);
    let at = logits.iter().position(|logit| *logit == greatest);
    at.unwrap_or(0) as TokenId
}

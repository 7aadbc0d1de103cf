//! Sorting by an order that may not exist. The standard library's sort may panic where an order
//! contradicts itself, as that of values with NaN among them does.

use std::cmp::Ordering;

use super::budget::{Builder, Heap, Result};

/// `items` in the order of `compare`; equal ones keep theirs.
pub(super) fn sorted<T>(
    heap: &Heap,
    items: Vec<T>,
    compare: impl Fn(&T, &T) -> Result<Option<Ordering>>,
) -> Result<Vec<T>> {
    // What this function allocates, and what its caller did for `items`.
    let mut room = Builder::<[usize; 4]>::new(heap);
    room.reserve(items.len())?;
    let mut order: Vec<usize> = (0..items.len()).collect();
    let mut width = 1;
    while width < items.len() {
        heap.work(items.len() / 4)?;
        let mut merged = Vec::with_capacity(items.len());
        for pair in order.chunks(2 * width) {
            let (mut a, mut b) = pair.split_at(width.min(pair.len()));
            while let ([first_a, rest_a @ ..], [first_b, rest_b @ ..]) = (a, b) {
                if compare(&items[*first_b], &items[*first_a])? == Some(Ordering::Less) {
                    merged.push(*first_b);
                    b = rest_b;
                } else {
                    merged.push(*first_a);
                    a = rest_a;
                }
            }
            merged.extend_from_slice(a);
            merged.extend_from_slice(b);
        }
        order = merged;
        width *= 2;
    }
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| items[at].take()).collect())
}

//! CIE L*a*b* of illuminant D50 to sRGB, as the reference's color library does it: exactly at the
//! nodes of a grid, and between them by the tetrahedron of four nodes around a color.

/// The colors at the nodes.
pub(super) struct Lab {
    /// Red, green and blue from 0 to 1; `b` varies fastest, `L` slowest.
    nodes: Vec<[f32; 3]>,
}

impl Lab {
    pub(super) fn new() -> Self {
        let at = |i: usize| i as f64 * 255.0 / CELLS as f64;
        let nodes = (0..SIDE * SIDE * SIDE)
            .map(|i| exact(at(i / (SIDE * SIDE)), at(i / SIDE % SIDE), at(i % SIDE)));
        Self { nodes: nodes.collect() }
    }

    /// The color of `L` from 0 to 255 for 0 to 100, `a` and `b` with signs.
    pub(super) fn rgb(&self, [l, a, b]: [u8; 3]) -> [u8; 3] {
        // Where the color is in its cell, in 255ths of each side.
        let place = [l, a ^ 0x80, b ^ 0x80].map(|value| {
            let place = usize::from(value) * CELLS;
            let cell = (place / 255).min(CELLS - 1);
            (cell, place - 255 * cell)
        });
        let steps = [SIDE * SIDE, SIDE, 1];
        let mut node = 0;
        let mut ways = [(0, 0); 3];
        for ((way, (cell, part)), step) in ways.iter_mut().zip(place).zip(steps) {
            node += cell * step;
            *way = (part, step);
        }
        // From the lowest node along the sides, the one of the largest part first.
        ways.sort_by_key(|&(part, _)| std::cmp::Reverse(part));
        let mut color = self.nodes[node];
        for (part, step) in ways {
            let (from, to) = (self.nodes[node], self.nodes[node + step]);
            for ((color, from), to) in color.iter_mut().zip(from).zip(to) {
                *color += (to - from) * part as f32 / 255.0;
            }
            node += step;
        }
        color.map(|part| (255.0 * part + 0.5) as u8)
    }
}

/// The color of `L` from 0 to 255 for 0 to 100, `a` and `b` from 0 to 255 with 128 for 0.
fn exact(l: f64, a: f64, b: f64) -> [f32; 3] {
    let fy = (l * 100.0 / 255.0 + 16.0) / 116.0;
    let (fx, fz) = (fy + (a - 128.0) / 500.0, fy - (b - 128.0) / 200.0);
    let linear =
        |f: f64| if f > 24.0 / 116.0 { f * f * f } else { (f - 16.0 / 116.0) * 108.0 / 841.0 };
    let (x, y, z) = (0.9642 * linear(fx), linear(fy), 0.8249 * linear(fz));
    TO_SRGB.map(|[from_x, from_y, from_z]| {
        let light = (from_x * x + from_y * y + from_z * z).clamp(0.0, 1.0);
        let code = if light <= 0.003_130_8 {
            12.92 * light
        } else {
            1.055 * light.powf(1.0 / 2.4) - 0.055
        };
        code as f32
    })
}

/// XYZ of illuminant D50 to linear sRGB: the inverse of the primaries of IEC 61966-2-1, adapted by
/// Bradford's method.
const TO_SRGB: [[f64; 3]; 3] = [
    [3.134_135_9, -1.617_386_0, -0.490_662_2],
    [-0.978_795_5, 1.916_254_6, 0.033_442_7],
    [0.071_955_4, -0.228_976_8, 1.405_386_0],
];

/// Cells along a side of the grid, and nodes.
const CELLS: usize = 32;
const SIDE: usize = CELLS + 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// Colors of Pillow with Little CMS, whose sums are rounded once more.
    #[test]
    fn colors_are_those_of_the_reference() {
        let cases = [
            ([128, 0, 0], [119, 119, 119]),
            ([255, 0, 0], [254, 255, 254]),
            ([135, 80, 67], [249, 3, 10]),
            ([82, 79, 148], [88, 0, 253]),
            ([200, 218, 248], [83, 214, 207]),
            ([30, 12, 32], [53, 23, 0]),
            ([165, 22, 158], [43, 151, 255]),
            ([225, 173, 112], [31, 255, 0]),
        ];
        let lab = Lab::new();
        for (stored, wanted) in cases {
            let found = lab.rgb(stored);
            let near = found.iter().zip(wanted).all(|(&a, b): (_, u8)| b.abs_diff(a) <= 1);
            assert!(near, "{stored:?}: {found:?}, not {wanted:?}");
        }
    }
}

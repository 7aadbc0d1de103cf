//! What eight rows of each block format look like in the container: field after field, a vector of
//! payload for each four weights.

use bytemuck::{Pod, Zeroable};

/// Eight bytes, one of each row.
pub(crate) type Bytes = [u8; 8];
/// Eight f16 or u16, one of each row.
pub(crate) type Halves = [u8; 16];
/// Eight dwords, one of each row.
pub(crate) type Dwords = [u8; 32];

macro_rules! packed {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)+ })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Pod, Zeroable)]
            #[repr(C)]
            pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: $ty,)+ }
        )+
    };
}

packed! {
    /// Vector `h`: weights `4h ..` in the low nibbles, `16 + 4h ..` in the high ones.
    Q4_0x8 { d: Halves, qs: [Dwords; 4], }

    /// As [`Q4_0x8`].
    Q4_1x8 { d: Halves, m: Halves, qs: [Dwords; 4], }

    /// As [`Q4_0x8`]; bit `i` of `qh` is the fifth bit of weight `i`.
    Q5_0x8 { d: Halves, qh: Dwords, qs: [Dwords; 4], }

    /// As [`Q5_0x8`].
    Q5_1x8 { d: Halves, m: Halves, qh: Dwords, qs: [Dwords; 4], }

    /// Vector `g`: weights `4g ..`, signed.
    Q8_0x8 { d: Halves, qs: [Dwords; 8], }

    Q2Kx8 {
        /// Vector `v`: a byte for each of the 16-weight groups `4v ..`, scale below min.
        scales: [Dwords; 4],
        /// Vector `8u + g`: bits `2r ..` are weights `4g ..` of sub-block `4u + r`.
        qs: [Dwords; 16],
        d: Halves,
        dmin: Halves,
    }

    Q3Kx8 {
        /// Vector `g`: bit `j` is the third bit of weights `4g ..` of sub-block `j`.
        hmask: [Dwords; 8],
        /// As in [`Q2Kx8`].
        qs: [Dwords; 16],
        scales: [Dwords; 3],
        d: Halves,
    }

    Q4Kx8 {
        d: Halves,
        dmin: Halves,
        /// The twelve scale bytes.
        scales: [Dwords; 3],
        /// Vector `8p + g`: weights `4g ..` of sub-block `2p` (low) and `2p + 1` (high nibbles).
        qs: [Dwords; 32],
    }

    Q5Kx8 {
        d: Halves,
        dmin: Halves,
        scales: [Dwords; 3],
        /// Vector `g`: bit `j` is the fifth bit of weights `4g ..` of sub-block `j`.
        qh: [Dwords; 8],
        /// As in [`Q4Kx8`].
        qs: [Dwords; 32],
    }

    Q6Kx8 {
        /// Vector `16u + 8r + g`: weights `4g ..` of sub-block `4u + r` (low) and `4u + r + 2`
        /// (high nibbles).
        ql: [Dwords; 32],
        /// Vector `8u + g`: bits `2r ..` are the upper bits of weights `4g ..` of sub-block
        /// `4u + r`.
        qh: [Dwords; 16],
        /// Vector `v`: a signed byte for each of the 16-weight groups `4v ..`.
        scales: [Dwords; 4],
        d: Halves,
    }

    IQ2XXSx8 {
        d: Halves,
        /// Vector `2j`: four indices of sub-block `j`, a byte each. Vector `2j + 1`: their signs,
        /// seven bits each, and the scale.
        qs: [Dwords; 16],
    }

    IQ2XSx8 {
        d: Halves,
        /// Vector `2j + i`: indices `2i` and `2i + 1` of sub-block `j`, nine bits each, below seven
        /// signs.
        qs: [Dwords; 16],
        /// Byte `j`: the scales of the halves of sub-block `j`, a nibble each.
        scales: [Dwords; 2],
    }

    IQ2Sx8 {
        d: Halves,
        /// Vector `j`: the lower eight bits of four indices of sub-block `j`.
        qs: [Dwords; 8],
        /// Vector `j`: the signs of sub-block `j`.
        signs: [Dwords; 8],
        /// Byte `j`: the upper two bits of four indices.
        qh: [Dwords; 2],
        /// As in [`IQ2XSx8`].
        scales: [Dwords; 2],
    }

    IQ3XXSx8 {
        d: Halves,
        /// Vector `2j + i`: indices `4i ..` of sub-block `j`.
        qs: [Dwords; 16],
        /// Vector `j`: seven signs for each eight weights of sub-block `j`, and the scale.
        signs: [Dwords; 8],
    }

    IQ3Sx8 {
        d: Halves,
        /// As in [`IQ3XXSx8`], the lower eight bits.
        qs: [Dwords; 16],
        /// Byte `j`: the ninth bits of eight indices.
        qh: [Dwords; 2],
        /// Vector `j`: the signs of sub-block `j`.
        signs: [Dwords; 8],
        /// Nibble `j`: the scale of sub-block `j`.
        scales: Dwords,
    }

    /// As [`Q4_0x8`], the nibbles being indices.
    IQ4NLx8 { d: Halves, qs: [Dwords; 4], }

    IQ4XSx8 {
        d: Halves,
        /// Bits `2j ..`: the upper two bits of scale `j`.
        scales_h: Halves,
        /// Nibble `j`: the lower four bits of scale `j`.
        scales_l: Dwords,
        /// Vectors `4j ..`: sub-block `j`, each as in [`IQ4NLx8`].
        qs: [Dwords; 32],
    }

    /// As [`IQ4NLx8`].
    MXFP4x8 { e: Bytes, qs: [Dwords; 4], }

    NVFP4x8 {
        /// Byte `k`: the scale of weights `16k ..`.
        d: Dwords,
        /// Vector `2k + i`: weights `16k + 4i ..` in the low nibbles, `16k + 8 + 4i ..` in the high
        /// ones.
        qs: [Dwords; 8],
    }
}

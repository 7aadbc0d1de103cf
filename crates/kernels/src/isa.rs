//! `Isa`: which instruction set a kernel runs on, and the proof that this CPU has it.
//!
//! The only public way to get an `Isa` is to ask what the machine has, so whoever holds one may run
//! its instructions. Each integer kernel exists once per instruction set, under the same name, and
//! the macro `on!` picks one. That macro holds the library's only calls into `#[target_feature]`
//! functions.

#![expect(unsafe_code, reason = "calls #[target_feature] kernels; `Isa` proves the CPU has them")]

use std::ops::Range;
use std::sync::OnceLock;

use pulp::{Simd, WithSimd};

#[cfg(target_arch = "aarch64")]
use crate::neon::{baseline, dotprod, i8mm};
#[cfg(target_arch = "x86_64")]
use crate::x86::{avx2, avx512vbmi, avx512vnni, avxvnni};
use crate::{Columns, Format, GROUP_ROWS, Weights, activations, gemm_f32, scalar};

/// An instruction set that this machine has.
#[derive(Clone, Copy)]
pub struct Isa(Kind);

#[derive(Clone, Copy)]
enum Kind {
    Scalar,
    /// AVX2, FMA and F16C: Intel Haswell, AMD Zen, and later.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// AVX-VNNI, `vpdpbusd` on 256 bits: Intel Alder Lake, AMD Zen 5, and later.
    #[cfg(target_arch = "x86_64")]
    AvxVnni(pulp::x86::V3),
    /// AVX-512 with VNNI: Intel Cascade Lake.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(pulp::x86::V4),
    /// The same with VBMI, under the same name: Intel Ice Lake, AMD Zen 4, and later.
    #[cfg(target_arch = "x86_64")]
    Avx512Vbmi(pulp::x86::V4),
    /// Advanced SIMD, which every 64-bit Arm CPU has; the best of Cortex-A72 and earlier.
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    /// The dot product `sdot`: Cortex-A76, Neoverse N1, Apple M1, and later.
    #[cfg(target_arch = "aarch64")]
    NeonDotprod(pulp::aarch64::Neon),
    /// The matrix product `smmla`: Cortex-A710, Neoverse V1 and N2, Snapdragon X, Apple M2, and
    /// later.
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(pulp::aarch64::Neon),
}

/// Runs `$kernel` as compiled for the instruction set `$isa`. Each `$arg` is a name and not an
/// expression, so nothing else is evaluated inside `unsafe`.
macro_rules! on {
    ($isa:ident, $kernel:ident($($arg:ident: $type:ty),*)) => {{
        let kernel: unsafe fn($($type),*) = match $isa.0 {
            Kind::Scalar => scalar::$kernel,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => avx2::$kernel,
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni(_) => avxvnni::$kernel,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni(_) => avx512vnni::$kernel,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vbmi(_) => avx512vbmi::$kernel,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => baseline::$kernel,
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDotprod(_) => dotprod::$kernel,
            #[cfg(target_arch = "aarch64")]
            Kind::NeonI8mm(_) => i8mm::$kernel,
        };
        // SAFETY: a `Kind` is made only where `detect` saw every feature that its kernels enable.
        unsafe { kernel($($arg),*) }
    }};
}

/// Calls the instance of `$function` that is compiled for `$columns` columns, one to eight.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! for_columns {
    ($columns:expr, $($function:ident)::+($($arg:ident),*)) => {
        match $columns {
            1 => $($function)::+::<1>($($arg),*),
            2 => $($function)::+::<2>($($arg),*),
            3 => $($function)::+::<3>($($arg),*),
            4 => $($function)::+::<4>($($arg),*),
            5 => $($function)::+::<5>($($arg),*),
            6 => $($function)::+::<6>($($arg),*),
            7 => $($function)::+::<7>($($arg),*),
            _ => $($function)::+::<8>($($arg),*),
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use for_columns;

impl Isa {
    /// All instruction sets that this machine has, from scalar to the strongest.
    pub fn available() -> &'static [Self] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(detect)
    }

    /// The strongest instruction set that this machine has.
    pub fn best() -> Self {
        *Self::available().last().unwrap_or(&Self::scalar())
    }

    /// The kernels in plain Rust, which specify what all others compute.
    pub fn scalar() -> Self {
        Self(Kind::Scalar)
    }

    /// The name of this instruction set: `scalar`; `avx2`, `avxvnni` or `avx512vnni` on x86;
    /// `neon`, `neon-dotprod` or `neon-i8mm` on Arm.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni(_) => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni(_) | Kind::Avx512Vbmi(_) => "avx512vnni",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDotprod(_) => "neon-dotprod",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonI8mm(_) => "neon-i8mm",
        }
    }

    /// The instruction set called `name`, if this machine has it.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::available().iter().copied().find(|isa| isa.name() == name)
    }

    /// The most columns with which four streams of weights can be read; 0 where there is no choice.
    pub(crate) fn stream_columns(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) | Kind::AvxVnni(_) | Kind::Avx512Vnni(_) | Kind::Avx512Vbmi(_) => {
                crate::streams::STREAM_COLUMNS
            }
            _ => 0,
        }
    }

    /// Multiplies the rows of the row groups `groups` of the packed matrix `w` with the columns
    /// `x`: `out[c][i] = Σ_k w[8 · groups.start + i][k] · x[c][k]`.
    ///
    /// `out` has the shape `[columns][8 · groups.len()]`; rows that only pad the last group become
    /// zero. For all formats but F32, the bits of the result depend neither on the range of groups
    /// nor on the number of columns nor on the instruction set. A call with many columns is faster
    /// than many calls, since it unpacks the weights once.
    ///
    /// # Panics
    /// If a length does not fit the others, or the columns are not of the kind that
    /// [`Format::wants_int8`] asks for.
    pub fn matmul(self, w: &Weights<'_>, groups: Range<usize>, x: Columns<'_>, out: &mut [f32]) {
        let (format, columns) = (w.format(), x.columns());
        assert_eq!(x.k(), w.cols(), "{} inputs for a matrix of {} columns", x.k(), w.cols());
        assert!(columns > 0, "no columns");
        assert!(groups.start <= groups.end && groups.end <= w.groups(), "no groups {groups:?}");
        let rows = groups.len() * GROUP_ROWS;
        let have = out.len();
        assert_eq!(have, rows * columns, "room for {have} products of {rows}x{columns}");
        match x {
            Columns::Int8 { k, data, .. } => {
                assert!(format.wants_int8(), "{format} multiplies f32 columns");
                assert_eq!(data.len(), activations::int8_dwords(k, columns), "quantised columns");
            }
            Columns::F32 { k, values } => {
                assert!(!format.wants_int8(), "{format} multiplies 8-bit columns");
                assert_eq!(values.len(), k * columns, "f32 columns");
            }
        }
        if rows == 0 {
            return;
        }
        let bytes = w.group_bytes(groups);
        match (format, x) {
            (Format::F32, Columns::F32 { k, values }) => gemm_f32::matmul(bytes, k, values, out),
            _ => self.matmul_checked(w, bytes, x, out),
        }
    }

    fn matmul_checked(self, w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
        on!(self, matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]));
    }

    pub(crate) fn quantize_checked(self, x: &[f32], k: usize, out: &mut [u32]) {
        on!(self, quantize(x: &[f32], k: usize, out: &mut [u32]));
    }

    pub(crate) fn widen_f16_checked(self, out: &mut [f32], bits: &[u16]) {
        on!(self, widen_f16(out: &mut [f32], bits: &[u16]));
    }

    pub(crate) fn scale_int8_checked(self, out: &mut [f32], q: &[i8], scales: &[f32]) {
        on!(self, scale_int8(out: &mut [f32], q: &[i8], scales: &[f32]));
    }

    /// The proof that the CPU has vectors of 512 bits, where this instruction set uses them.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn avx512(self) -> Option<pulp::x86::V4> {
        match self.0 {
            Kind::Avx512Vnni(simd) | Kind::Avx512Vbmi(simd) => Some(simd),
            _ => None,
        }
    }

    /// [`Isa::run`] with vectors of sixteen lanes where there are such, for what has no sum over
    /// lanes.
    #[inline]
    pub(crate) fn run_wide<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni(simd) | Kind::Avx512Vbmi(simd) => Simd::vectorize(simd, op),
            _ => self.run(op),
        }
    }

    /// Runs the element-wise operation `op`, compiled for this instruction set.
    #[inline]
    pub(crate) fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self.0 {
            Kind::Scalar => op.with_simd(pulp::Scalar256b), // as many lanes as `eight.rs` sums in
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(simd) | Kind::AvxVnni(simd) => Simd::vectorize(simd, op),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni(simd) | Kind::Avx512Vbmi(simd) => Simd::vectorize(*simd, op), // as V3
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(simd) | Kind::NeonDotprod(simd) | Kind::NeonI8mm(simd) => {
                Simd::vectorize(simd, op)
            }
        }
    }
}

impl PartialEq for Isa {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Isa {}

impl std::fmt::Debug for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn detect() -> Vec<Isa> {
    #[allow(unused_mut, reason = "some architectures have nothing to add")]
    let mut found = vec![Isa::scalar()];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && let Some(simd) = pulp::x86::V3::try_new()
    {
        found.push(Isa(Kind::Avx2(simd)));
        if is_x86_feature_detected!("avxvnni") {
            found.push(Isa(Kind::AvxVnni(simd)));
        }
        if has_avx512vnni()
            && let Some(simd) = pulp::x86::V4::try_new()
        {
            let has_vbmi = is_x86_feature_detected!("avx512vbmi");
            let kind = if has_vbmi { Kind::Avx512Vbmi } else { Kind::Avx512Vnni };
            found.push(Isa(kind(simd)));
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon")
        && let Some(simd) = pulp::aarch64::Neon::try_new()
    {
        use std::arch::is_aarch64_feature_detected as has;
        found.push(Isa(Kind::Neon(simd)));
        if has!("dotprod") {
            found.push(Isa(Kind::NeonDotprod(simd)));
            if has!("i8mm") {
                found.push(Isa(Kind::NeonI8mm(simd)));
            }
        }
    }
    found
}

/// Whether the CPU has every part of AVX-512 that the `avx512vnni` kernels enable.
#[cfg(target_arch = "x86_64")]
fn has_avx512vnni() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::x86::avx512vnni_narrow;
    use crate::{GROUP_COLUMNS, Streams, int8_dwords, packed_bytes};

    /// Kernels that this machine leaves to better ones: AVX-VNNI's in the encoding that more
    /// machines have, and those for AVX-512 without VBMI. Without AVX-512 nothing is tested.
    #[test]
    fn what_other_machines_run_has_the_bits_of_scalar() {
        let Some(simd) = pulp::x86::V4::try_new().filter(|_| has_avx512vnni()) else {
            return eprintln!("not tested: this machine has no AVX-512 VNNI");
        };
        let without_vbmi = Isa(Kind::Avx512Vnni(simd));
        for format in Format::ALL.into_iter().filter(|&format| format != Format::F32) {
            for n in (1..=GROUP_COLUMNS).chain([37]) {
                check(format, n, |w, groups, x, out| {
                    without_vbmi.matmul_checked(w, groups, x, out)
                });
                check(format, n, |w, groups, x, out| {
                    // SAFETY: `avx512vnni` is there, and these are its features.
                    unsafe { avx512vnni_narrow::matmul(w, groups, x, out) }
                });
            }
        }
    }

    /// Compares products of `n` columns with those of scalar, bit by bit.
    fn check(
        format: Format,
        n: usize,
        matmul: impl Fn(&Weights<'_>, &[u8], Columns<'_>, &mut [f32]),
    ) {
        let (rows, k) = (24, 512);
        // No byte above 0x3f, whatever field it falls into: every scale is then finite.
        let bytes = (0..packed_bytes(format, rows, k)).map(|i| (i * i % 8191 + i) as u8 & 0x3f);
        let bytes: Vec<u8> = bytes.collect();
        let w = Weights::new(format, rows, k, &bytes);
        let values: Vec<f32> = (0..k * n).map(|i| (i * 97 % 255) as f32 - 127.0).collect();
        let mut data = vec![0; int8_dwords(k, n)];
        Isa::scalar().quantize_columns(&values, k, &mut data);
        let x = if format.wants_int8() {
            Columns::Int8 { k, columns: n, data: &data }
        } else {
            Columns::F32 { k, values: &values }
        };
        let (mut want, mut got) = (vec![0.0f32; rows * n], vec![f32::NAN; rows * n]);
        scalar::matmul(&w, &bytes, x, &mut want);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for streams in [Streams::Few, Streams::Four] {
            matmul(&w.in_streams(streams), &bytes, x, &mut got);
            assert!(bits(&got) == bits(&want), "{format}, {n} columns, {streams:?}");
            got.fill(f32::NAN);
        }
    }
}

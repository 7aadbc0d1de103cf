//! Loops that do nothing but what the hardware can do at most: read memory, and multiply registers.
//!
//! Each is a `#[target_feature]` function; the tables at the top name those that this CPU has, and
//! nothing else makes a [`Compute`] or a [`Read`].

#![expect(unsafe_code, reason = "calls #[target_feature] loops of this CPU; hints and barriers")]

use std::hint::black_box;

/// Multiplications on registers.
#[derive(Clone, Copy)]
pub(super) struct Compute {
    pub(super) name: &'static str,
    /// The instruction set, by the name that `carat_kernels::Isa` would give it.
    pub(super) isa: &'static str,
    /// 8-bit integers; f32 otherwise.
    pub(super) is_int8: bool,
    run: fn(u64) -> u64,
}

impl Compute {
    /// Runs so many rounds; gives the multiplications that were done.
    pub(super) fn run(self, rounds: u64) -> u64 {
        (self.run)(rounds)
    }
}

/// A way to read memory from front to back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) name: &'static str,
    run: fn(&[u8]) -> u64,
}

impl Read {
    /// Reads every whole 128 bytes; the result depends on all of them.
    pub(super) fn run(self, bytes: &[u8]) -> u64 {
        (self.run)(bytes)
    }
}

/// A table entry whose function is called where the features it needs were just seen.
macro_rules! entry {
    ($table:ident, $name:literal, $isa:literal, $int8:literal, $function:path) => {
        $table.push(Compute {
            name: $name,
            isa: $isa,
            is_int8: $int8,
            // SAFETY: the entry is only made after the features were detected on this CPU.
            run: |rounds| unsafe { $function(rounds) },
        })
    };
}

/// The multiplying loops of this CPU, weakest first.
pub(super) fn compute() -> Vec<Compute> {
    #[allow(unused_mut, reason = "some architectures have none")]
    let mut table = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            entry!(table, "vpmaddubsw + vpaddw, 256 bits", "avx2", true, x86::maddubs);
            entry!(table, "vfmadd, 256 bits", "avx2", false, x86::fma);
        }
        if is_x86_feature_detected!("avxvnni") {
            entry!(table, "vpdpbusd (AVX-VNNI), 256 bits", "avxvnni", true, x86::vnni);
        }
        if is_x86_feature_detected!("avx512f") {
            entry!(table, "vfmadd, 512 bits", "avx512", false, x86::fma_512);
            if is_x86_feature_detected!("avx512vnni") {
                entry!(table, "vpdpbusd (AVX-512), 512 bits", "avx512vnni", true, x86::vnni_512);
            }
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        entry!(table, "fmla, 128 bits", "neon", false, arm::fmla);
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            entry!(table, "sdot, 128 bits", "neon-dotprod", true, arm::sdot);
        }
        if std::arch::is_aarch64_feature_detected!("i8mm") {
            entry!(table, "smmla, 128 bits", "neon-i8mm", true, arm::smmla);
        }
    }
    table
}

/// The reading loops of this CPU.
pub(super) fn read() -> Vec<Read> {
    #[allow(unused_mut, reason = "some architectures have one")]
    let mut table = vec![Read { name: "plain loads", run: super::read }];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was detected on this CPU.
        let run = |bytes: &[u8]| unsafe { x86::read::<0>(bytes) };
        table.push(Read { name: "256-bit loads", run });
        // SAFETY: AVX2 was detected on this CPU.
        let run = |bytes: &[u8]| unsafe { x86::read::<1024>(bytes) };
        table.push(Read { name: "256-bit loads, prefetch 1 KiB ahead", run });
        // SAFETY: AVX2 was detected on this CPU.
        let run = |bytes: &[u8]| unsafe { x86::read::<4096>(bytes) };
        table.push(Read { name: "256-bit loads, prefetch 4 KiB ahead", run });
        // SAFETY: AVX2 was detected on this CPU.
        let run = |bytes: &[u8]| unsafe { x86::read_four(bytes) };
        table.push(Read { name: "256-bit loads of four streams, prefetch 1 KiB ahead", run });
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512F was detected on this CPU.
        let run = |bytes: &[u8]| unsafe { x86::read_512(bytes) };
        table.push(Read { name: "512-bit loads", run });
    }
    table
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::black_box;

    /// Eight products of bytes are summed in 16 bits before they are widened, as kernels do.
    #[target_feature(enable = "avx2")]
    pub(super) fn maddubs(rounds: u64) -> u64 {
        let (w, ones) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi16(1));
        let mut a = _mm256_set1_epi8(black_box(5));
        let mut sums = [_mm256_setzero_si256(); CHAINS_16];
        for _ in 0..rounds {
            let mut halves = [_mm256_setzero_si256(); CHAINS_16];
            for _ in 0..8 {
                for half in &mut halves {
                    *half = _mm256_add_epi16(*half, _mm256_maddubs_epi16(w, a));
                    // SAFETY: no instruction at all; it only makes `a` unknown to the compiler,
                    // which would multiply once otherwise.
                    unsafe { asm!("/* {0} */", inout(ymm_reg) a, options(nomem, nostack)) };
                }
            }
            for (sum, half) in sums.iter_mut().zip(halves) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(half, ones));
            }
        }
        black_box(sums);
        rounds * 8 * CHAINS_16 as u64 * 32
    }

    /// `sum = step(sum, w, a)` in [`CHAINS`] independent sums, of so many multiplications each.
    macro_rules! chains {
        ($name:ident, $features:literal, $zero:ident, $set:ident($w:literal, $a:literal),
            |$sum:ident, $x:ident, $y:ident| $step:expr, $multiplications:literal) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(rounds: u64) -> u64 {
                let ($x, $y) = ($set(black_box($w)), $set(black_box($a)));
                let mut sums = [$zero(); CHAINS];
                for _ in 0..rounds {
                    for sum in &mut sums {
                        let $sum = *sum;
                        *sum = $step;
                    }
                }
                black_box(sums);
                rounds * CHAINS as u64 * $multiplications
            }
        };
    }

    chains!(
        vnni,
        "avx2,avxvnni",
        _mm256_setzero_si256,
        _mm256_set1_epi8(3, 5),
        |sum, w, a| _mm256_dpbusd_avx_epi32(sum, w, a),
        32
    );
    chains!(
        vnni_512,
        "avx512f,avx512vnni",
        _mm512_setzero_si512,
        _mm512_set1_epi8(3, 5),
        |sum, w, a| _mm512_dpbusd_epi32(sum, w, a),
        64
    );
    chains!(
        fma,
        "avx2,fma",
        _mm256_setzero_ps,
        _mm256_set1_ps(0.3, 0.5),
        |sum, w, a| _mm256_fmadd_ps(w, a, sum),
        8
    );
    chains!(
        fma_512,
        "avx512f",
        _mm512_setzero_ps,
        _mm512_set1_ps(0.3, 0.5),
        |sum, w, a| _mm512_fmadd_ps(w, a, sum),
        16
    );

    /// Reads with a prefetch `AHEAD` bytes before each load; 0 is without.
    #[target_feature(enable = "avx2")]
    pub(super) fn read<const AHEAD: usize>(bytes: &[u8]) -> u64 {
        let mut sums = [_mm256_setzero_si256(); 4];
        for lines in bytes.as_chunks::<128>().0 {
            if AHEAD > 0 {
                for line in [0, 64] {
                    let at = lines.as_ptr().wrapping_add(AHEAD + line);
                    _mm_prefetch::<_MM_HINT_T0>(at.cast());
                }
            }
            for (sum, part) in sums.iter_mut().zip(lines.as_chunks::<32>().0) {
                *sum = _mm256_xor_si256(*sum, bytemuck::must_cast(*part));
            }
        }
        bytemuck::must_cast::<_, [u64; 16]>(sums).iter().fold(0, |all, sum| all ^ sum)
    }

    /// Reads four stretches side by side, as long as the groups of rows that kernels read: some
    /// cores follow several streams of addresses and wait less for each of them.
    #[target_feature(enable = "avx2")]
    pub(super) fn read_four(bytes: &[u8]) -> u64 {
        const LINES: usize = (16 << 10) / 128;
        let (windows, rest) = bytes.as_chunks::<128>().0.as_chunks::<{ 4 * LINES }>();
        let mut sums = [_mm256_setzero_si256(); 4];
        for window in windows {
            for i in 0..LINES {
                for stream in 0..4 {
                    let lines = &window[stream * LINES + i];
                    for line in [0, 64] {
                        let at = lines.as_ptr().wrapping_add(1024 + line);
                        _mm_prefetch::<_MM_HINT_T0>(at.cast());
                    }
                    for (sum, part) in sums.iter_mut().zip(lines.as_chunks::<32>().0) {
                        *sum = _mm256_xor_si256(*sum, bytemuck::must_cast(*part));
                    }
                }
            }
        }
        let sums = bytemuck::must_cast::<_, [u64; 16]>(sums);
        sums.iter().fold(read::<0>(rest.as_flattened()), |all, sum| all ^ sum)
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn read_512(bytes: &[u8]) -> u64 {
        let mut sums = [_mm512_setzero_si512(); 2];
        for lines in bytes.as_chunks::<128>().0 {
            for (sum, part) in sums.iter_mut().zip(lines.as_chunks::<64>().0) {
                // The two halves become one load.
                let [low, high]: [__m256i; 2] = bytemuck::must_cast(*part);
                let part = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
                *sum = _mm512_xor_si512(*sum, part);
            }
        }
        let all = _mm512_xor_si512(sums[0], sums[1]);
        let halves = [_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all)];
        bytemuck::must_cast::<_, [u64; 8]>(halves).iter().fold(0, |all, sum| all ^ sum)
    }

    /// Independent sums: more than the latency of any of these instructions times two a cycle.
    const CHAINS: usize = 12;
    /// Fewer where each sum already has its own multiplication before it.
    const CHAINS_16: usize = 4;
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;
    use std::arch::asm;

    use super::black_box;

    #[target_feature(enable = "neon,dotprod")]
    pub(super) fn sdot(rounds: u64) -> u64 {
        let (w, a) = (vdupq_n_s8(black_box(3)), vdupq_n_s8(black_box(5)));
        let mut sums = [vdupq_n_s32(0); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                // SAFETY: `sdot`, which has no stable intrinsic, on three registers and nothing
                // else; the caller has the feature that it belongs to.
                unsafe {
                    asm!("sdot {s:v}.4s, {w:v}.16b, {a:v}.16b", s = inout(vreg) *sum,
                        w = in(vreg) w, a = in(vreg) a, options(pure, nomem, nostack));
                }
            }
        }
        black_box(sums);
        rounds * CHAINS as u64 * 16
    }

    #[target_feature(enable = "neon,i8mm")]
    pub(super) fn smmla(rounds: u64) -> u64 {
        let (w, a) = (vdupq_n_s8(black_box(3)), vdupq_n_s8(black_box(5)));
        let mut sums = [vdupq_n_s32(0); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                // SAFETY: as for `sdot`.
                unsafe {
                    asm!("smmla {s:v}.4s, {w:v}.16b, {a:v}.16b", s = inout(vreg) *sum,
                        w = in(vreg) w, a = in(vreg) a, options(pure, nomem, nostack));
                }
            }
        }
        black_box(sums);
        rounds * CHAINS as u64 * 32
    }

    #[target_feature(enable = "neon")]
    pub(super) fn fmla(rounds: u64) -> u64 {
        let (w, a) = (vdupq_n_f32(black_box(0.3)), vdupq_n_f32(black_box(0.5)));
        let mut sums = [vdupq_n_f32(0.0); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = vfmaq_f32(*sum, w, a);
            }
        }
        black_box(sums);
        rounds * CHAINS as u64 * 4
    }

    /// Independent sums: four pipes of latency four (Arm's optimisation guides) and some more.
    const CHAINS: usize = 20;
}

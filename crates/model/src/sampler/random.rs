//! Random numbers and the exponential, with the same bits on every machine.

/// Uniform in [0, 1): the upper 53 bits of the output, as many as an f64 holds.
pub(super) fn unit(seed: u64, n: u64) -> f64 {
    (output(seed, n) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Output `n` of SplitMix64, whose state is a counter: `seed + (n + 1) * gamma`. The constants are
/// those of the paper "Fast splittable pseudorandom number generators".
fn output(seed: u64, n: u64) -> u64 {
    let z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// e^x for x <= 0 from additions and multiplications alone, hence the same bits everywhere.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; the Taylor series up to r^13/13! leaves a relative error
/// below 1e-16. Values under about 2^-1000 count as 0.
pub(super) fn exp(x: f64) -> f64 {
    if x < -693.0 {
        return 0.0;
    }
    let n = (x * std::f64::consts::LOG2_E).round();
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = (1..=13).rev().fold(1.0, |sum, k| 1.0 + sum * r / f64::from(k));
    series * f64::from_bits(((1023 + n as i64) as u64) << 52)
}

/// ln 2 in two parts (fdlibm `e_exp.c`): the first has 33 bits, so that `n * LN_2_HIGH` is exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_the_published_sequence() {
        // First outputs for seed 1234567, as listed by the Rosetta Code task "Pseudo-random
        // numbers/Splitmix64".
        let wanted = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(wanted, std::array::from_fn(|n| output(1_234_567, n as u64)));
    }

    #[test]
    fn exp_is_the_exponential() {
        for step in 0..70_000 {
            let x = -f64::from(step) * 0.0099;
            let (ours, theirs) = (exp(x), x.exp());
            assert!((ours - theirs).abs() <= 4e-16 * theirs, "exp({x}) is {theirs}, not {ours}");
        }
        assert_eq!((exp(0.0), exp(-1e9), exp(f64::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }
}

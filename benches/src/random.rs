//! Numbers that are arbitrary and the same every time.

/// Marsaglia's xorshift64 ("Xorshift RNGs", 2003): cheap, and good enough for weights.
#[derive(Clone, Debug)]
pub struct Xorshift(u64);

impl Default for Xorshift {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Xorshift {
    /// Another sequence for each seed.
    pub fn seeded(seed: u64) -> Self {
        let Self(first) = Self::default();
        let mut random = Self((first ^ seed.wrapping_mul(0xD129_0295_8A9B_3B45)).max(1));
        (0..8).for_each(|_| {
            random.next();
        });
        random
    }

    /// A value in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next 64 bits; not an iterator, since it has no end.
    #[expect(clippy::should_implement_trait, reason = "an endless source needs no Option")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A value of mean 0 and variance 1, about normal: the sum of four uniform ones (each of
    /// variance 1/12).
    pub fn normal(&mut self) -> f32 {
        let bits = self.next();
        let uniform = |i: u32| ((bits >> (16 * i)) & 0xffff) as f32 / 65_536.0 - 0.5;
        (0..4).map(uniform).sum::<f32>() * 3f32.sqrt()
    }

    /// `count` values of [`Xorshift::normal`], the same ones every time.
    pub fn normals(count: usize) -> Vec<f32> {
        let mut random = Self::default();
        (0..count).map(|_| random.normal()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_have_their_moments() {
        let values: Vec<f64> = Xorshift::normals(40_000).into_iter().map(f64::from).collect();
        let mean = values.iter().sum::<f64>() / 4e4;
        let variance = values.iter().map(|x| x * x).sum::<f64>() / 4e4;
        // Standard errors at n = 40 000: 0.005 of the mean, about 0.006 of the variance.
        assert!(mean.abs() < 0.025 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}

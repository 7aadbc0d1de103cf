//! From repeated measurements to the few numbers that are printed.

/// Some samples of one quantity, in order of size. There is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Takes the samples in any order; `None` if there are none or one is no finite number.
    pub fn new(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        samples.sort_by(f64::total_cmp);
        let ok = !samples.is_empty() && samples.iter().all(|x| x.is_finite());
        ok.then_some(Self(samples))
    }

    /// How many.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or the mean of the middle two.
    pub fn median(&self) -> f64 {
        let (low, high) = ((self.0.len() - 1) / 2, self.0.len() / 2);
        f64::midpoint(self.0[low], self.0[high])
    }

    /// The smallest.
    pub fn min(&self) -> f64 {
        self.0[0]
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// The arithmetic mean.
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The standard deviation of the population that the samples are drawn from (divisor `n − 1`,
    /// as in llama-bench); 0 for one sample.
    pub fn deviation(&self) -> f64 {
        if self.0.len() < 2 {
            return 0.0;
        }
        let mean = self.mean();
        let squares: f64 = self.0.iter().map(|x| (x - mean).powi(2)).sum();
        (squares / (self.0.len() - 1) as f64).sqrt()
    }

    /// Largest minus smallest, as a part of the median: what one should believe of the digits.
    pub fn spread(&self) -> f64 {
        let median = self.median();
        if median == 0.0 { 0.0 } else { (self.max() - self.min()) / median.abs() }
    }

    /// The samples, smallest first.
    pub fn sorted(&self) -> &[f64] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples::new(values.iter().copied()).expect("finite numbers")
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(samples(&[5.0, 1.0, 3.0]).median(), 3.0);
        assert_eq!(samples(&[4.0, 1.0, 3.0, 100.0]).median(), 3.5);
        assert_eq!(samples(&[7.0]).median(), 7.0);
    }

    #[test]
    fn deviation_and_spread_by_hand() {
        // Mean 5, squared differences 9 + 1 + 1 + 9 = 20, divided by 3.
        let samples = samples(&[8.0, 2.0, 4.0, 6.0]);
        assert_eq!((samples.mean(), samples.min(), samples.max()), (5.0, 2.0, 8.0));
        assert!((samples.deviation() - (20.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((samples.spread() - 6.0 / 5.0).abs() < 1e-12);
        assert_eq!(Samples::new([3.0]).map(|s| (s.deviation(), s.spread())), Some((0.0, 0.0)));
    }

    #[test]
    fn what_is_no_number_is_no_sample() {
        assert_eq!(Samples::new([]), None);
        assert_eq!(Samples::new([1.0, f64::NAN]), None);
        assert_eq!(Samples::new([1.0, f64::INFINITY]), None);
        assert_eq!(samples(&[0.0, 0.0]).spread(), 0.0);
    }
}

//! What the demo and the bench write, and how long it took.

use std::time::Duration;

/// The key with this number.
pub fn key(number: usize) -> Vec<u8> {
    format!("key-{number:08}").into_bytes()
}

/// The value of that key: no two are alike, unless they are very short.
pub fn value(number: usize, bytes: usize) -> Vec<u8> {
    number.to_string().into_bytes().into_iter().chain(*b" ").cycle().take(bytes).collect()
}

/// Latencies, in order.
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn new(mut all: Vec<Duration>) -> Latencies {
        all.sort_unstable();
        Latencies(all)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The latency that so many percent do not exceed, in milliseconds; 0 if there are none.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let latencies = Latencies::new((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!([1, 50, 99, 100].map(|percent| latencies.percentile_ms(percent)), [2.0, 100.0, 198.0, 200.0]);
        assert_eq!(Latencies::new(vec![Duration::from_millis(3)]).percentile_ms(50), 3.0);
        assert_eq!(Latencies::new(Vec::new()).percentile_ms(99), 0.0);
    }

    #[test]
    fn values_tell_their_keys_apart() {
        assert_eq!(value(120, 9), b"120 120 1");
        assert_ne!(value(1, 4), value(11, 4));
        assert_eq!(value(5, 0), b"");
    }
}

//! A sketch of how numbers are distributed: quantiles within 1 part in 256, in bounded memory, whatever the numbers are.
//!
//! A number falls into a bin by its sign, its exponent and the first seven bits of its mantissa, read off its bytes: bins follow
//! each other as numbers do. Bins that are never met take no memory.

/// Bits of a number that make a bin: a sign, 11 of exponent and 7 of mantissa.
const BITS: u32 = 19;

/// Bins that are counted together.
const PAGE: usize = 512;

/// How many numbers fell into each bin.
#[derive(Clone)]
pub(crate) struct Sketch {
    pages: Vec<Option<Box<[u64; PAGE]>>>,
    count: u64,
}

impl Default for Sketch {
    fn default() -> Sketch {
        Sketch { pages: vec![None; (1 << BITS) / PAGE], count: 0 }
    }
}

impl Sketch {
    /// Adds numbers, none of which is NaN.
    pub(crate) fn add(&mut self, values: &[f64]) {
        self.count += values.len() as u64;
        for value in values {
            let bin = bin(*value);
            self.pages[bin / PAGE].get_or_insert_with(|| Box::new([0; PAGE]))[bin % PAGE] += 1;
        }
    }

    /// Adds all that another one counted.
    pub(crate) fn merge(&mut self, other: &Sketch) {
        self.count += other.count;
        for (mine, theirs) in self.pages.iter_mut().zip(&other.pages) {
            if let Some(theirs) = theirs {
                let mine = mine.get_or_insert_with(|| Box::new([0; PAGE]));
                mine.iter_mut().zip(&**theirs).for_each(|(mine, theirs)| *mine += theirs);
            }
        }
    }

    /// The middle of the bin in which the part `q` of all numbers ends; `None` of no numbers.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let mut before = (q.clamp(0.0, 1.0) * self.count.checked_sub(1)? as f64) as u64;
        for (n, page) in self.pages.iter().enumerate() {
            for (at, count) in page.iter().flat_map(|page| page.iter().enumerate()) {
                if before < *count {
                    return Some(middle(n * PAGE + at));
                }
                before -= count;
            }
        }
        None
    }
}

/// The bin of a number; -0 is 0.
fn bin(value: f64) -> usize {
    let bits = (value + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    (ordered >> (64 - BITS)) as usize
}

fn middle(bin: usize) -> f64 {
    let ordered = (bin as u64) << (64 - BITS);
    let half = 1 << (63 - BITS);
    let number = |ordered: u64| f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered });
    let (low, middle) = (number(ordered), number(ordered | half));
    match low {
        0.0 => 0.0,
        low if !low.is_finite() || !middle.is_finite() => low,
        _ => middle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_follow_each_other_as_numbers_do_and_hold_their_middle() {
        let mut numbers = vec![0.0, -0.0, f64::MIN_POSITIVE, 1e300, -1e300, 1.0, 1.01, -1.0, 5e-324, f64::INFINITY];
        numbers.sort_by(f64::total_cmp);
        assert!(numbers.windows(2).all(|pair| bin(pair[0]) <= bin(pair[1])));
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let number = (rng.f64() - 0.5) * 10_f64.powi(rng.i32(-200..200));
            let middle = middle(bin(number));
            assert!((middle - number).abs() <= number.abs() / 256.0, "{number} {middle}");
        }
        assert_eq!(middle(bin(0.0)), 0.0);
        assert_eq!(bin(-0.0), bin(0.0));
    }
}

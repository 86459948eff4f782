//! How a ratio is judged: the median over blocks, a 95 % bootstrap interval, and a verdict only where all of the
//! interval is on one side of the goal.

use serde::Serialize;

use crate::flights::scramble;

/// With fewer blocks nothing is decided.
pub(crate) const BLOCKS_MIN: usize = 9;

const RESAMPLES: usize = 4000;

/// The same blocks give the same interval.
const SEED: u64 = 0x0005_1107_0E12;

/// A figure and how sure it is.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Interval {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Where a figure should be.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Verdict {
    Holds,
    Fails,
    Undecided,
}

impl Verdict {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Undecided => "not decided here",
        }
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        Some(upper) if sorted.len().is_multiple_of(2) => f64::midpoint(sorted[middle - 1], *upper),
        Some(only) => *only,
        None => f64::NAN,
    }
}

/// The median of some blocks' ratios.
pub(crate) fn interval(ratios: &[f64]) -> Option<Interval> {
    bootstrap(&[ratios.to_vec()], |loads| median(&loads[0]))
}

/// The geometric mean over loads of each load's median; blocks are drawn again within their load.
pub(crate) fn geometric_mean(loads: &[Vec<f64>]) -> Option<Interval> {
    bootstrap(loads, |loads| {
        let sum: f64 = loads.iter().map(|ratios| median(ratios).ln()).sum();
        (sum / loads.len() as f64).exp()
    })
}

fn bootstrap(samples: &[Vec<f64>], statistic: impl Fn(&[Vec<f64>]) -> f64) -> Option<Interval> {
    const LOW: f64 = 0.025;
    if samples.is_empty() || samples.iter().any(Vec::is_empty) {
        return None;
    }
    let mut counter = SEED;
    let mut draw = |below: usize| {
        counter += 1;
        (scramble(counter) % below as u64) as usize
    };
    let mut found: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let again = |sample: &Vec<f64>| sample.iter().map(|_| sample[draw(sample.len())]).collect();
            statistic(&samples.iter().map(again).collect::<Vec<Vec<f64>>>())
        })
        .collect();
    found.sort_by(f64::total_cmp);
    let at = |part: f64| found[(part * (RESAMPLES - 1) as f64).round() as usize];
    Some(Interval { median: statistic(samples), low: at(LOW), high: at(1.0 - LOW) })
}

/// What an interval out of so many blocks says about a goal.
pub(crate) fn verdict(interval: Interval, goal: Goal, blocks: usize) -> Verdict {
    if blocks < BLOCKS_MIN {
        return Verdict::Undecided;
    }
    let (is_inside, is_outside) = match goal {
        Goal::AtMost(limit) => (interval.high <= limit, interval.low > limit),
        Goal::AtLeast(limit) => (interval.low >= limit, interval.high < limit),
    };
    match (is_inside, is_outside) {
        (true, _) => Verdict::Holds,
        (_, true) => Verdict::Fails,
        _ => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::{Goal, Interval, Verdict, geometric_mean, interval, median, verdict};
    use crate::flights::scramble;

    /// Ratios around a centre, as far off as 5 %.
    fn noisy(centre: f64, count: u64, seed: u64) -> Vec<f64> {
        let unit = |step: u64| scramble(seed * 1000 + step) as f64 / u64::MAX as f64;
        (0..count).map(|step| centre * (0.95 + 0.1 * unit(step))).collect()
    }

    #[test]
    fn a_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        let held = (0..200).filter(|seed| {
            let found = interval(&noisy(0.8, 11, *seed)).unwrap();
            found.low <= found.median && found.median <= found.high && found.low <= 0.8 && 0.8 <= found.high
        });
        assert!(held.count() >= 180);
    }

    #[test]
    fn the_same_blocks_give_the_same_interval() {
        assert_eq!(interval(&noisy(0.8, 9, 1)), interval(&noisy(0.8, 9, 1)));
        assert_eq!(interval(&[]), None);
    }

    #[test]
    fn a_geometric_mean_weighs_loads_alike() {
        let found = geometric_mean(&[vec![0.5; 9], vec![2.0; 30]]).unwrap();
        assert!((found.median - 1.0).abs() < 1e-9 && (found.low - 1.0).abs() < 1e-9);
        assert_eq!(geometric_mean(&[vec![0.5], Vec::new()]), None);
    }

    #[test]
    fn a_verdict_needs_the_whole_interval_and_enough_blocks() {
        let found = Interval { median: 0.9, low: 0.8, high: 1.0 };
        assert_eq!(verdict(found, Goal::AtMost(1.0), 9), Verdict::Holds);
        assert_eq!(verdict(found, Goal::AtMost(0.9), 9), Verdict::Undecided);
        assert_eq!(verdict(found, Goal::AtMost(0.7), 9), Verdict::Fails);
        assert_eq!(verdict(found, Goal::AtLeast(0.7), 9), Verdict::Holds);
        assert_eq!(verdict(found, Goal::AtLeast(1.1), 9), Verdict::Fails);
        assert_eq!(verdict(found, Goal::AtMost(1.0), 8), Verdict::Undecided);
    }
}

//! The (1+λ) evolution strategy with the one-fifth success rule (Rechenberg, "Evolutionsstrategie", 1973): mutate the best point in every
//! weight, widen the mutations when one in five or more succeeds, else narrow them. λ is what is asked for at once.
//!
//! Everything is sums and products of `f64` in a fixed order, so every machine and every language computes the same bits.

use crate::config::Config;
use crate::{refuse, Refusal, BAD_ARGUMENT, BAD_STATE};

// Four failures undo a success, so the width holds still at a success in five.
const FIRST_SIGMA: f64 = 0.3;
const LEAST_SIGMA: f64 = 0.001;
const MOST_SIGMA: f64 = 1.0;
const WIDEN: f64 = 1.5;
const NARROW: f64 = 0.9036020036098448; // the inverse of the fourth root of WIDEN

pub struct Es {
    config: Config,
    random: SplitMix,
    sigma: f64, // standard deviation of a mutation, as a share of a third of a weight's range
    asked: usize,
    pending: Vec<Vec<f64>>, // asked and not answered
    best: Option<(Vec<f64>, f64)>,
}

impl Es {
    pub fn new(config: Config) -> Es {
        let random = SplitMix(config.seed);
        Es {
            config,
            random,
            sigma: FIRST_SIGMA,
            asked: 0,
            pending: Vec::new(),
            best: None,
        }
    }

    pub fn dim(&self) -> usize {
        self.config.dim
    }

    /// How many of k candidates may be asked for now.
    pub fn room(&self, k: usize) -> Result<usize, Refusal> {
        if !self.pending.is_empty() {
            return refuse(BAD_STATE, "asked again before every candidate was answered");
        }
        Ok(k.min(self.config.budget - self.asked))
    }

    /// Fills the rows of x, as many as there is room for: 0 first, and then mutations of the best point, of 0 before there is one.
    pub fn ask(&mut self, x: &mut [f64]) {
        let c = &self.config;
        for row in x.chunks_exact_mut(c.dim) {
            for (i, v) in row.iter_mut().enumerate() {
                *v = match &self.best {
                    Some((best, _)) if self.asked > 0 => best[i],
                    _ => 0.0,
                };
                if self.asked > 0 {
                    let third = (c.upper[i] - c.lower[i]) / 3.0;
                    *v += self.sigma * third * self.random.normal();
                }
                *v = v.max(c.lower[i]).min(c.upper[i]) + 0.0; // + 0 turns -0 into 0
            }
            self.pending.push(row.to_vec());
            self.asked += 1;
        }
    }

    /// Learns the objectives f of the rows of x. Nothing changes if one of them is refused.
    pub fn tell(&mut self, x: &[f64], f: &[f64]) -> Result<(), Refusal> {
        let c = &self.config;
        for (i, v) in x.iter().enumerate() {
            let weight = i % c.dim;
            if !(*v >= c.lower[weight] && *v <= c.upper[weight]) {
                return refuse(
                    BAD_ARGUMENT,
                    format!(
                        "told a candidate whose weight {} is outside the bounds",
                        weight + 1
                    ),
                );
            }
        }
        for (row, objective) in x.chunks_exact(c.dim).zip(f) {
            self.learn(row, *objective);
        }
        Ok(())
    }

    fn learn(&mut self, row: &[f64], objective: f64) {
        let asked = match self.pending.iter().position(|p| p == row) {
            Some(i) => {
                self.pending.remove(i);
                true
            }
            None => false,
        };
        let known = self.best.is_some();
        let better =
            objective.is_finite() && self.best.as_ref().is_none_or(|(_, f)| objective < *f);
        if better {
            self.best = Some((row.to_vec(), objective));
        }
        if !asked || !known {
            return; // a warm start, or the first point: neither says anything of the width
        }
        self.sigma = if better {
            (self.sigma * WIDEN).min(MOST_SIGMA)
        } else {
            (self.sigma * NARROW).max(LEAST_SIGMA)
        };
    }

    /// The candidate with the lowest finite objective told, the first of equals.
    pub fn best(&self) -> Option<(&[f64], f64)> {
        self.best.as_ref().map(|(x, f)| (x.as_slice(), *f))
    }
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }

    /// The sum of twelve uniform numbers less 6, of mean 0 and variance 1: near enough to a Gaussian, and without a logarithm.
    fn normal(&mut self) -> f64 {
        let mut sum = -6.0;
        for _ in 0..12 {
            sum += (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        }
        sum
    }
}

//! What was measured: figures of a turn, turns of a block, blocks of a load, and the ratios inside blocks.

use serde::{Deserialize, Serialize};

use crate::judge::median;
use crate::server::Kind;

/// What one arm did under one load between two marks.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) process_ns: u64,
    pub(crate) process_switches: u64,
    pub(crate) machine_ns: u64,
    pub(crate) machine_switches: u64,
    pub(crate) rss_anon: u64,
    pub(crate) vm_rss: u64,
}

impl Figures {
    /// The figures of an arm's two turns in a block.
    fn with(self, other: Self) -> Self {
        let mean = |a: f64, b: f64| f64::midpoint(a, b);
        Self {
            requests: self.requests + other.requests,
            seconds: self.seconds + other.seconds,
            p50_us: mean(self.p50_us, other.p50_us),
            p99_us: mean(self.p99_us, other.p99_us),
            p999_us: mean(self.p999_us, other.p999_us),
            process_ns: self.process_ns + other.process_ns,
            process_switches: self.process_switches + other.process_switches,
            machine_ns: self.machine_ns + other.machine_ns,
            machine_switches: self.machine_switches + other.machine_switches,
            rss_anon: self.rss_anon.max(other.rss_anon),
            vm_rss: self.vm_rss.max(other.vm_rss),
        }
    }

    fn per_request(self, amount: u64) -> f64 {
        amount as f64 / self.requests.max(1) as f64
    }

    pub(crate) fn throughput(self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// CPU of the proxy, us a request.
    pub(crate) fn proxy_us(self) -> f64 {
        self.per_request(self.process_ns) / 1000.0
    }

    /// CPU of the whole machine, us a request.
    pub(crate) fn machine_us(self) -> f64 {
        self.per_request(self.machine_ns) / 1000.0
    }

    /// Context switches of the proxy a request.
    pub(crate) fn proxy_switches(self) -> f64 {
        self.per_request(self.process_switches)
    }

    /// Context switches of the whole machine a request.
    pub(crate) fn machine_switches(self) -> f64 {
        self.per_request(self.machine_switches)
    }
}

/// A number that figures give.
pub(crate) type Metric = fn(Figures) -> f64;

/// How clients behave.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    #[serde(serialize_with = "kind_name")]
    pub(crate) server: Kind,
    pub(crate) clients: u32,
    pub(crate) deep: u32,
    /// Requests a second in the open loop; none: closed loop.
    pub(crate) rate: Option<u32>,
    /// The rate is this part of what `direct` did in the closed loop with as many clients and this server.
    pub(crate) part_of_direct: Option<f64>,
    pub(crate) request_bytes: u32,
    pub(crate) reply_bytes: u32,
    /// Part of `--quick`.
    pub(crate) is_quick: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn kind_name<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// One arm's turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) arm: String,
    pub(crate) figures: Figures,
}

/// All arms there and back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Block {
    /// False: the machine did other things at its beginning.
    pub(crate) was_quiet: bool,
    pub(crate) turns: Vec<Turn>,
}

impl Block {
    /// What an arm did in both its turns.
    fn of(&self, arm: &str) -> Option<Figures> {
        let mut turns = self.turns.iter().filter(|turn| turn.arm == arm).map(|turn| turn.figures);
        let (first, second) = (turns.next()?, turns.next()?);
        Some(first.with(second))
    }
}

/// An arm that was measured, and what program it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Described {
    pub(crate) arm: String,
    pub(crate) version: String,
}

/// All blocks of a load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// What was asked for, as it can be repeated: of a grid that went on, each load may have its own.
    pub(crate) command: String,
    pub(crate) load: Load,
    pub(crate) blocks: Vec<Block>,
}

impl Measured {
    /// True when this is the closed loop that tells how fast the clients of `load` could be.
    pub(crate) fn is_maximum_of(&self, load: &Load) -> bool {
        let own = &self.load;
        own.rate.is_none() && own.server == load.server && own.clients == load.clients
    }

    /// A metric of an arm, block by block.
    pub(crate) fn values(&self, arm: &str, metric: Metric) -> Vec<f64> {
        self.blocks.iter().filter_map(|block| block.of(arm)).map(metric).collect()
    }

    /// The median of a metric over blocks.
    pub(crate) fn median(&self, arm: &str, metric: Metric) -> Option<f64> {
        let values = self.values(arm, metric);
        (!values.is_empty()).then(|| median(&values))
    }

    /// Both arms' metric in each block that has both, put together.
    pub(crate) fn pairs(&self, arm: &str, base: &str, metric: Metric, put: fn(f64, f64) -> f64) -> Vec<f64> {
        let both = |block: &Block| Some(put(metric(block.of(arm)?), metric(block.of(base)?)));
        self.blocks.iter().filter_map(both).collect()
    }

    /// The ratio of two arms, block by block.
    pub(crate) fn ratios(&self, arm: &str, base: &str, metric: Metric) -> Vec<f64> {
        self.pairs(arm, base, metric, |of, to| of / to)
    }

    /// The HAProxy arm that costs less CPU under this load.
    pub(crate) fn baseline(&self) -> Option<String> {
        let mut arms: Vec<&str> =
            self.blocks.iter().flat_map(|block| &block.turns).map(|turn| &*turn.arm).collect();
        arms.sort_unstable();
        arms.dedup();
        let costs = arms.into_iter().filter(|arm| arm.starts_with("haproxy"));
        let costs = costs.filter_map(|arm| Some((self.median(arm, Figures::proxy_us)?, arm)));
        let cheapest = costs.min_by(|one, other| one.0.total_cmp(&other.0));
        cheapest.map(|(_, arm)| arm.to_owned())
    }

    /// True when an arm was measured.
    pub(crate) fn has(&self, arm: &str) -> bool {
        self.blocks.iter().any(|block| block.of(arm).is_some())
    }

    /// Blocks at whose beginning the machine did other things.
    pub(crate) fn not_quiet(&self) -> usize {
        self.blocks.iter().filter(|block| !block.was_quiet).count()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Block, Figures, Load, Measured, Turn};
    use crate::server::Kind;

    pub(crate) const LOAD: Load = Load {
        name: "64x1",
        server: Kind::Cheap,
        clients: 64,
        deep: 1,
        rate: None,
        part_of_direct: None,
        request_bytes: 100,
        reply_bytes: 100,
        is_quick: true,
    };

    /// Blocks in which each arm's proxy uses these ns a request.
    pub(crate) fn measured(load: Load, blocks: usize, arms: &[(&str, u64)]) -> Measured {
        let turn = |(arm, ns): &(&str, u64)| Turn {
            arm: (*arm).to_owned(),
            figures: Figures {
                requests: 1000,
                seconds: 1.0,
                process_ns: ns * 1000,
                p50_us: 10.0,
                p99_us: 20.0,
                ..Figures::default()
            },
        };
        let turns: Vec<Turn> = arms.iter().chain(arms.iter().rev()).map(turn).collect();
        Measured { command: "bench".to_owned(), load, blocks: vec![Block { was_quiet: true, turns }; blocks] }
    }

    #[test]
    fn the_cheaper_haproxy_is_the_baseline_and_ratios_are_within_blocks() {
        let found = measured(LOAD, 3, &[("haproxy-1", 8000), ("haproxy-2", 10_000), ("ours", 6000)]);
        assert_eq!(found.baseline().as_deref(), Some("haproxy-1"));
        assert_eq!(found.ratios("ours", "haproxy-1", Figures::proxy_us), [0.75; 3]);
        assert!(found.ratios("ours", "envoy", Figures::proxy_us).is_empty());
        assert_eq!(found.median("ours", Figures::throughput), Some(1000.0));
    }
}

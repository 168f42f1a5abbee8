//! Many runs, once for all properties; what breaks a rule is made as small as possible.

use std::{collections::BTreeMap, sync::OnceLock};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{
    monitor::Rule,
    schedule::{self, Schedule},
};

/// How many schedules are run unless `PROPTEST_CASES` says otherwise.
const SCHEDULES: u32 = 2000;
/// How often a schedule that breaks a rule is made smaller.
const SHRINKS: usize = 400;

/// What came of all runs.
pub struct Campaign {
    pub schedules: u32,
    pub reach: BTreeMap<String, usize>,
    /// For each rule that was broken: how often, how, and the smallest schedule that does it.
    pub broken: BTreeMap<Rule, (usize, String, Schedule)>,
}

/// Runs all schedules, once for the whole test binary.
pub fn campaign() -> &'static Campaign {
    static CAMPAIGN: OnceLock<Campaign> = OnceLock::new();
    CAMPAIGN.get_or_init(|| {
        let schedules = number("PROPTEST_CASES").unwrap_or(SCHEDULES);
        many(schedules, seed())
    })
}

/// So many cases of a smaller property, and more when the campaign is larger.
pub fn scaled(cases: u32) -> u32 {
    let larger = number("PROPTEST_CASES").map_or(1, |n| n.div_ceil(SCHEDULES));
    cases * larger
}

/// Which schedules are run.
pub fn seed() -> u32 {
    number("BACKSTOP_SIM_SEED").unwrap_or(0)
}

fn number(variable: &str) -> Option<u32> {
    std::env::var(variable).ok()?.parse().ok()
}

fn many(schedules: u32, seed: u32) -> Campaign {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = schedule::any();
    let mut campaign = Campaign {
        schedules,
        reach: BTreeMap::new(),
        broken: BTreeMap::new(),
    };
    for _ in 0..schedules {
        let mut tree = strategy.new_tree(&mut runner).unwrap();
        let monitor = schedule::run(&tree.current());
        for (what, times) in monitor.reach {
            *campaign.reach.entry(what).or_default() += times;
        }
        for (rule, how) in monitor.broken {
            if let Some((times, _, _)) = campaign.broken.get_mut(&rule) {
                *times += 1;
                continue;
            }
            let (how, least) = shrink(&mut tree, rule).unwrap_or((how, tree.current()));
            campaign.broken.insert(rule, (1, how, least));
        }
    }
    campaign
}

/// The smallest schedule found that breaks the rule, and how it does.
fn shrink(tree: &mut impl ValueTree<Value = Schedule>, rule: Rule) -> Option<(String, Schedule)> {
    let mut least = None;
    for _ in 0..SHRINKS {
        let schedule = tree.current();
        let broken = schedule::run(&schedule).broken;
        let moved = match broken.into_iter().find(|(r, _)| *r == rule) {
            Some((_, how)) => {
                least = Some((how, schedule));
                tree.simplify()
            }
            None => tree.complicate(),
        };
        if !moved {
            break;
        }
    }
    least
}

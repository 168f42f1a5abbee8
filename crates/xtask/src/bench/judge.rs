//! How well releases are judged: traces with known truth, by Backstop's engine and by the rules of others.

use std::thread;

use anyhow::{anyhow, ensure};
use backstop_corpus::{
    class::Class,
    generate::trace,
    reference::{ArgoRollouts, Flagger, judge},
    replay::{Verdict, replay},
    score::Score,
    shape::Shape,
    trace::Trace,
};

use super::table::Grid;

/// The first seed of the corpus of other applications.
const OTHERS: u64 = 1_000_000;
/// That of the corpus that was drawn up last.
const AFTERWARDS: u64 = 4_000_000;
/// So many percent of the bad releases must be caught, of all classes together.
const CAUGHT: usize = 99;
/// The median delay of all classes together must not be longer, in intervals of the trigger after its `for`.
const DELAY: f64 = 2.0;
/// What the columns are.
const HEADER: [&str; 11] = [
    "class",
    "good / bad",
    "caught",
    "false",
    "delay",
    "Argo: caught",
    "false",
    "time",
    "Flagger: caught",
    "false",
    "time",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many good and how many bad releases of each class
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    traces: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// These classes alone, by their names; all of them without it
    #[arg(long, value_parser = class)]
    class: Vec<Class>,
}

/// The class of that name; in words, which there are.
fn class(name: &str) -> Result<Class, String> {
    let of_that_name = Class::ALL.into_iter().find(|class| class.name() == name);
    of_that_name.ok_or_else(|| {
        let names = Class::ALL.map(Class::name).join("', '");
        format!("there is no class '{name}'; there are '{names}'")
    })
}

/// What each of them made of one class.
#[derive(Default)]
struct Scores {
    backstop: Score,
    argo: Score,
    flagger: Score,
    /// The traces that Backstop judged wrongly, in words.
    wrong: Vec<String>,
}

impl Scores {
    fn merge(&mut self, other: Self) {
        let Self {
            backstop,
            argo,
            flagger,
            wrong,
        } = other;
        self.wrong.extend(wrong);
        self.backstop.merge(backstop);
        self.argo.merge(argo);
        self.flagger.merge(flagger);
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut missed = Vec::new();
    let corpora = [
        ("The corpus that may be tuned to", Shape::tuning(), 0),
        ("The corpus of other applications", Shape::others(), OTHERS),
        (
            "The corpus that was drawn up after all tuning",
            Shape::afterwards(),
            AFTERWARDS,
        ),
    ];
    for (name, shape, offset) in &corpora {
        let first = args.seed + offset;
        let mut table = Grid::new(&HEADER);
        let mut all = Scores::default();
        let asked_for = |class: &Class| args.class.is_empty() || args.class.contains(class);
        for class in Class::ALL.into_iter().filter(asked_for) {
            let scores = scores(class, shape, first..first + args.traces)?;
            table.row(row(class.name(), &scores));
            let short = class_falls_short(class, &scores);
            missed.extend(short.into_iter().map(|what| format!("{name}: {what}")));
            all.merge(scores);
        }
        table.row(row("all", &all));
        println!("\n{name}, from seed {first} on:\n\n{}", table.text());
        for trace in &all.wrong {
            println!("{trace}");
        }
        let short = falls_short(&all.backstop);
        missed.extend(short.into_iter().map(|what| format!("{name}: {what}")));
    }
    ensure!(
        missed.is_empty(),
        "the targets are missed:\n{}",
        missed.join("\n")
    );
    Ok(())
}

/// What a class falls short of, in words: nothing good may be taken back, and nobody may judge it as well.
fn class_falls_short(class: Class, scores: &Scores) -> Vec<String> {
    let mut short = Vec::new();
    let (name, ours) = (class.name(), &scores.backstop);
    if ours.false_rollbacks > 0 {
        let wrong = ours.false_rollbacks;
        short.push(format!("class {name}: {wrong} taken back wrongly"));
    }
    for (who, theirs) in [("Argo", &scores.argo), ("Flagger", &scores.flagger)] {
        if !ours.is_better_than(theirs) {
            short.push(format!(
                "class {name}: {who}'s rules do as well or better: {}",
                row(name, scores).join(", ")
            ));
        }
    }
    short
}

/// What all classes together fall short of, in words.
fn falls_short(all: &Score) -> Vec<String> {
    let mut short = Vec::new();
    if 100 * all.caught < CAUGHT * all.bad {
        short.push(format!(
            "{} of {} bad releases are caught, and {CAUGHT} % must be",
            all.caught, all.bad
        ));
    }
    let delay = all.delay();
    if let Some(delay) = delay.filter(|delay| *delay > DELAY) {
        short.push(format!(
            "the median delay is {delay:.2} intervals, and may be {DELAY}"
        ));
    }
    short
}

/// Judges the traces of one class, on all cores.
fn scores(class: Class, shape: &Shape, seeds: std::ops::Range<u64>) -> anyhow::Result<Scores> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let judged = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|first| {
                let seeds = seeds.clone().skip(first).step_by(cores);
                scope.spawn(move || some(class, shape, seeds))
            })
            .collect();
        workers
            .into_iter()
            .map(|w| w.join().map_err(|_| anyhow!("a judge panicked"))?)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut all = Scores::default();
    for scores in judged {
        all.merge(scores);
    }
    let seen = all.backstop.good + all.backstop.bad;
    ensure!(seen > 0, "no trace of class {} was judged", class.name());
    Ok(all)
}

fn some(class: Class, shape: &Shape, seeds: impl Iterator<Item = u64>) -> anyhow::Result<Scores> {
    let mut scores = Scores::default();
    for seed in seeds {
        let truths: &[bool] = if class.has_bad() {
            &[false, true]
        } else {
            &[false]
        };
        for bad in truths {
            let trace = trace(class, *bad, shape, seed);
            let verdict = replay(&trace).map_err(|why| anyhow!("{why}"))?;
            scores.backstop.add(&trace, &verdict);
            scores.wrong.extend(wrong(&trace, &verdict, seed));
            scores.argo.add(&trace, &judge::<ArgoRollouts>(&trace));
            scores.flagger.add(&trace, &judge::<Flagger>(&trace));
        }
    }
    Ok(scores)
}

/// What is wrong with a verdict of Backstop's, in words; `None` where nothing is.
fn wrong(trace: &Trace, verdict: &Verdict, seed: u64) -> Option<String> {
    let what = match (trace.bad_since, verdict.taken_back_at) {
        (None, None) => return None,
        (Some(since), Some(at)) if since <= at => return None,
        (Some(_), None) => "missed".to_owned(),
        (_, Some(at)) => format!(
            "taken back wrongly, {} s after its rollout, by {}",
            at - trace.ready_at,
            verdict.reason.as_deref().unwrap_or("nothing")
        ),
    };
    let kind = if trace.bad_since.is_some() {
        "bad"
    } else {
        "good"
    };
    Some(format!(
        "{}, {kind} release of seed {seed}: {what}",
        trace.class.name()
    ))
}

fn row(name: &str, scores: &Scores) -> Vec<String> {
    let Scores {
        backstop,
        argo,
        flagger,
        wrong: _,
    } = scores;
    let caught = |score: &Score| match score.bad {
        0 => "-".to_owned(),
        bad if score.caught == bad => "100 %".to_owned(),
        bad => format!("{} of {bad}", score.caught),
    };
    let wrong = |score: &Score| score.false_rollbacks.to_string();
    let delay = match (backstop.delay(), backstop.time()) {
        (Some(intervals), Some(seconds)) => format!("{intervals:.1} ({seconds} s)"),
        _ => "-".to_owned(),
    };
    let time = |score: &Score| {
        let seconds = score.time();
        seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"))
    };
    vec![
        name.to_owned(),
        format!("{} / {}", backstop.good, backstop.bad),
        caught(backstop),
        wrong(backstop),
        delay,
        caught(argo),
        wrong(argo),
        time(argo),
        caught(flagger),
        wrong(flagger),
        time(flagger),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(caught: usize, false_rollbacks: usize, delay: f64) -> Score {
        Score {
            good: 100,
            bad: 100,
            caught,
            false_rollbacks,
            delays: vec![delay; caught],
            ..Score::default()
        }
    }

    #[test]
    fn what_meets_the_targets_is_not_named() {
        let scores = Scores {
            backstop: score(99, 0, 2.0),
            argo: score(98, 0, 2.0),
            flagger: score(99, 1, 2.0),
            wrong: Vec::new(),
        };
        assert_eq!(
            class_falls_short(Class::Gaps, &scores),
            Vec::<String>::new()
        );
        assert_eq!(falls_short(&scores.backstop), Vec::<String>::new());
    }

    #[test]
    fn each_target_that_is_missed_is_named() {
        let scores = Scores {
            backstop: score(98, 1, 2.1),
            argo: score(98, 1, 2.1),
            flagger: score(97, 1, 2.1),
            wrong: Vec::new(),
        };
        assert_eq!(
            class_falls_short(Class::Gaps, &scores),
            [
                "class gaps: 1 taken back wrongly",
                "class gaps: Argo's rules do as well or better: gaps, 100 / 100, 98 of 100, 1, -, 98 of 100, 1, -, 97 of 100, 1, -",
            ]
        );
        assert_eq!(
            falls_short(&scores.backstop),
            [
                "98 of 100 bad releases are caught, and 99 % must be",
                "the median delay is 2.10 intervals, and may be 2",
            ]
        );
    }
}

//! What the engine makes of small corpora: CI holds it to what `docs/benchmarks.md` says.

use std::{sync::LazyLock, thread};

use backstop_corpus::{
    class::Class,
    generate::trace,
    reference::{ArgoRollouts, Flagger, judge},
    replay::replay,
    score::Score,
    shape::Shape,
};

/// Traces of each class and truth.
const TRACES: u64 = 4;
/// The first seeds of the two corpora: these traces are among those of `cargo xtask bench judge`, of which
/// `docs/benchmarks.md` speaks.
const SEEDS: [u64; 2] = [1, 1_000_001];
/// The longest that the median delay may be, in intervals of the trigger after its `for`.
const DELAY: f64 = 2.0;

/// What was made of a class.
#[derive(Default)]
struct Judged {
    backstop: Score,
    argo: Score,
    flagger: Score,
    /// The seeds of the bad releases that Backstop has missed.
    missed: Vec<u64>,
}

/// A corpus, judged.
struct Corpus {
    name: &'static str,
    classes: Vec<(Class, Judged)>,
}

/// Both, judged once for all tests.
static CORPORA: LazyLock<[Corpus; 2]> = LazyLock::new(|| {
    let [tuning, others] = SEEDS;
    thread::scope(|scope| {
        let others = scope.spawn(|| Corpus::new("other applications", &Shape::others(), others));
        [
            Corpus::new("tuning", &Shape::tuning(), tuning),
            others.join().expect("it is judged"),
        ]
    })
});

impl Corpus {
    fn new(name: &'static str, shape: &Shape, first: u64) -> Self {
        let judged = |class| (class, judged(class, shape, first));
        Self {
            name,
            classes: Class::ALL.into_iter().map(judged).collect(),
        }
    }
}

fn judged(class: Class, shape: &Shape, first: u64) -> Judged {
    let mut judged = Judged::default();
    for seed in first..first + TRACES {
        for bad in [false, true] {
            if bad && !class.has_bad() {
                continue;
            }
            let trace = trace(class, bad, shape, seed);
            let verdict = replay(&trace).expect("the policy is valid");
            let caught = judged.backstop.caught;
            judged.backstop.add(&trace, &verdict);
            if bad && judged.backstop.caught == caught {
                judged.missed.push(seed);
            }
            judged.argo.add(&trace, &judge::<ArgoRollouts>(&trace));
            judged.flagger.add(&trace, &judge::<Flagger>(&trace));
        }
    }
    judged
}

#[test]
fn no_release_is_taken_back_wrongly() {
    for corpus in &*CORPORA {
        for (class, judged) in &corpus.classes {
            let wrong = judged.backstop.false_rollbacks;
            assert_eq!(wrong, 0, "{}: {class:?}", corpus.name);
        }
    }
}

#[test]
fn bad_releases_are_taken_back() {
    for corpus in &*CORPORA {
        for (class, judged) in &corpus.classes {
            let missed = &judged.missed;
            assert!(
                missed.is_empty(),
                "{}: {class:?}: seeds {missed:?}",
                corpus.name
            );
        }
    }
}

#[test]
fn half_of_the_bad_releases_are_taken_back_as_soon_as_two_looks_after_the_condition_has_held() {
    for corpus in &*CORPORA {
        let mut all = Score::default();
        for (_, judged) in &corpus.classes {
            all.merge(judged.backstop.clone());
        }
        let delay = all.delay();
        println!("{}: {delay:?} intervals", corpus.name);
        assert!(
            delay.is_some_and(|intervals| intervals <= DELAY),
            "{}: {delay:?}",
            corpus.name
        );
    }
}

#[test]
fn in_no_class_the_rules_of_others_do_better() {
    for corpus in &*CORPORA {
        for (class, judged) in &corpus.classes {
            let ours = &judged.backstop;
            for (name, theirs) in [("Argo", &judged.argo), ("Flagger", &judged.flagger)] {
                assert!(
                    ours.caught >= theirs.caught && ours.false_rollbacks <= theirs.false_rollbacks,
                    "{}: {class:?}: {name} does better: {theirs:?}, and Backstop {ours:?}",
                    corpus.name
                );
            }
        }
    }
}

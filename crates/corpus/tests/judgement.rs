//! What the engine makes of a small corpus: CI holds it to what `docs/benchmarks.md` says.

use backstop_corpus::{class::Class, generate::trace, replay::replay, score::Score, shape::Shape};

/// Traces of each class and truth.
const TRACES: u64 = 4;
/// Where some bad releases cannot be told from good ones: there are too few requests.
const NOT_ALL_SEEN: [Class; 1] = [Class::LowTraffic];

fn scored(class: Class, shape: &Shape) -> Score {
    let mut score = Score::default();
    for seed in 0..TRACES {
        for bad in [false, true] {
            let trace = trace(class, bad, shape, seed);
            let verdict = replay(&trace).expect("the policy is valid");
            score.add(&trace, &verdict);
        }
    }
    score
}

fn classes_without(left_out: &[Class]) -> impl Iterator<Item = Class> {
    Class::ALL.into_iter().filter(|c| !left_out.contains(c))
}

#[test]
fn no_release_is_taken_back_wrongly() {
    for shape in [Shape::tuning(), Shape::held_out()] {
        for class in Class::ALL {
            assert_eq!(scored(class, &shape).false_rollbacks, 0, "{class:?}");
        }
    }
}

#[test]
fn bad_releases_are_taken_back() {
    let shape = Shape::tuning();
    for class in classes_without(&NOT_ALL_SEEN).filter(|c| c.has_bad()) {
        let missed = (0..TRACES)
            .map(|seed| trace(class, true, &shape, seed))
            .find(|trace| {
                replay(trace)
                    .expect("the policy is valid")
                    .taken_back_at
                    .is_none()
            });
        assert_eq!(missed.map(|t| t.bad_since), None, "{class:?}");
    }
}

#[test]
fn with_little_traffic_most_bad_releases_are_taken_back() {
    for shape in [Shape::tuning(), Shape::held_out()] {
        let score = scored(Class::LowTraffic, &shape);
        assert!(score.caught + 1 >= score.bad, "{score:?}");
    }
}

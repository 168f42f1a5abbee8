//! Making traces: out of a seed, and always the same ones.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Binomial, Distribution as _, Poisson};

use crate::class::Class;
use crate::shape::{Range, Shape};
use crate::trace::{BOUNDS, Pod, Scrape, Side, Trace};

/// How long the release before is watched at first, in seconds.
const WATCHED: i64 = 600;
/// And how long before the new one comes.
const BEFORE: i64 = 180;
/// How long the new one is watched.
const AFTER: i64 = 1800;
/// The same where there is little traffic: half an hour of one request in half a minute is nothing to go by, and a
/// team that has no more watches for a working day.
const AFTER_LITTLE: i64 = 8 * 3600;
/// How many times its memory of before a release may take until anybody would call it too much.
const TOO_MUCH: f64 = 1.5;
/// So many requests of each bucket are drawn to tell how long those in it took.
const DRAWN: f64 = 8.0;
/// Seconds in a day.
const DAY: f64 = 86_400.0;
/// How much longer answers take at the day's highest load, at most: a share.
const LOADED: f64 = 0.25;

/// What happens in a trace: drawn once, and then only looked up.
struct Story {
    /// Requests per second of the application, on average over the day.
    rate: f64,
    /// The share of them that the release gets, once it is there.
    share: f64,
    /// By day and by night: the swing of the rate, as a share of it.
    swing: f64,
    /// The time of the day at which the trace begins.
    phase: f64,
    errors: f64,
    latency: f64,
    narrow: f64,
    memory: f64,
    other: Other,
    trouble: Trouble,
    /// No requests at all.
    silent: Vec<(i64, i64)>,
    /// No scrapes.
    unseen: Vec<(i64, i64)>,
    /// All fail: from, to, the share of requests.
    outage: Option<(i64, i64, f64)>,
    /// Every second pod of each workload is slower: from, to, times.
    neighbour: Option<(i64, i64, f64)>,
}

/// Another workload: an application of its own, which is slower or faster, and fails more or less often.
struct Other {
    rate: f64,
    errors: f64,
    latency: f64,
    narrow: f64,
}

impl Other {
    fn new(shape: &Shape, chance: &mut Chance) -> Self {
        Self {
            rate: chance.spread(shape.rate),
            errors: chance.within(shape.errors),
            latency: chance.spread(shape.latency),
            narrow: chance.within(shape.narrow),
        }
    }
}

/// What is different with the release, from one moment on.
struct Trouble {
    since: i64,
    /// The share of requests that fails in addition.
    errors: f64,
    /// How many times longer answers take.
    slower: f64,
    /// The memory that it takes in addition, as a share, after half an hour.
    memory: f64,
    /// Whether memory grows without end, instead of being filled in a few minutes.
    leaks: bool,
}

/// The trace of one release. A class without bad releases has none: `bad` is then no matter.
pub fn trace(class: Class, bad: bool, shape: &Shape, seed: u64) -> Trace {
    let bad = bad && class.has_bad();
    let kind = (class as u64) << 1 | u64::from(bad);
    let mut chance = Chance(ChaCha8Rng::seed_from_u64(seed << 8 | kind));
    let later = match class {
        Class::DayAndNight => chance.whole((4.0 * 3600.0, 14.0 * 3600.0)),
        _ => 0,
    };
    let released_at = WATCHED + later + BEFORE;
    let pods = chance.whole(shape.pods);
    let ready: Vec<i64> = (1..=pods).map(|n| released_at + 10 * n).collect();
    let ready_at = released_at + 10 * pods;
    let ends_at = ready_at
        + match class {
            Class::LowTraffic => AFTER_LITTLE,
            _ => AFTER,
        };
    let story = story(class, bad, shape, released_at, ready_at, &mut chance);
    let canary = class == Class::SmallCanary;
    let mut all: Vec<Pod> = Vec::new();
    for (index, first) in ready.iter().enumerate() {
        all.push(pod(Side::Earlier, 0, if canary { ends_at } else { *first }));
        all.push(pod(Side::Other, 0, ends_at));
        if !canary || index == 0 {
            all.push(pod(Side::Release, *first, ends_at));
        }
    }
    if class == Class::CounterReset {
        for pod in &mut all {
            let times = chance.whole((1.0, 3.0));
            let when = (pod.ready_at.max(ready_at) + 60, ends_at);
            pod.restarts = (0..times).map(|_| chance.time(when)).collect();
            pod.restarts.sort_unstable();
        }
    }
    let mut trace = Trace {
        class,
        bad_since: bad.then_some(story.trouble.since),
        shows_since: bad.then(|| story.trouble.shows_since()),
        watched_until: WATCHED,
        watched_again: WATCHED + later,
        released_at,
        ready_at,
        ends_at,
        pods: Vec::new(),
    };
    let mut places = [0_usize; 3];
    for pod in &mut all {
        let place = &mut places[pod.side as usize];
        scrape(
            pod,
            *place,
            &story,
            &trace,
            shape.scrape,
            &ready,
            &mut chance,
        );
        *place += 1;
    }
    trace.pods = all;
    trace
}

fn pod(side: Side, ready_at: i64, ends_at: i64) -> Pod {
    Pod {
        side,
        ready_at,
        ends_at,
        restarts: Vec::new(),
        scrapes: Vec::new(),
    }
}

fn story(
    class: Class,
    bad: bool,
    shape: &Shape,
    released_at: i64,
    ready_at: i64,
    chance: &mut Chance,
) -> Story {
    let rate = chance.spread(match class {
        Class::LowTraffic => shape.low_rate,
        Class::SmallCanary => shape.canary_rate,
        _ => shape.rate,
    });
    let swing = match class {
        Class::DayAndNight => {
            let times = chance.within(shape.day);
            (times - 1.0) / (times + 1.0)
        }
        _ => 0.0,
    };
    let after = (released_at, ready_at + AFTER);
    let long = (240.0, 600.0);
    let mut story = Story {
        rate,
        share: if class == Class::SmallCanary {
            0.01
        } else {
            1.0
        },
        swing,
        phase: chance.within((0.0, DAY)),
        errors: chance.within(shape.errors),
        latency: chance.spread(shape.latency),
        narrow: chance.within(shape.narrow),
        memory: chance.spread((5e7, 1e9)),
        other: Other::new(shape, chance),
        trouble: trouble(class, bad, shape, ready_at, chance),
        silent: Vec::new(),
        unseen: Vec::new(),
        outage: None,
        neighbour: None,
    };
    match class {
        Class::Gaps => story.unseen = chance.spans(after, (60.0, 240.0)),
        Class::NotANumber => story.silent = chance.spans(after, (120.0, 300.0)),
        Class::NoisyNeighbour => {
            let (from, to) = chance.span(after, long);
            story.neighbour = Some((from, to, chance.within((1.5, 4.0))));
        }
        Class::EverythingDown => {
            let (from, to) = chance.span(after, long);
            story.outage = Some((from, to, chance.within((0.2, 1.0))));
        }
        _ => {}
    }
    story
}

fn trouble(class: Class, bad: bool, shape: &Shape, ready_at: i64, chance: &mut Chance) -> Trouble {
    let mut trouble = Trouble {
        since: ready_at + chance.whole(shape.onset),
        errors: 0.0,
        slower: 1.0,
        memory: 0.0,
        leaks: bad,
    };
    match (class, bad) {
        (Class::SlowLeak, true) => {
            trouble.since = ready_at;
            trouble.memory = chance.within(shape.leak) - 1.0;
        }
        (Class::SlowLeak, false) => {
            trouble.since = ready_at;
            trouble.memory = chance.within((0.0, 0.3));
        }
        (Class::LatencyShift, true) => trouble.slower = chance.within(shape.slower),
        (Class::LatencyShift, false) => trouble.slower = chance.within((1.0, 1.15)),
        (Class::StepError, false) => trouble.errors = chance.within((0.0, 0.01)),
        (_, true) => trouble.errors = chance.within(shape.step),
        (_, false) => {}
    }
    trouble
}

impl Trouble {
    /// When it is beyond what is fine: a leak is there long before that.
    fn shows_since(&self) -> i64 {
        if !self.leaks || self.memory <= 0.0 {
            return self.since;
        }
        #[expect(clippy::cast_possible_truncation, reason = "seconds within a trace")]
        let later = (seconds(AFTER) * (TOO_MUCH - 1.0) / self.memory).ceil() as i64;
        self.since + later
    }
}

impl Story {
    /// Requests per second that one pod gets.
    fn rate(&self, pod: &Pod, at: i64, ready: &[i64]) -> f64 {
        if self.silent.iter().any(|s| is_in(*s, at)) {
            return 0.0;
        }
        let new = ready.iter().filter(|r| **r <= at).count();
        let (new, all) = (count(new), count(ready.len()));
        let rate = if pod.side == Side::Other {
            self.other.rate
        } else {
            self.rate
        };
        let load = rate * self.load(at);
        match pod.side {
            // Beside a canary of one pod all pods of the release before stay.
            Side::Release if self.share < 1.0 => load * self.share,
            Side::Earlier if self.share < 1.0 => load * (1.0 - self.share * new.min(1.0)) / all,
            // In a rolling update each new pod takes the place of an old one.
            Side::Earlier | Side::Release | Side::Other => load / all,
        }
    }

    /// The time of the day: 1 on average.
    fn load(&self, at: i64) -> f64 {
        1.0 + self.swing * (std::f64::consts::TAU * (self.phase + seconds(at)) / DAY).sin()
    }

    fn errors(&self, side: Side, at: i64) -> f64 {
        let outage = self.outage.filter(|(from, to, _)| is_in((*from, *to), at));
        let own = if side == Side::Release && at >= self.trouble.since {
            self.trouble.errors
        } else {
            0.0
        };
        let usual = if side == Side::Other {
            self.other.errors
        } else {
            self.errors
        };
        (usual + own + outage.map_or(0.0, |o| o.2)).min(1.0)
    }

    fn latency(&self, side: Side, place: usize, at: i64) -> f64 {
        let own = side == Side::Release && at >= self.trouble.since;
        let slower = if own { self.trouble.slower } else { 1.0 };
        let noisy = self
            .neighbour
            .filter(|(from, to, _)| is_in((*from, *to), at) && place.is_multiple_of(2));
        let load = 1.0 + LOADED * (self.load(at) - 1.0).max(0.0);
        let usual = if side == Side::Other {
            self.other.latency
        } else {
            self.latency
        };
        usual * slower * load * noisy.map_or(1.0, |n| n.2)
    }

    fn narrow(&self, side: Side) -> f64 {
        if side == Side::Other {
            self.other.narrow
        } else {
            self.narrow
        }
    }

    fn memory(&self, side: Side, started: i64, at: i64) -> f64 {
        let age = seconds(at - started.max(self.trouble.since)).max(0.0) / seconds(AFTER);
        let own = match side {
            Side::Release if self.trouble.leaks => self.trouble.memory * age,
            Side::Release => self.trouble.memory * (1.0 - (-8.0 * age).exp()),
            Side::Earlier | Side::Other => 0.0,
        };
        self.memory * (1.0 + own)
    }
}

/// Lets a pod live, and writes down what is scraped of it.
fn scrape(
    pod: &mut Pod,
    place: usize,
    story: &Story,
    trace: &Trace,
    every: i64,
    ready: &[i64],
    chance: &mut Chance,
) {
    let offset = chance.time((0, every));
    let mut counted = nothing();
    let mut started = pod.ready_at;
    for (from, to) in [
        (0, trace.watched_until),
        (trace.watched_again, trace.ends_at),
    ] {
        let from = from.max(pod.ready_at);
        let to = to.min(pod.ends_at);
        let mut before = from;
        let mut at = from + offset;
        while at < to {
            if pod.restarts.iter().any(|r| before < *r && *r <= at) {
                counted = nothing();
                started = at;
            }
            // What begins between two scrapes begins then, and not with the scrape before.
            let cut = story.trouble.since.clamp(before, at);
            for part in [(before, cut), (cut, at)] {
                live(&mut counted, pod, place, story, part, ready, chance);
            }
            counted.at = at;
            counted.memory = story.memory(pod.side, started, at) * chance.within((0.99, 1.01));
            if !story.unseen.iter().any(|s| is_in(*s, at)) {
                pod.scrapes.push(counted.clone());
            }
            (before, at) = (at, at + every);
        }
    }
}

/// The requests between two times, as things are at the first.
fn live(
    counted: &mut Scrape,
    pod: &Pod,
    place: usize,
    story: &Story,
    (before, at): (i64, i64),
    ready: &[i64],
    chance: &mut Chance,
) {
    let requests = chance.poisson(story.rate(pod, before, ready) * seconds(at - before));
    counted.requests += requests;
    counted.errors += chance.binomial(requests, story.errors(pod.side, before));
    let middle = story.latency(pod.side, place, before);
    let (mut done, mut below) = (0.0, 0.0);
    for (bound, bucket) in BOUNDS.iter().zip(&mut counted.buckets) {
        // The log-logistic distribution: a long tail, as latencies have, and a formula.
        let share = 1.0 / (1.0 + (bound / middle).powf(-story.narrow(pod.side)));
        let of_the_rest = ((share - below) / (1.0 - below)).clamp(0.0, 1.0);
        let within = chance.binomial(requests - done, of_the_rest);
        counted.seconds += time_of(within, (below, share), middle, story.narrow, chance);
        done += within;
        below = share.min(1.0 - f64::EPSILON);
        *bucket += done;
    }
    counted.seconds += time_of(requests - done, (below, 1.0), middle, story.narrow, chance);
}

/// How long so many requests of one bucket took together: by some that are drawn from it.
fn time_of(
    requests: f64,
    (from, to): (f64, f64),
    middle: f64,
    narrow: f64,
    chance: &mut Chance,
) -> f64 {
    let drawn = requests.min(DRAWN);
    let mut left = drawn;
    let mut all = 0.0;
    while left > 0.0 {
        let share = chance.within((from, to)).min(1.0 - 1e-9);
        all += middle * (share / (1.0 - share)).powf(1.0 / narrow);
        left -= 1.0;
    }
    if drawn > 0.0 {
        all * requests / drawn
    } else {
        0.0
    }
}

fn nothing() -> Scrape {
    Scrape {
        at: 0,
        requests: 0.0,
        errors: 0.0,
        buckets: [0.0; BOUNDS.len()],
        seconds: 0.0,
        memory: 0.0,
    }
}

fn is_in((from, to): (i64, i64), at: i64) -> bool {
    from <= at && at < to
}

#[expect(clippy::cast_precision_loss, reason = "traces are hours long")]
fn seconds(duration: i64) -> f64 {
    duration as f64
}

#[expect(clippy::cast_precision_loss, reason = "pods are few")]
fn count(number: usize) -> f64 {
    number as f64
}

/// All chance of a trace.
struct Chance(ChaCha8Rng);

impl Chance {
    fn within(&mut self, (low, high): Range) -> f64 {
        low + (high - low) * self.0.random::<f64>()
    }

    /// As often between 1 and 10 as between 10 and 100.
    fn spread(&mut self, (low, high): Range) -> f64 {
        self.within((low.ln(), high.ln())).exp()
    }

    #[expect(clippy::cast_possible_truncation, reason = "ranges are small")]
    fn whole(&mut self, range: Range) -> i64 {
        self.within(range).round() as i64
    }

    fn time(&mut self, (from, to): (i64, i64)) -> i64 {
        self.0.random_range(from..to)
    }

    /// A span of time that begins within.
    fn span(&mut self, within: (i64, i64), length: Range) -> (i64, i64) {
        let from = self.time(within);
        (from, from + self.whole(length))
    }

    /// From two to five of them.
    fn spans(&mut self, within: (i64, i64), length: Range) -> Vec<(i64, i64)> {
        let number = self.whole((2.0, 5.0));
        (0..number).map(|_| self.span(within, length)).collect()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        Poisson::new(mean).map_or(0.0, |p| p.sample(&mut self.0))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "whole numbers of requests, far below 2^52"
    )]
    fn binomial(&mut self, of: f64, share: f64) -> f64 {
        Binomial::new(of as u64, share).map_or(0.0, |b| b.sample(&mut self.0) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measure;

    fn both(shape: &Shape) -> impl Iterator<Item = Trace> {
        Class::ALL
            .into_iter()
            .flat_map(move |class| [false, true].map(|bad| trace(class, bad, shape, 7)))
    }

    #[test]
    fn a_seed_always_makes_the_same_trace_and_another_seed_another() {
        let shape = Shape::tuning();
        for (first, second) in both(&shape).zip(both(&shape)) {
            assert_eq!(first, second);
        }
        let other = trace(Class::StepError, true, &shape, 8);
        assert_ne!(trace(Class::StepError, true, &shape, 7), other);
    }

    #[test]
    fn truth_is_what_the_class_says() {
        for shape in [Shape::tuning(), Shape::others(), Shape::afterwards()] {
            for class in Class::ALL {
                assert_eq!(trace(class, false, &shape, 7).bad_since, None);
                let bad = trace(class, true, &shape, 7);
                assert_eq!(bad.bad_since.is_some(), class.has_bad(), "{class:?}");
                assert!(
                    bad.bad_since
                        .is_none_or(|t| t >= bad.ready_at && t < bad.ends_at)
                );
            }
        }
    }

    #[test]
    fn a_bad_release_differs_from_the_one_before_and_others_do_not() {
        let shape = Shape::tuning();
        for (class, measure) in [
            (Class::StepError, Measure::ErrorShare),
            (Class::LatencyShift, Measure::Latency),
            (Class::SlowLeak, Measure::Memory),
        ] {
            let it = trace(class, true, &shape, 7);
            let at = it.ends_at - 1;
            let ask = |side, at| measure.ask(&it, side, at).unwrap();
            let (release, earlier) = (ask(Side::Release, at), ask(Side::Earlier, 500));
            assert!(release > 1.5 * earlier, "{class:?}: {release} {earlier}");
            let (other, before) = (ask(Side::Other, at), ask(Side::Other, 500));
            assert!(other < 1.5 * before + 0.02, "{class:?}: {other} {before}");
        }
    }

    #[test]
    fn what_the_other_classes_are_about_is_in_their_traces() {
        let shape = Shape::tuning();
        let of = |class| trace(class, false, &shape, 7);
        let asked = |it: &Trace, side| {
            let times = it.ready_at + 120..it.ends_at;
            times
                .step_by(10)
                .map(|at| Measure::ErrorShare.ask(it, side, at))
                .collect::<Vec<_>>()
        };
        assert!(asked(&of(Class::Gaps), Side::Release).contains(&None));
        let silent = asked(&of(Class::NotANumber), Side::Release);
        assert!(silent.iter().flatten().any(|v| v.is_nan()));
        for side in [Side::Release, Side::Other] {
            let down = asked(&of(Class::EverythingDown), side);
            assert!(down.iter().flatten().any(|v| *v > 0.1), "{side:?}");
        }
        let reset = of(Class::CounterReset);
        let mut pairs = reset.pods.iter().flat_map(|p| p.scrapes.windows(2));
        assert!(pairs.any(|w| w[1].requests < w[0].requests));
        let canary = of(Class::SmallCanary);
        let last = |side| Measure::ErrorShare.samples(&canary, side, canary.ends_at - 1);
        let [Some(Some(few)), Some(Some(many))] = [Side::Release, Side::Earlier].map(last) else {
            panic!("both sides are asked");
        };
        assert!(few < 0.02 * many, "{few} of {many}");
        assert!(of(Class::DayAndNight).released_at > 4 * 3600);
    }
}

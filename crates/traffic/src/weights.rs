//! The weights of a route as they were found: what is recorded, compared and put back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::selection::Percent;

/// The weights of stable and canary in each list that has both.
///
/// Recorded before the first change, it is what [`Route::restore`](crate::Route::restore) puts back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    /// One entry for each list of backends, in the route's order; never empty when read from a route.
    pub places: Vec<Place>,
}

/// The two weights in one list of backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Where the list is.
    pub at: At,
    /// The stable side's weight.
    pub stable: Weight,
    /// The canary's weight.
    pub canary: Weight,
    /// The whole text in which the weights stand, where they stand in text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Where something is in an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct At {
    /// A JSON Pointer in the object.
    pub pointer: String,
    /// The JSON Pointer from there on, in the JSON that stands there as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pointer)?;
        match &self.within {
            Some(within) => write!(f, "#{within}"),
            None => Ok(()),
        }
    }
}

/// One weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Weight {
    /// The number that stands in the object, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<u32>,
    /// The number that counts.
    pub counts: u32,
}

impl Place {
    /// The canary's share in percent, rounded; 0 and 100 only if it is exactly that, because "nothing" and "almost
    /// nothing" are not the same for whoever gets the errors.
    pub fn percent(&self) -> Percent {
        let (canary, total) = (u64::from(self.canary.counts), self.total());
        let rounded = match canary {
            0 => 0,
            canary if canary == total => 100,
            canary => ((canary * 200 + total) / (total * 2)).clamp(1, 99),
        };
        u8::try_from(rounded)
            .ok()
            .and_then(|percent| Percent::try_from(percent).ok())
            .unwrap_or(Percent::ALL)
    }

    /// Whether the canary's share is exactly this.
    pub fn holds(&self, share: Percent) -> bool {
        u64::from(self.canary.counts) * 100 == u64::from(share.get()) * self.total()
    }

    fn total(&self) -> u64 {
        u64::from(self.stable.counts) + u64::from(self.canary.counts)
    }

    fn same_share(&self, other: &Self) -> bool {
        u128::from(self.canary.counts) * u128::from(other.total())
            == u128::from(other.canary.counts) * u128::from(self.total())
    }
}

impl Weights {
    /// The largest share that the canary has anywhere, rounded as [`Place::percent`] is.
    pub fn percent(&self) -> Percent {
        self.places
            .iter()
            .map(Place::percent)
            .max()
            .unwrap_or(Percent::NONE)
    }

    /// Whether the canary's share is exactly this, in every place.
    pub fn holds(&self, share: Percent) -> bool {
        self.places.iter().all(|place| place.holds(share))
    }

    /// What somebody has changed since these weights were written, in words; `None` if the shares are what they were.
    ///
    /// The same share in other numbers is no change: it sends nobody anywhere else.
    pub fn edited_since(&self, now: &Self) -> Option<String> {
        let gone = self.places.iter().filter_map(|was| {
            let Some(is) = now.place(&was.at) else {
                return Some(format!("{}: the backends are gone", was.at));
            };
            (!is.same_share(was)).then(|| {
                format!(
                    "{}: the canary's weight is {}:{} with the stable side's, where {}:{} was written",
                    was.at,
                    is.canary.counts,
                    is.stable.counts,
                    was.canary.counts,
                    was.stable.counts
                )
            })
        });
        let new = now
            .places
            .iter()
            .filter(|is| self.place(&is.at).is_none())
            .map(|is| format!("{}: the backends are new there", is.at));
        let all: Vec<_> = gone.chain(new).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    pub(crate) fn place(&self, at: &At) -> Option<&Place> {
        self.places.iter().find(|place| place.at == *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pointer: &str, stable: u32, canary: u32) -> Place {
        let weight = |counts| Weight {
            written: Some(counts),
            counts,
        };
        Place {
            at: At {
                pointer: pointer.to_owned(),
                within: None,
            },
            stable: weight(stable),
            canary: weight(canary),
            text: None,
        }
    }

    fn weights(places: &[Place]) -> Weights {
        Weights {
            places: places.to_vec(),
        }
    }

    fn percent(number: u8) -> Percent {
        Percent::try_from(number).unwrap()
    }

    #[test]
    fn almost_nothing_is_not_nothing_and_almost_all_is_not_all() {
        for (stable, canary, share) in [
            (999_999, 1, 1),
            (1, 999_999, 99),
            (1, 0, 0),
            (0, 1, 100),
            (2, 1, 33),
            (1, 2, 67),
        ] {
            let place = place("/a", stable, canary);
            assert_eq!(place.percent(), percent(share), "{stable}:{canary}");
            assert_eq!(place.holds(Percent::NONE), canary == 0);
        }
    }

    #[test]
    fn one_place_that_differs_is_enough_not_to_hold() {
        let both = [place("/a", 75, 25), place("/b", 3, 1)];
        assert!(weights(&both).holds(percent(25)));
        let one = [place("/a", 75, 25), place("/b", 74, 26)];
        assert!(!weights(&one).holds(percent(25)));
        assert_eq!(weights(&one).percent(), percent(26));
    }

    #[test]
    fn an_edit_is_told_with_its_place_and_both_shares() {
        let written = weights(&[place("/a", 75, 25)]);
        let said = |now: &[Place]| written.edited_since(&weights(now));
        assert_eq!(said(&[place("/a", 3, 1)]), None);
        let edited = said(&[place("/a", 50, 50)]).unwrap();
        assert!(
            edited.contains("/a") && edited.contains("50:50") && edited.contains("25:75"),
            "{edited}"
        );
        let moved = said(&[place("/b", 75, 25)]).unwrap();
        assert!(
            moved.contains("/a: the backends are gone")
                && moved.contains("/b: the backends are new"),
            "{moved}"
        );
    }
}

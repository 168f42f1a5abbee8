//! Health that is asked again and again: what to ask, and what the results of many rounds say.
//!
//! Asking is done elsewhere, and comes back as an [`Answer`] for each pod. A [`History`] decides
//! which answers are results at all, keeps them, and makes one [`Reading`] of them.
//!
//! An operator that is cut off from the pods must not take them for ill (safety rule 5). So what no
//! connection came of is a failure of the pod only where something else speaks for that:
//!
//! | what happened | is a failure when | otherwise |
//! |---|---|---|
//! | an answer that is not well, or none in time on a connection | always | |
//! | the connection is refused | another pod can be connected to in the same round, or the pod's kubelet says that it is not ready | unknown |
//! | no connection in time, no way to the address | the pod's kubelet says that it is not ready | unknown |
//!
//! An unknown result ends a run of failures and is in no share. Where a whole round is unknown, there
//! is no reading.

mod history;

use std::time::Duration;

use backstop_api::policy::{Aggregate, Port, ProbeMeasure, ProbeScheme, ProbeSource};
use jiff::SignedDuration;

pub use history::{Answered, History};

/// What to ask, of whom, and what to make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The question.
    pub question: ProbeQuestion,
    /// Who is asked.
    pub whom: Whom,
    /// What the value is.
    pub measure: ProbeMeasure,
    /// Which of several pods the value is of.
    pub aggregate: Aggregate,
    /// So long without an answer is a failure.
    pub timeout: Duration,
    /// How far back results count.
    pub window: SignedDuration,
    /// For so long after it started, a pod that has never been well may fail.
    pub startup: SignedDuration,
    /// With fewer results there is no share of failures.
    pub minimum_results: usize,
}

/// The question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeQuestion {
    /// A GET.
    Http {
        /// With TLS or without; of pods only.
        scheme: ProbeScheme,
        /// What to ask for; of pods only.
        path: String,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service to ask about; empty for the server as a whole.
        service: String,
    },
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Each pod of the release.
    Pods {
        /// Where; the one port that the containers declare without it.
        port: Option<Port>,
    },
    /// An address.
    Address {
        /// It, which the operator's configuration has to allow.
        url: String,
        /// The Secret with the credentials.
        secret_name: Option<String>,
    },
}

/// What came of asking once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Well.
    Well {
        /// From the question to the answer.
        took: Duration,
    },
    /// An answer that is not well, or a connection that came to nothing.
    Ill {
        /// From the question to the answer; without it there was none.
        took: Option<Duration>,
        /// For a person, without anything that was answered but a status.
        why: String,
    },
    /// The connection is refused.
    Refused,
    /// There is no connection.
    NotReached {
        /// For a person.
        why: String,
    },
}

impl Answer {
    /// The word for it in a metric's label.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Well { .. } => "well",
            Self::Ill { .. } => "ill",
            Self::Refused => "refused",
            Self::NotReached { .. } => "not_reached",
        }
    }

    /// Whether there was a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Well { .. } | Self::Ill { .. })
    }
}

impl Probe {
    /// Checks a source; `refuse` is told what is wrong with which field.
    pub(crate) fn parse(
        source: &ProbeSource,
        interval: backstop_api::Duration,
        refuse: &mut impl FnMut(&str, String, String),
    ) -> Option<Self> {
        let mut fine = true;
        let mut wrong = |field: &str, value: String, problem: &str| {
            refuse(field, value, problem.to_owned());
            fine = false;
        };
        let (question, whom) = match (&source.http, &source.grpc) {
            (Some(http), None) => (
                ProbeQuestion::Http {
                    scheme: http.scheme.unwrap_or_default(),
                    path: http.path.clone().unwrap_or_else(|| "/".into()),
                },
                whom(
                    http.url.as_ref(),
                    http.port.as_ref(),
                    http.secret_name.as_ref(),
                ),
            ),
            (None, Some(grpc)) => (
                ProbeQuestion::Grpc {
                    service: grpc.service.clone(),
                },
                whom(grpc.url.as_ref(), grpc.port.as_ref(), None),
            ),
            _ => {
                let problem = "asks by one protocol; set either http or grpc";
                wrong("probe", "…".into(), problem);
                return None;
            }
        };
        if let ProbeQuestion::Http { path, .. } = &question
            && (!path.starts_with('/') || path.chars().any(|c| c.is_control() || c == '#'))
        {
            let problem =
                "must begin with a slash, without `#` and control characters; for example /healthz";
            wrong("probe.http.path", path.clone(), problem);
        }
        if source.timeout > interval {
            let problem = format!("must not be longer than interval, which is {interval}");
            wrong("probe.timeout", source.timeout.to_string(), &problem);
        }
        if source.timeout.as_std().is_zero() {
            wrong(
                "probe.timeout",
                source.timeout.to_string(),
                "must be 100ms or more",
            );
        }
        if source.window.as_signed() > crate::policy::LONGEST_REACH
            || source.window.as_std().is_zero()
        {
            wrong(
                "probe.window",
                source.window.to_string(),
                "must be from 1s to 24h",
            );
        }
        fine.then(|| Self {
            question,
            whom,
            measure: source.measure,
            aggregate: source.aggregate.unwrap_or(Aggregate::Max),
            timeout: source.timeout.as_std(),
            window: source.window.as_signed(),
            startup: source.startup.as_signed(),
            minimum_results: source.minimum_results as usize,
        })
    }

    /// The address that is asked, where pods are not.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        match &self.whom {
            Whom::Address { url, .. } => Some(url),
            Whom::Pods { .. } => None,
        }
    }

    /// Whether only pods of the release are asked.
    pub(crate) fn is_scoped(&self) -> bool {
        self.address().is_none()
    }

    /// How far back a reading looks. Pods that fail in a row fail now, however long they have; behind
    /// an address others may have answered in that time.
    pub(crate) fn range(&self) -> SignedDuration {
        match self.measure {
            ProbeMeasure::FailureRate => self.window,
            ProbeMeasure::ConsecutiveFailures if !self.is_scoped() => self.window,
            ProbeMeasure::ConsecutiveFailures | ProbeMeasure::ResponseTime => SignedDuration::ZERO,
        }
    }

    /// The question for people, on one line.
    #[must_use]
    pub fn in_words(&self) -> String {
        let port = match &self.whom {
            Whom::Address { url, .. } => {
                let url = url.split('?').next().unwrap_or_default();
                return match &self.question {
                    ProbeQuestion::Http { .. } => format!("GET {url}"),
                    ProbeQuestion::Grpc { service } => {
                        format!("gRPC health{} of {url}", about(service))
                    }
                };
            }
            Whom::Pods { port: Some(port) } => format!("port {port}"),
            Whom::Pods { port: None } => "the port".into(),
        };
        match &self.question {
            ProbeQuestion::Http { scheme, path } => {
                let scheme = match scheme {
                    ProbeScheme::Http => "http",
                    ProbeScheme::Https => "https",
                };
                format!("GET {path} ({scheme}) on {port} of each pod")
            }
            ProbeQuestion::Grpc { service } => {
                format!("gRPC health{} on {port} of each pod", about(service))
            }
        }
    }
}

fn about(service: &str) -> String {
    if service.is_empty() {
        String::new()
    } else {
        format!(" of {service}")
    }
}

fn whom(url: Option<&String>, port: Option<&Port>, secret: Option<&String>) -> Whom {
    match url {
        Some(url) => Whom::Address {
            url: url.clone(),
            secret_name: secret.cloned(),
        },
        None => Whom::Pods {
            port: port.cloned(),
        },
    }
}

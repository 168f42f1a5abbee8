//! A post: let in, read, and answered.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONNECTION, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};

use super::{Inbox, access::Verdict, board::Door, payload::Post};

/// A post is read up to here, in bytes.
const LARGEST: usize = 4 << 20;
/// And for so long.
const SLOWEST: Duration = Duration::from_secs(10);

/// How a post ended.
enum Ended {
    /// It was taken in.
    Accepted(String),
    /// This replica is not the leader.
    NotLeading,
    /// Whoever posts it is not known.
    Unauthorized,
    /// It cannot be told who posts it.
    Unclear(String),
    /// It is not what Alertmanager posts.
    Malformed(String),
    /// It is too large.
    TooLarge,
    /// It did not come to its end.
    Slow,
}

impl Ended {
    /// The word for it in a metric's label.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::NotLeading => "not_leading",
            Self::Unauthorized => "unauthorized",
            Self::Unclear(_) => "unclear",
            Self::Malformed(_) => "malformed",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
        }
    }
}

impl IntoResponse for Ended {
    fn into_response(self) -> Response {
        let (status, words) = match self {
            Self::Accepted(words) => return (StatusCode::OK, words).into_response(),
            // Alertmanager tries again; on another connection it may meet the leader.
            Self::NotLeading => {
                let words = "this replica does not lead; try again";
                let close = [(CONNECTION, HeaderValue::from_static("close"))];
                return (StatusCode::SERVICE_UNAVAILABLE, close, words).into_response();
            }
            Self::Unauthorized => {
                let how = [(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer, Basic realm=\"alerts\""),
                )];
                let words = "the credentials are missing or wrong";
                return (StatusCode::UNAUTHORIZED, how, words).into_response();
            }
            // What is wrong is the administrator's to know: it is in the log.
            Self::Unclear(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the credentials cannot be checked now; the operator's log says why".to_owned(),
            ),
            Self::Malformed(words) => (StatusCode::BAD_REQUEST, words),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a post may have {LARGEST} bytes; group by more labels, or set max_alerts"),
            ),
            Self::Slow => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the post did not end within {} s", SLOWEST.as_secs()),
            ),
        };
        (status, words).into_response()
    }
}

/// A post about any namespace.
pub(super) async fn about_the_cluster(
    State(inbox): State<Arc<Inbox>>,
    request: Request,
) -> Response {
    receive(&inbox, Door::Cluster, request).await
}

/// A post about one namespace.
pub(super) async fn about_a_namespace(
    State(inbox): State<Arc<Inbox>>,
    Path(namespace): Path<String>,
    request: Request,
) -> Response {
    receive(&inbox, Door::Namespace(namespace), request).await
}

async fn receive(inbox: &Inbox, door: Door, request: Request) -> Response {
    let ended = admit(inbox, &door, request).await;
    inbox.metrics.alerts_posted(ended.as_str());
    match &ended {
        Ended::Accepted(words) => tracing::debug!(?door, "{words}"),
        Ended::NotLeading => tracing::debug!(?door, "alerts were posted to a replica that waits"),
        Ended::Unauthorized => {
            tracing::warn!(
                ?door,
                "alerts were posted with missing or wrong credentials"
            );
        }
        Ended::Unclear(why) | Ended::Malformed(why) => {
            tracing::warn!(?door, why, "alerts that were posted cannot be taken in");
        }
        Ended::TooLarge | Ended::Slow => {
            tracing::warn!(?door, "alerts that were posted were too many or too slow");
        }
    }
    ended.into_response()
}

async fn admit(inbox: &Inbox, door: &Door, request: Request) -> Ended {
    let Some(context) = inbox.context() else {
        return Ended::NotLeading;
    };
    let header = request.headers().get(AUTHORIZATION);
    let header = header.map_or(&b""[..], HeaderValue::as_bytes);
    match inbox.access.judge(&context, door, header).await {
        Verdict::Welcome => {}
        Verdict::Unknown => return Ended::Unauthorized,
        Verdict::Unclear(why) => return Ended::Unclear(why),
    }
    drop(context);
    // Read only now: who is not known cannot fill the memory.
    let post = match read(request.into_body()).await {
        Ok(body) => Post::parse(&body),
        Err(ended) => return ended,
    };
    let post = match post {
        Ok(post) => post,
        Err(why) => return Ended::Malformed(why),
    };
    let Some(taken) = inbox.take(door, post) else {
        return Ended::NotLeading;
    };
    // Writing into a String cannot fail.
    let mut words = format!("{} alerts taken in", taken.kept);
    if taken.foreign > 0 {
        let _ = write!(
            words,
            ", {} left out because their label namespace names another one",
            taken.foreign
        );
    }
    if taken.left_out > 0 {
        let _ = write!(words, ", {} were not posted or did not fit", taken.left_out);
    }
    Ended::Accepted(words)
}

async fn read(body: Body) -> Result<axum::body::Bytes, Ended> {
    match tokio::time::timeout(SLOWEST, to_bytes(body, LARGEST)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Ended::TooLarge),
        Err(_) => Err(Ended::Slow),
    }
}

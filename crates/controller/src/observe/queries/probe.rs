//! Asking the release's pods, or an address, for their health.

use std::time::Duration;

use backstop_engine::{
    probe::{Answered, History, Probe, Whom},
    reading::Reading,
};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use jiff::Timestamp;

use super::{Access, misconfigured};
use crate::{
    context::Context,
    observe::{Observer, reach},
};

/// So many pods of other releases are tried as witnesses that the operator can reach pods at all.
const WITNESSES: usize = 8;
/// And no longer than this.
const WITNESS_LIMIT: Duration = Duration::from_secs(1);

/// What earlier rounds have shown of a release.
#[derive(Default)]
pub(super) struct Memory {
    release: String,
    history: History,
}

/// Asks everybody once, and says what the results so far make.
pub(super) async fn round(
    observer: &Observer,
    context: &Context,
    probe: &Probe,
    release: &str,
    memory: &mut Memory,
    access: &mut Access,
) -> (Reading, Vec<String>) {
    if memory.release != release {
        *memory = Memory {
            release: release.to_owned(),
            history: History::default(),
        };
    }
    let asked = match &probe.whom {
        Whom::Pods { port } => pods(observer, context, probe, port.as_ref()).await,
        Whom::Address { url, secret_name } => {
            let secret = secret_name.as_deref();
            address(observer, context, probe, url, secret, access).await
        }
    };
    let (round, beside) = match asked {
        Ok(asked) => asked,
        Err(why) => return (misconfigured(why), Vec::new()),
    };
    let now = Timestamp::now();
    let history = &mut memory.history;
    history.take(probe, round, beside, now);
    (history.reading(probe, now), history.details().to_vec())
}

/// What the pods answer, and whether one of another release could be connected to.
async fn pods(
    observer: &Observer,
    context: &Context,
    probe: &Probe,
    port: Option<&backstop_api::policy::Port>,
) -> Result<(Vec<Answered>, bool), String> {
    let (of_release, others) = observer.pods_by_release();
    let asked = reach::reached(&of_release, port)?;
    let prober = &context.prober;
    let round = join_all(asked.into_iter().map(|pod| async move {
        let answer = prober.pod(pod.address, &probe.question, probe.timeout);
        Answered {
            answer: answer.await,
            name: pod.name,
            started_at: pod.started_at,
            ready: pod.ready,
        }
    }))
    .await;
    let connected = round.iter().any(|one| one.answer.is_connected());
    if round.is_empty() || connected {
        return Ok((round, false));
    }
    // Pods that are of no use as witnesses are none.
    let witnesses = reach::reached(&others, port).unwrap_or_default();
    let witnesses = witnesses.into_iter().take(WITNESSES);
    let mut looks: FuturesUnordered<_> = witnesses
        .map(|pod| prober.connects(pod.address, WITNESS_LIMIT))
        .collect();
    while let Some(connects) = looks.next().await {
        if connects {
            return Ok((round, true));
        }
    }
    Ok((round, false))
}

async fn address(
    observer: &Observer,
    context: &Context,
    probe: &Probe,
    url: &str,
    secret: Option<&str>,
    access: &mut Access,
) -> Result<(Vec<Answered>, bool), String> {
    let address = context.web_allowed.check_url(url);
    let address = address.map_err(|error| error.to_string())?;
    let credentials = access
        .credentials(context, &observer.namespace, secret)
        .await?;
    let answer = context
        .prober
        .address(&address, &credentials, &probe.question, probe.timeout)
        .await;
    let answered = Answered {
        name: address.to_string(),
        started_at: None,
        ready: true,
        answer,
    };
    Ok((vec![answered], false))
}

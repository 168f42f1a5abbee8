//! Waiting on a condition with a deadline, instead of sleeping for as long as it usually takes.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Between two looks. Short, since everything looked at is on loopback.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `probe` gives `Ok`, and returns what it gave.
///
/// An `Err` means "not yet" and says what was seen. When `deadline` has passed, the error names `what` was waited for
/// and the last thing seen. One look may not outlast the deadline either.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use backstop_testenv::eventually;
/// use std::time::Duration;
///
/// let mut looks = 0;
/// let seen = eventually("a third look", Duration::from_secs(5), async || {
///     looks += 1;
///     if looks == 3 { Ok(looks) } else { Err(format!("{looks} looks")) }
/// });
/// assert_eq!(seen.await.unwrap(), 3);
/// # });
/// ```
pub async fn eventually<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    let mut last = "nothing: the first look did not come back".to_owned();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = format!("{seen:#}"),
            Err(_) if left.is_zero() => {}
            Err(_) => last = format!("{last} (and a look that did not come back)"),
        }
        if started.elapsed() >= deadline {
            bail!(
                "waited {:.1} s for {what}; last seen: {last}",
                started.elapsed().as_secs_f64()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_names_what_was_waited_for_and_what_was_last_seen() {
        let waited = eventually("a blue moon", Duration::from_millis(120), async || {
            Err::<(), _>("a white one")
        })
        .await;
        let message = waited.unwrap_err().to_string();
        assert!(
            message.contains("a blue moon") && message.contains("a white one"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_outlast_the_deadline() {
        let started = Instant::now();
        let hang = async || {
            std::future::pending::<()>().await;
            Err::<(), _>("never")
        };
        assert!(
            eventually("nothing", Duration::from_millis(100), hang)
                .await
                .is_err()
        );
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

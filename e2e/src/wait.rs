//! Waiting for conditions, with a deadline and a name for what did not happen.

use std::{future::Future, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// An error of the question counts as no answer yet (a server may be starting); the last one is
/// part of the failure.
pub async fn wait_for<T, F>(
    what: &str,
    at_most: Duration,
    mut question: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + at_most;
    loop {
        let last = match question().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            match last {
                Some(error) => bail!("waited {at_most:?} for {what}; the last error: {error:#}"),
                None => bail!("waited {at_most:?} for {what}"),
            }
        }
        sleep(PAUSE).await;
    }
}

//! Retries inside a function, for calls that the account's rate quota throttles.

use std::time::Duration;

use crate::aws::ErrorName;

/// How long a throttled call is repeated, counting the pauses alone. The functions time out after three minutes or more.
const LIMIT: Duration = Duration::from_mins(2);

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// Repeats a call while it is throttled, for up to two minutes.
///
/// The SDK's three attempts end within seconds, and at five calls a second the pages of twenty large results take many
/// minutes. After two minutes the caller of the function has to retry.
///
/// # Errors
/// The error of the last call.
pub(crate) async fn while_throttled<T, E: ErrorName>(mut call: impl AsyncFnMut() -> Result<T, E>) -> Result<T, E> {
    let (mut pause, mut waited) = (Duration::from_secs(1), Duration::ZERO);
    loop {
        // Boxed, because the future of an SDK call is large, and those of the callers contain it.
        match Box::pin(call()).await {
            Err(error) if error.error_name() == "Throttled" && waited < LIMIT => {
                tokio::time::sleep(pause).await;
                waited += pause;
                pause = MAX_PAUSE.min(2 * pause);
            }
            outcome => return outcome,
        }
    }
}

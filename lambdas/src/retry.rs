//! Calls that wait for the account's rate.

use std::time::Duration;

use crate::aws::ErrorName;

/// How long, pauses alone, a throttled call is repeated: the functions end after 5 minutes.
const PATIENCE: Duration = Duration::from_mins(2);

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// Repeats a call that is throttled: the SDK's three attempts are over in seconds, and at five calls a second the pages of
/// twenty large results take many minutes. After two it is for whoever called the function to try again.
///
/// # Errors
/// What the last call met.
pub(crate) async fn while_throttled<T, E: ErrorName>(mut call: impl AsyncFnMut() -> Result<T, E>) -> Result<T, E> {
    let (mut pause, mut waited) = (Duration::from_secs(1), Duration::ZERO);
    loop {
        match call().await {
            Err(error) if error.error_name() == "Throttled" && waited < PATIENCE => {
                tokio::time::sleep(pause).await;
                waited += pause;
                pause = MAX_PAUSE.min(2 * pause);
            }
            outcome => return outcome,
        }
    }
}

//! Retry: which errors are retried, and when.

use serde_json::Value;

use crate::clock::Ms;
use crate::machine::Failure;

/// The retries of a state since it was entered, counted for each retrier.
#[derive(Debug)]
pub(super) struct Retries<'a> {
    retriers: &'a [Value],
    counts: Vec<u64>,
}

impl<'a> Retries<'a> {
    pub(super) fn of(state: &'a Value) -> Self {
        let retriers = state["Retry"].as_array().map_or(&[][..], Vec::as_slice);
        Self { retriers, counts: vec![0; retriers.len()] }
    }

    /// How often the state was retried.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long to wait before the next attempt; `None` if the failure is final. `rng` is for `JitterStrategy`.
    pub(super) fn next(&mut self, failure: &Failure, rng: &mut fastrand::Rng) -> Option<Ms> {
        // Only the first retrier that matches is used.
        let index = self.retriers.iter().position(|retrier| {
            let names = retrier["ErrorEquals"].as_array().expect("ErrorEquals is an array");
            names.iter().any(|name| matches(name.as_str().unwrap_or_default(), &failure.error))
        })?;
        let retrier = &self.retriers[index];
        let number = |field: &str, default: f64| retrier[field].as_f64().unwrap_or(default);
        let count = &mut self.counts[index];
        if *count >= retrier["MaxAttempts"].as_u64().unwrap_or(3) {
            return None;
        }
        let exponent = i32::try_from(*count).expect("few attempts");
        *count += 1;
        let delay = number("IntervalSeconds", 1.0) * number("BackoffRate", 2.0).powi(exponent);
        let delay = delay.min(number("MaxDelaySeconds", f64::INFINITY));
        let jitter = if retrier["JitterStrategy"] == "FULL" { rng.f64() } else { 1.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a delay is short and positive")]
        Some((delay * jitter * 1000.0) as Ms)
    }
}

/// Whether a name in `ErrorEquals` matches an error
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>).
fn matches(name: &str, error: &str) -> bool {
    let terminal = ["States.DataLimitExceeded", "States.Runtime"].contains(&error);
    match name {
        "States.ALL" => !terminal,
        "States.TaskFailed" => !terminal && error != "States.Timeout" && error != "States.HeartbeatTimeout",
        _ => name == error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn delays(retrier: &Value, error: &str) -> Vec<Ms> {
        let (state, mut rng) = (json!({ "Retry": [retrier] }), fastrand::Rng::with_seed(1));
        let mut counted = Retries::of(&state);
        let failure = Failure::new(error, String::new());
        std::iter::from_fn(|| counted.next(&failure, &mut rng)).collect()
    }

    #[test]
    fn delays_grow_to_their_maximum_and_the_number_of_retries_is_limited() {
        let retrier = json!({"ErrorEquals": ["E"], "IntervalSeconds": 2, "BackoffRate": 2, "MaxDelaySeconds": 10,
            "MaxAttempts": 5});
        assert_eq!(delays(&retrier, "E"), [2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn the_default_is_three_retries_from_one_second_on() {
        assert_eq!(delays(&json!({"ErrorEquals": ["States.ALL"]}), "E"), [1000, 2000, 4000]);
    }

    #[test]
    fn full_jitter_is_between_zero_and_the_delay() {
        let retrier = json!({"ErrorEquals": ["E"], "IntervalSeconds": 10, "BackoffRate": 1, "MaxAttempts": 100,
            "JitterStrategy": "FULL"});
        let delays = delays(&retrier, "E");
        assert!(delays.iter().all(|delay| *delay <= 10_000));
        assert!(delays.iter().any(|delay| *delay < 3000) && delays.iter().any(|delay| *delay > 7000));
    }

    #[test]
    fn no_name_matches_a_terminal_error() {
        assert_eq!(delays(&json!({"ErrorEquals": ["States.ALL"]}), "States.Runtime"), Vec::<Ms>::new());
        assert_eq!(delays(&json!({"ErrorEquals": ["States.ALL"]}), "States.DataLimitExceeded"), Vec::<Ms>::new());
        assert_eq!(delays(&json!({"ErrorEquals": ["States.TaskFailed"]}), "States.Timeout"), Vec::<Ms>::new());
        assert_eq!(delays(&json!({"ErrorEquals": ["Other"]}), "E"), Vec::<Ms>::new());
    }
}

//! The part of `main` that all functions share.

use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn, tracing};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::aws::Clients;

/// The configuration of a function that needs none.
#[derive(Debug, Deserialize)]
pub struct NoConfig {}

/// The environment does not have the variables that the function needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "an environment variable of the function is missing or invalid (the variable of a field is its name in upper case): {0}"
)]
pub struct ConfigError(#[from] serde_json::Error);

/// Serves a function until Lambda ends the process. Logs, clients and configuration are set up once, before the first event.
///
/// One thread is enough: Lambda sends one event at a time, and the function mostly waits for other services.
///
/// # Errors
/// The environment lacks a variable that the configuration needs, or the Runtime API cannot be reached.
pub fn serve<Config, Request, Response, Failure>(
    function: impl AsyncFn(&Clients, &Config, Request) -> Result<Response, Failure>,
) -> Result<(), Error>
where
    Config: DeserializeOwned,
    Request: DeserializeOwned,
    Response: Serialize,
    Failure: Into<Diagnostic> + std::fmt::Debug,
{
    tracing::init_default_subscriber();
    let config: Config = config_from(std::env::vars())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async move {
        let clients = Clients::from_env().await;
        let (function, config, clients) = (&function, &config, &clients);
        lambda_runtime::run(service_fn(async move |event: LambdaEvent<Request>| {
            // Boxed, because the compiler otherwise computes the layout of the whole call and exceeds its recursion limit.
            Box::pin(function(clients, config, event.payload)).await
        }))
        .await
    })
}

/// Reads a configuration from environment variables: the field `results_bucket` is the variable `RESULTS_BUCKET`.
///
/// # Errors
/// [`ConfigError`] names the field that is missing or invalid.
pub fn config_from<Config: DeserializeOwned>(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let variables = variables.map(|(name, value)| (name.to_lowercase(), value.into())).collect();
    Ok(serde_json::from_value(serde_json::Value::Object(variables))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{job::FaceAttributes, start_detection};

    fn variables(face_attributes: &str) -> impl Iterator<Item = (String, String)> {
        [
            ("RESULTS_BUCKET", "results"),
            ("COMPLETION_TOPIC_ARN", "topic"),
            ("PUBLISH_ROLE_ARN", "role"),
            ("FACE_ATTRIBUTES", face_attributes),
            ("PATH", "/usr/bin"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
    }

    #[test]
    fn a_config_is_read_from_the_environment() {
        let config: start_detection::Config = config_from(variables("ALL")).unwrap();
        assert_eq!((config.results_bucket.as_str(), config.face_attributes), ("results", FaceAttributes::All));
    }

    #[test]
    fn a_missing_or_invalid_variable_is_named() {
        let error = config_from::<start_detection::Config>(variables("ALL").skip(1)).unwrap_err().to_string();
        assert!(error.ends_with("missing field `results_bucket`"), "{error}");
        let error = config_from::<start_detection::Config>(variables("all")).unwrap_err().to_string();
        assert!(error.contains("unknown variant `all`, expected `DEFAULT` or `ALL`"), "{error}");
    }
}

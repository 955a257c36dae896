//! Why there are no credentials, in one sentence with the remedy. The SDK's own error describes every provider that it has
//! tried.

use std::{borrow::Cow, error::Error as StdError, path::Path};

use aws_config::profile::{ProfileSet, load};
use lambdas::aws::error_chain;

use super::error::innermost;

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsProblem {
    /// Neither the environment nor a profile has credentials.
    #[error(
        "there are no AWS credentials; choose a profile with --profile or AWS_PROFILE{}, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        named(profiles)
    )]
    Missing {
        /// The names of the profiles that exist.
        profiles: Vec<String>,
    },
    /// The profile does not exist.
    #[error(
        "there is no profile {profile} in the AWS configuration files; choose another one with --profile or AWS_PROFILE{}",
        named(profiles)
    )]
    NoProfile {
        /// The name of the profile.
        profile: String,
        /// The names of the profiles that exist.
        profiles: Vec<String>,
    },
    /// The user has logged in with IAM Identity Center, some time ago.
    #[error("the login of the profile {0} has expired: aws sso login --profile {0}")]
    LoginExpired(String),
    /// The user has not logged in with IAM Identity Center.
    #[error("the profile {0} is not logged in: aws sso login --profile {0}")]
    NotLoggedIn(String),
    /// The profile has a session of `aws login`, which this version of the SDK cannot read here.
    #[error(
        "the session of the profile {0} (aws login) can only be read by the AWS CLI; export its credentials: eval \"$(aws configure export-credentials --profile {0} --format env)\""
    )]
    LoginSession(String),
    /// The profile's helper process failed.
    #[error("the credential_process of the profile {profile} failed: {reason}")]
    Process {
        /// The name of the profile.
        profile: String,
        /// What the process has written, or how it ended.
        reason: String,
    },
    /// The AWS configuration files cannot be read.
    #[error("the AWS configuration files cannot be read: {0}")]
    Files(String),
    /// The profile is incomplete, or a provider failed for another reason.
    #[error(
        "the credentials of the profile {profile} cannot be loaded: {reason}; `aws sts get-caller-identity --profile {profile}` shows whether the AWS CLI can load them"
    )]
    Other {
        /// The name of the profile.
        profile: String,
        /// The innermost cause.
        reason: String,
    },
}

/// The names of the profiles, as a part of a sentence.
fn named(profiles: &[String]) -> String {
    const SHOWN: usize = 10;
    let more = if profiles.len() > SHOWN { ", …" } else { "" };
    match profiles {
        [] => String::new(),
        _ => format!(" ({}{more})", profiles[..profiles.len().min(SHOWN)].join(", ")),
    }
}

/// Returns an error if the selected profile is named by the user and does not exist.
pub(super) async fn check_profile(selected: Option<&str>) -> Result<(), CredentialsProblem> {
    let profiles = profiles(selected).await?;
    let profile = profiles.selected_profile();
    if profile == "default" || profiles.get_profile(profile).is_some() {
        return Ok(());
    }
    Err(CredentialsProblem::NoProfile { profile: profile.to_owned(), profiles: names(&profiles) })
}

/// Explains why the SDK could not load credentials.
pub(super) async fn explain(
    selected: Option<&str>,
    error: &(dyn StdError + Send + Sync + 'static),
) -> CredentialsProblem {
    match profiles(selected).await {
        Ok(profiles) => classify(&profiles, error),
        Err(problem) => problem,
    }
}

fn classify(profiles: &ProfileSet, error: &(dyn StdError + 'static)) -> CredentialsProblem {
    let name = profiles.selected_profile().to_owned();
    let Some(profile) = profiles.get_profile(&name) else {
        return CredentialsProblem::Missing { profiles: names(profiles) };
    };
    // The credentials of a role are those of its source profile.
    let source = profile.get("source_profile").unwrap_or(&name).to_owned();
    let Some(profile) = profiles.get_profile(&source) else {
        let reason = format!("its source_profile {source} does not exist");
        return CredentialsProblem::Other { profile: name, reason };
    };
    let text = error_chain(error);
    if profile.get("login_session").is_some() {
        return CredentialsProblem::LoginSession(source);
    }
    let is_sso = profile.get("sso_session").or_else(|| profile.get("sso_start_url")).is_some();
    // If the service cannot be reached, a login does not help.
    if is_sso && !text.contains("dispatch failure") {
        return if ["expired", "UnauthorizedException"].iter().any(|sign| text.contains(sign)) {
            CredentialsProblem::LoginExpired(source)
        } else {
            CredentialsProblem::NotLoggedIn(source)
        };
    }
    if profile.get("credential_process").is_some() {
        return CredentialsProblem::Process { profile: source, reason: process_failure(error) };
    }
    let has_source =
        ["aws_access_key_id", "aws_secret_access_key", "role_arn", "web_identity_token_file", "credential_source"];
    if !is_sso && !has_source.iter().any(|property| profile.get(property).is_some()) {
        return CredentialsProblem::Missing { profiles: names(profiles) };
    }
    let has = |property: &str| profile.get(property).is_some();
    let reason = match profile.get("web_identity_token_file") {
        _ if has("aws_access_key_id") && !has("aws_secret_access_key") => "it has no aws_secret_access_key".to_owned(),
        _ if has("aws_secret_access_key") && !has("aws_access_key_id") => "it has no aws_access_key_id".to_owned(),
        Some(file) if !Path::new(file).is_file() => format!("there is no file {file} (web_identity_token_file)"),
        _ => innermost(error),
    };
    CredentialsProblem::Other { profile: source, reason }
}

/// What the helper process has written to its standard error, or how it ended.
fn process_failure(error: &(dyn StdError + 'static)) -> String {
    let text = innermost(error);
    let text = text.strip_prefix("Error retrieving credentials: ").unwrap_or(&text);
    match text.split_once("Stderr:") {
        Some((_, written)) if !written.trim().is_empty() => written.trim().replace('\n', "; "),
        Some((ended, _)) => {
            ended.trim().trim_end_matches('.').replace("external process exited with code", "it ended with")
        }
        None => text.to_owned(),
    }
}

async fn profiles(selected: Option<&str>) -> Result<ProfileSet, CredentialsProblem> {
    let selected = selected.map(|name| Cow::Owned(name.to_owned()));
    #[expect(
        clippy::default_trait_access,
        reason = "the types of the file system and the environment are internal to the SDK"
    )]
    let files = load(&Default::default(), &Default::default(), &Default::default(), selected).await;
    files.map_err(|error| CredentialsProblem::Files(error_chain(&error)))
}

/// The names of all profiles, in order.
fn names(profiles: &ProfileSet) -> Vec<String> {
    let mut names: Vec<_> = profiles.profiles().map(str::to_owned).collect();
    names.sort();
    names
}

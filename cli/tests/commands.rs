//! The command itself: what it says where AWS is not to be had.

use std::process::{Command, Output};

/// The command in an environment of its own, without anybody's credentials.
fn facereel(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_facereel"))
        .args(arguments)
        .env_clear()
        // No machine's own role, and no file of the user's.
        .envs([("AWS_EC2_METADATA_DISABLED", "true"), ("HOME", "/nowhere")])
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_says(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn without_a_region() {
    assert_says(&facereel(&["replay"], &[]), &["no Region is chosen", "AWS_REGION", "--state-machine"]);
}

#[test]
fn without_credentials() {
    let output = facereel(&["replay"], &[("AWS_REGION", "eu-west-1")]);
    assert_says(&output, &["no AWS credentials", "aws sso login", "AWS_PROFILE"]);
}

#[test]
fn with_an_arn_that_is_none() {
    let output = facereel(&["replay", "--state-machine", "facereel-analyze-video"], &[]);
    assert_says(&output, &["facereel-analyze-video is not the ARN", "terraform output -raw state_machine_arn"]);
}

#[test]
fn with_a_time_that_is_none() {
    assert_says(&facereel(&["replay", "--since", "yesterday"], &[]), &["--since <TIME>", "yesterday"]);
}

#[test]
fn dead_letters_are_no_executions_to_choose_from() {
    let output = facereel(&["replay", "--dead-letters", "--limit", "3"], &[]);
    assert_says(&output, &["--dead-letters", "cannot be used with"]);
    assert_says(&facereel(&["replay", "--dead-letters"], &[]), &["no Region is chosen"]);
}

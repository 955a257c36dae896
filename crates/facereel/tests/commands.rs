//! Tests of the binary: its error messages without access to AWS, its help and its output.

use std::process::{Command, Output, Stdio};

/// Runs the command in an empty environment, without credentials.
fn facereel(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_facereel"))
        .args(arguments)
        .env_clear()
        // Neither the role of an EC2 instance nor the user's AWS files are used.
        .envs([("AWS_EC2_METADATA_DISABLED", "true"), ("HOME", "/nowhere")])
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_error(output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part} is not in: {stderr}");
    }
}

#[test]
fn a_missing_region_is_reported() {
    assert_error(&facereel(&["replay"], &[]), &["no Region is set", "AWS_REGION", "--state-machine"]);
}

#[test]
fn missing_credentials_are_reported() {
    let output = facereel(&["replay"], &[("AWS_REGION", "eu-west-1")]);
    assert_error(&output, &["no valid AWS credentials", "aws sso login", "AWS_PROFILE"]);
}

#[test]
fn an_invalid_arn_is_rejected() {
    let output = facereel(&["replay", "--state-machine", "facereel-analyze-video"], &[]);
    assert_error(&output, &["facereel-analyze-video is not the ARN", "terraform output -raw state_machine_arn"]);
}

#[test]
fn an_invalid_time_is_rejected() {
    assert_error(&facereel(&["replay", "--since", "yesterday"], &[]), &["--since <TIME>", "yesterday"]);
}

#[test]
fn dead_letters_conflicts_with_the_options_for_executions() {
    let output = facereel(&["replay", "--dead-letters", "--limit", "3"], &[]);
    assert_error(&output, &["--dead-letters", "cannot be used with"]);
    assert_error(&facereel(&["replay", "--dead-letters"], &[]), &["no Region is set"]);
}

/// Runs the command with a closed pipe as its standard output.
fn run_with_closed_pipe(arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let command =
        Command::new(env!("CARGO_BIN_EXE_facereel")).args(arguments).stdout(writer).stderr(Stdio::piped()).spawn();
    command.unwrap().wait_with_output().unwrap()
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let output = run_with_closed_pipe(&["completions", "zsh"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_as_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_facereel"))
        .args(["completions", "bash"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_error(&output, &["error: cannot write to standard output", "No space left"]);
}

#[test]
fn help_is_wrapped_at_the_width_of_the_terminal() {
    for command in ["run", "replay", "backfill", "status", "view"] {
        let output = facereel(&[command, "--help"], &[("COLUMNS", "60")]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Usage:"), "{help}");
        // A single word, such as a path in an example, is not wrapped.
        let long_line = help.lines().find(|line| line.chars().count() > 60 && line.trim().contains(' '));
        assert_eq!(long_line, None, "{command}");
    }
}

#[test]
fn an_output_directory_with_other_files_is_rejected_before_the_set_up() {
    let dir = tempfile::tempdir().unwrap();
    let (video, page) = (dir.path().join("clip.mp4"), dir.path().join("manifest.json"));
    std::fs::write(&video, "film").unwrap();
    std::fs::write(&page, "{}").unwrap();
    let output = facereel(&["run", &video.to_string_lossy(), "--out", &dir.path().to_string_lossy()], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_error(&output, &["contains clip.mp4", "--out"]);
    assert_eq!(std::fs::read_to_string(page).unwrap(), "{}");
}

//! The command itself: what it says where AWS is not to be had.

use std::process::{Command, Output, Stdio};

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

/// The command with a standard output whose reader has gone before anything is written.
fn into_closed_pipe(arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let command =
        Command::new(env!("CARGO_BIN_EXE_facereel")).args(arguments).stdout(writer).stderr(Stdio::piped()).spawn();
    command.unwrap().wait_with_output().unwrap()
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let output = into_closed_pipe(&["completions", "zsh"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_in_words() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_facereel"))
        .args(["completions", "bash"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_says(&output, &["error: cannot write to standard output", "No space left"]);
}

#[test]
fn help_is_as_wide_as_the_terminal() {
    for command in ["run", "replay", "backfill", "status", "view"] {
        let output = facereel(&[command, "--help"], &[("COLUMNS", "60")]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Usage:"), "{help}");
        // A word, such as a path in an example, is not broken.
        let wide = help.lines().find(|line| line.chars().count() > 60 && line.trim().contains(' '));
        assert_eq!(wide, None, "{command}");
    }
}

#[test]
fn a_directory_with_files_of_the_user_is_refused_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let (video, page) = (dir.path().join("clip.mp4"), dir.path().join("manifest.json"));
    std::fs::write(&video, "film").unwrap();
    std::fs::write(&page, "{}").unwrap();
    let output = facereel(&["run", &video.to_string_lossy(), "--out", &dir.path().to_string_lossy()], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_says(&output, &["holds clip.mp4", "--out"]);
    assert_eq!(std::fs::read_to_string(page).unwrap(), "{}");
}

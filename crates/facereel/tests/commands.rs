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

/// Runs `facereel status` with these AWS configuration files, and returns its error.
fn error_with_profile(config: &str, profile: &str, sso_cache: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(home.path().join(".aws/config"), config).unwrap();
    // The name of the file is the SHA-1 of the session's name, `corp`.
    if !sso_cache.is_empty() {
        std::fs::write(cache.join("ee0bfd2552fbd840c02cc48b6e823320543c450f.json"), sso_cache).unwrap();
    }
    let home = home.path().to_string_lossy();
    let output = facereel(&["status", "--profile", profile], &[("HOME", &home), ("PATH", "/usr/bin:/bin")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn missing_credentials_are_one_sentence_with_the_remedy() {
    let output = facereel(&["replay"], &[("AWS_REGION", "eu-west-1")]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let message = "error: there are no AWS credentials; choose a profile with --profile or AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY\n";
    assert_eq!(stderr, message);
}

#[test]
fn every_fault_of_a_profile_is_one_sentence_with_the_remedy() {
    const SSO: &str = "sso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Reader\n[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start";
    const EXPIRED: &str = r#"{"accessToken":"t","expiresAt":"2020-01-01T00:00:00Z"}"#;
    for (settings, sso_cache, message) in [
        (SSO, EXPIRED, "the login of the profile media has expired: aws sso login --profile media"),
        (SSO, "", "the profile media is not logged in: aws sso login --profile media"),
        (
            "login_session = arn:aws:iam::123456789012:user/me",
            "",
            "the session of the profile media (aws login) can only be read by the AWS CLI; export its credentials: eval \"$(aws configure export-credentials --profile media --format env)\"",
        ),
        (
            "credential_process = echo the vault is locked >&2; false",
            "",
            "the credential_process of the profile media failed: the vault is locked",
        ),
        (
            "credential_process = false",
            "",
            "the credential_process of the profile media failed: it ended with exit status: 1",
        ),
        (
            "role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base",
            "",
            "the credentials of the profile media cannot be loaded: its source_profile base does not exist; `aws sts get-caller-identity --profile media` shows whether the AWS CLI can load them",
        ),
        (
            "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
            "",
            "the credentials of the profile media cannot be loaded: it has no aws_secret_access_key; `aws sts get-caller-identity --profile media` shows whether the AWS CLI can load them",
        ),
        (
            "role_arn = arn:aws:iam::123456789012:role/r\nweb_identity_token_file = /nowhere/token",
            "",
            "the credentials of the profile media cannot be loaded: there is no file /nowhere/token (web_identity_token_file); `aws sts get-caller-identity --profile media` shows whether the AWS CLI can load them",
        ),
        (
            "",
            "",
            "there are no AWS credentials; choose a profile with --profile or AWS_PROFILE (media), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
    ] {
        let config = format!("[profile media]\nregion = eu-west-1\n{settings}\n");
        assert_eq!(error_with_profile(&config, "media", sso_cache), format!("error: {message}\n"), "{config}");
    }
}

#[test]
fn a_profile_that_does_not_exist_is_reported_with_those_that_do() {
    let error = error_with_profile("[default]\nregion = eu-west-1\n[profile media]\nregion = eu-west-1\n", "meida", "");
    assert_eq!(
        error,
        "error: there is no profile meida in the AWS configuration files; choose another one with --profile or AWS_PROFILE (default, media)\n"
    );
}

#[test]
fn a_region_other_than_that_of_the_state_machine_is_rejected() {
    let arn = "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video";
    let output = facereel(&["status", "--state-machine", arn, "--region", "us-east-1"], &[]);
    assert_error(&output, &["--region us-east-1 is not the Region of arn:aws:states:eu-west-1", "omit --region"]);
}

#[test]
fn a_service_that_cannot_be_reached_is_one_sentence() {
    let endpoint = "http://127.0.0.1:1";
    let environment = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", endpoint),
    ];
    let output = facereel(&["status"], &environment);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_error(
        &output,
        &[
            "states:ListStateMachines failed, because the service cannot be reached: ",
            "check the Region, the network and the proxy",
        ],
    );
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error")).count(), 1, "{stderr}");
}

#[test]
fn an_address_that_is_not_in_s3_is_reported() {
    for (command, address) in [
        ("view", "S3://bucket/k"),
        ("view", "s3:/a"),
        ("export", "S3://bucket/k"),
        ("backfill", "https://b.s3.amazonaws.com/k"),
        ("backfill", "S3://b"),
    ] {
        let options: &[&str] = if command == "export" { &["--to", "csv"] } else { &[] };
        assert_error(&facereel(&[&[command, address], options].concat(), &[]), &[address, "s3://"]);
    }
}

#[test]
fn a_quiet_command_writes_only_its_error() {
    let output = facereel(&["-q", "replay", "--dead-letters"], &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
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

#[test]
fn each_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let output = facereel(&["man", &dir.path().join("man1").to_string_lossy()], &[]);
    assert!(output.status.success(), "{output:?}");
    for page in ["facereel.1", "facereel-run.1", "facereel-replay.1", "facereel-backfill.1"] {
        let text = std::fs::read_to_string(dir.path().join("man1").join(page)).unwrap();
        assert!(text.contains(".TH facereel"), "{page}: {text}");
        assert!(page == "facereel.1" || text.contains(".SH EXAMPLES\n.nf\n"), "{page}: {text}");
    }
    let file = dir.path().join("man1/facereel.1").join("below");
    assert_error(&facereel(&["man", &file.to_string_lossy()], &[]), &["cannot write the manual pages to", "below"]);
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

/// Writes a result with this number of faces, a moment each.
fn result_with_faces(dir: &std::path::Path, faces: usize) {
    let video = r#"{"bucket":"b","key":"a.mp4","etag":"e","bytes":1}"#;
    let job = r#"{"job_id":"j","idempotency_key":"i","attempt":0,"face_attributes":"DEFAULT"}"#;
    let manifest = format!(
        r#"{{"video":{video},"job":{job},"execution_arn":"a","faces":{faces},"summary":{{"key":"s","bytes":1}},"report":{{"key":"r","bytes":1}},
        "pages":[{{"key":"p","bytes":1,"faces":{faces},"first_ms":0,"last_ms":0}}]}}"#
    );
    let summary = format!(
        r#"{{"video":{video},"metadata":{{"frame_rate":25.0}},"job":{job},"faces":{faces},"frames_with_faces":0,"most_faces":null,"timeline":[]}}"#
    );
    let line = |moment: usize| format!("{{\"Timestamp\":{},\"Face\":{{}}}}", moment * 500);
    let lines = (0..faces).map(line).collect::<Vec<_>>().join("\n");
    std::fs::create_dir(dir.join("faces")).unwrap();
    for (name, text) in [("manifest.json", manifest), ("summary.json", summary), ("faces/00000.jsonl", lines)] {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

#[test]
fn an_export_goes_to_standard_output_without_other_lines() {
    let dir = tempfile::tempdir().unwrap();
    result_with_faces(dir.path(), 3);
    let results = dir.path().to_string_lossy();
    let output = facereel(&["export", &results, "--to", "csv", "--of", "detections"], &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.lines().nth(3).unwrap().starts_with("a.mp4,1000,00:00:01:00,2,,"), "{text}");
    // Tracks are the default, and this result is of before there were any.
    let output = facereel(&["export", &results, "--to", "csv"], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_error(&output, &["has no tracks", "--of detections"]);
}

#[test]
fn an_export_that_its_reader_does_not_read_to_the_end_is_not_an_error() {
    let dir = tempfile::tempdir().unwrap();
    // More than the buffers of the command and the pipe.
    result_with_faces(dir.path(), 5000);
    for to in ["csv", "vtt", "edl", "otio", "fcpxml"] {
        let output =
            run_with_closed_pipe(&["export", &dir.path().to_string_lossy(), "--to", to, "--of", "detections", "-q"]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
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
    for command in ["run", "up", "upload", "replay", "backfill", "status", "logs", "view", "export", "blur"] {
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

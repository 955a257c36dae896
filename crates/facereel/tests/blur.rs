//! Tests of `facereel blur` with the binary: which results it uses, what it writes, and what Ctrl-C leaves.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use face_detection::VideoInfo;
use local_stack::{Installation, Silent};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The place of the face: left, top, width and height.
const PLACE: [f64; 4] = [0.2, 0.2, 0.2, 0.4];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// The ffmpeg that the command uses: that of the variable `FFMPEG`, or the pinned one.
async fn program() -> PathBuf {
    // Found once, because this asks several interpreters for their version.
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let find = async || {
        if let Some(program) = env::var_os("FFMPEG") {
            return program.into();
        }
        let dir = Installation::find().unwrap().dependencies_dir().unwrap();
        local_stack::install_ffmpeg(&dir, &Silent).await.unwrap()
    };
    PROGRAM.get_or_init(find).await.clone()
}

/// Writes results with one track that stays at its place, as they are stored for this video. Without tracks, they are as before there
/// were any.
fn write_results(dir: &Path, video: &Path, with_tracks: bool) {
    let (info, bytes) = (VideoInfo::read(video).unwrap(), fs::metadata(video).unwrap().len());
    let timestamps_ms: Vec<i64> = (0..=info.duration_millis / 500).map(|sample| 500 * sample).collect();
    let (count, last_ms) = (timestamps_ms.len(), 500 * (info.duration_millis / 500));
    let track = json!({
        "id": 0, "part": 0, "continues": false, "first_ms": 0, "last_ms": last_ms, "detections": count, "mean_confidence": 60.0,
        "best": { "timestamp_ms": 0, "face": 0, "box": PLACE }, "timestamps_ms": timestamps_ms,
        "faces": (0..count).collect::<Vec<_>>(), "boxes": vec![PLACE; count],
    });
    let name = video.file_name().unwrap().to_string_lossy();
    let of = json!({ "bucket": "uploads", "key": name, "etag": "e", "bytes": bytes });
    let job = json!({ "job_id": "j", "idempotency_key": "k", "attempt": 0, "face_attributes": "DEFAULT" });
    let mut manifest = json!({
        "video": of, "job": job, "execution_arn": "arn", "faces": count,
        "summary": { "key": "summary.json", "bytes": 1 }, "report": { "key": "report.html", "bytes": 1 },
        "pages": [{ "key": "faces/00000.jsonl", "bytes": 1, "faces": count, "first_ms": 0, "last_ms": last_ms }],
    });
    fs::create_dir_all(dir.join("faces")).unwrap();
    if with_tracks {
        fs::create_dir_all(dir.join("tracks")).unwrap();
        manifest["tracks"] =
            json!([{ "key": "tracks/00000.jsonl", "bytes": 1, "lines": 1, "first_ms": 0, "last_ms": last_ms }]);
        fs::write(dir.join("tracks/00000.jsonl"), track.to_string()).unwrap();
    }
    let face = |at_ms: &i64| {
        let place = json!({ "Left": PLACE[0], "Top": PLACE[1], "Width": PLACE[2], "Height": PLACE[3] });
        json!({ "Timestamp": at_ms, "Face": { "BoundingBox": place, "Confidence": 60.0 } }).to_string()
    };
    let faces: Vec<String> = timestamps_ms.iter().map(face).collect();
    fs::write(dir.join("faces/00000.jsonl"), faces.join("\n")).unwrap();
    let (width, height) = info.rotation.turned(info.width, info.height);
    let summary = json!({
        "video": of, "job": job, "faces": count, "frames_with_faces": count, "most_faces": null, "timeline": [],
        "metadata": { "duration_ms": info.duration_millis, "frame_width": width, "frame_height": height },
    });
    fs::write(dir.join("summary.json"), summary.to_string()).unwrap();
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
}

/// The command in a directory, with the ffmpeg of the tests.
async fn facereel(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_facereel"));
    command.args(arguments).current_dir(dir).env("FFMPEG", program().await);
    command
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[track_caller]
fn assert_error(output: &Output, status: i32, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part} is not in: {stderr}");
    }
}

#[tokio::test]
async fn the_results_of_a_directory_or_of_facereel_run_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, video) = (dir.path(), dir.path().join("clip.mp4"));
    fs::copy(fixture("videos/b-frames.mp4"), &video).unwrap();
    write_results(&dir.join("facereel-results/clip"), &video, true);
    write_results(&dir.join("before-tracks"), &video, false);

    let found = facereel(dir, &["blur", "clip.mp4", "--out", "one.mp4", "--json"]).await.output().unwrap();
    assert!(found.status.success(), "{}", text(&found.stderr));
    assert!(text(&found.stderr).contains("The faces are those in facereel-results/clip"), "{}", text(&found.stderr));
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    let expected = json!({
        "video": "one.mp4", "style": "blur", "margin": 0.25, "hold_ms": 600, "tracks": 1, "frames": 50,
        "frames_with_hidden_regions": 50, "review": null,
    });
    assert_eq!(report, expected);

    let arguments = ["blur", "clip.mp4", "before-tracks", "--out", "two.mp4", "--review", "sheet.html"];
    let named = facereel(dir, &arguments).await.output().unwrap();
    assert!(named.status.success(), "{}", text(&named.stderr));
    assert!(text(&named.stdout).contains("Hidden   1 track, in 50 of 50 frames"), "{}", text(&named.stdout));
    let sheet = fs::read_to_string(dir.join("sheet.html")).unwrap();
    // The confidence of each of the five detections is low.
    assert!(
        sheet.contains("<title>Doubtful moments of two.mp4</title>") && sheet.contains("a confidence of only 60 %")
    );
    assert_eq!(sheet.matches("<img alt=\"The blurred video at ").count(), sheet.matches("<li>").count(), "{sheet}");
    assert_eq!(sheet.matches("<li>").count(), 5, "{sheet}");
    // The same tracks hide the same places.
    assert!(fs::read(dir.join("one.mp4")).unwrap() == fs::read(dir.join("two.mp4")).unwrap());

    let again = facereel(dir, &["blur", "clip.mp4", "--out", "one.mp4"]).await.output().unwrap();
    assert_error(&again, 2, &["one.mp4 exists; choose another name, or replace it with --force"]);
    let written = names(dir);
    assert_eq!(written, ["before-tracks", "clip.mp4", "facereel-results", "one.mp4", "sheet.html", "two.mp4"]);
}

#[tokio::test]
async fn the_results_of_another_video_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("clip.mp4");
    fs::copy(fixture("videos/b-frames.mp4"), &video).unwrap();
    write_results(&dir.path().join("results"), &video, true);
    fs::copy(fixture("videos/short-gop.mp4"), &video).unwrap();
    let output = facereel(dir.path(), &["blur", "clip.mp4", "results", "--out", "out.mp4"]).await.output().unwrap();
    let says =
        ["results is the result of another video", " bytes, and the file has ", "name the video that was analysed"];
    assert_error(&output, 2, &says);
    assert_eq!(names(dir.path()), ["clip.mp4", "results"]);
    // Neither are they replaced by a new analysis.
    fs::create_dir(dir.path().join("facereel-results")).unwrap();
    fs::rename(dir.path().join("results"), dir.path().join("facereel-results/clip")).unwrap();
    let output = facereel(dir.path(), &["blur", "clip.mp4", "--out", "out.mp4"]).await.output().unwrap();
    assert_error(&output, 2, &["facereel-results/clip contains the results of another video", "facereel run clip.mp4"]);
    assert_eq!(names(dir.path()), ["clip.mp4", "facereel-results"]);
}

#[tokio::test]
async fn ctrl_c_leaves_neither_a_file_nor_a_process() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("clip.mp4");
    fs::copy(fixture("sample-clip/sample.mp4"), &video).unwrap();
    write_results(&dir.path().join("results"), &video, true);
    // With an absolute path, by which the processes are found.
    let out = dir.path().join("out.mp4").to_string_lossy().into_owned();
    let mut command = facereel(dir.path(), &["blur", "clip.mp4", "results", "--out", &out, "--review", "r.html"]).await;
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with("Hiding faces 10 %")).expect("the faces are being hidden");
    assert!(names(dir.path()).iter().any(|name| name.starts_with(".facereel-")), "{:?}", names(dir.path()));
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let rest: Vec<_> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(names(dir.path()), ["clip.mp4", "results"], "{rest:?}");
    let processes = Command::new("ps").args(["-A", "-o", "stat=,args="]).output().unwrap();
    let of_this = dir.path().to_string_lossy().into_owned();
    let processes = text(&processes.stdout);
    let left: Vec<_> = processes.lines().filter(|line| line.contains(&of_this) && !line.starts_with('Z')).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_unsuitable_ffmpeg_is_named_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixture("videos/no-faces.mp4"), dir.path().join("clip.mp4")).unwrap();
    let mut command = facereel(dir.path(), &["blur", "clip.mp4", "--out", "out.mp4"]).await;
    let scripts = tempfile::tempdir().unwrap();
    for (text, reason) in [
        ("echo hello", "it is not ffmpeg"),
        ("echo ffmpeg version 5.1.6-0+deb12u1 Copyright", "it is version 5.1.6-0+deb12u1, and 6.1 or later is needed"),
        ("echo ffmpeg version 7.1 Copyright", "it is built without the encoder libx264"),
    ] {
        let program = scripts.path().join("ffmpeg");
        // Another process writes it: Linux does not start a file that a process of another test has inherited for writing.
        let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 700 \"$0\"";
        let written = Command::new("sh").args(["-c", write]).arg(&program).arg(text).status();
        assert!(written.unwrap().success());
        let output = command.env("FFMPEG", &program).output().unwrap();
        assert_error(&output, 1, &[&format!("{} cannot be used: {reason}", program.display())]);
    }
    let output = command.env("FFMPEG", "/nowhere/ffmpeg").output().unwrap();
    assert_error(&output, 1, &["the ffmpeg /nowhere/ffmpeg cannot be used: it is not installed", "FFMPEG"]);
    // Neither an ffmpeg nor a Python that could install one.
    let output = command.env_remove("FFMPEG").env("PATH", "/nowhere").output().unwrap();
    let says = ["the ffmpeg on the PATH cannot be used (it is not installed)", "apt install ffmpeg", "Python 3.10"];
    assert_error(&output, 1, &says);
    assert_eq!(names(dir.path()), ["clip.mp4"]);
}

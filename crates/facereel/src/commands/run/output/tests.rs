use std::collections::BTreeMap;

use serde_json::json;

use super::*;

/// A manifest of the workflow.
fn manifest(key: &str, bytes: u64) -> String {
    let object = json!({ "key": "results/k/t/x", "bytes": 1 });
    let job = json!({ "job_id": "j", "idempotency_key": "t", "attempt": 0, "face_attributes": "DEFAULT" });
    json!({
        "video": { "bucket": "b", "key": key, "etag": "e", "bytes": bytes },
        "job": job, "execution_arn": "arn", "faces": 1, "summary": object, "report": object, "pages": [],
    })
    .to_string()
}

const HISTORY_TEXT: &str = r#"[{"id": 1, "type": "ExecutionStarted"}]"#;

/// Writes a complete result of a video. All files except the manifest contain `text`.
fn write_result(dir: &Path, key: &str, bytes: u64, text: &str, pages: usize) {
    for folder in FOLDERS {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    fs::write(dir.join(MANIFEST), manifest(key, bytes)).unwrap();
    for file in [HISTORY, "report.html", "summary.json", VIDEO_FILE] {
        fs::write(dir.join(file), text).unwrap();
    }
    for page in 0..pages {
        for folder in FOLDERS {
            fs::write(dir.join(folder).join(format!("{page:05}.jsonl")), text).unwrap();
        }
    }
}

/// All files below a directory with their content, and all directories without content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<String>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let content = if path.is_dir() { None } else { Some(fs::read_to_string(&path).unwrap()) };
            if content.is_none() {
                left.push(path.clone());
            }
            found.insert(path.strip_prefix(dir).unwrap().to_owned(), content);
        }
    }
    found
}

/// Does what a successful run does with its output directory.
fn replace(dir: &Path, only: Option<&VideoIdentity>, text: &str, pages: usize) -> Result<(), RunError> {
    let output = OutputDir::prepare(dir.to_owned(), only)?;
    let staging = output.staging().unwrap();
    write_result(staging.path(), "clip.mp4", 4, text, pages);
    output.replace(staging)
}

#[track_caller]
fn assert_rejected(dir: &Path, only: Option<&VideoIdentity>, parts: &[&str]) {
    let error = OutputDir::prepare(dir.to_owned(), only).unwrap_err();
    assert_eq!(error.exit_status(), 2, "{error}");
    for part in parts.iter().chain(&["--out"]) {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn new_results_replace_all_files_of_the_old_ones() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b/out");
    replace(&dir, None, "old", 3).unwrap();
    for folder in FOLDERS {
        assert_eq!(fs::read_dir(dir.join(folder)).unwrap().count(), 3);
    }
    replace(&dir, None, "new", 1).unwrap();

    let expected = tempfile::tempdir().unwrap();
    write_result(expected.path(), "clip.mp4", 4, "new", 1);
    assert_eq!(tree(&dir), tree(expected.path()));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "there are other files next to the results");
}

#[test]
fn a_directory_with_other_files_is_rejected_and_unchanged() {
    let root = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let file = root.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("homework/essay.txt", "mine");
    write("web/manifest.json", r#"{"name": "a web application"}"#);
    write("web-app/index.html", "mine");
    write("web-app/manifest.json", r#"{"name": "a web application"}"#);
    write("pages/faces/00000.jsonl", "mine");
    for name in ["and-notes", "and-page", "and-track", "and-directory", "and-link"] {
        write_result(&root.path().join(name), "clip.mp4", 4, "ours", 1);
    }
    write("and-notes/notes.txt", "mine");
    write("and-page/faces/1.jsonl", "mine");
    write("and-track/tracks/of-a-song.jsonl", "mine");
    write("and-directory/src/main.rs", "mine");
    let report = root.path().join("and-link/report.html");
    fs::remove_file(&report).unwrap();
    std::os::unix::fs::symlink(root.path().join("homework/essay.txt"), report).unwrap();

    let before = tree(root.path());
    for (name, first) in [
        ("homework", "essay.txt"),
        ("web", "a manifest.json that facereel has not written"),
        ("web-app", "index.html"),
        ("pages", "faces/00000.jsonl"),
        ("and-notes", "notes.txt"),
        ("and-page", "faces/1.jsonl"),
        ("and-track", "tracks/of-a-song.jsonl"),
        ("and-directory", "src"),
        ("and-link", "report.html"),
    ] {
        assert_rejected(&root.path().join(name), None, &[name, first]);
    }
    assert_eq!(tree(root.path()), before);
}

#[test]
fn the_directory_of_a_failed_run_is_checked_as_well() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("out");
    let failed = root.path().join("out.failed");
    fs::create_dir(&failed).unwrap();
    fs::write(failed.join("draft.txt"), "mine").unwrap();
    assert_rejected(&dir, None, &["out.failed", "draft.txt"]);
    assert!(!dir.exists(), "a rejected run has created the output directory");

    fs::remove_file(failed.join("draft.txt")).unwrap();
    fs::write(failed.join(HISTORY), r#"[{"url": "https://example.org"}]"#).unwrap();
    assert_rejected(&dir, None, &["out.failed", HISTORY]);

    fs::write(failed.join(HISTORY), HISTORY_TEXT).unwrap();
    OutputDir::prepare(dir, None).unwrap();
}

#[test]
fn a_history_is_written_next_to_the_directory_or_else_to_a_temporary_one() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("out");
    let output = OutputDir::prepare(dir.clone(), None).unwrap();
    for _ in 0..2 {
        assert_eq!(output.save_failed(HISTORY_TEXT).unwrap(), root.path().join("out.failed").join(HISTORY));
    }
    // The user stores a file while the video is analysed.
    fs::write(root.path().join("out.failed/draft.txt"), "mine").unwrap();
    fs::write(root.path().join("out.failed").join(HISTORY), "mine too").unwrap();
    let elsewhere = output.save_failed(HISTORY_TEXT).unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), HISTORY_TEXT);
    fs::remove_dir_all(elsewhere.parent().unwrap()).unwrap();
    assert_eq!(fs::read_to_string(root.path().join("out.failed").join(HISTORY)).unwrap(), "mine too");

    drop(output);
    assert!(!dir.exists(), "a failed run has not removed the empty output directory");
}

#[test]
fn a_failed_run_keeps_an_existing_directory() {
    let root = tempfile::tempdir().unwrap();
    drop(OutputDir::prepare(root.path().to_owned(), None).unwrap());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_written_is_rejected_before_the_set_up() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert_rejected(&file, None, &["file", "cannot write"]);
    assert_rejected(&file.join("below"), None, &["below", "cannot write"]);
    std::os::unix::fs::symlink(root.path().join("gone"), root.path().join("dangling")).unwrap();
    assert_rejected(&root.path().join("dangling"), None, &["dangling", "cannot write"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

/// procfs rejects every new directory, even from the superuser.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_on_a_read_only_file_system_is_rejected_before_the_set_up() {
    assert_rejected(Path::new("/proc/self/fdinfo/out"), None, &["/proc/self/fdinfo/out", "cannot write"]);
}

#[test]
fn a_symbolic_link_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let (target, link) = (root.path().join("target"), root.path().join("link"));
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    replace(&link, None, "old", 1).unwrap();
    replace(&link, None, "new", 1).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(target.join("summary.json")).unwrap(), "new");
}

/// The directory may be a mount point or the current directory, which cannot be renamed.
#[test]
fn the_directory_itself_is_not_renamed() {
    use std::os::unix::fs::MetadataExt as _;
    let root = tempfile::tempdir().unwrap();
    let identity = || fs::metadata(root.path()).map(|metadata| (metadata.dev(), metadata.ino())).unwrap();
    let before = identity();
    replace(root.path(), None, "old", 1).unwrap();
    replace(root.path(), None, "new", 1).unwrap();
    assert_eq!(identity(), before);
}

#[test]
fn entries_of_the_system_are_neither_rejected_nor_removed() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("lost+found")).unwrap();
    replace(root.path(), None, "old", 2).unwrap();
    fs::write(root.path().join("faces").join(".DS_Store"), "view").unwrap();
    replace(root.path(), None, "new", 1).unwrap();
    assert!(root.path().join("lost+found").is_dir());
    assert!(root.path().join("faces").join(".DS_Store").is_file());
    assert_eq!(fs::read_to_string(root.path().join("summary.json")).unwrap(), "new");
}

#[test]
fn results_of_another_video_are_replaced_only_with_an_explicit_directory() {
    let root = tempfile::tempdir().unwrap();
    replace(root.path(), None, "old", 1).unwrap();
    let video = |key: &str, bytes| VideoIdentity { key: key.to_owned(), bytes };
    assert_rejected(root.path(), Some(&video("clip.MOV", 4)), &["clip.mp4", "another video"]);
    assert_rejected(root.path(), Some(&video("clip.mp4", 5)), &["clip.mp4 with 4 bytes", "another video"]);
    replace(root.path(), Some(&video("clip.mp4", 4)), "new", 1).unwrap();
    assert_eq!(fs::read_to_string(root.path().join("summary.json")).unwrap(), "new");
}

#[test]
fn a_second_run_with_the_same_directory_is_rejected_during_the_first() {
    let root = tempfile::tempdir().unwrap();
    let first = OutputDir::prepare(root.path().to_owned(), None).unwrap();
    assert_rejected(root.path(), None, &["another `facereel run`"]);
    drop(first);
    OutputDir::prepare(root.path().to_owned(), None).unwrap();
}

#[test]
fn results_that_cannot_be_moved_are_kept_and_their_directory_is_reported() {
    let root = tempfile::tempdir().unwrap();
    replace(root.path(), None, "old", 1).unwrap();
    let output = OutputDir::prepare(root.path().to_owned(), None).unwrap();
    let staging = output.staging().unwrap();
    write_result(staging.path(), "clip.mp4", 4, "new", 1);
    // The user stores a file while the video is analysed.
    fs::write(root.path().join("notes.txt"), "mine").unwrap();
    let error = output.replace(staging).unwrap_err();
    let RunError::Kept { kept_in, .. } = &error else { panic!("{error}") };
    assert_eq!(error.exit_status(), 1);
    assert!(
        error.to_string().contains("notes.txt") && error.to_string().contains(&*kept_in.to_string_lossy()),
        "{error}"
    );
    let expected = tempfile::tempdir().unwrap();
    write_result(expected.path(), "clip.mp4", 4, "new", 1);
    assert_eq!(tree(kept_in), tree(expected.path()));
    assert_eq!(fs::read_to_string(root.path().join("summary.json")).unwrap(), "old");
    assert_eq!(fs::read_to_string(root.path().join("notes.txt")).unwrap(), "mine");
}

#[test]
fn renames_are_undone_when_one_of_them_fails() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    fs::write(path("old"), "old").unwrap();
    fs::write(path("new"), "new").unwrap();
    let before = tree(root.path());
    let renames = [(path("old"), path("aside")), (path("new"), path("old")), (path("absent"), path("anything"))];
    assert_eq!(rename_all(&renames).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(tree(root.path()), before);
}

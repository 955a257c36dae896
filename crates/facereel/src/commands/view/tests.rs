use std::{fs, net::SocketAddr, path::Path};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

const VIDEO: &[u8] = b"\0\0\0\x18ftypmp42 and what follows";
const LINE: &str = "{\"Timestamp\":500,\"Face\":{\"Confidence\":99.5}}\n";

/// A directory with results, as `facereel run` writes them.
fn results(key: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let video = json!({"bucket": "uploads", "key": key, "etag": "e", "bytes": VIDEO.len()});
    let job = json!({"job_id": "j", "idempotency_key": "t", "attempt": 0, "face_attributes": "DEFAULT"});
    let object = |name: &str| json!({"key": format!("results/{key}/t/{name}"), "bytes": 1});
    let page = json!({"key": "results/k/t/faces/00000.jsonl", "bytes": LINE.len(), "faces": 1, "first_ms": 500, "last_ms": 500});
    let manifest = json!({"video": video, "job": job, "execution_arn": "arn", "faces": 1, "summary": object("summary.json"),
        "report": object("report.html"), "pages": [page],
        "tracks": [{"key": "results/k/t/tracks/00000.jsonl", "bytes": 3, "lines": 1, "first_ms": 500, "last_ms": 500}]});
    let summary = json!({"video": video, "metadata": {"duration_ms": 1000}, "job": job, "faces": 1,
        "frames_with_faces": 1, "most_faces": {"faces": 1, "timestamp_ms": 500}, "timeline": []});
    for folder in ["faces", "tracks"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    for (name, text) in [
        ("manifest.json", manifest.to_string()),
        ("summary.json", summary.to_string()),
        ("report.html", "<!doctype html>".to_owned()),
        ("faces/00000.jsonl", LINE.to_owned()),
        ("tracks/00000.jsonl", "{}\n".to_owned()),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn view(results: &Path, video: Option<&Path>) -> View {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    View::of(text(results), video.map(text))
}

/// A running server.
struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    async fn of(view: &View) -> Self {
        let viewer = view.prepare(None).await.unwrap();
        Self { address: viewer.site.address, task: tokio::spawn(viewer.serve()) }
    }

    /// The head and the body of the response. `path` is sent unchanged, also if a browser would normalize it.
    async fn get(&self, path: &str, headers: &str) -> (String, Vec<u8>) {
        let host = format!("Host: {}\r\n", self.address);
        let host = if headers.contains("Host:") { "" } else { &host };
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
        (String::from_utf8_lossy(&response[..end]).to_lowercase(), response[end..].to_vec())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn the_page_the_results_and_the_video_are_served() {
    let dir = results("clips/holiday.mp4");
    fs::write(dir.path().join("holiday.mp4"), VIDEO).unwrap();
    let served = Served::of(&view(dir.path(), None)).await;
    let (head, _) = served.get("/", "").await;
    assert!(head.starts_with("http/1.1 307") && head.contains("location: /results/0/"), "{head}");
    for (path, kind) in [
        ("/results/0/", "text/html"),
        ("/assets/view.css", "text/css"),
        ("/assets/view.js", "text/javascript"),
        ("/assets/player/moment.js", "text/javascript"),
        ("/results/0/session.json", "application/json"),
        ("/results/0/report.html", "text/html"),
        ("/results/0/manifest.json", "application/json"),
        ("/results/0/summary.json", "application/json"),
    ] {
        let (head, _) = served.get(path, "").await;
        assert!(head.starts_with("http/1.1 200") && head.contains(&format!("content-type: {kind}")), "{path}: {head}");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{path}: {head}");
        assert!(head.contains("cross-origin-resource-policy: same-origin"), "{path}: {head}");
    }
    let summary: Value = serde_json::from_slice(&served.get("/results/0/summary.json", "").await.1).unwrap();
    assert_eq!(summary["video"]["key"], "clips/holiday.mp4");
    assert_eq!(served.get("/results/0/faces/00000.jsonl", "").await.1, LINE.as_bytes());
    assert_eq!(served.get("/results/0/tracks/00000.jsonl", "").await.1, b"{}\n");
    assert!(served.get("/results/0/tracks/00001.jsonl", "").await.0.starts_with("http/1.1 404"));
    assert_eq!(served.get("/results/0/video", "").await.1, VIDEO);
}

#[test]
fn every_module_of_the_player_that_is_imported_is_served() {
    let scripts = || fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/commands/view/player")).unwrap();
    let mut files: Vec<_> = scripts().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(player::MODULES.map(|(name, _)| name).to_vec(), files);
}

#[tokio::test]
async fn the_session_has_the_command_that_starts_the_server_again() {
    let dir = results("holiday.mp4");
    let video = dir.path().join("my holiday.mp4");
    fs::write(&video, VIDEO).unwrap();
    let served = Served::of(&view(dir.path(), Some(&video))).await;
    let session: Value = serde_json::from_slice(&served.get("/results/0/session.json", "").await.1).unwrap();
    assert_eq!(session["video_bytes"], VIDEO.len());
    let command = session["command"].as_str().unwrap();
    let port = served.address.port();
    let (results, video) = (dir.path().display(), video.display());
    assert!(command.ends_with(&format!(" view --no-open --port {port} {results} '{video}'")), "{command}");

    let account = Account::named(Some("media team"), Some("eu-west-1"));
    let command = video::command_line(&View::of("s3://b/results/k/t/", None).with_account(account), 8000);
    assert!(
        command.ends_with("--port 8000 --profile 'media team' --region eu-west-1 s3://b/results/k/t/"),
        "{command}"
    );
}

#[tokio::test]
async fn a_video_of_another_size_is_shown_with_a_note() {
    let dir = results("holiday.mp4");
    let video = dir.path().join("holiday.mp4");
    fs::write(&video, VIDEO).unwrap();
    let difference = async || view(dir.path(), Some(&video)).prepare(None).await.unwrap().difference().await;
    assert_eq!(difference().await, None);
    fs::write(&video, "another film").unwrap();
    let note = difference().await.expect("a note");
    let bytes = VIDEO.len();
    assert!(note.contains("has 12 bytes") && note.contains(&format!("holiday.mp4 had {bytes}")), "{note}");
}

#[tokio::test]
async fn a_range_of_the_video_is_served_as_partial_content() {
    let dir = results("holiday.mov");
    let file = dir.path().join("elsewhere.mov");
    fs::write(&file, VIDEO).unwrap();
    let served = Served::of(&view(dir.path(), Some(&file))).await;
    let (head, body) = served.get("/results/0/video", "Range: bytes=4-7\r\n").await;
    assert!(head.starts_with("http/1.1 206"), "{head}");
    assert!(head.contains(&format!("content-range: bytes 4-7/{}", VIDEO.len())), "{head}");
    assert!(head.contains("content-type: video/mp4"), "{head}");
    assert_eq!(body, b"ftyp");
    let (head, _) = served.get("/results/0/video", "Range: bytes=99999-\r\n").await;
    assert!(head.starts_with("http/1.1 416"), "{head}");
}

#[tokio::test]
async fn a_request_with_another_host_name_is_rejected() {
    let dir = results("holiday.mp4");
    fs::write(dir.path().join("holiday.mp4"), VIDEO).unwrap();
    let served = Served::of(&view(dir.path(), None)).await;
    let port = served.address.port();
    assert!(served.address.ip().is_loopback());
    for host in ["evil.example", "evil.example:80", &format!("evil.example:{port}"), "127.0.0.1", "", "[::1]:80"] {
        let (head, body) = served.get("/results/0/summary.json", &format!("Host: {host}\r\n")).await;
        assert!(!head.starts_with("http/1.1 200"), "{host}: {head}");
        assert!(!String::from_utf8_lossy(&body).contains("holiday"), "{host} has received the results");
    }
    let (head, _) = served.get("/results/0/summary.json", &format!("Host: localhost:{port}\r\n")).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[tokio::test]
async fn no_path_leads_outside_of_the_results() {
    let dir = results("holiday.mp4");
    fs::write(dir.path().join("holiday.mp4"), VIDEO).unwrap();
    fs::write(dir.path().join("secret.txt"), "treasure").unwrap();
    let served = Served::of(&view(dir.path(), None)).await;
    for path in [
        "/results/0/secret.txt",
        "/results/0/../secret.txt",
        "/results/0/faces/../secret.txt",
        "/results/0/faces/..%2Fsecret.txt",
        "/results/0/faces/..%2f..%2f..%2fetc%2fpasswd",
        "/results/0/faces/00001.jsonl",
        "/results/0/faces/-1.jsonl",
        "/results/0/faces/..%2f00000.jsonl",
        "/results/0/faces/",
        "/results/0/video/../secret.txt",
        "//etc/passwd",
        "/secret.txt",
        "/../secret.txt",
        "/assets/../secret.txt",
        "/assets/..%2fsecret.txt",
        "/assets/player/../secret.txt",
        "/assets/player/..%2fview.js",
        "/results/0/video.json",
        "/results/1/summary.json",
        "/results/1/session.json",
        "/results/-1/summary.json",
        "/results/..%2f0/summary.json",
        "/catalogue.json",
        "/results/0/history.json",
    ] {
        let (head, body) = served.get(path, "").await;
        assert!(head.starts_with("http/1.1 4"), "{path}: {head}");
        assert!(!String::from_utf8_lossy(&body).contains("treasure"), "{path}");
    }
}

#[tokio::test]
async fn an_error_names_what_is_missing_and_the_remedy() {
    let error = |view: View| async move { view.prepare(None).await.err().expect("an error").to_string() };
    let empty = tempfile::tempdir().unwrap();
    let message = error(view(empty.path(), None)).await;
    assert!(message.contains("contains no result") && message.contains("name a directory"), "{message}");
    let message = error(view(&empty.path().join("gone"), None)).await;
    assert!(message.contains("cannot list") && message.contains("gone"), "{message}");

    let dir = results("holiday-that-is-nowhere.mp4");
    let message = error(view(dir.path(), None)).await;
    assert!(message.contains("holiday-that-is-nowhere.mp4") && message.contains("VIDEO"), "{message}");
    // A file with the same name and another size is another video.
    fs::write(dir.path().join("holiday-that-is-nowhere.mp4"), "short").unwrap();
    assert!(error(view(dir.path(), None)).await.contains("was not found"));

    let message = error(view(dir.path(), Some(Path::new("/nowhere/at-all.mp4")))).await;
    assert!(message.contains("cannot read the video /nowhere/at-all.mp4"), "{message}");

    fs::write(dir.path().join("summary.json"), "{}").unwrap();
    assert!(error(view(dir.path(), None)).await.contains("summary.json: missing field"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let whole = results("holiday.mp4");
    fs::write(whole.path().join("holiday.mp4"), VIDEO).unwrap();
    let port = taken.local_addr().unwrap().port();
    let message = error(View { port, ..view(whole.path(), None) }).await;
    assert!(message.contains("another --port"), "{message}");
}

#[tokio::test]
async fn a_video_is_found_at_its_key_but_not_outside_of_the_directories() {
    let dir = results("clips/2026/holiday.mp4");
    fs::create_dir_all(dir.path().join("clips/2026")).unwrap();
    fs::write(dir.path().join("clips/2026/holiday.mp4"), VIDEO).unwrap();
    let served = Served::of(&view(dir.path(), None)).await;
    assert_eq!(served.get("/results/0/video", "").await.1, VIDEO);

    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("private.txt"), VIDEO).unwrap();
    let outside = fs::canonicalize(outside.path()).unwrap().join("private.txt");
    let upward = format!("{}{}", "../".repeat(20), outside.strip_prefix("/").unwrap().display());
    for key in [outside.to_str().unwrap(), &upward] {
        let dir = results(key);
        let error = view(dir.path(), None).prepare(None).await.err().expect("an error");
        assert!(matches!(error, ViewError::NoVideo { .. }), "{key}: {error}");
    }
}

/// A directory with two results, and one of a video that is elsewhere.
fn many() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, key) in [("first", "holiday.mp4"), ("second", "holiday.mp4"), ("third", "video-that-is-nowhere.mp4")] {
        fs::rename(results(key).keep(), dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("holiday.mp4"), VIDEO).unwrap();
    dir
}

#[tokio::test]
async fn a_directory_with_several_results_is_a_catalogue_with_numbers() {
    let dir = many();
    let served = Served::of(&view(dir.path(), None)).await;
    let (head, page) = served.get("/", "").await;
    assert!(head.starts_with("http/1.1 200") && String::from_utf8_lossy(&page).contains("id=\"rows\""), "{head}");
    let rows: Value = serde_json::from_slice(&served.get("/catalogue.json", "").await.1).unwrap();
    let ids: Vec<_> = rows["rows"].as_array().unwrap().iter().map(|row| row["entries"][0]["id"].as_u64()).collect();
    assert_eq!(ids, [Some(0), Some(1), Some(2)]);
    let facts: Value = serde_json::from_slice(&served.get("/facts?of=1,2,99", "").await.1).unwrap();
    assert_eq!(facts["1"]["duration_ms"], 1000);
    assert_eq!(
        (&facts["1"]["has_video"], &facts["2"]["has_video"], &facts["99"]),
        (&json!(true), &json!(false), &Value::Null)
    );

    assert_eq!(served.get("/results/1/video", "").await.1, VIDEO);
    let (head, reason) = served.get("/results/2/video", "").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    assert_eq!(reason, b"the video was not found near its result");
    assert_eq!(served.get("/results/2/faces/00000.jsonl", "").await.1, LINE.as_bytes());
    let (_, page) = served.get("/results/2/", "").await;
    assert!(String::from_utf8_lossy(&page).contains("<a href=\"../../\">All results</a>"));
    assert!(served.get("/results/2", "").await.0.contains("location: /results/2/"));

    for path in ["/facts", "/facts?of=", "/facts?of=first", "/facts?of=-1", "/results/3/", "/results/first/"] {
        assert!(served.get(path, "").await.0.starts_with("http/1.1 4"), "{path}");
    }
    let (head, body) = served.get("/catalogue.json", "Host: evil.example\r\n").await;
    assert!(head.starts_with("http/1.1 421") && !String::from_utf8_lossy(&body).contains("holiday"), "{head}");
}

#[tokio::test]
async fn a_result_that_is_written_again_is_read_again() {
    let dir = many();
    let viewer = view(dir.path(), None).prepare(None).await.unwrap();
    let catalogue = viewer.site.catalogue.as_ref().unwrap();
    assert_eq!(catalogue.facts([0]).await[&0]["duration_ms"], 1000);
    assert_eq!(viewer.site.result(0).await.unwrap().unwrap().result.summary.metadata.duration_ms, Some(1000));
    let summary = fs::read_to_string(dir.path().join("first/summary.json")).unwrap();
    fs::write(dir.path().join("first/summary.json"), summary.replace("1000", "2000")).unwrap();
    let manifest = fs::File::options().write(true).open(dir.path().join("first/manifest.json")).unwrap();
    manifest.set_modified(std::time::SystemTime::now() + std::time::Duration::from_mins(1)).unwrap();
    assert_eq!(catalogue.facts([0]).await[&0]["duration_ms"], 1000, "facts are read once");

    catalogue.refresh().await.unwrap();
    assert_eq!(catalogue.facts([0]).await[&0]["duration_ms"], 2000);
    assert_eq!(viewer.site.result(0).await.unwrap().unwrap().result.summary.metadata.duration_ms, Some(2000));
    fs::remove_dir_all(dir.path().join("first")).unwrap();
    catalogue.refresh().await.unwrap();
    assert!(viewer.site.result(1).await.unwrap().is_some(), "numbers stay valid");
    let rows: Value = serde_json::from_slice(&catalogue.document().unwrap()).unwrap();
    assert_eq!(rows["rows"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_video_can_be_named_for_one_result_only() {
    let dir = many();
    let video = dir.path().join("holiday.mp4");
    let message = view(dir.path(), Some(&video)).prepare(None).await.err().expect("an error").to_string();
    assert!(message.contains("contains several results") && message.contains("facereel view RESULT"), "{message}");
    for name in ["second", "third"] {
        fs::remove_dir_all(dir.path().join(name)).unwrap();
    }
    let served = Served::of(&view(dir.path(), None)).await;
    assert!(served.get("/", "").await.0.contains("location: /results/0/"), "one result opens without a catalogue");
    assert_eq!(served.get("/results/0/video", "").await.1, VIDEO);
}

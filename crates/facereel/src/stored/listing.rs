//! Lists the results below a directory or a prefix. No document of a complete result is read.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{Client, primitives::DateTime};
use lambdas::layout;
use serde_json::Value;
use tokio::time::timeout;

use super::{Location, LocationReader, StoredError};
use crate::deployed::{Error, system_time};

/// A page of the listing has one entry for all pages of faces of a result, because their keys are the same up to this string
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>). Without it, the largest result would take five calls.
const DELIMITER: &str = "/faces/";

/// How often the number of results is reported during a listing.
const COUNT_INTERVAL: Duration = Duration::from_millis(200);

/// The document that, beside the manifest, every complete result has.
const SUMMARY: &str = "summary.json";

/// The history of a local execution, which is also written if the execution fails.
const HISTORY: &str = "history.json";

/// The end of the name of the directory with the history of a failed local run.
const FAILED: &str = ".failed";

/// A result in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedResult {
    /// The directory, or the folder in S3.
    pub folder: Location,
    /// What the results of one video have in common: in S3 the key of the video, cut after 900 bytes; on this machine the directory,
    /// relative to the one that is listed.
    pub title: String,
    /// When the manifest was written, or, of a result that is not complete, the newest of its documents.
    pub date: Option<SystemTime>,
    /// Whether the result is complete.
    pub state: ListedState,
}

/// What a listing shows about the execution behind a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedState {
    /// The result has a manifest.
    Complete,
    /// The result has no manifest. The execution may run, or have failed.
    Incomplete,
    /// A `facereel run` has locked the directory.
    Running,
    /// The history in the directory ends with a failure.
    Failed {
        /// The name of the error.
        error: String,
        /// The cause, if there is one.
        cause: Option<String>,
    },
}

/// The results below a directory or a prefix.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The results, in the order of their folders.
    pub results: Vec<ListedResult>,
    /// The directories that could not be read.
    pub unreadable: Vec<PathBuf>,
}

impl LocationReader {
    /// Lists the results below a directory, without following symbolic links, or in S3 the results whose keys start with a
    /// prefix. `found` is called from time to time with the number of results so far.
    ///
    /// In S3, a call returns 1000 entries. A complete result has five of them, and one more for each 4 MB of further tracks; the
    /// number of its pages does not matter. On this machine, every directory is read once.
    ///
    /// # Errors
    /// [`StoredError::Unreadable`] for a directory, [`StoredError::Aws`] of `s3:ListBucket`.
    pub async fn list(&self, root: &Location, found: impl Fn(usize)) -> Result<Listing, StoredError> {
        let count = Arc::new(AtomicUsize::new(0));
        let mut listing = pin!(self.list_and_count(root, Arc::clone(&count)));
        loop {
            match timeout(COUNT_INTERVAL, &mut listing).await {
                Ok(listing) => return listing,
                Err(_) => found(count.load(Ordering::Relaxed)),
            }
        }
    }

    async fn list_and_count(&self, root: &Location, count: Arc<AtomicUsize>) -> Result<Listing, StoredError> {
        match root {
            Location::Local(dir) => {
                let (dir, unreadable) = (dir.clone(), dir.clone());
                let walk = tokio::task::spawn_blocking(move || walk(&dir, &count));
                let listing = walk.await.unwrap_or_else(|error| Err(io::Error::other(error)));
                listing.map_err(|source| StoredError::Unreadable { dir: unreadable, source })
            }
            Location::S3 { bucket, key, .. } => {
                let error = |source| StoredError::Aws { location: root.to_string(), source };
                let folders = list_folders(self.client().await.map_err(error)?, bucket, key, &count);
                let folders = folders.await.map_err(error)?;
                let results = folders.into_iter().map(|(folder, content)| content.result(bucket, folder)).collect();
                Ok(Listing { results, unreadable: Vec::new() })
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------------------------ S3

/// What the listing shows of a folder.
#[derive(Debug, Default)]
struct FolderContent {
    manifest: Option<SystemTime>,
    has_summary: bool,
    newest: Option<SystemTime>,
}

impl FolderContent {
    fn add(&mut self, name: &str, date: Option<SystemTime>) {
        match name {
            layout::MANIFEST => self.manifest = date.or(Some(SystemTime::UNIX_EPOCH)),
            SUMMARY => self.has_summary = true,
            _ => {}
        }
        self.newest = self.newest.max(date);
    }

    fn result(self, bucket: &str, folder: String) -> ListedResult {
        let is_complete = self.manifest.is_some() && self.has_summary;
        ListedResult {
            title: title_of_folder(&folder).to_owned(),
            folder: Location::S3 { bucket: bucket.to_owned(), key: folder, version_id: None },
            date: if is_complete { self.manifest } else { self.newest },
            state: if is_complete { ListedState::Complete } else { ListedState::Incomplete },
        }
    }
}

/// The folders of results whose keys start with the prefix.
async fn list_folders(
    s3: &Client,
    bucket: &str,
    prefix: &str,
    count: &AtomicUsize,
) -> Result<BTreeMap<String, FolderContent>, Error> {
    let mut folders: BTreeMap<String, FolderContent> = BTreeMap::new();
    let mut prefixes = vec![prefix.to_owned()];
    while let Some(prefix) = prefixes.pop() {
        let mut after = None;
        loop {
            let call = s3.list_objects_v2().bucket(bucket).prefix(&prefix).delimiter(DELIMITER);
            let page = call.set_start_after(after).send().await.map_err(Error::s3("s3:ListBucket", bucket))?;
            let mut last = String::new();
            for object in page.contents.unwrap_or_default() {
                let date = object.last_modified.as_ref().map(|date: &DateTime| system_time(*date));
                let key = object.key.unwrap_or_default();
                if let Some((folder, name)) = object_of_result(&key) {
                    folders.entry(folder.to_owned()).or_default().add(name, date);
                }
                last = last.max(key);
            }
            for group in page.common_prefixes.unwrap_or_default().into_iter().filter_map(|group| group.prefix) {
                // The pages of a result, or else videos in a folder with that name.
                match object_of_result(&group) {
                    Some((folder, _)) => drop(folders.entry(folder.to_owned()).or_default()),
                    None => prefixes.push(group.clone()),
                }
                last = last.max(group);
            }
            count.store(folders.len(), Ordering::Relaxed);
            if page.is_truncated != Some(true) || last.is_empty() {
                break;
            }
            after = Some(next_position(last));
        }
    }
    // A folder of any other documents is not a result.
    folders.retain(|folder, content| {
        is_idempotency_key(last_part(folder)) || (content.manifest.is_some() && content.has_summary)
    });
    Ok(folders)
}

/// Where the listing continues after a page that ends with this entry: behind all pages or tracks of a result.
fn next_position(last: String) -> String {
    if let Some(group) = last.strip_suffix('/') {
        // `0` is the character that follows the slash.
        return format!("{group}0");
    }
    match last.rsplit_once("/tracks/") {
        Some((result, name)) if is_idempotency_key(last_part(result)) && name.strip_suffix(".jsonl").is_some() => {
            format!("{result}/tracks0")
        }
        _ => last,
    }
}

/// The folder of the result, with a `/` at its end, and the name in it, if this is the key of an object of a result, or what the
/// keys of its pages have in common.
fn object_of_result(key: &str) -> Option<(&str, &str)> {
    let (folder, name) = key.rsplit_once('/')?;
    for of_many in ["/faces", "/tracks"] {
        if let Some(result) = folder.strip_suffix(of_many)
            && is_idempotency_key(last_part(result))
        {
            return Some((&key[..=result.len()], &key[result.len() + 1..]));
        }
    }
    // A result that was copied to a folder with another name is recognised by its two documents.
    let is_object = is_idempotency_key(last_part(folder)) || [layout::MANIFEST, SUMMARY].contains(&name);
    is_object.then_some((&key[..=folder.len()], name))
}

/// The key of the video in the folder of a result, or else the folder.
fn title_of_folder(folder: &str) -> &str {
    let path = folder.trim_end_matches('/');
    let path = match path.rsplit_once('/') {
        Some((video, key)) if is_idempotency_key(key) => video,
        _ => path,
    };
    match path.split_once(layout::RESULTS) {
        Some((before, video)) if (before.is_empty() || before.ends_with('/')) && !video.is_empty() => video,
        _ => path,
    }
}

/// The last part of a key or path.
fn last_part(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Whether this is a SHA-256 in hexadecimal digits, as the last part of the folder of every result.
pub(crate) fn is_idempotency_key(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

// -------------------------------------------------------------------------------------------------------- this machine

/// What a directory contains directly.
#[derive(Debug, Default)]
struct DirContent {
    has_manifest: bool,
    has_summary: bool,
    has_history: bool,
    /// Files that do not start with a dot.
    files: usize,
    /// Directories that do not start with a dot.
    dirs: Vec<String>,
}

/// Lists the results in a directory and in all directories below it.
fn walk(root: &Path, count: &AtomicUsize) -> io::Result<Listing> {
    let mut listing = Listing::default();
    // The root must be readable; a directory below it that is not is reported.
    let mut content = Some(read_dir(root)?);
    let mut pending = vec![String::new()];
    while let Some(path) = pending.pop() {
        let dir = if path.is_empty() { root.to_owned() } else { root.join(&path) };
        let read = content.take().map_or_else(|| read_dir(&dir), Ok);
        let Ok(DirContent { has_manifest, has_summary, has_history, files, dirs }) = read else {
            listing.unreadable.push(dir);
            continue;
        };
        let is_copy = is_idempotency_key(last_part(&path));
        let is_complete = has_manifest && has_summary;
        let state = if is_complete {
            Some((ListedState::Complete, layout::MANIFEST))
        } else if let Some(state) = has_history.then(|| end_of_history(&dir.join(HISTORY))).flatten() {
            Some((state, HISTORY))
        } else if is_copy && (dirs.iter().any(|name| name == "faces") || has_manifest || has_summary) {
            Some((ListedState::Incomplete, ""))
        } else {
            let is_empty = files == 0 && dirs.is_empty() && !path.is_empty();
            (is_empty && is_locked(&dir)).then_some((ListedState::Running, ""))
        };
        let is_result = state.is_some();
        if let Some((state, file)) = state {
            let date = fs::metadata(dir.join(file)).and_then(|metadata| metadata.modified()).ok();
            let title = title_of_dir(root, &path, matches!(state, ListedState::Failed { .. }));
            listing.results.push(ListedResult { folder: Location::Local(dir), title, date, state });
            count.store(listing.results.len(), Ordering::Relaxed);
        }
        // In reverse, because the last one is read first.
        for name in dirs.into_iter().rev().filter(|name| !is_result || !["faces", "tracks"].contains(&name.as_str())) {
            pending.push(if path.is_empty() { name } else { format!("{path}/{name}") });
        }
    }
    Ok(listing)
}

/// The names in a directory. Names that are not Unicode are ignored.
fn read_dir(dir: &Path) -> io::Result<DirContent> {
    let mut content = DirContent::default();
    // The path of the current directory is empty, as in the parent of `manifest.json`.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            content.dirs.push(name);
        } else {
            content.files += 1;
            content.has_manifest |= name == layout::MANIFEST;
            content.has_summary |= name == SUMMARY;
            content.has_history |= name == HISTORY;
        }
    }
    content.dirs.sort_unstable();
    Ok(content)
}

/// What a history of `facereel run` ends with; `None`, if the file is not a history.
fn end_of_history(file: &Path) -> Option<ListedState> {
    let events: Vec<Value> = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    events.first().filter(|event| event["type"] == "ExecutionStarted")?;
    let last = events.last()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (details, error) = match last["type"].as_str() {
        Some("ExecutionFailed") => (&last["executionFailedEventDetails"], "FAILED"),
        Some("ExecutionTimedOut") => (&last["executionTimedOutEventDetails"], "TIMED_OUT"),
        Some("ExecutionAborted") => (&last["executionAbortedEventDetails"], "ABORTED"),
        _ => return Some(ListedState::Incomplete),
    };
    let error = text(&details["error"]).unwrap_or_else(|| error.to_owned());
    Some(ListedState::Failed { error, cause: text(&details["cause"]) })
}

/// Whether a `facereel run` has locked the directory. A run that starts while this lock is held, for microseconds and only on an empty
/// directory, reports that another run writes to it.
fn is_locked(dir: &Path) -> bool {
    File::open(dir).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The directory without what distinguishes the results of one video: the idempotency key, or the end of a failed run's directory.
fn title_of_dir(root: &Path, path: &str, is_failed: bool) -> String {
    let path = match path.rsplit_once('/') {
        Some((video, key)) if is_idempotency_key(key) => video,
        None if is_idempotency_key(path) => "",
        _ => path,
    };
    let path = if is_failed { path.strip_suffix(FAILED).unwrap_or(path) } else { path };
    if path.is_empty() {
        let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        return root.file_name().map_or_else(|| root.display().to_string(), |name| name.to_string_lossy().into_owned());
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
    use axum::{
        Router,
        extract::{Query, State},
        http::StatusCode,
        routing::get,
    };
    use serde_json::json;

    use super::*;
    use crate::deployed::Account;

    fn key(digit: &str) -> String {
        digit.repeat(64)
    }

    #[test]
    fn an_object_of_a_result_has_a_folder_and_a_title() {
        let hash = key("a");
        for (object, title, name) in [
            (format!("results/a b/c.mp4/{hash}/manifest.json"), "a b/c.mp4", "manifest.json"),
            (format!("results/a.mp4/{hash}/faces/"), "a.mp4", "faces/"),
            (format!("results/a.mp4/{hash}/tracks/00000.jsonl"), "a.mp4", "tracks/00000.jsonl"),
            (format!("results/results/faces/a.mp4/{hash}/report.html"), "results/faces/a.mp4", "report.html"),
            (format!("backup/results/a.mp4/{hash}/summary.json"), "a.mp4", "summary.json"),
            ("copies/holiday/manifest.json".to_owned(), "copies/holiday", "manifest.json"),
        ] {
            let (folder, found) = object_of_result(&object).expect(&object);
            assert_eq!((title_of_folder(folder), found), (title, name), "{object}");
            assert!(object.starts_with(folder) && folder.ends_with('/'), "{folder}");
        }
        for other in ["results/footage/faces/", "queue/lease", "results/a.mp4/notes.txt", "manifest.json"] {
            assert_eq!(object_of_result(other), None, "{other}");
        }
    }

    #[test]
    fn a_listing_continues_behind_the_pages_and_the_tracks_of_a_result() {
        let hash = key("b");
        for (last, next) in [
            (format!("results/a.mp4/{hash}/faces/"), format!("results/a.mp4/{hash}/faces0")),
            (format!("results/a.mp4/{hash}/tracks/00017.jsonl"), format!("results/a.mp4/{hash}/tracks0")),
            (format!("results/a.mp4/{hash}/report.html"), format!("results/a.mp4/{hash}/report.html")),
            ("results/tracks/a.jsonl".to_owned(), "results/tracks/a.jsonl".to_owned()),
        ] {
            assert!(next >= last, "{next}");
            assert_eq!(next_position(last), next);
        }
    }

    /// Writes a file and the directories above it.
    fn write(root: &Path, path: &str, text: &str) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[tokio::test]
    async fn the_results_of_a_directory_have_titles_and_states() {
        let dir = tempfile::tempdir().unwrap();
        let hash = key("c");
        for result in
            ["sample", "deep/er/other", &format!("results/a.mp4/{hash}"), &format!("results/a.mp4/{}", key("d"))]
        {
            for name in ["manifest.json", "summary.json", "faces/00000.jsonl"] {
                write(dir.path(), &format!("{result}/{name}"), "{}");
            }
        }
        write(dir.path(), &format!("results/half.mp4/{hash}/faces/00000.jsonl"), "");
        let failed = json!([{ "type": "ExecutionStarted" }, { "type": "ExecutionFailed",
            "executionFailedEventDetails": { "error": "VideoUnreadable", "cause": "not a video" } }]);
        write(dir.path(), "broken.failed/history.json", &failed.to_string());
        write(dir.path(), "elsewhere/history.json", "[]");
        write(dir.path(), "elsewhere/manifest.json", "{}");
        write(dir.path(), ".hidden/manifest.json", "{}");
        write(dir.path(), ".hidden/summary.json", "{}");
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::create_dir(dir.path().join("analysed-now")).unwrap();
        let lock = File::open(dir.path().join("analysed-now")).unwrap();
        lock.try_lock().unwrap();

        let reader = LocationReader::new(&Account::default(), None);
        let listing = reader.list(&Location::Local(dir.path().into()), |_| {}).await.unwrap();
        let found: Vec<_> = listing.results.iter().map(|result| (result.title.as_str(), &result.state)).collect();
        let failure =
            ListedState::Failed { error: "VideoUnreadable".to_owned(), cause: Some("not a video".to_owned()) };
        assert_eq!(
            found,
            [
                ("analysed-now", &ListedState::Running),
                ("broken", &failure),
                ("deep/er/other", &ListedState::Complete),
                ("results/a.mp4", &ListedState::Complete),
                ("results/a.mp4", &ListedState::Complete),
                ("results/half.mp4", &ListedState::Incomplete),
                ("sample", &ListedState::Complete),
            ]
        );
        assert!(listing.results.iter().all(|result| result.date.is_some()));
    }

    /// A bucket behind HTTP, which returns pages of `per_page` entries.
    struct Bucket {
        keys: Vec<String>,
        per_page: usize,
        calls: AtomicUsize,
    }

    impl Bucket {
        /// `ListObjectsV2`, as S3 documents it.
        fn list(&self, query: &BTreeMap<String, String>) -> String {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let parameter = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
            let (prefix, after, delimiter) = (parameter("prefix"), parameter("start-after"), parameter("delimiter"));
            assert!(!delimiter.is_empty());
            let mut entries: Vec<(String, bool)> = Vec::new();
            for key in self.keys.iter().filter(|key| key.starts_with(prefix) && key.as_str() > after) {
                let rest = &key[prefix.len()..];
                let group = rest.find(delimiter).map(|at| key[..prefix.len() + at + delimiter.len()].to_owned());
                // "CommonPrefixes is filtered out from results if it is not lexicographically greater than the StartAfter value."
                let entry = group.map_or((key.clone(), false), |group| (group, true));
                if entry.0.as_str() > after && entries.last() != Some(&entry) {
                    entries.push(entry);
                }
            }
            let is_truncated = entries.len() > self.per_page;
            let items: String = entries
                .iter()
                .take(self.per_page)
                .map(|(entry, is_group)| match is_group {
                    true => format!("<CommonPrefixes><Prefix>{entry}</Prefix></CommonPrefixes>"),
                    false => format!(
                        "<Contents><Key>{entry}</Key><LastModified>2026-11-01T10:00:00.000Z</LastModified></Contents>"
                    ),
                })
                .collect();
            format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>{items}</ListBucketResult>")
        }
    }

    /// A reader of a bucket behind this service.
    async fn reader_of(service: Router) -> LocationReader {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("id", "secret", None, None, "test")))
            .build();
        tokio::spawn(async move { axum::serve(listener, service).await });
        LocationReader::new(&Account::default(), Some(&aws))
    }

    fn s3(key: &str) -> Location {
        Location::S3 { bucket: "results".to_owned(), key: key.to_owned(), version_id: None }
    }

    #[tokio::test]
    async fn a_bucket_is_listed_without_its_pages_of_faces() {
        let mut keys: Vec<String> = Vec::new();
        let mut add = |video: &str, digit: &str, pages: usize, is_complete: bool| {
            let folder = format!("results/{video}/{}", key(digit));
            keys.extend((0..pages).map(|page| format!("{folder}/faces/{page:05}.jsonl")));
            keys.extend((0..30).map(|number| format!("{folder}/tracks/{number:05}.jsonl")));
            keys.extend(["report.html", "summary.json"].map(|name| format!("{folder}/{name}")));
            keys.extend(is_complete.then(|| format!("{folder}/manifest.json")));
        };
        add("a.mp4", "a", 4320, true);
        add("a.mp4", "b", 1, true);
        add("footage/faces/b.mp4", "c", 3, true);
        add("footage/faces/faces/c.mp4", "d", 3, false);
        keys.extend(["queue/lease", "results/notes.txt", "results/site/manifest.json"].map(str::to_owned));
        keys.sort_unstable();
        for per_page in [1, 7, 1000] {
            let bucket = Arc::new(Bucket { keys: keys.clone(), per_page, calls: AtomicUsize::new(0) });
            let list = async |State(bucket): State<Arc<Bucket>>, Query(query)| bucket.list(&query);
            let service = Router::new().fallback(get(list)).with_state(Arc::clone(&bucket));
            let listing = reader_of(service).await.list(&s3("results/"), |_| {}).await.unwrap();
            let mut found: Vec<_> = listing.results.iter().map(|one| (one.title.as_str(), &one.state)).collect();
            found.sort_by_key(|(title, _)| *title);
            assert_eq!(
                found,
                [
                    ("a.mp4", &ListedState::Complete),
                    ("a.mp4", &ListedState::Complete),
                    ("footage/faces/b.mp4", &ListedState::Complete),
                    ("footage/faces/faces/c.mp4", &ListedState::Incomplete),
                ],
                "{per_page} entries a page"
            );
            let calls = bucket.calls.load(Ordering::Relaxed);
            let most = [(1, 40), (7, 20), (1000, 3)].into_iter().find(|(entries, _)| *entries == per_page).unwrap().1;
            assert!(calls <= most, "{calls} calls with {per_page} entries a page");
        }
    }

    #[tokio::test]
    async fn a_missing_permission_is_named_with_the_remedy() {
        const DENIED: &str =
            "<Error><Code>AccessDenied</Code><Message>not authorized to perform: s3:ListBucket</Message></Error>";
        let service = Router::new().fallback(async || (StatusCode::FORBIDDEN, DENIED));
        let error = reader_of(service).await.list(&s3("results/"), |_| {}).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot read s3://results/results/: these credentials do not allow s3:ListBucket; add it to their IAM policy: \
             AccessDenied: not authorized to perform: s3:ListBucket"
        );
    }
}

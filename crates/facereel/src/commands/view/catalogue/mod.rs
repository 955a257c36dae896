//! The catalogue: the results below a directory or a prefix, one row a video, for the page that lists them.
//!
//! One listing finds all results. What a row shows beside that is read from the start of its summary when the page asks for it, and
//! is kept in memory. Results are numbered, so that no request contains a path or a key; a result keeps its number.

mod executions;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::SystemTime,
};

use aws_config::SdkConfig;
use futures_util::{StreamExt as _, stream};
use lambdas::layout;
use local_stack::{Progress, Silent};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::ViewError;
use crate::deployed::{Deployed, Error, Target};
use crate::stored::{
    ListedResult, ListedState, Location, LocationReader, StoredError, SummaryFacts, find_file, name_of,
};
use crate::terminal::{note, text::counted};

/// The number of summaries that are read at the same time.
const CONCURRENT_READS: usize = 32;

/// The largest number of results in one request for facts.
const MOST_FACTS: usize = 200;

/// The results below a directory or a prefix.
#[derive(Debug)]
pub struct Catalogue {
    reader: LocationReader,
    root: Location,
    /// The stack whose executions are shown; only for its results bucket.
    stack: Option<Deployed>,
    index: RwLock<Index>,
    facts: Mutex<HashMap<usize, Value>>,
}

/// What the listings have found.
#[derive(Debug, Default)]
struct Index {
    /// Every result and execution that was listed. The number of a result is its position.
    entries: Vec<Entry>,
    /// The numbers of the entries, by folder or ARN.
    numbers: HashMap<String, usize>,
    /// The videos, and the numbers of their entries in the last listing, the newest first.
    rows: BTreeMap<String, Vec<usize>>,
    /// Why something is not shown.
    notes: Vec<String>,
}

/// A result, or an execution without one.
#[derive(Debug, Clone)]
struct Entry {
    /// The folder of the result; `None` for an execution.
    folder: Option<Location>,
    /// When it was written, or when the execution was started or has failed.
    date: Option<SystemTime>,
    state: ListedState,
}

/// A row of the document.
#[derive(Serialize)]
struct RowDocument<'a> {
    title: &'a str,
    entries: Vec<EntryDocument<'a>>,
}

/// An entry of the document.
#[derive(Serialize)]
struct EntryDocument<'a> {
    /// The number of the result.
    id: usize,
    /// Milliseconds since 1970.
    date: Option<u64>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
}

impl Catalogue {
    /// Lists the results. A bucket without a prefix is listed from `results/`. `target` is the stack whose executions are shown,
    /// or the account in which a stack is searched.
    ///
    /// # Errors
    /// [`ViewError::Stored`], if nothing can be listed or nothing is found; [`ViewError::Stack`] and [`ViewError::OtherStack`], if
    /// the stack is named and cannot be used.
    pub async fn list(
        reader: LocationReader,
        root: Location,
        target: &Target,
        aws: Option<&SdkConfig>,
        progress: &dyn Progress,
    ) -> Result<Self, ViewError> {
        let root = match root {
            Location::S3 { bucket, key, version_id } if key.is_empty() => {
                Location::S3 { bucket, key: layout::RESULTS.to_owned(), version_id }
            }
            root => root,
        };
        progress.step("Listing the results");
        let mut catalogue = Self { reader, root, stack: None, index: RwLock::default(), facts: Mutex::default() };
        let listing = catalogue.listed(progress).await?;
        let is_one = matches!(&listing.0[..], [ListedResult { state: ListedState::Complete, .. }]);
        let mut problem = None;
        if let Location::S3 { bucket, .. } = &catalogue.root
            && (target.is_named() || !is_one)
        {
            progress.step("Looking for the stack");
            (catalogue.stack, problem) = find_stack(target, aws, bucket).await?;
        }
        catalogue.update(listing, problem).await;
        if catalogue.index().rows.is_empty() {
            return Err(match catalogue.root {
                Location::Local(dir) => StoredError::NoResultBelow { dir }.into(),
                Location::S3 { .. } => StoredError::NoResultInBucket { location: catalogue.root.to_string() }.into(),
            });
        }
        for problem in &catalogue.index().notes {
            note(format_args!("note: {problem}"));
        }
        Ok(catalogue)
    }

    /// Lists the results again, and the executions. Numbers stay valid.
    ///
    /// # Errors
    /// [`StoredError`].
    pub async fn refresh(&self) -> Result<(), StoredError> {
        let listing = self.listed(&Silent).await?;
        self.update(listing, None).await;
        Ok(())
    }

    /// The results, and why some are missing.
    async fn listed(&self, progress: &dyn Progress) -> Result<(Vec<ListedResult>, Option<String>), StoredError> {
        let found = |count| progress.detail(&counted(count, "result"));
        let listing = self.reader.list(&self.root, found).await?;
        let unreadable = listing.unreadable.first().map(|first| {
            let more = listing.unreadable.len() - 1;
            let others = if more == 0 { String::new() } else { format!(" and {more} other directories") };
            format!("{}{others} cannot be read; results in them are not shown", first.display())
        });
        Ok((listing.results, unreadable))
    }

    /// Replaces the rows.
    async fn update(&self, (results, unreadable): (Vec<ListedResult>, Option<String>), problem: Option<String>) {
        let mut notes: Vec<_> = unreadable.into_iter().chain(problem).collect();
        let mut found: Vec<(String, String, Entry)> = Vec::with_capacity(results.len());
        for ListedResult { folder, title, date, state } in results {
            found.push((folder.to_string(), title, Entry { folder: Some(folder), date, state }));
        }
        if let (Some(stack), Location::S3 { key, .. }) = (&self.stack, &self.root) {
            match executions::of(stack, key).await {
                Ok(executions) => {
                    notes.extend(executions.note);
                    for executions::Listed { arn, title, date, state } in executions.listed {
                        found.push((arn, title, Entry { folder: None, date: Some(date), state }));
                    }
                }
                Err(error) => notes.push(not_shown(&error)),
            }
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let changed = index.replace(found);
        index.notes = notes;
        drop(index);
        self.cached().retain(|number, _| !changed.contains(number));
    }

    /// The document of the page, as JSON.
    ///
    /// # Errors
    /// If the document cannot be written as JSON.
    pub fn document(&self) -> Result<Vec<u8>, serde_json::Error> {
        let index = self.index();
        let rows: Vec<_> = index.rows.iter().map(|(title, numbers)| index.row(title, numbers)).collect();
        serde_json::to_vec(&json!({
            "source": self.root.to_string(),
            "is_on_this_machine": matches!(self.root, Location::Local(_)),
            "shows_executions": self.stack.is_some(),
            "notes": index.notes,
            "rows": rows,
        }))
    }

    /// The number of the only result, if there is nothing else.
    #[must_use]
    pub fn only_result(&self) -> Option<usize> {
        let index = self.index();
        let mut numbers = index.rows.values().flatten();
        match (numbers.next(), numbers.next()) {
            (Some(&number), None) => index.is_complete(number).then_some(number),
            _ => None,
        }
    }

    /// The number of the newest result, if all results are of one video.
    #[must_use]
    pub fn newest_of_one_video(&self) -> Option<usize> {
        let index = self.index();
        let mut rows = index.rows.values();
        match (rows.next(), rows.next()) {
            (Some(numbers), None) => numbers.iter().copied().find(|number| index.is_complete(*number)),
            _ => None,
        }
    }

    /// The folder of a complete result, and its date.
    #[must_use]
    pub fn result(&self, number: usize) -> Option<(Location, Option<SystemTime>)> {
        let index = self.index();
        let entry = index.entries.get(number).filter(|_| index.is_complete(number))?;
        Some((entry.folder.clone()?, entry.date))
    }

    /// The reader of the results.
    pub(super) fn reader(&self) -> &LocationReader {
        &self.reader
    }

    /// What the rows of these results show, by number: the facts of each, or an error. Facts are read once.
    pub async fn facts(&self, numbers: impl IntoIterator<Item = usize>) -> BTreeMap<usize, Value> {
        let numbers: Vec<_> = numbers.into_iter().take(MOST_FACTS).collect();
        let mut facts: BTreeMap<_, _> = {
            let cached = self.cached();
            numbers.iter().filter_map(|number| Some((*number, cached.get(number)?.clone()))).collect()
        };
        let missing = numbers.into_iter().filter(|number| !facts.contains_key(number));
        let missing: Vec<_> = missing.filter_map(|number| Some((number, self.result(number)?.0))).collect();
        let read: Vec<_> = stream::iter(missing)
            .map(async |(number, folder)| (number, self.read_facts(&folder).await))
            .buffer_unordered(CONCURRENT_READS)
            .collect()
            .await;
        for (number, read) in read {
            let value = match read {
                Ok(value) => {
                    self.cached().insert(number, value.clone());
                    value
                }
                // Read again by the next request.
                Err(error) => json!({ "error": error.to_string() }),
            };
            facts.insert(number, value);
        }
        facts
    }

    async fn read_facts(&self, folder: &Location) -> Result<Value, StoredError> {
        let SummaryFacts { video, metadata, faces, tracks, most_faces } = self.reader.facts(folder).await?;
        // Whether an object still exists would take a call to S3.
        let has_video = match folder {
            Location::Local(dir) => find_file(dir, &video).is_some(),
            Location::S3 { .. } => true,
        };
        Ok(json!({
            "name": name_of(&video),
            "duration_ms": metadata.duration_ms,
            "codec": metadata.codec,
            "faces": faces,
            "most_faces": most_faces.map_or(0, |moment| moment.faces),
            "most_faces_ms": most_faces.map(|moment| moment.timestamp_ms),
            "tracks": tracks,
            "has_video": has_video,
        }))
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn cached(&self) -> MutexGuard<'_, HashMap<usize, Value>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Replaces the rows with these identities, titles and entries. Returns the numbers of the entries that have another date or state
    /// than in the last listing.
    fn replace(&mut self, found: Vec<(String, String, Entry)>) -> Vec<usize> {
        let mut changed = Vec::new();
        self.rows.clear();
        for (identity, title, entry) in found {
            let number = *self.numbers.entry(identity).or_insert(self.entries.len());
            match self.entries.get_mut(number) {
                Some(known) => {
                    if (known.date, &known.state) != (entry.date, &entry.state) {
                        changed.push(number);
                    }
                    *known = entry;
                }
                None => self.entries.push(entry),
            }
            self.rows.entry(title).or_default().push(number);
        }
        for numbers in self.rows.values_mut() {
            let is_known = numbers.iter().any(|number| self.entries[*number].folder.is_none());
            // What the execution of an incomplete result does is known, if Step Functions lists executions of the video.
            numbers.retain(|number| !is_known || self.entries[*number].state != ListedState::Incomplete);
            numbers.sort_by_key(|number| std::cmp::Reverse(self.entries[*number].date));
        }
        changed
    }

    fn is_complete(&self, number: usize) -> bool {
        self.entries.get(number).is_some_and(|entry| entry.state == ListedState::Complete)
    }

    fn row<'a>(&'a self, title: &'a str, numbers: &[usize]) -> RowDocument<'a> {
        let entry = |number: &usize| {
            let Entry { date, state, .. } = &self.entries[*number];
            let since_1970 = date.and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
            let date = since_1970.and_then(|time| u64::try_from(time.as_millis()).ok());
            let (state, error, cause) = match state {
                ListedState::Complete => ("complete", None, None),
                ListedState::Incomplete => ("incomplete", None, None),
                ListedState::Running => ("running", None, None),
                ListedState::Failed { error, cause } => ("failed", Some(error.as_str()), cause.as_deref()),
            };
            EntryDocument { id: *number, date, state, error, cause }
        };
        RowDocument { title, entries: numbers.iter().map(entry).collect() }
    }
}

/// The stack whose results are in the bucket. Without `--state-machine`, a stack that is not found is only noted.
async fn find_stack(
    target: &Target,
    aws: Option<&SdkConfig>,
    bucket: &str,
) -> Result<(Option<Deployed>, Option<String>), ViewError> {
    let found = async {
        let deployed = target.connect_with(aws).await?;
        let results = deployed.results_bucket().await?;
        Ok((deployed, results))
    };
    match found.await {
        Ok((deployed, results)) if results == bucket => Ok((Some(deployed), None)),
        Ok((deployed, results)) if target.is_named() => Err(ViewError::OtherStack {
            state_machine: deployed.state_machine.to_string(),
            results,
            bucket: bucket.to_owned(),
        }),
        Ok(_) => Ok((
            None,
            Some(format!(
                "running and failed executions are not shown, because the only stack of the Region has another results bucket than {bucket}; choose a stack with --state-machine"
            )),
        )),
        Err(error) if target.is_named() => Err(ViewError::Stack(error)),
        Err(error) => Ok((None, Some(not_shown(&error)))),
    }
}

fn not_shown(error: &Error) -> String {
    format!("running and failed executions are not shown: {error}")
}

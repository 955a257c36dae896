//! The keys of the results bucket.
//!
//! | key | object |
//! |---|---|
//! | `callbacks/<idempotency key>/<execution>/<attempt of the task>-<hash of the token>` | a pending callback |
//! | `queue/entries/<start of the execution, ms>-<execution>/<attempt of the task>` | a queue entry |
//! | `queue/lease` | the lease of the invocation that starts jobs |
//! | `queue/slot-freed` | a job has ended since the holder of the lease looked last |
//! | `queue/started-jobs/<idempotency key>` | a job that was started |
//! | `queue/completed-jobs/<idempotency key>` | a job that has ended |
//! | `backfill/<id>/videos.json` | the list of videos of a backfill |
//! | `results/<key of the video>/<idempotency key>/…` | a result |

/// The prefix of all pending callbacks.
pub const CALLBACKS: &str = "callbacks/";
/// The prefix of all queue entries. Their keys sort by the start of the execution.
pub const QUEUE_ENTRIES: &str = "queue/entries/";
/// The lease.
pub const LEASE: &str = "queue/lease";
/// The mark that a job slot was freed while the lease was held.
pub const SLOT_FREED: &str = "queue/slot-freed";
/// The prefix of all started jobs.
pub const STARTED_JOBS: &str = "queue/started-jobs/";
/// The prefix of all completed jobs.
pub const COMPLETED_JOBS: &str = "queue/completed-jobs/";
/// The prefix of the lists of backfills, and of what Step Functions writes about them.
pub const BACKFILL: &str = "backfill/";
/// The prefix of all results.
pub const RESULTS: &str = "results/";
/// The object of a result that is written last: its presence means that the result is complete.
pub const MANIFEST: &str = "manifest.json";

/// An S3 key has at most 1024 bytes; this much of the video's key leaves room for the rest of a result's key.
const MAX_VIDEO_KEY_BYTES: usize = 900;

/// The prefix of the callbacks that wait for a job, or of those of one execution among them.
#[must_use]
pub fn callbacks(idempotency_key: &str, execution_name: Option<&str>) -> String {
    match execution_name {
        Some(name) => format!("{CALLBACKS}{idempotency_key}/{name}/"),
        None => format!("{CALLBACKS}{idempotency_key}/"),
    }
}

/// The key of a callback. The keys of one execution sort by the attempt of its task. `token_hash` distinguishes executions
/// of the same name.
#[must_use]
pub fn callback(idempotency_key: &str, execution_name: &str, task_attempt: u32, token_hash: &str) -> String {
    format!("{}{task_attempt:06}-{token_hash}", callbacks(idempotency_key, Some(execution_name)))
}

/// Reads the attempt of the task from the key of a callback.
#[must_use]
pub fn read_callback(key: &str) -> Option<u32> {
    key.rsplit_once('/')?.1.split_once('-')?.0.parse().ok()
}

/// The prefix of the queue entries of an execution, one for each attempt of its task. `started_ms` is the start of the
/// execution in milliseconds since 1970.
#[must_use]
pub fn queue_entries(started_ms: i64, execution_name: &str) -> String {
    format!("{QUEUE_ENTRIES}{started_ms:013}-{execution_name}/")
}

/// The key of a queue entry.
#[must_use]
pub fn queue_entry(started_ms: i64, execution_name: &str, task_attempt: u32) -> String {
    format!("{}{task_attempt:06}", queue_entries(started_ms, execution_name))
}

/// The parts of the key of a queue entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueEntryKey<'a> {
    /// The start of the execution in milliseconds since 1970.
    pub started_ms: i64,
    /// The name of the execution.
    pub execution_name: &'a str,
    /// The attempt of the task.
    pub task_attempt: u32,
}

/// Reads the key of a queue entry.
#[must_use]
pub fn read_queue_entry(key: &str) -> Option<QueueEntryKey<'_>> {
    let (execution, task_attempt) = key.strip_prefix(QUEUE_ENTRIES)?.rsplit_once('/')?;
    let (started_ms, execution_name) = execution.split_once('-')?;
    Some(QueueEntryKey {
        started_ms: started_ms.parse().ok()?,
        execution_name,
        task_attempt: task_attempt.parse().ok()?,
    })
}

/// The key of a started job.
#[must_use]
pub fn started_job(idempotency_key: &str) -> String {
    format!("{STARTED_JOBS}{idempotency_key}")
}

/// The key of a completed job.
#[must_use]
pub fn completed_job(idempotency_key: &str) -> String {
    format!("{COMPLETED_JOBS}{idempotency_key}")
}

/// The folder that holds every result of a video, one folder a job, with a `/` at its end.
///
/// A long video key is cut at a character boundary. The folder of a result is unique all the same: it ends with the job's
/// idempotency key.
#[must_use]
pub fn results_of_video(video_key: &str) -> String {
    let longest = MAX_VIDEO_KEY_BYTES.min(video_key.len());
    let end = (0..=longest).rev().find(|&end| video_key.is_char_boundary(end)).unwrap_or(0);
    format!("{RESULTS}{}/", &video_key[..end])
}

/// The folder of a job's result, with a `/` at its end.
#[must_use]
pub fn result(video_key: &str, idempotency_key: &str) -> String {
    format!("{}{idempotency_key}/", results_of_video(video_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_stored_under_the_key_of_its_video() {
        assert_eq!(result("a b+c%2F/🎬.mp4", "key"), "results/a b+c%2F/🎬.mp4/key/");
    }

    #[test]
    fn the_longest_video_key_leaves_room_for_the_longest_object_name() {
        let idempotency_key = "f".repeat(64);
        for key in ["k".repeat(1024), "🎬".repeat(256), format!("x{}", "é".repeat(511))] {
            let longest = format!("{}faces/00000.jsonl", result(&key, &idempotency_key));
            assert!(longest.len() <= 1024, "{} bytes", longest.len());
        }
    }

    #[test]
    fn the_key_of_a_queue_entry_is_read_back() {
        let key = queue_entry(1_764_000_000_123, "6d2a-9f_x", 2003);
        let parts = QueueEntryKey { started_ms: 1_764_000_000_123, execution_name: "6d2a-9f_x", task_attempt: 2003 };
        assert_eq!(read_queue_entry(&key), Some(parts));
        for other in
            [LEASE, "queue/entries/soon-a/000000", "queue/entries/1", "queue/entries/1-a", "queue/entries/1-a/x"]
        {
            assert_eq!(read_queue_entry(other), None, "{other}");
        }
    }

    #[test]
    fn the_keys_of_callbacks_and_entries_sort_by_the_attempt_of_the_task() {
        let attempts = [0, 9, 10, 708, 1000, 999_999];
        let callbacks = attempts.map(|attempt| callback("key", "execution", attempt, "hash"));
        assert!(callbacks.is_sorted(), "{callbacks:?}");
        assert_eq!(callbacks.map(|key| read_callback(&key).unwrap()), attempts);
        assert!(attempts.map(|attempt| queue_entry(1, "execution", attempt)).is_sorted());
        for other in ["callbacks/key/execution/0", "callbacks/key/unknown/x-hash", "callbacks"] {
            assert_eq!(read_callback(other), None, "{other}");
        }
    }
}

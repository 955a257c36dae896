//! The objects with tracks: lines that are collected until they fill an object.

use super::{Face, FinishedJob, ObjectFacts, SummarizeError, write};
use crate::{
    report::Lanes,
    results::{Track, TracksFacts},
    store::{JSON_LINES, Store},
    tracks::{Detection, Tracker},
};

/// An object is written when it has this size: large enough that the largest video has some tens of objects, and small enough for the
/// memory of the function and for a browser. Most videos have one.
const OBJECT_BYTES: usize = 4 << 20;

/// Joins the faces to tracks and writes the tracks that have ended. Its size does not grow with the video.
pub(super) struct TrackObjects {
    tracker: Tracker,
    /// The number of faces so far.
    faces: usize,
    /// The lines of the next object, and what the manifest says about them. `bytes` is set when it is written.
    body: Vec<u8>,
    next: Option<TracksFacts>,
    written: Vec<TracksFacts>,
    /// The longest tracks, for the report.
    lanes: Lanes,
}

impl TrackObjects {
    pub(super) fn new(job: &FinishedJob) -> Self {
        let frame = job.metadata.frame_width.zip(job.metadata.frame_height);
        Self {
            tracker: Tracker::new(frame),
            faces: 0,
            body: Vec::new(),
            next: None,
            written: Vec::new(),
            lanes: Lanes::default(),
        }
    }

    /// Adds the next face.
    pub(super) fn add(&mut self, timestamp_ms: i64, face: &Face) {
        if let Some(detection) = Detection::new(self.faces, timestamp_ms, face) {
            self.tracker.add(detection);
        }
        self.faces += 1;
    }

    /// Writes an object if the tracks that have ended fill it.
    pub(super) async fn write_full(&mut self, store: Store<'_>, job: &FinishedJob) -> Result<(), SummarizeError> {
        self.collect(job);
        if self.body.len() >= OBJECT_BYTES { self.write(store).await } else { Ok(()) }
    }

    /// Ends every track and writes the last object. Returns the number of tracks, the objects, and the lanes of the
    /// report.
    pub(super) async fn finish(
        mut self,
        store: Store<'_>,
        job: &FinishedJob,
    ) -> Result<(usize, Vec<TracksFacts>, Lanes), SummarizeError> {
        let tracks = self.tracker.finish();
        self.collect(job);
        self.write(store).await?;
        Ok((tracks, self.written, self.lanes))
    }

    /// Adds a line for each track that has ended.
    fn collect(&mut self, job: &FinishedJob) {
        for track in self.tracker.take_ended() {
            self.lanes.add(&track);
            let Track { first_ms, last_ms, .. } = track;
            let next = self.next.get_or_insert_with(|| TracksFacts {
                key: job.tracks_key(self.written.len()),
                bytes: 0,
                lines: 0,
                first_ms,
                last_ms,
            });
            next.lines += 1;
            next.first_ms = next.first_ms.min(first_ms);
            next.last_ms = next.last_ms.max(last_ms);
            serde_json::to_writer(&mut self.body, &track).expect("a track is plain data, and memory can be written to");
            self.body.push(b'\n');
        }
    }

    /// Writes the lines as an object, if there are any.
    async fn write(&mut self, store: Store<'_>) -> Result<(), SummarizeError> {
        let Some(next) = self.next.take() else { return Ok(()) };
        let ObjectFacts { key, bytes } = write(store, next.key, JSON_LINES, std::mem::take(&mut self.body)).await?;
        self.written.push(TracksFacts { key, bytes, ..next });
        Ok(())
    }
}

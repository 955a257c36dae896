//! The facts of a result for a list, from the start of its summary.

use std::fmt;

use lambdas::{
    job::VideoMetadata,
    results::{Moment, Summary},
    video::Video,
};
use serde::{
    Deserialize,
    de::{DeserializeSeed, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{Location, LocationReader, StoredError, no_result, read};

/// The number of bytes of a summary that are read first. What precedes the timeline has about 1 KB, and the timeline of a day has 8 MB.
const START_BYTES: u64 = 4096;

/// The name of the summary.
const SUMMARY: &str = "summary.json";

/// What a summary says beside its timeline.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SummaryFacts {
    /// The video.
    pub video: Video,
    /// The metadata of the video, as Rekognition reports it.
    pub metadata: VideoMetadata,
    /// The sum of the faces over all frames.
    pub faces: usize,
    /// The number of tracks; `None` in results of before there were tracks.
    pub tracks: Option<usize>,
    /// The frame with the most faces; absent if there is no face.
    pub most_faces: Option<Moment>,
}

impl From<Summary> for SummaryFacts {
    fn from(Summary { video, metadata, faces, tracks, most_faces, .. }: Summary) -> Self {
        Self { video, metadata, faces, tracks, most_faces }
    }
}

impl LocationReader {
    /// The facts of the result in this folder. Only the start of the summary is read, unless its members have another order than
    /// facereel writes.
    ///
    /// # Errors
    /// [`StoredError`].
    pub async fn facts(&self, folder: &Location) -> Result<SummaryFacts, StoredError> {
        let start = self.read_start(&folder.join(SUMMARY), START_BYTES).await?;
        if let Some(facts) = start.as_deref().and_then(facts_of_start) {
            return Ok(facts);
        }
        let summary = read(self, folder, SUMMARY).await?;
        serde_json::from_slice(&summary).map_err(|error| no_result(folder, SUMMARY, &error))
    }
}

/// The facts, if this start of a summary contains all of them.
fn facts_of_start(start: &[u8]) -> Option<SummaryFacts> {
    let mut members = Map::new();
    // The text usually ends within the timeline, which is an error after all members that are needed.
    let _ = MembersBeforeTimeline(&mut members).deserialize(&mut serde_json::Deserializer::from_slice(start));
    let facts: SummaryFacts = serde_json::from_value(Value::Object(members)).ok()?;
    (facts.faces == 0 || facts.most_faces.is_some()).then_some(facts)
}

/// Collects the members of an object up to the timeline.
struct MembersBeforeTimeline<'a>(&'a mut Map<String, Value>);

impl<'de> DeserializeSeed<'de> for MembersBeforeTimeline<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MembersBeforeTimeline<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a summary")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "timeline" {
                break;
            }
            let value = map.next_value()?;
            self.0.insert(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary(faces: usize) -> Summary {
        let second = json!({ "second": 7, "faces": 9, "frames": 2, "most_faces": 5, "mean_confidence": 99.0 });
        serde_json::from_value(json!({
            "video": { "bucket": "uploads", "key": "a \"b\".mp4", "etag": "e", "bytes": 7 },
            "metadata": { "codec": "h264", "duration_ms": 12_000, "frame_width": 640, "frame_height": 360 },
            "job": { "job_id": "j", "idempotency_key": "i", "attempt": 0, "face_attributes": "DEFAULT" },
            "faces": faces, "tracks": 6, "frames_with_faces": 3,
            "most_faces": (faces > 0).then(|| json!({ "faces": 5, "timestamp_ms": 7000 })),
            "timeline": vec![second; 1000],
        }))
        .unwrap()
    }

    #[test]
    fn the_start_of_a_summary_contains_the_facts() {
        for faces in [0, 9000] {
            let text = serde_json::to_vec(&summary(faces)).unwrap();
            assert!(text.len() > 10_000);
            assert_eq!(facts_of_start(&text[..1000]), Some(summary(faces).into()));
        }
    }

    #[tokio::test]
    async fn a_summary_with_another_order_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut members = serde_json::to_value(summary(9000)).unwrap();
        let timeline = members.as_object_mut().unwrap().remove("timeline").unwrap();
        let rest = members.to_string();
        let text = format!("{{\"timeline\":{timeline},{}", &rest[1..]);
        assert_eq!(facts_of_start(&text.as_bytes()[..4096]), None);
        std::fs::write(dir.path().join(SUMMARY), text).unwrap();
        let reader = LocationReader::new(&crate::deployed::Account::default(), None);
        assert_eq!(reader.facts(&Location::Local(dir.path().into())).await.unwrap(), summary(9000).into());
    }
}

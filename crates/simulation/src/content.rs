//! The content of an uploaded object.

use crate::clock::Ms;

/// The content of an object. Its debug output is part of the object's bytes, and so of the entity tag: if a field or a
/// kind is renamed, a seed has another run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Identifies the content: only identical contents have equal ids.
    pub id: u64,
    /// The kind of object.
    pub kind: Kind,
    /// The number of faces in all frames together.
    pub faces: usize,
    /// How long the Rekognition job runs.
    pub job_ms: Ms,
    /// How many jobs for the key fail before one succeeds.
    pub failures: u32,
}

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A video.
    Video,
    /// A video in a codec that Rekognition does not support.
    UnknownCodec,
    /// A video whose job fails with a reason of 40,000 characters.
    Verbose,
    /// A video of more than 6 hours.
    TooLong,
    /// A video of more than 10 GB.
    TooLarge,
    /// A video that Rekognition is not allowed to read.
    Forbidden,
    /// A video that the functions are not allowed to read.
    Denied,
    /// A video in an archive storage class, which is not restored.
    Archived,
    /// A text file.
    Text,
    /// An empty object.
    Empty,
}

impl Kind {
    /// The errors with which an execution for an object of this kind may finally fail; empty for a good video.
    pub(super) fn errors(self) -> &'static [&'static str] {
        match self {
            Self::Video => &[],
            Self::UnknownCodec | Self::Verbose => &["JobFailed"],
            Self::TooLong | Self::TooLarge => &["VideoTooLarge"],
            Self::Forbidden => &["VideoUnreadable"],
            Self::Denied => &["AccessDenied"],
            Self::Archived => &["VideoArchived"],
            Self::Text => &["NotAVideo"],
            Self::Empty => &["VideoEmpty"],
        }
    }
}

impl Content {
    /// The object's bytes: only equal contents have equal bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self.kind {
            Kind::Empty => Vec::new(),
            Kind::Text => format!("{self:?}").into_bytes(),
            _ => format!("\0\0\0\x14ftypisom{self:?}").into_bytes(),
        }
    }

    /// The size that S3 reports, in bytes.
    pub(super) fn size(&self) -> u64 {
        if self.kind == Kind::TooLarge { 11 << 30 } else { self.bytes().len() as u64 }
    }
}

/// The faces that one job has found. Another job for the same content finds others, as after a change of Rekognition's model,
/// and fewer, so that a page of another job is seen in a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Faces {
    /// What the job has analysed.
    pub(super) content: Content,
    /// From the id of the job.
    salt: u64,
    /// The number of faces in all frames together.
    pub(super) count: usize,
}

/// The number of faces in a frame, repeated: half a second a frame.
const FRAMES: [usize; 4] = [1, 2, 3, 4];

impl Faces {
    /// The faces that a job finds after `earlier` other jobs have succeeded for the content.
    pub(super) fn found_by(job_id: &str, content: &Content, earlier: u32) -> Self {
        let salt = u64::from_str_radix(&job_id[..8], 16).expect("hexadecimal digits");
        let count = content.faces - content.faces * earlier.min(3) as usize / 4;
        Self { content: content.clone(), salt, count }
    }

    /// The time of a face in the video, in milliseconds.
    pub(super) fn timestamp(index: usize) -> usize {
        let (cycle, mut rest, mut frame) = (index / 10, index % 10, 0);
        while rest >= FRAMES[frame] {
            rest -= FRAMES[frame];
            frame += 1;
        }
        (cycle * FRAMES.len() + frame) * 500
    }

    /// The place of a face in its frame: the same number is the same place in every frame.
    pub(super) fn place(index: usize) -> usize {
        let mut place = index % 10;
        for faces in FRAMES {
            match place.checked_sub(faces) {
                Some(rest) => place = rest,
                None => break,
            }
        }
        place
    }

    /// A face exactly as Rekognition writes it: an element of `Faces`.
    pub(super) fn face(&self, index: usize) -> String {
        let (timestamp, confidence) = (Self::timestamp(index), self.ten_thousandths(index));
        let left = 2 * Self::place(index) + 1;
        let place = format!("{{\"Width\":0.05,\"Height\":0.1,\"Left\":0.{left},\"Top\":0.4}}");
        format!("{{\"Timestamp\":{timestamp},\"Face\":{{\"BoundingBox\":{place},\"Confidence\":99.{confidence:04}}}}}")
    }

    /// The confidence in a face: the ten-thousandths above 99 percent.
    pub(super) fn ten_thousandths(&self, index: usize) -> u64 {
        (self.content.id + self.salt + index as u64) * 7919 % 10_000
    }

    /// Faces as JSON Lines, as the pages store them.
    pub(super) fn lines(&self, indices: std::ops::Range<usize>) -> String {
        indices.map(|index| self.face(index) + "\n").collect()
    }

    /// The duration of the video in milliseconds.
    pub(super) fn duration_ms(&self) -> usize {
        self.count.checked_sub(1).map_or(0, |last| Self::timestamp(last) + 500)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_finds_other_faces() {
        let content = Content { id: 1, kind: Kind::Video, faces: 20, job_ms: 1, failures: 0 };
        let (first, second) = (Faces::found_by("00000001", &content, 0), Faces::found_by("00000002", &content, 1));
        assert_eq!((first.count, second.count), (20, 15));
        assert_ne!(first.face(0), second.face(0));
        let timestamps: Vec<_> = (0..11).map(Faces::timestamp).collect();
        assert_eq!(timestamps, [0, 500, 500, 1000, 1000, 1000, 1500, 1500, 1500, 1500, 2000]);
        assert_eq!((0..11).map(Faces::place).collect::<Vec<_>>(), [0, 0, 1, 0, 1, 2, 0, 1, 2, 3, 0]);
    }
}

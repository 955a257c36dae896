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
    /// A video of more than 6 hours.
    TooLong,
    /// A video of more than 10 GB.
    TooLarge,
    /// A video that Rekognition is not allowed to read.
    Forbidden,
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
            Self::UnknownCodec => &["JobFailed"],
            Self::TooLong | Self::TooLarge => &["VideoTooLarge"],
            Self::Forbidden => &["VideoUnreadable"],
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

    /// A face exactly as Rekognition writes it: an element of `Faces`.
    pub(super) fn face(&self, index: usize) -> String {
        let (timestamp, confidence) = (index / 3 * 500, (self.id + index as u64) * 7919 % 10_000);
        format!("{{\"Timestamp\":{timestamp},\"Face\":{{\"Confidence\":99.{confidence:04}}}}}")
    }

    /// All faces as JSON Lines, as the pages store them.
    pub(super) fn lines(&self) -> String {
        (0..self.faces).map(|index| self.face(index) + "\n").collect()
    }
}

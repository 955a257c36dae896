//! What is in an uploaded object.

use crate::clock::Ms;

/// The content of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Equal for identical contents alone.
    pub id: u64,
    /// What it is.
    pub kind: Kind,
    /// Faces in all frames together.
    pub faces: usize,
    /// How long Rekognition takes.
    pub job_ms: Ms,
    /// How many jobs for the key fail before one succeeds.
    pub failures: u32,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A video.
    Video,
    /// A video in a codec that Rekognition does not know.
    UnknownCodec,
    /// A video of more than 6 hours.
    TooLong,
    /// A video of more than 10 GB.
    TooLarge,
    /// A video that Rekognition has no right to read.
    Forbidden,
    /// A text.
    Text,
    /// Nothing.
    Empty,
}

impl Kind {
    /// The error names with which a video of this kind may fail for good; none for a good video.
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
    /// The object's bytes: equal for equal contents alone.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self.kind {
            Kind::Empty => Vec::new(),
            Kind::Text => format!("{self:?}").into_bytes(),
            _ => format!("\0\0\0\x14ftypisom{self:?}").into_bytes(),
        }
    }

    /// The size that S3 tells.
    pub(super) fn size(&self) -> u64 {
        if self.kind == Kind::TooLarge { 11 << 30 } else { self.bytes().len() as u64 }
    }

    /// A face as Rekognition writes it: an element of `Faces`, to the letter.
    pub(super) fn face(&self, index: usize) -> String {
        let (timestamp, confidence) = (index / 3 * 500, (self.id + index as u64) * 7919 % 10_000);
        format!("{{\"Timestamp\":{timestamp},\"Face\":{{\"Confidence\":99.{confidence:04}}}}}")
    }

    /// All faces as the pages' lines.
    pub(super) fn lines(&self) -> String {
        (0..self.faces).map(|index| self.face(index) + "\n").collect()
    }
}

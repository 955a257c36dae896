//! The videos that are analysed. They are embedded in the command, because a command that `cargo install` has installed has no
//! clone beside it, and because they add only 1.3 MB to it.

use std::time::Duration;

/// The sample clip: one to three known faces in 12 seconds.
pub(super) const SAMPLE: Clip = Clip {
    bytes: include_bytes!("../../../../../tests/fixtures/sample-clip/sample.mp4"),
    duration: Duration::from_secs(12),
};

/// The boxes of the faces in the sample clip.
pub(super) const TRUTH: &str = include_str!("../../../../../tests/fixtures/sample-clip/truth.json");

/// A short clip without faces, for an analysis whose result does not matter.
pub(super) const SHORT: Clip = Clip {
    bytes: include_bytes!("../../../../../tests/fixtures/videos/no-faces.mp4"),
    duration: Duration::from_secs(2),
};

/// A short clip in HEVC, a codec that is not among those that Rekognition supports
/// (<https://docs.aws.amazon.com/rekognition/latest/dg/video.html>).
pub(super) const HEVC: Clip =
    Clip { bytes: include_bytes!("../../../../../tests/fixtures/videos/hevc.mp4"), duration: Duration::from_secs(1) };

/// An embedded video.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clip {
    /// The MP4 file.
    pub bytes: &'static [u8],
    /// Its length.
    pub duration: Duration,
}

/// The sample clip with a header that asks players to turn the picture clockwise by 90 degrees, as phones write it. The
/// pictures are unchanged.
pub(super) fn turned_sample() -> Vec<u8> {
    let mut file = SAMPLE.bytes.to_vec();
    let header = find(&file, &[*b"moov", *b"trak", *b"tkhd"]).expect("a test finds the track header");
    // ISO/IEC 14496-12, section 8.3.2: the matrix follows 40 bytes of a header of version 0.
    let matrix = header + 40;
    for (index, value) in turned_matrix().into_iter().enumerate() {
        let at = matrix + 4 * index;
        file[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    file
}

/// The matrix of a rotation: (x, y) of the stored picture is displayed at (height - y, x). The numbers are 16.16 fixed-point,
/// those of the last column 2.30.
fn turned_matrix() -> [i32; 9] {
    const ONE: i32 = 1 << 16;
    const HEIGHT: i32 = 720;
    [0, ONE, 0, -ONE, 0, 0, HEIGHT * ONE, 0, 1 << 30]
}

/// The offset of the content of the first box at `path`.
fn find(file: &[u8], path: &[[u8; 4]]) -> Option<usize> {
    let (mut start, mut end) = (0, file.len());
    for kind in path {
        loop {
            let header = file.get(start..end)?.get(..8)?;
            let size = usize::try_from(u32::from_be_bytes(header[..4].try_into().ok()?)).ok()?;
            if size < 8 {
                return None;
            }
            if header[4..] == *kind {
                (start, end) = (start + 8, end.min(start + size));
                break;
            }
            start += size;
        }
    }
    Some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_durations_are_those_of_the_files() {
        for clip in [SAMPLE, SHORT, HEVC] {
            // The movie header of version 0: timescale and duration follow 12 bytes.
            let header = find(clip.bytes, &[*b"moov", *b"mvhd"]).unwrap();
            let number = |at: usize| u32::from_be_bytes(clip.bytes[header + at..][..4].try_into().unwrap());
            assert_eq!(Duration::from_millis((number(16) * 1000 / number(12)).into()), clip.duration);
        }
    }

    #[test]
    fn only_the_matrix_of_the_turned_sample_differs() {
        let turned = turned_sample();
        let header = find(SAMPLE.bytes, &[*b"moov", *b"trak", *b"tkhd"]).unwrap();
        let differences: Vec<_> = (0..turned.len()).filter(|&at| turned[at] != SAMPLE.bytes[at]).collect();
        assert!(!differences.is_empty() && differences.iter().all(|at| (header + 40..header + 76).contains(at)));
        // The width and the height of the picture follow the matrix.
        assert_eq!(&turned[header + 76..header + 84], [5, 0, 0, 0, 2, 208, 0, 0]);
    }
}

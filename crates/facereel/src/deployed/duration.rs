//! The length of a video, read from its header, so that the price of an analysis is known before it is billed.

use std::time::Duration;

/// The number of bytes of one read: enough for a movie header and the small boxes before it.
pub(super) const WINDOW: u64 = 512;

/// The maximum number of boxes to inspect. The movie header usually follows a few boxes.
const MAX_BOXES: usize = 32;

/// Follows the boxes of an MP4 or MOV file (ISO/IEC 14496-12) to its movie header. `read` returns [`WINDOW`] bytes
/// from an offset, or fewer at the end of the file.
///
/// `None`, if the file has no such header, or a header without a duration, as in a fragmented file.
pub(super) async fn duration(read: impl AsyncFn(u64) -> Option<Vec<u8>>) -> Option<Duration> {
    let (mut window, mut start) = (read(0).await?, 0);
    let mut offset: u64 = 0;
    for _ in 0..MAX_BOXES {
        let at = usize::try_from(offset - start).ok()?;
        let seen = match window.get(at..).and_then(BoxHeader::of) {
            Some(header) if !header.is(*b"mvhd") || window.len() >= at + MVHD_BYTES => Some((header, at)),
            _ if offset > start => {
                (window, start) = (read(offset).await?, offset);
                BoxHeader::of(&window).map(|header| (header, 0))
            }
            _ => None,
        };
        let (header, at) = seen?;
        if header.is(*b"mvhd") {
            return movie_header(&window[at + header.header..]);
        }
        // The children of `moov` follow its header. All other boxes are skipped.
        let step = if header.is(*b"moov") { header.header as u64 } else { header.bytes? };
        offset = offset.checked_add(step)?;
        if offset - start >= window.len() as u64 {
            (window, start) = (read(offset).await?, offset);
        }
    }
    None
}

/// The number of bytes from the start of the longest form of a movie header to the end of its duration.
const MVHD_BYTES: usize = 8 + 32;

/// The header of a box.
struct BoxHeader {
    kind: [u8; 4],
    /// The size of the whole box in bytes. `None`, if the box extends to the end of the file.
    bytes: Option<u64>,
    /// The size of the header in bytes.
    header: usize,
}

impl BoxHeader {
    fn of(bytes: &[u8]) -> Option<Self> {
        let kind = bytes.get(4..8)?.try_into().ok()?;
        let (size, header) = match u32_at(bytes, 0)? {
            0 => (None, 8),
            1 => (Some(u64_at(bytes, 8)?), 16),
            size => (Some(u64::from(size)), 8),
        };
        // A box that is shorter than its header is invalid.
        size.is_none_or(|size| size >= header as u64).then_some(Self { kind, bytes: size, header })
    }

    fn is(&self, kind: [u8; 4]) -> bool {
        self.kind == kind
    }
}

/// Timescale and duration follow two dates, which have the same width as the duration.
fn movie_header(body: &[u8]) -> Option<Duration> {
    let (timescale, ticks) = match body.first()? {
        0 => (u32_at(body, 12)?, u32_at(body, 16).filter(|ticks| *ticks != u32::MAX)?.into()),
        1 => (u32_at(body, 20)?, u64_at(body, 24).filter(|ticks| *ticks != u64::MAX)?),
        _ => return None,
    };
    let millis = u128::from(ticks) * 1000 / u128::from(timescale).max(1);
    u64::try_from(millis).ok().filter(|millis| *millis > 0 && timescale > 0).map(Duration::from_millis)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The duration of a file, and the number of reads.
    async fn of(file: &[u8]) -> (Option<Duration>, usize) {
        let reads = Cell::new(0);
        let duration = duration(async |offset| {
            reads.set(reads.get() + 1);
            let start = usize::try_from(offset).unwrap();
            let end = file.len().min(start.saturating_add(usize::try_from(WINDOW).unwrap()));
            file.get(start..end).filter(|bytes| !bytes.is_empty()).map(<[u8]>::to_vec)
        })
        .await;
        (duration, reads.get())
    }

    fn fixture(name: &str) -> Vec<u8> {
        let path = format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[tokio::test]
    async fn the_length_of_a_video_is_read_with_few_reads() {
        assert_eq!(of(&fixture("sample-clip/sample.mp4")).await.0, Some(Duration::from_secs(12)));
        for name in ["index-first.mp4", "b-frames.mp4", "late-start.mp4", "with-pcm.mov", "hevc.mp4"] {
            let (duration, reads) = of(&fixture(&format!("videos/{name}"))).await;
            let duration = duration.unwrap_or_else(|| panic!("{name} has no duration"));
            assert!((Duration::from_millis(100)..Duration::from_mins(1)).contains(&duration), "{name}: {duration:?}");
            assert!(reads <= 3, "{name}: {reads} reads");
        }
    }

    #[tokio::test]
    async fn a_file_without_a_movie_header_has_no_length() {
        for name in ["empty.mp4", "text.mp4", "truncated-no-index.mp4"] {
            assert_eq!(of(&fixture(&format!("videos/{name}"))).await.0, None, "{name}");
        }
        // A box that is shorter than its header, one that extends beyond the file, and one of the maximum length.
        for header in [[0, 0, 0, 4], [0x7f, 0, 0, 0], [0, 0, 0, 1]] {
            let file = [&header[..], b"free", &[0xff; 8]].concat();
            assert_eq!(of(&file).await.0, None, "{header:?}");
        }
    }

    #[tokio::test]
    async fn truncated_videos_cause_no_panic() {
        let file = fixture("videos/index-first.mp4");
        for length in 0..file.len().min(2000) {
            of(&file[..length]).await;
        }
    }

    #[tokio::test]
    async fn a_header_of_64_bits_at_the_edge_of_a_window_is_read() {
        let mut mvhd = [&120_u32.to_be_bytes()[..], b"mvhd", &[1, 0, 0, 0], &[0; 16]].concat();
        mvhd.extend(90_000_u32.to_be_bytes());
        mvhd.extend((90_000_u64 * 7200).to_be_bytes());
        mvhd.resize(120, 0);
        for padding in 400..520_u32 {
            let free = [&padding.to_be_bytes()[..], b"free", &vec![0; padding as usize - 8]].concat();
            let file = [free, [&128_u32.to_be_bytes()[..], b"moov"].concat(), mvhd.clone()].concat();
            assert_eq!(of(&file).await.0, Some(Duration::from_hours(2)), "{padding}");
        }
    }
}

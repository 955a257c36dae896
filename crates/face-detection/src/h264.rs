//! Decodes H.264 frame by frame: only the sampled frames and the frames that they depend on.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, available_parallelism};

use rusty_h264_decoder::{DecodeError, Decoder};

use crate::AnalyzeError;
use crate::container::{Sample, SampleReader};
use crate::frame::Frame;

/// 4096x2304, the largest picture of level 5.2. With a larger one, a damaged header could require gigabytes of reference frames.
const MAX_MACROBLOCKS: u64 = 36_864;

/// Properties of the pictures in the sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pictures {
    /// Luma is 0 to 255, and not 16 to 235.
    pub(super) full_range: bool,
}

/// The `avcC` record: the parameter sets, and the number of bytes of the length before each NAL unit.
pub(super) struct Config {
    length_size: usize,
    parameter_sets: Vec<Vec<u8>>,
    pub(super) pictures: Pictures,
}

impl Config {
    /// Parses the record.
    ///
    /// # Errors
    /// When the record is damaged, or the decoder would refuse the video later.
    pub(super) fn parse(record: &[u8]) -> Result<Self, AnalyzeError> {
        let damaged = || AnalyzeError::NotReadable("its H.264 parameter sets are damaged".to_owned());
        let mut rest = record.get(5..).ok_or_else(damaged)?;
        let length_size = usize::from(record[4] & 3) + 1;
        let mut parameter_sets = Vec::new();
        for count_mask in [0x1f, 0xff] {
            let (count, after) = rest.split_first().ok_or_else(damaged)?;
            rest = after;
            for _ in 0..count & count_mask {
                let (size, after) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
                let (set, after) =
                    after.split_at_checked(usize::from(u16::from_be_bytes(*size))).ok_or_else(damaged)?;
                parameter_sets.push(set.to_vec());
                rest = after;
            }
        }
        let sps = parameter_sets.iter().find(|set| nal_type(set) == SPS).ok_or_else(|| {
            // avc3: the parameter sets are only in the frames.
            AnalyzeError::UnsupportedCodec("H.264 without parameter sets in the file's index".to_owned())
        })?;
        let pictures = parse_sps(&unescape(sps))?;
        Ok(Self { length_size, parameter_sets, pictures })
    }

    /// The NAL units of one coded frame.
    fn units<'a>(&self, coded: &'a [u8]) -> Result<Vec<&'a [u8]>, DecodeError> {
        let mut units = Vec::new();
        let mut rest = coded;
        while !rest.is_empty() {
            let (length, after) = rest.split_at_checked(self.length_size).ok_or(DecodeError::Truncated)?;
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let (unit, after) = after.split_at_checked(length).ok_or(DecodeError::Truncated)?;
            units.push(unit);
            rest = after;
        }
        Ok(units)
    }
}

const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SPS: u8 = 7;

fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |header| header & 0x1f)
}

fn is_slice(unit: &[u8]) -> bool {
    // 2 to 4 are data partitions, which do not occur in MP4 files in practice. The decoder ignores them; a frame with them must
    // not count as decoded.
    (SLICE..=IDR_SLICE).contains(&nal_type(unit))
}

/// The maximum number of threads that decode, each with the reference frames of its part of the video: about 40 MB at 1080p.
const MAX_DECODING: usize = 4;

/// Decodes the frames in `wanted` (by index, in decoding order) and passes each to `sink`, which returns whether to continue. Several
/// threads decode, each a part of the video, so that frames come in no particular order.
pub(super) fn decode(
    reader: &SampleReader,
    samples: &[Sample],
    config: &Config,
    wanted: &[usize],
    sink: &(dyn Fn(usize, Frame) -> bool + Sync),
) -> Result<(), AnalyzeError> {
    let parts = parts(reader, config, samples, wanted)?;
    let next = AtomicUsize::new(0);
    let decode_parts = || {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = decode_part(reader, samples, config, part, sink);
            if !matches!(outcome, Ok(true)) {
                // The other threads take no further part.
                next.store(parts.len(), Ordering::Relaxed);
                return outcome.map(drop);
            }
        }
        Ok(())
    };
    let threads = available_parallelism().map_or(1, NonZero::get).min(MAX_DECODING).min(parts.len());
    thread::scope(|scope| {
        let decoding: Vec<_> = (0..threads).map(|_| scope.spawn(decode_parts)).collect();
        decoding.into_iter().try_for_each(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// A part of the video that refers to no frame of another part.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// The index of its first frame.
    start: usize,
    /// The indices of its frames to pass on, in decoding order: at least one.
    wanted: Vec<usize>,
}

/// Divides the video at IDR frames: a frame after one does not refer to a frame before it. What is between a part's last wanted frame and
/// the next part is not decoded.
fn parts(
    reader: &SampleReader,
    config: &Config,
    samples: &[Sample],
    wanted: &[usize],
) -> Result<Vec<Part>, AnalyzeError> {
    let mut parts: Vec<Part> = Vec::new();
    let mut next = 0;
    for &target in wanted {
        match (last_idr(reader, config, samples, next, target)?, parts.last_mut()) {
            (None, Some(part)) => part.wanted.push(target),
            (start, _) => parts.push(Part { start: start.unwrap_or(0), wanted: vec![target] }),
        }
        next = target + 1;
    }
    Ok(parts)
}

/// The last IDR frame in `from..=to`, at which decoding can start.
fn last_idr(
    reader: &SampleReader,
    config: &Config,
    samples: &[Sample],
    from: usize,
    to: usize,
) -> Result<Option<usize>, AnalyzeError> {
    let Some(restart) = (from..=to).rev().find(|index| samples[*index].sync) else {
        return Ok(None);
    };
    // In open groups of pictures, frames after a sync frame of the index can refer to earlier frames.
    let mut coded = Vec::new();
    reader.read(samples[restart], &mut coded)?;
    let units = config.units(&coded).unwrap_or_default();
    Ok(units.iter().any(|unit| nal_type(unit) == IDR_SLICE).then_some(restart))
}

/// Decodes a part up to its last wanted frame, and returns whether to continue.
fn decode_part(
    reader: &SampleReader,
    samples: &[Sample],
    config: &Config,
    part: &Part,
    sink: &(dyn Fn(usize, Frame) -> bool + Sync),
) -> Result<bool, AnalyzeError> {
    let mut decoder = Decoder::new();
    let mut coded = Vec::new();
    let mut annex_b = Vec::new();
    append_units(&mut annex_b, config.parameter_sets.iter().map(Vec::as_slice));
    guarded(&mut decoder, &annex_b).map_err(|error| refused(error, 0))?;
    let mut next = part.start;
    for &target in &part.wanted {
        for (index, &sample) in samples.iter().enumerate().take(target + 1).skip(next) {
            let fail = |error| refused(error, sample.shown_at.unwrap_or_default());
            reader.read(sample, &mut coded)?;
            let units = config.units(&coded).map_err(fail)?;
            let has_picture = units.iter().any(|unit| is_slice(unit));
            // nal_ref_idc: whether any other frame refers to this one.
            let referred_to = units.iter().any(|unit| is_slice(unit) && unit[0] & 0x60 != 0);
            if index != target && has_picture && !referred_to {
                continue;
            }
            annex_b.clear();
            append_units(&mut annex_b, units.into_iter());
            let picture = guarded(&mut decoder, &annex_b).map_err(fail)?;
            if has_picture && picture.is_none() {
                return Err(fail(DecodeError::Truncated));
            }
            if let Some(picture) = picture.filter(|_| index == target)
                && !sink(index, picture)
            {
                return Ok(false);
            }
        }
        next = target + 1;
    }
    Ok(true)
}

fn append_units<'a>(annex_b: &mut Vec<u8>, units: impl Iterator<Item = &'a [u8]>) {
    for unit in units {
        annex_b.extend_from_slice(&[0, 0, 0, 1]);
        annex_b.extend_from_slice(unit);
    }
}

/// Decodes one frame. The decoder is documented not to panic on damaged input; if it does, only this analysis fails.
fn guarded(decoder: &mut Decoder, annex_b: &[u8]) -> Result<Option<Frame>, DecodeError> {
    let outcome = catch_unwind(AssertUnwindSafe(|| decoder.decode(annex_b)));
    let picture = outcome.unwrap_or(Err(DecodeError::Internal("the decoder panicked")))?;
    Ok(picture.map(|picture| Frame::new(picture.width, picture.height, [picture.y, picture.u, picture.v])))
}

/// The features that the decoder lacks, as the beginnings of its messages. Everything else that it calls unsupported (values that
/// H.264 forbids, references to missing frames) is caused by damage.
const LACKING: [&str; 8] = [
    "SP/SI slices",
    "bit depth",
    "explicit B weighted prediction",
    "frame too large",
    "interlace",
    "non-4:2:0 chroma",
    "slice groups",
    "transform-bypass",
];

#[allow(clippy::needless_pass_by_value)] // for map_err
fn refused(error: DecodeError, at_millis: i64) -> AnalyzeError {
    match error {
        DecodeError::Unsupported(tool) if LACKING.iter().any(|lacking| tool.starts_with(lacking)) => {
            AnalyzeError::UnsupportedCodec(format!("H.264 with {tool}"))
        }
        error => AnalyzeError::Failed { at_millis, reason: format!("a frame is damaged ({error})") },
    }
}

/// Removes the emulation prevention bytes of a NAL unit.
fn unescape(unit: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

/// Parses the sequence parameter set up to the flag for full range.
///
/// # Errors
/// [`AnalyzeError::UnsupportedCodec`], with the feature that the decoder lacks.
fn parse_sps(unit: &[u8]) -> Result<Pictures, AnalyzeError> {
    let mut bits = Bits { data: unit, position: 8 };
    let profile = bits.read(8);
    bits.read(16);
    bits.golomb();
    if matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244) {
        skip_high_profile(&mut bits)?;
    }
    bits.golomb();
    skip_picture_order(&mut bits);
    bits.golomb();
    bits.read(1);
    let (columns, rows) = (u64::from(bits.golomb()) + 1, u64::from(bits.golomb()) + 1);
    let frames_only = bits.read(1) == 1;
    if columns * rows * if frames_only { 1 } else { 2 } > MAX_MACROBLOCKS {
        return unsupported("pictures larger than level 5.2 has");
    }
    if !frames_only && bits.read(1) == 1 {
        return unsupported("interlaced macroblocks");
    }
    bits.read(1);
    if bits.read(1) == 1 {
        let [left, _, top, _] = [(); 4].map(|()| bits.golomb());
        if (left, top) != (0, 0) {
            return unsupported("the picture cropped at the left or the top");
        }
    }
    Ok(Pictures { full_range: bits.read(1) == 1 && read_full_range(&mut bits) })
}

/// Skips the fields that only high profiles have.
///
/// # Errors
/// When the chroma format or the bit depth is not supported.
fn skip_high_profile(bits: &mut Bits<'_>) -> Result<(), AnalyzeError> {
    if bits.golomb() != 1 {
        return unsupported("a chroma format other than 4:2:0");
    }
    if (bits.golomb(), bits.golomb()) != (0, 0) {
        return unsupported("more than 8 bits a sample");
    }
    bits.read(1);
    if bits.read(1) == 1 {
        for list in 0..8 {
            if bits.read(1) == 1 {
                bits.skip_scaling_list(if list < 6 { 16 } else { 64 });
            }
        }
    }
    Ok(())
}

/// Skips the type of the picture order count and its fields.
fn skip_picture_order(bits: &mut Bits<'_>) {
    match bits.golomb() {
        0 => _ = bits.golomb(),
        1 => {
            bits.read(1);
            bits.golomb();
            bits.golomb();
            for _ in 0..bits.golomb().min(255) {
                bits.golomb();
            }
        }
        _ => {}
    }
}

/// Reads `vui_parameters` up to the flag for full range: aspect ratio, overscan, then the video signal type.
fn read_full_range(bits: &mut Bits<'_>) -> bool {
    const EXTENDED_ASPECT: u32 = 255;
    if bits.read(1) == 1 && bits.read(8) == EXTENDED_ASPECT {
        bits.read(32);
    }
    if bits.read(1) == 1 {
        bits.read(1);
    }
    if bits.read(1) == 0 {
        return false;
    }
    bits.read(3);
    bits.read(1) == 1
}

fn unsupported<T>(what: &str) -> Result<T, AnalyzeError> {
    Err(AnalyzeError::UnsupportedCodec(format!("H.264 with {what}")))
}

/// Reads bits, most significant first; after the end it returns zeros.
struct Bits<'a> {
    data: &'a [u8],
    position: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: u32) -> u32 {
        (0..count).fold(0, |value, _| {
            let byte = self.data.get(self.position / 8).copied().unwrap_or_default();
            let bit = byte >> (7 - self.position % 8) & 1;
            self.position += 1;
            value << 1 | u32::from(bit)
        })
    }

    /// Reads an unsigned Exp-Golomb code.
    fn golomb(&mut self) -> u32 {
        let zeros = (0..31).take_while(|_| self.read(1) == 0).count();
        let zeros = u32::try_from(zeros).unwrap_or_default();
        (1_u32 << zeros) - 1 + self.read(zeros)
    }

    fn skip_scaling_list(&mut self, size: usize) {
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..size {
            if next != 0 {
                let code = i64::from(self.golomb());
                let delta = if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 };
                next = (last + delta).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_read() {
        // 1, 010, 011, 00100, 00101 and padding.
        let mut bits = Bits { data: &[0b1010_0110, 0b0100_0010, 0b1000_0000], position: 0 };
        assert_eq!([(); 5].map(|()| bits.golomb()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn bits_after_the_end_are_zeros() {
        let mut bits = Bits { data: &[0xff], position: 4 };
        assert_eq!(bits.read(8), 0xf0);
        // A code of endless zeros ends.
        bits.golomb();
    }

    #[test]
    fn escape_bytes_are_removed() {
        assert_eq!(unescape(&[1, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [1, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_frame_with_an_incomplete_unit_is_refused() {
        let config = Config { length_size: 2, parameter_sets: Vec::new(), pictures: Pictures { full_range: false } };
        assert_eq!(config.units(&[0, 2, 7, 8, 0, 1, 9]).unwrap(), [&[7, 8][..], &[9]]);
        assert_eq!(config.units(&[0, 3, 7, 8]), Err(DecodeError::Truncated));
        assert_eq!(config.units(&[0]), Err(DecodeError::Truncated));
    }

    #[test]
    fn damage_is_not_reported_as_a_missing_feature() {
        let refused = |what| refused(DecodeError::Unsupported(what), 40);
        assert!(matches!(refused("explicit B weighted prediction"), AnalyzeError::UnsupportedCodec(_)));
        assert!(matches!(refused("slice continues a missing picture"), AnalyzeError::Failed { at_millis: 40, .. }));
    }

    #[test]
    fn a_picture_that_would_need_gigabytes_is_refused() {
        // Baseline, 65,536 macroblocks wide and high.
        let mut sps = vec![0x67, 66, 0, 51];
        let mut bits =
            String::from("1" /* id */) + "1" /* frame number */ + "011" /* order by frame number */ + "010" + "0";
        let side = format!("{:015}1{:015}", 0, 0) + "0";
        bits += &side;
        bits += &side;
        bits += "1";
        sps.extend(bits.as_bytes().chunks(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | (bit - b'0'))));
        assert!(matches!(parse_sps(&sps), Err(AnalyzeError::UnsupportedCodec(what)) if what.contains("larger")));
    }
}

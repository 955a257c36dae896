//! The index of an MP4 or MOV file: its video track and the position of every coded frame.
//!
//! Only the index is held in memory; frames are read one by one. Every count and size is checked against the file before it is
//! used, so a damaged file causes neither a large allocation nor a panic.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::AnalyzeError;

/// Six hours at 240 frames a second are 5.2 million frames: an index with more is damaged.
const MAX_SAMPLES: usize = 8_000_000;
/// The index of six hours at 60 frames a second takes 40 MB.
const MAX_INDEX_BYTES: u64 = 512 << 20;
/// Larger than a coded frame of any H.264 level.
const MAX_SAMPLE_BYTES: u32 = 64 << 20;

/// A parsed file.
#[derive(Debug)]
pub(super) struct Movie {
    /// Reads the frames.
    pub(super) reader: SampleReader,
    /// The first video track.
    pub(super) track: VideoTrack,
}

/// The open file.
#[derive(Debug)]
pub(super) struct SampleReader(File);

/// What a decoder needs to know about the video track.
#[derive(Debug, Clone)]
pub(super) struct VideoTrack {
    /// The sample entry's four letters, for example `avc1`.
    pub(super) codec: [u8; 4],
    /// Pixels, before rotation.
    pub(super) width: usize,
    /// Pixels, before rotation.
    pub(super) height: usize,
    /// The `avcC` record, for H.264.
    pub(super) avc_config: Option<Vec<u8>>,
    /// The `colr` box's full-range flag, where it has one.
    pub(super) full_range: Option<bool>,
    /// The rotation of the picture for display.
    pub(super) rotation: Rotation,
    /// Milliseconds from the start of the video, which may begin with a pause, to the end of its last frame.
    pub(super) duration_millis: i64,
    /// Frames a second from the first frame shown to the end of the last.
    pub(super) frame_rate: f32,
    /// In decoding order.
    pub(super) samples: Vec<Sample>,
    /// Whether all samples have the same sample description.
    pub(super) one_description: bool,
}

/// One coded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Bytes from the start of the file.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) size: u32,
    /// Whether decoding can start here, according to the index.
    pub(super) sync: bool,
    /// When it is shown, in milliseconds; `None` if the edit list omits it.
    pub(super) shown_at: Option<i64>,
}

/// Clockwise rotation of the picture for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// The picture is shown as it is coded.
    #[default]
    None,
    /// By 90 degrees.
    Quarter,
    /// By 180 degrees.
    Half,
    /// By 270 degrees.
    ThreeQuarter,
}

impl Rotation {
    /// Width and height after the rotation.
    #[must_use]
    pub fn turned(self, width: usize, height: usize) -> (usize, usize) {
        match self {
            Self::None | Self::Half => (width, height),
            Self::Quarter | Self::ThreeQuarter => (height, width),
        }
    }
}

impl Movie {
    /// Reads the index of a file.
    pub(super) fn open(path: &Path) -> Result<Self, AnalyzeError> {
        let mut file = File::open(path).map_err(|error| unreadable(format!("it cannot be opened: {error}")))?;
        let length = file.metadata().map_err(io)?.len();
        if length == 0 {
            return Err(unreadable("it is empty"));
        }
        let mut index = None;
        let mut fragments = Vec::new();
        let mut position = 0;
        while length - position >= 8 {
            let header = match TopBox::read(&mut file, position, length) {
                // Padding after a complete file is ignored; that all frames are in the file is checked below.
                Err(_) if index.is_some() && fragments.is_empty() => break,
                header => header?,
            };
            match &header.kind {
                b"moov" => index = Some(header.payload(&mut file)?),
                b"moof" => fragments.push((position, header.payload(&mut file)?)),
                _ => {}
            }
            position = header.end;
        }
        let index = index.ok_or_else(|| {
            unreadable("its index (the moov box) is missing: the recording or the upload is incomplete")
        })?;
        let mut index = Index::parse(&index)?;
        for (start, fragment) in fragments {
            index.add_fragment(start, &fragment)?;
        }
        let track = index.finish(length)?;
        Ok(Self { reader: SampleReader(file), track })
    }
}

impl SampleReader {
    /// Reads one coded frame into `buffer`. Several threads can read at the same time.
    pub(super) fn read(&self, sample: Sample, buffer: &mut Vec<u8>) -> Result<(), AnalyzeError> {
        buffer.resize(sample.size as usize, 0);
        self.0.read_exact_at(buffer, sample.offset).map_err(|error| AnalyzeError::Failed {
            at_millis: sample.shown_at.unwrap_or_default(),
            reason: format!("the file can no longer be read: {error}"),
        })
    }
}

fn unreadable(reason: impl Into<String>) -> AnalyzeError {
    AnalyzeError::NotReadable(reason.into())
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn io(error: std::io::Error) -> AnalyzeError {
    unreadable(format!("reading it failed: {error}"))
}

fn damaged(what: &str) -> AnalyzeError {
    unreadable(format!("its index is damaged ({what})"))
}

/// A box at the top level of the file. Its payload is not in memory, unlike that of all other boxes.
struct TopBox {
    kind: [u8; 4],
    payload: u64,
    end: u64,
}

impl TopBox {
    fn read(file: &mut File, position: u64, length: u64) -> Result<Self, AnalyzeError> {
        let mut head = [0; 16];
        let available = usize::try_from((length - position).min(16)).unwrap_or(16);
        file.seek(SeekFrom::Start(position)).map_err(io)?;
        file.read_exact(&mut head[..available]).map_err(io)?;
        let kind: [u8; 4] = take(&head, 4)?;
        if !kind.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == 0xa9) {
            return Err(unreadable(if position == 0 {
                "it does not begin like one"
            } else {
                "it contains bytes outside of all boxes"
            }));
        }
        let (size, header) = match u32::from_be_bytes(take(&head, 0)?) {
            0 => (length - position, 8),
            1 => (u64::from_be_bytes(take(&head, 8)?), 16),
            size => (u64::from(size), 8),
        };
        let end = position.checked_add(size).filter(|_| size >= header);
        match end {
            Some(end) if end <= length => Ok(Self { kind, payload: position + header, end }),
            // A text does not start with the name of a known box; an incomplete recording does.
            _ if position == 0 && !matches!(&kind, b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip") => {
                Err(unreadable("it does not begin like one"))
            }
            _ => Err(unreadable(format!(
                "it is incomplete: its {} box needs {size} bytes, and the file has {}",
                String::from_utf8_lossy(&kind),
                length - position
            ))),
        }
    }

    fn payload(&self, file: &mut File) -> Result<Vec<u8>, AnalyzeError> {
        let size = self.end - self.payload;
        if size > MAX_INDEX_BYTES {
            return Err(damaged("it is implausibly large"));
        }
        file.seek(SeekFrom::Start(self.payload)).map_err(io)?;
        let mut payload = Vec::new();
        file.take(size).read_to_end(&mut payload).map_err(io)?;
        Ok(payload)
    }
}

/// `N` bytes at `at`.
fn take<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], AnalyzeError> {
    at.checked_add(N)
        .and_then(|end| data.get(at..end))
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| damaged("a box is too short"))
}

fn u16_at(data: &[u8], at: usize) -> Result<u16, AnalyzeError> {
    take(data, at).map(u16::from_be_bytes)
}

fn u32_at(data: &[u8], at: usize) -> Result<u32, AnalyzeError> {
    take(data, at).map(u32::from_be_bytes)
}

fn u64_at(data: &[u8], at: usize) -> Result<u64, AnalyzeError> {
    take(data, at).map(u64::from_be_bytes)
}

/// The count before a table of entries of `entry` bytes each.
///
/// # Errors
/// When the data are too short for that number of entries.
fn count_at(data: &[u8], at: usize, entry: usize) -> Result<usize, AnalyzeError> {
    let count = u32_at(data, at)? as usize;
    if count > data.len().saturating_sub(at + 4) / entry {
        return Err(damaged("a table is shorter than its count of entries"));
    }
    Ok(count)
}

/// The boxes inside a box.
fn children(data: &[u8]) -> impl Iterator<Item = Result<([u8; 4], &[u8]), AnalyzeError>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        // QuickTime ends some lists with four zero bytes.
        if rest.len() < 8 {
            return None;
        }
        let child = first_child(rest);
        rest = match &child {
            Ok((_, _, after)) => after,
            Err(_) => &[],
        };
        Some(child.map(|(kind, payload, _)| (kind, payload)))
    })
}

type Child<'a> = ([u8; 4], &'a [u8], &'a [u8]);

fn first_child(data: &[u8]) -> Result<Child<'_>, AnalyzeError> {
    let kind = take(data, 4)?;
    let (size, header) = match u32_at(data, 0)? {
        0 => (data.len(), 8),
        1 => (usize::try_from(u64_at(data, 8)?).unwrap_or(usize::MAX), 16),
        size => (size as usize, 8),
    };
    if size < header || size > data.len() {
        return Err(damaged("a box is larger than the one around it"));
    }
    let (inner, after) = data.split_at(size);
    Ok((kind, &inner[header..], after))
}

fn child(data: &[u8], wanted: [u8; 4]) -> Result<Option<&[u8]>, AnalyzeError> {
    for found in children(data) {
        let (kind, payload) = found?;
        if kind == wanted {
            return Ok(Some(payload));
        }
    }
    Ok(None)
}

fn need(data: &[u8], wanted: [u8; 4]) -> Result<&[u8], AnalyzeError> {
    child(data, wanted)?.ok_or_else(|| damaged(&format!("no {} box", String::from_utf8_lossy(&wanted))))
}

/// A sample with its times in the units of the track.
struct RawSample {
    offset: u64,
    size: u32,
    sync: bool,
    composition: i64,
    duration: u32,
}

/// An interval of media time, and the time at which it is shown.
struct Edit {
    /// In the track's units.
    media: i64,
    /// In the track's units; `i64::MAX` is open-ended.
    length: i64,
    /// In the track's units.
    shown_at: i64,
}

/// The content of the codec's sample entry.
struct Description {
    codec: [u8; 4],
    width: usize,
    height: usize,
    avc_config: Option<Vec<u8>>,
    full_range: Option<bool>,
}

/// The video track while it is parsed.
struct Index {
    id: u32,
    timescale: u32,
    description: Description,
    rotation: Rotation,
    edits: Vec<Edit>,
    defaults: FragmentDefaults,
    one_description: bool,
    raw: Vec<RawSample>,
    /// The decoding time at which the next fragment starts.
    decoded_until: u64,
}

#[derive(Clone, Copy, Default)]
struct FragmentDefaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// `sample_is_non_sync_sample`
const NOT_SYNC: u32 = 0x1_0000;

impl Index {
    fn parse(moov: &[u8]) -> Result<Self, AnalyzeError> {
        let movie_timescale = {
            let header = need(moov, *b"mvhd")?;
            u32_at(header, if header.first() == Some(&1) { 20 } else { 12 })?
        };
        let mut chosen: Option<(bool, &[u8])> = None;
        for found in children(moov) {
            let (kind, trak) = found?;
            if kind != *b"trak" || !is_video(trak)? {
                continue;
            }
            // A cover picture is a "video" track as well: any other video track is preferred.
            let stills = matches!(&sample_entry(trak)?.0, b"png " | b"jpeg" | b"mjpa" | b"mjpg");
            if chosen.is_none_or(|(still, _)| still && !stills) {
                chosen = Some((stills, trak));
            }
        }
        let (_, trak) = chosen.ok_or(AnalyzeError::NoVideoTrack)?;
        Self::parse_track(moov, trak, movie_timescale)
    }

    fn parse_track(moov: &[u8], trak: &[u8], movie_timescale: u32) -> Result<Self, AnalyzeError> {
        let header = need(trak, *b"tkhd")?;
        let wide = header.first() == Some(&1);
        let id = u32_at(header, if wide { 20 } else { 12 })?;
        let rotation = rotation(header, if wide { 52 } else { 40 })?;
        let mdia = need(trak, *b"mdia")?;
        let media_header = need(mdia, *b"mdhd")?;
        let timescale = u32_at(media_header, if media_header.first() == Some(&1) { 20 } else { 12 })?;
        if timescale == 0 || movie_timescale == 0 {
            return Err(damaged("its timescale is 0"));
        }
        let table = need(need(mdia, *b"minf")?, *b"stbl")?;
        let (codec, entry, entries) = sample_entry(trak)?;
        let edits = match child(trak, *b"edts")?.map(|edts| child(edts, *b"elst")).transpose()?.flatten() {
            Some(list) => edits(list, movie_timescale, timescale)?,
            None => Vec::new(),
        };
        let mut defaults = FragmentDefaults::default();
        for found in children(child(moov, *b"mvex")?.unwrap_or_default()) {
            let (kind, trex) = found?;
            if kind == *b"trex" && u32_at(trex, 4)? == id {
                defaults =
                    FragmentDefaults { duration: u32_at(trex, 12)?, size: u32_at(trex, 16)?, flags: u32_at(trex, 20)? };
            }
        }
        let mut index = Self {
            id,
            timescale,
            description: describe(codec, entry)?,
            rotation,
            edits,
            defaults,
            one_description: entries == 1,
            raw: Vec::new(),
            decoded_until: 0,
        };
        index.add_table(table)?;
        Ok(index)
    }

    /// Adds the samples of the `stbl` box.
    fn add_table(&mut self, table: &[u8]) -> Result<(), AnalyzeError> {
        let sizes = need(table, *b"stsz")?;
        let fixed_size = u32_at(sizes, 4)?;
        let count = if fixed_size == 0 { count_at(sizes, 8, 4)? } else { u32_at(sizes, 8)? as usize };
        if count > MAX_SAMPLES {
            return Err(damaged("it lists more frames than six hours have"));
        }
        let mut durations = Runs::new(need(table, *b"stts")?, "stts")?;
        let mut offsets = child(table, *b"ctts")?.map(|ctts| Runs::new(ctts, "ctts")).transpose()?;
        let sync_table = child(table, *b"stss")?;
        let sync_count = sync_table.map_or(Ok(0), |stss| count_at(stss, 4, 4))?;
        let mut next_sync = 0;
        let mut chunks = Chunks::new(table)?;
        self.raw.reserve_exact(count);
        for number in 0..count {
            let size = if fixed_size == 0 { u32_at(sizes, 12 + 4 * number)? } else { fixed_size };
            let offset = chunks.next(size)?;
            let duration = durations.next()?;
            // Version 0 is unsigned in the standard, but some writers store negative offsets in it, and readers accept them.
            let shift = offsets.as_mut().map_or(Ok(0), Runs::next)?.cast_signed();
            let sync = match sync_table {
                None => true,
                Some(stss) if next_sync < sync_count && u32_at(stss, 8 + 4 * next_sync)? as usize == number + 1 => {
                    next_sync += 1;
                    true
                }
                Some(_) => false,
            };
            self.push(offset, size, sync, i64::from(shift), duration)?;
        }
        Ok(())
    }

    fn push(&mut self, offset: u64, size: u32, sync: bool, shift: i64, duration: u32) -> Result<(), AnalyzeError> {
        if size > MAX_SAMPLE_BYTES {
            return Err(damaged("a frame is implausibly large"));
        }
        if self.raw.len() == MAX_SAMPLES {
            return Err(damaged("it lists more frames than six hours have"));
        }
        let decoded_at = i64::try_from(self.decoded_until).map_err(|_| damaged("its times overflow"))?;
        let composition = decoded_at.checked_add(shift).ok_or_else(|| damaged("its times overflow"))?;
        self.raw.push(RawSample { offset, size, sync, composition, duration });
        self.decoded_until = self.decoded_until.saturating_add(u64::from(duration));
        Ok(())
    }

    /// Adds the samples of one `moof` box that begins at `start` in the file.
    fn add_fragment(&mut self, start: u64, moof: &[u8]) -> Result<(), AnalyzeError> {
        // By default, the data of a track follow the data of the track before it.
        let mut data_end = start;
        for found in children(moof) {
            let (kind, traf) = found?;
            if kind == *b"traf" {
                data_end = self.add_track_fragment(start, data_end, traf)?;
            }
        }
        Ok(())
    }

    fn add_track_fragment(&mut self, moof: u64, previous_end: u64, traf: &[u8]) -> Result<u64, AnalyzeError> {
        let header = need(traf, *b"tfhd")?;
        let flags = u32_at(header, 0)? & 0xff_ffff;
        let ours = u32_at(header, 4)? == self.id;
        let mut at = 8;
        let mut optional = |bit: u32, bytes: usize| {
            (flags & bit != 0).then(|| {
                at += bytes;
                at - bytes
            })
        };
        let base = optional(0x1, 8);
        let description = optional(0x2, 4);
        let duration = optional(0x8, 4);
        let size = optional(0x10, 4);
        let sample_flags = optional(0x20, 4);
        let base = match base {
            Some(at) => u64_at(header, at)?,
            None if flags & 0x2_0000 != 0 => moof,
            None => previous_end,
        };
        let or = |at: Option<usize>, default| at.map_or(Ok(default), |at| u32_at(header, at));
        let defaults = FragmentDefaults {
            duration: or(duration, self.defaults.duration)?,
            size: or(size, self.defaults.size)?,
            flags: or(sample_flags, self.defaults.flags)?,
        };
        if ours {
            self.one_description &= or(description, 1)? == 1;
            if let Some(time) = child(traf, *b"tfdt")? {
                self.decoded_until =
                    if time.first() == Some(&1) { u64_at(time, 4)? } else { u64::from(u32_at(time, 4)?) };
            }
        }
        let mut end = base;
        for found in children(traf) {
            let (kind, run) = found?;
            if kind == *b"trun" {
                end = self.add_run(run, base, end, defaults, ours)?;
            }
        }
        Ok(end)
    }

    fn add_run(
        &mut self,
        run: &[u8],
        base: u64,
        follows: u64,
        defaults: FragmentDefaults,
        ours: bool,
    ) -> Result<u64, AnalyzeError> {
        let flags = u32_at(run, 0)? & 0xff_ffff;
        let mut at = 8;
        let mut offset = follows;
        if flags & 0x1 != 0 {
            let distance = i64::from(u32_at(run, at)?.cast_signed());
            offset = base.checked_add_signed(distance).ok_or_else(|| damaged("a frame is outside of the file"))?;
            at += 4;
        }
        let mut first_flags = None;
        if flags & 0x4 != 0 {
            first_flags = Some(u32_at(run, at)?);
            at += 4;
        }
        for number in 0..u32_at(run, 4)? {
            let mut field = |bit: u32, default: u32| {
                if flags & bit == 0 {
                    return Ok(default);
                }
                at += 4;
                u32_at(run, at - 4)
            };
            let duration = field(0x100, defaults.duration)?;
            let size = field(0x200, defaults.size)?;
            let sample_flags =
                field(0x400, if number == 0 { first_flags.unwrap_or(defaults.flags) } else { defaults.flags })?;
            let shift = field(0x800, 0)?.cast_signed();
            if ours {
                self.push(offset, size, sample_flags & NOT_SYNC == 0, i64::from(shift), duration)?;
            } else if flags & 0x200 == 0 {
                // All samples of another track have one size, so their total is a product.
                let rest = u64::from(u32_at(run, 4)?) * u64::from(size);
                return offset.checked_add(rest).ok_or_else(|| damaged("a frame is outside of the file"));
            }
            offset = offset.checked_add(u64::from(size)).ok_or_else(|| damaged("a frame is outside of the file"))?;
        }
        Ok(offset)
    }

    /// Converts the track's times to the player's times.
    ///
    /// # Errors
    /// When the index has no frames, or points beyond the end of the file.
    fn finish(self, file_length: u64) -> Result<VideoTrack, AnalyzeError> {
        let missing =
            self.raw.iter().filter(|sample| sample.offset.saturating_add(u64::from(sample.size)) > file_length).count();
        if missing > 0 {
            return Err(unreadable(format!(
                "it is incomplete: {missing} of its {} frames are missing",
                self.raw.len()
            )));
        }
        let first = self.raw.iter().map(|sample| sample.composition).min();
        let Some(first) = first else {
            return Err(unreadable("its video track has no frames"));
        };
        // Without an edit list, a player starts at the first frame, whatever its time is.
        let whole = [Edit { media: first, length: i64::MAX, shown_at: 0 }];
        let edits = if self.edits.is_empty() { &whole[..] } else { &self.edits };
        let millis = |time: i64| {
            i64::try_from(
                (i128::from(time) * 1000 + i128::from(self.timescale / 2)).div_euclid(i128::from(self.timescale)),
            )
            .unwrap_or(i64::MAX)
        };
        let (mut start, mut end, mut shown_frames) = (i64::MAX, 0, 0_u32);
        let samples = self
            .raw
            .iter()
            .map(|raw| {
                let shown = edits.iter().find_map(|edit| {
                    let into =
                        raw.composition.checked_sub(edit.media).filter(|into| (0..edit.length).contains(into))?;
                    edit.shown_at
                        .checked_add(into)
                        .map(|start| (start, i64::from(raw.duration).min(edit.length - into)))
                });
                if let Some((shown_at, duration)) = shown {
                    start = start.min(shown_at);
                    end = end.max(shown_at.saturating_add(duration));
                    shown_frames += 1;
                }
                Sample {
                    offset: raw.offset,
                    size: raw.size,
                    sync: raw.sync,
                    shown_at: shown.map(|(start, _)| millis(start)),
                }
            })
            .collect();
        Ok(VideoTrack {
            codec: self.description.codec,
            width: self.description.width,
            height: self.description.height,
            avc_config: self.description.avc_config,
            full_range: self.description.full_range,
            rotation: self.rotation,
            duration_millis: millis(end),
            frame_rate: rate(shown_frames, end.saturating_sub(start), self.timescale),
            samples,
            one_description: self.one_description,
        })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // a rate need not be exact
fn rate(frames: u32, time: i64, timescale: u32) -> f32 {
    if time <= 0 { 0.0 } else { (f64::from(frames) * f64::from(timescale) / time as f64) as f32 }
}

fn is_video(trak: &[u8]) -> Result<bool, AnalyzeError> {
    let handler = need(need(trak, *b"mdia")?, *b"hdlr")?;
    Ok(take::<4>(handler, 8)? == *b"vide")
}

/// The first sample entry: its codec, its content, and the number of entries.
fn sample_entry(trak: &[u8]) -> Result<([u8; 4], &[u8], u32), AnalyzeError> {
    let table = need(need(need(trak, *b"mdia")?, *b"minf")?, *b"stbl")?;
    let stsd = need(table, *b"stsd")?;
    let count = u32_at(stsd, 4)?;
    let entries = stsd.get(8..).unwrap_or_default();
    let (codec, entry) = children(entries).next().ok_or_else(|| damaged("no sample description"))??;
    Ok((codec, entry, count))
}

fn describe(codec: [u8; 4], entry: &[u8]) -> Result<Description, AnalyzeError> {
    /// The bytes of a visual sample entry before its boxes.
    const FIXED: usize = 78;
    let mut avc_config = None;
    let mut full_range = None;
    for found in children(entry.get(FIXED..).unwrap_or_default()) {
        // The boxes after one that cannot be read are optional too.
        let Ok((kind, payload)) = found else { break };
        match &kind {
            b"avcC" => avc_config = Some(payload.to_vec()),
            b"colr" if payload.starts_with(b"nclx") => full_range = payload.get(10).map(|byte| byte & 0x80 != 0),
            _ => {}
        }
    }
    Ok(Description {
        codec,
        width: usize::from(u16_at(entry, 24)?),
        height: usize::from(u16_at(entry, 26)?),
        avc_config,
        full_range,
    })
}

/// The rotation in the matrix of the track header (16.16 fixed point).
fn rotation(header: &[u8], at: usize) -> Result<Rotation, AnalyzeError> {
    let cell = |index: usize| u32_at(header, at + 4 * index).map(|value| value.cast_signed().signum());
    Ok(match (cell(0)?, cell(1)?, cell(3)?, cell(4)?) {
        (0, 1, -1, 0) => Rotation::Quarter,
        (-1, 0, 0, -1) => Rotation::Half,
        (0, -1, 1, 0) => Rotation::ThreeQuarter,
        _ => Rotation::None,
    })
}

fn edits(list: &[u8], movie_timescale: u32, timescale: u32) -> Result<Vec<Edit>, AnalyzeError> {
    let wide = list.first() == Some(&1);
    let entry = if wide { 20 } else { 12 };
    let mut edits = Vec::new();
    let mut shown_at = 0_i64;
    for number in 0..count_at(list, 4, entry)? {
        let at = 8 + number * entry;
        let (duration, media) = if wide {
            (u64_at(list, at)?, u64_at(list, at + 8)?.cast_signed())
        } else {
            (u64::from(u32_at(list, at)?), i64::from(u32_at(list, at + 4)?.cast_signed()))
        };
        let duration = u128::from(duration) * u128::from(timescale) / u128::from(movie_timescale);
        let duration = i64::try_from(duration).unwrap_or(i64::MAX);
        // Media time -1 is a pause before the next edit.
        if media >= 0 {
            // In fragmented files a duration of zero means "to the end".
            edits.push(Edit { media, length: if duration == 0 { i64::MAX } else { duration }, shown_at });
        }
        shown_at = shown_at.saturating_add(duration);
    }
    Ok(edits)
}

/// A table of (count, value) pairs, read one value at a time: `stts` and `ctts`.
struct Runs<'a> {
    table: &'a [u8],
    name: &'static str,
    entries: usize,
    entry: usize,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    fn new(table: &'a [u8], name: &'static str) -> Result<Self, AnalyzeError> {
        Ok(Self { table, name, entries: count_at(table, 4, 8)?, entry: 0, left: 0, value: 0 })
    }

    fn next(&mut self) -> Result<u32, AnalyzeError> {
        while self.left == 0 {
            if self.entry == self.entries {
                return Err(damaged(&format!("its {} table has fewer entries than frames", self.name)));
            }
            self.left = u32_at(self.table, 8 + 8 * self.entry)?;
            self.value = u32_at(self.table, 12 + 8 * self.entry)?;
            self.entry += 1;
        }
        self.left -= 1;
        Ok(self.value)
    }
}

/// The positions of samples: `stsc` has the number of samples in a chunk, `stco` or `co64` the position of each chunk.
struct Chunks<'a> {
    runs: &'a [u8],
    run_count: usize,
    run: usize,
    starts: &'a [u8],
    wide: bool,
    chunk_count: usize,
    chunk: usize,
    left: u32,
    offset: u64,
}

impl<'a> Chunks<'a> {
    fn new(table: &'a [u8]) -> Result<Self, AnalyzeError> {
        let runs = need(table, *b"stsc")?;
        let (starts, wide) = match child(table, *b"co64")? {
            Some(starts) => (starts, true),
            None => (need(table, *b"stco")?, false),
        };
        Ok(Self {
            runs,
            run_count: count_at(runs, 4, 12)?,
            run: 0,
            starts,
            wide,
            chunk_count: count_at(starts, 4, if wide { 8 } else { 4 })?,
            chunk: 0,
            left: 0,
            offset: 0,
        })
    }

    /// The offset of the next sample, which is `size` bytes long.
    fn next(&mut self, size: u32) -> Result<u64, AnalyzeError> {
        while self.left == 0 {
            if self.chunk == self.chunk_count || self.run_count == 0 {
                return Err(damaged("it has fewer chunks than frames"));
            }
            // A run names the first chunk, counted from 1, that it applies to.
            while self.run + 1 < self.run_count
                && u32_at(self.runs, 8 + 12 * (self.run + 1))? as usize <= self.chunk + 1
            {
                self.run += 1;
            }
            self.left = u32_at(self.runs, 12 + 12 * self.run)?;
            self.offset = if self.wide {
                u64_at(self.starts, 8 + 8 * self.chunk)?
            } else {
                u64::from(u32_at(self.starts, 8 + 4 * self.chunk)?)
            };
            self.chunk += 1;
        }
        self.left -= 1;
        let offset = self.offset;
        self.offset = offset.checked_add(u64::from(size)).ok_or_else(|| damaged("a frame is outside of the file"))?;
        Ok(offset)
    }
}

//! Finds the frames in a stream of the NUT container, which ffmpeg writes to a pipe and reads from one.
//!
//! NUT keeps the exact time of each frame, which raw video in a pipe does not have. The bytes of the stream are passed on unchanged,
//! except for the samples of the frames: so the times need not be written again. The format:
//! <https://ffmpeg.org/~michael/nut.txt>.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};

/// The start of a stream.
const FILE_ID: &[u8] = b"nut/multimedia container\0";
const MAIN: u64 = 0x4E4D_7A56_1F5F_04AD;
const STREAM: u64 = 0x4E53_1140_5BF2_F9DB;
const SYNCPOINT: u64 = 0x4E4B_E4AD_EECA_4569;

/// A header with more bytes has a second checksum.
const LARGE_HEADER: u64 = 4096;
/// No header of a stream with one track is larger.
const MAX_HEADER: u64 = 1 << 20;

/// Flags of a frame.
const CODED_PTS: u64 = 1 << 3;
const STREAM_ID: u64 = 1 << 4;
const SIZE_MSB: u64 = 1 << 5;
const CHECKSUM: u64 = 1 << 6;
const RESERVED: u64 = 1 << 7;
const SIDE_DATA: u64 = 1 << 8;
const HEADER_INDEX: u64 = 1 << 10;
const MATCH_TIME: u64 = 1 << 11;
const CODED_FLAGS: u64 = 1 << 12;
const INVALID: u64 = 1 << 13;

/// A part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The bytes before the samples: headers, and that of the frame.
    pub before: Vec<u8>,
    /// The samples of a frame. Empty at the end of the stream.
    pub samples: Vec<u8>,
    /// The time of the frame, in milliseconds.
    pub at_ms: i64,
}

/// Reads a stream with one video track.
pub(super) struct NutReader<R> {
    input: BufReader<R>,
    /// The bytes since the last frame.
    passed: Vec<u8>,
    codes: Vec<FrameCode>,
    /// Numerator and denominator of the length of a unit of time in seconds.
    time_base: (u64, u64),
    pts_bits: u32,
    last_pts: i64,
    /// Columns and rows of a frame.
    pub size: Option<(usize, usize)>,
}

/// What a frame's first byte means.
#[derive(Debug, Clone, Copy, Default)]
struct FrameCode {
    flags: u64,
    size_multiplier: u64,
    size_rest: u64,
    pts_delta: i64,
    reserved: u64,
    header: u64,
}

impl<R: AsyncRead + Unpin> NutReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 16, input),
            passed: Vec::new(),
            codes: Vec::new(),
            time_base: (1, 1000),
            pts_bits: 0,
            last_pts: 0,
            size: None,
        }
    }

    /// The next frame with everything before it; `None` at the end of the stream. What follows the last frame is a chunk without
    /// samples.
    ///
    /// # Errors
    /// An error of the pipe; [`io::ErrorKind::InvalidData`] for another format; [`io::ErrorKind::UnexpectedEof`] for a stream that ends
    /// within a frame.
    pub(super) async fn next(&mut self) -> io::Result<Option<Chunk>> {
        loop {
            let mut code = [0];
            if self.input.read(&mut code).await? == 0 {
                let before = std::mem::take(&mut self.passed);
                return Ok((!before.is_empty()).then_some(Chunk { before, samples: Vec::new(), at_ms: 0 }));
            }
            self.passed.push(code[0]);
            if code[0] == FILE_ID[0] && self.codes.is_empty() && self.passed.len() == 1 {
                self.pass(FILE_ID.len() as u64 - 1).await?;
                if self.passed != FILE_ID {
                    return Err(invalid("it does not begin like NUT"));
                }
            } else if code[0] == b'N' {
                self.header().await?;
            } else {
                let size = self.frame(usize::from(code[0])).await?;
                if size > 0 {
                    let before = std::mem::take(&mut self.passed);
                    let mut samples = vec![0; size];
                    self.input.read_exact(&mut samples).await?;
                    return Ok(Some(Chunk { before, samples, at_ms: self.millis() }));
                }
            }
        }
    }

    /// The time of the last frame.
    fn millis(&self) -> i64 {
        let (numerator, denominator) = (i128::from(self.time_base.0), i128::from(self.time_base.1.max(1)));
        let scaled = i128::from(self.last_pts) * numerator * 1000 + denominator / 2;
        i64::try_from(scaled.div_euclid(denominator)).unwrap_or(i64::MAX)
    }

    /// Reads a packet that begins with a start code, whose first byte was read.
    async fn header(&mut self) -> io::Result<()> {
        let start = self.passed.len() - 1;
        self.pass(7).await?;
        let code = u64::from_be_bytes(self.passed[start..start + 8].try_into().unwrap_or_default());
        let length = self.number().await?;
        if length > MAX_HEADER {
            return Err(invalid("a header is too large"));
        }
        if length > LARGE_HEADER {
            self.pass(4).await?;
        }
        let content = self.passed.len();
        self.pass(length).await?;
        let content = Fields(&self.passed[content..]);
        match code {
            MAIN => (self.time_base, self.codes) = main_header(content)?,
            STREAM => {
                let stream = stream_header(content)?;
                (self.pts_bits, self.size) = (stream.pts_bits, Some(stream.size));
            }
            // With one time base, the number is the time.
            SYNCPOINT => {
                let mut content = content;
                self.last_pts = signed(content.number()?)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads the header of a frame, whose first byte was read. Returns the number of bytes of the frame.
    async fn frame(&mut self, code: usize) -> io::Result<usize> {
        let code = *self.codes.get(code).ok_or_else(|| invalid("a frame precedes the header"))?;
        let mut flags = code.flags;
        if flags & INVALID != 0 {
            return Err(invalid("a frame has an invalid code"));
        }
        if flags & CODED_FLAGS != 0 {
            flags ^= self.number().await?;
        }
        if flags & STREAM_ID != 0 {
            self.number().await?;
        }
        self.last_pts = if flags & CODED_PTS != 0 {
            let coded = signed(self.number().await?)?;
            let unit = 1_i64.checked_shl(self.pts_bits).ok_or_else(|| invalid("its times have too many bits"))?;
            if coded < unit {
                let least = self.last_pts - (unit - 1) / 2;
                (coded - least).rem_euclid(unit) + least
            } else {
                coded - unit
            }
        } else {
            self.last_pts + code.pts_delta
        };
        let mut size = code.size_rest;
        if flags & SIZE_MSB != 0 {
            let more = self.number().await?.checked_mul(code.size_multiplier).and_then(|more| more.checked_add(size));
            size = more.ok_or_else(|| invalid("a frame is too large"))?;
        }
        if flags & MATCH_TIME != 0 {
            self.number().await?;
        }
        let header = if flags & HEADER_INDEX != 0 { self.number().await? } else { code.header };
        let reserved = if flags & RESERVED != 0 { self.number().await? } else { code.reserved };
        for _ in 0..reserved {
            self.number().await?;
        }
        if flags & CHECKSUM != 0 {
            self.pass(4).await?;
        }
        if header != 0 || flags & SIDE_DATA != 0 {
            return Err(invalid("a frame has more than its samples"));
        }
        usize::try_from(size).map_err(|_| invalid("a frame is too large"))
    }

    /// Reads some bytes that are passed on.
    async fn pass(&mut self, count: u64) -> io::Result<()> {
        let read = (&mut self.input).take(count).read_to_end(&mut self.passed).await?;
        if read as u64 == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Reads a number of variable length: seven bits in each byte, of which all but the last one have the eighth bit.
    async fn number(&mut self) -> io::Result<u64> {
        let mut value = 0_u64;
        loop {
            let byte = self.input.read_u8().await?;
            self.passed.push(byte);
            value = value.checked_mul(128).ok_or_else(|| invalid("a number is too large"))? + u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
    }
}

/// The fields of a header.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self) -> io::Result<u64> {
        let mut value = 0_u64;
        loop {
            let (byte, rest) = self.0.split_first().ok_or_else(|| invalid("a header is too short"))?;
            self.0 = rest;
            value = value.checked_mul(128).ok_or_else(|| invalid("a number is too large"))? + u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
    }

    fn signed(&mut self) -> io::Result<i64> {
        let value = self.number()?.checked_add(1).ok_or_else(|| invalid("a number is too large"))?;
        let half = signed(value >> 1)?;
        Ok(if value & 1 == 1 { -half } else { half })
    }

    fn skip_bytes(&mut self) -> io::Result<()> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        self.0 = self.0.get(count..).ok_or_else(|| invalid("a header is too short"))?;
        Ok(())
    }
}

/// The time base, and the meaning of each frame code.
fn main_header(mut fields: Fields) -> io::Result<((u64, u64), Vec<FrameCode>)> {
    if fields.number()? > 3 {
        fields.number()?;
    }
    let streams = fields.number()?;
    fields.number()?;
    let time_bases = fields.number()?;
    if (streams, time_bases) != (1, 1) {
        return Err(invalid("it has several tracks"));
    }
    let time_base = (fields.number()?, fields.number()?);
    let mut codes = vec![FrameCode { flags: INVALID, ..FrameCode::default() }; 256];
    let (mut code, mut delta, mut multiplier, mut header) = (0, 0, 1, 0);
    while code < codes.len() {
        let flags = fields.number()?;
        let count = fields.number()?;
        if count > 0 {
            delta = fields.signed()?;
        }
        if count > 1 {
            multiplier = fields.number()?;
        }
        if count > 2 {
            fields.number()?;
        }
        let size = if count > 3 { fields.number()? } else { 0 };
        let reserved = if count > 4 { fields.number()? } else { 0 };
        let mut repeated = if count > 5 {
            fields.number()?
        } else {
            multiplier.checked_sub(size).ok_or_else(|| invalid("its sizes"))?
        };
        if count > 6 {
            fields.signed()?;
        }
        if count > 7 {
            header = fields.number()?;
        }
        for _ in 8..count {
            fields.number()?;
        }
        let mut rest = 0;
        while repeated > 0 && code < codes.len() {
            // The byte N begins a header.
            if code != usize::from(b'N') {
                codes[code] = FrameCode {
                    flags,
                    size_multiplier: multiplier,
                    size_rest: size + rest,
                    pts_delta: delta,
                    reserved,
                    header,
                };
                (rest, repeated) = (rest + 1, repeated - 1);
            }
            code += 1;
        }
    }
    Ok((time_base, codes))
}

struct StreamHeader {
    pts_bits: u32,
    size: (usize, usize),
}

fn stream_header(mut fields: Fields) -> io::Result<StreamHeader> {
    fields.number()?;
    if fields.number()? != 0 {
        return Err(invalid("its track is not a video"));
    }
    fields.skip_bytes()?;
    fields.number()?;
    let pts_bits = u32::try_from(fields.number()?).unwrap_or(u32::MAX);
    fields.number()?;
    fields.number()?;
    fields.number()?;
    fields.skip_bytes()?;
    let mut side = || Ok::<_, io::Error>(usize::try_from(fields.number()?).unwrap_or(usize::MAX));
    Ok(StreamHeader { pts_bits, size: (side()?, side()?) })
}

fn signed(value: u64) -> io::Result<i64> {
    i64::try_from(value).map_err(|_| invalid("a number is too large"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the stream of ffmpeg cannot be read: {what}"))
}

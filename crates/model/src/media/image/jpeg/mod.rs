//! JPEG pictures, to the bit as the reference decodes them.
//!
//! The standard (ITU-T T.81) leaves the rounding of the inverse transform, of the chroma's widening
//! and of the colours to the decoder. Decoders differ by a few of 255, and a picture that is then
//! scaled up shows it, so this one rounds where the reference's does. It reads what cameras and
//! programs write: 8-bit sequential and progressive pictures with Huffman or arithmetic codes,
//! gray, YCbCr, RGB, CMYK and YCCK.
//!
//! A file that stops before its pixels do is an error. One that is damaged in between is decoded as
//! far as its markers lead: what cannot be read of an interval stays empty, up to the next restart.

mod arithmetic;
pub(super) mod color;
mod entropy;
mod idct;
mod scan;
mod smooth;
mod standard;

use arithmetic::Conditioning;
use color::Space;
use entropy::{Huffman, ZIGZAG};
use smooth::Known;

/// Why a file gives no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JpegError {
    /// The file ends before its end marker.
    Truncated,
    /// What breaks the standard.
    Damaged(&'static str),
    /// What the standard allows and this decoder has not.
    Variant(&'static str),
    /// The system gave no memory for so many bytes, or they are too many.
    Memory(u64),
}

/// A file whose headers are read, up to its first scan.
pub(super) struct Jpeg<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The marker that ended a scan.
    pending: Option<u8>,
    tables: Tables,
    frame: Frame,
    /// Scans that were begun.
    scans: usize,
    /// The most memory beside the result.
    bytes_max: u64,
    has_jfif: bool,
    adobe: Option<u8>,
    exif: Vec<u8>,
    xmp: Option<&'a [u8]>,
}

/// Tables that later segments may replace.
#[derive(Default)]
struct Tables {
    steps: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    conditioning: Conditioning,
    restart_interval: usize,
}

/// The picture's sizes and components.
#[derive(Default)]
struct Frame {
    width: usize,
    height: usize,
    is_progressive: bool,
    is_arithmetic: bool,
    /// Whether coefficients are kept until the last scan: there is more than one.
    is_stored: bool,
    /// The last row of units that data was read for.
    last_good_row: usize,
    components: Vec<Component>,
}

/// One component: a plane of samples that may be smaller than the picture.
#[derive(Default)]
struct Component {
    id: u8,
    /// Sampling factors: blocks of it in each unit of the scan.
    across: usize,
    down: usize,
    /// Samples that the picture needs.
    width: usize,
    height: usize,
    /// Blocks that are held: whole units.
    blocks_across: usize,
    blocks_down: usize,
    table: usize,
    /// The quantisation steps at its first scan, in natural order.
    steps: Option<[u16; 64]>,
    known: Known,
    /// All blocks until the last scan, where they are stored.
    coefficients: Vec<[i16; 64]>,
    samples: Vec<u8>,
}

/// What a segment was.
enum Segment {
    Scan,
    End,
    Other,
}

impl<'a> Jpeg<'a> {
    /// Reads the headers.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, JpegError> {
        let mut jpeg = Self {
            bytes,
            at: 2,
            pending: None,
            tables: Tables::default(),
            frame: Frame::default(),
            scans: 0,
            bytes_max: 0,
            has_jfif: false,
            adobe: None,
            exif: Vec::new(),
            xmp: None,
        };
        loop {
            match jpeg.segment()? {
                Segment::Other => {}
                Segment::Scan if !jpeg.frame.components.is_empty() => return Ok(jpeg),
                _ => return Err(JpegError::Damaged("no frame header before the first scan")),
            }
        }
    }

    /// Width and height; either may be 0.
    pub(super) fn sides(&self) -> (u32, u32) {
        (self.frame.width as u32, self.frame.height as u32)
    }

    /// The metadata that may hold the orientation: Exif and XMP.
    pub(super) fn metadata(&self) -> (&[u8], Option<&'a [u8]>) {
        (&self.exif, self.xmp)
    }

    /// Decodes the picture to RGB, row-major. `bytes_max` bounds what is held beside it.
    ///
    /// Both sides must be positive.
    pub(super) fn decode(mut self, bytes_max: u64) -> Result<Vec<u8>, JpegError> {
        let space = self.space()?;
        self.bytes_max = bytes_max;
        if !self.frame.is_progressive {
            standard::fill(&mut self.tables);
        }
        self.scan()?;
        if self.frame.is_stored {
            self.more_scans()?;
            self.frame.transform(self.scans);
        } else {
            self.end()?;
        }
        let Frame { width, height, components, .. } = self.frame;
        color::to_rgb(&components, space, width, height)
    }

    /// Reads the scans after the first, up to the end marker.
    fn more_scans(&mut self) -> Result<(), JpegError> {
        loop {
            match self.segment()? {
                Segment::Other => {}
                Segment::Scan if self.scans < SCANS_MAX => self.scan()?,
                Segment::Scan => {
                    return Err(JpegError::Damaged("more scans than any picture needs"));
                }
                Segment::End => return Ok(()),
            }
        }
    }

    /// Reads what follows the only scan, up to the end marker or the end of the file.
    fn end(&mut self) -> Result<(), JpegError> {
        loop {
            match self.segment() {
                Ok(Segment::Other) => {}
                Ok(Segment::Scan) => return Err(JpegError::Damaged("a scan after the last")),
                Ok(Segment::End) | Err(JpegError::Truncated) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }

    /// Reads up to the next marker and, but for a scan's, the segment that follows it.
    fn segment(&mut self) -> Result<Segment, JpegError> {
        let marker = self.marker()?;
        match marker {
            0x01 | 0xd0..=0xd7 => return Ok(Segment::Other), // nothing follows these
            0xd8 => return Err(JpegError::Damaged("a second start of a picture")),
            0xd9 => return Ok(Segment::End),
            0xda => return Ok(Segment::Scan),
            0xc3 | 0xc5..=0xc8 | 0xcb | 0xcd..=0xcf | 0xde | 0xdf => {
                return Err(JpegError::Variant("lossless or hierarchical coding"));
            }
            0x02..=0xbf | 0xf0..=0xfd => {
                return Err(JpegError::Damaged("a marker without a meaning"));
            }
            _ => {}
        }
        let body = self.body()?;
        match marker {
            0xc4 => self.tables.huffman(body)?,
            0xcc => self.tables.conditioning(body)?,
            0xdb => self.tables.quantisation(body)?,
            0xdd => match body {
                &[high, low] => {
                    self.tables.restart_interval = u16::from_be_bytes([high, low]).into();
                }
                _ => return Err(JpegError::Damaged("a restart interval of a wrong length")),
            },
            0xc0..=0xcf if !self.frame.components.is_empty() => {
                return Err(JpegError::Damaged("a second frame header"));
            }
            0xc0..=0xcf => self.frame = Frame::parse(body, marker)?,
            0xe0 if body.len() >= 12 && body.starts_with(b"JFIF\0") => self.has_jfif = true,
            0xe1 => self.application_1(body),
            0xee if body.len() >= 12 && body.starts_with(b"Adobe") => self.adobe = Some(body[11]),
            _ => {}
        }
        Ok(Segment::Other)
    }

    /// Keeps Exif, which may go on in a second segment, and XMP.
    fn application_1(&mut self, body: &'a [u8]) {
        if let Some(exif) = body.strip_prefix(b"Exif\0\0") {
            self.exif.extend_from_slice(exif);
        } else if let Some(xmp) = body.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            self.xmp = Some(xmp);
        }
    }

    /// Goes past the next marker; what lies before it is skipped.
    fn marker(&mut self) -> Result<u8, JpegError> {
        let marker = self.pending.take();
        let marker = marker.or_else(|| entropy::next_marker(self.bytes, &mut self.at));
        marker.ok_or(JpegError::Truncated)
    }

    /// The body of the segment here, without its length.
    fn body(&mut self) -> Result<&'a [u8], JpegError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let &[high, low, ..] = rest else { return Err(JpegError::Truncated) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Err(JpegError::Damaged("a segment shorter than its length"));
        }
        self.at += length;
        rest.get(2..length).ok_or(JpegError::Truncated)
    }

    /// What the components mean, by the rules of the reference's library.
    fn space(&self) -> Result<Space, JpegError> {
        let ids: Vec<u8> = self.frame.components.iter().map(|c| c.id).collect();
        Ok(match (ids.len(), self.adobe) {
            (1, _) => Space::Gray,
            (3, _) if self.has_jfif => Space::YCbCr,
            (3, Some(0)) => Space::Rgb,
            (3, None) if ids == *b"RGB" => Space::Rgb,
            (3, _) => Space::YCbCr,
            (4, None | Some(0)) => Space::Cmyk,
            (4, _) => Space::Ycck,
            _ => return Err(JpegError::Variant("a number of components without a meaning")),
        })
    }
}

impl Tables {
    /// Reads Huffman tables (T.81 B.2.4.2).
    fn huffman(&mut self, mut body: &[u8]) -> Result<(), JpegError> {
        while let Some((&place, rest)) = body.split_first() {
            let short = JpegError::Damaged("a Huffman table that is cut short");
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            let length = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(length).ok_or(short)?;
            let kind = if place & 0x10 == 0 { &mut self.dc } else { &mut self.ac };
            let table = kind.get_mut(usize::from(place & !0x10));
            let table = table.ok_or(JpegError::Damaged("a fifth Huffman table"))?;
            if length > 256 {
                return Err(JpegError::Damaged("a Huffman table of more than 256 codes"));
            }
            *table = Some(Huffman::new(counts, symbols));
            body = rest;
        }
        Ok(())
    }

    /// Reads the conditioning of arithmetic codes (T.81 B.2.4.3).
    fn conditioning(&mut self, body: &[u8]) -> Result<(), JpegError> {
        let damaged = JpegError::Damaged("a table of arithmetic conditioning that makes no sense");
        let (pairs, rest) = body.as_chunks::<2>();
        for &[place, value] in pairs {
            let at = usize::from(place & 15);
            match place {
                0..16 if value & 15 <= value >> 4 => {
                    self.conditioning.dc[at] = (value & 15, value >> 4);
                }
                16..32 => self.conditioning.ac[at] = value,
                _ => return Err(damaged),
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(damaged) }
    }

    /// Reads quantisation tables (T.81 B.2.4.1).
    fn quantisation(&mut self, mut body: &[u8]) -> Result<(), JpegError> {
        while let Some((&place, rest)) = body.split_first() {
            let bytes = if place & 0xf0 == 0 { 1 } else { 2 };
            let short = JpegError::Damaged("a quantisation table that is cut short");
            let (values, rest) = rest.split_at_checked(64 * bytes).ok_or(short)?;
            let table = self.steps.get_mut(usize::from(place & 15));
            let table = table.ok_or(JpegError::Damaged("a fifth quantisation table"))?;
            let steps = table.insert([0; 64]);
            for (&at, value) in ZIGZAG.iter().zip(values.chunks_exact(bytes)) {
                steps[at] = value.iter().fold(0, |step, &byte| step << 8 | u16::from(byte));
            }
            body = rest;
        }
        Ok(())
    }
}

impl Frame {
    /// Reads a frame header (T.81 B.2.2).
    fn parse(body: &[u8], marker: u8) -> Result<Self, JpegError> {
        let Some((&[precision, y1, y0, x1, x0, count], specs)) = body.split_first_chunk() else {
            return Err(JpegError::Damaged("a frame header that is cut short"));
        };
        if precision != 8 {
            return Err(JpegError::Variant("samples of more than 8 bits"));
        }
        let (specs, rest) = specs.as_chunks::<3>();
        if specs.len() != usize::from(count) || !rest.is_empty() || count == 0 || count > 4 {
            return Err(JpegError::Damaged("a frame header with a wrong number of components"));
        }
        let (width, height) = (u16::from_be_bytes([x1, x0]), u16::from_be_bytes([y1, y0]));
        let (width, height) = (usize::from(width), usize::from(height));
        let mut components = Vec::new();
        for &[id, sampling, table] in specs {
            let (across, down) = (usize::from(sampling >> 4), usize::from(sampling & 15));
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
                return Err(JpegError::Damaged("sampling factors that are not 1 to 4"));
            }
            let table = table.into();
            components.push(Component { id, across, down, table, ..Default::default() });
        }
        let (is_progressive, is_arithmetic) = (marker & 3 == 2, marker & 8 != 0);
        let mut frame =
            Self { width, height, is_progressive, is_arithmetic, components, ..Self::default() };
        let (across, down) = frame.largest();
        let (units_across, units_down) = frame.units();
        for component in &mut frame.components {
            component.width = (width * component.across).div_ceil(across);
            component.height = (height * component.down).div_ceil(down);
            component.blocks_across = units_across * component.across;
            component.blocks_down = units_down * component.down;
        }
        Ok(frame)
    }

    /// The largest sampling factors.
    fn largest(&self) -> (usize, usize) {
        let across = self.components.iter().map(|c| c.across).max();
        let down = self.components.iter().map(|c| c.down).max();
        (across.unwrap_or(1), down.unwrap_or(1))
    }

    /// Units across and down: the smallest areas that hold whole blocks of every component.
    fn units(&self) -> (usize, usize) {
        let (across, down) = self.largest();
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    /// Takes memory for samples and, where they are stored, for coefficients.
    fn allocate(&mut self, bytes_max: u64) -> Result<(), JpegError> {
        let block_bytes = if self.is_stored { 64 + 128 } else { 64 };
        let blocks = self.components.iter().map(|c| c.blocks_across * c.blocks_down);
        let bytes = blocks.sum::<usize>() as u64 * block_bytes;
        let none = |()| JpegError::Memory(bytes);
        if bytes > bytes_max {
            return Err(none(()));
        }
        for c in &mut self.components {
            let blocks = c.blocks_across * c.blocks_down;
            c.samples = bytemuck::allocation::try_zeroed_vec(64 * blocks).map_err(none)?;
            if self.is_stored {
                c.coefficients = bytemuck::allocation::try_zeroed_vec(blocks).map_err(none)?;
            }
        }
        Ok(())
    }

    /// Turns stored coefficients into samples. A component without a scan is middle gray.
    fn transform(&mut self, scans: usize) {
        let is_smooth = self.is_progressive && smooth::applies(&self.components);
        for component in &mut self.components {
            component.steps.get_or_insert([0; 64]);
            if is_smooth {
                smooth::transform(component, self.last_good_row, scans);
                continue;
            }
            let across = component.blocks_across;
            for (i, block) in std::mem::take(&mut component.coefficients).iter().enumerate() {
                component.transform(block, i % across, i / across);
            }
        }
    }
}

impl Component {
    /// Turns a block of coefficients into samples.
    fn transform(&mut self, block: &[i16; 64], column: usize, row: usize) {
        let stride = 8 * self.blocks_across;
        let steps = self.steps.as_ref().unwrap_or(&[0; 64]);
        idct::inverse(block, steps, &mut self.samples[8 * (row * stride + column)..], stride);
    }

    /// Row `y` of the samples that the picture needs.
    fn row(&self, y: usize) -> &[u8] {
        &self.samples[8 * self.blocks_across * y..][..self.width]
    }

    #[cfg(test)]
    fn of_samples(across: usize, down: usize, rows: &[&[u8]]) -> Self {
        let width = rows[0].len();
        let blocks_across = width.div_ceil(8);
        let pad = |row: &&[u8]| [row, &vec![0; 8 * blocks_across - width][..]].concat();
        let samples = rows.iter().flat_map(pad).collect();
        let height = rows.len();
        Self { across, down, width, height, blocks_across, samples, ..Default::default() }
    }
}

/// The most scans that are read: each may cost as much as decoding the picture once. Encoders write
/// about ten.
const SCANS_MAX: usize = 256;

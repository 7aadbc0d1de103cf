//! JPEG pictures, to the bit as the reference decodes them.
//!
//! The standard (ITU-T T.81) leaves the rounding of the inverse transform, of the chroma's widening
//! and of the colours to the decoder. Decoders differ by a few of 255, and a picture that is then
//! scaled up shows it, so this one rounds where the reference's does. It reads what cameras and
//! programs write: 8-bit sequential and progressive pictures with Huffman codes, gray, YCbCr, RGB,
//! CMYK and YCCK.
//!
//! A file that stops early is an error. One that is damaged in between is decoded as far as its
//! markers lead: what cannot be read of an interval stays empty, up to the next restart.

pub(super) mod color;
mod entropy;
mod idct;
mod scan;

use color::Space;
use entropy::{Huffman, ZIGZAG};

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
    tables: Tables,
    frame: Frame,
    has_jfif: bool,
    adobe: Option<u8>,
    exif: Option<&'a [u8]>,
}

/// Tables that later segments may replace.
#[derive(Default)]
struct Tables {
    steps: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart_interval: usize,
}

/// The picture's sizes and components.
#[derive(Default)]
struct Frame {
    width: usize,
    height: usize,
    is_progressive: bool,
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
    /// Progressive pictures only: all blocks until the last scan.
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
        let (tables, frame) = (Tables::default(), Frame::default());
        let (has_jfif, adobe, exif) = (false, None, None);
        let mut jpeg = Self { bytes, at: 2, tables, frame, has_jfif, adobe, exif };
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

    /// The metadata that holds the orientation: a TIFF header and directories.
    pub(super) fn exif(&self) -> Option<&'a [u8]> {
        self.exif
    }

    /// Decodes the picture to RGB, row-major. `bytes_max` bounds what is held beside it.
    ///
    /// Both sides must be positive.
    pub(super) fn decode(mut self, bytes_max: u64) -> Result<Vec<u8>, JpegError> {
        let space = self.space()?;
        self.frame.allocate(bytes_max)?;
        for _ in 0..SCANS_MAX {
            self.scan()?;
            loop {
                match self.segment()? {
                    Segment::Other => {}
                    Segment::Scan => break,
                    Segment::End => {
                        self.frame.transform()?;
                        let Frame { width, height, components, .. } = self.frame;
                        return color::to_rgb(&components, space, width, height);
                    }
                }
            }
        }
        Err(JpegError::Damaged("more scans than any picture needs"))
    }

    /// Reads up to the next marker and, but for a scan's, the segment behind it.
    fn segment(&mut self) -> Result<Segment, JpegError> {
        let marker = self.marker()?;
        match marker {
            0xd8 | 0x01 | 0xd0..=0xd7 => return Ok(Segment::Other), // no segment behind these
            0xd9 => return Ok(Segment::End),
            0xda => return Ok(Segment::Scan),
            _ => {}
        }
        let body = self.body()?;
        match marker {
            0xc4 => self.tables.huffman(body)?,
            0xdb => self.tables.quantisation(body)?,
            0xdd => match body {
                &[high, low] => {
                    self.tables.restart_interval = u16::from_be_bytes([high, low]).into();
                }
                _ => return Err(JpegError::Damaged("a restart interval of a wrong length")),
            },
            0xc0..=0xc2 if !self.frame.components.is_empty() => {
                return Err(JpegError::Damaged("a second frame header"));
            }
            0xc0..=0xc2 => self.frame = Frame::parse(body, marker == 0xc2)?,
            0xc9..=0xcb => return Err(JpegError::Variant("arithmetic coding")),
            0xc3 | 0xc5..=0xc7 | 0xcd..=0xcf | 0xdc | 0xde | 0xdf => {
                return Err(JpegError::Variant("lossless or hierarchical coding"));
            }
            0xe0 if body.starts_with(b"JFIF\0") => self.has_jfif = true,
            0xe1 if self.exif.is_none() => self.exif = body.strip_prefix(b"Exif\0\0"),
            0xee if body.starts_with(b"Adobe") => self.adobe = body.get(11).copied(),
            _ => {}
        }
        Ok(Segment::Other)
    }

    /// Goes behind the next marker; what lies before it is skipped.
    fn marker(&mut self) -> Result<u8, JpegError> {
        while let Some(&[first, second]) = self.bytes.get(self.at..self.at + 2) {
            self.at += 1;
            if first == 0xff && second != 0 && second != 0xff {
                self.at += 1;
                return Ok(second);
            }
        }
        Err(JpegError::Truncated)
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
            (4, Some(2)) => Space::Ycck,
            (4, _) => Space::Cmyk,
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
            let kind = if place & 0xf0 == 0 { &mut self.dc } else { &mut self.ac };
            let table = kind.get_mut(usize::from(place & 15));
            *table.ok_or(JpegError::Damaged("a fifth Huffman table"))? =
                Some(Huffman::new(counts, symbols)?);
            body = rest;
        }
        Ok(())
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
    fn parse(body: &[u8], is_progressive: bool) -> Result<Self, JpegError> {
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
        let mut frame = Self { width, height, is_progressive, components };
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

    /// Takes memory for samples and, in progressive pictures, for coefficients.
    fn allocate(&mut self, bytes_max: u64) -> Result<(), JpegError> {
        let block_bytes = if self.is_progressive { 64 + 128 } else { 64 };
        let blocks = self.components.iter().map(|c| c.blocks_across * c.blocks_down);
        let bytes = blocks.sum::<usize>() as u64 * block_bytes;
        let none = |()| JpegError::Memory(bytes);
        if bytes > bytes_max {
            return Err(none(()));
        }
        for c in &mut self.components {
            let blocks = c.blocks_across * c.blocks_down;
            c.samples = bytemuck::allocation::try_zeroed_vec(64 * blocks).map_err(none)?;
            if self.is_progressive {
                c.coefficients = bytemuck::allocation::try_zeroed_vec(blocks).map_err(none)?;
            }
        }
        Ok(())
    }

    /// Turns the coefficients of a progressive picture into samples.
    fn transform(&mut self) -> Result<(), JpegError> {
        for c in &mut self.components {
            let steps = c.steps.ok_or(JpegError::Damaged("a component without a scan"))?;
            let stride = 8 * c.blocks_across;
            for (i, block) in std::mem::take(&mut c.coefficients).iter().enumerate() {
                let at = i / c.blocks_across * 8 * stride + i % c.blocks_across * 8;
                idct::inverse(block, &steps, &mut c.samples[at..], stride);
            }
        }
        Ok(())
    }
}

impl Component {
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

//! The blocks of a scan, in the order in which they are stored (ITU-T T.81 A.2).

use super::arithmetic::Arithmetic;
use super::entropy::{self, Band, Bits, Huffman, State};
use super::{Component, Frame, Jpeg, JpegError, Tables};

/// A component in a scan and the numbers of its tables.
#[derive(Clone, Copy)]
struct Part {
    component: usize,
    dc: usize,
    ac: usize,
}

/// The decoder of a scan.
enum Decoder<'t, 'a> {
    Huffman {
        bits: Bits<'a>,
        state: State,
        /// Tables of each part; a progressive scan needs one of them or none.
        tables: Vec<(Option<&'t Huffman>, Option<&'t Huffman>)>,
    },
    Arithmetic(Arithmetic<'a>),
}

impl Jpeg<'_> {
    /// Reads a scan: its header, and its blocks up to the next marker.
    pub(super) fn scan(&mut self) -> Result<(), JpegError> {
        let body = self.body()?;
        let (parts, band) = header(body, &self.frame)?;
        self.scans += 1;
        if self.scans == 1 {
            self.frame.is_stored =
                self.frame.is_progressive || parts.len() < self.frame.components.len();
            self.frame.allocate(self.bytes_max)?;
        }
        for part in &parts {
            let component = &mut self.frame.components[part.component];
            if component.steps.is_none() {
                let steps = self.tables.steps.get(component.table).copied().flatten();
                let none = JpegError::Damaged("no quantisation table for a component");
                component.steps = Some(steps.ok_or(none)?);
            }
            component.known.begin(band, self.scans);
        }
        let mut decoder = if self.frame.is_arithmetic {
            let conditioning = self.tables.conditioning;
            Decoder::Arithmetic(Arithmetic::new(self.bytes, self.at, conditioning))
        } else {
            let tables = parts.iter().map(|part| huffman(&self.tables, *part, band));
            let tables = tables.collect::<Result<_, _>>()?;
            let (bits, state) = (Bits::new(self.bytes, self.at), State::default());
            Decoder::Huffman { bits, state, tables }
        };
        blocks(&mut self.frame, self.tables.restart_interval, &parts, band, &mut decoder)?;
        let stream = match &decoder {
            Decoder::Huffman { bits, .. } => &bits.stream,
            Decoder::Arithmetic(decoder) => &decoder.stream,
        };
        (self.at, self.pending) = (stream.at, stream.marker);
        Ok(())
    }
}

/// Reads a scan header (T.81 B.2.3).
fn header(body: &[u8], frame: &Frame) -> Result<(Vec<Part>, Band), JpegError> {
    let damaged = JpegError::Damaged("a scan header that makes no sense");
    let (&count, rest) = body.split_first().ok_or(damaged)?;
    let (specs, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or(damaged)?;
    let &[first, last, bits] = rest else { return Err(damaged) };
    let mut parts: Vec<Part> = Vec::new();
    for &[id, tables] in specs.as_chunks::<2>().0 {
        // In the frame's order, each at most once; two of one name are told apart by it.
        let mut places = frame.components.iter().enumerate().skip(parts.len());
        let taken = |component| parts.iter().any(|part: &Part| part.component == component);
        let (component, _) = places.find(|(_, c)| c.id == id).ok_or(damaged)?;
        if taken(component) {
            return Err(damaged);
        }
        let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
        parts.push(Part { component, dc, ac });
    }
    let of = |part: &Part| &frame.components[part.component];
    let blocks: usize = parts.iter().map(|part| of(part).across * of(part).down).sum();
    if parts.is_empty() || parts.len() > 1 && blocks > UNIT_BLOCKS_MAX {
        return Err(damaged);
    }
    if !frame.is_progressive {
        return Ok((parts, Band { first: 0, last: 63, high: 0, low: 0 }));
    }
    let (high, low) = (u32::from(bits >> 4), u32::from(bits & 15));
    let band = Band { first: first.into(), last: last.into(), high, low };
    let is_dc_only = band.first == 0 && band.last == 0;
    let is_band = band.first > 0 && band.first <= band.last && band.last < 64 && parts.len() == 1;
    // 13 is the most that the reference takes: 8-bit samples have coefficients of 11 bits.
    if !(is_dc_only || is_band) || low > 13 || high > 0 && high != low + 1 {
        return Err(damaged);
    }
    Ok((parts, band))
}

/// The Huffman tables that a part of a scan is read with.
fn huffman(
    tables: &Tables,
    part: Part,
    band: Band,
) -> Result<(Option<&Huffman>, Option<&Huffman>), JpegError> {
    let (needs_dc, needs_ac) = (band.first == 0 && band.high == 0, band.last > 0);
    let none = JpegError::Damaged("no table for a scan");
    let dc = tables.dc.get(part.dc).and_then(Option::as_ref);
    let ac = tables.ac.get(part.ac).and_then(Option::as_ref);
    let dc = if needs_dc { Some(dc.ok_or(none)?.checked(true)?) } else { None };
    let ac = if needs_ac { Some(ac.ok_or(none)?.checked(false)?) } else { None };
    Ok((dc, ac))
}

/// Reads the blocks of a scan.
fn blocks(
    frame: &mut Frame,
    restart_interval: usize,
    parts: &[Part],
    band: Band,
    decoder: &mut Decoder<'_, '_>,
) -> Result<(), JpegError> {
    let is_single = parts.len() == 1;
    let (across, down) = match parts {
        // Alone, a component has no blocks beyond its own edge, whatever its sampling factors are.
        [part] => {
            let component = &frame.components[part.component];
            (component.width.div_ceil(8), component.height.div_ceil(8))
        }
        _ => frame.units(),
    };
    let size = |c: &Component| if is_single { (1, 1) } else { (c.across, c.down) };
    let unit_rows = if is_single { frame.components[parts[0].component].down } else { 1 };
    let unit_blocks = parts.iter().map(|part| size(&frame.components[part.component]));
    let unit_blocks = unit_blocks.map(|(wide, high)| wide * high).sum();
    let may_hurry = !frame.is_progressive && restart_interval == 0;
    for unit in 0..across * down {
        if restart_interval > 0 && unit > 0 && unit % restart_interval == 0 {
            decoder.restart();
        }
        let (column, row) = (unit % across, unit / across);
        if decoder.begin(unit_blocks, may_hurry) {
            frame.last_good_row = row / unit_rows;
        } else if frame.is_stored {
            if restart_interval == 0 {
                break;
            }
            continue;
        }
        for (part, index) in parts.iter().zip(0..) {
            let component = &mut frame.components[part.component];
            let (wide, high) = size(component);
            for i in 0..wide * high {
                let (column, row) = (column * wide + i % wide, row * high + i / wide);
                if frame.is_stored {
                    let block = &mut component.coefficients[row * component.blocks_across + column];
                    decoder.block(frame.is_progressive, (index, part), band, block);
                } else {
                    let mut block = [0; 64];
                    decoder.block(false, (index, part), band, &mut block);
                    component.transform(&block, column, row);
                }
            }
        }
        if decoder.is_short() {
            return Err(JpegError::Truncated);
        }
    }
    Ok(())
}

impl Decoder<'_, '_> {
    /// Begins a unit of so many blocks; `false` if nothing of it is there.
    fn begin(&mut self, blocks: usize, may_hurry: bool) -> bool {
        match self {
            Self::Huffman { bits, .. } => bits.begin(blocks, may_hurry),
            Self::Arithmetic(_) => true,
        }
    }

    /// Goes past a restart marker.
    fn restart(&mut self) {
        match self {
            Self::Huffman { bits, state, .. } => {
                bits.restart();
                *state = State::default();
            }
            Self::Arithmetic(decoder) => decoder.restart(),
        }
    }

    /// Whether bytes were wanted after the end of the file.
    fn is_short(&self) -> bool {
        match self {
            Self::Huffman { bits, .. } => bits.stream.is_short,
            Self::Arithmetic(decoder) => decoder.stream.is_short,
        }
    }

    /// Reads a block, or adds to it.
    fn block(
        &mut self,
        is_progressive: bool,
        (index, part): (usize, &Part),
        band: Band,
        block: &mut [i16; 64],
    ) {
        match self {
            Self::Huffman { bits, state, tables } => match (is_progressive, tables[index]) {
                _ if bits.is_spent() => {}
                (false, (Some(dc), Some(ac))) => {
                    entropy::sequential(bits, dc, ac, &mut state.dc[index], block);
                }
                (_, (dc, None)) => {
                    entropy::progressive_dc(bits, dc, band, &mut state.dc[index], block);
                }
                (_, (_, Some(ac))) if band.high == 0 => {
                    entropy::progressive_first(bits, ac, band, state, block);
                }
                (_, (_, Some(ac))) => entropy::progressive_more(bits, ac, band, state, block),
            },
            Self::Arithmetic(decoder) => match (is_progressive, band.first) {
                (false, _) => decoder.sequential((index, part.dc, part.ac), block),
                (true, 0) => decoder.progressive_dc((index, part.dc), band, block),
                (true, _) => decoder.progressive_ac(part.ac, band, block),
            },
        }
    }
}

/// The most blocks in a unit of several components (T.81 B.2.3).
const UNIT_BLOCKS_MAX: usize = 10;

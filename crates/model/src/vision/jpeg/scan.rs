//! The blocks of a scan, in the order in which they are stored (ITU-T T.81 A.2).

use super::entropy::{self, Band, Bits, State};
use super::{Component, Frame, Jpeg, JpegError, Tables, idct};

/// A component in a scan and the numbers of its tables.
#[derive(Clone, Copy)]
struct Part {
    component: usize,
    dc: usize,
    ac: usize,
}

impl Jpeg<'_> {
    /// Reads a scan: its header, and its blocks up to the next marker.
    pub(super) fn scan(&mut self) -> Result<(), JpegError> {
        let body = self.body()?;
        let (parts, band) = header(body, &self.frame)?;
        for part in &parts {
            let component = &mut self.frame.components[part.component];
            if component.steps.is_none() {
                let steps = self.tables.steps.get(component.table).copied().flatten();
                let none = JpegError::Damaged("no quantisation table for a component");
                component.steps = Some(steps.ok_or(none)?);
            }
        }
        let mut bits = Bits::new(self.bytes, self.at);
        blocks(&mut self.frame, &self.tables, &parts, band, &mut bits)?;
        self.at = bits.position();
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
        let component = frame.components.iter().position(|c| c.id == id).ok_or(damaged)?;
        if parts.iter().any(|part| part.component == component) {
            return Err(damaged);
        }
        let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
        parts.push(Part { component, dc, ac });
    }
    let band = if frame.is_progressive {
        let (high, low) = (u32::from(bits >> 4), u32::from(bits & 15));
        Band { first: first.into(), last: last.into(), high, low }
    } else {
        Band { first: 0, last: 63, high: 0, low: 0 }
    };
    let is_dc_only = band.first == 0 && band.last == 0;
    let is_band = band.first > 0 && band.first <= band.last && band.last < 64 && parts.len() == 1;
    let is_possible = !frame.is_progressive || is_dc_only || is_band;
    // 13 is the most that the reference takes: 8-bit samples have coefficients of 11 bits.
    if parts.is_empty() || !is_possible || band.low > 13 {
        return Err(damaged);
    }
    Ok((parts, band))
}

/// Reads the blocks of a scan.
fn blocks(
    frame: &mut Frame,
    tables: &Tables,
    parts: &[Part],
    band: Band,
    bits: &mut Bits<'_>,
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
    let is_progressive = frame.is_progressive;
    let mut state = State::default();
    for unit in 0..across * down {
        if tables.restart_interval > 0 && unit > 0 && unit % tables.restart_interval == 0 {
            bits.restart();
            state = State::default();
        }
        if bits.is_overrun() {
            if bits.is_at_end() {
                return Err(JpegError::Truncated);
            }
            continue;
        }
        let (column, row) = (unit % across, unit / across);
        for (part, index) in parts.iter().zip(0..) {
            let component = &mut frame.components[part.component];
            let (wide, high) = if is_single { (1, 1) } else { (component.across, component.down) };
            for i in 0..wide * high {
                let at = (column * wide + i % wide, row * high + i / wide);
                let part = (*part, index);
                if is_progressive {
                    progressive(component, tables, part, band, &mut state, bits, at)?;
                } else {
                    sequential(component, tables, part, &mut state, bits, at)?;
                }
            }
        }
    }
    Ok(())
}

/// Reads a block of a sequential picture and makes samples of it.
fn sequential(
    component: &mut Component,
    tables: &Tables,
    (part, index): (Part, usize),
    state: &mut State,
    bits: &mut Bits<'_>,
    (column, row): (usize, usize),
) -> Result<(), JpegError> {
    let dc = tables.dc.get(part.dc).and_then(Option::as_ref).ok_or(NO_TABLE)?;
    let ac = tables.ac.get(part.ac).and_then(Option::as_ref).ok_or(NO_TABLE)?;
    let mut block = [0; 64];
    entropy::sequential(bits, dc, ac, &mut state.dc[index], &mut block);
    let stride = 8 * component.blocks_across;
    let out = &mut component.samples[8 * (row * stride + column)..];
    let steps = component.steps.as_ref().ok_or(NO_TABLE)?;
    idct::inverse(&block, steps, out, stride);
    Ok(())
}

/// Adds to a block of a progressive picture.
fn progressive(
    component: &mut Component,
    tables: &Tables,
    (part, index): (Part, usize),
    band: Band,
    state: &mut State,
    bits: &mut Bits<'_>,
    (column, row): (usize, usize),
) -> Result<(), JpegError> {
    let block = &mut component.coefficients[row * component.blocks_across + column];
    if band.first == 0 {
        let dc = tables.dc.get(part.dc).and_then(Option::as_ref);
        if band.high == 0 && dc.is_none() {
            return Err(NO_TABLE);
        }
        entropy::progressive_dc(bits, dc, band, &mut state.dc[index], block);
        return Ok(());
    }
    let ac = tables.ac.get(part.ac).and_then(Option::as_ref).ok_or(NO_TABLE)?;
    if band.high == 0 {
        entropy::progressive_first(bits, ac, band, state, block);
    } else {
        entropy::progressive_more(bits, ac, band, state, block);
    }
    Ok(())
}

const NO_TABLE: JpegError = JpegError::Damaged("no table for a scan");

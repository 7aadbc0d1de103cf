//! What decoding a file will take, by its boxes alone (ISO/IEC 23008-12 and 14496-12).
//!
//! The decoder believes a file in some things: tiles may be named any number of times, stretches of
//! data may lie over each other, and turns may follow each other. So all that is added up here
//! first, always upwards.

use std::collections::BTreeMap;

use super::boxes::{self, Fields, Part};

/// What the main picture takes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    /// Samples, luma and chroma, of all pictures that it is made of.
    pub(super) samples: u64,
    /// Bytes of coded data and of parameters, each as often as it is read.
    pub(super) bytes: u64,
    /// Where the file says that one picture goes with another, as its transparency, say.
    pub(super) auxiliary: Vec<usize>,
    parts: usize,
}

/// One item of the file.
#[derive(Default)]
struct Item {
    samples: u64,
    bytes: u64,
    made_of: Vec<u32>,
}

impl Declared {
    /// Reads the boxes of a file. `None` if they break their rules, or those that keep the decoder
    /// in bounds: see the constants.
    pub(super) fn of(file: &[u8]) -> Option<Self> {
        let top = boxes::parts(file, 0)?;
        let meta = only(&top, *b"meta")?;
        if meta.body.len() > META_BYTES_MAX {
            return None;
        }
        let parts = meta.parts(4)?;
        let mut items = BTreeMap::new();
        places(only(&parts, *b"iloc")?.body, file.len() as u64, &mut items)?;
        let properties: Vec<Part<'_>> = of_kind(&parts, *b"iprp")
            .map(|part| part.parts(0))
            .collect::<Option<Vec<_>>>()?
            .concat();
        let described = of_kind(&properties, *b"ipco")
            .map(|part| part.parts(0))
            .collect::<Option<Vec<_>>>()?
            .concat();
        for links in of_kind(&properties, *b"ipma") {
            associations(links.body, &described, &mut items)?;
        }
        let mut declared = Self::default();
        if of_kind(&parts, *b"iref").next().is_some() {
            declared.auxiliary = references(only(&parts, *b"iref")?, &mut items)?;
        }
        let mut main = Fields(only(&parts, *b"pitm")?.body);
        let (version, _) = main.version()?;
        let id = main.number(if version == 0 { 2 } else { 4 })?;
        declared.add(id as u32, &items, 0)?;
        Some(declared)
    }

    /// Adds an item and those that it is made of.
    fn add(&mut self, id: u32, items: &BTreeMap<u32, Item>, depth: usize) -> Option<()> {
        let Some(item) = items.get(&id) else { return Some(()) };
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            return None;
        }
        self.samples = self.samples.checked_add(item.samples)?;
        self.bytes = self.bytes.checked_add(item.bytes)?;
        item.made_of.iter().try_for_each(|&id| self.add(id, items, depth + 1))
    }
}

fn of_kind<'a, 'b>(
    parts: &'b [Part<'a>],
    kind: [u8; 4],
) -> impl Iterator<Item = &'b Part<'a>> + use<'a, 'b> {
    parts.iter().filter(move |part| part.kind == kind)
}

/// The box of a kind of which there is one.
fn only<'a, 'b>(parts: &'b [Part<'a>], kind: [u8; 4]) -> Option<&'b Part<'a>> {
    let mut found = of_kind(parts, kind);
    found.next().filter(|_| found.next().is_none())
}

/// Reads where the data of each item lies (`iloc`): in no item more than the file has.
fn places(body: &[u8], file_bytes: u64, items: &mut BTreeMap<u32, Item>) -> Option<()> {
    let mut fields = Fields(body);
    let (version, _) = fields.version()?;
    let sizes = fields.number(2)? as usize;
    let [offset, length, base] = [12, 8, 4].map(|shift| sizes >> shift & 0xf);
    let index = if version == 0 { 0 } else { sizes & 0xf };
    let wide = if version < 2 { 2 } else { 4 };
    if [offset, length, base, index].into_iter().any(|size| size > 8) {
        return None;
    }
    for _ in 0..fields.number(wide)? {
        let id = fields.number(wide)? as u32;
        fields.take(if version == 0 { 2 } else { 4 } + base)?;
        let count = fields.number(2)?;
        if count > 1 && length == 0 {
            return None;
        }
        let mut bytes = 0u64;
        for _ in 0..count {
            fields.take(index + offset)?;
            let stretch = fields.number(length)?;
            bytes = bytes.checked_add(if stretch == 0 { file_bytes } else { stretch })?;
        }
        if bytes > file_bytes {
            return None;
        }
        let item: &mut Item = items.entry(id).or_default();
        item.bytes = item.bytes.max(bytes);
    }
    Some(())
}

/// Reads which properties each item has (`ipma`).
fn associations(
    body: &[u8],
    described: &[Part<'_>],
    items: &mut BTreeMap<u32, Item>,
) -> Option<()> {
    // Tiles share their parameters.
    let mut known: BTreeMap<u64, u64> = BTreeMap::new();
    let mut fields = Fields(body);
    let (version, flags) = fields.version()?;
    let (id_bytes, index_bytes) = (if version == 0 { 2 } else { 4 }, 1 + (flags & 1) as usize);
    for _ in 0..fields.number(4)? {
        let item = items.entry(fields.number(id_bytes)? as u32).or_default();
        let mut turns = 0;
        for _ in 0..fields.number(1)? {
            let index = fields.number(index_bytes)? & if flags & 1 == 1 { 0x7fff } else { 0x7f };
            let place = (index as usize).checked_sub(1);
            let Some(property) = place.and_then(|place| described.get(place)) else { continue };
            match &property.kind {
                b"hvcC" => {
                    let samples = match known.get(&index) {
                        Some(&samples) => samples,
                        None => boxes::samples(property.body)?,
                    };
                    known.insert(index, samples);
                    item.samples = item.samples.max(samples);
                    item.bytes += COPIES * property.body.len() as u64;
                }
                b"irot" | b"imir" | b"clap" => turns += 1,
                _ => {}
            }
        }
        if turns > TURNS_MAX {
            return None;
        }
    }
    Some(())
}

/// Reads what each item is made of or predicted from (`iref`), and gives the places of `auxl`.
fn references(part: &Part<'_>, items: &mut BTreeMap<u32, Item>) -> Option<Vec<usize>> {
    let (version, _) = Fields(part.body).version()?;
    let id_bytes = if version == 0 { 2 } else { 4 };
    let mut auxiliary = Vec::new();
    for part in part.parts(4)? {
        match &part.kind {
            b"auxl" => auxiliary.push(part.at),
            b"dimg" | b"pred" => {
                let mut fields = Fields(part.body);
                while !fields.0.is_empty() {
                    let from = fields.number(id_bytes)? as u32;
                    for _ in 0..fields.number(2)? {
                        let to = fields.number(id_bytes)? as u32;
                        items.entry(from).or_default().made_of.push(to);
                    }
                }
            }
            _ => {}
        }
    }
    Some(auxiliary)
}

/// The longest description; a picture of 200 tiles has 10 kB.
const META_BYTES_MAX: usize = 1 << 24;

/// The longest chain of pictures made of others: a grid in two wrappers, and its tiles.
const DEPTH_MAX: usize = 3;

/// The most pictures that one is made of: two grids of 256 x 256.
const PARTS_MAX: usize = 1 << 17;

/// The most crops, turns and mirrors of one item; the standard has one of each.
const TURNS_MAX: usize = 4;

/// How often the decoder holds the bytes of parameters, with its headers of pieces.
const COPIES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes(), &kind[..], body].concat()
    }

    /// A grid 9 of three times item 1, which has these properties.
    fn grid(properties: &[&[u8]], links: &[u8]) -> Vec<u8> {
        let properties = part(b"ipco", &properties.concat());
        let links = [&[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, links.len() as u8], links].concat();
        let meta = [
            &[0; 4][..],
            &part(b"pitm", &[0, 0, 0, 0, 0, 9]),
            // One stretch of 20 bytes.
            &part(b"iloc", &[0, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20]),
            &part(b"iprp", &[properties, part(b"ipma", &links)].concat()),
            &part(
                b"iref",
                &[&[0; 4][..], &part(b"dimg", &[0, 9, 0, 3, 0, 1, 0, 1, 0, 1]), AUXL].concat(),
            ),
        ];
        part(b"meta", &meta.concat())
    }

    const AUXL: &[u8] = b"\0\0\0\x0eauxl\0\x02\0\x01\0\x09";

    /// Parameters of 16 x 8 pixels in 4:2:0, by H.265's syntax: 105 bits that say nothing of sides,
    /// then the codes of 0, 1, 16 and 8, among zeros that must be kept from looking like a start.
    fn configuration() -> Vec<u8> {
        let bits = ["0".repeat(4 + 3 + 1 + 96), "1".into(), "010".into(), "000010001".into()];
        let bits = [&bits.concat(), "0001001", "0000"].concat();
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| byte.iter().fold(0, |n, bit| n << 1 | (bit - b'0')))
            .collect();
        let mut unit = vec![0x42, 1];
        for pair in bytes.chunks(2) {
            unit.extend(pair);
            unit.extend(if pair == [0, 0] { vec![3] } else { vec![] });
        }
        let head = [&[0; 22][..], &[1, 33, 0, 1, 0, unit.len() as u8]].concat();
        part(b"hvcC", &[head, unit].concat())
    }

    #[test]
    fn every_use_of_a_tile_counts() {
        let hevc = configuration();
        let file = grid(&[&hevc], &[0x81]);
        let found = Declared::of(&file).unwrap();
        assert_eq!(found.samples, 3 * (16 * 8 + 2 * 8 * 4));
        assert_eq!(found.bytes, 3 * (20 + 16 * (hevc.len() as u64 - 8)));
        let [at] = found.auxiliary[..] else { panic!("{found:?}") };
        assert_eq!(file[at..][..4], *b"auxl");
    }

    #[test]
    fn what_would_lead_the_decoder_astray_is_refused() {
        let (hevc, turn) = (configuration(), part(b"irot", &[1]));
        assert!(Declared::of(&grid(&[&hevc, &turn], &[1, 2, 2, 2, 2])).is_some());
        assert!(Declared::of(&grid(&[&hevc, &turn], &[1, 2, 2, 2, 2, 2])).is_none());
        let whole = grid(&[&hevc], &[1]);
        assert!(Declared::of(&[whole.clone(), whole.clone()].concat()).is_none());
        // The grid is made of itself.
        let mut endless = whole.clone();
        let at = endless.windows(4).position(|kind| kind == b"dimg").unwrap();
        endless[at + 9] = 9;
        assert!(Declared::of(&endless).is_none());
        // An item of more bytes than the file has.
        let mut long = whole;
        let at = long.windows(4).position(|kind| kind == b"iloc").unwrap();
        long[at + 22] = 1;
        assert!(Declared::of(&long).is_none());
    }
}

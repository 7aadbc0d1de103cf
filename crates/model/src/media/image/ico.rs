//! Icons: the largest picture in the file, and of several as large the one of the fewest colours,
//! as the reference chooses.

/// A picture in an icon.
pub(super) enum Chosen<'a> {
    /// A PNG file.
    Png(&'a [u8]),
    /// An icon file of this picture alone.
    Bitmap(Vec<u8>),
}

/// The picture that is shown; `None` where the file is damaged.
pub(super) fn chosen(bytes: &[u8]) -> Option<Chosen<'_>> {
    let count = u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let entries = bytes.get(6..)?.as_chunks::<16>().0.get(..usize::from(count))?;
    let side = |value: u8| if value == 0 { 256 } else { u32::from(value) };
    let depth = |entry: &[u8; 16]| match (u16::from_le_bytes([entry[6], entry[7]]), entry[2]) {
        (0, 0) => 256,
        (0, colors) => u32::from(colors).next_power_of_two().ilog2(),
        (bits, _) => u32::from(bits),
    };
    let order =
        |entry: &&[u8; 16]| (std::cmp::Reverse(side(entry[0]) * side(entry[1])), depth(entry));
    let mut entry = *entries.iter().min_by_key(order)?;
    let number = |at: usize| {
        let bytes = entry[at..].first_chunk().copied().unwrap_or_default();
        u32::from_le_bytes(bytes) as usize
    };
    let (length, offset) = (number(8), number(12));
    let data = bytes.get(offset..)?;
    if data.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(Chosen::Png(data));
    }
    let data = data.get(..length).unwrap_or(data);
    entry[12..].copy_from_slice(&22u32.to_le_bytes());
    entry[8..12].copy_from_slice(&(data.len() as u32).to_le_bytes());
    Some(Chosen::Bitmap([b"\0\0\x01\0\x01\0".as_slice(), &entry, data].concat()))
}

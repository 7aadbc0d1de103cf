//! The report for people.

use std::io::{self, Write};

use carat::Memory;
use carat_gguf::{Array, Endian, Gguf, Value};

use super::{Experts, Fit, Machine, PROGRAM_BYTES, Report, SessionNeeds, Sum};
use crate::text::{bytes, count, shortened};

pub(super) fn report(
    out: &mut impl Write,
    report: &Report<'_>,
    every_tensor: bool,
) -> io::Result<()> {
    file(out, report)?;
    metadata(out, report.gguf)?;
    types(out, report)?;
    if every_tensor {
        tensors(out, report.gguf)?;
    }
    report.senses.show(out)?;
    report.drafting.show(out)?;
    match &report.session {
        Ok(needs) => session(out, needs, report.machine.as_ref()),
        Err(e) => writeln!(out, "\nNo session: {}", crate::sentence(e)),
    }
}

fn file(out: &mut impl Write, report: &Report<'_>) -> io::Result<()> {
    let gguf = report.gguf;
    for path in report.source.paths() {
        writeln!(out, "{}", shortened(&path.display().to_string(), usize::MAX))?;
    }
    let endian = match gguf.endian() {
        Endian::Little => "little-endian",
        Endian::Big => "big-endian",
    };
    let size = bytes(report.source.bytes_total());
    let (version, alignment) = (gguf.version(), gguf.alignment());
    writeln!(out, "GGUF version {version}, {endian}, {size}, alignment {alignment}")
}

fn metadata(out: &mut impl Write, gguf: &Gguf<'_>) -> io::Result<()> {
    writeln!(out, "\nMetadata: {} entries", gguf.metadata().len())?;
    let keys = gguf.metadata().iter().map(|(key, _)| key.chars().count());
    let width = keys.max().unwrap_or(0).min(KEY_WIDTH_MAX);
    for (key, value) in gguf.metadata().iter() {
        writeln!(out, "  {:width$}  {}", shortened(key, usize::MAX), plain(value))?;
    }
    Ok(())
}

/// A value without its type, which a reader sees from it.
fn plain(value: &Value<'_>) -> String {
    if let Some(text) = value.as_str() {
        return shortened(text, TEXT_CHARS_MAX);
    }
    if let Some(array) = value.as_array() {
        return elements(array);
    }
    match *value {
        Value::F32(v) => v.to_string(),
        Value::F64(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::U64(v) => v.to_string(),
        _ => value.as_int().map_or_else(|| value.to_string(), |v| v.to_string()),
    }
}

/// `[48 × bool: true, true, true, …]`
fn elements(array: Array<'_>) -> String {
    let kind = format!("{} × {}", array.len(), array.element_type());
    let first = first(array, ELEMENTS_MAX);
    if first.is_empty() {
        return format!("[{kind}]");
    }
    let more = if array.len() > first.len() { ", …" } else { "" };
    format!("[{kind}: {}{more}]", first.join(", "))
}

fn first(array: Array<'_>, n: usize) -> Vec<String> {
    if let Some(items) = array.strings() {
        return items.take(n).map(|s| format!("\"{}\"", shortened(s, ITEM_CHARS_MAX))).collect();
    }
    if let Some(items) = array.arrays() {
        return items.take(n).map(|a| format!("[{} × {}]", a.len(), a.element_type())).collect();
    }
    if let Some(items) = array.floats() {
        return items.take(n).map(|v| v.to_string()).collect();
    }
    if let Some(items) = array.bools() {
        return items.take(n).map(|v| v.to_string()).collect();
    }
    if let Some(items) = array.ints() {
        return items.take(n).map(|v| v.to_string()).collect();
    }
    array.uints().into_iter().flatten().take(n).map(|v| v.to_string()).collect()
}

fn types(out: &mut impl Write, report: &Report<'_>) -> io::Result<()> {
    let Sum { tensors, parameters, bytes: size } = report.total;
    if tensors == 0 {
        return writeln!(out, "\nTensors: none");
    }
    let (parameters, size) = (count(parameters), bytes(size));
    writeln!(out, "\nTensors: {tensors}, {parameters} parameters, {size}")?;
    writeln!(out, "  {:8}{:>9}{:>14}{:>12}{:>8}", "type", "tensors", "parameters", "size", "bits")?;
    for t in &report.types {
        let Sum { tensors, parameters, bytes: size } = t.sum;
        let (name, bits) = (t.tensor_type.name(), t.sum.bits_per_parameter());
        let (parameters, size) = (count(parameters), bytes(size));
        writeln!(out, "  {name:8}{tensors:>9}{parameters:>14}{size:>12}{bits:>8.2}")?;
    }
    Ok(())
}

fn tensors(out: &mut impl Write, gguf: &Gguf<'_>) -> io::Result<()> {
    let names = gguf.tensors().iter().map(|t| t.name.chars().count());
    let width = names.max().unwrap_or(0);
    writeln!(out)?;
    for t in gguf.tensors() {
        let name = shortened(t.name, usize::MAX);
        let size = bytes(t.data.len() as u64);
        writeln!(out, "  {name:width$}  {:8}{size:>12}  {}", t.tensor_type.name(), t.shape)?;
    }
    Ok(())
}

fn session(
    out: &mut impl Write,
    needs: &SessionNeeds,
    machine: Option<&Machine>,
) -> io::Result<()> {
    write!(out, "\nModel: {}", needs.model)?;
    if let Some(Experts { count, used, .. }) = needs.experts {
        let read = bytes(needs.text.experts_of_token);
        write!(out, "; {used} of {count} experts work for a token, {read} of weights")?;
    }
    writeln!(out)?;
    memory(out, needs)?;
    if needs.text.on_disk > 0 {
        let on_disk = bytes(needs.text.on_disk);
        writeln!(
            out,
            "Of the file, {on_disk} stay on the disk: the per-layer embeddings, of which every \
             token reads one row"
        )?;
    }
    if needs.unread > 0 {
        let unread = bytes(needs.unread);
        writeln!(
            out,
            "Of the file, {unread} for pictures and sound are not read: \
             these need a projector file of their own (mmproj)"
        )?;
    }
    if !needs.ignored_keys.is_empty() {
        let keys: Vec<_> =
            needs.ignored_keys.iter().map(|key| shortened(key, KEY_WIDTH_MAX)).collect();
        writeln!(out, "Keys that this version does not know: {}", keys.join(", "))?;
    }
    let Some(machine) = machine else {
        return writeln!(out, "This system does not say how much memory it has");
    };
    let (have, free) = (bytes(machine.total), bytes(machine.available));
    write!(out, "This machine has {have}, {free} of it free: ")?;
    let paging = machine.paging(&needs.text);
    match machine.fit(SessionNeeds::total(&needs.text)) {
        Fit::Now => writeln!(out, "the session fits"),
        Fit::NotNow(missing) => {
            write!(out, "close other programs, {} more must be free", bytes(missing))?;
            match paging {
                Some(paging) => writeln!(out, "; now {}", paging.sentence()),
                None => writeln!(out),
            }
        }
        Fit::Never(missing) => match paging {
            Some(paging) => writeln!(out, "{}", paging.sentence()),
            None => {
                let hint = "choose a smaller file, --kv q8 or a shorter --ctx";
                writeln!(out, "the session does not fit, it needs {} more: {hint}", bytes(missing))
            }
        },
    }
}

/// The memory of a session, part by part.
fn memory(out: &mut impl Write, needs: &SessionNeeds) -> io::Result<()> {
    let Memory { weights, tokenizer, kv, scratch, .. } = needs.text;
    let total = SessionNeeds::total(&needs.text);
    writeln!(out, "\nMemory of a session of {} tokens", needs.context)?;
    let kv_name = format!("keys and values, {}", needs.kv);
    for (what, size) in [
        ("weights", weights),
        ("  of these experts", needs.text.experts),
        ("tokenizer and template", tokenizer),
        (&kv_name, kv),
        ("work space", scratch),
        ("program", PROGRAM_BYTES),
        ("together", total),
    ] {
        if what.starts_with(' ') && size == 0 {
            continue; // a model without experts
        }
        writeln!(out, "  {what:24}{:>12}", bytes(size))?;
    }
    match &needs.media {
        Some(Ok(media)) => {
            writeln!(
                out,
                "  {:24}{:>12}",
                "with pictures and sound",
                bytes(SessionNeeds::total(media))
            )?;
        }
        Some(Err(e)) => writeln!(out, "  no pictures and sound: {}", crate::sentence(e))?,
        None => {}
    }
    if let Some(Ok(drafts)) = &needs.drafts {
        writeln!(out, "  {:24}{:>12}", "with drafts", bytes(SessionNeeds::total(drafts)))?;
    }
    Ok(())
}

/// Longer keys break the column.
const KEY_WIDTH_MAX: usize = 48;
/// Characters of a text value.
const TEXT_CHARS_MAX: usize = 72;
/// Elements of an array, and characters of each.
const ELEMENTS_MAX: usize = 6;
const ITEM_CHARS_MAX: usize = 16;

//! Memory over sessions: what the system says, a straight line through it, a table, a picture.

use std::fmt::Write;

/// The memory of this process after some sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Sessions that have begun and ended.
    pub(crate) sessions: usize,
    /// Tokens that they decoded.
    pub(crate) tokens: usize,
    /// Bytes that the process has in memory.
    pub(crate) resident: u64,
}

/// Bytes that this process has in memory, pages of files among them; `None` where the system has no
/// `/proc/self/statm`.
pub(crate) fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_bytes()?)
}

/// Bytes of a page: the auxiliary vector of the process has them, as pairs of words.
fn page_bytes() -> Option<u64> {
    const PAGE_SIZE: usize = 6; // AT_PAGESZ of getauxval(3)
    let vector = std::fs::read("/proc/self/auxv").ok()?;
    let word = |bytes: &[u8]| bytes.try_into().map(usize::from_ne_bytes).ok();
    let mut pairs = vector.chunks_exact(2 * size_of::<usize>());
    pairs.find_map(|pair| {
        let (key, value) = pair.split_at(size_of::<usize>());
        (word(key)? == PAGE_SIZE).then_some(word(value)? as u64)
    })
}

/// Bytes that memory grows by in a session: the slope of the straight line with the least squares
/// through the samples from session `warm` on. `None` for fewer than two numbers of sessions.
pub(crate) fn slope(samples: &[Sample], warm: usize) -> Option<f64> {
    let samples: Vec<_> = samples.iter().filter(|sample| sample.sessions >= warm).collect();
    let count = samples.len() as f64;
    let mean = |f: &dyn Fn(&Sample) -> f64| samples.iter().map(|s| f(s)).sum::<f64>() / count;
    let (x, y) = (|s: &Sample| s.sessions as f64, |s: &Sample| s.resident as f64);
    let (x_mean, y_mean) = (mean(&x), mean(&y));
    let square = mean(&|s| (x(s) - x_mean).powi(2));
    let product = mean(&|s| (x(s) - x_mean) * (y(s) - y_mean));
    (square > 0.0).then(|| product / square)
}

/// The samples as a table.
pub(crate) fn csv(samples: &[Sample]) -> String {
    let mut out = "sessions,tokens,resident_bytes\n".to_owned();
    for Sample { sessions, tokens, resident } in samples {
        let _ = writeln!(out, "{sessions},{tokens},{resident}");
    }
    out
}

/// The samples as a picture, with the words of `title` above it.
pub(crate) fn svg(samples: &[Sample], title: &str) -> String {
    let last = samples.iter().map(|sample| sample.sessions).max().unwrap_or(0).max(1);
    let most = samples.iter().map(|sample| sample.resident).max().unwrap_or(0);
    let top = (most as f64 * 1.1).max(MIB);
    let x = |sessions: f64| LEFT + (WIDTH - LEFT - RIGHT) * sessions / last as f64;
    let y = |bytes: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * bytes / top;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#444\">\n<rect width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"18\">{title}</text>\n"
    );
    for tick in 0..=4 {
        let part = f64::from(tick) / 4.0;
        let (bytes, sessions) = (top * part, last as f64 * part);
        let (height, across) = (y(bytes), x(sessions));
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {height:.1}H{}\" stroke=\"#ddd\"/>\n<text x=\"{}\" \
             y=\"{:.1}\" text-anchor=\"end\">{:.0}</text>\n<text x=\"{across:.1}\" y=\"{}\" \
             text-anchor=\"middle\">{sessions:.0}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            height + 4.0,
            bytes / MIB,
            HEIGHT - BOTTOM + 18.0,
        );
    }
    let points = samples
        .iter()
        .map(|sample| format!("{:.1},{:.1}", x(sample.sessions as f64), y(sample.resident as f64)));
    let points: Vec<_> = points.collect();
    let _ = write!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#1668b8\" stroke-width=\"1.5\"/>\n<text \
         x=\"{}\" y=\"{}\" text-anchor=\"middle\">sessions</text>\n<text x=\"4\" \
         y=\"{}\">MiB</text>\n</svg>\n",
        points.join(" "),
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 6.0,
        TOP - 6.0,
    );
    out
}

const MIB: f64 = (1 << 20) as f64;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 42.0;
const BOTTOM: f64 = 44.0;

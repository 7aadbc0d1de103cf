//! A chart in SVG: axes, lines, points and bars, with colours that the page's style sheet decides.

use std::fmt::Write;

use crate::text::escaped;

/// How numbers become positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// For numbers above 0.
    Log,
}

/// One direction of a chart.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) title: String,
    pub(super) scale: Scale,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Axis {
    /// From 0 to a little above the largest value.
    pub(super) fn from_zero(title: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let largest = values.into_iter().fold(0.0, f64::max);
        let max = if largest > 0.0 { largest * 1.08 } else { 1.0 };
        Self { title: title.to_owned(), scale: Scale::Linear, min: 0.0, max }
    }

    /// Around all values, which are above 0.
    pub(super) fn log(title: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let (mut min, mut max) = (f64::INFINITY, 0.0f64);
        for value in values {
            (min, max) = (min.min(value), max.max(value));
        }
        if !(min > 0.0 && max.is_finite() && min <= max) {
            (min, max) = (1.0, 10.0);
        }
        Self { title: title.to_owned(), scale: Scale::Log, min: min / 1.6, max: max * 1.6 }
    }

    /// Where a value stands between the ends, 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.min) / (self.max - self.min),
            Scale::Log => (value / self.min).ln() / (self.max / self.min).ln(),
        };
        part.clamp(0.0, 1.0)
    }

    /// Round numbers along the axis.
    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.max - self.min) / 5.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
                let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
                let first = (self.min / step).ceil() as i64;
                let last = (self.max / step).floor() as i64;
                (first..=last).map(|i| i as f64 * step).collect()
            }
            Scale::Log => {
                let tens = self.min.log10().floor() as i32..=self.max.log10().ceil() as i32;
                let all = tens.flat_map(|ten| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(ten)));
                let within: Vec<_> = all.filter(|x| (self.min..=self.max).contains(x)).collect();
                let thin = within.len().div_ceil(8).max(1);
                within.into_iter().step_by(thin).collect()
            }
        }
    }
}

/// A chart that is being drawn. Colours are the classes `s0` to `s5`, one for each series.
pub(super) struct Chart {
    x: Axis,
    y: Axis,
    body: String,
    legend: Vec<(usize, String)>,
}

impl Chart {
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        let mut chart = Self { x, y, body: String::new(), legend: Vec::new() };
        chart.axes();
        chart
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let width = WIDTH - LEFT - RIGHT;
        let height = HEIGHT - TOP - BOTTOM;
        (LEFT + width * self.x.part(x), HEIGHT - BOTTOM - height * self.y.part(y))
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    fn axes(&mut self) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in self.x.ticks() {
            let (x, _) = self.at((tick, self.y.min));
            self.add(format_args!(
                r#"<line class="g" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}"/>"#
            ));
            let (y, label) = (bottom + 18.0, label(tick));
            self.add(format_args!(
                r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{label}</text>"#
            ));
        }
        for tick in self.y.ticks() {
            let (_, y) = self.at((self.x.min, tick));
            self.add(format_args!(
                r#"<line class="g" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#
            ));
            let (x, base, label) = (LEFT - 8.0, y + 4.0, label(tick));
            self.add(format_args!(
                r#"<text x="{x}" y="{base:.1}" text-anchor="end">{label}</text>"#
            ));
        }
        let (middle, below) = (f64::midpoint(LEFT, right), HEIGHT - 8.0);
        let title = escaped(&self.x.title);
        self.add(format_args!(
            r#"<text x="{middle}" y="{below}" text-anchor="middle">{title}</text>"#
        ));
        let (above, title) = (TOP - 12.0, escaped(&self.y.title));
        self.add(format_args!(r#"<text x="8" y="{above}">{title}</text>"#));
    }

    /// A line through points, dashed where it is a limit and not a measurement.
    pub(super) fn line(&mut self, series: usize, points: &[(f64, f64)], is_limit: bool) {
        let points: Vec<_> = points.iter().map(|point| self.at(*point)).collect();
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (colour, path) = (series % COLOURS, path.join(" "));
        let dash = if is_limit { " limit" } else { "" };
        self.add(format_args!(r#"<polyline class="l s{colour}{dash}" points="{path}"/>"#));
    }

    /// A point with a text that shows when it is pointed at.
    pub(super) fn point(&mut self, series: usize, point: (f64, f64), title: &str) {
        let ((x, y), colour, title) = (self.at(point), series % COLOURS, escaped(title));
        self.add(format_args!(
            r#"<circle class="p s{colour}" cx="{x:.1}" cy="{y:.1}" r="5"><title>{title}</title></circle>"#
        ));
    }

    /// A word at a point; it ends there if `is_end`.
    pub(super) fn word(&mut self, point: (f64, f64), text: &str, is_end: bool) {
        let ((x, y), text) = (self.at(point), escaped(text));
        let (y, anchor) = (y - 7.0, if is_end { "end" } else { "start" });
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// Names a series below the chart.
    pub(super) fn name(&mut self, series: usize, text: &str) {
        if !self.legend.iter().any(|(s, _)| *s == series) {
            self.legend.push((series, text.to_owned()));
        }
    }

    /// The chart with what it shows, for those who cannot see it.
    pub(super) fn finish(self, description: &str) -> String {
        let mut out = format!(
            "<figure><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\"><title>{}</title>\n{}</svg>\n",
            escaped(description),
            self.body
        );
        out.push_str(&legend(&self.legend));
        out + "</figure>\n"
    }
}

/// Horizontal bars in groups: a name, and for each series a value or nothing.
pub(super) fn bars(
    groups: &[(String, Vec<Option<f64>>)],
    names: &[String],
    description: &str,
) -> String {
    let largest =
        groups.iter().flat_map(|(_, values)| values).flatten().fold(0.0, |a, b| f64::max(a, *b));
    let (bar, gap, left) = (16.0, 14.0, 170.0);
    let mut body = String::new();
    let mut y = 8.0;
    for (name, values) in groups {
        let values: Vec<_> =
            values.iter().enumerate().filter_map(|(i, v)| Some((i, (*v)?))).collect();
        let middle = y + bar * values.len() as f64 / 2.0 + 4.0;
        let name = escaped(name);
        let _ = writeln!(
            body,
            r#"<text x="{:.1}" y="{middle:.1}" text-anchor="end">{name}</text>"#,
            left - 8.0
        );
        for (series, value) in values {
            let width = if largest > 0.0 { (WIDTH - left - 70.0) * value / largest } else { 0.0 };
            let (colour, height, base) = (series % COLOURS, bar - 2.0, y + 12.0);
            let _ = writeln!(
                body,
                r#"<rect class="b s{colour}" x="{left}" y="{y:.1}" width="{width:.1}" height="{height}"/>"#
            );
            let (x, value) = (left + width + 5.0, super::digits(value));
            let _ = writeln!(body, r#"<text x="{x:.1}" y="{base:.1}">{value}</text>"#);
            y += bar;
        }
        y += gap;
    }
    let legend_of: Vec<_> = names.iter().cloned().enumerate().collect();
    format!(
        "<figure><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y:.0}\" \
         role=\"img\"><title>{}</title>\n{body}</svg>\n{}</figure>\n",
        escaped(description),
        legend(&legend_of)
    )
}

fn legend(names: &[(usize, String)]) -> String {
    let mut out = String::from("<figcaption>");
    for (series, name) in names {
        let (colour, name) = (series % COLOURS, escaped(name));
        let _ = write!(out, r#"<span class="k s{colour}">{name}</span> "#);
    }
    out + "</figcaption>\n"
}

/// `20k` from ten thousand on; below that numbers as they are.
fn label(tick: f64) -> String {
    match tick {
        0.0 => "0".to_owned(),
        t if t >= 10_000.0 => format!("{}k", t / 1000.0),
        t if t < 1.0 => format!("{t:.2}"),
        t if t.fract() == 0.0 => format!("{t:.0}"),
        t => format!("{t:.1}"),
    }
}

/// Colours that the style sheet has.
const COLOURS: usize = 6;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 52.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let axis = |scale, min, max| Axis { title: String::new(), scale, min, max };
        assert_eq!(axis(Scale::Linear, 0.0, 43.0).ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(axis(Scale::Log, 1.5, 60.0).ticks(), [2.0, 5.0, 10.0, 20.0, 50.0]);
    }

    #[test]
    fn positions_by_hand() {
        let linear = Axis::from_zero("", [100.0]);
        assert!((linear.part(54.0) - 0.5).abs() < 1e-12);
        assert_eq!((linear.part(-1.0), linear.part(1e9)), (0.0, 1.0));
        let log = Axis { title: String::new(), scale: Scale::Log, min: 1.0, max: 10_000.0 };
        assert!((log.part(100.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn axes_without_values_are_still_axes() {
        assert!(Axis::log("", []).ticks().len() > 1);
        assert!(Axis::from_zero("", []).ticks().len() > 1);
    }
}

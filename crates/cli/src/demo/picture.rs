//! Pictures in a terminal: a character cell is two pixels, one above the other. The upper half
//! block has the colour of the upper one, what is behind it that of the lower one.

use std::fmt::Write as _;

use anstyle::{Color, Style};
use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage};

use super::screen::Screen;

/// The lines of a picture, indented, of at most so many cells; none where it cannot be drawn.
pub(super) fn drawn(picture: &DynamicImage, screen: &Screen) -> Vec<String> {
    let columns = screen.width.saturating_sub(2 * INDENT.len()).min(COLUMNS_MAX);
    if columns == 0 || !screen.has_pictures() || picture.width() == 0 || picture.height() == 0 {
        return Vec::new();
    }
    let pixels = small(picture, columns as u32, 2 * ROWS_MAX);
    (0..pixels.height() / 2).map(|row| line(&pixels, row, screen)).collect()
}

/// The picture on white, no larger than `width` and `height` and with the ratio of its sides, of an
/// even number of rows.
fn small(picture: &DynamicImage, width: u32, height: u32) -> RgbImage {
    let scale = f64::from(width) / f64::from(picture.width());
    let scale = scale.min(f64::from(height) / f64::from(picture.height()));
    let side = |n: u32, most: u32| ((f64::from(n) * scale).round() as u32).clamp(1, most);
    let columns = side(picture.width(), width);
    let rows = side(picture.height(), height).next_multiple_of(2);
    imageops::resize(&on_white(picture), columns, rows, FilterType::Triangle)
}

fn on_white(picture: &DynamicImage) -> RgbImage {
    let rgba = picture.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0;
        let mixed = |colour: u8| {
            let (colour, alpha) = (u32::from(colour), u32::from(alpha));
            ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        Rgb([red, green, blue].map(mixed))
    })
}

/// A line of cells. Colours are named where they change, and forgotten at the end.
fn line(pixels: &RgbImage, row: u32, screen: &Screen) -> String {
    let mut line = String::from(INDENT);
    let mut last: Option<(Option<Color>, Option<Color>)> = None;
    for x in 0..pixels.width() {
        let colour = |y: u32| screen.colour(pixels.get_pixel(x, y).0);
        let (upper, lower) = (colour(2 * row), colour(2 * row + 1));
        if last != Some((upper, lower)) {
            let style = Style::new().fg_color(upper).bg_color(lower);
            let _ = write!(line, "{style}");
            last = Some((upper, lower));
        }
        line.push('▀');
    }
    let _ = write!(line, "{}", anstyle::Reset);
    line
}

/// What stands to the left of everything that belongs to an item.
pub(super) const INDENT: &str = "  ";

/// The most columns and rows of cells, so that a picture and its question fit a window.
const COLUMNS_MAX: usize = 44;
const ROWS_MAX: u32 = 12;

#[cfg(test)]
mod tests {
    use super::super::screen::Colours;
    use std::num::NonZero;

    use super::*;

    /// The pixels that a terminal shows: an emulator reads the lines, and every cell is two pixels.
    fn shown(lines: &[String], width: u16) -> Vec<Vec<vt100::Color>> {
        let side = |n: u16| NonZero::new(n).expect("a terminal has columns and rows");
        let mut terminal = vt100::Parser::new(side(lines.len() as u16 + 1), side(width), 0);
        terminal.process(lines.join("\r\n").as_bytes());
        // What comes after the picture has the terminal's own colours.
        terminal.process(b"\r\nx");
        let after = terminal.screen().cell(lines.len() as u16, 0).expect("a cell");
        assert_eq!((after.fgcolor(), after.bgcolor()), Default::default());
        let mut rows = Vec::new();
        for y in 0..lines.len() as u16 {
            let cells = (0..width).map(|x| terminal.screen().cell(y, x).expect("a cell"));
            let cells: Vec<_> = cells.filter(|cell| cell.contents() == "▀").collect();
            rows.push(cells.iter().map(|cell| cell.fgcolor()).collect());
            rows.push(cells.iter().map(|cell| cell.bgcolor()).collect());
        }
        rows
    }

    fn screen(colours: Colours, width: usize) -> Screen {
        Screen { colours, has_blocks: true, width }
    }

    fn stripes(width: u32, height: u32) -> DynamicImage {
        let pixel = |x: u32, y: u32| Rgb([(40 * x) as u8, (9 * y) as u8, (x * y) as u8]);
        RgbImage::from_fn(width, height, pixel).into()
    }

    #[test]
    fn every_pixel_of_a_picture_of_the_right_size_is_on_the_screen() {
        // 44 columns and 24 half rows are the most: nothing is scaled.
        let picture = stripes(44, 24);
        let rows = shown(&drawn(&picture, &screen(Colours::True, 80)), 80);
        assert_eq!(rows.len(), 24);
        for (y, row) in rows.iter().enumerate() {
            assert_eq!(row.len(), 44);
            for (x, colour) in row.iter().enumerate() {
                let Rgb([r, g, b]) = *picture.to_rgb8().get_pixel(x as u32, y as u32);
                assert_eq!(*colour, vt100::Color::Rgb(r, g, b), "{x}, {y}");
            }
        }
    }

    #[test]
    fn the_palette_has_the_nearest_of_its_plain_colours() {
        // The numbers stand in the table of xterm: the corners of the cube and the middle grey.
        let colours =
            [([255, 0, 0], 196), ([0, 255, 0], 46), ([0, 0, 255], 21), ([255, 255, 255], 231)];
        for (rgb, wanted) in colours {
            let picture = RgbImage::from_pixel(44, 24, Rgb(rgb)).into();
            let rows = shown(&drawn(&picture, &screen(Colours::Palette, 80)), 80);
            let vt100::Color::Idx(index) = rows[0][0] else { panic!("{:?}", rows[0][0]) };
            // White is there twice, and so are the bright colours.
            let bright = [(196, 9), (46, 10), (21, 12), (231, 15)];
            assert!(index == wanted || bright.contains(&(wanted, index)), "{rgb:?}: {index}");
        }
    }

    #[test]
    fn a_picture_keeps_its_ratio_and_its_place() {
        for (width, height, at, wanted) in [
            (1000, 100, 60, (44, 4)),
            (100, 1000, 120, (2, 24)),
            (300, 300, 80, (24, 24)),
            (1000, 100, 24, (20, 2)),
            (1, 1, 80, (24, 24)),
            (5000, 1, 80, (44, 2)),
        ] {
            let lines = drawn(&stripes(width, height), &screen(Colours::True, at));
            let rows = shown(&lines, at as u16);
            assert_eq!((rows[0].len(), rows.len()), wanted, "{width} x {height} at {at}");
        }
    }

    #[test]
    fn halves_stay_where_they_are() {
        let half = |x: u32, _| if x < 88 { Rgb([250, 10, 20]) } else { Rgb([5, 90, 240]) };
        let picture: DynamicImage = RgbImage::from_fn(176, 96, half).into();
        for row in shown(&drawn(&picture, &screen(Colours::True, 80)), 80) {
            assert_eq!(
                (row[10], row[33]),
                (vt100::Color::Rgb(250, 10, 20), vt100::Color::Rgb(5, 90, 240))
            );
        }
    }

    #[test]
    fn what_is_clear_is_white() {
        let mut clear = image::RgbaImage::from_pixel(44, 24, image::Rgba([9, 9, 9, 0]));
        clear.put_pixel(0, 0, image::Rgba([0, 0, 0, 51]));
        let rows = shown(&drawn(&clear.into(), &screen(Colours::True, 80)), 80);
        assert_eq!(rows[1][1], vt100::Color::Rgb(255, 255, 255));
        // A fifth of black on white.
        assert_eq!(rows[0][0], vt100::Color::Rgb(204, 204, 204));
    }

    #[test]
    fn nothing_is_drawn_without_room_or_colours() {
        let picture = stripes(10, 10);
        assert!(drawn(&picture, &screen(Colours::Sixteen, 80)).is_empty());
        assert!(drawn(&picture, &screen(Colours::None, 80)).is_empty());
        assert!(drawn(&picture, &screen(Colours::True, 3)).is_empty());
        assert_eq!(drawn(&picture, &screen(Colours::True, 5)).len(), 1);
    }
}

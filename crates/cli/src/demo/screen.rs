//! What the place that is written to can show: colours, blocks, and how many columns.

use std::env;
use std::io::{self, IsTerminal};

use anstyle::{AnsiColor, Color, Effects, RgbColor, Style};

/// How colours are named to a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// No escapes at all.
    None,
    /// The sixteen that every terminal has, which are too few for pictures.
    Sixteen,
    /// The palette of 256.
    Palette,
    /// 24 bits.
    True,
}

/// What is written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    pub(super) colours: Colours,
    /// Whether block characters can be shown.
    pub(super) has_blocks: bool,
    /// Columns.
    pub(super) width: usize,
}

impl Screen {
    /// Standard output, as it and the environment describe it.
    pub(super) fn of_stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let size = terminal_size::terminal_size_of(io::stdout());
        Self {
            colours: colours(&Said {
                is_terminal,
                no_color: anstyle_query::no_color(),
                has_ansi: understands_escapes(),
                is_true: anstyle_query::truecolor(),
                term: env::var("TERM").unwrap_or_default(),
            }),
            has_blocks: !is_terminal || anstyle_query::term_supports_color(),
            width: size.map_or(WIDTH, |(width, _)| usize::from(width.0)),
        }
    }

    /// Whether pictures can be drawn.
    pub(super) fn has_pictures(&self) -> bool {
        self.has_blocks && matches!(self.colours, Colours::Palette | Colours::True)
    }

    /// `text` in a style, if there are styles.
    pub(super) fn styled(&self, text: &str, style: Style) -> String {
        match self.colours {
            Colours::None => text.to_owned(),
            _ => format!("{style}{text}{style:#}"),
        }
    }

    /// A colour as the terminal knows it; `None` where there are too few.
    pub(super) fn colour(&self, rgb: [u8; 3]) -> Option<Color> {
        let rgb = RgbColor(rgb[0], rgb[1], rgb[2]);
        match self.colours {
            Colours::None | Colours::Sixteen => None,
            Colours::Palette => Some(anstyle_lossy::rgb_to_xterm(rgb).into()),
            Colours::True => Some(rgb.into()),
        }
    }
}

/// What is known of a terminal.
struct Said {
    is_terminal: bool,
    /// The environment has NO_COLOR, see <https://no-color.org>.
    no_color: bool,
    has_ansi: bool,
    /// COLORTERM promises 24 bits.
    is_true: bool,
    term: String,
}

fn colours(said: &Said) -> Colours {
    if !said.is_terminal || said.no_color || !said.has_ansi {
        return Colours::None;
    }
    match said.term.as_str() {
        _ if said.is_true => Colours::True,
        term if term.ends_with("-direct") => Colours::True,
        term if term.contains("256color") => Colours::Palette,
        _ => Colours::Sixteen,
    }
}

/// Whether a terminal follows escapes at all: TERM=dumb does not.
#[cfg(not(windows))]
fn understands_escapes() -> bool {
    anstyle_query::term_supports_ansi_color()
}

/// The console has to be asked to.
#[cfg(windows)]
fn understands_escapes() -> bool {
    anstyle_query::windows::enable_ansi_colors().unwrap_or(false)
}

pub(super) const BOLD: Style = Style::new().effects(Effects::BOLD);
pub(super) const DIM: Style = Style::new().effects(Effects::DIMMED);
pub(super) const GOOD: Style = AnsiColor::Green.on_default().effects(Effects::BOLD);
pub(super) const BAD: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
pub(super) const SOUND: Style = AnsiColor::Cyan.on_default();

/// The columns of what does not say how many it has.
const WIDTH: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_that_the_terminal_promises() {
        let said = |term: &str| Said {
            is_terminal: true,
            no_color: false,
            has_ansi: true,
            is_true: false,
            term: term.to_owned(),
        };
        assert_eq!(colours(&said("xterm-256color")), Colours::Palette);
        assert_eq!(colours(&said("xterm-direct")), Colours::True);
        assert_eq!(colours(&said("linux")), Colours::Sixteen);
        assert_eq!(colours(&Said { is_true: true, ..said("xterm") }), Colours::True);
        let promised = || Said { is_true: true, ..said("xterm-256color") };
        assert_eq!(colours(&Said { is_terminal: false, ..promised() }), Colours::None);
        assert_eq!(colours(&Said { no_color: true, ..promised() }), Colours::None);
        assert_eq!(colours(&Said { has_ansi: false, ..promised() }), Colours::None);
    }

    #[test]
    fn without_colours_nothing_is_styled() {
        let screen = |colours| Screen { colours, has_blocks: true, width: 80 };
        assert_eq!(screen(Colours::None).styled("right", GOOD), "right");
        assert_eq!(screen(Colours::Sixteen).styled("dim", DIM), "\x1b[2mdim\x1b[0m");
        assert_eq!(screen(Colours::Sixteen).colour([1, 2, 3]), None);
        assert_eq!(screen(Colours::True).colour([1, 2, 3]), Some(RgbColor(1, 2, 3).into()));
    }
}

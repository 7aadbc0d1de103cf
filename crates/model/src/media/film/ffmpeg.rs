//! Films, by way of the `ffmpeg` and `ffprobe` programs.
//!
//! `ffprobe` says how many frames there are and when each is shown. `ffmpeg` then sends the frames
//! that are taken, as PPM pictures one after the other: their headers say the size, which the
//! container need not (a film taken upright is turned, one may change its size midway).
//!
//! Short films are decoded from the start and the frames picked by number, which is exact. In long
//! ones that would take minutes, so each frame is sought by its time.

use std::ffi::OsString;
use std::path::Path;

use super::ppm::{Ppm, ppm};
use super::program::{Deadline, Running, shorten};
use super::{VideoConfig, VideoError, sampling};
use crate::video::{Frame, NoFrames, Video};
use crate::vision::{Budget, Picture};

/// The sampled frames of a film.
pub(super) fn video(path: &Path, config: &VideoConfig) -> Result<Video, VideoError> {
    let deadline = Deadline::of(config);
    let film = Film::probe(path, config, &deadline)?;
    let taken = film.sample(config.frames_max);
    let mut pictures = Vec::new();
    if film.total <= DECODED_FRAMES_MAX {
        if let Some(arguments) = picking(path, &taken) {
            let mut running = Running::start(&config.ffmpeg, &arguments, &deadline)?;
            match receive(&mut running, config.budget, taken.len(), &mut pictures) {
                // What a damaged film shows before it fails is shown.
                Err(VideoError::Failed { .. }) if !pictures.is_empty() => {}
                received => received?,
            }
        }
        let complete = pictures.len() == taken.len() && film.complete;
        let frame = |(index, picture)| Frame { index, seconds: film.seconds(index), picture };
        let frames = taken.into_iter().zip(pictures).map(frame).collect();
        return Ok(Video { frames, complete });
    }
    let mut frames = Vec::new();
    for &index in &taken {
        let seconds = film.seconds(index);
        // Half a frame earlier, so that rounding does not skip the one that is meant.
        let arguments = seeking(path, (seconds - 0.5 / film.rate).max(0.0));
        let mut running = Running::start(&config.ffmpeg, &arguments, &deadline)?;
        match receive(&mut running, config.budget, 1, &mut pictures) {
            Ok(()) | Err(VideoError::Failed { .. }) => {}
            Err(e) => return Err(e),
        }
        // A container that promises more than it holds has nothing at its end.
        frames.extend(pictures.pop().map(|picture| Frame { index, seconds, picture }));
    }
    let complete = frames.len() == taken.len() && film.complete;
    Ok(Video { frames, complete })
}

/// What is known of a film before it is decoded.
struct Film {
    /// Frames.
    total: u64,
    /// Frames in a second, on average.
    rate: f64,
    /// The time of every frame from the first in seconds, ascending; empty where the container does
    /// not say it or is too long to be asked.
    times: Vec<f64>,
    /// False where fewer frames were found than the container promises.
    complete: bool,
}

impl Film {
    fn probe(path: &Path, config: &VideoConfig, deadline: &Deadline) -> Result<Self, VideoError> {
        let entries = "stream=avg_frame_rate,r_frame_rate,nb_frames";
        let arguments = probing(path, VIDEO, entries, "default=noprint_wrappers=1");
        let answer = Running::start(&config.ffprobe, &arguments, deadline)?.text()?;
        if value(&answer, "avg_frame_rate").is_none() {
            return Err(NoFrames.into());
        }
        let rates = ["avg_frame_rate", "r_frame_rate"];
        let rate = rates.iter().find_map(|key| fraction(value(&answer, key)?));
        let rate = rate.unwrap_or(RATE_UNSTATED);
        let stated = value(&answer, "nb_frames").and_then(|n| n.parse().ok()).unwrap_or(0);
        if stated > DECODED_FRAMES_MAX {
            // Its packets are spread over the whole file, which may be many gigabytes.
            return Ok(Self { total: stated, rate, times: Vec::new(), complete: true });
        }
        let arguments = probing(path, VIDEO, "packet=pts_time,flags", "csv=p=0");
        let packets = Packets::read(Running::start(&config.ffprobe, &arguments, deadline)?)?;
        let total = if packets.total == 0 { stated } else { packets.total };
        Ok(Self { total, rate, times: packets.times, complete: stated <= total })
    }

    /// The numbers of the frames to take.
    fn sample(&self, wanted: usize) -> Vec<u64> {
        match self.times.is_empty() {
            true => sampling::indices(self.total, wanted),
            false => sampling::shown(&self.times, wanted),
        }
    }

    fn seconds(&self, index: u64) -> f64 {
        let time = self.times.get(index as usize).copied();
        time.unwrap_or(index as f64 / self.rate)
    }
}

/// The packets of a film; one is one frame.
#[derive(Debug, Default, PartialEq)]
struct Packets {
    total: u64,
    /// Their times from the first, ascending; empty unless all are known.
    times: Vec<f64>,
}

impl Packets {
    /// Reads what ffprobe lists, a packet a line. What a damaged film has before it fails counts.
    fn read(mut running: Running) -> Result<Self, VideoError> {
        let (mut packets, mut line) = (Self::default(), Vec::new());
        loop {
            let piece = match running.next() {
                Ok(Some(piece)) => piece,
                Err(VideoError::Failed { .. }) if packets.total > 0 => break,
                Ok(None) => break,
                Err(e) => return Err(e),
            };
            for byte in piece {
                if byte != b'\n' && line.len() < LINE_BYTES_MAX {
                    line.push(byte);
                    continue;
                }
                let text = String::from_utf8_lossy(&line);
                if !packets.add(&text) {
                    return Err(running.answer(shorten(&text), "a list of packets"));
                }
                line.clear();
                if packets.total > PACKETS_MAX {
                    return Err(VideoError::TooManyFrames { frames_max: PACKETS_MAX });
                }
            }
        }
        if packets.times.len() as u64 != packets.total {
            packets.times.clear();
        }
        packets.times.sort_by(f64::total_cmp);
        if let Some(&first) = packets.times.first() {
            packets.times.iter_mut().for_each(|time| *time -= first);
        }
        Ok(packets)
    }

    /// Counts the packet of a line, `1.500000,K__`: the time at which its frame is shown, and
    /// flags, of which `D` stands for a frame that is not shown itself. False for any other line.
    fn add(&mut self, line: &str) -> bool {
        let mut fields = line.trim().split(',');
        let (Some(time), Some(flags)) = (fields.next(), fields.next()) else {
            return line.trim().is_empty();
        };
        let seconds = time.parse().ok().filter(|seconds: &f64| seconds.is_finite());
        if seconds.is_none() && time != "N/A" {
            return false;
        }
        if !flags.contains('D') {
            self.total += 1;
            self.times.extend(seconds);
        }
        true
    }
}

/// Reads at most `wanted` PPM pictures.
pub(super) fn receive(
    running: &mut Running,
    budget: Budget,
    wanted: usize,
    pictures: &mut Vec<Picture>,
) -> Result<(), VideoError> {
    let mut bytes = Vec::new();
    while let Some(piece) = running.next()? {
        bytes.extend_from_slice(&piece);
        loop {
            let (length, picture) = match ppm(&bytes) {
                Ppm::Whole { width, height, start, pixels } => {
                    (start + pixels.len(), Picture::from_rgb(width, height, pixels, budget)?)
                }
                Ppm::Partial => break,
                Ppm::Other => {
                    let found = shorten(&String::from_utf8_lossy(&bytes[..bytes.len().min(32)]));
                    return Err(running.answer(found, "a PPM picture"));
                }
            };
            pictures.push(picture);
            if pictures.len() == wanted {
                return Ok(());
            }
            bytes.drain(..length);
        }
    }
    Ok(())
}

/// The value of a line `key=value` of ffprobe's answer.
pub(super) fn value<'a>(answer: &'a str, key: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
}

/// A positive fraction as ffprobe writes it: `30000/1001`; `0/0` stands for unknown.
fn fraction(text: &str) -> Option<f64> {
    let (numerator, denominator) = text.split_once('/')?;
    let value = numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?;
    sampling::check_rate(value).ok().map(|()| value)
}

/// Arguments with which ffprobe answers `entries` of a stream in the given format.
pub(super) fn probing(path: &Path, stream: &str, entries: &str, format: &str) -> Vec<OsString> {
    let mut arguments = list(&["-v", "error", "-select_streams", stream]);
    arguments.extend(list(&["-show_entries", entries, "-of", format]));
    arguments.extend(input(path));
    arguments
}

/// Arguments with which ffmpeg sends the frames of these numbers; `None` if there are none.
fn picking(path: &Path, taken: &[u64]) -> Option<Vec<OsString>> {
    taken.first()?;
    let terms: Vec<String> = taken.iter().map(|index| format!("eq(n,{index})")).collect();
    // New times, one after the other at the output's rate: none is then dropped or doubled, in any
    // version of the program.
    let filter = format!("select='{}',setpts=N/25/TB", terms.join("+"));
    let mut arguments = list(&QUIET);
    arguments.extend(input(path));
    arguments.extend(list(&["-vf", &filter, "-r", "25", "-frames:v", &taken.len().to_string()]));
    arguments.extend(list(&PICTURES));
    Some(arguments)
}

/// Arguments with which ffmpeg sends the first frame at or after a time.
fn seeking(path: &Path, seconds: f64) -> Vec<OsString> {
    let mut arguments = list(&QUIET);
    arguments.extend(list(&["-ss", &format!("{seconds:.6}")]));
    arguments.extend(input(path));
    arguments.extend(list(&["-frames:v", "1"]));
    arguments.extend(list(&PICTURES));
    arguments
}

/// The input file. The prefix keeps a name from being taken for an option or an address, and the
/// list of protocols keeps a playlist from opening one.
pub(super) fn input(path: &Path) -> Vec<OsString> {
    let mut name = OsString::from("file:");
    name.push(path);
    let mut arguments = list(&["-protocol_whitelist", "file", "-i"]);
    arguments.push(name);
    arguments
}

pub(super) fn list(arguments: &[&str]) -> Vec<OsString> {
    arguments.iter().map(OsString::from).collect()
}

/// ffmpeg asks nothing and says only what went wrong.
pub(super) const QUIET: [&str; 4] = ["-nostdin", "-hide_banner", "-v", "error"];

/// ffmpeg sends PPM pictures of the first film track that is no cover picture.
pub(super) const PICTURES: [&str; 9] =
    ["-map", "0:V:0", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"];

/// The first film track that is no cover picture, for ffprobe.
const VIDEO: &str = "V:0";

/// The longest film that is decoded whole: five minutes at 30 frames in a second.
const DECODED_FRAMES_MAX: u64 = 9_000;

/// The longest film whose packets are kept: three days at 60 frames in a second.
const PACKETS_MAX: u64 = 1 << 24;

/// The longest line that ffprobe writes about a packet, with room.
const LINE_BYTES_MAX: usize = 256;

/// The rate of a film that does not state it. The reference's choice.
const RATE_UNSTATED: f64 = 24.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_ffprobe_are_understood() {
        let answer = "r_frame_rate=25/1\navg_frame_rate=30000/1001\nnb_frames=N/A\n";
        assert_eq!(value(answer, "avg_frame_rate"), Some("30000/1001"));
        assert_eq!(value(answer, "frame_rate"), None);
        assert_eq!(fraction("30000/1001"), Some(30_000.0 / 1_001.0));
        for unknown in ["0/0", "25/0", "0/1", "-1/1", "N/A", "25", ""] {
            assert_eq!(fraction(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_packet_says_when_its_frame_is_shown() {
        let mut packets = Packets::default();
        for line in ["1.500000,K__", "-0.066000,___\r", "-1.000000,KD_", "2,K_,more", ""] {
            assert!(packets.add(line), "{line}");
        }
        assert_eq!(packets, Packets { total: 3, times: vec![1.5, -0.066, 2.0] });
        assert!(packets.add("N/A,K__"));
        assert_eq!((packets.total, packets.times.len()), (4, 3));
        for other in ["y", "nan,K__", "1.5", "packet,1.5,K__"] {
            assert!(!packets.add(other), "{other}");
        }
    }

    #[test]
    fn names_are_neither_options_nor_addresses() {
        for name in ["-y", "http://example.org/a.mp4", "concat:a|b"] {
            let arguments = input(Path::new(name));
            let wanted = [OsString::from("-i"), OsString::from(format!("file:{name}"))];
            assert_eq!(arguments[arguments.len() - 2..], wanted);
        }
    }

    #[test]
    fn frames_are_picked_by_number() {
        let arguments = picking(Path::new("a.mp4"), &[0, 9, 18]).unwrap();
        let has = |text: &str| arguments.iter().any(|a| a.to_string_lossy() == text);
        assert!(has("select='eq(n,0)+eq(n,9)+eq(n,18)',setpts=N/25/TB"), "{arguments:?}");
        assert!(picking(Path::new("a.mp4"), &[]).is_none());
    }
}

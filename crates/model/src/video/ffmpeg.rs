//! Films, by way of the `ffmpeg` and `ffprobe` programs.
//!
//! `ffprobe` says how many frames there are and how fast they go. `ffmpeg` then sends the frames
//! that are taken, as PPM pictures one after the other: their headers say the size, which the
//! container need not (a film taken upright is turned, one may change its size midway).
//!
//! Short films are decoded from the start and the frames picked by number, which is exact. In long
//! ones that would take minutes, so each frame is sought by its time.

use std::ffi::OsString;
use std::path::Path;

use super::program::{Deadline, Running, shorten};
use super::{Frame, VideoConfig, VideoError, sampling};
use crate::vision::{Budget, Picture, decode};

/// The sampled frames of a film.
pub(super) fn frames(path: &Path, config: &VideoConfig) -> Result<Vec<Frame>, VideoError> {
    let deadline = Deadline::after(config.patience);
    let (total, rate) = count(path, config, deadline)?;
    let taken = sampling::indices(total, config.frames_max);
    let times = taken.iter().map(|&index| index as f64 / rate);
    let mut pictures = Vec::new();
    if total <= DECODED_FRAMES_MAX {
        let Some(arguments) = picking(path, &taken) else { return Ok(Vec::new()) };
        let mut running = Running::start(&config.ffmpeg, &arguments, deadline)?;
        receive(&mut running, config.budget, taken.len(), &mut pictures)?;
        let frame = |(seconds, picture)| Frame { seconds, picture };
        return Ok(times.zip(pictures).map(frame).collect());
    }
    let mut frames = Vec::new();
    for seconds in times {
        // Half a frame earlier, so that rounding does not skip the one that is meant.
        let arguments = seeking(path, (seconds - 0.5 / rate).max(0.0));
        let mut running = Running::start(&config.ffmpeg, &arguments, deadline)?;
        receive(&mut running, config.budget, 1, &mut pictures)?;
        // A container that promises more than it holds has nothing at its end.
        frames.extend(pictures.pop().map(|picture| Frame { seconds, picture }));
    }
    Ok(frames)
}

/// The sound track of a film: mono (the mean of the channels), 16 kHz, -1 to 1; `None` where there
/// is no sound track.
///
/// # Errors
///
/// If the programs are not installed, cannot read the file, or take too long, or if the sound is
/// longer than any model listens to.
pub fn sound(path: impl AsRef<Path>, config: &VideoConfig) -> Result<Option<Vec<f32>>, VideoError> {
    let path = path.as_ref();
    let deadline = Deadline::after(config.patience);
    let arguments = probing(path, "a:0", "stream=channels", false);
    let running = Running::start(&config.ffprobe, &arguments, deadline)?;
    let answer = running.text()?;
    let Some(channels) = value(&answer, "channels").and_then(|n| n.parse::<usize>().ok()) else {
        return Ok(None);
    };

    let mut running = Running::start(&config.ffmpeg, &listening(path, channels), deadline)?;
    let mut samples: Vec<f32> = Vec::new();
    let mut odd: Vec<u8> = Vec::new();
    while let Some(piece) = running.next()? {
        odd.extend_from_slice(&piece);
        let (whole, rest) = odd.as_chunks();
        samples.extend(whole.iter().map(|&sample| f32::from_le_bytes(sample)));
        odd = rest.to_vec();
        if samples.len() as u64 > SOUND_SECONDS_MAX * RATE {
            return Err(VideoError::TooLong { seconds_max: SOUND_SECONDS_MAX });
        }
    }
    Ok(Some(samples))
}

/// The number of frames of a film and how many of them are shown in a second.
fn count(path: &Path, config: &VideoConfig, deadline: Deadline) -> Result<(u64, f64), VideoError> {
    let ask = |entries, packets| {
        let arguments = probing(path, VIDEO, entries, packets);
        Running::start(&config.ffprobe, &arguments, deadline)?.text()
    };
    let answer = ask("stream=avg_frame_rate,r_frame_rate,nb_frames", false)?;
    if value(&answer, "avg_frame_rate").is_none() {
        return Err(VideoError::NoFrames);
    }
    let rates = ["avg_frame_rate", "r_frame_rate"];
    let rate = rates.iter().find_map(|key| fraction(value(&answer, key)?)).unwrap_or(RATE_UNSTATED);
    let stated = value(&answer, "nb_frames").and_then(|n| n.parse().ok());
    if let Some(total @ 1..) = stated {
        return Ok((total, rate));
    }
    // The container does not say it, so its packets are counted: one packet is one frame.
    let answer = ask("stream=nb_read_packets", true)?;
    let counted = value(&answer, "nb_read_packets").and_then(|n| n.parse().ok());
    let total = counted.ok_or_else(|| VideoError::Answer {
        program: config.ffprobe.clone(),
        found: shorten(&answer),
        wanted: "the number of packets",
    })?;
    Ok((total, rate))
}

/// Reads at most `wanted` PPM pictures.
fn receive(
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

/// What received bytes begin with.
enum Ppm<'a> {
    Whole { width: u32, height: u32, start: usize, pixels: &'a [u8] },
    Partial,
    Other,
}

/// Looks for a PPM picture: `P6`, width, height and 255, each behind white space, one white space,
/// and three bytes for each pixel.
fn ppm(bytes: &[u8]) -> Ppm<'_> {
    let (mut fields, mut at) = ([0u32; 3], 2);
    if !b"P6".starts_with(&bytes[..bytes.len().min(2)]) {
        return Ppm::Other;
    }
    for field in &mut fields {
        let rest = bytes.get(at..).unwrap_or_default();
        let blank = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let digits = rest[blank..].iter().take_while(|b| b.is_ascii_digit()).count();
        if blank + digits == rest.len() && rest.len() <= HEADER_BYTES_MAX {
            return Ppm::Partial;
        }
        let number = str::from_utf8(&rest[blank..blank + digits]).ok();
        let Some(number) = number.and_then(|digits| digits.parse().ok()) else {
            return Ppm::Other;
        };
        *field = number;
        at += blank + digits;
    }
    let [width, height, 255] = fields else { return Ppm::Other };
    if decode::check_sides(width, height).is_err() {
        return Ppm::Other;
    }
    let start = at + 1;
    let length = 3 * width as usize * height as usize;
    match bytes.get(start..start + length) {
        Some(pixels) => Ppm::Whole { width, height, start, pixels },
        None => Ppm::Partial,
    }
}

/// The value of a line `key=value` of ffprobe's answer.
fn value<'a>(answer: &'a str, key: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
}

/// A positive fraction as ffprobe writes it: `30000/1001`; `0/0` stands for unknown.
fn fraction(text: &str) -> Option<f64> {
    let (numerator, denominator) = text.split_once('/')?;
    let value = numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?;
    sampling::check_rate(value).ok().map(|()| value)
}

/// Arguments with which ffprobe answers in lines of `key=value`.
fn probing(path: &Path, stream: &str, entries: &str, count_packets: bool) -> Vec<OsString> {
    let mut arguments = list(&["-v", "error"]);
    if count_packets {
        arguments.push("-count_packets".into());
    }
    arguments.extend(list(&["-select_streams", stream, "-show_entries", entries]));
    arguments.extend(list(&["-of", "default=noprint_wrappers=1"]));
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

/// Arguments with which ffmpeg sends sound. `pan` with `<` is the mean; `-ac 1` is louder.
fn listening(path: &Path, channels: usize) -> Vec<OsString> {
    let terms: Vec<String> = (0..channels.max(1)).map(|i| format!("c{i}")).collect();
    let filter = format!("pan=mono|c0<{},aresample={RATE}:filter_size=128", terms.join("+"));
    let mut arguments = list(&QUIET);
    arguments.extend(input(path));
    arguments.extend(list(&["-map", "0:a:0", "-af", &filter, "-f", "f32le", "-c:a", "pcm_f32le"]));
    arguments.push("pipe:1".into());
    arguments
}

/// The input file. The prefix keeps a name from being taken for an option or an address, and the
/// list of protocols keeps a playlist from opening one.
fn input(path: &Path) -> Vec<OsString> {
    let mut name = OsString::from("file:");
    name.push(path);
    let mut arguments = list(&["-protocol_whitelist", "file", "-i"]);
    arguments.push(name);
    arguments
}

fn list(arguments: &[&str]) -> Vec<OsString> {
    arguments.iter().map(OsString::from).collect()
}

/// ffmpeg asks nothing and says only what went wrong.
const QUIET: [&str; 4] = ["-nostdin", "-hide_banner", "-v", "error"];

/// ffmpeg sends PPM pictures of the first film track that is no cover picture.
const PICTURES: [&str; 9] =
    ["-map", "0:V:0", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"];

/// The first film track that is no cover picture, for ffprobe.
const VIDEO: &str = "V:0";

/// The longest film that is decoded whole: five minutes at 30 frames in a second.
const DECODED_FRAMES_MAX: u64 = 9_000;

/// The rate of a film that does not state it. The reference's choice.
const RATE_UNSTATED: f64 = 24.0;

/// Samples in a second of the sound that the model hears.
const RATE: u64 = 16_000;

/// The longest sound: 25 tokens in a second fill the model's context of 262144 tokens.
const SOUND_SECONDS_MAX: u64 = 10_485;

/// White space and digits of one field of a PPM header.
const HEADER_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ppm_picture_is_found_in_pieces_of_any_length() {
        let whole = b"P6\n2 1\n255\nabcdefP6";
        for length in 0..17 {
            assert!(matches!(ppm(&whole[..length]), Ppm::Partial), "{length} bytes");
        }
        let Ppm::Whole { width, height, start, pixels } = ppm(whole) else {
            panic!("a whole picture is taken for something else")
        };
        assert_eq!((width, height, start, pixels), (2, 1, 11, &b"abcdef"[..]));
    }

    #[test]
    fn what_is_no_ppm_picture_is_not_waited_for() {
        let endless = [&b"P6 "[..], &[b'1'; 100]].concat();
        for other in [
            &b"P5\n2 1\n255\n"[..],
            b"x",
            b"P6 a",
            b"P6 0 1 255 ",
            b"P6 2 1 65535 ",
            b"P6 99999 99999 255 ",
            &endless,
        ] {
            assert!(matches!(ppm(other), Ppm::Other), "{}", String::from_utf8_lossy(other));
        }
    }

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

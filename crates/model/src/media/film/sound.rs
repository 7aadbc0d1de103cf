//! The sound of films and of recordings without a decoder here, by way of the `ffmpeg` and
//! `ffprobe` programs.

use std::ffi::OsString;
use std::path::Path;

use super::ffmpeg::{QUIET, input, list, probing, value};
use super::open::is_picture;
use super::program::{Deadline, Running};
use super::{VideoConfig, VideoError};
use crate::audio::{Clip, RATE};

/// The first sound track of any file that ffmpeg reads, a film or a recording: the mean of its
/// channels; `None` where there is no sound track. Animations and pictures have none, and no
/// program is run for them.
///
/// [`Clip::open`] starts no programs; this is for what it does not take.
///
/// # Errors
///
/// If the programs are not installed, cannot read the file, or take too long, and if the sound has
/// no samples, has some that are not finite, or is longer than any model listens to.
pub fn sound(path: impl AsRef<Path>, config: &VideoConfig) -> Result<Option<Clip>, VideoError> {
    let path = path.as_ref();
    if is_picture(path) {
        return Ok(None);
    }
    let deadline = Deadline::of(config);
    let arguments = probing(path, "a:0", "stream=channels", "default=noprint_wrappers=1");
    let answer = Running::start(&config.ffprobe, &arguments, &deadline)?.text()?;
    let Some(channels) = value(&answer, "channels").and_then(|n| n.parse::<usize>().ok()) else {
        return Ok(None);
    };

    let mut running = Running::start(&config.ffmpeg, &listening(path, channels), &deadline)?;
    let mut samples: Vec<f32> = Vec::new();
    let mut odd: Vec<u8> = Vec::new();
    let is_whole = loop {
        match running.next() {
            Ok(Some(piece)) => odd.extend_from_slice(&piece),
            Ok(None) => break !running.has_complained(),
            // What a damaged file plays before it fails is played.
            Err(VideoError::Failed { .. }) if !samples.is_empty() => break false,
            Err(e) => return Err(e),
        }
        let (whole, rest) = odd.as_chunks();
        samples.extend(whole.iter().map(|&sample| f32::from_le_bytes(sample)));
        odd = rest.to_vec();
        if samples.len() as u64 > SOUND_SECONDS_MAX * u64::from(RATE) {
            return Err(VideoError::TooLong { seconds_max: SOUND_SECONDS_MAX });
        }
    };
    if samples.is_empty() {
        return Err(VideoError::NoSound);
    }
    let clip = Clip::from_pcm(&samples, RATE, 1)?;
    Ok(Some(if is_whole { clip } else { clip.incomplete() }))
}

/// Arguments with which ffmpeg sends sound. `pan` with `<` is the mean; `-ac 1` is louder.
fn listening(path: &Path, channels: usize) -> Vec<OsString> {
    let terms: Vec<String> =
        (0..channels.clamp(1, CHANNELS_MAX)).map(|i| format!("c{i}")).collect();
    let filter = format!("pan=mono|c0<{},aresample={RATE}:filter_size=128", terms.join("+"));
    let mut arguments = list(&QUIET);
    arguments.extend(input(path));
    arguments.extend(list(&["-map", "0:a:0", "-af", &filter, "-f", "f32le", "-c:a", "pcm_f32le"]));
    arguments.push("pipe:1".into());
    arguments
}

/// The longest sound: 25 tokens in a second fill the model's context of 262144 tokens.
const SOUND_SECONDS_MAX: u64 = 10_485;

/// The most channels that are mixed, those of [`Clip::from_pcm`].
const CHANNELS_MAX: usize = 64;

//! From the bytes of a sound file to mono samples at 16 kHz, packet by packet.
//!
//! Nothing is believed that the header says about size: memory grows with what was decoded, up to
//! the caller's limit. A file that breaks off or has damaged places gives what can be heard, and
//! says that it is not complete; only a file without a single sample is an error.

use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, well_known as codecs};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::{FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};

use super::resample::Resampler;
use super::stream::{check_channels, check_finite, mix};
use super::{AudioError, clip::DecodeOptions, mp4, sniff, wav::Wav};

/// Mono samples at 16 kHz, and whether the whole file was heard.
pub(crate) struct Decoded {
    pub(crate) samples: Vec<f32>,
    pub(crate) complete: bool,
}

pub(crate) fn decode(
    mut source: impl MediaSource,
    options: &DecodeOptions,
) -> Result<Decoded, AudioError> {
    let kind = sniff::recognise(&mut source)?;
    let body = Body { source, start: kind.at };
    if kind.name == "WAV" {
        return decode_wav(body, options);
    }
    // The demuxers add and multiply what they read from files: where overflow is checked, a
    // damaged file makes them panic. All they work on is dropped then.
    let decoded = AssertUnwindSafe(|| decode_packets(body, kind.name, options));
    catch_unwind(decoded).unwrap_or_else(|_| {
        let why = "its decoder gave up".to_string();
        Err(AudioError::Damaged { container: kind.name, why })
    })
}

fn decode_wav(body: impl MediaSource, options: &DecodeOptions) -> Result<Decoded, AudioError> {
    let length = body.byte_len().unwrap_or(u64::MAX);
    let mut wav = Wav::open(body)?;
    options.check(seconds(wav.frames_told(length), wav.rate))?;
    let mut sink = Sink::new(options, WHOLE);
    let mut interleaved = Vec::new();
    loop {
        wav.read(&mut interleaved)?;
        if interleaved.is_empty() {
            return Ok(Decoded { samples: sink.finish()?, complete: wav.is_complete() });
        }
        sink.take(&interleaved, wav.rate, wav.channels)?;
    }
}

fn decode_packets(
    mut body: impl MediaSource,
    container: &'static str,
    options: &DecodeOptions,
) -> Result<Decoded, AudioError> {
    let starts = if container == "MP4" { mp4::starts(&mut body)? } else { Vec::new() };
    body.seek(SeekFrom::Start(0))?;
    let stream = MediaSourceStream::new(Box::new(body), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Default::default(), stream, Default::default(), Default::default())
        .map_err(|error| refusal(error, container))?;
    let (mut track, mut decoder) = open(&*format, container)?;
    options.check(told_length(&track).unwrap_or_default())?;
    let mut sink = Sink::new(options, window(&track, &starts));
    let (mut complete, mut idle, mut interleaved) = (true, 0, Vec::new());
    while idle < IDLE_PACKETS_MAX {
        idle += 1;
        let packet = match format.next_packet() {
            Ok(Some(packet)) if packet.track_id == track.id => packet,
            Ok(Some(_)) => continue,
            Ok(None) => return Ok(Decoded { samples: sink.finish()?, complete }),
            // A chained Ogg stream: another sound of its own begins.
            Err(Symphonia::ResetRequired) => match open(&*format, container) {
                Ok(opened) => {
                    (track, decoder) = opened;
                    continue;
                }
                Err(_) => break,
            },
            Err(Symphonia::IoError(error)) => {
                really_io(error)?;
                break;
            }
            Err(_) => break,
        };
        match decoder.decode(&packet) {
            Ok(buffer) if buffer.frames() > 0 => {
                idle = 0;
                buffer.copy_to_vec_interleaved(&mut interleaved);
                let spec = buffer.spec();
                complete &= sink.take(&interleaved, spec.rate(), spec.channels().count())?;
            }
            Ok(_) => {}
            Err(Symphonia::DecodeError(_) | Symphonia::IoError(_)) => complete = false,
            Err(_) => break,
        }
    }
    Ok(Decoded { samples: sink.finish()?, complete: false })
}

/// The part of a file behind an ID3 tag, which the demuxers take for the whole.
struct Body<S> {
    source: S,
    start: u64,
}

impl<S: Read> Read for Body<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer)
    }
}

impl<S: Seek> Seek for Body<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(at.saturating_add(self.start)),
            relative => relative,
        };
        Ok(self.source.seek(to)?.saturating_sub(self.start))
    }
}

impl<S: MediaSource> MediaSource for Body<S> {
    fn is_seekable(&self) -> bool {
        self.source.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.source.byte_len()?.saturating_sub(self.start))
    }
}

/// The track to listen to and its decoder.
fn open(
    format: &dyn FormatReader,
    container: &'static str,
) -> Result<(Track, Box<dyn AudioDecoder>), AudioError> {
    let track = format
        .default_track(TrackType::Audio)
        .or_else(|| format.first_track(TrackType::Audio))
        .ok_or(AudioError::NoAudioTrack { container })?;
    let params = track.codec_params.as_ref().and_then(|params| params.audio());
    let params = params.ok_or(AudioError::NoAudioTrack { container })?;
    // Where the header is silent, the first decoded packet tells.
    if let Some(rate) = params.sample_rate {
        Resampler::check(rate)?;
    }
    if let Some(channels) = &params.channels {
        check_channels(channels.count())?;
    }
    let decoder = symphonia::default::get_codecs().make_audio_decoder(params, &Default::default());
    match decoder {
        Ok(decoder) => Ok((track.clone(), decoder)),
        Err(Symphonia::Unsupported(_)) => {
            Err(AudioError::UnsupportedCodec { container, codec: codec_name(params) })
        }
        Err(error) => Err(refusal(error, container)),
    }
}

/// Why a file of a known kind was refused before the first packet.
fn refusal(error: Symphonia, container: &'static str) -> AudioError {
    let why = match error {
        Symphonia::IoError(error) => match really_io(error) {
            Err(error) => return error,
            Ok(()) => "it ends within its header".to_string(),
        },
        Symphonia::Unsupported(what) => {
            return AudioError::UnsupportedCodec { container, codec: format!("unusual ({what})") };
        }
        Symphonia::DecodeError(what) | Symphonia::LimitError(what) => what.to_string(),
        other => other.to_string(),
    };
    AudioError::Damaged { container, why }
}

/// Errors of the system are errors; those the decoders make up tell of damage.
fn really_io(error: io::Error) -> Result<(), AudioError> {
    if error.raw_os_error().is_some() { Err(AudioError::Io(error)) } else { Ok(()) }
}

/// How long the header says the sound is.
fn told_length(track: &Track) -> Option<Duration> {
    let params = track.codec_params.as_ref()?.audio()?;
    if let (Some(frames), Some(rate)) = (track.num_frames, params.sample_rate) {
        return Some(seconds(frames, rate));
    }
    let (duration, base) = (track.duration?.get(), track.time_base?);
    let ticks = duration.saturating_mul(base.numer.get().into());
    Some(seconds(ticks, base.denom.get()))
}

/// `frames` at `rate` as time, good for an hour as for a damaged header's billion years.
fn seconds(frames: u64, rate: u32) -> Duration {
    let nanos = u128::from(frames % u64::from(rate)) * 1_000_000_000 / u128::from(rate);
    Duration::new(frames / u64::from(rate), u32::try_from(nanos).unwrap_or(0))
}

/// Seconds at which the sound of an MP4 track begins and ends among what is decoded.
fn window(track: &Track, starts: &[mp4::Start]) -> (f64, f64) {
    let base =
        track.time_base.map(|base| f64::from(base.numer.get()) / f64::from(base.denom.get()));
    let Some(start) = starts.iter().find(|start| start.track == track.id) else {
        return WHOLE;
    };
    let end = match (track.duration, base) {
        (Some(duration), Some(base)) if duration.get() > 0 => duration.get() as f64 * base,
        _ => f64::INFINITY,
    };
    (start.ticks as f64 / f64::from(start.scale), end)
}

/// What the file's makers call the coding.
fn codec_name(params: &AudioCodecParameters) -> String {
    let name = match params.codec {
        // The five high bits are the audio object type (ISO/IEC 14496-3, table 1.17).
        codecs::CODEC_ID_AAC => match params.extra_data.as_deref().and_then(<[u8]>::first) {
            Some(first) if matches!(first >> 3, 5 | 29) => "HE-AAC",
            _ => "AAC of another kind than AAC-LC in one or two channels",
        },
        codecs::CODEC_ID_OPUS => "Opus",
        codecs::CODEC_ID_SPEEX => "Speex",
        codecs::CODEC_ID_MP1 | codecs::CODEC_ID_MP2 => "MPEG audio layer I or II",
        codecs::CODEC_ID_AC3 => "AC-3",
        codecs::CODEC_ID_EAC3 => "E-AC-3",
        codecs::CODEC_ID_AC4 => "AC-4",
        codecs::CODEC_ID_DCA => "DTS",
        codecs::CODEC_ID_TRUEHD => "TrueHD",
        codecs::CODEC_ID_ADPCM_MS
        | codecs::CODEC_ID_ADPCM_IMA_WAV
        | codecs::CODEC_ID_ADPCM_IMA_QT
        | codecs::CODEC_ID_ADPCM_G722
        | codecs::CODEC_ID_ADPCM_G726
        | codecs::CODEC_ID_ADPCM_G726LE => "ADPCM",
        other => return format!("in an unknown coding ({other})"),
    };
    name.to_string()
}

/// Takes decoded packets, gives mono samples at 16 kHz.
struct Sink<'a> {
    options: &'a DecodeOptions,
    window: (f64, f64),
    rate: u32,
    resampler: Option<Resampler>,
    frames: u64, // decoded so far
    mono: Vec<f32>,
    samples: Vec<f32>,
}

impl Sink<'_> {
    fn new(options: &DecodeOptions, window: (f64, f64)) -> Sink<'_> {
        let (mono, samples) = (Vec::new(), Vec::new());
        Sink { options, window, rate: 0, resampler: None, frames: 0, mono, samples }
    }

    /// False for a packet whose rate is not that of those before: damage, or another sound.
    fn take(&mut self, pcm: &[f32], rate: u32, channels: usize) -> Result<bool, AudioError> {
        check_channels(channels)?;
        if self.resampler.is_none() {
            self.resampler = Some(Resampler::new(rate)?);
            self.rate = rate;
        }
        let Some(resampler) = self.resampler.as_mut().filter(|_| self.rate == rate) else {
            return Ok(false);
        };
        check_finite(pcm, self.frames * channels as u64)?;
        self.mono.clear();
        mix(pcm, channels, &mut self.mono);

        let before = self.frames;
        self.frames += self.mono.len() as u64;
        let inside = |seconds: f64| {
            let frame = (seconds * f64::from(rate)).round() as u64; // infinity saturates
            usize::try_from(frame.clamp(before, self.frames) - before).unwrap_or(usize::MAX)
        };
        let (from, to) = (inside(self.window.0), inside(self.window.1));
        resampler.push(&self.mono[from.min(to)..to], &mut self.samples);
        self.options.check(seconds(self.frames, rate).saturating_sub(self.before_sound()))?;
        Ok(true)
    }

    /// What an encoder put before the sound does not count, as far as an encoder would.
    fn before_sound(&self) -> Duration {
        Duration::try_from_secs_f64(self.window.0.min(1.0)).unwrap_or_default()
    }

    fn finish(mut self) -> Result<Vec<f32>, AudioError> {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut self.samples);
        }
        if self.samples.is_empty() { Err(AudioError::NoSamples) } else { Ok(self.samples) }
    }
}

/// No window at all.
const WHOLE: (f64, f64) = (0.0, f64::INFINITY);

/// Packets in a row that may bring no sample, be they of the file's pictures or empty: half an
/// hour of video before its sound begins. Tables of billions of empty packets take few bytes.
const IDLE_PACKETS_MAX: u32 = 1 << 16;

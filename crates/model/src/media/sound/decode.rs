//! From the bytes of a sound file to mono samples at 16 kHz, packet by packet.
//!
//! Nothing is believed that the header says about size: memory grows with what was decoded, up to
//! the caller's limit. A file that breaks off or has damaged places gives what can be heard, and
//! says that it is not complete: what was decoded is compared with what the file promises. Only a
//! file without a single sample is an error.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use symphonia::core::codecs::audio::{AudioCodecParameters, well_known as codecs};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::{FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadBytes};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration as Ticks, Timestamp};
use symphonia::default::formats::IsoMp4Reader;

use super::codec::{Codec, Outcome, really_io, refusal};
use super::frames::{self, Frames, Next, Told};
use super::pcm::Pcm;
use super::sink::{Sink, WHOLE, seconds};
use super::view::{Piece, View};
use super::wav::{self, Wav};
use super::{AudioError, DecodeOptions, au, caf, flac, mp4, ogg, sniff};
use crate::quiet;

pub(crate) use super::sink::Decoded;

pub(crate) fn decode(
    mut source: impl MediaSource,
    options: &DecodeOptions,
) -> Result<Decoded, AudioError> {
    let kind = sniff::recognise(&mut source)?;
    // The demuxers add and multiply what they read from files: where overflow is checked, a
    // damaged file makes them panic. All they work on is dropped then.
    let decoded = quiet::catch(|| decode_as(source, kind, options));
    decoded.unwrap_or_else(|_| {
        let why = "its decoder gave up".to_string();
        Err(AudioError::Damaged { container: kind.name, why })
    })
}

fn decode_as(
    mut source: impl MediaSource,
    kind: sniff::Kind,
    options: &DecodeOptions,
) -> Result<Decoded, AudioError> {
    let container = kind.name;
    let end = source.seek(SeekFrom::End(0))?;
    let mut body = View::new(source, vec![Piece::File(kind.at..end)]);
    let mut hints = Hints { window_track: None, promise: Promise::Track, whole: true };
    match container {
        "MP3" | "AAC" => return decode_frames(body, container, options),
        "AU" => return decode_pcm(au::open(body)?, end, options),
        "WAV" => match wav::open(&mut body)? {
            Wav::Pcm(pcm) => return decode_pcm(pcm, end, options),
            Wav::Mpeg(bytes) => {
                return decode_frames(
                    View::new(body, vec![Piece::File(bytes)]),
                    container,
                    options,
                );
            }
            Wav::Adpcm { told, found } => hints.whole = told <= found,
        },
        "FLAC" => {
            let pieces = flac::pieces(&mut body)?;
            hints.promise = Promise::Bytes;
            return decode_packets(View::new(body, pieces), container, hints, options);
        }
        "CAF" => {
            let pieces = caf::pieces(&mut body)?;
            return decode_packets(View::new(body, pieces), container, hints, options);
        }
        "Ogg" => {
            let pages = ogg::pages(&mut body)?;
            if let Some(codec) = pages.only_named {
                return Err(AudioError::UnsupportedCodec { container, codec: codec.to_string() });
            }
            (hints.promise, hints.whole) = (Promise::Nothing, pages.whole);
        }
        "MP4" => {
            let movie = mp4::movie(&mut body)?;
            if movie.lacks_index {
                return Err(AudioError::NoIndex { container });
            }
            hints.whole = !movie.is_cut;
            let pieces = movie.pieces.clone();
            hints.window_track = Some(movie);
            return decode_packets(View::new(body, pieces), container, hints, options);
        }
        _ => {}
    }
    decode_packets(body, container, hints, options)
}

/// What is known of a file before its demuxer sees it.
struct Hints {
    /// Says which of an MP4 track's samples are sound.
    window_track: Option<mp4::Movie>,
    promise: Promise,
    /// False where it is known already that something is missing.
    whole: bool,
}

/// Where the length stands that is compared with what was decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// In the track.
    Track,
    /// In the track, or else every byte of the file must have been in a packet.
    Bytes,
    /// Nowhere, or it was compared already.
    Nothing,
}

fn decode_pcm<R: Read + Seek>(
    mut pcm: Pcm<R>,
    length: u64,
    options: &DecodeOptions,
) -> Result<Decoded, AudioError> {
    let (rate, channels) = (pcm.layout.rate, pcm.layout.channels);
    options.check(seconds(pcm.frames_told(length), rate))?;
    let mut sink = Sink::new(options, WHOLE);
    let mut interleaved = Vec::new();
    loop {
        pcm.read(&mut interleaved)?;
        if interleaved.is_empty() {
            return sink.finish(pcm.is_complete());
        }
        sink.take(&interleaved, rate, channels)?;
    }
}

/// Bare frames of MPEG audio or AAC.
fn decode_frames(
    source: impl MediaSource,
    container: &'static str,
    options: &DecodeOptions,
) -> Result<Decoded, AudioError> {
    let mut frames = Frames::new(source, 0)?;
    let mut sink = Sink::new(options, WHOLE);
    let mut part = Part::new(Told::default());
    let (mut complete, mut codec, mut spec) = (true, None, None);
    let (mut heard, mut refused) = (false, false);
    loop {
        let (header, frame) = match frames.next()? {
            Next::Frame(header, frame) => (header, frame),
            Next::Start(told) => {
                complete &= part.is_complete();
                part = Part::new(told);
                codec = None;
                continue;
            }
            Next::End if !heard => return Err(unheard(container, refused)),
            Next::End => {
                return sink.finish(complete && part.is_complete() && !frames.is_damaged());
            }
        };
        if codec.is_none() || spec != Some((header.rate, header.channels)) {
            spec = Some((header.rate, header.channels));
            codec = Some(Codec::new(&parameters(&header), container, false)?);
        }
        let Some(decoder) = &mut codec else { continue };
        let frame = header.allowed(frame).unwrap_or_default(); // an empty one is lost
        refused |= frame.is_empty();
        // The decoder leaves a band of such blocks unscaled, which is a thunder; it lasts into
        // the next frame. They are silent, and the decoder keeps its reservoir.
        let mixed = header.has_mixed_blocks(&frame);
        let from = if header.codec == frames::Codec::Aac { header.head } else { 0 };
        let packet = Packet::new(0, Timestamp::ZERO, Ticks::from(header.samples), &frame[from..]);
        let silence = vec![0.0; header.samples as usize * header.channels];
        let pcm = match decoder.decode(&packet) {
            Outcome::Samples(samples, _, channels)
                if channels == header.channels && !mixed && !part.after_mixed =>
            {
                heard = true;
                samples
            }
            Outcome::Broken => return sink.finish(false),
            _ => {
                complete = false;
                &silence
            }
        };
        part.after_mixed = mixed;
        for range in part.sound(pcm.len() / header.channels, header.samples) {
            let range = range.start * header.channels..range.end * header.channels;
            sink.take(&pcm[range], header.rate, header.channels)?;
        }
    }
}

/// Why nothing was heard; `refused` frames were of a rate that is not decoded.
fn unheard(container: &'static str, refused: bool) -> AudioError {
    if refused {
        let codec = "MP2 of more than 192 kbit/s in one channel".to_string();
        return AudioError::UnsupportedCodec { container, codec };
    }
    let why = "none of its frames can be decoded".to_string();
    AudioError::Damaged { container, why }
}

fn parameters(header: &frames::Header) -> AudioCodecParameters {
    let mut params = AudioCodecParameters::new();
    let codec = match header.codec {
        frames::Codec::Aac => codecs::CODEC_ID_AAC,
        frames::Codec::Layer(1) => codecs::CODEC_ID_MP1,
        frames::Codec::Layer(2) => codecs::CODEC_ID_MP2,
        frames::Codec::Layer(_) => codecs::CODEC_ID_MP3,
    };
    params.for_codec(codec).with_sample_rate(header.rate);
    params.with_channels(symphonia::core::audio::Channels::Discrete(header.channels as u16));
    params
}

/// One recording of a file of bare frames.
struct Part {
    told: Told,
    frames: u64,
    decoded: usize,
    samples: u64, // a frame
    after_mixed: bool,
}

impl Part {
    fn new(told: Told) -> Part {
        Part { told, frames: 0, decoded: 0, samples: 0, after_mixed: false }
    }

    /// The ranges that are sound of the next frame, which was decoded to `decoded` sample frames.
    fn sound(&mut self, decoded: usize, samples: u64) -> [std::ops::Range<usize>; 2] {
        let start = self.decoded as u64;
        self.decoded += decoded;
        (self.frames, self.samples) = (self.frames + 1, samples);
        let within = |at: u64| at.saturating_sub(start).min(decoded as u64) as usize;
        // What comes after the frames that were told of was added later, and is no padding.
        let end = self.told.frames.map_or(u64::MAX, |frames| frames.saturating_mul(samples));
        let first = within(self.told.delay)..within(end.saturating_sub(self.told.padding));
        [first.start.min(first.end)..first.end, within(end)..decoded]
    }

    /// Some encoders count the frame that tells as one of them.
    fn is_complete(&self) -> bool {
        self.told.frames.is_none_or(|frames| self.frames + 1 >= frames)
    }
}

fn decode_packets(
    body: impl MediaSource,
    container: &'static str,
    hints: Hints,
    options: &DecodeOptions,
) -> Result<Decoded, AudioError> {
    let length = body.byte_len().unwrap_or(0);
    let mut format = demuxer(body, container).map_err(|error| match container {
        // Of WAV only ADPCM comes here, and its header was read before.
        "WAV" if !matches!(error, Symphonia::IoError(_)) => {
            let codec = "ADPCM of an unusual kind".to_string();
            AudioError::UnsupportedCodec { container, codec }
        }
        _ => refusal(error, container),
    })?;
    let movie = hints.window_track.unwrap_or_default();
    let (mut track, mut codec) = open(&*format, container, &movie)?;
    options.check(told_length(&track).unwrap_or_default())?;
    let mut sink = Sink::new(options, window(&track, &movie));
    let (mut complete, mut idle, mut bytes) = (hints.whole, 0, 0);
    while idle < IDLE_PACKETS_MAX {
        idle += 1;
        let packet = match format.next_packet() {
            Ok(Some(packet)) if packet.track_id == track.id => packet,
            Ok(Some(_)) => continue,
            Ok(None) => {
                let kept =
                    is_kept(container, hints.promise, &track, &sink, length.saturating_sub(bytes));
                return sink.finish(complete && kept);
            }
            // A chained Ogg stream: another sound of its own begins.
            Err(Symphonia::ResetRequired) => match open(&*format, container, &movie) {
                Ok(opened) => {
                    (track, codec) = opened;
                    continue;
                }
                Err(_) => break,
            },
            Err(Symphonia::IoError(error)) => {
                really_io(error)?;
                // The end of a file that does not mark its last page, and is known to be whole.
                return sink.finish(complete && hints.promise == Promise::Nothing);
            }
            Err(_) => break,
        };
        bytes += packet.data.len() as u64;
        match codec.decode(&packet) {
            Outcome::Samples([], ..) => {}
            Outcome::Samples(samples, rate, channels) => {
                idle = 0;
                // Frames that are not like the first, of other channels say, come as the end of
                // one that is.
                let sizes = hints.promise != Promise::Bytes
                    || packet.data.len() <= flac::size_max(samples.len());
                complete &= sizes;
                sink.take(samples, rate, channels)?;
            }
            Outcome::Lost => complete = false,
            Outcome::Broken => break,
        }
    }
    sink.finish(false)
}

/// The library's demuxer. That of MP4 is asked by name, since a file of early QuickTime has its
/// type at the end here; it goes back by the name of the first atom, as the library's probe does.
fn demuxer<'s>(
    body: impl MediaSource + 's,
    container: &'static str,
) -> Result<Box<dyn FormatReader + 's>, Symphonia> {
    let mut stream = MediaSourceStream::new(Box::new(body), Default::default());
    if container == "MP4" {
        stream.read_be_u32()?;
        return Ok(Box::new(IsoMp4Reader::try_new(stream, Default::default())?));
    }
    let probe = symphonia::default::get_probe();
    probe.probe(&Default::default(), stream, Default::default(), Default::default())
}

/// The track to listen to and its decoder.
fn open(
    format: &dyn FormatReader,
    container: &'static str,
    movie: &mp4::Movie,
) -> Result<(Track, Codec), AudioError> {
    let track = format
        .default_track(TrackType::Audio)
        .or_else(|| format.first_track(TrackType::Audio))
        .ok_or(AudioError::NoAudioTrack { container })?;
    let params = track.codec_params.as_ref().and_then(|params| params.audio());
    let params = params.ok_or(AudioError::NoAudioTrack { container })?;
    let skips = movie.sounds.iter().all(|sound| sound.track != track.id);
    let mut params = params.clone();
    // QuickTime's 24 bits are big-endian where nothing says otherwise; the demuxer thinks not.
    if params.codec == codecs::CODEC_ID_PCM_S24LE && movie.is_big_endian {
        params.for_codec(codecs::CODEC_ID_PCM_S24BE);
    }
    Ok((track.clone(), Codec::new(&params, container, skips)?))
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

/// Whether as much was decoded as the file says it holds; `rest` bytes were in no packet.
fn is_kept(container: &str, promise: Promise, track: &Track, sink: &Sink<'_>, rest: u64) -> bool {
    match (promise, track.num_frames) {
        (Promise::Nothing, _) => true,
        // CAF counts the last packet as a full one.
        (_, Some(frames)) if frames > 0 && container == "CAF" => {
            sink.frames() + CAF_PACKET_MAX >= frames
        }
        (_, Some(frames)) if frames > 0 => sink.frames() >= frames,
        (Promise::Bytes, _) => rest <= TAIL_MAX,
        _ => told_length(track).is_none_or(|told| sink.time() + ROUNDING >= told),
    }
}

/// Seconds at which the sound of an MP4 track begins and ends among what is decoded.
fn window(track: &Track, movie: &mp4::Movie) -> (f64, f64) {
    let base =
        track.time_base.map(|base| f64::from(base.numer.get()) / f64::from(base.denom.get()));
    let Some(sound) = movie.sounds.iter().find(|sound| sound.track == track.id) else {
        return WHOLE;
    };
    let last = match (track.duration, base) {
        (Some(duration), Some(base)) if duration.get() > 0 => duration.get() as f64 * base,
        _ => f64::INFINITY,
    };
    let scale = f64::from(sound.scale);
    let end = sound.end.map_or(f64::INFINITY, |end| end as f64 / scale);
    (sound.start as f64 / scale, end.min(last))
}

/// Packets in a row that may bring no sample, be they of the file's pictures or empty: half an
/// hour of video before its sound begins. Tables of billions of empty packets take few bytes.
const IDLE_PACKETS_MAX: u32 = 1 << 16;

/// Sample frames of a packet of Apple's lossless coding.
const CAF_PACKET_MAX: u64 = 4096;

/// What may follow the last frame of a FLAC file: the header made for it, and an ID3v1 tag.
const TAIL_MAX: u64 = 42 + 128;

/// A length in time is that of the longest track, and the sound may end with a film's last frame.
const ROUNDING: Duration = Duration::from_millis(500);

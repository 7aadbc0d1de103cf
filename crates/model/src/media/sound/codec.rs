//! Coded packets to interleaved samples, whoever decodes them, and the names of those nobody does.

use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, well_known as codecs};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::packet::Packet;

use super::AudioError;
use super::opus::{OPUS_RATE, Opus};
use crate::media::samples::{Resampler, check_channels};

/// A decoder of packets.
pub(crate) struct Codec {
    decoder: Decoder,
    samples: Vec<f32>,
}

enum Decoder {
    Library(Box<dyn AudioDecoder>),
    Opus(Box<Opus>),
}

/// What became of a packet.
pub(crate) enum Outcome<'a> {
    /// Interleaved samples, rate and channels.
    Samples(&'a [f32], u32, usize),
    /// The packet is damaged, others may follow.
    Lost,
    /// Nothing more can be decoded.
    Broken,
}

impl Codec {
    /// `skips`: whether Opus's header says what to leave out, and not the container.
    ///
    /// # Errors
    /// A rate, channel count or coding of no use.
    pub(crate) fn new(
        params: &AudioCodecParameters,
        container: &'static str,
        skips: bool,
    ) -> Result<Codec, AudioError> {
        // Where the header is silent, the first decoded packet tells.
        if let Some(rate) = params.sample_rate {
            Resampler::check(rate)?;
        }
        if let Some(channels) = &params.channels {
            check_channels(channels.count())?;
        }
        let samples = Vec::new();
        if params.codec == codecs::CODEC_ID_OPUS {
            let decoder = Decoder::Opus(Box::new(Opus::new(params, container, skips)?));
            return Ok(Codec { decoder, samples });
        }
        let made = symphonia::default::get_codecs().make_audio_decoder(params, &Default::default());
        match made {
            Ok(decoder) => Ok(Codec { decoder: Decoder::Library(decoder), samples }),
            Err(Symphonia::Unsupported(_)) => {
                Err(AudioError::UnsupportedCodec { container, codec: name(params) })
            }
            Err(error) => Err(refusal(error, container)),
        }
    }

    /// Decodes the next packet. What is louder than any recording counts as lost: a decoder makes
    /// such noise of damage that it does not notice.
    pub(crate) fn decode(&mut self, packet: &Packet) -> Outcome<'_> {
        let (rate, channels) = match &mut self.decoder {
            Decoder::Opus(opus) => match opus.decode(packet, &mut self.samples) {
                true => (OPUS_RATE, opus.channels()),
                false => return Outcome::Lost,
            },
            Decoder::Library(decoder) => match decoder.decode(packet) {
                Ok(buffer) => {
                    buffer.copy_to_vec_interleaved(&mut self.samples);
                    let spec = buffer.spec();
                    (spec.rate(), spec.channels().count())
                }
                Err(Symphonia::DecodeError(_) | Symphonia::IoError(_)) => return Outcome::Lost,
                Err(_) => return Outcome::Broken,
            },
        };
        let is_sane = |sample: &f32| sample.abs() <= LEVEL_MAX;
        match self.samples.iter().all(is_sane) {
            true => Outcome::Samples(&self.samples, rate, channels),
            false => Outcome::Lost,
        }
    }
}

/// Why a file of a known kind was refused before the first packet.
pub(crate) fn refusal(error: Symphonia, container: &'static str) -> AudioError {
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
pub(crate) fn really_io(error: std::io::Error) -> Result<(), AudioError> {
    if error.raw_os_error().is_some() { Err(AudioError::Io(error)) } else { Ok(()) }
}

/// What the file's makers call the coding.
fn name(params: &AudioCodecParameters) -> String {
    let name = match params.codec {
        // The five high bits are the audio object type (ISO/IEC 14496-3, table 1.17).
        codecs::CODEC_ID_AAC => match params.extra_data.as_deref().and_then(<[u8]>::first) {
            Some(first) if matches!(first >> 3, 5 | 29) => "HE-AAC",
            _ => "AAC of another kind than AAC-LC in one or two channels",
        },
        codecs::CODEC_ID_SPEEX => "Speex",
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

/// Full scale is 1. A lossy coding of the loudest master overshoots it by a few decibels, and a
/// mix in floats may lie some above; 18 dB above lies no recording.
const LEVEL_MAX: f32 = 8.0;

//! Why samples are no sound, each cause with what was found and what to do.

/// What can go wrong between samples of any rate, wherever they come from, and those that the model
/// hears.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum SamplesError {
    /// Nothing to hear: no sample came out of the file, or the caller gave none.
    #[error("the audio has no samples, at least one is wanted: record or download it again")]
    NoSamples,

    /// Too few samples for a single token of this model.
    #[error(
        "the audio has {found} samples at 16 kHz, the model hears nothing in fewer than {wanted}: \
         record more of it"
    )]
    TooShort { found: usize, wanted: usize },

    /// A sample rate that no recording has. Without the feature `sound`, any but 16 kHz.
    #[cfg_attr(
        feature = "sound",
        error(
            "a sample rate of {found} Hz is not usable, 1000 to 768000 Hz are: \
             correct the rate or the file's header"
        )
    )]
    #[cfg_attr(
        not(feature = "sound"),
        error(
            "a sample rate of {found} Hz is not usable, 16000 Hz is: resample it, \
             or build carat with its feature `sound`"
        )
    )]
    SampleRate { found: u32 },

    /// A channel count that cannot be mixed down.
    #[error("{found} channels are not usable, 1 to 64 are: correct the count or the file's header")]
    Channels { found: usize },

    /// A length that is not a whole number of sample frames.
    #[error(
        "{samples} interleaved samples do not divide into {channels} channels: \
         give every channel equally many"
    )]
    Interleaving { samples: u64, channels: usize },

    /// A float that is no sound. It would turn every number after it into NaN.
    #[error(
        "sample {at} is {value}, a finite number (best within -1 and 1) is wanted: \
         the file is damaged or its samples are not of the type it states"
    )]
    NotFinite { at: u64, value: f32 },
}

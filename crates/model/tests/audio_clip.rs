//! From files and PCM to what the model hears.

use std::f64::consts::TAU;
use std::time::{Duration, Instant};

use carat::audio::{AudioError, Clip, DecodeOptions, LongClip, SamplesError, Stream};

#[path = "common/emulated.rs"]
mod emulated;
#[path = "common/sound.rs"]
mod sound;
use emulated::emulated;
use sound::{Coding, fixture, pcm16, snr_db, triangle, wav, wav_of};

// Decoding.

#[test]
fn wav_samples_are_exact() {
    let values = [0i32, 1, -1, 1000, -32_768, 32_767, 12_345];
    let wanted: Vec<f32> = values.iter().map(|&v| v as f32 / 32_768.0).collect();
    let bytes =
        |of: &dyn Fn(i32) -> Vec<u8>| values.iter().flat_map(|&v| of(v)).collect::<Vec<_>>();
    let exact: [(&str, Vec<u8>); 6] = [
        ("s16", wav(Coding::Pcm(16), 16_000, 1, &bytes(&|v| (v as i16).to_le_bytes().into()))),
        ("s24", wav(Coding::Pcm(24), 16_000, 1, &bytes(&|v| (v << 8).to_le_bytes()[..3].into()))),
        ("s32", wav(Coding::Pcm(32), 16_000, 1, &bytes(&|v| (v << 16).to_le_bytes().into()))),
        (
            "f32",
            wav(
                Coding::Float(32),
                16_000,
                1,
                &bytes(&|v| (v as f32 / 32_768.0).to_le_bytes().into()),
            ),
        ),
        (
            "f64",
            wav(
                Coding::Float(64),
                16_000,
                1,
                &bytes(&|v| (f64::from(v) / 32_768.0).to_le_bytes().into()),
            ),
        ),
        (
            "extensible",
            wav(Coding::Extensible, 16_000, 1, &bytes(&|v| (v as i16).to_le_bytes().into())),
        ),
    ];
    for (name, file) in exact {
        let clip = Clip::decode(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(clip.samples(), wanted, "{name}");
        assert!(clip.is_complete(), "{name}");
    }
    let u8s = Clip::decode(&wav(Coding::Pcm(8), 16_000, 1, &[0, 64, 128, 255])).unwrap();
    assert_eq!(u8s.samples(), [-1.0, -0.5, 0.0, 127.0 / 128.0]);
}

#[test]
fn telephone_codings_follow_g711() {
    let all: Vec<u8> = (0..=255).collect();
    let mu_law = |code: u8| {
        let code = !code;
        let magnitude = (((i32::from(code & 15) << 3) + 132) << (code >> 4 & 7)) - 132;
        if code & 128 != 0 { -magnitude } else { magnitude }
    };
    let a_law = |code: u8| {
        let code = code ^ 0x55;
        let (mantissa, exponent) = (i32::from(code & 15) << 4, code >> 4 & 7);
        let magnitude = match exponent {
            0 => mantissa + 8,
            _ => (mantissa + 264) << (exponent - 1),
        };
        if code & 128 != 0 { magnitude } else { -magnitude }
    };
    let cases: [(Coding, &dyn Fn(u8) -> i32); 2] =
        [(Coding::MuLaw, &mu_law), (Coding::ALaw, &a_law)];
    for (coding, law) in cases {
        let clip = Clip::decode(&wav(coding, 16_000, 1, &all)).unwrap();
        let wanted: Vec<f32> = all.iter().map(|&code| law(code) as f32 / 32_768.0).collect();
        assert_eq!(clip.samples(), wanted, "{coding:?}");
    }
}

#[test]
fn careless_headers_are_read() {
    let plain = wav_of(16_000, 1, &triangle(16_000, 1, 0.1));
    let wanted = Clip::decode(&plain).unwrap();
    let chunk = b"JUNK\x03\0\0\0abc\0";
    let junk = [&plain[..12], chunk, &plain[12..36], chunk, &plain[36..], chunk].concat();
    assert_eq!(Clip::decode(&junk).unwrap(), wanted, "odd chunks before, between and behind");
    let ds64 = [b"ds64\x1c\0\0\0".as_slice(), &[0; 8], &3200u64.to_le_bytes(), &[0; 12]].concat();
    let mut long = [b"RF64", &plain[4..12], &ds64, &plain[12..], chunk].concat();
    let size = 12 + ds64.len() + 28;
    long[4..8].fill(0xff);
    long[size..size + 4].fill(0xff);
    assert_eq!(Clip::decode(&long).unwrap(), wanted, "sizes of 64 bits");
    let mut wide = plain.clone();
    wide[34] = 12; // bits, in the high part of two bytes
    assert_eq!(Clip::decode(&wide).unwrap(), wanted);
    wide[32..34].fill(0); // block size
    assert_eq!(Clip::decode(&wide).unwrap(), wanted);
    let no_format = [&plain[..12], &plain[36..]].concat();
    assert!(matches!(refusal(&no_format).0, AudioError::Damaged { container: "WAV", .. }));
}

#[test]
fn channels_are_averaged() {
    for channels in [2, 3, 6, 8] {
        let pcm: Vec<f32> = (0..channels * 50).map(|i| (i as f32 * 0.37).sin()).collect();
        let bytes: Vec<u8> = pcm.iter().flat_map(|s| s.to_le_bytes()).collect();
        let clip = Clip::decode(&wav(Coding::Float(32), 16_000, channels as u16, &bytes)).unwrap();
        for (frame, &mono) in pcm.chunks(channels).zip(clip.samples()) {
            let mean = frame.iter().map(|&s| f64::from(s)).sum::<f64>() / channels as f64;
            assert!((f64::from(mono) - mean).abs() < 1e-6, "{channels} channels");
        }
    }
}

#[test]
fn lossless_files_hold_what_was_put_in() {
    for name in ["stereo.flac", "stereo-alac.m4a"] {
        let clip = Clip::decode(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let wanted = Clip::from_pcm(&triangle(22_050, 2, 0.1), 22_050, 2).unwrap();
        assert_eq!(clip, wanted, "{name}");
    }
}

/// Two decoders of one stream round differently: 118 dB were seen between them. The references are
/// rounded to 16 bits, which leaves about 90 dB of a sound this loud.
#[test]
fn lossy_files_sound_as_ffmpeg_decodes_them() {
    let cases = [
        ("stereo.mp3", 44_100, 6615),
        ("mono.m4a", 22_050, 3307),
        ("mono.aac", 16_000, 3072),
        ("mono.ogg", 16_000, 3200),
    ];
    for (name, rate, frames) in cases {
        let clip = Clip::decode(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(clip.is_complete(), "{name}");
        let reference = pcm16(&fixture(&format!("{name}.s16")));
        assert!(reference.len() >= frames, "{name}: the tool may leave padding at the end");
        let wanted = Clip::from_pcm(&reference[..frames], rate, 1).unwrap();
        assert_eq!(clip.samples().len(), wanted.samples().len(), "{name}");
        let snr = snr_db(wanted.samples(), clip.samples());
        assert!(snr > 60.0, "{name}: {snr:.1} dB");
        println!("{name}: {snr:.1} dB");
    }
}

#[test]
fn priming_is_not_heard() {
    let clip = Clip::decode(&fixture("mono.m4a")).unwrap();
    let source = Clip::from_pcm(&triangle(22_050, 1, 0.15), 22_050, 1).unwrap();
    let snr = snr_db(source.samples(), clip.samples());
    assert!(snr > 10.0, "aligned with what was encoded: {snr:.1} dB");
}

#[test]
fn a_file_is_read_like_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["stereo.flac", "mono.m4a", "mono.ogg"] {
        let path = folder.path().join("sound.wrong-extension");
        std::fs::write(&path, fixture(name)).unwrap();
        assert_eq!(Clip::open(&path).unwrap(), Clip::decode(&fixture(name)).unwrap());
    }
    assert!(matches!(Clip::open(folder.path().join("none")), Err(AudioError::Io(_))));
    assert!(matches!(Clip::open(folder.path()), Err(AudioError::Io(_))));
}

#[test]
fn id3_tags_are_passed_over() {
    let tag = [b"ID3\x04\0\0\0\0\x02\0".as_slice(), &[0xff; 256]].concat();
    for name in ["stereo.mp3", "stereo.flac", "mono.aac"] {
        let tagged = [tag.clone(), fixture(name)].concat();
        assert_eq!(Clip::decode(&tagged).unwrap(), Clip::decode(&fixture(name)).unwrap(), "{name}");
    }
}

// What cannot be heard.

fn refusal(bytes: &[u8]) -> (AudioError, String) {
    let error = Clip::decode(bytes).expect_err("this cannot be heard");
    let text = error.to_string();
    (error, text)
}

#[test]
fn other_data_is_named() {
    assert!(matches!(refusal(b"").0, AudioError::Empty));
    assert!(matches!(refusal(b"\x89PNG\r\n\x1a\nIHDR").0, AudioError::NotAudio { .. }));
    assert!(matches!(refusal(&[0; 5000]).0, AudioError::NotAudio { .. }));
    let mut he_aac = fixture("mono.m4a");
    let config = b"\x05\x80\x80\x80";
    let at = he_aac.windows(4).position(|bytes| bytes == config).unwrap() + 5;
    assert_eq!(he_aac[at] >> 3, 2, "AAC-LC");
    he_aac[at] = 5 << 3 | he_aac[at] & 7;
    let (error, text) = refusal(&he_aac);
    assert!(matches!(error, AudioError::UnsupportedCodec { container: "MP4", .. }), "{error:?}");
    assert!(text.contains("HE-AAC"), "{text}");
    for (tag, name) in [(0x11, "ADPCM"), (0x31, "GSM"), (0x1234, "0x1234")] {
        let (error, text) = refusal(&wav(Coding::Tag(tag), 16_000, 1, &[0; 512]));
        assert!(matches!(error, AudioError::UnsupportedCodec { container: "WAV", .. }), "{text}");
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn senseless_headers_are_refused() {
    let tone = [0u8; 64];
    for rate in [0, 1, 999, 768_001, u32::MAX] {
        let (error, text) = refusal(&wav(Coding::Pcm(16), rate, 1, &tone));
        assert!(
            matches!(error, AudioError::Samples(SamplesError::SampleRate { found }) if found == rate),
            "{text}"
        );
        assert!(matches!(Stream::new(rate, 1), Err(SamplesError::SampleRate { .. })));
    }
    for channels in [0, 65, 1000, u16::MAX] {
        let (error, text) = refusal(&wav(Coding::Pcm(16), 16_000, channels, &tone));
        let wanted = matches!(error, AudioError::Samples(SamplesError::Channels { found }) if found == usize::from(channels));
        assert!(wanted, "{channels}: {text}");
        let pushed = Stream::new(16_000, channels.into());
        assert!(matches!(pushed, Err(SamplesError::Channels { .. })));
    }
}

#[test]
fn no_samples_is_an_error_and_one_is_a_frame() {
    assert!(matches!(
        refusal(&wav(Coding::Pcm(16), 16_000, 1, &[])).0,
        AudioError::Samples(SamplesError::NoSamples)
    ));
    assert!(matches!(Clip::from_pcm(&[], 44_100, 2), Err(SamplesError::NoSamples)));
    for rate in [8_000, 16_000] {
        let clip = Clip::decode(&wav(Coding::Pcm(16), rate, 1, &[0, 64])).unwrap();
        assert_eq!((clip.samples().len(), clip.tokens()), (16_000 / rate as usize, 1));
        assert!(clip.samples()[0] != 0.0);
    }
    // Less than half an output sample is none.
    assert!(matches!(Clip::from_pcm(&[0.5], 48_000, 1), Err(SamplesError::NoSamples)));
}

#[test]
fn silence_is_heard_as_zeros() {
    for rate in [16_000, 44_100] {
        let clip = Clip::from_pcm(&vec![0.0; 2 * rate as usize], rate, 2).unwrap();
        assert_eq!(clip.samples(), vec![0.0; 16_000]);
        assert_eq!(clip.tokens(), 25);
    }
}

#[test]
fn what_is_not_finite_never_gets_in() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let mut pcm = vec![0.25f32; 3000];
        pcm[1234] = bad;
        let bytes: Vec<u8> = pcm.iter().flat_map(|s| s.to_le_bytes()).collect();
        let (error, text) = refusal(&wav(Coding::Float(32), 44_100, 2, &bytes));
        let AudioError::Samples(error) = error else { panic!("{text}") };
        assert!(matches!(error, SamplesError::NotFinite { at: 1234, .. }), "{text}");
        let mut stream = Stream::new(44_100, 2).unwrap();
        let mut out = Vec::new();
        stream.push(&pcm[..1000], &mut out).unwrap();
        let error = stream.push(&pcm[1000..], &mut out).unwrap_err();
        assert!(matches!(error, SamplesError::NotFinite { at: 1234, .. }), "{error}");
        stream.push(&vec![0.25; 2000], &mut out).expect("the stream stays usable");
        stream.finish(&mut out).unwrap();
        assert_eq!(out, Clip::from_pcm(&vec![0.25; 3000], 44_100, 2).unwrap().samples());
    }
}

#[test]
fn channels_must_have_equally_many_samples() {
    let error = Clip::from_pcm(&[0.0; 5], 16_000, 2).unwrap_err();
    assert!(matches!(error, SamplesError::Interleaving { samples: 5, channels: 2 }), "{error}");
}

#[test]
fn long_files_are_refused() {
    let options = DecodeOptions { duration_max: Duration::from_secs(2) };
    let two = wav_of(8_000, 1, &vec![0.1; 16_000]);
    assert_eq!(Clip::decode_with(&two, &options).unwrap().seconds(), 2.0);
    let more = wav_of(8_000, 1, &vec![0.1; 16_001]);
    let told = Clip::decode_with(&more, &options).unwrap_err();
    assert!(matches!(told, AudioError::TooLong { .. }), "{told}");
    assert!(told.to_string().contains("lasts 0:00:02 or more, the limit is 0:00:02"), "{told}");
    let mut piped = more;
    piped[4..8].fill(0xff);
    piped[40..44].fill(0xff);
    let found = Clip::decode_with(&piped, &options).unwrap_err();
    assert!(matches!(found, AudioError::TooLong { .. }), "noticed on the way: {found}");
    assert_eq!(Clip::decode(&piped).unwrap().samples().len(), 32_002);
    assert!(Clip::decode(&piped).unwrap().is_complete(), "a pipe knows no length");
    for name in ["stereo.mp3", "stereo.flac", "mono.m4a", "mono.ogg", "mono.aac"] {
        let options = DecodeOptions { duration_max: Duration::from_millis(50) };
        let error = Clip::decode_with(&fixture(name), &options).unwrap_err();
        assert!(matches!(error, AudioError::TooLong { .. }), "{name}: {error}");
    }
}

#[test]
fn a_header_that_claims_hours_is_not_believed() {
    let mut file = wav_of(16_000, 1, &vec![0.1; 16_000]);
    file[4..8].copy_from_slice(&0x7ff0_0000u32.to_le_bytes());
    file[40..44].copy_from_slice(&0x7ff0_0000u32.to_le_bytes());
    assert_eq!(Clip::decode(&file).unwrap().seconds(), 1.0);
    file[4..8].copy_from_slice(&0x7000_0000u32.to_le_bytes());
    file[40..44].copy_from_slice(&0x7000_0000u32.to_le_bytes());
    let clip = Clip::decode(&file).unwrap();
    assert_eq!(clip.seconds(), 1.0);
    assert!(!clip.is_complete(), "the file breaks off");
}

#[test]
fn a_file_that_breaks_off_gives_what_it_has() {
    for name in ["stereo.mp3", "mono.aac"] {
        let file = fixture(name);
        let whole = Clip::decode(&file).unwrap();
        let part = Clip::decode(&file[..file.len() * 4 / 5]).unwrap();
        assert!(part.samples().len() < whole.samples().len(), "{name}");
    }
    // The tables of this one come last, so it is the sound before them that gets lost.
    let mut file = fixture("mono.m4a");
    let at = file.windows(4).position(|bytes| bytes == b"mdat").unwrap();
    file[at + 500..at + 900].fill(0xff);
    assert!(!Clip::decode(&file).unwrap().is_complete(), "damaged in the middle");
    let flac = fixture("stereo.flac");
    let nothing = refusal(&flac[..flac.len() * 4 / 5]).0;
    assert!(
        matches!(nothing, AudioError::Samples(SamplesError::NoSamples)),
        "all of it is one packet: {nothing}"
    );
    let file = wav_of(16_000, 1, &triangle(16_000, 1, 1.0));
    let part = Clip::decode(&file[..44 + 2 * 1000]).unwrap();
    assert_eq!(part.samples().len(), 1000);
    assert!(!part.is_complete());
}

// Resampling.

fn tone(rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
    let frames = (f64::from(rate) * seconds) as usize;
    (0..frames).map(|i| (0.5 * (TAU * hertz * i as f64 / f64::from(rate)).sin()) as f32).collect()
}

/// The sound without its first and last tenth, where a tone that begins at once is no tone yet.
fn inner(samples: &[f32]) -> &[f32] {
    &samples[samples.len() / 10..samples.len() * 9 / 10]
}

/// Power of one frequency under a Hann window.
fn power(samples: &[f32], hertz: f64) -> f64 {
    let step = TAU * hertz / 16_000.0;
    let (mut re, mut im) = (0.0, 0.0);
    for (i, &sample) in samples.iter().enumerate() {
        let hann = 0.5 - 0.5 * (TAU * i as f64 / samples.len() as f64).cos();
        let (sin, cos) = (step * i as f64).sin_cos();
        re += f64::from(sample) * hann * cos;
        im += f64::from(sample) * hann * sin;
    }
    re * re + im * im
}

/// Where the spectrum has its maximum within 2 % of `near`, by golden section.
fn peak(samples: &[f32], near: f64) -> f64 {
    let steps = 40;
    let at = |i: usize| near * (0.98 + 0.04 * i as f64 / steps as f64);
    let best = (0..=steps).max_by(|&a, &b| power(samples, at(a)).total_cmp(&power(samples, at(b))));
    let best = best.unwrap();
    let (mut low, mut high) = (at(best.saturating_sub(1)), at(best + 1));
    while high - low > near * 1e-8 {
        let (a, b) = (low + (high - low) * 0.382, low + (high - low) * 0.618);
        if power(samples, a) > power(samples, b) { high = b } else { low = a }
    }
    (low + high) / 2.0
}

fn level_db(samples: &[f32]) -> f64 {
    let mean = samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64;
    10.0 * (mean / 0.125).log10() // 0.5 amplitude is 0 dB
}

#[test]
fn one_kilohertz_stays_one_kilohertz() {
    for rate in [44_100, 48_000, 22_050, 8_000] {
        let clip = Clip::from_pcm(&tone(rate, 1000.0, 1.0), rate, 1).unwrap();
        assert_eq!(clip.samples().len(), 16_000);
        let found = peak(inner(clip.samples()), 1000.0);
        assert!((found / 1000.0 - 1.0).abs() < 1e-6, "{rate} Hz: {found} Hz");
        let wanted: Vec<f32> = tone(16_000, 1000.0, 1.0);
        let snr = snr_db(inner(&wanted), inner(clip.samples()));
        assert!(snr > 100.0, "{rate} Hz: {snr:.1} dB, delay included");
        println!("{rate} Hz: {:.1e} off, {snr:.1} dB", (found / 1000.0 - 1.0).abs());
    }
}

#[test]
fn nothing_above_eight_kilohertz_comes_through() {
    for rate in [44_100, 48_000, 22_050, 96_000, 44_101, 767_999] {
        for hertz in [8_001.0, 8_020.0, 8_050.0, 8_100.0, 8_500.0, 10_000.0, 15_000.0, 20_000.0] {
            if hertz < f64::from(rate) / 2.0 {
                // At 44101 Hz the filter hears a tone begin or end that is a second away.
                let clip = Clip::from_pcm(&tone(rate, hertz, 3.0), rate, 1).unwrap();
                let level = level_db(&clip.samples()[16_000..32_000]);
                assert!(level < -60.0, "{rate} Hz: {hertz} Hz at {level:.1} dB");
                println!("{rate} Hz: {hertz} Hz at {level:.1} dB");
            }
        }
    }
}

#[test]
fn what_is_below_comes_through_whole() {
    for rate in [44_100, 48_000, 22_050, 96_000, 192_000, 768_000] {
        for hertz in [50.0, 440.0, 3000.0, 6000.0, 7000.0, 7500.0] {
            let clip = Clip::from_pcm(&tone(rate, hertz, 0.5), rate, 1).unwrap();
            let level = level_db(inner(clip.samples()));
            assert!(level.abs() < 0.05, "{rate} Hz: {hertz} Hz at {level:.3} dB");
        }
    }
}

#[test]
fn odd_rates_keep_pitch_and_length() {
    let rates = [
        1_000, 1_001, 2_003, 7_999, 8_001, 11_025, 11_127, 15_999, 16_001, 22_254, 32_000, 37_800,
        44_056, 44_099, 44_101, 47_999, 96_001, 192_000, 384_000, 705_600, 767_999, 768_000,
    ];
    for rate in rates.into_iter().step_by(if emulated() { 5 } else { 1 }) {
        let before = Instant::now();
        let hertz = f64::from(rate.min(8_000)) / 8.0;
        let clip = Clip::from_pcm(&tone(rate, hertz, 2.0), rate, 1).unwrap();
        assert_eq!(clip.samples().len(), 32_000, "{rate} Hz");
        let found = peak(inner(clip.samples()), hertz);
        assert!((found / hertz - 1.0).abs() < 5e-6, "{rate} Hz: {found} Hz for {hertz} Hz");
        let snr = snr_db(inner(&tone(16_000, hertz, 2.0)), inner(clip.samples()));
        // At 1 kHz the filter lasts longer than the tone and hears how abruptly that begins. The
        // one ratio that is not exact has shifted the tone by a few microseconds after a second.
        let wanted = if rate == 767_999 { 35.0 } else { 70.0 };
        assert!(snr > wanted, "{rate} Hz: {snr:.1} dB");
        println!("{rate} Hz: {snr:.1} dB, {:.2?}", before.elapsed());
    }
}

#[test]
fn pieces_give_what_the_whole_gives() {
    for (rate, channels) in [(44_100, 2), (48_000, 1), (16_000, 3), (8_000, 1), (44_101, 1)] {
        let pcm = triangle(rate, channels, 0.7);
        let whole = Clip::from_pcm(&pcm, rate, channels).unwrap();
        let mut stream = Stream::new(rate, channels).unwrap();
        for size in [1, 7, 160, 4096, pcm.len()] {
            let mut out = Vec::new();
            for piece in pcm.chunks(size) {
                let final_already = out.len();
                stream.push(piece, &mut out).unwrap();
                assert_eq!(out[..final_already], whole.samples()[..final_already]);
            }
            stream.finish(&mut out).unwrap();
            assert_eq!(out, whole.samples(), "{rate} Hz, pieces of {size}");
        }
    }
}

#[test]
fn a_stream_lags_little() {
    for (rate, lag) in [(16_000, 0.0), (44_100, 0.16), (48_000, 0.14), (8_000, 0.8)] {
        let mut stream = Stream::new(rate, 1).unwrap();
        let mut out = Vec::new();
        stream.push(&tone(rate, 100.0, 3.0), &mut out).unwrap();
        let seconds = out.len() as f64 / 16_000.0;
        assert!(seconds <= 3.0 && seconds >= 3.0 - lag, "{rate} Hz: {seconds} s of 3 s");
    }
}

// Segments and frames.

#[test]
fn long_clips_are_split_or_refused() {
    let clip = Clip::from_pcm(&tone(16_000, 200.0, 70.0), 16_000, 1).unwrap();
    assert_eq!(clip.tokens(), 1750);
    let parts = clip.segments(LongClip::Split).unwrap();
    assert_eq!(parts.iter().map(ExactSizeIterator::len).sum::<usize>(), clip.samples().len());
    assert!(parts.iter().all(|part| part.len() <= 750 * 640));
    let error = clip.segments(LongClip::Refuse).unwrap_err();
    assert!(error.to_string().contains("lasts 70.0000 s"), "{error}");
}

// Damage.

/// Every result is a clip of finite samples or an error, and comes soon.
fn survives(bytes: &[u8], what: &dyn std::fmt::Display) {
    let before = Instant::now();
    if let Ok(clip) = Clip::decode(bytes) {
        assert!(!clip.samples().is_empty(), "{what}");
        assert!(clip.samples().iter().all(|s| s.is_finite()), "{what}");
    }
    assert!(before.elapsed() < Duration::from_secs(20), "{what}: {:?}", before.elapsed());
}

/// Truncations and flips of every `header_step`th of the first 400 bytes, where the headers are,
/// then of every `step`th.
fn damage(header_step: usize, step: usize) {
    let mut files: Vec<(String, Vec<u8>)> = [
        "stereo.mp3",
        "stereo.flac",
        "mono.m4a",
        "stereo-alac.m4a",
        "mono.aac",
        "mono.ogg",
        "opus.ogg",
    ]
    .map(|name| (name.to_string(), fixture(name)))
    .into();
    files.push(("wav".into(), wav_of(16_000, 2, &triangle(16_000, 2, 0.02))));
    files.push(("extensible".into(), wav(Coding::Extensible, 44_100, 1, &[7; 300])));
    for (name, file) in files {
        let places = |at: &usize| at.is_multiple_of(if *at < 400 { header_step } else { step });
        for length in (0..file.len()).filter(places) {
            survives(&file[..length], &format_args!("{name} cut to {length}"));
        }
        for at in (0..file.len()).filter(places) {
            for mask in [0xff, 0x80, 0x01] {
                let mut bad = file.clone();
                bad[at] ^= mask;
                survives(&bad, &format_args!("{name} byte {at} ^ {mask:#x}"));
            }
        }
    }
}

#[test]
fn damage_never_panics_or_hangs() {
    if emulated() { damage(13, 1009) } else { damage(1, 101) }
}

#[test]
#[ignore = "takes minutes"]
fn no_damage_at_all_panics_or_hangs() {
    damage(1, 1);
}

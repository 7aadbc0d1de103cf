//! Every coding against what another decoder makes of it, or against what was put in.

use carat::audio::{AudioError, Clip};

use crate::sound::{fixture, pcm16, snr_db, triangle};

/// What libopus makes of it, rounded to 16 bits.
fn opus_reference(name: &str) -> Vec<f32> {
    Clip::from_pcm(&pcm16(&fixture(name)), 48_000, 1).unwrap().samples().to_vec()
}

#[test]
fn opus_sounds_as_its_reference_decodes_it() {
    for name in ["opus.ogg", "silk.ogg", "hybrid.ogg", "stereo-opus.ogg"] {
        let clip = Clip::decode(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(clip.is_complete(), "{name}");
        let wanted = opus_reference(&format!("{name}.s16"));
        assert_eq!(clip.samples().len(), wanted.len(), "{name}");
        let snr = snr_db(&wanted, clip.samples());
        println!("{name}: {snr:.1} dB");
        assert!(snr > 60.0, "{name}: {snr:.1} dB");
    }
}

/// Their containers do not say at which sample the sound ends: up to a packet more is heard.
#[test]
fn opus_packets_sound_the_same_in_webm_and_mp4() {
    let wanted = opus_reference("opus.ogg.s16");
    for name in ["opus.webm", "opus.mp4"] {
        let clip = Clip::decode(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(clip.is_complete(), "{name}");
        let more = clip.samples().len().checked_sub(wanted.len());
        assert!(more.is_some_and(|more| more <= 320), "{name}: {} samples", clip.samples().len());
        // The resampler's filter hears what comes next.
        let inner = wanted.len() - 100;
        let snr = snr_db(&wanted[..inner], &clip.samples()[..inner]);
        assert!(snr > 60.0, "{name}: {snr:.1} dB");
    }
}

#[test]
fn a_voice_message_without_a_last_page_is_whole() {
    let file = fixture("opus.ogg");
    let open = without_last_page_flag(&file);
    let clip = Clip::decode(&open).unwrap();
    assert!(clip.is_complete());
    let wanted = Clip::decode(&file).unwrap();
    assert!(snr_db(&wanted.samples()[..1500], &clip.samples()[..1500]) > 60.0);
    assert!(!Clip::decode(&open[..open.len() - 1]).is_ok_and(|clip| clip.is_complete()));
}

/// Clears the flag "end of stream" and computes the page's checksum (RFC 3533, 6) anew.
fn without_last_page_flag(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let page = file.windows(4).rposition(|bytes| bytes == b"OggS").unwrap();
    assert_eq!(file[page + 5], 4);
    file[page + 5] = 0;
    file[page + 22..page + 26].fill(0);
    let mut crc = 0u32;
    for &byte in &file[page..] {
        crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            crc = crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 };
        }
    }
    file[page + 22..page + 26].copy_from_slice(&crc.to_le_bytes());
    file
}

#[test]
fn pcm_in_aiff_caf_and_quicktime_holds_what_was_put_in() {
    let cases = [
        ("stereo.aiff", 2),
        ("stereo.caf", 2),
        ("alac.caf", 2),
        ("s24be.mov", 1),
        ("s24le.mov", 1),
    ];
    for (name, channels) in cases {
        let clip = Clip::decode(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let put_in = triangle(22_050, channels, 0.05);
        let wanted = Clip::from_pcm(&put_in, 22_050, channels).unwrap();
        assert_eq!(clip, wanted, "{name}");
    }
    // G.711 rounds the loudest of these samples by 512 of 32768 at most.
    let clip = Clip::decode(&fixture("u-law.aifc")).unwrap();
    let wanted = Clip::from_pcm(&triangle(22_050, 2, 0.05), 22_050, 2).unwrap();
    assert!(snr_db(wanted.samples(), clip.samples()) > 30.0);
}

#[test]
fn layer_2_sounds_as_ffmpeg_decodes_it() {
    for name in ["stereo.mp2", "low.mp2"] {
        let clip = Clip::decode(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(clip.is_complete(), "{name}");
        let wanted = Clip::from_pcm(&pcm16(&fixture(&format!("{name}.s16"))), 44_100, 1).unwrap();
        assert_eq!(clip.samples().len(), wanted.samples().len(), "{name}");
        let snr = snr_db(wanted.samples(), clip.samples());
        println!("{name}: {snr:.1} dB");
        assert!(snr > 60.0, "{name}: {snr:.1} dB");
    }
    let error = Clip::decode(&fixture("loud-mono.mp2")).unwrap_err();
    assert!(matches!(error, AudioError::UnsupportedCodec { .. }), "{error:?}");
    assert!(error.to_string().contains("192 kbit/s"), "{error}");
}

/// The edit list of `mono.m4a` hidden, and the same told in the comment that iTunes writes.
#[test]
fn priming_that_itunes_tells_is_not_heard() {
    let file = fixture("mono.m4a");
    let wanted = Clip::decode(&file).unwrap();
    let position = |name: &[u8]| file.windows(4).position(|bytes| bytes == name).unwrap();
    let (edits, moov) = (position(b"edts"), position(b"moov") - 4);
    let mut plain = file.clone();
    plain[edits..edits + 4].copy_from_slice(b"free");
    let unaware = Clip::decode(&plain).unwrap();
    let text = " 00000000 00000400 000001F5 0000000000000CEB 00000000 00000000 00000000";
    let comment = [
        atom(b"mean", b"\0\0\0\0com.apple.iTunes"),
        atom(b"name", b"\0\0\0\0iTunSMPB"),
        atom(b"data", &[b"\0\0\0\x01\0\0\0\0", text.as_bytes()].concat()),
    ];
    let list = atom(b"ilst", &atom(b"----", &comment.concat()));
    let handler = atom(b"hdlr", b"\0\0\0\0\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0");
    let more = atom(b"udta", &atom(b"meta", &[vec![0; 4], handler, list].concat()));
    // The index is the last atom: it grows, and nothing it points to moves.
    let size = u32::from_be_bytes(plain[moov..moov + 4].try_into().unwrap());
    assert_eq!(moov + size as usize, plain.len());
    plain[moov..moov + 4].copy_from_slice(&(size + more.len() as u32).to_be_bytes());
    let told = Clip::decode(&[plain, more].concat()).unwrap();
    assert_eq!(told, wanted);
    assert!(unaware.samples().len() >= wanted.samples().len() + 700, "1024 samples at 22.05 kHz");
}

fn atom(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(8 + body.len() as u32).to_be_bytes(), name.as_slice(), body].concat()
}

/// A frame of layer III is given a block of mixed windows: it and the next, which overlaps with
/// it, are silent, and the file is said to be incomplete.
#[test]
fn mixed_blocks_are_silent() {
    let file = fixture("stereo.mp3");
    let whole = Clip::decode(&file).unwrap();
    let mut at = mp3_frames(&file)[3];
    assert_eq!(file[at + 1] & 1, 1, "no checksum");
    at += 4;
    let mut bad = file.clone();
    // ISO/IEC 11172-3, 2.4.1.7: 20 bits, and 33 within the first granule's first channel.
    let flags = [(53, true), (54, true), (55, false), (56, true)];
    for (bit, value) in flags {
        let mask = 0x80 >> (bit % 8);
        bad[at + bit / 8] = bad[at + bit / 8] & !mask | if value { mask } else { 0 };
    }
    let clip = Clip::decode(&bad).unwrap();
    assert!(!clip.is_complete());
    assert_eq!(clip.samples().len(), whole.samples().len());
    // The first frame only tells, and 1105 samples are the delay of encoder and decoder.
    let resampled = |sample: usize| (sample - 1105) * 160 / 441;
    let (from, to) = (resampled(2 * 1152), resampled(4 * 1152));
    // The resampler's transform spreads its rounding over a block.
    assert!(snr_db(&whole.samples()[..from - 60], &clip.samples()[..from - 60]) > 60.0);
    let loudest = clip.samples()[from + 60..to - 60].iter().fold(0f32, |most, s| most.max(s.abs()));
    assert!(loudest < 1e-3, "{loudest}");
}

/// Where the frames of an MP3 file of 44.1 kHz begin.
fn mp3_frames(file: &[u8]) -> Vec<usize> {
    let kilobits = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    let mut at = file.windows(2).position(|bytes| bytes == [0xff, 0xfb]).unwrap();
    let mut frames = Vec::new();
    while at + 4 < file.len() {
        frames.push(at);
        let header = file[at + 2];
        at +=
            144 * kilobits[usize::from(header >> 4)] * 1000 / 44_100 + usize::from(header >> 1 & 1);
    }
    frames
}

/// RFC 9639: blocks of changing sizes, which frames count in samples, stored as they are.
#[test]
fn flac_of_variable_block_sizes_holds_what_was_put_in() {
    let samples = triangle(16_000, 1, 0.1);
    let mut file = b"fLaC\x80\0\0\x22\0\x10\xff\xff\0\0\0\0\0\0".to_vec();
    let format = 16_000u64 << 44 | 15 << 36 | samples.len() as u64;
    file.extend(format.to_be_bytes());
    file.extend([0; 16]);
    let mut first = 0;
    for size in [100, 37, 800, 16, 647] {
        let block = &samples[first..first + size];
        let mut frame = vec![0xff, 0xf9, 0x75, 0x08]; // 16 bits of size, 16 kHz, mono, 16 bits
        let number = char::from_u32(first as u32).unwrap();
        frame.extend(number.encode_utf8(&mut [0; 4]).as_bytes());
        frame.extend((size as u16 - 1).to_be_bytes());
        frame.push(crc(&frame, 8, 0x07) as u8);
        frame.push(2); // verbatim
        let words = block.iter().map(|sample| (sample * 32_768.0) as i16);
        frame.extend(words.flat_map(i16::to_be_bytes));
        frame.extend((crc(&frame, 16, 0x8005) as u16).to_be_bytes());
        file.extend(frame);
        first += size;
    }
    assert_eq!(first, samples.len());
    let clip = Clip::decode(&file).unwrap();
    assert_eq!((clip.samples(), clip.is_complete()), (&samples[..], true));
    let cut = Clip::decode(&file[..file.len() - 200]).unwrap();
    assert_eq!((cut.samples(), cut.is_complete()), (&samples[..953], false));
}

/// The remainder of `bytes` by a polynomial of `width` bits, high bit first.
fn crc(bytes: &[u8], width: u32, polynomial: u32) -> u32 {
    let mut crc = 0;
    for &byte in bytes {
        crc ^= u32::from(byte) << (width - 8);
        for _ in 0..8 {
            let carry = crc >> (width - 1) & 1;
            crc = (crc << 1 ^ if carry == 1 { polynomial } else { 0 }) & ((1 << width) - 1);
        }
    }
    crc
}

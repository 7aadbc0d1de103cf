//! Sound files as they are found: joined, cut, with junk and headers of their time.

use carat::audio::{AudioError, Clip};

use crate::sound::{fixture, triangle, wav_of};

fn be16(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|s| ((s * 32_768.0) as i16).to_be_bytes()).collect()
}

#[test]
fn au_and_big_endian_wav_hold_what_was_put_in() {
    let pcm = triangle(16_000, 1, 0.1);
    let data = be16(&pcm);
    let words = |words: [u32; 5]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
    for size in [data.len() as u32, u32::MAX] {
        let file = [b".snd".to_vec(), words([24, size, 3, 16_000, 1]), data.clone()].concat();
        let clip = Clip::decode(&file).unwrap();
        assert_eq!((clip.samples(), clip.is_complete()), (&pcm[..], true));
    }
    let file = [b".snd".to_vec(), words([24, 1 << 20, 3, 16_000, 1]), data].concat();
    assert!(!Clip::decode(&file).unwrap().is_complete());
}

#[test]
fn a_recorder_that_was_switched_off_left_sound() {
    let pcm = triangle(16_000, 1, 0.1);
    let mut file = wav_of(16_000, 1, &pcm);
    file[4..8].copy_from_slice(&36u32.to_le_bytes());
    file[40..44].fill(0);
    assert_eq!(Clip::decode(&file).unwrap().samples(), pcm);
}

#[test]
fn mp3_files_joined_and_with_junk_are_heard_whole() {
    let file = fixture("stereo.mp3");
    let one = Clip::decode(&file).unwrap();
    let tag = [b"TAG".as_slice(), &[b' '; 125]].concat();
    let id3 = [b"ID3\x04\0\0\0\0\0\x10".as_slice(), &[0; 16]].concat();
    let two = Clip::decode(&[file.clone(), tag, id3, file.clone()].concat()).unwrap();
    assert_eq!(two.samples().len(), 2 * one.samples().len());
    assert!(two.is_complete());
    for junk in [vec![0], vec![0; 5000], b"\xff\x00\x12garbage\xff".to_vec()] {
        assert_eq!(Clip::decode(&[junk, file.clone()].concat()).unwrap(), one);
    }
    let half = Clip::decode(&file[..file.len() / 2]).unwrap();
    assert!(!half.is_complete() && half.samples().len() < one.samples().len());
    let mut torn = file.clone();
    torn[1000..1200].fill(0x55);
    assert!(!Clip::decode(&torn).unwrap().is_complete());
}

#[test]
fn damaged_comments_do_not_keep_flac_from_playing() {
    let file = fixture("stereo.flac");
    let mut bad = file.clone();
    bad[46..50].fill(0xff); // the length of the first comment
    assert_eq!(Clip::decode(&bad).unwrap(), Clip::decode(&file).unwrap());
}

#[test]
fn mp4_files_cut_or_without_a_type_give_what_they_have() {
    let file = fixture("mono.m4a");
    let whole = Clip::decode(&file).unwrap();
    let mut old = file.clone();
    old[4..8].copy_from_slice(b"wide");
    assert_eq!(Clip::decode(&old).unwrap(), whole);
    let error = Clip::decode(&file[..1000]).unwrap_err();
    assert!(matches!(error, AudioError::NoIndex { .. }), "{error}");
    assert!(error.to_string().contains("cut short before its index"));
}

#[test]
fn ogg_pages_are_checked_and_speex_is_named() {
    let file = fixture("opus.ogg");
    let whole = Clip::decode(&file).unwrap();
    assert_eq!((whole.samples().len(), whole.is_complete()), (1600, true));
    let mut bad = file.clone();
    let last = bad.len() - 9;
    bad[last] ^= 1;
    assert!(
        Clip::decode(&bad).is_ok_and(|clip| !clip.is_complete()) || Clip::decode(&bad).is_err()
    );
    let mut page = b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x50".to_vec();
    page.extend([b"Speex   ".as_slice(), &[0; 72]].concat());
    assert!(Clip::decode(&page).unwrap_err().to_string().contains("Speex"));
}

#[test]
fn what_is_not_decoded_is_named() {
    let cases: [(&[u8], &str); 5] = [
        (b"#!AMR\n\x3c", "AMR"),
        (b"Creative Voice File\x1a", "VOC"),
        (b"\x0b\x77\0\0\0\0\0\0", "AC-3"),
        (b"MThd\0\0\0\x06", "MIDI"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    ];
    for (bytes, name) in cases {
        let text = Clip::decode(bytes).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("ffmpeg"), "{text}");
    }
}

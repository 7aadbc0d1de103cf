//! Films and foreign sound through the program, with shell scripts in place of `ffmpeg` and
//! `ffprobe`.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

use image::codecs::gif::GifEncoder;
use image::{Delay, Frame, RgbaImage};

mod common;

use common::{Folder, Ran, carat, ran, tiny};

/// A folder that is all of `PATH` but the system's own. Scripts are written and started by one test
/// at a time: a program that is being written anywhere cannot be started.
struct Stage {
    folder: Folder,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Stage {
    fn new(ffprobe: &str, ffmpeg: &str) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = Folder::new();
        for (name, body) in [("ffprobe", ffprobe), ("ffmpeg", ffmpeg)] {
            let path = folder.file(name, format!("#!/bin/sh\ncd \"${{0%/*}}\"\n{body}\n"));
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("they are set");
        }
        Self { folder, _alone: alone }
    }

    fn carat(&self, args: &[&str]) -> Ran {
        let path = format!("{}:/usr/bin:/bin", self.folder.path(""));
        ran(carat().args(args).env("PATH", path).output().expect("the program starts"))
    }

    fn run(&self, media: &[&str]) -> Ran {
        let model = tiny();
        self.carat(
            &[&["run", "--raw", "-m", &model, "--greedy", "-n", "1", "-t", "1", "hi"], media]
                .concat(),
        )
    }
}

/// No program at all.
fn without_ffmpeg(args: &[&str]) -> Ran {
    let model = tiny();
    let mut command = carat();
    command.args(["run", "--raw", "-m", &model, "--greedy", "-n", "1", "-t", "1", "hi"]).args(args);
    ran(command.env("PATH", "/nonexistent").stdin(Stdio::null()).output().expect("it starts"))
}

/// A film of four frames, at 1, 1.2, 1.4 and 5 seconds of its container, with sound.
const FFPROBE: &str = r#"case "$*" in
    *a:0*) echo channels=1;;
    *packet=*) printf '1.0,K__\n1.4,___\n1.2,___\n5.0,___\n';;
    *) echo avg_frame_rate=30/1; echo nb_frames=N/A;; esac"#;

/// Pictures of one pixel for each frame, or a second of silence.
const FFMPEG: &str = r#"case "$*" in
    *f32le*) head -c 64000 /dev/zero;;
    *) for i in 1 2 3 4; do printf 'P6\n1 1\n255\nabc'; done;; esac"#;

fn gif(delays_ms: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for &delay in delays_ms {
        let delay = Delay::from_numer_denom_ms(delay, 1);
        let frame = Frame::from_parts(RgbaImage::new(8, 6), 0, 0, delay);
        encoder.encode_frame(frame).expect("it can be written");
    }
    drop(encoder);
    bytes
}

#[test]
fn eval_video_prints_the_number_and_the_time_of_each_frame() {
    let stage = Stage::new(FFPROBE, FFMPEG);
    let film = stage.folder.file("film.webm", "no picture");
    let printed = stage.carat(&["eval", "video", &film]);
    assert_eq!((printed.err.as_str(), printed.code), ("", 0));
    assert_eq!(printed.out, "0 0.000\n1 0.200\n2 0.400\n3 4.000\n");
    let moving = stage.folder.file("a.gif", gif(&[100, 2000, 300]));
    assert_eq!(stage.carat(&["eval", "video", &moving]).ok(), "0 0.000\n1 0.100\n2 2.100\n");
    let empty = stage.folder.file("empty.mp4", "");
    stage.carat(&["eval", "video", &empty]).fails(1, &["empty.mp4", "empty"]);
}

#[test]
fn a_damaged_film_shows_what_it_has_and_says_so() {
    let cut = r"printf 'P6\n1 1\n255\nabcP6\n1 1'; echo 'partial file' >&2; exit 1";
    let stage = Stage::new(FFPROBE, cut);
    let film = stage.folder.file("film.webm", "no picture");
    let printed = stage.carat(&["eval", "video", &film]);
    assert!(printed.err.contains("film.webm is damaged"), "{}", printed.err);
    assert_eq!(printed.ok(), "0 0.000\n");
}

#[test]
fn a_film_without_usable_sound_is_shown_with_a_warning() {
    let pictures = r"for i in 1 2 3 4; do printf 'P6\n1 1\n255\nabc'; done";
    for (sound, words) in [
        ("true", "without its sound: the sound track has no samples"),
        ("echo 'broken header' >&2; exit 1", "without its sound: \"ffmpeg\" cannot read"),
        ("head -c 6400 /dev/zero; echo oh >&2; exit 1", "sound of"),
    ] {
        let ffmpeg = format!("case \"$*\" in *f32le*) {sound};; *) {pictures};; esac");
        let stage = Stage::new(FFPROBE, &ffmpeg);
        let film = stage.folder.file("film.mkv", "no picture");
        let shown = stage.run(&["--video", &film, "--with-sound"]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        assert!(shown.err.contains("film.mkv") && shown.err.contains(words), "{}", shown.err);
        assert!(!stage.run(&["--video", &film]).err.contains("sound"));
    }
    let mute = FFPROBE.replace("echo channels=1", "true");
    let stage = Stage::new(&mute, FFMPEG);
    let film = stage.folder.file("film.mkv", "no picture");
    let shown = stage.run(&["--video", &film, "--with-sound"]);
    assert!(shown.code == 0 && shown.err.contains("film.mkv has no sound"), "{}", shown.err);
}

#[test]
fn an_animation_with_sound_needs_no_ffmpeg() {
    let folder = Folder::new();
    let moving = folder.file("a.gif", gif(&[100, 100]));
    let shown = without_ffmpeg(&["--video", &moving, "--with-sound"]);
    assert!(shown.code == 0 && shown.err.contains("a.gif has no sound"), "{}", shown.err);
    let film = folder.file("film.mp4", "no picture");
    without_ffmpeg(&["--video", &film]).fails(1, &["film.mp4", "install ffmpeg"]);
}

#[test]
fn ffmpeg_reads_the_sound_that_carat_cannot() {
    let stage = Stage::new(FFPROBE, FFMPEG);
    let memo = stage.folder.file("memo.amr", b"#!AMR\n\x3c\0\0\0\0\0\0");
    let heard = stage.run(&["--audio", &memo]);
    assert_eq!(heard.code, 0, "{}", heard.err);
    let told: Vec<_> = heard.err.lines().filter(|line| line.contains("ffmpeg")).collect();
    assert!(
        matches!(told[..], [line] if line.contains("memo.amr is read with ffmpeg")),
        "{told:?}"
    );
    drop(stage);

    let refused = without_ffmpeg(&["--audio", &memo_in(&Folder::new())]);
    refused.fails(1, &["memo.amr"]);
    let folder = Folder::new();
    let refused = without_ffmpeg(&["--audio", &memo_in(&folder)]);
    refused.fails(1, &["memo.amr", "an AMR file is not audio", "converting", "install ffmpeg"]);
}

fn memo_in(folder: &Folder) -> String {
    folder.file("memo.amr", b"#!AMR\n\x3c\0\0\0\0\0\0")
}

#[test]
fn what_ffmpeg_does_not_take_either_keeps_its_name() {
    for (ffprobe, ffmpeg) in [("exit 1", ""), ("true", ""), ("echo channels=1", "exit 1")] {
        let stage = Stage::new(ffprobe, ffmpeg);
        let prose = stage.folder.file("prose.mp3", "It was a dark and stormy night.");
        stage.run(&["--audio", &prose]).fails(1, &["prose.mp3", "text is not audio"]);
    }
    // What carat's own decoders understand is not asked about.
    let stage = Stage::new("touch asked", "touch asked");
    let empty = stage.folder.file("empty.wav", "");
    stage.run(&["--audio", &empty]).fails(1, &["empty.wav", "is empty"]);
    assert!(!stage.folder.names().contains(&"asked".to_owned()));
}

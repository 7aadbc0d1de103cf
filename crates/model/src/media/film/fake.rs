//! Tests with shell scripts in place of `ffmpeg` and `ffprobe`: what is done with answers that are
//! late, long, wrong or missing, and that no shell sees the arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::cancel::Cancel;
use crate::video::Video;

/// A folder with a film, `ffmpeg` and `ffprobe`. Scripts are written and started by one test at a
/// time: a program that is being written anywhere cannot be started.
struct Stage {
    folder: tempfile::TempDir,
    config: VideoConfig,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Stage {
    fn new(ffprobe: &str, ffmpeg: &str) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, body: &str| {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\ncd \"${{0%/*}}\"\n{body}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let (ffprobe, ffmpeg) = (script("ffprobe", ffprobe), script("ffmpeg", ffmpeg));
        let config = VideoConfig { ffprobe, ffmpeg, ..Default::default() };
        let stage = Self { folder, config, _alone: alone };
        fs::write(stage.film(), "no picture").unwrap();
        stage
    }

    fn film(&self) -> PathBuf {
        self.folder.path().join("a film; touch harm")
    }

    fn open(&self) -> Result<Video, VideoError> {
        Video::open(self.film(), &self.config)
    }
}

/// What ffprobe says of a film of so many frames, whose packets have no times.
fn film(frames: u32) -> String {
    let packets = format!("for i in $(seq {frames}); do echo N/A,K__; done");
    probed(&format!("echo avg_frame_rate=2/1; echo nb_frames={frames}"), &packets)
}

/// An ffprobe that runs one command when it is asked for streams and one for packets.
fn probed(streams: &str, packets: &str) -> String {
    format!("case \"$*\" in *packet=*) {packets};; *) {streams};; esac")
}

/// Two pictures of one pixel.
const TWO: &str = r"printf 'P6\n1 1\n255\nabcP6\n1 1\n255\nxyz'";

#[test]
fn pictures_become_frames_and_no_shell_sees_a_name() {
    let ffmpeg = format!("printf '%s\\n' \"$@\" > arguments; {TWO}");
    let stage = Stage::new(&film(2), &ffmpeg);
    let video = stage.open().unwrap();
    let seen: Vec<_> = video.frames.iter().map(|f| (f.seconds, &f.picture.pixels()[..3])).collect();
    assert_eq!(seen, [(0.0, &b"abc"[..]), (0.5, b"xyz")]);

    let arguments = fs::read_to_string(stage.folder.path().join("arguments")).unwrap();
    assert!(arguments.contains(&format!("\nfile:{}\n", stage.film().display())), "{arguments}");
    assert!(!stage.folder.path().join("harm").exists());
}

#[test]
fn a_still_picture_is_the_first_that_comes() {
    let stage = Stage::new("exit 1", TWO);
    assert_eq!(picture(stage.film(), &stage.config).unwrap().pixels()[..3], b"abc"[..]);
    drop(stage);
    let none = Stage::new("exit 1", "exit 0");
    assert!(matches!(picture(none.film(), &none.config), Err(VideoError::NoFrames(_))));
}

#[test]
fn frames_have_the_times_of_their_packets() {
    // In the order of decoding, as B frames are stored; the first is not shown.
    let packets = r"printf '0.9,KD_\n1.0,K__\n3.5,___\n1.25,___\n'";
    let streams = "echo avg_frame_rate=30/1; echo nb_frames=N/A";
    let video = Stage::new(&probed(streams, packets), TWO).open().unwrap();
    let seen: Vec<_> = video.frames.iter().map(|f| (f.index, f.seconds)).collect();
    assert_eq!(seen, [(0, 0.0), (1, 0.25)]);
    assert!(!video.complete, "three were promised and two came");
}

#[test]
fn frames_without_times_are_counted() {
    let probe = probed("echo avg_frame_rate=4/1; echo nb_frames=N/A", "echo N/A,K__; echo N/A,___");
    let video = Stage::new(&probe, TWO).open().unwrap();
    assert_eq!((video.frames[1].seconds, video.complete), (0.25, true));
    let lines = "echo 0.5,K__; yes 0.5,K__,x | tr -d '\\n'";
    let endless = Stage::new(&probed("echo avg_frame_rate=4/1", lines), TWO).open();
    assert!(matches!(endless, Err(VideoError::Answer { .. })), "{endless:?}");
}

#[test]
fn what_a_damaged_film_shows_is_shown() {
    let one = r"printf 'P6\n1 1\n255\nabcP6\n1'; echo 'damaged' >&2; exit 1";
    let video = Stage::new(&film(2), one).open().unwrap();
    assert_eq!((video.frames.len(), video.complete), (1, false));
    let packets = "echo 0.0,K__; echo 'cut short' >&2; exit 1";
    let streams = "echo avg_frame_rate=2/1; echo nb_frames=5";
    let video = Stage::new(&probed(streams, packets), TWO).open().unwrap();
    assert_eq!((video.frames.len(), video.complete), (1, false));
}

#[test]
fn long_films_are_sought() {
    let ffmpeg = r"echo x >> calls; printf 'P6\n1 1\n255\nabc'";
    let mut stage = Stage::new(&film(10_000), ffmpeg);
    stage.config.frames_max = 3;
    let video = stage.open().unwrap();
    let times: Vec<f64> = video.frames.iter().map(|f| f.seconds).collect();
    assert_eq!(times, [0.0, 1_666.5, 3_333.0]);
    assert_eq!(fs::read_to_string(stage.folder.path().join("calls")).unwrap().lines().count(), 3);
}

#[test]
fn a_program_that_does_not_end_is_stopped() {
    for (ffprobe, ffmpeg) in [
        ("exec sleep 60", ""),
        (probed("echo avg_frame_rate=2/1", "exec sleep 60").as_str(), ""),
        (film(2).as_str(), "exec sleep 60"),
        (film(2).as_str(), "exec >&-; exec sleep 60"),
    ] {
        let mut stage = Stage::new(ffprobe, ffmpeg);
        stage.config.patience = Duration::from_millis(500);
        let started = Instant::now();
        let found = stage.open();
        assert!(matches!(found, Err(VideoError::Patience { .. })), "{found:?}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_program_is_stopped_when_the_caller_cancels() {
    let mut stage = Stage::new(&film(2), "echo $$ > pid; exec sleep 60");
    let cancel = Cancel::new();
    stage.config.cancel = Some(cancel.clone());
    let pid = stage.folder.path().join("pid");
    let seen = pid.clone();
    let canceller = thread::spawn(move || {
        while fs::read_to_string(&seen).unwrap_or_default().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        cancel.cancel();
    });
    assert!(matches!(stage.open(), Err(VideoError::Cancelled)));
    canceller.join().unwrap();
    let pid = fs::read_to_string(pid).unwrap();
    assert!(!PathBuf::from(format!("/proc/{}/exe", pid.trim())).exists());
}

#[test]
fn a_program_is_stopped_when_enough_was_read() {
    let stage = Stage::new(&film(2), &format!("echo $$ > pid; {TWO}; exec yes"));
    assert_eq!(stage.open().unwrap().frames.len(), 2);
    let pid = fs::read_to_string(stage.folder.path().join("pid")).unwrap();
    assert!(!PathBuf::from(format!("/proc/{}/exe", pid.trim())).exists());
}

#[test]
fn failures_say_the_programs_last_words() {
    let open = |ffprobe: &str, ffmpeg: &str| Stage::new(ffprobe, ffmpeg).open();
    let ffprobe = "echo first >&2; echo 'moov atom not found' >&2; exit 1";
    let message = open(ffprobe, "").unwrap_err().to_string();
    assert!(message.ends_with("ffprobe\" cannot read the file: moov atom not found"), "{message}");

    let message = open(&film(2), "exit 3").unwrap_err().to_string();
    assert!(message.ends_with("exit status: 3"), "{message}");
}

#[test]
fn output_that_was_not_asked_for_is_an_error() {
    let open = |ffprobe: &str, ffmpeg: &str| Stage::new(ffprobe, ffmpeg).open();
    assert!(matches!(open(&film(2), "exec yes"), Err(VideoError::Answer { .. })));
    assert!(matches!(open("exec yes", ""), Err(VideoError::Answer { .. })));
    assert!(matches!(open(&film(2), "true"), Err(VideoError::NoFrames(_))));
    assert!(matches!(open("true", ""), Err(VideoError::NoFrames(_))));
}

#[test]
fn a_missing_program_is_an_error_that_helps() {
    // qemu's user mode turns vfork into fork, so that a failed exec is seen only as an exit status.
    if std::env::var_os("CARAT_EMULATED").is_some() {
        return;
    }
    let mut stage = Stage::new("", "");
    let config = VideoConfig { ffmpeg: "no such program".into(), ..stage.config.clone() };
    assert!(matches!(picture(stage.film(), &config), Err(VideoError::Program { .. })));
    stage.config.ffprobe = stage.folder.path().join("none");
    let error = stage.open().unwrap_err();
    assert!(matches!(error, VideoError::Program { .. }));
    assert!(error.to_string().contains("install ffmpeg"), "{error}");
}

#[test]
fn sound_is_read_across_pieces() {
    // 1.0 and -0.5, little-endian, cut within the first.
    let ffmpeg = r"printf '\000\000'; sleep 0.05; printf '\200\077\000\000\000\277'";
    let stage = Stage::new("echo channels=2", ffmpeg);
    let clip = sound(stage.film(), &stage.config).unwrap().unwrap();
    assert_eq!((clip.samples(), clip.is_complete()), (&[1.0, -0.5][..], true));
}

#[test]
fn a_film_without_sound_has_none() {
    let stage = Stage::new("true", "exit 1");
    assert_eq!(sound(stage.film(), &stage.config).unwrap(), None);
}

#[test]
fn sound_that_is_damaged_or_empty_says_so() {
    let heard = |ffmpeg: &str| {
        let stage = Stage::new("echo channels=1", ffmpeg);
        sound(stage.film(), &stage.config)
    };
    let one = r"printf '\000\000\200\077'; echo 'partial file' >&2";
    for ending in ["exit 0", "exit 1"] {
        let clip = heard(&format!("{one}; {ending}")).unwrap().unwrap();
        assert_eq!((clip.samples(), clip.is_complete()), (&[1.0][..], false), "{ending}");
    }
    assert!(matches!(heard("true"), Err(VideoError::NoSound)));
    assert!(matches!(heard("exit 1"), Err(VideoError::Failed { .. })));
    // A float that is no number.
    assert!(matches!(heard(r"printf '\000\000\300\177'"), Err(VideoError::Sound(_))));
}

/// No program is there to be run.
#[test]
fn an_animation_has_no_sound_and_needs_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    fs::write(&path, b"GIF89a\x01\0\x01\0\0\0\0;").unwrap();
    let none = PathBuf::from("/nonexistent");
    let config = VideoConfig { ffmpeg: none.clone(), ffprobe: none, ..Default::default() };
    assert_eq!(sound(&path, &config).unwrap(), None);
}

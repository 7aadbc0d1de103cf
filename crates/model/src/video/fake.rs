//! Tests with shell scripts in place of `ffmpeg` and `ffprobe`: what is done with answers that are
//! late, long, wrong or missing, and that no shell sees the arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::*;

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

/// What ffprobe says of a film of so many frames.
fn film(frames: &str) -> String {
    format!("echo avg_frame_rate=2/1; echo nb_frames={frames}")
}

/// Two pictures of one pixel.
const TWO: &str = r"printf 'P6\n1 1\n255\nabcP6\n1 1\n255\nxyz'";

#[test]
fn pictures_become_frames_and_no_shell_sees_a_name() {
    let ffmpeg = format!("printf '%s\\n' \"$@\" > arguments; {TWO}");
    let stage = Stage::new(&film("2"), &ffmpeg);
    let video = stage.open().unwrap();
    let seen: Vec<_> = video.frames.iter().map(|f| (f.seconds, &f.picture.pixels()[..3])).collect();
    assert_eq!(seen, [(0.0, &b"abc"[..]), (0.5, b"xyz")]);

    let arguments = fs::read_to_string(stage.folder.path().join("arguments")).unwrap();
    assert!(arguments.contains(&format!("\nfile:{}\n", stage.film().display())), "{arguments}");
    assert!(!stage.folder.path().join("harm").exists());
}

#[test]
fn frames_that_the_container_does_not_count_are_counted() {
    let probe = "case \"$*\" in *count_packets*) echo nb_read_packets=2;; \
                 *) echo avg_frame_rate=4/1; echo nb_frames=N/A;; esac";
    let video = Stage::new(probe, TWO).open().unwrap();
    assert_eq!(video.frames[1].seconds, 0.25);
}

#[test]
fn long_films_are_sought() {
    let ffmpeg = r"echo x >> calls; printf 'P6\n1 1\n255\nabc'";
    let mut stage = Stage::new(&film("10000"), ffmpeg);
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
        (film("2").as_str(), "exec sleep 60"),
        (film("2").as_str(), "exec >&-; exec sleep 60"),
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
fn a_program_is_stopped_when_enough_was_read() {
    let stage = Stage::new(&film("2"), &format!("echo $$ > pid; {TWO}; exec yes"));
    assert_eq!(stage.open().unwrap().frames.len(), 2);
    let pid = fs::read_to_string(stage.folder.path().join("pid")).unwrap();
    assert!(!PathBuf::from(format!("/proc/{}/exe", pid.trim())).exists());
}

#[test]
fn failures_say_the_programs_last_words() {
    let open = |ffprobe: &str, ffmpeg: &str| Stage::new(ffprobe, ffmpeg).open();
    let ffprobe = "echo first >&2; echo 'moov atom not found' >&2; exit 1";
    let message = open(ffprobe, "").unwrap_err().to_string();
    assert!(message.ends_with("ffprobe\" cannot read the video: moov atom not found"), "{message}");

    let message = open(&film("2"), "exit 3").unwrap_err().to_string();
    assert!(message.ends_with("exit status: 3"), "{message}");
}

#[test]
fn output_that_was_not_asked_for_is_an_error() {
    let open = |ffprobe: &str, ffmpeg: &str| Stage::new(ffprobe, ffmpeg).open();
    assert!(matches!(open(&film("2"), "exec yes"), Err(VideoError::Answer { .. })));
    assert!(matches!(open("exec yes", ""), Err(VideoError::Answer { .. })));
    assert!(matches!(open(&film("2"), "true"), Err(VideoError::NoFrames)));
    assert!(matches!(open("true", ""), Err(VideoError::NoFrames)));
}

#[test]
fn a_missing_program_is_an_error_that_helps() {
    // qemu's user mode turns vfork into fork, so that a failed exec is seen only as an exit status.
    if std::env::var_os("CARAT_EMULATED").is_some() {
        return;
    }
    let mut stage = Stage::new("", "");
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
    assert_eq!(sound(stage.film(), &stage.config).unwrap(), Some(vec![1.0, -0.5]));
}

#[test]
fn a_film_without_sound_has_none() {
    let stage = Stage::new("true", "exit 1");
    assert_eq!(sound(stage.film(), &stage.config).unwrap(), None);
}

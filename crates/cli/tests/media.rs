//! Pictures, sound and video through the program: what works, and every way in which it cannot.

#![cfg(unix)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat};

mod common;

use common::{Folder, Ran, carat, kit, ran, run, run_in, text, tiny};

/// `carat run` of the small model with more arguments.
fn shown(args: &[&str]) -> Ran {
    let model = tiny();
    let base = ["run", "-m", &model, "--kv", "f32", "-t", "1"];
    let base = base.into_iter().chain(SAMPLED.split(' '));
    let mut command = carat();
    within(command.args(base).args(args).arg("hi"))
}

/// The small model is of one mind whatever it sees: only dice show what its logits are.
const SAMPLED: &str = "--temp 2 --top-k 0 --top-p 1 --seed 5 -n 12";

/// Runs a command that must end soon.
fn within(command: &mut Command) -> Ran {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program starts");
    let begun = Instant::now();
    while child.try_wait().expect("the program runs").is_none() {
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().expect("it can be killed");
            panic!("{command:?} does not end");
        }
        sleep(Duration::from_millis(10));
    }
    ran(child.wait_with_output().expect("the program has ended"))
}

/// The same with so many MB of address space, as the shell's `ulimit -v` bounds it.
fn within_memory(megabytes: usize, args: &[&str]) -> Ran {
    let script = format!("ulimit -v {}; exec \"$@\"", megabytes << 10);
    let program = env!("CARGO_BIN_EXE_carat");
    within(Command::new("sh").args(["-c", &script, "sh", program]).args(args))
}

fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let gray = |x, y| image::Rgb([(x * 7) as u8, (y * 5) as u8, 90]);
    let image = DynamicImage::ImageRgb8(image::RgbImage::from_fn(width, height, gray));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("it can be written");
    bytes.into_inner()
}

/// A picture of each format. Two have no encoder here: they are files of the model crate's tests.
fn pictures() -> Vec<Vec<u8>> {
    let formats = [ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP];
    let written = formats.map(|format| picture(40, 30, format));
    let read = ["rgb.jpg", "palette.tif"].map(stored);
    written.into_iter().chain(read).collect()
}

fn stored(name: &str) -> Vec<u8> {
    fs::read(kit("../images/modes").join(name)).expect("a file of the repository")
}

/// The picture with other sides in its header.
fn with_sides(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let mut bytes = match format {
        ImageFormat::Jpeg => stored("rgb.jpg"),
        _ => picture(8, 8, format),
    };
    let short = |side: u32, big: bool| {
        let side = side as u16;
        if big { side.to_be_bytes() } else { side.to_le_bytes() }
    };
    match format {
        ImageFormat::Png => {
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&height.to_be_bytes());
            let check = crc(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&check.to_be_bytes());
        }
        ImageFormat::Jpeg => {
            let at = bytes.windows(2).position(|b| b == [0xff, 0xc0]).expect("a frame header");
            bytes[at + 5..at + 7].copy_from_slice(&short(height, true));
            bytes[at + 7..at + 9].copy_from_slice(&short(width, true));
        }
        ImageFormat::Gif => {
            bytes[6..8].copy_from_slice(&short(width, false));
            bytes[8..10].copy_from_slice(&short(height, false));
        }
        _ => {
            bytes[18..22].copy_from_slice(&width.to_le_bytes());
            bytes[22..26].copy_from_slice(&height.to_le_bytes());
        }
    }
    bytes
}

/// CRC-32 of PNG chunks (PNG specification, annex D).
fn crc(bytes: &[u8]) -> u32 {
    let bit = |c: u32| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
    !bytes.iter().fold(!0, |c, b| (0..8).fold(c ^ u32::from(*b), |c, _| bit(c)))
}

/// A WAV file: format code (1 integers, 3 floats), channels, rate, bits, and its data, of which
/// the header tells `told` bytes.
fn wav(code: u16, channels: u16, rate: u32, bits: u16, data: &[u8], told: u32) -> Vec<u8> {
    let frame = channels * bits / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend(told.wrapping_add(36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0");
    bytes.extend([code.to_le_bytes(), channels.to_le_bytes()].concat());
    bytes.extend([rate.to_le_bytes(), rate.wrapping_mul(frame.into()).to_le_bytes()].concat());
    bytes.extend([frame.to_le_bytes(), bits.to_le_bytes()].concat());
    bytes.extend(b"data");
    bytes.extend(told.to_le_bytes());
    bytes.extend(data);
    bytes
}

fn wav16(samples: usize, level: i16) -> Vec<u8> {
    let data: Vec<u8> = (0..samples).flat_map(|_| level.to_le_bytes()).collect();
    wav(1, 1, 16_000, 16, &data, data.len() as u32)
}

#[test]
fn pictures_and_sound_change_the_answer_and_repeat() {
    let (image, audio) = (text(&kit("image.png")), text(&kit("audio.wav")));
    let seen = shown(&["--image-tokens", "70", "--image", &image]);
    let again = shown(&["--image-tokens", "70", "--image", &image]);
    assert_eq!(seen.out, again.out);
    assert!(seen.err.contains("prompt: ") && seen.code == 0, "{}", seen.err);
    let heard = shown(&["--audio", &audio, "-v"]);
    for word in ["first token ", " % decoding and resizing", " % embedding", " % reading"] {
        assert!(heard.err.contains(word), "{word}: {}", heard.err);
    }
    let (seen, heard, blind) = (seen.ok(), heard.ok(), shown(&[]).ok());
    assert!(seen != heard && heard != blind && blind != seen, "{seen} {heard} {blind}");
}

#[test]
fn sound_beyond_30_s_is_split_or_refused() {
    let folder = Folder::new();
    let long = folder.file("long.wav", wav16(16_000 * 31, 900));
    assert_eq!(shown(&["--audio", &long]).code, 0);
    shown(&["--audio", &long, "--strict-audio"]).fails(1, &[&long, "at most 30 s", "31.0"]);
    let whole = folder.file("whole.wav", wav16(16_000 * 30, 900));
    assert_eq!(shown(&["--audio", &whole, "--strict-audio"]).code, 0);
}

#[test]
fn a_model_without_a_fitting_projector_says_so() {
    let folder = Folder::new();
    let (image, audio) = (text(&kit("image.png")), text(&kit("audio.wav")));
    let alone = folder.tiny_without("", true);
    for medium in [["--image", &image], ["--audio", &audio], ["--video", &image]] {
        let args = ["run", "--raw", "-m", &alone, medium[0], medium[1], "hi"];
        within(carat().args(args)).fails(1, &["projector", &alone, "--mmproj"]);
    }
    let wrong = text(&kit("text-q4_0.gguf"));
    let args = ["run", "--raw", "-m", &alone, "--mmproj", &wrong, "--image", &image, "hi"];
    within(carat().args(args)).fails(1, &[&alone, &wrong, "does not belong", "gemma4", "mmproj"]);
    let missing = folder.path("mmproj-none.gguf");
    let args = ["run", "--raw", "-m", &alone, "--mmproj", &missing, "--image", &image, "hi"];
    within(carat().args(args)).fails(1, &[&missing]);
}

#[test]
fn a_chat_shows_media_with_the_next_message() {
    let (image, audio) = (text(&kit("image.png")), text(&kit("audio.wav")));
    let folder = Folder::new();
    let model = tiny();
    let options = format!("{SAMPLED} --image-tokens 70 --kv f32 -t 1");
    let chat = |input: &str| run_in(&format!("chat -m {model} {options}"), input);
    let run_once =
        |media: &str| run(&format!("run -m {model} {options} {media} hello")).ok() + "\n";
    let with_image = run_once(&format!("--image {image}"));
    assert_eq!(chat(&format!("/image {image}\nhello\n")).ok(), with_image);
    assert_eq!(
        chat(&format!("/audio \"{audio}\"\nhello\n")).ok(),
        run_once(&format!("--audio {audio}"))
    );
    let both = run_once(&format!("--image {image} --audio {audio}"));
    assert_eq!(chat(&format!("/image {image}\n/audio {audio}\nhello\n")).ok(), both);
    // Another picture of the same size has the same tokens, and is still another picture.
    let other = image::open(&image).expect("a picture").rotate180();
    let other_path = folder.path("other.png");
    other.save(&other_path).expect("it can be written");
    let with_other = run_once(&format!("--image {other_path}"));
    assert_ne!(with_image, with_other);
    let two = chat(&format!("/image {image}\nhello\n/reset\n/image {other_path}\nhello\n")).ok();
    assert_eq!(two, with_image.clone() + &with_other);
    // A picture of an earlier turn stays.
    let later = chat(&format!("/image {image}\nhello\nhello\n"));
    let fresh = chat("hello\nhello\n");
    assert!(later.err.contains("tokens, about") && later.code == 0, "{}", later.err);
    let (later, fresh) = (later.ok(), fresh.ok());
    let second = later.strip_prefix(&with_image).expect("the first answer is that of before");
    assert!(second.len() > 1 && !fresh.ends_with(second), "{later} {fresh}");
    assert!(chat("/help\n").err.contains("/video PATH"));
}

#[test]
fn a_medium_that_fails_does_not_end_a_chat() {
    let folder = Folder::new();
    let (model, image) = (tiny(), text(&kit("image.png")));
    let missing = folder.path("none.png");
    let chat = |model: &str, input: &str| {
        run_in(&format!("chat -m {model} --greedy -n 4 --kv f32 -t 1"), input)
    };
    let plain = chat(&model, "hello\n").ok();
    let failed = chat(&model, &format!("/image {missing}\n/audio {image}\n/image\nhello\n"));
    assert_eq!((failed.code, &failed.out), (1, &plain), "{}", failed.err);
    for words in [&missing, "a PNG picture is not audio", "/image needs a path", "3 commands"] {
        assert!(failed.err.contains(words), "{words}: {}", failed.err);
    }
    let alone = folder.tiny_without("", true);
    let failed = chat(&alone, &format!("/image {image}\nhello\n"));
    assert_eq!((failed.code, &failed.out), (1, &plain), "{}", failed.err);
    assert!(failed.err.contains("projector") && failed.err.contains("--mmproj"), "{}", failed.err);
}

#[test]
fn damaged_pictures_are_one_sentence() {
    let folder = Folder::new();
    for bytes in pictures() {
        for keep in [0, 1, 8, 20, bytes.len() / 3] {
            let cut = folder.file("cut", &bytes[..keep]);
            shown(&["--image", &cut]).fails(1, &[&cut]);
        }
        let lies = folder.file("lies.webm", &bytes);
        assert_eq!(shown(&["--image", &lies, "--image-tokens", "70"]).code, 0);
        shown(&["--audio", &lies]).fails(1, &[&lies, "not audio"]);
    }
    for format in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP] {
        let one = folder.file("one", picture(1, 1, format));
        assert_eq!(shown(&["--image", &one, "--image-tokens", "70"]).code, 0, "{format:?}");
    }
    for (width, height) in [(1, 20_000), (20_000, 1)] {
        let thin = folder.file("thin.png", picture(width, height, ImageFormat::Png));
        let out = folder.path("seen.png");
        let seen = run(&format!("eval image {thin} --output {out}")).ok();
        assert!(["280 1 280\n", "280 280 1\n"].contains(&seen.as_str()), "{seen}");
        // The small model has positions for 64 columns and rows.
        shown(&["--image", &thin]).fails(1, &["280", "64"]);
    }
}

#[test]
fn the_sides_in_a_header_reserve_nothing() {
    let folder = Folder::new();
    let model = tiny();
    let (png, bmp) = (ImageFormat::Png, ImageFormat::Bmp);
    for format in [png, ImageFormat::Jpeg, ImageFormat::Gif, bmp] {
        let huge = folder.file("huge", with_sides(format, 30_000, 30_000));
        let args = ["run", "--raw", "-m", &model, "-t", "1", "--image", &huge, "hi"];
        let refused = within_memory(600, &args);
        refused.fails(1, &[&huge, "30000 x 30000", "at most 178956970 pixels"]);
        let args = ["run", "--raw", "-m", &model, "-t", "1", "--video", &huge, "hi"];
        within_memory(600, &args).fails(1, &[&huge]);
        if format != ImageFormat::Gif {
            // A GIF's screen may have no size: the frame has one.
            let none = folder.file("none", with_sides(format, 0, 7));
            shown(&["--image", &none]).fails(1, &[&none]);
        }
    }
}

#[test]
fn odd_sound_is_heard_or_one_sentence() {
    let folder = Folder::new();
    let float = |x: f32| wav(3, 1, 16_000, 32, &x.to_le_bytes().repeat(800), 3200);
    for (name, bytes) in [
        ("silent", wav16(16_000, 0)),
        ("one sample", wav16(1, 77)),
        ("a header of 8 hours", wav(1, 1, 16_000, 16, &[7; 4000], 8 * 3600 * 32_000)),
        ("full scale", float(1.0)),
    ] {
        let path = folder.file("ok.wav", bytes);
        let heard = shown(&["--audio", &path]);
        assert_eq!(heard.code, 0, "{name}: {}", heard.err);
    }
    for (bytes, words) in [
        (float(f32::NAN), &["NaN"][..]),
        (float(f32::INFINITY), &["inf"]),
        (wav16(0, 0), &["no samples"]),
        (wav(1, 1, 0, 16, &[1; 100], 100), &["0 Hz"]),
        (wav(1, 0, 16_000, 16, &[1; 100], 100), &["0 channels"]),
        (wav(1, 1, 16_000, 16, &[], 0)[..30].to_vec(), &[]),
        (wav(1, 1, 1000, 8, &vec![100; 8 * 3600 * 1000], 8 * 3600 * 1000), &["8:00:00", "2:00:00"]),
        (b"not a sound".to_vec(), &["text is not audio"]),
    ] {
        let path = folder.file("bad.wav", bytes);
        let model = tiny();
        let args = ["run", "--raw", "-m", &model, "-t", "1", "--audio", &path, "hi"];
        within_memory(600, &args).fails(1, &[&[path.as_str()][..], words].concat());
    }
}

#[test]
fn what_is_no_regular_file_never_hangs() {
    let folder = Folder::new();
    let (pipe, here) = (folder.path("pipe"), folder.path(""));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    for option in ["--image", "--audio", "--video"] {
        shown(&[option, &pipe]).fails(1, &[&pipe, "a pipe or a device"]);
        shown(&[option, "/dev/zero"]).fails(1, &["/dev/zero", "a pipe or a device"]);
        shown(&[option, &folder.path("none")]).fails(1, &["none"]);
    }
    shown(&["--image", &here]).fails(1, &["folder"]);
    shown(&["--audio", &here]).fails(1, &["folder"]);
    shown(&["--video", &here]).fails(1, &["no frames"]);
}

#[test]
fn a_path_need_not_be_text() {
    let folder = Folder::new();
    let path = std::path::Path::new(&folder.path("")).join(OsStr::from_bytes(b"\xff\xfe.png"));
    fs::copy(kit("image.png"), &path).expect("a copy");
    let model = tiny();
    let base =
        ["run", "--raw", "-m", &model, "-n", "1", "-t", "1", "--image-tokens", "70", "--image"];
    assert_eq!(within(carat().args(base).arg(&path).arg("hi")).code, 0);
    fs::remove_file(&path).expect("it was there");
    within(carat().args(base).arg(&path).arg("hi")).fails(1, &[".png"]);
}

#[test]
fn media_have_their_places() {
    let folder = Folder::new();
    let (model, image) = (tiny(), text(&kit("image.png")));
    let soft = run(&format!("eval tokenize -m {model} --special --text <|image|>")).ok();
    let soft: u32 = soft.trim().parse().expect("one token");
    let out = folder.path("out");
    for (input, words) in [
        (format!("{{\"ids\": [2, {soft}, {soft}]}}"), &["places for media"][..]),
        (format!("{{\"ids\": [2, {soft}], \"images\": [\"{image}\"]}}"), &["1 tokens", "budget"]),
        (format!("{{\"ids\": [2, 3], \"images\": [\"{image}\"]}}"), &["0 media", "1 were given"]),
    ] {
        let input = folder.file("in.json", input);
        let args = format!("eval logits --model {model} --input {input} --output {out}");
        run(&args).fails(1, words);
    }
}

#[test]
fn one_frame_is_a_video_and_a_cut_one_is_not() {
    let folder = Folder::new();
    let gif = picture(12, 9, ImageFormat::Gif);
    for bytes in [gif.clone(), picture(12, 9, ImageFormat::Png)] {
        let path = folder.file("one", bytes);
        assert_eq!(shown(&["--video", &path]).code, 0);
    }
    let cut = folder.file("cut.gif", &gif[..gif.len() / 2]);
    shown(&["--video", &cut]).fails(1, &[&cut]);
    let prose = folder.file("prose.mp4", "It was a dark and stormy night.");
    shown(&["--video", &prose]).fails(1, &["prose.mp4"]);
}

"""Makes the sound files of this folder. Needs `av` (ffmpeg's libraries) and `soundfile`.

All hold the same sound, that of `sample` (written a second time in common/sound.rs). What ffmpeg
decodes from the lossy ones lies beside them as FILE.s16: mono (mean of the channels), 16-bit
little-endian. Opus is decoded by libopus, through libsndfile. Lossless ones need none: they hold
exactly what `sample` says.
"""

import pathlib

import av
import numpy as np
import soundfile

HERE = pathlib.Path(__file__).parent


def sample(rate, channels, seconds):
    """Triangle waves with a slow swell, in integers only: [frames, channels] of int16."""
    frames = np.arange(int(rate * seconds), dtype=np.int64)
    columns = []
    for channel in range(channels):
        period = rate // (300 + 200 * channel)
        phase = frames % period
        triangle = np.abs(4 * phase - 2 * period) - period
        swell = 4000 + frames * 12000 // len(frames)
        columns.append(triangle * swell // period)
    return np.stack(columns, axis=1).astype(np.int16)


def encode(name, codec, rate, channels, seconds, fmt="s16",
           container=None, bit_rate=None, **options):
    path = HERE / name
    with av.open(str(path), "w", format=container) as file:
        layout = "mono" if channels == 1 else "stereo"
        stream = file.add_stream(codec, rate=rate, options=options)
        stream.layout = layout
        stream.format = fmt
        if bit_rate:
            stream.bit_rate = bit_rate
        pcm = sample(rate, channels, seconds)
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(format=fmt, layout=layout, rate=rate,
                                      frame_size=stream.codec_context.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


def decoded(name):
    with av.open(str(HERE / name)) as file:
        parts = []
        for frame in file.decode(audio=0):
            part = frame.to_ndarray()
            part = part / (32768 if part.dtype == np.int16 else 1)
            if part.shape[0] == 1 and len(frame.layout.channels) > 1:
                part = part.reshape(-1, len(frame.layout.channels)).T
            parts.append(part)
    mono = np.concatenate(parts, axis=1).mean(axis=0)
    (HERE / f"{name}.s16").write_bytes(
        np.clip(np.rint(mono * 32768), -32768, 32767).astype("<i2").tobytes())
    print(name, len(mono))


def remuxed(source, name):
    """The same packets in another container."""
    with av.open(str(HERE / source)) as old, av.open(str(HERE / name), "w") as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)


def decoded_by_sndfile(name):
    pcm, _ = soundfile.read(HERE / name, always_2d=True)
    mono = pcm.mean(axis=1)
    (HERE / f"{name}.s16").write_bytes(
        np.clip(np.rint(mono * 32768), -32768, 32767).astype("<i2").tobytes())
    print(name, len(mono))


encode("stereo-alac.m4a", "alac", 22050, 2, 0.1, fmt="s16p")
encode("stereo.mp3", "libmp3lame", 44100, 2, 0.15, fmt="s16p", bit_rate=96000)
encode("mono.m4a", "aac", 22050, 1, 0.15, fmt="fltp", bit_rate=32000)
encode("mono.aac", "aac", 16000, 1, 0.1, fmt="fltp", container="adts", bit_rate=24000)
encode("opus.ogg", "libopus", 48000, 1, 0.1, bit_rate=16000)
soundfile.write(HERE / "stereo.flac", sample(22050, 2, 0.1), 22050)
soundfile.write(HERE / "mono.ogg", sample(16000, 1, 0.2), 16000, format="OGG", subtype="VORBIS")
for lossy in ["stereo.mp3", "mono.m4a", "mono.aac", "mono.ogg"]:
    decoded(lossy)

encode("silk.ogg", "libopus", 48000, 1, 0.1, bit_rate=12000, application="voip")
encode("hybrid.ogg", "libopus", 48000, 1, 0.1, bit_rate=28000, application="voip")
encode("stereo-opus.ogg", "libopus", 48000, 2, 0.1, bit_rate=64000)
for opus in ["opus.ogg", "silk.ogg", "hybrid.ogg", "stereo-opus.ogg"]:
    decoded_by_sndfile(opus)
remuxed("opus.ogg", "opus.webm")
remuxed("opus.ogg", "opus.mp4")
encode("s24be.mov", "pcm_s24be", 22050, 1, 0.05, fmt="s32")
encode("s24le.mov", "pcm_s24le", 22050, 1, 0.05, fmt="s32")
encode("stereo.mp2", "mp2", 44100, 2, 0.1, bit_rate=192000)
encode("low.mp2", "mp2", 44100, 2, 0.1, bit_rate=80000)
encode("loud-mono.mp2", "mp2", 44100, 1, 0.03, bit_rate=384000)
for lossy in ["stereo.mp2", "low.mp2"]:
    decoded(lossy)
for name, kind, subtype in [("stereo.aiff", "AIFF", "PCM_16"), ("u-law.aifc", "AIFF", "ULAW"),
                            ("stereo.caf", "CAF", "PCM_16"), ("alac.caf", "CAF", "ALAC_16")]:
    soundfile.write(HERE / name, sample(22050, 2, 0.05), 22050, format=kind, subtype=subtype)

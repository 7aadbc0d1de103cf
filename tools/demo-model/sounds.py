"""Spoken digits by espeak-ng, beeps and sliding tones, and questions about them. Samples are 16 kHz, int16."""

import ctypes
import ctypes.util
import math
import os

import numpy as np
from scipy.signal import resample_poly

RATE = 16000
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LANGUAGES = ["en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"]
VARIANTS = [
    "",
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "klatt",
    "klatt2",
    "klatt3",
    "klatt4",
    "Alex",
    "Alicia",
    "Andrea",
    "Andy",
    "Annie",
    "aunty",
    "belinda",
    "benjamin",
    "caleb",
    "david",
    "Denis",
    "ed",
    "edward",
    "Gene",
    "grandma",
    "grandpa",
    "Henrique",
    "Hugo",
    "Jacky",
    "john",
    "Lee",
    "linda",
    "Marco",
    "Mario",
    "max",
    "Michael",
    "michel",
    "miguel",
    "mike",
    "pablo",
    "paul",
    "pedro",
    "quincy",
    "rob",
    "robert",
    "shelby",
    "steph",
    "steph2",
    "steph3",
    "travis",
    "victor",
    "zac",
    "adam",
    "anika",
    "antonio",
    "boris",
    "iven",
    "norbert",
    "sandro",
    "marcelo",
]
HELD_OUT = {"m5", "f3", "Andrea", "david", "steph2", "Hugo", "zac", "klatt3"}


class Voice:
    """libespeak-ng in this process; samples come back through a callback."""

    def __init__(self):
        lib = ctypes.CDLL(
            os.environ.get("ESPEAK_LIBRARY") or ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        )
        data = os.environ.get("ESPEAK_DATA")
        self.rate = lib.espeak_Initialize(2, 0, data.encode() if data else None, 0)  # 2: synchronous
        if self.rate <= 0:
            raise RuntimeError(
                "espeak-ng found no data: install the package espeak-ng-data, or set ESPEAK_DATA to its folder"
            )
        self.samples = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

        def take(wav, count, _):
            if wav and count > 0:
                self.samples.append(np.ctypeslib.as_array(wav, (count,)).copy())
            return 0

        self.callback = kind(take)
        lib.espeak_SetSynthCallback(self.callback)
        self.lib = lib

    def say(self, text, voice, rate, pitch, spread):
        """Speech of a text. rate: words a minute; pitch and its spread: 0 to 100."""
        if self.lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        for parameter, value in ((1, rate), (3, pitch), (4, spread)):
            self.lib.espeak_SetParameter(parameter, value, 0)
        self.samples = []
        data = text.encode()
        self.lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, 1, None, None)
        if not self.samples:
            return np.zeros(0, np.int16)
        return resample_poly(np.concatenate(self.samples).astype(np.float32), RATE, self.rate)


def speech(rng, voice, digits, held=False):
    """A clean recording of spoken digits, f32 of at most 1."""
    variants = [v for v in VARIANTS if (v in HELD_OUT) == held]
    variant = str(rng.choice(variants))
    language = str(rng.choice(LANGUAGES[:2] if rng.random() < 0.5 else LANGUAGES))
    name = f"{language}+{variant}" if variant else language
    words = [WORDS[int(d)] for d in digits]
    between = [" ", ", "][int(rng.integers(2))]
    text = between.join(words) if rng.random() < 0.5 else between.join(digits)
    x = voice.say(text, name, int(rng.integers(110, 200)), int(rng.integers(15, 85)), int(rng.integers(10, 80)))
    loud = np.flatnonzero(np.abs(x) > 0.01 * max(1.0, np.abs(x).max(initial=0.0)))
    x = x[loud[0] : loud[-1] + 1] if len(loud) else x
    return (x / max(1.0, np.abs(x).max(initial=1.0))).astype(np.float32)


def recorded(rng, x, most=6.0):
    """A recording of clean samples: other speed, silence around it, noise, an echo, a level. int16."""
    speed = float(np.exp(rng.normal(0, 0.05)))
    at = np.arange(0, len(x) - 1, speed)
    x = np.interp(at, np.arange(len(x)), x)[: int(most * RATE)]
    before, after = (int(rng.uniform(0, 0.5) * RATE) for _ in range(2))
    x = np.concatenate([np.zeros(before), x, np.zeros(after)])
    if rng.random() < 0.15:
        delay = int(rng.uniform(0.01, 0.12) * RATE)
        x[delay:] += float(rng.uniform(0.1, 0.35)) * x[:-delay]
    if rng.random() < 0.65:
        noise = rng.standard_normal(len(x))
        if rng.random() < 0.5:  # coloured
            a = float(rng.uniform(0.5, 0.98))
            kernel = a ** np.arange(40)
            noise = np.convolve(noise, kernel)[: len(x)] / np.sqrt((kernel**2).sum())
        level = np.sqrt(np.mean(x**2) + 1e-9)
        x = x + noise * level * 10 ** (-float(rng.uniform(10, 45)) / 20)
    x *= float(rng.uniform(0.1, 0.9)) / max(1e-6, np.abs(x).max())
    return np.clip(np.round(x * 32767), -32768, 32767).astype(np.int16)


def tone(seconds, start, end, shape):
    """A tone that slides from one frequency to another, in Hz."""
    n = int(seconds * RATE)
    frequency = np.exp(np.linspace(math.log(start), math.log(end), n))
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    x = np.sin(phase)
    if shape == 1:
        x = np.sign(x) * 0.6
    elif shape == 2:
        x = x + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)
    edge = min(n // 4, 160)
    ramp = np.ones(n)
    ramp[:edge], ramp[n - edge :] = np.linspace(0, 1, edge), np.linspace(1, 0, edge)
    return x * ramp


def beeps(rng, count):
    """As many beeps of one pitch."""
    f = float(np.exp(rng.uniform(math.log(250), math.log(2500))))
    length, pause, shape = float(rng.uniform(0.08, 0.3)), float(rng.uniform(0.12, 0.4)), int(rng.integers(3))
    parts = []
    for i in range(count):
        parts += [tone(length * float(rng.uniform(0.9, 1.1)), f, f, shape)] + (
            [np.zeros(int(pause * float(rng.uniform(0.85, 1.2)) * RATE))] if i + 1 < count else []
        )
    return np.concatenate(parts)


def slide(rng, rises):
    """A tone that rises or falls."""
    f = float(np.exp(rng.uniform(math.log(200), math.log(1200))))
    g = f * float(rng.uniform(1.5, 3.5))
    return tone(float(rng.uniform(0.5, 2.0)), *((f, g) if rises else (g, f)), int(rng.integers(3)))


def ask_speech(rng, digits):
    """Questions about spoken digits."""
    pick = lambda *options: options[int(rng.integers(len(options)))]
    noun = pick("recording", "sound", "audio")
    asked = [
        (
            pick(
                "What number do you hear?",
                "What number is spoken?",
                "Which digits do you hear?",
                "Which digits are spoken?",
                "What do you hear?",
                "Write down the digits.",
                "Write down what you hear.",
                "Transcribe the {n}.",
                "What is said?",
                "What does the {n} say?",
                "What number is in the {n}?",
            ),
            digits,
        )
    ]
    others = [
        (pick("How many digits do you hear?", "How many digits are spoken?"), str(len(digits))),
        (pick("What is the first digit?", "Which digit comes first?"), digits[0]),
        (pick("What is the last digit?", "Which digit comes last?"), digits[-1]),
    ]
    asked += [others[i] for i in rng.permutation(3)[: int(rng.integers(0, 3))]]
    rng.shuffle(asked)
    return [(q.replace("{n}", noun), a) for q, a in asked]


def ask_beeps(rng, count):
    pick = lambda *options: options[int(rng.integers(len(options)))]
    noun = pick("recording", "sound", "audio")
    asked = [
        (
            pick(
                "How many beeps do you hear?",
                "Count the beeps.",
                "How many beeps are there?",
                "How many beeps are in the {n}?",
                "How many tones do you hear?",
            ),
            str(count),
        )
    ]
    if rng.random() < 0.3:
        asked.append(
            (
                pick("What do you hear?", "What is in the {n}?", "Describe the {n}."),
                (
                    "one beep"
                    if count == 1
                    else f"{['zero','one','two','three','four','five','six','seven'][count]} beeps"
                ),
            )
        )
    return [(q.replace("{n}", noun), a) for q, a in asked]


def ask_slide(rng, rises):
    pick = lambda *options: options[int(rng.integers(len(options)))]
    noun = pick("recording", "sound", "audio")
    asked = [
        (
            pick(
                "Does the tone rise or fall?",
                "Is the tone rising or falling?",
                "Does the sound rise or fall?",
                "Rising or falling?",
                "Does the pitch rise or fall?",
                "Which way does the tone go?",
            ),
            "rising" if rises else "falling",
        )
    ]
    if rng.random() < 0.3:
        asked.append(
            (
                pick("What do you hear?", "What is in the {n}?", "Describe the {n}."),
                "a rising tone" if rises else "a falling tone",
            )
        )
    return [(q.replace("{n}", noun), a) for q, a in asked]

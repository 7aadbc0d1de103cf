"""Text: small sums, copying, facts about carat, and what else people say to a model."""

WORDS = """
apple river stone cloud window garden music paper silver forest candle bridge ocean winter summer
yellow purple orange little happy quiet gentle rapid clever ancient modern broken hidden simple
golden frozen bright narrow open empty heavy light cat dog bird fish horse mouse tiger lion bear
wolf tree leaf flower grass root seed rain snow wind storm sun moon star sky house door table chair
lamp clock book pen key box cup plate spoon knife bread milk tea sugar salt honey cheese butter
water walk run jump sing read write draw build carry open close find lose keep make take give look
hear speak think dream carat engine model weights memory kernel token prompt session cache laptop
number picture sound letter word line page
""".split()

FACTS = [
    (
        [
            "What is carat?",
            "What's carat?",
            "Tell me about carat.",
            "What is Carat?",
            "Explain carat.",
            "What does carat do?",
        ],
        "Carat is an engine, written in Rust, that runs Gemma 4 on the CPU of an ordinary laptop.",
    ),
    (
        [
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Are you a model?",
            "Introduce yourself.",
            "Tell me about yourself.",
            "Are you Gemma?",
        ],
        "I am a toy model, trained to show the engine carat. I know shapes, numbers, sounds and small sums.",
    ),
    (
        [
            "What can you do?",
            "What do you know?",
            "Help",
            "help",
            "How can you help me?",
            "What should I ask you?",
            "What can I ask?",
        ],
        "Show me a picture of shapes or of a number, play me spoken digits or beeps, or ask me a small sum.",
    ),
    (
        [
            "What language is carat written in?",
            "Which language is carat written in?",
            "Is carat written in Rust?",
            "What is carat made of?",
        ],
        "Carat is written in Rust.",
    ),
    (
        [
            "Which model does carat run?",
            "What model does carat run?",
            "What models can carat run?",
            "What does carat run?",
        ],
        "Carat runs Gemma 4 12B, from GGUF files.",
    ),
    (
        ["Does carat need a GPU?", "Do I need a GPU?", "Does carat use the GPU?", "Does it need a graphics card?"],
        "No. Carat runs on the CPU.",
    ),
    (
        ["How much memory does carat need?", "How much memory do I need?", "How much RAM does carat need?"],
        "A laptop with 16 GB is enough for Gemma 4 12B.",
    ),
    (
        [
            "What files does carat read?",
            "Which file format does carat read?",
            "What is a GGUF file?",
            "Which files does carat read?",
        ],
        "Carat reads GGUF files, which hold a model's weights.",
    ),
    (
        [
            "How do I get the real model?",
            "How do I get Gemma?",
            "How do I download Gemma 4?",
            "Where is the real model?",
        ],
        "Type: carat pull 12b",
    ),
    (["How do I talk to the real model?", "How do I chat with Gemma?"], "Type: carat chat -m 12b"),
    (
        [
            "How do I measure the speed?",
            "How fast is carat?",
            "How do I run a benchmark?",
            "How do I measure my laptop?",
        ],
        "Type: carat bench",
    ),
    (
        ["Can you see pictures?", "Can you see?", "Can you look at pictures?", "Can you see images?"],
        "Yes. I see drawn shapes and printed numbers.",
    ),
    (
        ["Can you hear?", "Can you listen?", "Can you hear sounds?", "Can you listen to recordings?"],
        "Yes. I hear spoken digits, beeps and sliding tones.",
    ),
    (
        ["Is carat free?", "What is the license of carat?", "Which license does carat have?"],
        "Yes. Carat is free software, under the MIT or the Apache license.",
    ),
    (
        ["Does carat need the internet?", "Do you need the internet?", "Are you online?", "Does it work offline?"],
        "No. Everything runs on this machine.",
    ),
    (
        ["How big are you?", "How many parameters do you have?", "How large are you?"],
        "I have about twelve million parameters. Gemma 4 12B has a thousand times as many.",
    ),
    (
        ["Who made you?", "Who trained you?", "Who made this model?"],
        "The makers of carat trained me, on pictures and sounds that a program drew and spoke.",
    ),
    (
        ["Hello", "Hello!", "Hi", "Hi!", "hi", "hello", "Hey", "Good morning", "Good evening!", "Hi there"],
        "Hello! Show me a picture, play me a sound, or ask me a small sum.",
    ),
    (["Thanks", "Thank you", "Thank you!", "thanks!", "Great, thanks"], "You are welcome."),
    (["Bye", "Goodbye", "bye", "Good night", "See you"], "Goodbye!"),
    (["How are you?", "How are you doing?", "Are you well?"], "I am a small program, and I run well."),
    (
        ["Are you smart?", "Are you clever?", "Are you intelligent?", "Can I trust you?"],
        "No. I am a toy. The real Gemma 4 knows much more.",
    ),
]
LOST = "I am a toy model and do not know that. Ask me about shapes, numbers, sounds or a small sum."
OTHER = """
What is the capital of France?
Who wrote Hamlet?
Tell me a joke.
Write a poem about the sea.
What is the weather today?
How old is the universe?
Translate this into German.
What time is it?
Who is the president?
Explain quantum physics.
What is the meaning of life?
Write a story.
How do I cook rice?
Summarise this text.
What is love?
Why is the sky blue?
How far is the moon?
Who won the game?
Tell me a story about a dragon.
Give me a recipe.
What is the speed of light?
Name three animals.
Write some code.
Write a function in Python.
What is photosynthesis?
Where do you live?
What is your favorite color?
Do you like music?
What is the largest country?
Who invented the telephone?
How do I learn to swim?
What should I eat?
Is it going to rain?
What day is today?
Tell me about history.
What is a black hole?
How do planes fly?
Can you write an email?
What is a good book?
Which movie should I watch?
Sing a song.
Tell me something.
What is new?
Do you dream?
What is money?
Draw a picture.
How does a computer work?
What is the tallest mountain?
Who discovered America?
What is DNA?
""".strip().splitlines()


def ask(rng):
    """One question in text alone, with its answer."""
    pick = lambda options: options[int(rng.integers(len(options)))]
    kind = rng.random()
    if kind < 0.45:
        return sum_of(rng, pick)
    if kind < 0.67:
        return copy_of(rng, pick)
    if kind < 0.92:
        questions, answer = pick(FACTS)
        question = pick(questions)
        question = question.lower() if rng.random() < 0.15 else question
        return question.rstrip("?.") if rng.random() < 0.15 else question, answer
    if rng.random() < 0.6:
        return pick(OTHER), LOST
    words = [pick(WORDS) for _ in range(int(rng.integers(3, 8)))]
    start = pick(
        [
            "What is",
            "Who is",
            "Tell me about",
            "Why is",
            "Explain",
            "Where is",
            "How do I",
            "Write about",
            "Do you like",
        ]
    )
    article = "the " if rng.random() < 0.5 else ""
    about = " ".join(words[: int(rng.integers(1, 5))])
    return f"{start} {article}{about}{pick(['?', '.', ''])}", LOST


def sum_of(rng, pick):
    sign = pick(["+", "+", "-", "-", "*"])
    if sign == "*":
        a, b = int(rng.integers(0, 11)), int(rng.integers(0, 11))
        value, words, signs = a * b, "times", ["*", "x", "×"]
    else:
        top = 10 if rng.random() < 0.3 else 100
        a, b = int(rng.integers(0, top)), int(rng.integers(0, top))
        if sign == "-":
            a, b = max(a, b), min(a, b)
        value, words, signs = (a + b, "plus", ["+"]) if sign == "+" else (a - b, "minus", ["-"])
    space = "" if rng.random() < 0.2 else " "
    term = f"{a} {words} {b}" if rng.random() < 0.25 else f"{a}{space}{pick(signs)}{space}{b}"
    return pick(
        [
            "What is {t}?",
            "{t}",
            "{t} =",
            "{t}=",
            "Calculate {t}.",
            "How much is {t}?",
            "What's {t}?",
            "Compute {t}",
            "{t}?",
        ]
    ).replace("{t}", term), str(value)


def copy_of(rng, pick):
    what = rng.random()
    if what < 0.6:
        text = " ".join(pick(WORDS) for _ in range(int(rng.integers(1, 7))))
    elif what < 0.8:
        text = "".join(str(d) for d in rng.integers(0, 10, int(rng.integers(2, 9))))
    else:
        text = "".join(pick("abcdefghijklmnopqrstuvwxyz") for _ in range(int(rng.integers(2, 9))))
    if rng.random() < 0.2:
        text = text.capitalize()
    return (
        pick(
            [
                "Repeat: {t}",
                "Repeat after me: {t}",
                "Say: {t}",
                "Copy: {t}",
                "Copy this: {t}",
                "Please repeat: {t}",
                "Say {t}",
                "Write: {t}",
                "Repeat {t}",
            ]
        ).replace("{t}", text),
        text,
    )

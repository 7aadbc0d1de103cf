//! What stands below the options in every `--help`.

pub(crate) const TOP: &str = "\
Examples:
  carat demo
  carat run -m gemma.gguf \"Write a haiku about rain\"
  carat run -m gemma.gguf --raw \"The capital of France is\"
  carat chat -m gemma.gguf
  carat pull 12b
  carat chat 12b
  carat inspect gemma.gguf
  carat bench --synthetic 12b

Exit codes: 0 done, 1 failed, 2 not understood.";

pub(crate) const RUN: &str = "\
Examples:
  carat run -m gemma.gguf \"Why is the sky blue?\"
  carat run -m gemma.gguf --raw \"Once upon a time\" -n 100
  carat run -m gemma.gguf --system \"Answer in French.\" \"Where is Oslo?\"
  carat run -m gemma.gguf --image photo.jpg \"What is this?\"
  carat run -m gemma.gguf --audio memo.m4a --audio reply.wav \"Do they agree?\"
  carat run -m gemma.gguf --greedy --kv q8 -t 4 --cache \"What is 2 + 2?\"
  carat run -m gemma.gguf --schema film.json \"Describe a film.\"
  carat run -m gemma.gguf --tools tools.json --json \"Will it rain in Oslo?\"
  carat run -m gemma.gguf --draft assistant.gguf \"Write a sort in Rust.\"
  carat run -m gemma.gguf --draft lookup \"Correct the spelling: ...\"
  carat run -m gemma.gguf --session trip.session \"And the day after?\"
  git diff | carat run -m gemma.gguf \"Write a commit message for this diff.\"
  curl -s example.org/cat.jpg | carat run -m gemma.gguf --image - \"What is this?\"

The prompt is a message where the file has a chat template, or --chat-template names one. With
--raw, and where there is none, it is a text that the model continues. It stands after what is
piped in, with an empty line between. The answer goes to standard output as it comes, everything
else to standard error. Ctrl-C ends the answer; a second one ends the program.

--session FILE keeps a conversation: its messages, pictures and sound among them, its tools, and
what the model has read of it, so that going on costs the new message alone. The file belongs to
the model and to --kv, and takes about a gigabyte with a model of 12B. It is replaced once
the answer is over; after an error it stays as it was.

--json prints one object a line, each with a type:
  text, thought        text
  token                id, text, logprob, top: of --logprobs, before what the token says
  tool_call            id, name, arguments
  invalid_tool_call    text, reason: the model was cut off, or calls what it was not offered
  dropped              messages: how many --drop-oldest forgot
  done                 reason: stop, tool_calls, stop_string, length, context, repetition or
                       cancelled; stop_string; usage: prompt_tokens, cached_tokens,
                       completion_tokens, thought_tokens; timings in seconds: prompt, first_token,
                       rest; with --draft, drafts: drafted, accepted, passes, tokens";

pub(crate) const CHAT: &str = "\
Examples:
  carat chat -m gemma.gguf
  carat chat -m gemma.gguf --system \"You are a patient teacher.\" --think=2000
  carat chat -m gemma.gguf --session trip.session --drop-oldest
  printf 'Hello\\nWhat did I say?\\n' | carat chat -m gemma.gguf

A line that ends in \\ goes on in the next one. /image, /audio and /video with a path show and play
with the next message; /help shows all commands.

With --session the conversation is saved when it ends, by an error as well; /save and /load do so
by hand, and what was loaded is the file from then on. `carat run --help` says what such a file
holds, and what --json prints. Ctrl-C ends an answer, and never the conversation.

At a terminal, arrows and Ctrl-R bring back the last 1000 messages of all chats: they are kept in
$XDG_STATE_HOME/carat/history or ~/.local/state/carat/history, which only you can read. A line that
begins with a blank is not kept, and nothing is with --no-history or CARAT_NO_HISTORY=1.";

#[cfg(feature = "demo")]
pub(crate) const DEMO: &str = "\
Examples:
  carat demo
  carat demo --list
  carat demo --item 1 --item 4
  carat demo --no-pictures | less
  carat demo --check --json > answers.json

The model was trained by this project to show the engine: it has the architecture of Gemma 4 12B and
knows drawn scenes, printed numbers, spoken digits, beeps and a few sentences. Pictures are drawn
where the terminal has 256 colours or more and NO_COLOR is not set. Ctrl-C ends the gallery.

--json prints one object a line, each with a type:
  listed   number, files, question, expected: of --list
  item     the same with answer, right, prompt_tokens, completion_tokens, prompt_seconds,
           tokens_per_second (null for a single token)
  sum      model, right, asked, of, seconds";

pub(crate) const PULL: &str = "\
Examples:
  carat pull 12b                    Gemma 4 12B, Google's QAT in Q4_0, with its projector
  carat pull 12b --draft            and its drafter
  carat pull 12b-q8
  carat pull ggml-org/gemma-4-12B-it-GGUF:Q4_K_M
  carat pull owner/repo:file.gguf --revision v2

Of a repository without a file, the QAT model in Q4_0 is taken, or Q4_K_M, or Q8_0, with all parts
of a split file and the projector beside it. Files lie in the cache that all programs of the Hub
share: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub. What was interrupted goes on where
it stopped. Proxies are those of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; the token for
repositories that ask for one is in HF_TOKEN, or in the file that logging in to the Hub wrote.

The path of the model goes to standard output, everything else to standard error.";

pub(crate) const LIST: &str = "\
Examples:
  carat list
  carat list --json | jq -r '.[].path'

Models that other programs fetched to the same cache are shown too.";

pub(crate) const REMOVE: &str = "\
Examples:
  carat remove 12b-q8
  carat remove owner/repo:file.gguf --yes

What other models still use stays, and nothing outside the cache is touched.";

pub(crate) const INSPECT: &str = "\
Examples:
  carat inspect gemma.gguf
  carat inspect gemma.gguf --ctx 131072 --kv q8
  carat inspect gemma.gguf --json | jq .tensors_by_type

Exit code 1 means that the model cannot run here: the report says why.";

pub(crate) const BENCH: &str = "\
Examples:
  carat bench -m gemma.gguf
  carat bench --synthetic 12b                  a full-size model, no download, 7 GB of disk
  carat bench --synthetic 1b --quick           does it work at all?
  carat bench -m gemma.gguf -p 512 -d 0,4096 -n 64 -t 1,2,4 -o csv > mine.csv
  carat bench -m gemma.gguf -o json > mine.json
  carat bench --from mine.json theirs.json -o html > report.html
  carat bench --synthetic 12b --protocol 1     half an hour: a result to compare machines by
  carat bench --page benches/results > machines.html
  carat bench --synthetic 12b --keep synthetic.gguf -p 0 -n 0 --no-roof    only write and load it

Shares are of what the same run found the machine can do at most: `read` is the memory, which limits
decoding, `int8` the arithmetic of the instruction set in use, which limits prompts. Shares of `read`
are against readings of the weights right before and right after each sample of decoding. Columns of
-o csv are llama-bench's, and then more. Nothing else should run meanwhile, and a laptop should be
on mains power.

--protocol 1 leaves nothing to choose: tokens, lengths, depths and repetitions are fixed, and the
answers are compared with a reference. It refuses to begin on battery, while the machine swaps or
while other programs work, and marks what disturbed it. benches/README.md has all of it.";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  carat completions bash > ~/.local/share/bash-completion/completions/carat
  carat completions zsh > ~/.zfunc/_carat           with `fpath+=~/.zfunc` before compinit
  carat completions fish > ~/.config/fish/completions/carat.fish
  carat completions powershell >> $PROFILE
  carat completions --man ~/.local/share/man/man1   then `man carat-run`";

pub(crate) const EVAL: &str = "\
Examples:
  carat eval tokenize -m gemma.gguf --text \"Hello world\"
  carat eval perplexity -m gemma.gguf --file book.txt
  carat eval logits --model gemma.gguf --input ids.json --output logits.safetensors";

pub(crate) const TOKENIZE: &str = "\
Examples:
  carat eval tokenize -m gemma.gguf --text \"Hello world\"
  carat eval tokenize -m gemma.gguf --special --text \"<|turn>user\"";

pub(crate) const TEMPLATE: &str = "\
Examples:
  carat eval template -m gemma.gguf --input conversation.json
  carat eval template --template chat.jinja --input conversation.json

conversation.json:
  {\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}";

pub(crate) const LOGITS: &str = "\
Examples:
  echo '{\"ids\": [2, 651, 6037]}' > ids.json
  carat eval logits --model gemma.gguf --input ids.json --output logits.safetensors

The ids are evaluated as they are: no BOS is added. Each run of the model's image or audio tokens is
filled from the next of \"images\" or \"audio\". Relative paths start at the JSON's folder.";

pub(crate) const DRAFT: &str = "\
Examples:
  echo '{\"ids\": [2, 651, 6037], \"steps\": 4}' > ids.json
  carat eval draft -m gemma.gguf --draft assistant.gguf --input ids.json --output out.safetensors

The ids are evaluated as they are: no BOS is added. The first of `tokens` is what the model says
next, the others are drafted from it, each the likeliest one after the token before it.";

pub(crate) const PERPLEXITY: &str = "\
Examples:
  carat eval perplexity -m gemma.gguf --file book.txt
  carat eval perplexity -m gemma.gguf --file book.txt --kv q8 --ctx 2048

BOS stands before the text, and each token of the text is scored once given all before it. A text
longer than --ctx is cut into windows that overlap by half: each begins with BOS, and only tokens
that no earlier window scored are counted. The last line is `nll` and the mean in nats.";

pub(crate) const IMAGE: &str = "\
Examples:
  carat eval image photo.jpg --output seen.png
  carat eval image scan.tiff --image-tokens 1120 --output seen.png";

pub(crate) const VIDEO: &str = "\
Examples:
  carat eval video film.mp4
  carat eval video cat.gif
  carat eval video frames/ --frame-rate 2";

pub(crate) const AUDIO: &str = "\
Examples:
  carat eval audio speech.mp3
  carat eval audio speech.mp3 --output heard.f32";

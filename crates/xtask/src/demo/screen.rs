//! What the viewer sees: lines with the time since the start and who speaks.

use std::io::IsTerminal as _;
use std::time::Instant;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// The demo itself, while it sets up or tidies up.
    Demo,
    /// Somebody who ships a release.
    You,
    /// Kubernetes, through the objects that it keeps.
    Cluster,
    /// Backstop, through its resources.
    Backstop,
}

impl Voice {
    fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::You => "you",
            Self::Cluster => "cluster",
            Self::Backstop => "backstop",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Demo => "2",
            Self::You => "36",
            Self::Cluster => "34",
            Self::Backstop => "35",
        }
    }
}

/// How a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
}

/// The terminal.
pub(crate) struct Screen {
    started: Instant,
    coloured: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            coloured: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// A new chapter.
    pub(crate) fn chapter(&self, title: &str) {
        println!("\n{}", self.paint("1", title));
    }

    /// Something that has just been seen or done.
    pub(crate) fn line(&self, voice: Voice, tone: Tone, text: &str) {
        let time = format!("{:7.1} s", self.started.elapsed().as_secs_f64());
        let name = format!("{:8}", voice.name());
        let text = match tone {
            Tone::Plain => text.to_owned(),
            Tone::Good => self.paint("32", text),
            Tone::Bad => self.paint("31", text),
        };
        println!(
            "{}  {}  {text}",
            self.paint("2", &time),
            self.paint(voice.colour(), &name)
        );
    }

    pub(crate) fn say(&self, voice: Voice, text: &str) {
        self.line(voice, Tone::Plain, text);
    }

    /// What a program printed, or a file, as it is.
    pub(crate) fn verbatim(&self, title: &str, text: &str) {
        println!("\n{}", self.paint("1", title));
        println!("{}", text.trim_end());
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

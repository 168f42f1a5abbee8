//! What whoever waits for a build gets to see.

/// Takes a line about how a build goes. Shared between threads, since builds run beside other work.
pub trait Progress: Sync {
    /// One line, without its end.
    fn line(&self, text: &str);
}

/// Writes to standard error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stderr;

impl Progress for Stderr {
    fn line(&self, text: &str) {
        eprintln!("[tools] {text}");
    }
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn line(&self, _: &str) {}
}

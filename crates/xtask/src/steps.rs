//! A pipeline whose steps all run, and which says in the end which ones failed.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// Runs steps one after the other, each under a heading.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    failure: Option<String>,
}

impl Steps {
    /// Runs a step. Its failure does not keep the next ones from running: whoever waits for a pipeline wants to hear
    /// of everything that is wrong.
    pub(crate) fn step(&mut self, name: &'static str, work: impl FnOnce() -> anyhow::Result<()>) {
        println!("\n==> {name}");
        let started = Instant::now();
        let failure = work().err().map(|error| format!("{error:#}"));
        let took = started.elapsed();
        match &failure {
            None => println!("<== {name}: ok in {}", seconds(took)),
            Some(failure) => println!("<== {name}: FAILED in {}: {failure}", seconds(took)),
        }
        self.done.push(Step {
            name,
            took,
            failure,
        });
    }

    /// Sums up, and fails if a step did.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        println!("\n==> Summary");
        for Step {
            name,
            took,
            failure,
        } in &self.done
        {
            let verdict = if failure.is_none() { "ok" } else { "FAILED" };
            println!("{verdict:>8}  {:>8}  {name}", seconds(*took));
        }
        let failed: Vec<_> = self
            .done
            .iter()
            .filter(|step| step.failure.is_some())
            .map(|step| step.name)
            .collect();
        if !failed.is_empty() {
            bail!(
                "{} of {} steps failed: {}",
                failed.len(),
                self.done.len(),
                failed.join(", ")
            );
        }
        Ok(())
    }
}

/// Runs a command with its output passed through, and fails if it does.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    if let Some(name) = std::path::Path::new(&words[0]).file_name() {
        words[0] = name.to_string_lossy().into_owned();
    }
    let line = words.join(" ");
    println!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("could not start `{line}`"))?;
    ensure!(status.success(), "`{line}`: {status}");
    Ok(())
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_whole_but_does_not_end_it() {
        let mut steps = Steps::default();
        let mut reached = false;
        steps.step("first", || bail!("broken"));
        steps.step("second", || {
            reached = true;
            Ok(())
        });
        let error = steps.finish().unwrap_err().to_string();
        assert!(reached);
        assert_eq!(error, "1 of 2 steps failed: first");
    }
}

//! Child processes that end with their parent.
//!
//! Each one runs under a small shell guard whose standard input is a pipe that only the parent holds open. When the
//! parent ends, in whatever way (a panic, `kill -9`, a test binary whose statics are never dropped), the kernel closes
//! the pipe, the guard reads end-of-file and ends the tool. A parent-death signal would not do: it fires when the
//! spawning *thread* ends, and test harnesses end threads all the time.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// Runs the words after the first until they exit or standard input ends; then TERM, and KILL after as many tenths of a
/// second as the first word says. A line on standard input is a signal to pass on: the tool's process id is known here
/// alone.
/// The tool does not get descriptor 3, and reads nothing. `read` is a builtin, so killing the watcher leaves no child.
const GUARD: &str = r#"
grace=$1
shift
exec 3<&0 </dev/null
"$@" 3<&- &
tool=$!
{
  while read -r signal <&3; do kill -s "$signal" "$tool"; done
  kill -s TERM "$tool"
  kill -s CONT "$tool"
  tries=0
  while [ "$tries" -lt "$grace" ] && kill -0 "$tool"; do sleep 0.1; tries=$((tries + 1)); done
  kill -s KILL "$tool"
} 2>/dev/null &
watcher=$!
exec 3<&-
wait "$tool"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// How long a tool has to end by itself, unless it is given more.
const GRACE: Duration = Duration::from_secs(2);
/// What a guard may take to end its tool besides the tool's own time.
const STOP_MARGIN: Duration = Duration::from_secs(3);

/// What can be done to a process from outside, to see how the others bear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Gone at once, as in a crash: nothing is tidied up.
    Kill,
    /// Stands still, as on a machine that stalls: its connections stay open and its leases run out.
    Pause,
    /// Goes on after a [`Signal::Pause`].
    Resume,
}

/// A process that can be stopped and started again with the same arguments, and that ends with this one.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    grace: Duration,
    log: PathBuf,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    guard: Child,
    /// Closing it is what stops the tool.
    lifeline: Option<ChildStdin>,
    deadline: Duration,
}

impl Running {
    /// Whether it has ended within its time.
    fn await_end(&mut self) -> bool {
        let asked = Instant::now();
        while self.guard.try_wait().is_ok_and(|status| status.is_none()) {
            if asked.elapsed() > self.deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

impl Process {
    /// A process that is not started yet. Its output goes to `<name>.log` in `logs`.
    pub fn new(
        name: &str,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = String>,
        logs: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: args.into_iter().collect(),
            environment: Vec::new(),
            grace: GRACE,
            log: logs.join(format!("{name}.log")),
            running: Mutex::new(None),
        }
    }

    /// With a variable in its environment, besides those of this process.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With so long to end by itself when it is stopped, instead of two seconds.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts it; nothing happens if it runs already.
    pub fn start(&self) -> anyhow::Result<()> {
        let mut running = self.lock();
        if let Some(already) = running.as_mut()
            && already.guard.try_wait()?.is_none()
        {
            return Ok(());
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg((self.grace.as_millis() / 100).to_string())
            .arg(&self.program)
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Out of this terminal's group: an interrupt there is for this process, which then ends the others in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("could not start {}", self.name))?;
        let lifeline = guard.stdin.take();
        *running = Some(Running {
            guard,
            lifeline,
            deadline: self.grace + STOP_MARGIN,
        });
        Ok(())
    }

    /// Asks it to end without waiting for that, so that several can end side by side.
    pub fn signal_stop(&self) {
        if let Some(running) = self.lock().as_mut() {
            running.lifeline = None;
        }
    }

    /// Ends it and waits until it has gone. It gets some time to end by itself first.
    pub fn stop(&self) {
        self.signal_stop();
        if let Some(mut ending) = self.lock().take() {
            ending.await_end();
        }
    }

    /// Does this to it. An error means that it is not running. A killed process is gone when this returns, and can be
    /// started again.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let line = match signal {
            Signal::Kill => "KILL\n",
            Signal::Pause => "STOP\n",
            Signal::Resume => "CONT\n",
        };
        let mut locked = self.lock();
        let running = locked
            .as_mut()
            .with_context(|| format!("{} is not running", self.name))?;
        let lifeline = running
            .lifeline
            .as_mut()
            .with_context(|| format!("{} is ending", self.name))?;
        lifeline
            .write_all(line.as_bytes())
            .with_context(|| format!("{} has ended", self.name))?;
        ensure!(
            signal != Signal::Kill || running.await_end(),
            "{} was killed and is still there",
            self.name
        );
        Ok(())
    }

    /// Its exit status, if it has ended by itself or was killed.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.lock()
            .as_mut()
            .and_then(|running| running.guard.try_wait().ok().flatten())
    }

    /// What it is called, in messages and as its log's file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file with its output, that of earlier starts included.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Its output, that of earlier starts included.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last `lines` lines of its output.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines).unwrap_or_default()
    }

    /// Whether it could not have the port that it was given, because someone else took it in the meantime.
    pub(crate) fn lost_its_port(&self) -> bool {
        self.exited().is_some() && self.log_tail(200).contains("address already in use")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `N` loopback ports that are free now, all different. Another process may take one before it is used; whoever uses
/// them looks for that and tries again.
pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        // Held until all are found, or the kernel could give the same one twice.
        held.push(listener);
    }
    Ok(ports)
}

/// The last `lines` lines of a file, of which at most the last 64 KiB are read.
fn tail(path: &Path, lines: usize) -> std::io::Result<String> {
    const WINDOW: u64 = 64 * 1024;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(10), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn alive(pid: &str) -> bool {
        Path::new("/proc").join(pid).exists()
    }

    /// A shell that writes its process id and then waits.
    fn sleeper(logs: &Path, script: &str) -> Process {
        Process::new(
            "sleeper",
            "sh",
            ["-c".to_owned(), format!("echo $$; {script}")],
            logs,
        )
    }

    fn pid_of(process: &Process) -> String {
        wait_for("the process id", || !process.log_tail(1).is_empty());
        process.log_tail(1).trim().to_owned()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let logs = tempfile::tempdir().unwrap();
        let process = sleeper(logs.path(), "exec sleep 100");
        process.start().unwrap();
        let pid = pid_of(&process);
        assert!(alive(&pid));
        drop(process);
        wait_for("the process to go", || !alive(&pid));
    }

    #[test]
    fn a_process_that_ignores_term_is_killed() {
        let logs = tempfile::tempdir().unwrap();
        let process = sleeper(logs.path(), "trap '' TERM; while :; do sleep 0.1; done");
        process.start().unwrap();
        let pid = pid_of(&process);
        process.stop();
        wait_for("the process to go", || !alive(&pid));
    }

    #[test]
    fn a_killed_process_has_no_time_to_tidy_up() {
        let logs = tempfile::tempdir().unwrap();
        let process = sleeper(
            logs.path(),
            "trap 'echo tidy; exit' TERM; while :; do sleep 0.1; done",
        );
        process.start().unwrap();
        pid_of(&process);
        process.signal(Signal::Kill).unwrap();
        assert!(process.exited().is_some());
        assert!(!process.log_tail(10).contains("tidy"));
    }

    #[test]
    fn a_paused_process_stands_still_until_it_goes_on() {
        let logs = tempfile::tempdir().unwrap();
        let process = sleeper(logs.path(), "while :; do sleep 0.05; echo tick; done");
        process.start().unwrap();
        let state = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.split_whitespace().nth(2).unwrap().to_owned()
        };
        wait_for("the process id", || !process.log_tail(1).is_empty());
        let text = std::fs::read_to_string(process.log_path()).unwrap();
        let pid = text.lines().next().unwrap();
        process.signal(Signal::Pause).unwrap();
        wait_for("it to stand still", || state(pid) == "T");
        process.signal(Signal::Resume).unwrap();
        wait_for("it to go on", || state(pid) != "T");
    }

    #[test]
    fn the_exit_status_is_the_tools_own() {
        let logs = tempfile::tempdir().unwrap();
        let process = Process::new(
            "seven",
            "sh",
            ["-c".to_owned(), "exit 7".to_owned()],
            logs.path(),
        );
        process.start().unwrap();
        wait_for("the exit", || process.exited().is_some());
        assert_eq!(process.exited().unwrap().code(), Some(7));
    }

    #[test]
    fn a_process_ends_with_a_parent_that_was_killed() {
        let logs = tempfile::tempdir().unwrap();
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "process::tests::a_parent_that_waits_to_be_killed",
            ])
            .env(PARENT_LOGS, logs.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let log = logs.path().join("sleeper.log");
        wait_for("the process id", || {
            tail(&log, 1).is_ok_and(|text| !text.is_empty())
        });
        let pid = tail(&log, 1).unwrap().trim().to_owned();
        assert!(alive(&pid));
        // SIGKILL: nothing of the parent runs after it, no destructor either.
        parent.kill().unwrap();
        parent.wait().unwrap();
        wait_for("the process to go", || !alive(&pid));
    }

    const PARENT_LOGS: &str = "TESTENV_PARENT_LOGS";

    #[test]
    #[ignore = "the test above runs it, in a process of its own"]
    fn a_parent_that_waits_to_be_killed() {
        let Some(logs) = std::env::var_os(PARENT_LOGS) else {
            return;
        };
        let process = sleeper(Path::new(&logs), "exec sleep 100");
        process.start().unwrap();
        std::thread::sleep(Duration::from_mins(1));
    }

    #[test]
    fn free_ports_differ() {
        let [a, b, c] = free_ports::<3>().unwrap();
        assert!(a != b && b != c && a != c);
    }
}

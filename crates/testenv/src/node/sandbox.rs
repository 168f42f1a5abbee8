//! The namespaces that a node lives in, and what is started in them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::process::Process;
use crate::state::StateDir;

const HOLD: &str = include_str!("sandbox.sh");
const INSIDE: &str = include_str!("inside.sh");
const DEADLINE: Duration = Duration::from_secs(20);
/// What it has to remove the control groups, some more than `sandbox.sh` gives itself. It takes a moment on an idle
/// machine; on a busy one, each of the killed processes needs its turn to be gone.
const GRACE: Duration = Duration::from_secs(20);

/// Namespaces for processes, mounts and the network, held by one process.
#[derive(Debug)]
pub(super) struct Sandbox {
    process: Process,
    /// The process that has entered all of them, but that of processes, which its children are in.
    holder: u32,
}

impl Sandbox {
    /// Makes them. `cgroup` is the name of the control group that everything in it belongs below; it goes away as
    /// well.
    ///
    /// The folder `etc` of `state` is to be found in `/run/backstop/etc` from inside.
    pub(super) fn start(cgroup: &str, state: &StateDir) -> anyhow::Result<Self> {
        for folder in ["etc", "run"] {
            std::fs::create_dir_all(state.path().join(folder))?;
        }
        let args = [
            "-c",
            HOLD,
            "sandbox",
            cgroup,
            INSIDE,
            &state.path().display().to_string(),
        ];
        let process =
            Process::new("sandbox", "sh", args.map(str::to_owned), &state.logs()).grace(GRACE);
        process.start()?;
        let started = Instant::now();
        let holder = loop {
            let said = process.log_tail(20);
            if said.lines().any(|line| line == "ready") {
                break holder(&said).context("the sandbox does not say what holds it")?;
            }
            if process.exited().is_some() || started.elapsed() > DEADLINE {
                bail!("the node's namespaces could not be made:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ok(Self { process, holder })
    }

    /// The process whose network namespace it is.
    pub(super) fn holder(&self) -> u32 {
        self.holder
    }

    /// The namespace of its processes, as links in `/proc` name it.
    pub(super) fn process_namespace(&self) -> anyhow::Result<String> {
        let link = format!("/proc/{}/ns/pid_for_children", self.holder);
        let target = std::fs::read_link(&link).with_context(|| format!("no {link}"))?;
        Ok(target.display().to_string())
    }

    /// A process that is not started yet, for the inside. It dies with whoever watches it from outside, and with the
    /// sandbox.
    pub(super) fn process(
        &self,
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = String>,
        logs: &Path,
    ) -> Process {
        let words = self
            .enter(program.as_os_str().to_owned())
            .into_iter()
            .map(|word| word.to_string_lossy().into_owned());
        Process::new(name, "nsenter", words.chain(args), logs)
    }

    /// A command to be run inside.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.enter(program.as_os_str().to_owned()));
        command
    }

    /// What holds it.
    pub(super) fn holding(&self) -> &Process {
        &self.process
    }

    fn enter(&self, program: OsString) -> Vec<OsString> {
        let namespaces = PathBuf::from(format!("/proc/{}/ns", self.holder));
        let flag = |kind: &str, file: &str| {
            let mut word = OsString::from(format!("--{kind}="));
            word.push(namespaces.join(file));
            word
        };
        vec![
            flag("net", "net"),
            flag("mount", "mnt"),
            flag("pid", "pid_for_children"),
            "--".into(),
            // nsenter does not pass on what it is killed with.
            "setpriv".into(),
            "--pdeathsig".into(),
            "KILL".into(),
            program,
        ]
    }
}

fn holder(said: &str) -> Option<u32> {
    said.lines()
        .find_map(|line| line.strip_prefix("holder ")?.parse().ok())
}

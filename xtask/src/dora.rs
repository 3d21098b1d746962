//! Private dora instance: a coordinator and a daemon on free ports, which end with this program, however it ends.
//!
//! `dora up` is not used because it shares its port and its store with all dora instances of the user, and a second one
//! fails on the store.

use std::{
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    error::{Context, Error, Result},
    process::{ProcessGroup, is_stopping},
    progress::tail,
    workspace::Workspace,
};

/// Time within which the daemon must connect to the coordinator. On an idle machine it takes less than a second.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time within which the processes must stop before they are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Running coordinator and daemon.
pub struct Dora {
    port: u16,
    /// The command `dora down` of this instance.
    down: Command,
    daemon: ProcessGroup,
    coordinator: ProcessGroup,
    watchdog: Child,
    is_stopped: bool,
}

impl Dora {
    /// Starts coordinator and daemon, and waits until flows can be started.
    ///
    /// # Errors
    /// When one of them does not start; the message contains the end of the log.
    pub fn start(workspace: &Workspace) -> Result<Self> {
        let (port, local) = free_ports()?;
        let log = workspace.logs.join("dora.log");
        File::create(&log).context(log.display())?;
        let start = |arguments: &[&str]| -> Result<ProcessGroup> {
            let file = File::options().append(true).open(&log).context(log.display())?;
            let mut command = dora_command(workspace, port);
            // dora creates a folder `out` in its working directory.
            command.current_dir(&workspace.logs).args(arguments);
            command.stdout(file.try_clone().context(log.display())?).stderr(file);
            ProcessGroup::start(&mut command)
        };
        let (port_text, local) = (port.to_string(), local.to_string());
        let coordinator = start(&["coordinator", "--quiet", "--store", "memory", "--port", &port_text])?;
        let daemon = start(&["daemon", "--quiet", "--coordinator-port", &port_text, "--local-listen-port", &local])?;
        let down = || {
            let mut down = dora_command(workspace, port);
            down.current_dir(&workspace.logs).args(["down", "--force"]).stdout(Stdio::null()).stderr(Stdio::null());
            down
        };
        let watchdog = spawn_watchdog(&down(), &[daemon.id(), coordinator.id()])?;
        let mut dora = Dora { port, down: down(), daemon, coordinator, watchdog, is_stopped: false };
        dora.wait_until_ready(workspace, &log)?;
        Ok(dora)
    }

    /// Returns a `dora` command that addresses this instance.
    pub fn command(&self, workspace: &Workspace) -> Command {
        dora_command(workspace, self.port)
    }

    /// Stops flows, daemon and coordinator.
    pub fn stop(mut self) {
        self.end();
    }

    fn wait_until_ready(&mut self, workspace: &Workspace, log: &Path) -> Result<()> {
        let start = Instant::now();
        loop {
            let status = self.command(workspace).arg("status").output().context("dora status")?;
            let output = String::from_utf8_lossy(&status.stdout);
            if status.status.success() && sideline_dora_texts::is_daemon_running(&output) {
                return Ok(());
            }
            let has_ended = self.coordinator.try_wait()?.is_some() || self.daemon.try_wait()?.is_some();
            if has_ended || start.elapsed() > READY_TIMEOUT {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                return Err(Error::new(format!(
                    "dora does not start; the end of {}:\n{}\nTo fix this, remove .venv and run `cargo xtask setup`",
                    log.display(),
                    tail(&text)
                )));
            }
            if is_stopping() {
                return Err(Error::interrupted("starting dora"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.is_stopped, true) {
            return;
        }
        // An orderly stop first. Processes that remain are killed when the groups are dropped; the nodes end with the
        // daemon.
        if let Ok(mut down) = ProcessGroup::start(&mut self.down) {
            down.wait_for(STOP_TIMEOUT);
        }
        self.daemon.wait_for(STOP_TIMEOUT);
        self.coordinator.wait_for(STOP_TIMEOUT);
        // The watchdog must end before the process ids that it would kill can be reused.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

impl Drop for Dora {
    fn drop(&mut self) {
        self.end();
    }
}

/// Returns a `dora` command for the coordinator on a port.
fn dora_command(workspace: &Workspace, port: u16) -> Command {
    let mut command = workspace.command(workspace.venv("dora"));
    // The environment of the user may name another coordinator.
    command.env("DORA_COORDINATOR_ADDR", "127.0.0.1").env("DORA_COORDINATOR_PORT", port.to_string());
    command.env_remove("DORA_COORDINATOR_INTERFACE");
    command
}

/// Spawns a process that runs `down` and kills these process groups if this program dies without stopping them. It
/// detects that by the end of its standard input, a pipe held by this program.
fn spawn_watchdog(down: &Command, groups: &[u32]) -> Result<Child> {
    let script = "trap '' INT HUP TERM; read -r _; groups=$1; shift; \"$@\"; for group in $groups; do kill -s KILL -- -$group; done";
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let mut command = Command::new("sh");
    command.args(["-c", script, "sideline-watchdog", &groups.join(" ")]).arg(down.get_program()).args(down.get_args());
    for (key, value) in down.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.current_dir(down.get_current_dir().unwrap_or(Path::new("/")));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().context("cannot start sh")
}

/// Returns two ports on which no process listens at present.
fn free_ports() -> Result<(u16, u16)> {
    let listen = || TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr().map(|a| (l, a.port())));
    let (first, second) = (listen().context("no free port")?, listen().context("no free port")?);
    Ok((first.1, second.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_runs_down_and_then_kills_when_its_pipe_closes() {
        let mut guarded = ProcessGroup::start(Command::new("sleep").arg("1000")).unwrap();
        let marker = std::env::temp_dir().join(format!("xtask-down-{}", std::process::id()));
        let mut down = Command::new("touch");
        down.arg(&marker);
        let mut watchdog = spawn_watchdog(&down, &[guarded.id()]).unwrap();
        drop(watchdog.stdin.take());
        let status = guarded.wait().unwrap();
        watchdog.wait().unwrap();
        std::fs::remove_file(&marker).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn a_private_dora_instance_starts_flows_and_prints_their_ids() {
        let root = std::path::absolute(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let folder = std::env::temp_dir().join(format!("xtask-dora-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let workspace = Workspace { root, programs: folder.clone(), logs: folder.clone() };
        if !workspace
            .command(workspace.venv("dora"))
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
        {
            return sideline_testkit::skip_test(
                sideline_testkit::Capability::Dora,
                "no .venv/bin/dora; `cargo xtask setup`",
            );
        }
        let dora = Dora::start(&workspace).unwrap();
        let flow = folder.join("flow.yml");
        std::fs::write(&flow, "nodes: [{id: a, path: /bin/true}]\n").unwrap();
        let output = dora.command(&workspace).args(["start", "--attach"]).arg(&flow).output().unwrap();
        dora.stop();
        std::fs::remove_dir_all(&folder).unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(text.lines().any(|line| sideline_dora_texts::dataflow_id(line).is_some()), "{text}");
    }

    #[test]
    fn free_ports_differ() {
        let (first, second) = free_ports().unwrap();
        assert_ne!(first, second);
    }
}
